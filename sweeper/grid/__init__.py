"""Sweep file -> its points, in order and lazily: a million of them cost what the grid costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from sweeper.errors import Problem, SpecError
from sweeper.grid.exclude import Matcher, matchers
from sweeper.grid.points import Block, Points
from sweeper.model import canonical
from sweeper.spec import MAX_POINTS, Product, Spec
from sweeper.spec.options import Listed

__all__ = ["Points", "expand"]

_MANY = 32  # products of a union, from which on the small ones are listed point by point
_SMALL = 10_000
_LISTED = 1_000_000  # points that are listed one by one at the most
_PAIRS = 1000  # products of grid and repeat that are made one by one


def expand(spec: Spec) -> Points:
    """All points of a sweep: grid times repeat, less what ``exclude`` matches, then ``include`` as it stands.

    An entry of ``include`` is not multiplied with ``repeat``: what it leaves out is not passed. Raises SpecError for
    more than MAX_POINTS points (before any is made) and for mistakes in ``exclude``.
    """
    total = _spelled(spec.grid) * _spelled(spec.repeat) + _spelled(spec.include)
    if total > MAX_POINTS:
        remedy = f"At most {MAX_POINTS:,}: make its lists shorter, or split it into several sweeps."
        shown = (
            f"{total:,}" if total < 10**15 else f"about 10^{len(str(total)) - 1}" if total < 10**4000 else "too many"
        )
        raise _error(spec, f"makes {shown} runs", remedy)
    outer, inner = list(spec.grid), list(spec.repeat)
    if len(outer) * len(inner) > _PAIRS:
        outer, inner = _merged(spec, outer), _merged(spec, inner)
    grid = [Product((*left.axes, *right.axes)) for left in outer for right in inner]
    summary = _describe(spec)
    blocks = [Block(part) for part in _merged(spec, grid)]
    rules = matchers(spec, [block.product for block in blocks])
    excluded, used = _exclude(blocks, rules)
    included = [Block(part) for part in _merged(spec, list(spec.include))]
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
        raise SpecError(spec.shown, [problem])
    repeat = tuple(dict.fromkeys(name for part in spec.repeat for name in part.names))
    idle = tuple(rule for index, rule in enumerate(spec.exclude) if index not in used)
    return Points(blocks, repeat, repeats, summary, idle)


def _spelled(parts: Sequence[Product]) -> int:
    return sum(part.spelled for part in parts)


def _error(spec: Spec, message: str, remedy: str) -> SpecError:
    key = next((key for key in ("grid", "repeat", "include") if key in spec.lines), "grid")
    return SpecError(spec.shown, [Problem(message, spec.lines.get(key), key=key, remedy=remedy)])


def _merged(spec: Spec, parts: list[Product]) -> list[Product]:
    """A union of very many products costs too much to compare pair by pair: list the points of its small ones."""
    if len(parts) <= _MANY:
        return parts
    listed = sum(part.size for part in parts if part.size <= _SMALL)
    if listed > _LISTED:
        remedy = f"At most {_LISTED:,} in more than {_MANY}: write fewer of them, with lists and ranges in them."
        raise _error(spec, f"makes {listed:,} runs in {len(parts):,} small mappings", remedy)
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


def _exclude(blocks: list[Block], rules: list[Matcher]) -> tuple[int, set[int]]:
    """How many points are left out, and which of the rules do that."""
    excluded = 0
    used: set[int] = set()
    for block in blocks:
        out = 0
        for index, rule in enumerate(rules):
            matched = rule.mask(block.product)
            if matched is not None and 1 in matched:
                used.add(index)
                out |= int.from_bytes(matched, "big")
        if out:
            size = block.product.size
            block.keep(out.to_bytes(size, "big").translate(bytes((1, 0)) + bytes(254)))
            excluded += size - block.size
    return excluded, used


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
