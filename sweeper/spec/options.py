"""Settings of parameters as lazy sequences: listed ones, generated numbers, products and concatenations of these."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from functools import cached_property
from itertools import accumulate

from sweeper.model import Value, canonical

Option = dict[str, Value]
_DECIMAL = Context(prec=34)


class Options(ABC):
    """An ordered sequence of distinct settings, each a ``dict[str, Value]``.

    ``names`` are all parameters in order, ``always`` those that every setting has; ``size`` counts the settings (it may
    pass what ``len`` can return); ``spelled`` counts them before repeated ones were dropped.
    """

    names: tuple[str, ...]
    always: frozenset[str]
    size: int
    spelled: int

    @cached_property
    def known(self) -> frozenset[str]:
        """``names`` as a set."""
        return frozenset(self.names)

    @abstractmethod
    def at(self, index: int) -> Option:
        """The setting at ``index``, 0 <= index < size, as a new dict."""

    @abstractmethod
    def find(self, keys: Mapping[str, str]) -> int | None:
        """Where the setting stands whose values have these canonical spellings; names of others are passed over."""

    def __iter__(self) -> Iterator[Option]:
        return map(self.at, range(self.size))


class Listed(Options):
    """Settings as they were written; one that stands twice is kept once."""

    def __init__(self, options: Iterable[Option]) -> None:
        self.spelled = 0
        kept: dict[tuple[tuple[str, str], ...], Option] = {}
        names: dict[str, None] = {}
        always: frozenset[str] | None = None
        for option in options:
            self.spelled += 1
            kept.setdefault(tuple(sorted((name, canonical(value.value)) for name, value in option.items())), option)
            if always is None or always != option.keys():
                names.update(dict.fromkeys(option))
                always = frozenset(option) if always is None else always & option.keys()
        self._options = list(kept.values())
        self._places = {key: index for index, key in enumerate(kept)}
        self.names = tuple(names)
        self._sorted = sorted(names)
        self.always = always or frozenset()
        self.size = len(self._options)

    def at(self, index: int) -> Option:
        return dict(self._options[index])

    def find(self, keys: Mapping[str, str]) -> int | None:
        return self._places.get(tuple((name, keys[name]) for name in self._sorted if name in keys))


class Generated(Options):
    """The numbers of a ``range``, ``linspace`` or ``logspace``, made when they are asked for."""

    def __init__(self, name: str, kind: str, first: Decimal, last: Decimal, count: int, whole: bool) -> None:
        """``last`` is included; ``count`` numbers, ints where ``whole``. Raises ValueError if two would be the same."""
        self.names = (name,)
        self.always = frozenset(self.names)
        self.size = self.spelled = count
        self._name, self._kind, self._whole = name, kind, whole
        self._first, self._last = Fraction(first), Fraction(last)
        self._step = (self._last - self._first) / max(count - 1, 1)
        if kind == "logspace":
            self._low, self._high = _DECIMAL.ln(first), _DECIMAL.ln(last)
        if count > 1 and not whole:
            neighbours = (self.number(0), self.number(1), self.number(count - 2), self.number(count - 1))
            largest = max(abs(number) for number in neighbours)
            step = (
                abs(self._step)
                if kind != "logspace"
                else min(abs(neighbours[1] - neighbours[0]), abs(neighbours[3] - neighbours[2]))
            )
            if step < 2 * math.ulp(largest if kind != "logspace" else min(abs(number) for number in neighbours)):
                raise ValueError(f"its {count} numbers are too close together to tell them apart")

    def number(self, index: int) -> int | float:
        if index in (0, self.size - 1):
            exact = self._first if index == 0 else self._last
        elif self._kind == "logspace":
            share = _DECIMAL.divide(Decimal(index), Decimal(self.size - 1))
            power = _DECIMAL.add(self._low, _DECIMAL.multiply(share, _DECIMAL.subtract(self._high, self._low)))
            return float(_DECIMAL.exp(power))
        else:
            exact = self._first + self._step * index
        return int(exact) if self._whole else float(exact)

    def at(self, index: int) -> Option:
        number = self.number(index)
        return {self._name: Value(number, spell(number))}

    def find(self, keys: Mapping[str, str]) -> int | None:
        key = keys.get(self._name)
        if key is None:
            return None
        try:
            number = float(key)
            if self._kind == "logspace":
                low, high = float(self._low), float(self._high)
                guess = (math.log(number) - low) / ((high - low) or 1.0) * (self.size - 1)
            else:
                guess = float((Fraction(key) - self._first) / (self._step or 1))
            middle = round(guess)
        except (ValueError, OverflowError):
            return None
        near = range(max(middle - 1, 0), min(middle + 2, self.size))
        return next((index for index in near if canonical(self.number(index)) == key), None)


class Product(Options):
    """Every combination of its axes, the last one fastest. Their names must not overlap."""

    def __init__(self, axes: Sequence[Options]) -> None:
        self.axes = tuple(axes)
        self.names = tuple(name for axis in axes for name in axis.names)
        self.always = frozenset(name for axis in axes for name in axis.always)
        self.size = math.prod(axis.size for axis in axes)
        self.spelled = math.prod(axis.spelled for axis in axes)

    def places(self, index: int) -> list[int]:
        """Which option of each axis the setting at ``index`` is made of."""
        places = []
        for axis in reversed(self.axes):
            index, place = divmod(index, axis.size)
            places.append(place)
        return places[::-1]

    def at(self, index: int) -> Option:
        option: Option = {}
        for axis, place in zip(self.axes, self.places(index), strict=True):
            option.update(axis.at(place))
        return option

    def find(self, keys: Mapping[str, str]) -> int | None:
        index = 0
        for axis in self.axes:
            place = axis.find(keys)
            if place is None:
                return None
            index = index * axis.size + place
        return index


class Chain(Options):
    """One after the other; no setting may stand in two of the parts."""

    def __init__(self, parts: Sequence[Options]) -> None:
        self.parts = tuple(parts)
        self.names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        self.always = frozenset.intersection(*(part.always for part in parts))
        self._ends = list(accumulate(part.size for part in parts))
        self.size = self._ends[-1]
        self.spelled = sum(part.spelled for part in parts)

    @cached_property
    def _foreign(self) -> list[frozenset[str]]:
        return [frozenset(self.names) - frozenset(part.names) for part in self.parts]

    def at(self, index: int) -> Option:
        part = bisect_right(self._ends, index)
        return self.parts[part].at(index - (self._ends[part] - self.parts[part].size))

    def find(self, keys: Mapping[str, str]) -> int | None:
        for part, end, foreign in zip(self.parts, self._ends, self._foreign, strict=True):
            place = part.find(keys) if foreign.isdisjoint(keys) else None
            if place is not None:
                return end - part.size + place
        return None


def spell(number: int | float) -> str:
    """The shortest spelling that reads back as ``number``, exponents without padding: ``1e-5``."""
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text
