"""Lines of which the shape is known -> numbers by the column, each with its place in the training."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

from sweeper.metrics import recipe, shapes
from sweeper.metrics.curve import Curve
from sweeper.metrics.recipe import Recipe
from sweeper.metrics.standing import Standing
from sweeper.metrics.state import State
from sweeper.metrics.summary import ALONE, Key
from sweeper.metrics.vocabulary import STRONG

_MOST = 10_000  # names of one log that are followed: no training has so many
_place = operator.itemgetter(0)  # of a point


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
        self.standing = Standing(state.ambient)
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
            for job in jobs:
                if job.turn == turn:
                    self._rows(job, needed)
            self.standing.hear()
        self._pour(self.found, self.state.curves)
        self._pour(self.drafts, self.state.drafts)

    def add(self, key: Key, place: int, step: float | None, step_name: str, value: float, kind: str) -> None:
        """One number that is known already: a table's."""
        if not self._room(key):
            return
        self.found.setdefault(key, []).append(Part([place], None if step is None else [step], [value], step_name))
        self._trait(key, kind, True)

    def _room(self, key: Key) -> bool:
        """Whether a metric is known or may become so: of one log not all names that there are."""
        known = self.state.curves
        return key in known or key in self.found or len(known) + len(self.found) < _MOST

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
                merged = [
                    (place, steps[at] if steps is not None and stepped else 0.0, values[at])
                    for places, steps, values, _ in parts
                    for at, place in enumerate(places)
                ]
                merged.sort(key=_place)
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
        columns, whole = recipe.columns(rows)
        if whole is not None:
            places = [places[at] for at in whole]
            if not places:
                return
        steps, name = self.standing.steps(made, columns, places)
        if made.marks and into is None:
            self.standing.tell(made, columns, places, steps, name, needed)
        for field in made.fields:
            part = Part(places, steps, columns[field.group - 1], name)
            if field.total:
                part = _shares(part, columns[field.total - 1])
                if not part.places:
                    continue
            split = made.split or field.soft or job.split
            if field.kind != STRONG and not (made.steady or job.company):
                split = ALONE
            key = (split, field.label, field.name)
            if not self._room(key):
                continue
            (self.found if into is None else into).setdefault(key, []).append(part)
            if into is None:
                self._trait(key, field.kind, made.steady or job.company)

    def _one_by_one(self, job: Job, needed: Sequence[int], into: dict[Key, list[Part]] | None) -> None:
        """Lines that share a shape with others but not their build: mostly their names differ by a digit."""
        rest = self._alike(job, needed, into)
        groups: dict[bytes, list[int]] = {}
        for place in rest:
            groups.setdefault(shapes.layout(self.lines[place]), []).append(place)
        for key, places in groups.items():
            own = self.state.shapes.of(key, self.lines[places[0]])
            for place in self._alike(job._replace(recipe=own, places=places), needed, into):
                self._alike(job._replace(recipe=recipe.build(self.lines[place]), places=[place]), needed, into)

    def _alike(self, job: Job, needed: Sequence[int], into: dict[Key, list[Part]] | None) -> list[int]:
        """Read those lines that have the recipe's build; returns the others."""
        made, places = job.recipe, job.places
        if len(places) == 1:
            alike = places if made.numbers([self.lines[places[0]]]) else []
        else:
            alike = [place for place in places if made.fields and made.pattern.match(self.lines[place])]
        if alike and made.fields:
            self._rows(job._replace(places=alike), needed, into)
        return sorted(set(places).difference(alike))

    def _trait(self, key: Key, kind: str, steady: bool) -> None:
        trait = self.state.traits.get(key)
        if trait is None:
            self.state.traits[key] = {"kind": kind, "steady": steady}
        elif "kind" not in trait:
            trait.update(kind=kind, steady=steady)
        elif steady:
            trait["steady"] = True


def _shares(part: Part, totals: list[float]) -> Part:
    """n/m as a number, where m is not 0."""
    known = [at for at, total in enumerate(totals) if total]
    steps = None if part.steps is None else [part.steps[at] for at in known]
    values = [part.values[at] / totals[at] for at in known]
    return Part([part.places[at] for at in known], steps, values, part.step_name)
