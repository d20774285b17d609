"""What earlier lines say about later ones: the epoch, the part of the data, and that a dump of settings goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sweeper.metrics.recipe import Recipe
from sweeper.metrics.vocabulary import EPOCHS, remembered, split_of, words

_CHORES = re.compile(
    r"load|sav(?:ed|ing)|download|build|creat|dataset|found|prepar|cach|reading|using|file|split|transform|initial|finish|"
    r"complete|elapsed|time|size|shape|\bdone\b|warn|error|数据集|加载",
    re.IGNORECASE,
)
_FARTHEST = 1e7  # an epoch beyond is none
_DUMP_LINES = 120  # a dump of settings that runs on longer than this was none


@remembered
def context_of(text: str) -> str | None:
    """The part of the data that a line without numbers announces (``Validation:``, ``testing in eval mode``)."""
    parts = words(text)
    if not parts or len(parts) > 8 or _CHORES.search(text):
        return None
    if text.count("|") > 1 and sum(bool(cell.strip()) for cell in text.split("|")) > 1:
        return None  # a row of a table
    found = {split for part in parts if (split := split_of(part))}
    if len(found) == 2:
        found.discard("eval")
    return found.pop() if len(found) == 1 else None


class Point(NamedTuple):
    """From line ``place`` of a batch on, this is where the training stands."""

    place: int
    value: float
    name: str
    epoch: float | None


class Ambient:
    """Where in the training the last lines said we are."""

    __slots__ = (
        "dump_depth",
        "dump_lines",
        "epoch",
        "epochs_total",
        "split",
        "split_epoch",
        "start",
        "step",
        "steps_total",
        "zero",
    )

    def __init__(self) -> None:
        self.split = ""
        self.split_epoch: float | None = None
        self.epoch: float | None = None
        self.epochs_total: float | None = None
        self.step: float | None = None
        self.steps_total: float | None = None
        self.zero = False  # epochs count from 0
        self.start = Point(0, 0.0, "", None)  # what holds at the start of the next batch
        self.dump_depth = 0
        self.dump_lines = 0

    def copy(self) -> Ambient:
        twin = Ambient()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ambient:
        ambient = cls()
        for name in cls.__slots__:
            setattr(ambient, name, data[name])
        ambient.start = Point(*ambient.start)
        return ambient

    # -- the part of the data

    def heading(self, split: str | None, epoch: float | None, *, marker: bool = False) -> None:
        """A line that announces a part of the data; one that only counts epochs ends what was announced."""
        if split or marker:
            self.split = split or ""
            self.split_epoch = epoch

    @property
    def lapses(self) -> bool:
        """Whether the next epoch ends the part that was announced: validation belongs to the epoch before it."""
        return bool(self.split) and self.split != "train" and self.split_epoch is not None

    def lapse(self, epoch: float) -> bool:
        if self.lapses and epoch != self.split_epoch:
            self.split = ""
            return True
        return False

    # -- dumps of settings over several lines

    def in_dump(self, text: bytes, dump: bool) -> bool:
        """Whether a line belongs to a dump: ``SGDClassifier(alpha=0.1,`` and what follows up to the bracket's end."""
        if self.dump_depth:
            # What is not indented is no continuation, unless it closes the bracket.
            if text[:1] not in (b" ", b"\t", b")", b"}", b"]") or self.dump_lines > _DUMP_LINES:
                self.dump_depth = self.dump_lines = 0
        elif not dump:
            return False
        if not dump and not self.dump_depth:
            return False
        opened = sum(map(text.count, (b"(", b"{", b"["))) - sum(map(text.count, (b")", b"}", b"]")))
        goes_on = text.rstrip()[-1:] in (b",", b"(", b"{", b"[")
        self.dump_depth = max(0, self.dump_depth + opened) if self.dump_depth or goes_on else 0
        self.dump_lines += 1
        return True

    # -- where we are

    def mark(self, made: Recipe, columns: Sequence[list[float]], place: int) -> Point:
        """Take in a line that says nothing but where we are."""
        self.note(made, [columns[group - 1][0] if group else None for group in made.marks_at])
        values, name = self.values(made, columns, [self.epoch])
        if values is None:
            return Point(place, 0.0, "", self.epoch)
        # "Iteration 3" above a bar of its own: the bar counts within it, as within an epoch.
        epoch = values[0] if self.epoch is None and not made.inner and not made.back else self.epoch
        return Point(place, values[0], name, epoch)

    def note(self, made: Recipe, numbers: Sequence[float | None]) -> None:
        """Remember the numbers of the latest line that marks: epoch, epochs in all, step, steps in all."""
        epoch, epochs_total, step, steps_total = numbers
        if epoch is not None:
            self.zero = self.zero or epoch == 0
            self.epoch = epoch if epoch < _FARTHEST else self.epoch
            if epochs_total is not None:
                self.epochs_total = epochs_total
        if step is not None and made.tells_step:
            self.step, self.steps_total = step, steps_total

    def reached(self, step: float, name: str, total: float | None) -> None:
        """A row of a table says where we are."""
        if name == "epoch":
            self.epoch = step
            self.zero = self.zero or step == 0
            self.epochs_total = total or self.epochs_total
        else:
            self.step = step

    def values(
        self, made: Recipe, columns: Sequence[list[float]], epochs: Sequence[float | None]
    ) -> tuple[list[float] | None, str]:
        """The steps of lines that mark, from their columns of numbers; ``epochs`` are those of the lines before them.

        A step within an epoch becomes a fraction of it, where its total is known: 2.5 is the middle of the third.
        """
        own = columns[made.epoch - 1] if made.epoch else None
        if own and min(own) == 0:
            self.zero = True
        if not made.step:
            return own, "epoch"
        steps = columns[made.step - 1]
        if not made.inner:
            return (own, "epoch") if own and made.step_word in ("fold",) else (steps, "step")
        known: Sequence[float | None] = own if own is not None else epochs
        if made.steps_total:
            totals = columns[made.steps_total - 1]
            if all(epoch is not None for epoch in known):
                shift = 0 if self.zero else 1
                return [
                    (epoch or 0.0) - shift + (step / total if total else 0)
                    for epoch, step, total in zip(known, steps, totals, strict=True)
                ], "epoch"
        if any(epoch is not None for epoch in known):
            return [epoch or 0.0 for epoch in known], "epoch"
        return steps, "step"


__all__ = ["EPOCHS", "Ambient", "Point", "context_of"]
