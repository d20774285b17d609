"""The report's table before it is drawn: columns of text, for the terminal, Markdown and LaTeX alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeper import model
from sweeper.results.collecting import Configuration, Report
from sweeper.results.data import Run
from sweeper.results.hours import clock, spent
from sweeper.results.numbers import digits_for, mean_and_std, mean_std, number, places_for, total
from sweeper.results.rows import Names, as_text, column_names, flat_rows
from sweeper.results.selecting import Choice, chosen_configurations, chosen_runs, resolve

OTHER_METRICS = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """``text``, or a mean with its ``spread``, and over how many."""

    text: str
    spread: str = ""
    count: int = 0

    def __str__(self) -> str:
        return f"{self.text} ± {self.spread} ({self.count})" if self.spread else self.text


@dataclass(frozen=True, slots=True)
class Column:
    """``rank``: the lowest is kept longest where room is short. ``counts``: of the metric that counts. ``aligned``: of
    numbers whose decimal points stand under each other where letters are of one width."""

    title: str
    cells: Sequence[Cell]
    right: bool = False
    rank: float = 0.0
    counts: bool = False
    aligned: bool = False


@dataclass(frozen=True)
class Sheet:
    """What is shown. ``states`` is each row's state, ``best`` the rows with the best value of the metric that counts
    (more than one where they tie), ``left_out`` how many rows there are beyond these."""

    columns: Sequence[Column]
    states: Sequence[str]
    best: frozenset[int]
    left_out: int = 0
    notes: Sequence[str] = field(default_factory=tuple)


def run_sheet(report: Report, choice: Choice, *, limit: int = 0, paper: bool = False) -> Sheet:
    """One row per run; with ``paper`` only runs that count, and no columns of housekeeping."""
    runs = chosen_runs(report, choice)
    left_out = 0
    if paper:
        counted = {id(run) for run in report.counted}
        kept = [run for run in runs if id(run) in counted]
        left_out, runs = len(runs) - len(kept), kept
    elif limit and len(runs) > limit and not choice.top:
        left_out, runs = len(runs) - limit, runs[:limit]
    names = column_names([report])
    rows = flat_rows(report, names, runs)
    wanted = _columns(report, choice, names, paper)
    columns = [_run_column(report, names, name, rows, runs, rank) for rank, name in wanted]
    best = _best_rows(report, [report.value(run) for run in runs])
    return Sheet(columns, [run.state for run in runs], best, left_out)


def configuration_sheet(report: Report, choice: Choice, *, limit: int = 0, paper: bool = False) -> Sheet:
    """One row per configuration: mean ± standard deviation (n) over its repeats."""
    groups = chosen_configurations(report, choice)
    left_out = 0
    if paper:
        kept = [one for one in groups if one.values]
        left_out, groups = len(groups) - len(kept), kept
    elif limit and len(groups) > limit and not choice.top:
        left_out, groups = len(groups) - limit, groups[:limit]
    names = column_names([report])
    numbers = [run.number for one in groups for run in one.runs]
    flat = flat_rows(report, names, [run for one in groups for run in one.runs])
    rows = dict(zip(numbers, flat, strict=True))
    repeats = {names.params[name] for name in report.repeat}
    wanted = [(rank, name) for rank, name in _columns(report, choice, names, paper) if name not in repeats]
    if not choice.columns:
        wanted = [(rank, name) for rank, name in wanted if name not in ("run_number", "run_gpus")]
    columns = [_group_column(report, names, name, rows, groups, rank) for rank, name in wanted]
    states = [_state(one) for one in groups]
    return Sheet(columns, states, _best_rows(report, [one.mean for one in groups]), left_out)


def _best_rows(report: Report, values: Sequence[float]) -> frozenset[int]:
    known = [value for value in values if not math.isnan(value)]
    if report.target is None or not known:
        return frozenset()
    best = max(known) if report.target.direction == "max" else min(known)
    return frozenset(row for row, value in enumerate(values) if value == best)


def _state(one: Configuration) -> str:
    return model.DONE if one.values else one.first.state


def _columns(report: Report, choice: Choice, names: Names, paper: bool) -> list[tuple[float, str]]:
    """The columns to show, each with its rank."""
    if choice.columns:
        return [(0.0, resolve(report, word, "--columns")) for word in choice.columns]
    share = {effect.name: effect.share for effect in report.effects}
    varying = [(3.0 + 1 - share.get(name, 0.0), names.params[name]) for name in report.varying]
    shown: list[tuple[float, str]] = [] if paper else [(0.0, "run_number")]
    shown += varying
    main = counting_column(report, names)
    if main:
        shown.append((1.0, main))
    shown += [(7.0 + place, name) for place, name in enumerate(_other_metrics(report, names))]
    if not paper:
        shown += [(2.0, "run_state"), (5.0, "run_seconds")]
        if any(run.record.gpus for run in report.runs):
            shown.append((6.0, "run_gpus"))
    return shown


def counting_column(report: Report, names: Names) -> str | None:
    """The column in which the metric that counts is found."""
    if report.target is None or report.target.name not in names.last:
        return None
    return (names.last if report.last else names.best)[report.target.name]


def _other_metrics(report: Report, names: Names) -> list[str]:
    """Metrics that the file defines, and else the two next likely ones of which it is known which way is better."""
    target = report.target.name if report.target else None
    having = Counter(name for run in report.counted for name in run.metrics)
    others = [name for name in report.metric_names if name != target and 2 * having[name] >= len(report.counted)]
    defined = [name for name in others if name in report.sweep.patterns]
    chosen = defined or [name for name in others if name in names.best][:OTHER_METRICS]
    return [(names.last if report.last or name not in names.best else names.best)[name] for name in chosen]


def _title(name: str) -> str:
    if name == "run_number":
        return "#"
    return {"run_seconds": "time", "run_gpus": "GPU"}.get(name, name[4:] if name.startswith("run_") else name)


def _run_column(
    report: Report, names: Names, name: str, rows: Sequence[Mapping[str, Any]], runs: Sequence[Run], rank: float
) -> Column:
    counts = name == counting_column(report, names)
    values = [row[name] for row in rows]
    if name in names.params.values():
        own = next(key for key, column in names.params.items() if column == name)
        texts = [run.text(own) if own in run.record.params else "" for run in runs]
        return Column(name, [Cell(text) for text in texts], _numeric(values), rank)
    if name == "run_seconds":
        return Column("time", [Cell(clock(spent(run))) for run in runs], True, rank)
    if name == "run_state":
        texts = [run.state if run.record.wanted else f"{run.state}, gone" for run in runs]
        return Column("state", [Cell(text) for text in texts], False, rank)
    if name in names.last.values() or name in names.best.values():
        distinct = max(4, digits_for(value for value in values if value is not None))
        digits = report.digits if counts else distinct
        return Column(name, [Cell(number(value, digits)) for value in values], True, rank, counts, aligned=True)
    return Column(_title(name), [Cell(as_text(value)) for value in values], _numeric(values), rank)


def _numeric(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known)


def _group_column(
    report: Report,
    names: Names,
    name: str,
    rows: Mapping[int, Mapping[str, Any]],
    groups: Sequence[Configuration],
    rank: float,
) -> Column:
    if name in names.params.values() and name not in (names.params[key] for key in report.repeat):
        own = next(key for key, column in names.params.items() if column == name)
        firsts = [one.first for one in groups]
        texts = [run.text(own) if own in run.record.params else "" for run in firsts]
        return Column(name, [Cell(t) for t in texts], _numeric([r.record.params.get(own) for r in firsts]), rank)
    if name == "run_state":
        return Column("runs", [Cell(_states(one)) for one in groups], False, rank)
    if name in names.last.values() or name in names.best.values():
        counts = name == counting_column(report, names)
        groups_of = [[rows[run.number][name] for run in report.shown(one)] for one in groups]
        return Column(name, _mean_cells(groups_of, report.places if counts else None), True, rank, counts)
    if name == "run_seconds":
        known = [[seconds for run in one.runs if (seconds := spent(run)) is not None] for one in groups]
        return Column("time", [Cell(clock(total(one)) if one else "") for one in known], True, rank)
    cells = []
    for one in groups:
        distinct = dict.fromkeys(as_text(rows[run.number][name]) for run in one.runs)
        cells.append(Cell(", ".join(text for text in distinct if text)))
    return Column(_title(name), cells, False, rank)


def _states(one: Configuration) -> str:
    count = Counter(run.state if run.record.wanted else "gone" for run in one.runs)
    return ", ".join(f"{count[state]} {state}" for state in (*model.STATES, "gone") if count[state])


def _mean_cells(groups: Sequence[Sequence[float | None]], places: int | None) -> list[Cell]:
    known = [[value for value in group if value is not None and math.isfinite(value)] for group in groups]
    moments = [mean_and_std(group) for group in known]
    if places is None:
        places = places_for([mean for mean, _ in moments], [std for _, std in moments])
    cells = []
    for group, (mean, std) in zip(known, moments, strict=True):
        text, spread = mean_std(mean, std, places)
        cells.append(Cell(text, spread, len(group)) if spread else Cell(f"{text} (1)" if group else ""))
    return cells
