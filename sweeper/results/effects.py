"""What mattered: how much of the metric's variance each parameter explains, and the metric's mean by its values.

The share is that of a parameter's main effect in the functional analysis of variance (Hutter, Hoos and
Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014), taken over the runs that
there are instead of over a model fitted to them, which makes it the classical eta squared:

    share(p) = sum over values v of p: n_v * (mean_v - mean)^2  /  sum over runs: (y - mean)^2

In a full grid the shares of all parameters add up to at most 1, and what is missing is interaction and noise. A number
with many distinct values (a random search) is cut into bins of equally many runs first, or else every run would
"explain" itself. Whether so large a share could be chance is judged by the partial F test of an additive model of all
parameters, which a grid with holes (failed runs) does not mislead. Runs whose value is not finite do not enter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sweeper import model
from sweeper.results import distributions
from sweeper.results.data import Run
from sweeper.results.numbers import digits_for, mean_and_std, squares, total

MANY_VALUES = 8
BINS = 5
LIKELY_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Level:
    """The metric among the runs with one value (or in one bin) of a parameter."""

    text: str
    mean: float
    std: float
    count: int
    best: float


@dataclass(frozen=True, slots=True)
class Effect:
    """One parameter's effect. ``chance`` is how likely a parameter that does nothing would explain as much."""

    name: str
    share: float
    chance: float
    levels: tuple[Level, ...]
    binned: bool = False

    @property
    def digits(self) -> int:
        """How many significant digits its levels' means are shown with."""
        return max(4, digits_for(level.mean for level in self.levels))

    @property
    def clear(self) -> bool:
        return self.chance <= LIKELY_CHANCE


def effects(runs: Sequence[Run], values: Sequence[float], names: Sequence[str], direction: str) -> tuple[Effect, ...]:
    """The effect of each parameter in ``names``, largest first; ``values`` are the metric's, one for each run.

    Empty where fewer than 3 runs have a finite value, or all have the same.
    """
    pairs = [(run, value) for run, value in zip(runs, values, strict=True) if math.isfinite(value)]
    if len(pairs) < 3:
        return ()
    ys = [value for _, value in pairs]
    mean = total(ys) / len(ys)
    variation = squares(ys, mean)
    if not math.isfinite(variation) or variation <= 1e-24 * len(ys) * max(1e-300, mean * mean):
        return ()
    cuts = [_cut([run for run, _ in pairs], name) for name in names]
    found = [(name, cut, _levels(cut, ys, direction)) for name, cut in zip(names, cuts, strict=True)]
    found = [(name, cut, levels) for name, cut, levels in found if len(levels) > 1]
    chances = _chances([cut for _, cut, _ in found], [y - mean for y in ys])
    made = [
        Effect(name, total(lv.count * (lv.mean - mean) ** 2 for lv in levels) / variation, chance, levels, cut.binned)
        for (name, cut, levels), chance in zip(found, chances, strict=True)
    ]
    return tuple(sorted(made, key=lambda effect: -effect.share))


def noise_share(groups: Sequence[Sequence[float]]) -> float | None:
    """The share of the variance that lies within configurations, that is between repeats; None where none repeats."""
    groups = [[y for y in group if math.isfinite(y)] for group in groups]
    ys = [y for group in groups for y in group]
    if not any(len(group) > 1 for group in groups):
        return None
    variation = squares(ys, total(ys) / len(ys))
    if variation <= 0 or not math.isfinite(variation):
        return None
    return total(squares(group, total(group) / len(group)) for group in groups if group) / variation


def _chances(cuts: Sequence[_Cut], ys: Sequence[float]) -> list[float]:
    """For each parameter, how likely it would improve the additive model as much if it did nothing (partial F test).

    A parameter that is the others' shadow (it varies together with them), or that leaves no freedom to judge by, is
    tested as if it were the only one.
    """
    import numpy as np

    y = np.asarray(ys)
    blocks = [np.equal.outer(np.asarray(cut.indices), np.arange(1, len(cut.texts))) for cut in cuts]
    design = np.hstack([np.ones((len(ys), 1)), *blocks]).astype(float)
    owner = np.repeat(np.arange(-1, len(cuts)), [1, *(len(cut.texts) - 1 for cut in cuts)])
    gram, moment, alone = design.T @ design, design.T @ y, float(y @ y)

    def fit(keep: np.ndarray) -> tuple[float, int]:
        solution, _, rank, _ = np.linalg.lstsq(gram[np.ix_(keep, keep)], moment[keep], rcond=1e-10)
        return max(0.0, alone - float(moment[keep] @ solution)), int(rank)

    rest, rank = fit(owner == owner)
    found = []
    for place in range(len(cuts)):
        without, smaller = fit(owner != place)
        free, left = len(ys) - rank, rest
        if smaller == rank or free < 1:
            without, smaller = alone, 1
            left, free = fit((owner == place) | (owner == -1))
            free = len(ys) - free
        degrees = (len(cuts[place].texts) - 1) if smaller == 1 else rank - smaller
        found.append(_chance(without - left, degrees, left, free))
    return found


def _chance(part: float, degrees: int, rest: float, free: int) -> float:
    if free < 1 or part <= 0:
        return 1.0
    if rest <= 1e-12 * part:
        return 0.0
    return distributions.f_tail((part / degrees) / (rest / free), degrees, free)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Which level each run belongs to, and the levels' names in order."""

    indices: tuple[int, ...]
    texts: tuple[str, ...]
    binned: bool = False


def _cut(runs: Sequence[Run], name: str) -> _Cut:
    keys = [model.canonical(run.record.params[name]) if name in run.record.params else "" for run in runs]
    texts = {key: run.text(name) if key else "(none)" for key, run in zip(keys, runs, strict=True)}
    numbers = {key: _number(run.record.params.get(name)) for key, run in zip(keys, runs, strict=True)}
    numeric = all(number is not None for number in numbers.values())
    if numeric and len(texts) > MANY_VALUES and len(texts) > len(runs) / 4:
        return _binned([numbers[key] or 0.0 for key in keys])
    order = sorted(texts, key=lambda key: (numbers[key] is None, numbers[key] or 0.0, texts[key]))
    index = {key: place for place, key in enumerate(order)}
    return _Cut(tuple(index[key] for key in keys), tuple(texts[key] for key in order))


def _binned(numbers: Sequence[float]) -> _Cut:
    ranked = sorted(numbers)
    bins = min(BINS, max(2, len(ranked) // 3))
    edges = sorted({ranked[len(ranked) * place // bins] for place in range(1, bins)} - {ranked[0]})
    indices = tuple(sum(number >= edge for edge in edges) for number in numbers)
    bounds = [ranked[0], *edges, ranked[-1]]
    last = len(bounds) - 2  # every other bin ends before the next one's first number
    spans = enumerate(pairwise(bounds))
    texts = tuple(f"{low:.3g} to {'<' if place < last else ''}{high:.3g}" for place, (low, high) in spans)
    return _Cut(indices, texts, binned=True)


def _levels(cut: _Cut, ys: Sequence[float], direction: str) -> tuple[Level, ...]:
    groups: list[list[float]] = [[] for _ in cut.texts]
    for place, y in zip(cut.indices, ys, strict=True):
        groups[place].append(y)
    made = []
    for text, group in zip(cut.texts, groups, strict=True):
        if group:
            mean, std = mean_and_std(group)
            made.append(Level(text, mean, std, len(group), max(group) if direction == "max" else min(group)))
    return tuple(made)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
