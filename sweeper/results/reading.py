"""The facts of every run, read once and kept: metrics, attempts, and why it ended badly.

What was read of a run that has ended is kept in one file of the sweep, since opening some files for each of 10,000
runs takes seconds. An entry holds as long as the run's state and attempts, its log, and what it wrote as metrics are
the same by size and time. The file is a cache: absent, damaged, unwritable or of another format, it costs only time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper import metrics, model, paths
from sweeper.metrics.store import VERSION as READER
from sweeper.model import RunRecord
from sweeper.results.causes import find_cause
from sweeper.results.data import ENDED_BADLY, Run, Stat, SweepData, Try, read_tries
from sweeper.version import VERSION

FORMAT = 1


@dataclass(frozen=True, slots=True)
class _Cache:
    entries: dict[str, Any]
    path: Path
    stamp: str


def read_runs(sweep: SweepData) -> list[Run]:
    """Every run of the sweep with its facts, in the order of the records.

    Metrics that cannot be read (a folder deleted or closed to us) are missing, and the run is there all the same.
    """
    cache = _load(paths.SweepDir(sweep.folder).report_cache, sweep.patterns)
    fresh: dict[str, Any] = {}
    runs = []
    changed = False
    for record in sweep.records:
        if record.folder is None:
            runs.append(Run(record, {}, ()))
            continue
        name = os.path.basename(record.folder)
        mark = _mark(record)
        entry = cache.entries.get(name)
        run = _from_entry(record, entry, mark) if entry is not None else None
        if run is None:
            run = _read(record, sweep.patterns)
            entry = _entry(run, mark)
            changed = changed or record.state in model.OUTCOMES
        if record.state in model.OUTCOMES:
            fresh[name] = entry
        runs.append(run)
    if changed:
        _store(cache, fresh)
    return called_alike(runs)


def called_alike(runs: Sequence[Run]) -> list[Run]:
    """The runs with one name for one metric: a log that has spoken of the training alone says ``loss`` for what is
    ``train_loss`` once it speaks of the validation too, as the logs of runs that are further on do."""
    names = {name for run in runs for name in run.metrics}
    made = []
    for run in runs:
        renamed = {}
        for name, stat in run.metrics.items():
            full = f"{stat.part}_{name}"
            if stat.part and full in names and full not in run.metrics:
                renamed[name] = full
        if renamed:
            stats = {renamed.get(name, name): stat for name, stat in run.metrics.items()}
            run = replace(run, metrics=stats, renamed=renamed)
        made.append(run)
    return made


def _mark(record: RunRecord) -> list[Any]:
    """What must be unchanged for a kept entry to hold."""
    assert record.folder is not None
    mark: list[Any] = [record.key, record.state, record.attempts, record.ended]
    for name in ("log.txt", "metrics.jsonl"):
        try:
            status = os.stat(f"{record.folder}/{name}")
        except OSError:
            mark.append(None)
        else:
            mark += [status.st_size, status.st_mtime_ns]
    return mark


def _read(record: RunRecord, patterns: Mapping[str, str]) -> Run:
    assert record.folder is not None
    run_dir = paths.RunDir(Path(record.folder))
    try:
        series = metrics.read(run_dir, params=record.params, patterns=patterns).series
    except OSError:  # deleted or forbidden meanwhile: the report shows the other runs
        series = {}
    stats = {name: _stat(one) for name, one in series.items()}
    tries = read_tries(record)
    if record.state == model.LOST:
        record, tries = _end_of_lost(record, tries)
    cause = find_cause(record) if record.state in ENDED_BADLY else ""
    return Run(record, stats, tries, cause)


def _stat(series: metrics.Series) -> Stat:
    step = series.last_step
    return Stat(
        last=float(series.last),
        min=float(series.min),
        max=float(series.max),
        last_step=float("nan") if step is None else float(step),
        points=series.count,
        step_name=series.step_name or "step",
        part=series.part,
    )


def _end_of_lost(record: RunRecord, tries: tuple[Try, ...]) -> tuple[RunRecord, tuple[Try, ...]]:
    """A lost run wrote no end; its log's last change is the best witness of it."""
    assert record.folder is not None
    try:
        ended = os.stat(f"{record.folder}/log.txt").st_mtime
    except OSError:
        return record, tries
    if record.ended is not None or record.started is None or not tries:
        return record, tries
    ended = max(ended, record.started)
    return replace(record, ended=ended), (*tries[:-1], tries[-1]._replace(ended=ended))


def _stamp(patterns: Mapping[str, str]) -> str:
    reader = [FORMAT, VERSION, READER, sorted(patterns.items())]
    return hashlib.sha256(json.dumps(reader).encode()).hexdigest()


def _load(path: Path, patterns: Mapping[str, str]) -> _Cache:
    stamp = _stamp(patterns)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError, RecursionError):
        return _Cache({}, path, stamp)
    if not isinstance(data, dict) or data.get("stamp") != stamp or not isinstance(data.get("runs"), dict):
        return _Cache({}, path, stamp)
    return _Cache(data["runs"], path, stamp)


def _store(cache: _Cache, entries: Mapping[str, Any]) -> None:
    text = json.dumps({"stamp": cache.stamp, "runs": entries}, separators=(",", ":"))
    try:
        paths.replace(cache.path, text)
    except OSError:  # another user's sweep, a full or a read-only disk: the next report reads it all again
        return


def _entry(run: Run, mark: list[Any]) -> list[Any]:
    return [mark, run.record.ended, run.cause, [list(one) for one in run.tries], _listed(run.metrics.items())]


def _listed(stats: Iterable[tuple[str, Stat]]) -> list[Any]:
    return [[name, *stat] for name, stat in stats]


def _from_entry(record: RunRecord, entry: Any, mark: list[Any]) -> Run | None:
    """The run that an entry keeps; None where it no longer holds, or is not what this version writes."""
    try:
        kept, ended, cause, tries, stats = entry
        if kept != mark:
            return None
        made = tuple(
            Try(n, state, start, end, wait, tuple(gpus), *at) for n, state, start, end, wait, gpus, *at in tries
        )
        known = {one[0]: Stat(*one[1:]) for one in stats}
    except (TypeError, ValueError):
        return None
    if ended != record.ended:
        record = replace(record, ended=ended)
    return Run(record, known, made, str(cause))
