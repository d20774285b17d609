"""Where the product may be told to die (procs.crashpoint), and in which scenario of ``--points`` each of them comes.

A step is (how, point). ``launch``: a launch dies there. ``start``: the same, or the scheduler that it starts; there is
none before. ``new gpus``: the same, on GPUs whose locks nobody has taken yet. ``run``: the scheduler or a supervisor of
a sweep that was launched. ``end``: when all is done. Other words are a scenario's own way (scenarios.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Step = tuple[str, str]


def of_file(*names: str) -> tuple[str, ...]:
    """The points of paths.replace for these files; the name may end where a number begins."""
    return tuple(f"{when} {name}" for name in names for when in ("before", "written", "renamed"))


_LAUNCH = (
    "before launch lock", "launch locked", *of_file("environment-"), "before commit", "committed",
    *of_file("sweep.yaml", "owner.json"), "index locked", *of_file("index.json"),
)  # fmt: skip
_START = ("before session", "session opened", "before scheduler lock", "scheduler locked")
_LEASE = (
    "claim made", "claim locked", "claim written", "claim renamed", "gpu locked", "guard bound", "lease told",
)  # fmt: skip
_FILES = ("gpu file made", "gpu file linked")
_RETURN = ("lease ended", "gpus let go")
_RUN = (
    "before standby", *of_file("run.json"), "run handed", "before fork", "shell born", "forked", "before go", "gone",
    "before lock", "locked", *of_file("attempt-"), "released", "before ended", "before log sync", *of_file("outcome-"),
    "before unlock", "before commit", "committed",
)  # fmt: skip
_CHAIN = ("standby born", "standby forked")
_WINDOW = ("standby opened",)
_FRESH = ("before aside", "put aside")
_REMOVED = ("before removal", "removal renamed", "sweep forgotten")
_REBUILT = ("rebuild locked", "queue filled", "before queue rename", "queue renamed")


@dataclass(frozen=True)
class Scenario:
    """A sweep that comes by its points: a chain or ``parallel`` windows, with these lines on GPUs in its file."""

    steps: tuple[Step, ...]
    parallel: int | None = 2
    gpus: str = "gpus: 0"


def _steps(how: str, points: Iterable[str]) -> tuple[Step, ...]:
    return tuple((how, point) for point in points)


SCENARIOS = {
    "launch": Scenario(_steps("launch", _LAUNCH)),
    "start": Scenario(_steps("start", _START), gpus="gpus: 1"),
    "start of a chain": Scenario(_steps("start", _START), None),
    "windows": Scenario((*_steps("run", (*_WINDOW, *_RUN)), ("end", "leaving locked"))),
    "chain": Scenario((*_steps("run", (*_CHAIN, *_RUN)), ("end", "leaving locked")), None),
    "leases": Scenario((*_steps("run", (*_LEASE, *_RETURN)), *_steps("new gpus", _FILES)), gpus="gpus: 1"),
    "leases of a chain": Scenario((*_steps("run", (*_LEASE, *_RETURN)), *_steps("new gpus", _FILES)), None, "gpus: 1"),
    "a held lease": Scenario(
        (*_steps("start", _LEASE), *_steps("new gpus", _FILES), *_steps("end", _RETURN)), None, "gpus: 1\nhold: true"
    ),
    "queue deleted": Scenario((*_steps("queue deleted", _REBUILT), ("queue damaged", "queue put aside"))),
    "log full": Scenario(_steps("log full", ("before log rotation", "log rotated"))),
    "fresh": Scenario(_steps("fresh", _FRESH)),
    "fresh, no locks": Scenario(_steps("fresh", _FRESH)),
    "removed": Scenario(_steps("removed", _REMOVED)),
    "removed, no locks": Scenario(_steps("removed", _REMOVED)),
    "no locks": Scenario(_steps("no locks", of_file("state-folder"))),
    "report": Scenario(_steps("report", of_file(".metrics.json", ".report.json"))),
    "lock folder": Scenario(_steps("lock folder", ("lock folder made", "lock folder renamed"))),
    "run-one": Scenario(
        _steps("run-one", ("same locked", "lease told", "before command", "command born", "command forked", *_RETURN)),
    ),
}  # fmt: skip

# What a sweep comes by without more ado: the random form draws from these.
_OF_LEASES = (*_LEASE, *_FILES, *_RETURN)
SWEEP = tuple(dict.fromkeys((*_LAUNCH, *_START, *_OF_LEASES, *_RUN, *_CHAIN, *_WINDOW, "leaving locked")))
ALL = tuple(dict.fromkeys(point for scenario in SCENARIOS.values() for _, point in scenario.steps))
