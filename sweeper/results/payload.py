"""What the page shows, as plain data that JSON can hold: columns for rows, curves thinned, logs cut to their ends."""

from __future__ import annotations

import heapq
import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from sweeper import model
from sweeper.results.causes import last_words
from sweeper.results.collecting import Configuration, Report
from sweeper.results.data import ENDED_BADLY, Run, Try
from sweeper.results.hours import BRIDGED, gaps, union
from sweeper.results.learning import read_curves, thin
from sweeper.results.numbers import mean_and_std
from sweeper.results.rows import direction
from sweeper.results.words import label, morning_line, summary

POINTS = 400_000  # of all curves together: some 4 MB
LINE_LENGTH = 400
TAIL_LINES = 25
TAILS = 400  # runs whose last lines are kept; beyond that each group's first few

_STATES = {state: number for number, state in enumerate(model.STATES)}


def payload(reports: Sequence[Report]) -> dict[str, Any]:
    """The page's data; everything in it is text, a finite number, a boolean, null, a list or a mapping of these."""
    return {"states": list(model.STATES), "sweeps": [_sweep(report) for report in reports]}


def _sweep(report: Report) -> dict[str, Any]:
    place = {id(run): number for number, run in enumerate(report.runs)}
    target, hours = report.target, report.hours
    return {
        "name": report.sweep.name,
        "shellName": shlex.quote(report.sweep.name),
        "line": morning_line(report),
        "summary": [
            {"about": one.about, "text": one.text, "tone": one.tone, "command": one.command}
            for one in summary(report)
            if not one.command.endswith(" --open")  # that is this page
        ],
        "counts": dict(report.sweep.counts),
        "hours": {
            "compute": _short(hours.compute),
            "wall": _short(hours.wall),
            "waited": _short(hours.waited),
            "idle": _short(hours.idle_total),
            "gpus": len(hours.idle or {}),
        },
        "target": {"name": target.name, "direction": target.direction, "chosen": target.chosen} if target else None,
        "last": report.last,
        "repeat": list(report.repeat),
        "params": [_parameter(report, name) for name in report.params],
        "varying": list(report.varying),
        "metrics": [_metric(report, name) for name in report.metric_names],
        "value": [_short(report.value(run)) for run in report.runs],
        "counted": sorted(place[id(run)] for run in report.counted),
        "digits": report.digits,
        "places": report.places,
        "tied": len(report.leaders),
        "order": [place[id(run)] for run in report.ranked],
        "gone": [place[id(run)] for run in report.runs if not run.record.wanted],
        "best": place[id(report.best)] if report.best else None,
        "runs": _runs(report.runs),
        "effects": [
            {
                "name": one.name,
                "share": _short(one.share),
                "clear": one.clear,
                "digits": one.digits,
                "levels": [[lv.text, _short(lv.mean), _short(lv.std), lv.count, _short(lv.best)] for lv in one.levels],
            }
            for one in report.effects
        ],
        "noise": _short(report.noise),
        "configurations": [_configuration(report, one, place) for one in report.configurations]
        if report.repeat
        else [],
        "withinNoise": report.lead.within_noise if report.lead else None,
        "failures": _failures(report, place),
        "tails": _tails(report, place),
        "curves": _curves(report),
        **_timeline(report.runs),
    }


def _configuration(report: Report, one: Configuration, place: dict[int, int]) -> dict[str, Any]:
    values = [value for run in report.shown(one) if not math.isnan(value := report.value(run))]
    mean, std = mean_and_std(values)
    return {
        "runs": [place[id(run)] for run in one.runs],
        "mean": _short(mean),
        "std": _short(std),
        "n": len(values),
        "label": label(report, one),
    }


def _short(value: float | None, digits: int = 6) -> float | None:
    """Six digits draw any picture; null for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 2**53 else short


def _parameter(report: Report, name: str) -> dict[str, Any]:
    """A parameter's distinct values in order, and for each run the place of its own among them (null: it has none)."""
    records = [run.record for run in report.runs]
    keys = [model.canonical(record.params[name]) if name in record.params else None for record in records]
    first = {key: run for key, run in zip(reversed(keys), reversed(report.runs), strict=True) if key is not None}
    numbers = {key: _number(run.record.params[name]) for key, run in first.items()}
    numeric = bool(numbers) and all(number is not None for number in numbers.values())
    order = sorted(first, key=lambda key: numbers[key] or 0.0) if numeric else list(dict.fromkeys(k for k in keys if k))
    index = {key: number for number, key in enumerate(order)}
    return {
        "name": name,
        "numeric": numeric,
        "texts": [first[key].text(name)[:200] for key in order],
        "numbers": [numbers[key] for key in order] if numeric else None,
        "of": [None if key is None else index[key] for key in keys],
    }


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _metric(report: Report, name: str) -> dict[str, Any]:
    way = direction(report, name)
    stats = [run.metrics.get(name) for run in report.runs]
    return {
        "name": name,
        "direction": way,
        "last": [None if one is None else _short(one.last) for one in stats],
        "best": None if way is None else [None if one is None else _short(one.best(way)) for one in stats],
    }


def _runs(runs: Sequence[Run]) -> dict[str, list[Any]]:
    records = [run.record for run in runs]
    return {
        "number": [record.number for record in records],
        "state": [_STATES[record.state] for record in records],
        "seconds": [_short(run.seconds) for run in runs],
        "started": [None if record.started is None else round(record.started, 1) for record in records],
        "gpus": [",".join(record.gpus) for record in records],
        "attempts": [record.attempts for record in records],
        "cause": [run.cause[:LINE_LENGTH] for run in runs],
        "git": [(run.tries[-1].git or "")[:10] if run.tries else "" for run in runs],
        "folder": [(record.folder or "").rpartition("/")[2] for record in records],
    }


