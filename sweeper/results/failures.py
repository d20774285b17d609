"""Failures put together by what they died of, and what the parameters of each group have in common.

"All 6 out_of_memory have batch_size=256" is said only where it separates them from the runs that ended well: none of
those has it, or so few that drawing as many runs at random would seldom (in one case of 20, by the hypergeometric
distribution, that is Fisher's exact test) give runs that all have it. For a bound ("lr >= 0.2"), which is the group's
own lowest or highest value, the same number is the chance that the group would lie so far out by luck.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sweeper import model
from sweeper.results.data import ENDED_BADLY, Run

SELDOM = 0.05
EXPLAINED = 20  # groups, the largest, whose parameters are looked at
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
    largest_first = sorted(groups.items(), key=lambda group: (-len(group[1]), group[1][0].number))
    return tuple(
        Failure(
            state=state,
            cause=members[0].cause,
            runs=tuple(members),
            common=tuple(common_to(members, well)) if place < EXPLAINED else (),
            example=min(members, key=_worth_a_look),
        )
        for place, ((state, _), members) in enumerate(largest_first)
    )


def _worth_a_look(run: Run) -> tuple[float, int]:
    """The quickest failure is the quickest to try again."""
    return (run.seconds if run.seconds is not None else math.inf, run.number)


def common_to(members: Sequence[Run], well: Sequence[Run]) -> list[Common]:
    """What all ``members`` share and the runs that ended well seldom have, most telling first; at most two of them.

    Looks at single values (``optimizer=sgd``), then at bounds of a number (``lr >= 1``), then at pairs of values.
    """
    if not members or not well:
        return []
    equalities = list(_equalities(members, well))
    singles = _telling([*equalities, *_bounds(members, well)], len(members), len(well))
    clean = [common for common in singles if common.among_well == 0]
    if clean or len(members) == 1:
        return (clean or singles)[:2]
    pairs = [
        (f"{one} and {other}", hits & also)
        for (one, hits), (other, also) in combinations(equalities, 2)
        if len(hits) < len(well) > len(also)
    ]
    together = [common for common in _telling(pairs, len(members), len(well)) if common.among_well == 0]
    return together[:1] or singles[:2]


# What the members share, in words, and the places of those runs that ended well and have it too
_Shared = tuple[str, frozenset[int]]


def _telling(shared: Iterable[_Shared], members: int, well: int) -> list[Common]:
    found = []
    for text, having in shared:
        hits = len(having)
        if hits > OFTEN * well:
            continue
        chance = math.comb(members + hits, members) / math.comb(members + well, members)
        if chance <= SELDOM or (hits == 0 and members > 1):
            found.append((chance, hits, Common(text, hits, well)))
    return [common for _, _, common in sorted(found, key=lambda one: one[:2])]


def _equalities(members: Sequence[Run], well: Sequence[Run]) -> Iterable[_Shared]:
    first = members[0]
    for name in first.record.params:
        if all(_same(first, run, name) for run in members):
            having = frozenset(place for place, run in enumerate(well) if _same(first, run, name))
            yield f"{name}={first.text(name)}", having


def _same(one: Run, other: Run, name: str) -> bool:
    params = other.record.params
    if name not in params:
        return False
    value, wanted = params[name], one.record.params[name]
    if type(value) is type(wanted) and isinstance(value, (str, int, float, bool)):
        return bool(value == wanted)
    return model.canonical(value) == model.canonical(wanted)


def _bounds(members: Sequence[Run], well: Sequence[Run]) -> Iterable[_Shared]:
    for name in members[0].record.params:
        numbers = [_number(run, name) for run in members]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers) or min(known) == max(known):
            continue  # an equality says it better
        low, high = min(known), max(known)
        others = [(place, number) for place, run in enumerate(well) if (number := _number(run, name)) is not None]
        if not others:
            continue
        lowest, highest = members[numbers.index(low)].text(name), members[numbers.index(high)].text(name)
        yield f"{name} >= {lowest}", frozenset(place for place, number in others if number >= low)
        yield f"{name} <= {highest}", frozenset(place for place, number in others if number <= high)


def _number(run: Run, name: str) -> float | None:
    value = run.record.params.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value
