"""What is known of a metric: its last, least and greatest value exactly, and its curve, thinned."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

POINTS = 2000  # a curve keeps at most this many points, evenly thinned
Point = tuple[int, float, float]  # (place in the log, step, value)


_PLAIN = (
    "count",
    "distinct",
    "last",
    "last_seq",
    "last_step",
    "max",
    "max_at",
    "max_step",
    "min",
    "min_at",
    "min_step",
    "stride",
)


_place = operator.itemgetter(0)


class Curve:
    """The values of one metric as they come in; memory does not grow beyond POINTS points."""

    __slots__ = (*_PLAIN, "points")

    def __init__(self) -> None:
        self.count = self.distinct = 0
        self.last = self.last_step = math.nan
        self.last_seq = -1
        self.min = self.max = self.min_step = self.max_step = math.nan
        self.min_at = self.max_at = -1  # which value it was, counted from 0
        self.stride = 1  # every stride-th value is kept
        self.points: list[Point] = []

    def extend(self, seqs: Sequence[int], steps: Sequence[float] | None, values: Sequence[float]) -> None:
        """Append ``values`` in the order of the log; without ``steps`` they are counted on."""
        size = len(values)
        if steps is None:
            steps = range(self.count, self.count + size)
        total = sum(values)
        if total == total:  # no NaN: what is left can be compared
            low, high = min(values), max(values)
        else:
            known = [value for value in values if value == value]
            low, high = (min(known), max(known)) if known else (math.nan, math.nan)
        if low == low:
            if not self.min <= low:
                at = values.index(low)
                self.min, self.min_step, self.min_at = low, float(steps[at]), self.count + at
            if not self.max >= high:
                at = values.index(high)
                self.max, self.max_step, self.max_at = high, float(steps[at]), self.count + at
        self.last, self.last_step, self.last_seq = values[-1], float(steps[-1]), seqs[-1]
        self.distinct += len(set(steps))
        first = -self.count % self.stride
        self.count += size
        if self.stride == 1:
            self.points.extend(zip(seqs, steps, values, strict=True))
        elif first < size:
            every = slice(first, None, self.stride)
            self.points.extend(zip(seqs[every], steps[every], values[every], strict=True))
        while len(self.points) > POINTS:
            del self.points[1::2]
            self.stride *= 2

    def absorb(self, other: Curve) -> None:
        """Take in another curve of the same metric, in the order of the log."""
        later = other if other.last_seq >= self.last_seq else self
        if not self.min <= other.min and other.min == other.min:
            self.min, self.min_step, self.min_at = other.min, other.min_step, other.min_at
        if not self.max >= other.max and other.max == other.max:
            self.max, self.max_step, self.max_at = other.max, other.max_step, other.max_at
        self.last, self.last_step, self.last_seq = later.last, later.last_step, later.last_seq
        self.count += other.count
        self.distinct += other.distinct
        self.points = sorted([*self.points, *other.points], key=_place)
        self.stride = max(self.stride, other.stride)
        while len(self.points) > POINTS:
            del self.points[1::2]

    def copy(self) -> Curve:
        twin = Curve()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.points = list(self.points)
        return twin

    def to_json(self) -> list[Any]:
        return [[getattr(self, name) for name in _PLAIN], [list(column) for column in zip(*self.points, strict=True)]]

    @classmethod
    def from_json(cls, data: Any) -> Curve:
        curve = cls()
        for name, value in zip(_PLAIN, data[0], strict=True):
            setattr(curve, name, value)
        curve.points = list(zip(*data[1], strict=True))
        return curve


@dataclass(frozen=True)
class Series:
    """One metric of one run.

    ``last``, ``min`` and ``max`` are exact (NaN counts as a last value only; all are NaN where nothing else was seen),
    ``count`` is how many values the log has. ``points`` are (step, value) in the order of the log, thinned to about
    2,000; steps are epochs or steps where the log names them (``step_name``: ``epoch``, ``step``), else a running
    index from 0 (``step_name``: ``index``). ``part`` is the part of the data that is known of it without being in its
    name, as long as the log has spoken of no other: ``train``, ``val``, ``test``, ``eval``, or "".
    """

    name: str
    last: float
    min: float
    max: float
    last_step: float
    min_step: float
    max_step: float
    count: int
    step_name: str = "index"
    part: str = ""
    load: Callable[[], list[tuple[float, float]]] = field(default=list, repr=False, compare=False)

    @property
    def points(self) -> list[tuple[float, float]]:
        return self.load()

    def best(self, direction: str | None = None) -> float:
        """The best value over the curve: ``'max'`` or ``'min'``, or as the name says, else the last."""
        return self.last if (way := self._way(direction)) is None else self.max if way == "max" else self.min

    def best_step(self, direction: str | None = None) -> float:
        way = self._way(direction)
        return self.last_step if way is None else self.max_step if way == "max" else self.min_step

    def _way(self, direction: str | None) -> str | None:
        from sweeper.metrics import names

        return direction or names.direction(self.name)


@dataclass(frozen=True)
class Metrics:
    """Everything that a run's log says: its metrics by name in the order they appeared, and how far it is.

    ``epoch`` of ``epochs_total`` and ``step`` of ``steps_total`` are None where the log does not say.
    """

    series: dict[str, Series] = field(default_factory=dict)
    epoch: float | None = None
    epochs_total: float | None = None
    step: float | None = None
    steps_total: float | None = None

    @property
    def last(self) -> dict[str, float]:
        return {name: series.last for name, series in self.series.items()}
