"""Lines of which the shape is known -> numbers by the column, each with its place in the training."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sweeper.metrics import recipe
from sweeper.metrics.context import Point
from sweeper.metrics.curve import Curve
from sweeper.metrics.recipe import Recipe
from sweeper.metrics.state import State
from sweeper.metrics.summary import ALONE, Key
from sweeper.metrics.vocabulary import STRONG


class Job(NamedTuple):
    """The lines at ``places``, all of one shape, under one part of the data."""

    recipe: Recipe
    places: list[int]
    split: str
    company: bool = False  # they stand beneath lines that are surely about training

    @property
    def turn(self) -> int:
        """Lines that need no other to say where they stand come first."""
        return 2 if not self.recipe.marks else 1 if self.recipe.inner and not self.recipe.epoch else 0


class Part(NamedTuple):
    """Values of one metric, with their lines and their steps."""

    places: list[int]
    steps: list[float] | None
    values: list[float]
    step_name: str


class Columns:
    """The numbers of one batch of lines on their way into the state's curves."""

    def __init__(self, state: State, lines: Sequence[bytes]) -> None:
        self.state = state
        self.lines = lines
        self.steps: list[Point] = []  # from which line on which step holds
        self.noted_epoch = self.noted_step = -1  # the lines that last said where we are
        self.found: dict[Key, list[Part]] = {}
        self.drafts: dict[Key, list[Part]] = {}

    def read(self, jobs: Sequence[Job], drafts: Sequence[Job]) -> None:
        """Read the numbers of all these lines into the curves.

        Lines that say where the training stands come first: those that do not say it stand where the last one did.
        """
        for job in drafts:
            self._rows(job, into=self.drafts)
        for turn in sorted({job.turn for job in jobs}):
            needed = sorted(place for job in jobs if job.turn > turn for place in job.places)
            before = len(self.steps)
            for job in jobs:
                if job.turn == turn:
                    self._rows(job, needed)
            if len(self.steps) > before:
                self.steps.sort(key=_place)
        self._pour(self.found, self.state.curves)
        self._pour(self.drafts, self.state.drafts)

    def end(self) -> None:
        """What the last line said of where the training stands holds for the next batch."""
        self.steps.sort(key=_place)
        if self.steps:
            self.state.ambient.start = self.steps[-1]._replace(place=-1)

    def add(self, key: Key, place: int, step: float | None, step_name: str, value: float, kind: str) -> None:
        """One number that is known already: a table's."""
        self.found.setdefault(key, []).append(Part([place], None if step is None else [step], [value], step_name))
        self._trait(key, kind, True)

    def _pour(self, found: dict[Key, list[Part]], curves: dict[Key, Curve]) -> None:
        """Append what was found to the curves, in the order of the log."""
        base = self.state.lines
        order = sorted(found, key=lambda key: found[key][0][0][0])
        for key in order:
            parts = found[key]
            curve = curves.get(key)
            if curve is None:
                curve = curves[key] = Curve()
            if len(parts) > 1:
                stepped = all(part[1] is not None for part in parts)
                merged = sorted(
                    (place, steps[at] if steps is not None and stepped else 0.0, values[at])
                    for places, steps, values, _ in parts
                    for at, place in enumerate(places)
                )
                places = [item[0] for item in merged]
                steps = [item[1] for item in merged] if stepped else None
                values = [item[2] for item in merged]
            else:
                places, steps, values, _ = parts[0]
            trait = self.state.traits.setdefault(key, {})
            if any(part[1] is not None for part in parts):
                trait["placed"] = True
            if steps is not None:
                trait["step"] = parts[-1][3]
            curve.extend([base + place for place in places], steps, values)
        found.clear()

    def _rows(self, job: Job, needed: Sequence[int] = (), into: dict[Key, list[Part]] | None = None) -> None:
        """All lines of one shape at once; ``needed`` are lines that want to know what these say of the step."""
        made, places = job.recipe, job.places
        rows = made.numbers([self.lines[place] for place in places])
        if rows is None:
            self._one_by_one(job, needed, into)
            return
        columns = list(zip(*rows, strict=True))
        steps, name = self._steps(made, columns, places)
        if made.marks and into is None:
            self._tell(made, columns, places, steps, name, needed)
        for field in made.fields:
            values = _floats(columns[field.group - 1])
            if field.total:
                totals = _floats(columns[field.total - 1])
                values = [value / total if total else math.nan for value, total in zip(values, totals, strict=True)]
            part = made.split or field.soft or job.split
            if field.kind != STRONG and not (made.steady or job.company):
                part = ALONE
            key = (part, field.label, field.name)
            (self.found if into is None else into).setdefault(key, []).append(Part(places, steps, values, name))
            if into is None:
                self._trait(key, field.kind, made.steady or job.company)

    def _one_by_one(self, job: Job, needed: Sequence[int], into: dict[Key, list[Part]] | None) -> None:
        """Lines that share a shape with others but not their build: mostly their names differ by a digit."""
        alike = [place for place in job.places if job.recipe.numbers([self.lines[place]])]
        if alike:
            self._rows(job._replace(places=alike), needed, into)
        groups: dict[bytes, list[int]] = {}
        for place in sorted(set(job.places).difference(alike)):
            groups.setdefault(recipe.names_key(self.lines[place]), []).append(place)
        for key, places in groups.items():
            own = recipe.of(key, self.lines[places[0]])
            if not own.numbers([self.lines[places[0]]]):
                own = recipe.build(self.lines[places[0]])
            if own.fields:
                self._rows(job._replace(recipe=own, places=places), needed, into)

    def _trait(self, key: Key, kind: str, steady: bool) -> None:
        trait = self.state.traits.get(key)
        if trait is None:
            self.state.traits[key] = {"kind": kind, "steady": steady}
        elif "kind" not in trait:
            trait.update(kind=kind, steady=steady)
        elif steady:
            trait["steady"] = True

    def _steps(self, made: Recipe, columns: list[Any], places: list[int]) -> tuple[list[float] | None, str]:
        """Where in the training the lines at ``places`` stand: by their own word, else by a line before them."""
        ambient = self.state.ambient
        if made.marks and not (made.inner and not made.epoch):
            self._note(made, columns, places[-1])
            return ambient.values(made, columns, ())
        holds = self.holding(places)
        if made.marks:
            self._note(made, columns, places[-1])
            return ambient.values(made, columns, [point.epoch for point in holds])
        if not holds[0].name:
            return None, "index"
        return [point.value for point in holds], holds[0].name

    def _tell(
        self,
        made: Recipe,
        columns: list[Any],
        places: list[int],
        steps: list[float] | None,
        name: str,
        needed: Sequence[int],
    ) -> None:
        """Let the lines at ``needed``, and those of the next batch, know where the training stands."""
        if len(needed) * 4 < len(places):
            which = sorted({bisect.bisect_left(places, place) - 1 for place in needed} | {len(places) - 1})
            which = [at for at in which if at >= 0]
        else:
            which = list(range(len(places)))
        epochs: list[float | None]
        if made.epoch:
            epochs = [recipe.number(columns[made.epoch - 1][at]) for at in which]
        elif made.inner:
            epochs = [point.epoch for point in self.holding([places[at] for at in which])]
        else:
            epochs = [None] * len(which)
        for at, epoch in zip(which, epochs, strict=True):
            if steps is None:
                self.steps.append(Point(places[at], epoch or 0.0, "" if epoch is None else "epoch", epoch))
            else:
                self.steps.append(Point(places[at], steps[at], name, epoch))

    def _note(self, made: Recipe, columns: list[Any], place: int) -> None:
        """Where the last of these lines says we are, unless a later line has said it."""
        texts = [columns[group - 1][-1] if group else None for group in made.marks_at]
        epoch, step = self.noting(made, place)
        if not epoch:
            texts[:2] = [None, None]
        if not step:
            texts[2:] = [None, None]
        self.state.ambient.note(made, texts)

    def noting(self, made: Recipe, place: int) -> tuple[bool, bool]:
        """Whether the line at ``place`` is the last so far to name the epoch, and to name the step."""
        if made.epoch:
            self.noted_epoch = max(self.noted_epoch, place)
        if made.step:
            self.noted_step = max(self.noted_step, place)
        return self.noted_epoch == place, self.noted_step == place

    def holding(self, places: list[int]) -> list[Point]:
        """For each line the last mark before it."""
        point = self.state.ambient.start
        if not self.steps:
            return [point] * len(places)
        holds = []
        at = 0
        for place in places:
            while at < len(self.steps) and self.steps[at].place <= place:
                point = self.steps[at]
                at += 1
            holds.append(point)
        return holds


def _place(point: Point) -> int:
    return point.place


def _floats(texts: Any) -> list[float]:
    try:
        return list(map(float, texts))
    except ValueError:
        return [recipe.number(text) for text in texts]
