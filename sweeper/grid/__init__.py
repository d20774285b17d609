"""Sweep file -> its points, in order and lazily: a million of them cost what the grid costs."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, chain, compress, product
from typing import Any, TypeVar

from sweeper.errors import Problem, SpecError
from sweeper.grid.exclude import Matcher, matchers
from sweeper.model import canonical
from sweeper.spec import MAX_POINTS, Product, Spec
from sweeper.spec.options import Listed, Option, Options

T = TypeVar("T")
_CACHED = 10_000  # options of one axis whose texts are kept
_MANY = 32  # products of a union, from which on the small ones are listed point by point
_SMALL = 10_000


class Block:
    """One product of the union; ``mask`` holds a byte for each of its points, 0 for those left out."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.mask: bytes | None = None
        self.kept: array[int] | None = None
        self.size = product.size

    def keep(self, mask: bytes) -> None:
        self.mask = mask
        self.kept = array("I", compress(range(self.product.size), mask))
        self.size = len(self.kept)

    def at(self, index: int) -> Option:
        return self.product.at(index if self.kept is None else self.kept[index])

    def find(self, keys: Mapping[str, str]) -> int | None:
        """Where the point stands among those kept. ``keys`` are canonical values and name all that the point has."""
        index = self.product.find(keys)
        if index is None or self.kept is None:
            return index
        place = bisect_left(self.kept, index)
        return place if place < len(self.kept) and self.kept[place] == index else None

    def combinations(self, render: Callable[[Option], T]) -> Iterator[tuple[T, ...]]:
        """For each point kept, what ``render`` makes of its option of each axis; it is called once an option."""
        found = _combinations(self.product.axes, render)
        return found if self.mask is None else compress(found, self.mask)


def _combinations(axes: tuple[Options, ...], render: Callable[[Option], T]) -> Iterator[tuple[T, ...]]:
    large = [index for index, axis in enumerate(axes) if axis.size > _CACHED]
    if not large:
        yield from product(*([render(option) for option in axis] for axis in axes))
        return
    last = large[-1]
    tail = [[render(option) for option in axis] for axis in axes[last + 1 :]]
    for head in _combinations(axes[:last], render):
        for option in axes[last]:
            rendered = render(option)
            for rest in product(*tail):
                yield (*head, rendered, *rest)


class Points:
    """The points of a sweep in file order; each is a ``dict[str, Value]`` of its parameters.

    ``names`` are all parameters in order, ``varying`` those that are not the same everywhere, ``always`` those that
    every point has, ``repeat`` those that the report averages over. ``duplicates`` counts the points dropped because
    they stood in the file before.
    """

    def __init__(self, blocks: list[Block], repeat: tuple[str, ...], duplicates: int, summary: str) -> None:
        self.blocks = [block for block in blocks if block.size]
        self.repeat = repeat
        self.duplicates = duplicates
        self._summary = summary
        self._ends = list(accumulate(block.size for block in self.blocks))
        self.names = tuple(dict.fromkeys(name for block in self.blocks for name in block.product.names))
        always = [block.product.always for block in self.blocks]
        self.always = frozenset.intersection(*always) if always else frozenset()
        self.varying = tuple(name for name in self.names if self._varies(name))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Option:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        block = self.blocks[number]
        return block.at(index - (self._ends[number] - block.size))

    def __iter__(self) -> Iterator[Option]:
        for options in chain.from_iterable(self.combinations(dict)):
            point: Option = {}
            for option in options:
                point.update(option)
            yield point

    def combinations(self, render: Callable[[Option], T]) -> Iterator[Iterator[tuple[T, ...]]]:
        """For each product of the union, its points as tuples of what ``render`` makes of each option."""
        return (block.combinations(render) for block in self.blocks)

    def index(self, params: Mapping[str, Any]) -> int | None:
        """The place of the point whose parameters are exactly these (plain values, equal by model.canonical)."""
        return self._find({name: canonical(value) for name, value in params.items()})

    def _find(self, keys: Mapping[str, str]) -> int | None:
        return _find(self.blocks, self._ends, keys)

    def _varies(self, name: str) -> bool:
        values: set[str] = set()
        for block in self.blocks:
            if name not in block.product.always:
                return True
            axis = next(axis for axis in block.product.axes if name in axis.names)
            for option in axis:
                values.add(canonical(option[name].value))
                if len(values) > 1:
                    return True
        return False

    def describe(self) -> str:
        """``3 lr x 2 hidden x 2 seed``: how the runs come about."""
        return self._summary


def _find(blocks: list[Block], ends: list[int], keys: Mapping[str, str]) -> int | None:
    for block, end in zip(blocks, ends, strict=True):
        product = block.product
        if not product.always <= keys.keys() or not keys.keys() <= product.known:
            continue
        place = block.find(keys)
        if place is not None:
            return end - block.size + place
    return None


