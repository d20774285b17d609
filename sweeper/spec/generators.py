"""The numbers of a grid that are not written out: range, linspace and logspace; and a quoted mapping.

``linspace`` and ``logspace`` give floats (``1.0``), ``range`` whole numbers; all are spelled as short as they can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from sweeper.model import Value
from sweeper.spec.nodes import Mapping, Scalar, Sequence
from sweeper.spec.options import Generated, Listed, Options
from sweeper.spec.reader import Reader

MAX_POINTS = 10_000_000
GENERATORS = ("range", "linspace", "logspace")


def generated(reader: Reader, name: str, node: Mapping, key: str) -> Options | None:
    """``{range: ...}`` and its like, ``{value: ...}``; None for any other mapping."""
    if len(node.items) != 1:
        return None
    (kind, (word, entry)) = next(iter(node.items.items()))
    if kind == "value":
        return Listed([{name: reader.value(entry)}])
    if kind not in GENERATORS:
        return None
    empty = Listed([{name: Value(None)}])  # stands in for it after a mistake has been reported
    numbers = _numbers(entry if isinstance(entry, Sequence) else Sequence(entry.line, entry.column, [entry]))
    quote = "Write {value: {...}} if a mapping is meant."
    try:
        if numbers is None:
            raise ValueError("takes plain numbers")
        return _range(name, numbers) if kind == "range" else _space(name, kind, numbers)
    except ValueError as error:
        example = {"range": "range: [0, 10] or [0, 10, 2]", "linspace": "linspace: [0, 1, 5]"}
        remedy = f"Like {{{example.get(kind, 'logspace: [1e-4, 1e-1, 4]')}}}. {quote}"
        reader.add(word, f"{key}.{kind}", str(error), remedy)
        return empty


def _numbers(node: Sequence) -> list[Decimal] | None:
    """Exactly as they are spelled."""
    numbers = []
    for item in node.items:
        number = item.value if isinstance(item, Scalar) and item.plain else None
        if isinstance(number, bool) or not isinstance(number, (int, float)) or abs(number) in (float("inf"),):
            return None
        if number != number or abs(number) > 1e300:
            return None
        exact = Decimal(number) if isinstance(number, int) else Decimal(repr(number))
        numbers.append(exact)
    return numbers


def _range(name: str, numbers: Iterable[Decimal]) -> Options:
    bounds = list(numbers)
    if not 1 <= len(bounds) <= 3:
        raise ValueError("takes one to three numbers: [start, end] or [start, end, step]")
    start, end = (Decimal(0), bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    step = bounds[2] if len(bounds) == 3 else Decimal(1)
    if not step:
        raise ValueError("cannot have a step of 0")
    if any(number != number.to_integral_value() for number in (start, end, step)):
        raise ValueError("takes whole numbers, as Python's does; linspace is for fractions")
    first, last, stride = int(start), int(end), int(step)
    count = max(-(-(last - first) // stride), 0)
    if not count:
        raise ValueError(f"is empty: from {first} to {last} by {stride} there is nothing (the end is excluded)")
    _check_count(count)
    return Generated(name, "range", Decimal(first), Decimal(first + stride * (count - 1)), count, True)


def _space(name: str, kind: str, numbers: list[Decimal]) -> Options:
    if len(numbers) != 3:
        raise ValueError("takes three numbers: [first, last, how many]")
    first, last, many = numbers
    if many != many.to_integral_value() or many < 1:
        raise ValueError(f"needs a whole number of values, at least 1, and not {many}")
    count = int(many)
    _check_count(count)
    if kind == "logspace" and (first <= 0 or last <= 0):
        raise ValueError("takes positive numbers: its ends are the values themselves, not exponents")
    if count == 1 and first != last:
        raise ValueError(f"of one value cannot hold both {first} and {last}")
    return Generated(name, kind, first, last, count, False)


def _check_count(count: int) -> None:
    if count > MAX_POINTS:
        raise ValueError(f"makes {count:,} values; a sweep holds at most {MAX_POINTS:,} runs")
