"""Where in the training each line of a block stands: by its own word, or by that of a line before it."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Sequence

from sweeper.metrics.context import Ambient, Point
from sweeper.metrics.recipe import Recipe

_place = operator.itemgetter(0)  # of a point


class Standing:
    """What the lines of one block say of it, in their order."""

    def __init__(self, ambient: Ambient) -> None:
        self.ambient = ambient
        self.points: list[Point] = []  # from which line on which step holds
        self.told: list[Point] = []  # what the lines that are being read say of it
        self.noted_epoch = self.noted_step = -1  # the lines that last said where we are

    def mark(self, point: Point) -> None:
        """A line that says nothing but where the training stands."""
        self.told.append(point)
        self.hear()

    def hear(self) -> None:
        """Put what was told among the steps."""
        self.told.sort(key=_place)
        early = bool(self.told and self.points) and self.told[0].place < self.points[-1].place
        self.points += self.told
        if early:
            self.points.sort(key=_place)
        self.told = []

    def end(self) -> None:
        """What the last line said of where the training stands holds for the next batch."""
        if self.points:
            self.ambient.start = self.points[-1]._replace(place=-1)

    def steps(self, made: Recipe, columns: list[list[float]], places: list[int]) -> tuple[list[float] | None, str]:
        """Where in the training the lines at ``places`` stand: by their own word, else by a line before them."""
        if made.marks and not (made.inner and not made.epoch):
            self._note(made, columns, places[-1])
            return self.ambient.values(made, columns, ())
        holds = self.holding(places)
        if made.marks:
            self._note(made, columns, places[-1])
            return self.ambient.values(made, columns, [point.epoch for point in holds])
        if not holds[0].name:
            return None, "index"
        return [point.value for point in holds], holds[0].name

    def tell(
        self,
        made: Recipe,
        columns: list[list[float]],
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
            epochs = [columns[made.epoch - 1][at] for at in which]
        elif made.inner:
            epochs = [point.epoch for point in self.holding([places[at] for at in which])]
        else:
            epochs = [None] * len(which)
        for at, epoch in zip(which, epochs, strict=True):
            if steps is None:
                self.told.append(Point(places[at], epoch or 0.0, "" if epoch is None else "epoch", epoch))
            else:
                self.told.append(Point(places[at], steps[at], name, epoch))

    def _note(self, made: Recipe, columns: list[list[float]], place: int) -> None:
        """Where the last of these lines says we are, unless a later line has said it."""
        numbers = [columns[group - 1][-1] if group else None for group in made.marks_at]
        epoch, step = self.noting(made, place)
        if not epoch:
            numbers[:2] = [None, None]
        if not step:
            numbers[2:] = [None, None]
        self.ambient.note(made, numbers)

    def noting(self, made: Recipe, place: int) -> tuple[bool, bool]:
        """Whether the line at ``place`` is the last so far to name the epoch, and to name the step."""
        if made.epoch:
            self.noted_epoch = max(self.noted_epoch, place)
        if made.tells_step:
            self.noted_step = max(self.noted_step, place)
        return self.noted_epoch == place, self.noted_step == place

    def holding(self, places: list[int]) -> list[Point]:
        """For each line the last mark before it."""
        start, steps = self.ambient.start, self.points
        if not steps:
            return [start] * len(places)
        if len(places) * 8 < len(steps):
            found = [bisect.bisect_right(steps, place, key=_place) for place in places]
            return [steps[at - 1] if at else start for at in found]
        point, at = start, 0
        holds = []
        for place in places:
            while at < len(steps) and steps[at].place <= place:
                point = steps[at]
                at += 1
            holds.append(point)
        return holds
