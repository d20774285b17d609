"""What a report is made from: a sweep's runs, their attempts and their metrics, as plain immutable types."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from sweeper import folders, model, paths
from sweeper.model import RunRecord

T = TypeVar("T")
LONG_NUMBER = 9  # characters; what a generator or a random search made, not a person
ENDED_BADLY = (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY, model.LOST)


@dataclass(frozen=True)
class SweepData:
    """A sweep as the store knows it, or as its folders say.

    ``records`` are the runs that anybody has touched, ``counts`` how many *wanted* runs are in each state, untouched
    ones included. ``repeat`` names the parameters that only repeat a configuration (a seed); ``patterns`` are the sweep
    file's own ``metrics:``; ``parallel`` is how many may run at once (None: unknown). ``file`` is what one types after
    ``sweep`` to launch it again, where that is known.
    """

    name: str
    folder: Path
    records: Sequence[RunRecord]
    counts: Mapping[str, int]
    repeat: tuple[str, ...] = ()
    maximize: str | None = None
    minimize: str | None = None
    patterns: Mapping[str, str] = field(default_factory=dict)
    parallel: int | None = None
    file: str | None = None


class Stat(NamedTuple):
    """One metric of one run: its last value, its extremes, and where it stands on which axis."""

    last: float
    min: float
    max: float
    last_step: float
    points: int
    step_name: str
    part: str = ""  # of the data, known without being in the metric's name

    def best(self, direction: str) -> float:
        return self.max if direction == "max" else self.min


class Try(NamedTuple):
    """One attempt: unix seconds, GPUs by name, ``waited`` seconds for them before it started, and how it ended."""

    number: int
    state: str
    started: float
    ended: float | None
    waited: float
    gpus: tuple[str, ...]
    host: str
    git: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run with all that a report says of it. ``cause`` is one line: why it ended badly ("" where it did not)."""

    record: RunRecord
    metrics: Mapping[str, Stat]
    tries: tuple[Try, ...]
    cause: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)  # metrics that the other runs' logs call by more words

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def number(self) -> int:
        return self.record.number

    def text(self, name: str) -> str:
        """A parameter's value as one reads it: as the sweep file spells it, but of a long fraction five digits."""
        text = self.record.text(name)
        value = self.record.params[name]
        return f"{value:.5g}" if isinstance(value, float) and len(text) > LONG_NUMBER else text

    @property
    def seconds(self) -> float | None:
        """How long all its attempts took together; None while one runs, or where no end of the last is known."""
        if self.record.started is None or self.record.ended is None:
            return None
        last = max(0.0, self.record.ended - self.record.started)
        return last + sum(max(0.0, one.ended - one.started) for one in self.tries[:-1] if one.ended is not None)


def from_folders(path: Path, **settings: object) -> SweepData:
    """A sweep from its run folders alone: for one without database, or from elsewhere.

    ``settings`` are fields of SweepData that folders do not tell (``repeat``, ``maximize``...). Raises OSError where
    the folder cannot be read.
    """
    found = []
    for number, run in folders.run_folders(paths.SweepDir(path)):
        with contextlib.suppress(PermissionError):  # the others are reported all the same
            found.append(_record(number, run))
    records = sorted((record for record in found if record is not None), key=lambda record: record.number)
    counts = Counter(record.state for record in records)
    data = SweepData(name=path.name, folder=path, records=records, counts=counts)
    return SweepData(**{**{name: getattr(data, name) for name in data.__dataclass_fields__}, **settings})


def _record(number: int, run: paths.RunDir) -> RunRecord | None:
    job = folders.read_job(run)
    if job is None:
        return None
    past = folders.history(run)
    if past.outcome is not None:
        state = past.outcome.outcome
    elif past.attempts == 0:
        state = model.WAITING if folders.is_held(run.lock) else model.QUEUED
    else:
        state = model.RUNNING if folders.is_held(run.lock) else model.LOST
    return replace(folders.record(run, job, past, state), number=number)


def read_tries(record: RunRecord) -> tuple[Try, ...]:
    """Every attempt of a run, oldest first, from its folder; one whose file is damaged or closed to us is left out."""
    if record.folder is None:
        return ()
    run = paths.RunDir(Path(record.folder))
    tries = []
    for number in range(1, record.attempts + 1):
        attempt = _readable(folders.read_attempt, run, number)
        last = number == record.attempts
        if attempt is None and not last:
            continue
        if last:  # the record has the outcome already: one file less to open for most runs
            state, ended = record.state, record.ended
        else:
            outcome = _readable(folders.read_outcome, run, number)
            state, ended = (outcome.outcome, outcome.ended) if outcome else (model.LOST, None)
        started = attempt.started if attempt else record.started
        if started is None:
            continue
        tries.append(
            Try(
                number=number,
                state=state,
                started=started,
                ended=ended,
                waited=attempt.waited if attempt else 0.0,
                gpus=tuple(attempt.gpus if attempt else record.gpus),
                host=(attempt.host if attempt else record.host) or "",
                git=attempt.git if attempt else None,
            )
        )
    return tuple(tries)


def _readable(read: Callable[[paths.RunDir, int], T | None], run: paths.RunDir, number: int) -> T | None:
    try:
        return read(run, number)
    except OSError:
        return None
