"""The flat form of a report: one row per run, each value under a name that no other has.

Parameters and metrics have their own names; a metric's is ``metric.NAME`` where a parameter has that name, and its best
value is ``NAME_best``. Columns of ours start with ``run_``, and a parameter of such a name is ``param.NAME``.

| column | type | what |
| --- | --- | --- |
| run_sweep | text | the sweep's name |
| run_number | integer | the run's number in the sweep |
| run_state | text | done, failed, timeout, out_of_memory, stopped, lost, running, waiting or queued |
| (parameters) | integer, number, boolean or text | as in the sweep file; a list or mapping as JSON |
| (metrics) | number | the last value |
| NAME_best | number | the best value over the curve, where it is known which way is better |
| run_seconds | number | how long all its attempts took together |
| run_started, run_ended | time (UTC) | of the last attempt |
| run_gpus, run_host | text | where the last attempt ran; GPUs as ``0,1`` |
| run_attempts, run_exit_code, run_signal | integer | how many attempts, and how the last one ended |
| run_cause | text | why it ended badly, in one line |
| run_git | text | the commit that was checked out |
| run_wanted | boolean | false for a run that is gone from the sweep file |
| run_key, run_folder | text | its identity across launches, and where it is |
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sweeper import metrics
from sweeper.results.collecting import Report
from sweeper.results.data import Run

OWN = (
    "run_sweep",
    "run_number",
    "run_state",
    "run_seconds",
    "run_started",
    "run_ended",
    "run_gpus",
    "run_host",
    "run_attempts",
    "run_exit_code",
    "run_signal",
    "run_cause",
    "run_git",
    "run_wanted",
    "run_key",
    "run_folder",
)
TIMES = ("run_started", "run_ended")
SHORT = {"run": "run_number", "time": "run_seconds", "gpu": "run_gpus"} | {name[4:]: name for name in OWN}  # as typed


@dataclass(frozen=True)
class Names:
    """Which column each parameter, each metric's last value and each metric's best value is found in."""

    params: Mapping[str, str]
    last: Mapping[str, str]
    best: Mapping[str, str]

    @property
    def order(self) -> list[str]:
        return [*OWN[:3], *self.params.values(), *self.last.values(), *self.best.values(), *OWN[3:]]


def column_names(reports: Sequence[Report]) -> Names:
    """Names for the columns of several sweeps' runs in one table."""
    taken = set(OWN)
    params: dict[str, str] = {}
    for name in dict.fromkeys(name for report in reports for name in report.params):
        params[name] = _free(name, f"param.{name}", taken)
    metric_names = list(dict.fromkeys(name for report in reports for name in report.metric_names))
    last = {name: _free(name, f"metric.{name}", taken) for name in metric_names}
    best = {
        name: _free(f"{name}_best", f"metric.{name}_best", taken)
        for name in metric_names
        if any(direction(report, name) for report in reports)
    }
    return Names(params, last, best)


def _free(name: str, other: str, taken: set[str]) -> str:
    chosen = name if name not in taken else other
    while chosen in taken:
        chosen += "_"
    taken.add(chosen)
    return chosen


def direction(report: Report, name: str) -> str | None:
    """Which way metric ``name`` is better, "max" or "min"; None where nobody can say."""
    if report.target is not None and name == report.target.name:
        return report.target.direction
    return metrics.direction(name)


def flat_rows(report: Report, names: Names, runs: Sequence[Run] | None = None) -> list[dict[str, Any]]:
    """One dict per run in plain Python types: numbers, text, booleans, lists and mappings, None; times as datetime.

    Every row has every column of ``names``.
    """
    ways = {name: direction(report, name) for name in report.metric_names}
    blank: dict[str, Any] = dict.fromkeys(names.order)
    return [_row(report, run, names, ways, blank) for run in (report.runs if runs is None else runs)]


def _row(
    report: Report, run: Run, names: Names, ways: Mapping[str, str | None], blank: Mapping[str, Any]
) -> dict[str, Any]:
    record = run.record
    row = dict(blank)
    row.update(
        run_sweep=report.sweep.name,
        run_number=record.number,
        run_state=record.state,
        run_seconds=run.seconds,
        run_started=_time(record.started),
        run_ended=_time(record.ended),
        run_gpus=",".join(record.gpus),
        run_host=record.host,
        run_attempts=record.attempts,
        run_exit_code=record.exit_code,
        run_signal=record.signal,
        run_cause=run.cause or None,
        run_git=run.tries[-1].git if run.tries else None,
        run_wanted=record.wanted,
        run_key=record.key,
        run_folder=record.folder,
    )
    for name, value in record.params.items():
        row[names.params[name]] = value
    for name, stat in run.metrics.items():
        row[names.last[name]] = stat.last
        way = ways[name]
        if way is not None:
            row[names.best[name]] = stat.best(way)
    return row


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def plain(value: Any) -> Any:
    """A value as strict JSON can hold it: NaN and infinities are null, times ISO 8601 in UTC."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def as_text(value: Any) -> str:
    """A value as one cell of text: nothing for null and NaN, JSON for lists and mappings."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
