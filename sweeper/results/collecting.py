"""A sweep's runs put in order: which metric counts, who is best, what repeats what, and which code ran."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from sweeper import model
from sweeper.results import distributions
from sweeper.results.data import Run, SweepData
from sweeper.results.effects import Effect, effects, noise_share
from sweeper.results.failures import Failure, group_failures
from sweeper.results.hours import Hours, count_hours
from sweeper.results.numbers import digits_for, mean_and_std, places_for, squares, total
from sweeper.results.reading import read_runs
from sweeper.results.target import Target, by_likelihood, choose_target

WITHIN_NOISE = 0.05


@dataclass(frozen=True)
class Configuration:
    """The runs of one setting; they differ in the repeated parameters alone. ``values`` are those that count."""

    runs: tuple[Run, ...]
    values: tuple[float, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def mean(self) -> float:
        return mean_and_std(self.values)[0]

    @property
    def std(self) -> float:
        """The sample standard deviation; NaN for fewer than two values."""
        return mean_and_std(self.values)[1]


@dataclass(frozen=True, slots=True)
class Lead:
    """How far the best configuration is ahead of the next, and how likely chance alone would put it so far ahead.

    ``noise`` is the standard error of that difference, from the variance within all configurations pooled (Fisher's
    least significant difference). It is lenient: the best of many is ahead by luck more often than one of two.
    """

    ahead: float
    noise: float
    chance: float

    @property
    def within_noise(self) -> bool:
        return self.chance > WITHIN_NOISE


@dataclass(frozen=True)
class Report:
    """Everything that a report says of one sweep, computed as it is asked for."""

    sweep: SweepData
    runs: tuple[Run, ...]
    target: Target | None
    last: bool = False

    def value(self, run: Run) -> float:
        """The value of the metric that counts, best over the curve or last; NaN where the run has none."""
        if self.target is None or self.target.name not in run.metrics:
            return math.nan
        stat = run.metrics[self.target.name]
        value = stat.last if self.last else stat.best(self.target.direction)
        return value if math.isfinite(value) else math.nan

    @cached_property
    def params(self) -> tuple[str, ...]:
        """Every parameter's name, in the order of the sweep file as the runs tell it."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.record.params))

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The parameters that do not have one and the same value in all runs."""
        first = self.runs[0].record.params if self.runs else {}
        constant = set()
        for name, value in first.items():
            same = model.canonical(value)
            if all(name in run.record.params and _is(run, name, value, same) for run in self.runs):
                constant.add(name)
        return tuple(name for name in self.params if name not in constant)

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """Every metric's name: the one that counts, those that the file defines, then those that half of the runs have,
        the likeliest first, as a person would ask for them; then by how many have it."""
        count = Counter(name for run in self.runs for name in run.metrics)
        first = self.target.name if self.target else None
        common = [name for name in count if 2 * count[name] >= max(count.values())]
        likely = {name: place for place, name in enumerate(by_likelihood(common))}
        defined = self.sweep.patterns
        return tuple(
            sorted(
                count,
                key=lambda name: (name != first, name not in defined, likely.get(name, len(likely)), -count[name]),
            )
        )

    @cached_property
    def counted(self) -> tuple[Run, ...]:
        """The runs that are ranked, of which one is best: those that ended well; while none has, those that still go
        on. What failed, timed out, was stopped or lost is not, nor what is gone from the sweep file (unless nothing
        else is there)."""
        valued = [run for run in self.runs if not math.isnan(self.value(run))]
        wanted = [run for run in valued if run.record.wanted]
        done = [run for run in wanted if run.state == model.DONE]
        going = [run for run in wanted if run.state in model.UNFINISHED]
        return tuple(done or going or (run for run in valued if run.state == model.DONE))

    @cached_property
    def _counted(self) -> frozenset[int]:
        return frozenset(id(run) for run in self.counted)

    def is_ranked(self, run: Run) -> bool:
        return id(run) in self._counted

    @cached_property
    def ranked(self) -> tuple[Run, ...]:
        """All runs: those that are ranked, best first; then by their values too those that still go on, that are gone
        from the sweep file, that did not end well; then those without a value."""
        return tuple(sorted(self.runs, key=lambda run: (*self._rank(run), run.number)))

    def _rank(self, run: Run) -> tuple[int, float]:
        value = self.value(run)
        well = run.state in (model.DONE, *model.UNFINISHED)
        if math.isnan(value):
            return (4 if well else 5, 0.0)
        if self.is_ranked(run):
            return (0, self._sign * value)
        if run.state in model.UNFINISHED:
            return (1, self._sign * value)
        return (2 if well else 3, self._sign * value)

    @property
    def _sign(self) -> float:
        return -1.0 if self.target and self.target.direction == "max" else 1.0

    def better(self, run: Run) -> bool:
        """Whether a run that is not ranked has a better value than the best that is."""
        if math.isnan(self.value(run)) or self.is_ranked(run):
            return False
        return self.best is None or self._sign * self.value(run) < self._sign * self.value(self.best)

    @cached_property
    def best(self) -> Run | None:
        """The run with the best value among those that count."""
        return next((run for run in self.ranked if self.is_ranked(run)), None)

    @cached_property
    def digits(self) -> int:
        """How many significant digits the metric that counts is shown with, wherever it is."""
        return max(4, digits_for(self.value(run) for run in self.runs))

    @cached_property
    def places(self) -> int | None:
        """How many decimals its means over repeats are shown with, wherever they are; None where each has its own."""
        ranked = [one for one in self.configurations if one.values]
        return places_for([one.mean for one in ranked], [one.std for one in ranked])

    @cached_property
    def leaders(self) -> tuple[tuple[Run, ...], ...]:
        """The runs of each setting that is best (without repeats each run is one): more than one where they tie."""
        if self.best is None:
            return ()
        if self.repeat:
            first = self.configurations[0].mean
            return tuple(one.runs for one in self.configurations if math.isclose(one.mean, first, rel_tol=1e-12))
        return tuple((run,) for run in self.ranked if self.is_ranked(run) and self.value(run) == self.value(self.best))

    @cached_property
    def repeat(self) -> tuple[str, ...]:
        return tuple(name for name in self.sweep.repeat if name in self.params)

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """The runs by all parameters that are not repeats, best mean first, then those that are not ranked."""
        groups: dict[tuple[str, ...], list[Run]] = {}
        kept = [name for name in self.params if name not in self.repeat]
        for run in self.runs:
            params = run.record.params
            key = tuple(model.canonical(params[name]) if name in params else "" for name in kept)
            groups.setdefault(key, []).append(run)
        made = [
            Configuration(tuple(runs), tuple(self.value(run) for run in runs if self.is_ranked(run)))
            for runs in groups.values()
        ]
        order = {run.number: place for place, run in enumerate(self.ranked)}
        ranked = sorted((one for one in made if one.values), key=lambda one: (self._sign * one.mean, one.first.number))
        rest = sorted(
            (one for one in made if not one.values), key=lambda one: min(order[run.number] for run in one.runs)
        )
        return (*ranked, *rest)

    def shown(self, configuration: Configuration) -> tuple[Run, ...]:
        """The runs of a configuration whose metrics its row shows and is sorted by: those that are ranked, else all."""
        return tuple(run for run in configuration.runs if self.is_ranked(run)) or configuration.runs

    @cached_property
    def lead(self) -> Lead | None:
        """The winner's lead over the next configuration; None where nothing repeats or there is no next."""
        ranked = [one for one in self.configurations if one.values]
        degrees = sum(len(one.values) - 1 for one in ranked)
        if not self.repeat or len(ranked) < 2 or degrees < 1:
            return None
        spread = total(squares(one.values, one.mean) for one in ranked) / degrees
        first, second = ranked[:2]
        noise = math.sqrt(spread * (1 / len(first.values) + 1 / len(second.values)))
        ahead = abs(first.mean - second.mean)
        if noise == 0 or not math.isfinite(noise):
            return Lead(ahead, noise, 1.0 if noise or not ahead else 0.0)
        return Lead(ahead, noise, distributions.t_tail(ahead / noise, degrees))

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """What each varying parameter did to the metric, repeats left out, largest share first."""
        if self.target is None:
            return ()
        names = [name for name in self.varying if name not in self.repeat]
        return effects(self.counted, [self.value(run) for run in self.counted], names, self.target.direction)

    @cached_property
    def noise(self) -> float | None:
        """The share of the variance that lies between repeats of one configuration."""
        return noise_share([one.values for one in self.configurations]) if self.repeat else None

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        return group_failures(self.runs)

    @cached_property
    def commits(self) -> tuple[tuple[str, int], ...]:
        """The git commits that the runs' last attempts ran from, most used first, with how many runs each."""
        commits = (run.tries[-1].git for run in self.runs if run.tries)
        return tuple(Counter(commit for commit in commits if commit).most_common())

    @cached_property
    def hours(self) -> Hours:
        return count_hours(self.runs)


def collect(
    sweep: SweepData, *, maximize: str | None = None, minimize: str | None = None, last: bool = False
) -> Report:
    """Read what the sweep's runs did and put it in order. ``maximize`` and ``minimize`` override the sweep file's.

    Raises InputError where both are given, or where runs have metrics but none of that name.
    """
    runs = tuple(read_runs(sweep))
    return Report(sweep, runs, choose_target(sweep, runs, maximize, minimize), last)


def _is(run: Run, name: str, value: object, same: str) -> bool:
    other = run.record.params[name]
    if type(other) is type(value) and isinstance(value, (str, int, float, bool)):
        return bool(other == value)
    return model.canonical(other) == same
