"""Which rows a person asked for, in which order, and what their columns are: ``--where``, ``--sort``, ``--top``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper import model
from sweeper.errors import InputError
from sweeper.results.collecting import Configuration, Report
from sweeper.results.data import Run
from sweeper.results.numbers import total
from sweeper.results.rows import SHORT, column_names, flat_rows
from sweeper.results.target import did_you_mean


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person asked for. ``top`` 0 is all; a name in ``sort`` is ascending, with a ``-`` before it descending."""

    where: str = ""
    sort: tuple[str, ...] = ()
    top: int = 0
    columns: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        return bool(self.sort or self.top)


def resolve(report: Report, word: str, option: str) -> str:
    """The full name of a column that a person named; ours may lack ``run_``. Raises InputError for an unknown one."""
    known = column_names([report]).order
    if word in known:
        return word
    if word in SHORT:
        return SHORT[word]
    raise InputError(f"{option} {word}: there is no such column{did_you_mean(word, known)}")


def chosen_runs(report: Report, choice: Choice) -> list[Run]:
    """The runs that the choice leaves, best first, or as ``sort`` says; cut to ``top`` where it is given."""
    runs = list(report.ranked)
    if choice.where:
        from sweeper.results.frames import choose

        numbers = choose(report, choice.where)
        runs = [run for run in runs if run.number in numbers]
    for key, descending in reversed(_keys(report, choice.sort)):
        runs = _sorted(runs, key, descending)
    return runs[: choice.top] if choice.top else runs


def narrowed(report: Report, where: str) -> Report:
    """The report of those runs alone for which the condition holds."""
    if not where:
        return report
    left = {run.number for run in chosen_runs(report, Choice(where=where))}
    return Report(report.sweep, tuple(run for run in report.runs if run.number in left), report.target, report.last)


def chosen_configurations(report: Report, choice: Choice) -> list[Configuration]:
    """The configurations of the runs that the choice leaves, best mean first or in the order of ``sort``."""
    report = narrowed(report, choice.where)
    configurations = list(report.configurations)
    for key, descending in reversed(_keys(report, choice.sort)):

        def value(one: Configuration, key: _Key = key) -> Any:
            if not key.mean:
                return key(one.first)
            runs = one.runs if key.every else report.shown(one)
            numbers = [number for run in runs if (number := key(run)) is not None and math.isfinite(number)]
            return total(numbers) / (1 if key.every else len(numbers)) if numbers else None

        configurations = _sorted(configurations, value, descending)
    return configurations[: choice.top] if choice.top else configurations


@dataclass(frozen=True, slots=True)
class _Key:
    """One column's values by run. Of a configuration it is their ``mean`` over the runs whose metrics its row shows, or
    their sum over ``every`` one of them."""

    rows: Mapping[int, Any]
    mean: bool
    every: bool

    def __call__(self, run: Run) -> Any:
        return self.rows[run.number]


def _keys(report: Report, sort: Sequence[str]) -> list[tuple[_Key, bool]]:
    if not sort:
        return []
    names = column_names([report])
    rows = {row["run_number"]: row for row in flat_rows(report, names)}
    metrics = {*names.last.values(), *names.best.values()}
    keys = []
    for word in sort:
        descending = word.startswith("-")
        name = resolve(report, word.removeprefix("-"), "--sort")
        values = {number: row[name] for number, row in rows.items()}
        keys.append((_Key(values, name in metrics or name == "run_seconds", name not in metrics), descending))
    return keys


def _sorted(items: list[Any], key: Callable[[Any], Any], descending: bool) -> list[Any]:
    """Sorted by numbers, then by text; what has no value last in either direction, and so what is NaN or infinite (a
    loss that diverged); ties stay as they are."""
    valued = [(item, _order(key(item))) for item in items]
    known = [(item, order) for item, order in valued if order is not None]
    known.sort(key=lambda pair: pair[1], reverse=descending)
    return [item for item, _ in known] + [item for item, order in valued if order is None]


def _order(value: Any) -> tuple[int, Any] | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, (int, float)):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if hasattr(value, "timestamp"):
        return (0, value.timestamp())
    return (2, model.canonical(value))