def _failures(report: Report, place: dict[int, int]) -> list[dict[str, Any]]:
    return [
        {
            "state": one.state,
            "cause": one.cause[:LINE_LENGTH],
            "runs": [place[id(run)] for run in one.runs],
            "common": [str(common) for common in one.common],
            "example": place[id(one.example)],
        }
        for one in report.failures
    ]


def _tails(report: Report, place: dict[int, int]) -> dict[str, list[str]]:
    """The last lines of runs that ended badly; of each group the example first, where there are too many of them."""
    groups = report.failures
    share = TAILS if sum(one.count for one in groups) <= TAILS else max(1, TAILS // len(groups))
    chosen = [
        run for one in groups[:TAILS] for run in heapq.nsmallest(share, one.runs, key=lambda r: r is not one.example)
    ]
    return {
        str(place[id(run)]): [line[:LINE_LENGTH] for line in last_words(run.record, TAIL_LINES)]
        for run in chosen
        if run.state in ENDED_BADLY
    }


def _curves(report: Report) -> list[dict[str, Any]]:
    """Of each metric with more than a point or two: its curves, and the distinct lists of steps that they share."""
    curved = [
        name
        for name in report.metric_names
        if any(run.metrics[name].points > 1 for run in report.runs if name in run.metrics)
    ]
    curved.sort(key=lambda name: (report.target is None or name != report.target.name, direction(report, name) is None))
    curved = curved[: 12 if len(report.runs) <= 500 else 6]
    if not curved:
        return []
    most = max(16, min(500, POINTS // (len(report.runs) * len(curved))))
    made: dict[str, dict[str, Any]] = {
        name: {"name": name, "step": "step", "steps": [], "of": [], "y": []} for name in curved
    }
    known: dict[str, dict[tuple[float, ...], int]] = {name: {} for name in curved}
    for run in report.runs:
        series = read_curves(report, run)
        for name in curved:
            one, steps = made[name], known[name]
            if name not in series:
                one["of"].append(None)
                one["y"].append(None)
                continue
            points = thin([(x, y) for x, y in series[name].points if math.isfinite(x)], most)
            xs = tuple(float(f"{x:.7g}") for x, _ in points)
            one["step"] = series[name].step_name or one["step"]
            one["of"].append(steps.setdefault(xs, len(steps)))
            one["y"].append([_short(y, 5) for _, y in points])
    for name in curved:
        made[name]["steps"] = [[int(x) if x == int(x) else x for x in xs] for xs in known[name]]
    return [made[name] for name in curved]


def _timeline(runs: Sequence[Run]) -> dict[str, Any]:
    """Lanes (a GPU each, or where there are none as many as ran at once), who was there when, and the idle gaps."""
    spans = [
        (one, number, (one.started, max(one.started, one.ended) if one.ended else None))
        for number, run in enumerate(runs)
        for one in run.tries
        if one.ended is not None or one.state == model.RUNNING
    ]
    if not spans:
        return {"lanes": [], "tries": [], "gaps": []}
    latest = max(max(one.started, one.ended or 0.0) for one, _, _ in spans)
    closed = [(one, number, (start, end or latest)) for one, number, (start, end) in spans]
    up = union(((start - one.waited, end) for one, _, (start, end) in closed), bridge=BRIDGED)
    several = len({one.host for one, _, _ in spans}) > 1
    lanes: dict[str, list[tuple[Try, int, tuple[float, float]]]] = {}
    for item in sorted((item for item in closed if item[0].gpus), key=lambda item: _lane_order(item[0])):
        for gpu in item[0].gpus:
            lanes.setdefault(f"{item[0].host} · GPU {gpu}" if several else f"GPU {gpu}", []).append(item)
    on_gpu = set(lanes)
    lanes.update(_slots([item for item in closed if not item[0].gpus]))
    names = sorted(lanes, key=_natural)
    return {
        "lanes": names,
        "tries": [
            [number, lane, round(start, 1), round(end, 1), _STATES[one.state], round(one.waited, 1), one.number]
            for lane, name in enumerate(names)
            for one, number, (start, end) in lanes[name]
        ],
        "gaps": [
            [lane, round(start, 1), round(end, 1)]
            for lane, name in enumerate(names)
            if name in on_gpu
            for start, end in gaps([(one, span) for one, _, span in lanes[name]], up)
        ],
    }


def _lane_order(one: Try) -> tuple[str, float]:
    return (one.host, one.started)


def _natural(name: str) -> list[Any]:
    """GPU 2 before GPU 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split()]


def _slots(
    items: Iterable[tuple[Try, int, tuple[float, float]]],
) -> list[tuple[str, list[tuple[Try, int, tuple[float, float]]]]]:
    """Runs without a GPU put into as few lanes as ran at once: each into the lane that has been free the longest."""
    free: list[tuple[float, int]] = []
    slots: list[list[tuple[Try, int, tuple[float, float]]]] = []
    for item in sorted(items, key=lambda item: item[2]):
        start, end = item[2]
        if free and free[0][0] <= start + 0.001:
            _, slot = heapq.heappop(free)
        else:
            slot = len(slots)
            slots.append([])
        slots[slot].append(item)
        heapq.heappush(free, (end, slot))
    return [(f"slot {number + 1}", slot) for number, slot in enumerate(slots)]
