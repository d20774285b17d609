"""Failures put together by what they died of, and what the parameters of each group have in common.

"All 6 out_of_memory have batch_size=256" is said only where it separates them from the runs that ended well: none of
those has it, or so few that drawing as many runs at random would seldom (in one case of 20, by the hypergeometric
distribution, that is Fisher's exact test) give runs that all have it. For a bound ("lr >= 0.2"), which is the group's
own lowest or highest value, the same number is the chance that the group would lie so far out by luck.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sweeper import model
from sweeper.results.data import ENDED_BADLY, Run

SELDOM = 0.05
OFTEN = 0.5  # what more than half of those that ended well have too explains nothing, however unlikely
_MASKS = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "UUID"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "ADDRESS"),
    (re.compile(r"(?<![\w/])(?:~|\.{1,2})?(?:/[\w.@%+=,~-]+){2,}/?"), "PATH"),
    (re.compile(r"(?<![A-Za-z_])[-+]?\d[\d.,_]*(?:[eE][-+]?\d+)?(?:\s?[kKMGT]i?B\b)?"), "N"),
)


@dataclass(frozen=True, slots=True)
class Common:
    """What all runs of a group share: ``batch_size=256``, and how many of the runs that ended well have it too."""

    text: str
    among_well: int
    well: int

    def __str__(self) -> str:
        if self.among_well == 0:
            return self.text
        return f"{self.text} ({self.among_well} of the {self.well} that ended well have it too)"


@dataclass(frozen=True, slots=True)
class Failure:
    """Runs that ended in the same way of the same cause. ``example`` is the one to look at."""

    state: str
    cause: str
    runs: tuple[Run, ...]
    common: tuple[Common, ...]
    example: Run

    @property
    def count(self) -> int:
        return len(self.runs)


def mask(text: str) -> str:
    """``text`` with numbers, sizes, addresses and paths replaced by what they are, so that one cause reads as one."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def group_failures(runs: Sequence[Run]) -> tuple[Failure, ...]:
    """The runs that ended badly, grouped by state and masked cause, largest group first."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.state in ENDED_BADLY:
            groups.setdefault((run.state, mask(run.cause)), []).append(run)
    well = [run for run in runs if run.state == model.DONE]
    failures = [
        Failure(
            state=state,
            cause=members[0].cause,
            runs=tuple(members),
            common=tuple(common_to(members, well)),
            example=min(members, key=_worth_a_look),
        )
        for (state, _), members in groups.items()
    ]
    return tuple(sorted(failures, key=lambda failure: (-failure.count, failure.runs[0].number)))


def _worth_a_look(run: Run) -> tuple[float, int]:
    """The quickest failure is the quickest to try again."""
    return (run.seconds if run.seconds is not None else math.inf, run.number)


def common_to(members: Sequence[Run], well: Sequence[Run]) -> list[Common]:
    """What all ``members`` share and the runs that ended well seldom have, most telling first; at most two of them.

    Looks at single values (``optimizer=sgd``), then at bounds of a number (``lr >= 1``), then at pairs of values.
    """
    if not members or not well:
        return []
    equalities = list(_equalities(members))
    singles = _telling([*equalities, *_bounds(members, well)], members, well)
    clean = [common for common in singles if common.among_well == 0]
    if clean:
        return clean[:2]
    telling = [pair for pair in equalities if not all(map(pair[1], well))]
    pairs = [(f"{one} and {other}", _both(has, also)) for (one, has), (other, also) in combinations(telling, 2)]
    together = [common for common in _telling(pairs, members, well) if common.among_well == 0]
    return together[:1] if together and len(members) > 1 else singles[:2]


_Test = Callable[[Run], bool]


def _both(one: _Test, other: _Test) -> _Test:
    return lambda run: one(run) and other(run)


def _telling(tests: Iterable[tuple[str, _Test]], members: Sequence[Run], well: Sequence[Run]) -> list[Common]:
    found = []
    for text, test in tests:
        hits = sum(map(test, well))
        if hits > OFTEN * len(well):
            continue
        chance = _chance(len(members), hits, len(well))
        if (hits == 0 and (len(members) > 1 or chance <= SELDOM)) or chance <= SELDOM:
            found.append((chance, hits, Common(text, hits, len(well))))
    return [common for _, _, common in sorted(found, key=lambda one: one[:2])]


def _chance(members: int, hits: int, well: int) -> float:
    """How likely ``members`` runs drawn from all would all have what they and ``hits`` of the ``well`` others have."""
    return math.comb(members + hits, members) / math.comb(members + well, members)


def _equalities(members: Sequence[Run]) -> Iterable[tuple[str, _Test]]:
    first = members[0]
    for name in first.record.params:
        wanted = model.canonical(first.record.params[name])

        def has(run: Run, name: str = name, wanted: str = wanted) -> bool:
            params = run.record.params
            return name in params and model.canonical(params[name]) == wanted

        if all(map(has, members)):
            yield f"{name}={first.text(name)}", has


def _bounds(members: Sequence[Run], well: Sequence[Run]) -> Iterable[tuple[str, _Test]]:
    for name in members[0].record.params:
        numbers = [_number(run, name) for run in members]
        others = [number for number in (_number(run, name) for run in well) if number is not None]
        if not others or any(number is None for number in numbers):
            continue
        known = [number for number in numbers if number is not None]
        low, high = min(known), max(known)
        if low == high:
            continue  # an equality says it better
        lowest = next(run.text(name) for run in members if _number(run, name) == low)
        highest = next(run.text(name) for run in members if _number(run, name) == high)
        yield f"{name} >= {lowest}", _at_least(name, low)
        yield f"{name} <= {highest}", _at_most(name, high)


def _at_least(name: str, bound: float) -> _Test:
    return lambda run: (number := _number(run, name)) is not None and number >= bound


def _at_most(name: str, bound: float) -> _Test:
    return lambda run: (number := _number(run, name)) is not None and number <= bound


def _number(run: Run, name: str) -> float | None:
    value = run.record.params.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value
