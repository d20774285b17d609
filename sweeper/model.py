"""The plain types that every module speaks in: values, runs, attempts, outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# The states of a run. The first three are of runs that have no outcome yet; the others are outcomes.
QUEUED, WAITING, RUNNING = "queued", "waiting", "running"
DONE, FAILED, TIMEOUT, OUT_OF_MEMORY, STOPPED, LOST = (
    "done",
    "failed",
    "timeout",
    "out_of_memory",
    "stopped",
    "lost",
)
UNFINISHED = (QUEUED, WAITING, RUNNING)
OUTCOMES = (DONE, FAILED, TIMEOUT, OUT_OF_MEMORY, STOPPED, LOST)
STATES = UNFINISHED + OUTCOMES


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a parameter: what it is, and how the sweep file spells it.

    ``value`` is what YAML says (number, string, bool, None, list or dict of these); ``text`` is the spelling of a
    plain number (``1e-5``), so that it reaches the command as it was written, and None for everything else.
    """

    value: Any
    text: str | None = None


MAX_SHARE = 16  # runs on one GPU; each has a lock of its own there

Params = Mapping[str, Value]


def _is_int(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63  # as SQLite holds it


def _is_float(value: Any) -> bool:
    return type(value) in (int, float) and -1e11 < value < 1e11  # as dates go


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": _is_int,
    "float": _is_float,
    "str": _is_text,
    "bool": lambda value: isinstance(value, bool),
    "dict[str, Any]": _is_dict,
    "dict[str, str]": lambda value: _is_dict(value) and all(map(_is_text, value.values())),
    "list[str]": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "tuple[int, ...]": lambda value: isinstance(value, (list, tuple)) and all(map(_is_int, value)),
    "GpuRequest": _is_dict,
}


def _known(cls: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``cls`` that ``data`` has. Raises TypeError where one is not what it is said to be: other programs
    and broken disks write files too."""
    known = {}
    for name, item in cls.__dataclass_fields__.items():
        if name in data:
            kind, _, optional = item.type.partition(" | ")
            if not ((optional and data[name] is None) or _CHECKS[kind](data[name])):
                raise TypeError(f"{name} is not of type {item.type}")
            known[name] = data[name]
    return known


def canonical(value: Any) -> str:
    """The one JSON spelling of a parameter's value; two values are the same exactly when this is the same."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """What a run asks of the GPUs; sizes in bytes. ``count`` None means all of those allowed.

    ``more_than`` is what was free where an earlier attempt ran out of memory: more than that is looked for, as far as
    any allowed GPU can have it.
    """

    count: int | None = 0
    allowed: tuple[int, ...] | None = None
    per_gpu: int = 1
    memory: int = 0
    busy_above: int = 500_000_000
    ignore_others: bool = False
    keep_free: int = 0
    more_than: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GpuRequest:
        """Raises TypeError where a field is of another type."""
        known = _known(cls, data)
        allowed = known.get("allowed")
        return cls(**{**known, "allowed": None if allowed is None else tuple(allowed)})


@dataclass(frozen=True, slots=True)
class Job:
    """``run.json``: what to run. Written by the scheduler when the run's turn comes, read by its supervisor.

    Times are in seconds; ``environment`` is the name of the file of the sweep that holds the environment.
    """

    sweep: str
    number: int
    key: str
    params: dict[str, Any]
    texts: dict[str, str]
    command: str
    before: str
    workdir: str
    environment: str
    env: dict[str, str]
    timeout: float | None
    grace: float
    gpus: GpuRequest
    stall: float | None = None
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "gpus": self.gpus.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """Raises TypeError, KeyError where a field is of another type or missing."""
        known = _known(cls, data)
        return cls(**{**known, "gpus": GpuRequest.from_json(data["gpus"])})


@dataclass(frozen=True, slots=True)
class Attempt:
    """``attempt-N.json``: written when the command is about to start.

    ``pid`` and ``start_ticks`` name the supervisor for certain (field 22 of /proc/PID/stat); ``gpus`` are indices (or
    UUIDs for MIG); ``log_offset`` is where this attempt's output begins in log.txt, in bytes; ``started`` is unix time;
    ``git`` is the commit checked out in the working directory, where it is a git work tree; ``gpu_free`` are the bytes
    that were free on the fullest of its GPUs.
    """

    number: int
    pid: int
    start_ticks: int
    host: str
    boot_id: str
    gpus: list[str]
    log_offset: int
    started: float
    waited: float = 0.0
    git: str | None = None
    gpu_free: int | None = None
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attempt:
        """Raises TypeError where a field is of another type or missing."""
        return cls(**_known(cls, data))


@dataclass(frozen=True, slots=True)
class Outcome:
    """``outcome-N.json``: how attempt N ended. ``outcome`` is one of model.OUTCOMES but never ``lost``.

    ``exit_code`` is the shell's (None if a signal ended it), ``signal`` the number of that signal. ``reason`` is one
    line for people. Times are unix seconds; ``log_end`` is the size of log.txt at the end, in bytes.
    """

    outcome: str
    attempt: int
    exit_code: int | None
    signal: int | None
    reason: str
    started: float
    ended: float
    gpus: list[str]
    host: str
    log_offset: int
    log_end: int
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Raises TypeError where a field is of another type or missing."""
        return cls(**_known(cls, data))


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known of one run, for everybody who shows runs: status, the live table, the report.

    ``folder`` is its absolute path (None while nobody has touched it); ``attempts`` counts them; the times are unix
    seconds of the last attempt; ``wanted`` is False for a run that is gone from the sweep file; ``note`` is what a
    waiting run waits for, or the reason of its outcome.
    """

    number: int
    key: str
    params: dict[str, Any]
    texts: dict[str, str] = field(default_factory=dict)
    state: str = QUEUED
    folder: str | None = None
    attempts: int = 0
    exit_code: int | None = None
    signal: int | None = None
    note: str = ""
    started: float | None = None
    ended: float | None = None
    gpus: list[str] = field(default_factory=list)
    host: str | None = None
    wanted: bool = True

    @property
    def label(self) -> str:
        """``lr=0.1 hidden=64``: the parameters as one reads them."""
        return " ".join(f"{name}={self.text(name)}" for name in self.params)

    def text(self, name: str) -> str:
        value = self.params[name]
        if name in self.texts:
            return self.texts[name]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
