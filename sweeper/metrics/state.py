"""What a reader knows of a log so far: the numbers of each name, and the context that earlier lines set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sweeper.metrics import tables
from sweeper.metrics.context import Ambient, context_of
from sweeper.metrics.curve import Curve
from sweeper.metrics.shapes import Shapes
from sweeper.metrics.summary import Key
from sweeper.metrics.tracebacks import Tracebacks

_PATIENCE = 2000  # new shapes of line, after which a log of text is read with less care
_CROWD = 1000  # of these about training: no program has so many ways to say it


class State:
    """All that is kept between two lines; it goes into the cache and comes back from there."""

    def __init__(self) -> None:
        self.curves: dict[Key, Curve] = {}
        self.drafts: dict[Key, Curve] = {}  # of bars that were still being drawn
        self.traits: dict[Key, dict[str, Any]] = {}
        self.ambient = Ambient()
        self.table: tables.Table | None = None
        self.lines = 0
        self.tried = self.fruitful = 0  # lines of a new shape, and those of them that are surely about training
        self.redrawn = 0  # lines with redraws
        self.recent: list[bytes] = []  # the last lines
        self.shapes = Shapes()
        self.tracebacks = Tracebacks()
        self.company: dict[bytes, bool] = {}  # shapes of line: whether they stood beneath lines about training

    @property
    def barren(self) -> bool:
        """Whether the log is mostly text with numbers in it: then unknown words before numbers name no metric."""
        return self.tried > _PATIENCE and self.fruitful * 20 < self.tried

    @property
    def crowded(self) -> bool:
        """Whether ever new lines speak of training: then it is text that does, and a metric has a colon or an ``=``."""
        return self.fruitful > _CROWD

    @property
    def context(self) -> tuple[str, tables.Table | None]:
        """On this the meaning of a line's shape depends."""
        return self.ambient.split, self.table

    def heading(self, line: bytes, epoch: Callable[[], float | None] | None = None) -> None:
        """A line without numbers: it may open a table, or announce a part of the data."""
        if len(line) < 400:
            text = line.decode("utf-8", "replace")
            self.table = tables.header(text) or (self.table if tables.is_rule(text) else None)
            if split := context_of(text):
                before = epoch() if epoch else None
                self.ambient.heading(split, self.ambient.epoch if before is None else before)

    def copy(self) -> State:
        twin = State()
        twin.curves = {key: curve.copy() for key, curve in self.curves.items()}
        twin.drafts = {key: curve.copy() for key, curve in self.drafts.items()}
        twin.traits = {key: dict(trait) for key, trait in self.traits.items()}
        twin.ambient = self.ambient.copy()
        twin.recent = list(self.recent)
        twin.shapes = self.shapes.copy()
        twin.tracebacks = Tracebacks(dict(self.tracebacks.open))
        twin.company = dict(self.company)
        for name in ("table", "lines", "tried", "fruitful", "redrawn"):
            setattr(twin, name, getattr(self, name))
        return twin

    def to_json(self) -> dict[str, Any]:
        return {
            "curves": [[*key, curve.to_json()] for key, curve in self.curves.items()],
            "drafts": [[*key, curve.to_json()] for key, curve in self.drafts.items()],
            "traits": [[*key, trait] for key, trait in self.traits.items()],
            "ambient": self.ambient.to_json(),
            "table": self.table and [self.table.names, self.table.kinds, self.table.cut, self.table.rows],
            "shapes": self.shapes.to_json(),
            "tracebacks": [[tag.decode("latin-1"), ends] for tag, ends in self.tracebacks.open.items()],
            "company": [[shape.decode("latin-1"), yes] for shape, yes in self.company.items()],
            "recent": [line.decode("latin-1") for line in self.recent],
            "counts": [self.lines, self.tried, self.fruitful, self.redrawn],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        """What ``to_json`` wrote; raises KeyError, TypeError, ValueError or AttributeError where that is damaged."""
        state = cls()
        state.curves = {(a, b, c): Curve.from_json(curve) for a, b, c, curve in data["curves"]}
        state.drafts = {(a, b, c): Curve.from_json(curve) for a, b, c, curve in data["drafts"]}
        state.traits = {(a, b, c): trait for a, b, c, trait in data["traits"]}
        state.ambient = Ambient.from_json(data["ambient"])
        if data["table"]:
            names, kinds, cut, rows = data["table"]
            state.table = tables.Table(tuple(names), tuple(kinds), cut, rows)
        state.lines, state.tried, state.fruitful, state.redrawn = data["counts"]
        state.recent = [line.encode("latin-1") for line in data["recent"]]
        state.shapes = Shapes.from_json(data["shapes"])
        state.tracebacks = Tracebacks({tag.encode("latin-1"): bool(ends) for tag, ends in data["tracebacks"]})
        state.company = {shape.encode("latin-1"): bool(yes) for shape, yes in data["company"]}
        return state
