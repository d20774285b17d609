"""Which metric counts: the one that was asked for, the sweep file's, or the likeliest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sweeper import metrics
from sweeper.errors import InputError
from sweeper.results.data import Run, SweepData

LIKELY = 6  # so many metrics are put in order: the table and the page show fewer


@dataclass(frozen=True, slots=True)
class Target:
    """The metric that counts. ``chosen`` says by whom: "asked", "file", "likeliest"."""

    name: str
    direction: str
    chosen: str

    @property
    def option(self) -> str:
        return f"--{'maximize' if self.direction == 'max' else 'minimize'} {self.name}"


def choose_target(sweep: SweepData, runs: Sequence[Run], maximize: str | None, minimize: str | None) -> Target | None:
    if maximize and minimize:
        raise InputError("--maximize and --minimize exclude each other: give the one metric that counts")
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    asked = maximize or minimize
    if asked:
        if names and asked not in names:
            option = "--maximize" if maximize else "--minimize"
            raise InputError(f"{option} {asked}: no run of {sweep.name} has such a metric{did_you_mean(asked, names)}")
        return Target(asked, "max" if maximize else "min", "asked")
    if sweep.maximize or sweep.minimize:
        return Target(sweep.maximize or sweep.minimize or "", "max" if sweep.maximize else "min", "file")
    usual = Counter(name for run in runs for name in run.metrics)
    having = sum(1 for run in runs if run.metrics)
    common = [name for name in names if usual[name] * 2 >= having]
    guess = metrics.likeliest(common) or metrics.likeliest(names)
    return Target(guess[0], guess[1], "likeliest") if guess else None


def by_likelihood(names: Sequence[str]) -> list[str]:
    """The few of ``names`` that a person may ask for first, the likeliest first."""
    left, ordered = list(names), list[str]()
    while len(ordered) < LIKELY and (following := metrics.likeliest(left)) is not None:
        left.remove(following[0])
        ordered.append(following[0])
    return ordered


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, and all of them where they are few."""
    known = list(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]}?" if near else ""
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"{guess}\n    known: {shown}" if known else guess