def expand(spec: Spec) -> Points:
    """All points of a sweep: grid times repeat, less what ``exclude`` matches, then ``include`` as it stands.

    An entry of ``include`` is not multiplied with ``repeat``: what it leaves out is not passed. Raises SpecError for
    more than MAX_POINTS points (before any is made) and for mistakes in ``exclude``.
    """
    grid = [Product((*left.axes, *right.axes)) for left in spec.grid for right in spec.repeat]
    total = sum(part.spelled for part in (*grid, *spec.include))
    if total > MAX_POINTS:
        remedy = f"At most {MAX_POINTS:,}: make its lists shorter, or split it into several sweeps."
        shown = (
            f"{total:,}" if total < 10**15 else f"about 10^{len(str(total)) - 1}" if total < 10**4000 else "too many"
        )
        problem = Problem(f"makes {shown} runs", spec.lines.get("grid"), key="grid", remedy=remedy)
        raise SpecError(spec.file, [problem])
    summary = _describe(spec)
    blocks = [Block(part) for part in _merged(grid)]
    rules = matchers(spec, [block.product for block in blocks])
    excluded = _exclude(blocks, rules)
    included = [Block(part) for part in _merged(list(spec.include))]
    first = sum(block.size for block in blocks)
    blocks += included
    dropped = _drop_repeated(blocks)
    repeats = total - sum(block.product.size for block in blocks) + dropped
    kept = sum(block.size for block in blocks)
    if excluded:
        summary += f" - {excluded:,} excluded"
    if spec.include:
        summary += f" + {sum(block.size for block in included):,} included"
    if not kept:
        problem = Problem(f"leaves none of the {first + excluded:,} runs", spec.lines.get("exclude"), key="exclude")
        raise SpecError(spec.file, [problem])
    repeat = tuple(dict.fromkeys(name for part in spec.repeat for name in part.names))
    return Points(blocks, repeat, repeats, summary)


def _merged(parts: list[Product]) -> list[Product]:
    """A union of very many products costs too much to compare pair by pair: list the points of its small ones."""
    if len(parts) <= _MANY:
        return parts
    merged: list[Product] = []
    small: list[Product] = []
    for part in [*parts, None]:
        if part is not None and part.size <= _SMALL:
            small.append(part)
            continue
        if small:
            merged.append(Product((Listed(option for each in small for option in each),)))
            small = []
        if part is not None:
            merged.append(part)
    return merged


def _exclude(blocks: list[Block], rules: list[Matcher]) -> int:
    excluded = 0
    for block in blocks:
        out = 0
        for rule in rules:
            matched = rule.mask(block.product)
            if matched is not None:
                out |= int.from_bytes(matched, "big")
        if out:
            size = block.product.size
            block.keep(out.to_bytes(size, "big").translate(bytes((1, 0)) + bytes(254)))
            excluded += size - block.size
    return excluded


def _drop_repeated(blocks: list[Block]) -> int:
    """Leave out of each block what an earlier one holds. Only the options that both have are combined."""
    dropped = 0
    for number, block in enumerate(blocks):
        repeated: set[int] = set()
        for earlier in blocks[:number]:
            repeated.update(_shared(block, earlier))
        if repeated:
            mask = bytearray(block.mask or b"\1" * block.product.size)
            for index in repeated:
                mask[index] = 0
            before = block.size
            block.keep(bytes(mask))
            dropped += before - block.size
    return dropped


def _shared(block: Block, earlier: Block) -> Iterator[int]:
    """Indices in ``block.product`` of points that ``earlier`` keeps too."""
    mine, other = block.product, earlier.product
    if not (mine.always <= other.known and other.always <= mine.known):
        return
    known: dict[str, set[str]] = {name: set() for name in other.names}
    for axis in other.axes:
        for option in axis:
            for name, value in option.items():
                known[name].add(canonical(value.value))
    choices: list[list[tuple[int, dict[str, str]]]] = []
    for axis in mine.axes:
        fitting = []
        for place, option in enumerate(axis):
            keys = {name: canonical(value.value) for name, value in option.items()}
            if all(key in known.get(name, ()) for name, key in keys.items()):
                fitting.append((place, keys))
        if not fitting:
            return
        choices.append(fitting)
    for combination in product(*choices):
        point: dict[str, str] = {}
        index = 0
        for axis, (place, keys) in zip(mine.axes, combination, strict=True):
            index = index * axis.size + place
            point.update(keys)
        if other.always <= point.keys() and earlier.find(point) is not None:
            yield index


def _describe(spec: Spec) -> str:
    terms = []
    for part in spec.grid:
        sizes = [f"{axis.size:,} {','.join(axis.names[:3])}" for axis in part.axes if axis.size > 1]
        terms.append(" x ".join(sizes) or "1")
    if len(terms) > 3:
        terms = [f"{sum(part.size for part in spec.grid):,} points of {len(terms)} grids"]
    repeated = [
        f"{axis.size:,} {','.join(axis.names[:3])}" for part in spec.repeat for axis in part.axes if axis.size > 1
    ]
    summary = " + ".join(terms)
    if repeated:
        summary = f"({summary})" if len(terms) > 1 else "" if summary == "1" else summary
        summary = " x ".join([*([summary] if summary else []), *repeated])
    return summary
