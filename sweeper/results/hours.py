"""Where the time went: hours of computing, hours on the wall, and GPUs that stood idle between two runs.

The wall's hours are those in which the sweep was up: something ran, or waited for a GPU. Hours in which it was stopped,
or had not been launched again yet, are not among them, and leave no GPU "idle". A GPU is idle from one run's end to the
next one's start on it, as far as the sweep was up and that next run was not waiting for it: what it waited for was
then somebody else's.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.results.data import Run, Try

BRIDGED = 60.0  # seconds between two runs in which a sweep that starts the next one is still taken to be up

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Hours:
    """All in seconds. ``gpu`` counts an attempt once for each of its GPUs; ``idle`` is by GPU (``host:index``)."""

    compute: float = 0.0
    gpu: float = 0.0
    wall: float = 0.0
    waited: float = 0.0
    idle: dict[str, float] | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def idle_total(self) -> float:
        return sum((self.idle or {}).values())


def count_hours(runs: Sequence[Run], now: float | None = None) -> Hours:
    """Sum up all attempts; one that is still running counts up to ``now``."""
    now = time.time() if now is None else now
    tries = [(one, span) for run in runs for one in run.tries if (span := _span(one, now)) is not None]
    if not tries:
        return Hours()
    up = union(((start - one.waited, end) for one, (start, end) in tries), bridge=BRIDGED)
    lanes: dict[str, list[tuple[Try, Span]]] = {}
    for one, span in tries:
        for gpu in one.gpus:
            lanes.setdefault(f"{one.host}:{gpu}", []).append((one, span))
    return Hours(
        compute=sum(end - start for _, (start, end) in tries),
        gpu=sum((end - start) * len(one.gpus) for one, (start, end) in tries),
        wall=sum(end - start for start, end in up),
        waited=sum(one.waited for one, _ in tries),
        idle={name: _idle(lane, up) for name, lane in sorted(lanes.items())},
        started=up[0][0],
        ended=up[-1][1],
    )


def spent(run: Run, now: float | None = None) -> float | None:
    """The seconds of all attempts of a run, as ``count_hours`` sums them up; None where none began."""
    now = time.time() if now is None else now
    spans = [span for one in run.tries if (span := _span(one, now)) is not None]
    return sum(end - start for start, end in spans) if spans else run.seconds


def _span(one: Try, now: float) -> Span | None:
    if one.ended is not None:
        return (one.started, max(one.started, one.ended))
    return (one.started, max(one.started, now)) if one.state == "running" else None


def _idle(lane: Sequence[tuple[Try, Span]], up: Sequence[Span]) -> float:
    return sum(end - start for start, end in gaps(lane, up))


def gaps(lane: Sequence[tuple[Try, Span]], up: Sequence[Span]) -> list[Span]:
    """When a GPU stood idle between two runs; ``lane`` are the attempts on it, ``up`` when the sweep was up."""
    ordered = sorted(lane, key=lambda item: item[1])
    found: list[Span] = []
    busy_until = ordered[0][1][1] if ordered else 0.0
    ends = [end for _, end in up]
    for one, (start, end) in ordered[1:]:
        idle_until = start - one.waited
        for low, high in up[bisect_right(ends, busy_until) :]:
            if low >= idle_until:
                break
            left, right = max(low, busy_until), min(high, idle_until)
            if right > left:
                found.append((left, right))
        busy_until = max(busy_until, end)
    return found


def union(spans: Iterable[Span], bridge: float = 0.0) -> list[Span]:
    """Overlapping spans made one, in order; those no further apart than ``bridge`` seconds too."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + bridge:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def clock(seconds: float | None) -> str:
    """``0:12``, ``3:05:07``, ``2d 3:05:07``; tenths below ten seconds, since a quick run's 0:00 says nothing."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    text = f"{hours}:{minutes:02}:{secs:02}" if hours or days else f"{minutes}:{secs:02}"
    return f"{days}d {text}" if days else text
