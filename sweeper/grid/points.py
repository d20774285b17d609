"""The points of a sweep, made when they are asked for: products of options, some of them left out."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, chain, compress, product
from typing import Any, TypeVar

from sweeper.model import canonical
from sweeper.spec import Product, Rule
from sweeper.spec.options import Option, Options

T = TypeVar("T")
_CACHED = 10_000  # options of one axis whose texts are kept


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
    they stood in the file before; ``idle`` are the rules of ``exclude`` that leave out none.
    """

    def __init__(
        self,
        blocks: list[Block],
        repeat: tuple[str, ...],
        duplicates: int,
        summary: str,
        idle: tuple[Rule, ...] = (),
    ) -> None:
        self.blocks = [block for block in blocks if block.size]
        self.repeat = repeat
        self.duplicates = duplicates
        self.idle = idle
        self._summary = summary
        self._ends = list(accumulate(block.size for block in self.blocks))
        self.names = tuple(dict.fromkeys(name for block in self.blocks for name in block.product.names))
        always = [block.product.always for block in self.blocks]
        self.always = frozenset.intersection(*always) if always else frozenset()
        axes = [{name: axis for axis in block.product.axes for name in axis.names} for block in self.blocks]
        self.varying = tuple(name for name in self.names if self._varies(name, axes))

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

    def _varies(self, name: str, axes: list[dict[str, Options]]) -> bool:
        """``axes`` holds for each block the axis of each name: to search it for each of them would take the square."""
        values: set[str] = set()
        for block, axis_of in zip(self.blocks, axes, strict=True):
            if name not in block.product.always:
                return True
            for option in axis_of[name]:
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
