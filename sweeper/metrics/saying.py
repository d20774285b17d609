"""What one line of a log says, without any context."""

from __future__ import annotations

from dataclasses import dataclass, field

Span = tuple[int, int]


@dataclass
class Pair:
    """A name and where its number stands; ``total`` is the m of n/m.

    ``label`` and ``soft`` tell metrics apart that share a name: the first is what the line begins with
    (``Heun T=5 acc 0.9``), the second the part of the data that the line names for another metric
    (``train loss: 0.5 acc: 0.9``).
    """

    name: str
    span: Span
    kind: str
    total: Span | None = None
    label: str = ""
    soft: str = ""
    unit: str = ""  # in brackets after the name: tells "acc(real): 1 acc(fake): 0.5" apart


@dataclass
class Line:
    """What one line says. Spans are places of numbers in it."""

    pairs: list[Pair] = field(default_factory=list)
    epoch: Span | None = None
    epochs_total: Span | None = None
    step: Span | None = None
    steps_total: Span | None = None
    inner: bool = False  # the step counts within the epoch
    split: str | None = None
    step_word: str = "step"
    dump: bool = False
    back: bool = False  # a row of a table of names and values: it holds for the rows above it too

    @property
    def marks(self) -> bool:
        return self.epoch is not None or self.step is not None
