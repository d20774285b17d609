"""The bytes of a log, as they come -> metrics: whole shapes of lines at a time, in memory that does not grow.

A log is read in blocks whose ends follow from its bytes alone, so that the same is understood of it in however many
pieces it comes. What stands after the last whole block is kept, and read each time that somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sweeper.metrics import folding, recipe
from sweeper.metrics.batch import Batch
from sweeper.metrics.context import Ambient
from sweeper.metrics.curve import Curve, Metrics
from sweeper.metrics.state import State
from sweeper.metrics.summary import OWN, Found, as_series, named, restates

BLOCK = 1 << 18  # bytes that are taken apart at a time, and the rest of their last line
_LINE = 1 << 20  # bytes of a line that are looked through for its end
_DIGITS = [b"%d" % digit for digit in range(10)]
_NAMES_OF_NUMBERS = (b"nan", b"NaN", b"NAN", b"inf", b"Inf", b"INF ")


class Reader:
    """Feed it a log's bytes; ``metrics()`` may be asked at any time. A line counts once its newline is there."""

    def __init__(self, patterns: Mapping[str, re.Pattern[bytes]] | None = None, *, block: int = 0) -> None:
        self.patterns = dict(patterns or {})
        self.block = block or BLOCK
        self.line = max(_LINE, block)
        self.state = State()
        self.pending = bytearray()  # from ``offset`` on
        self.sought = 0  # bytes of it in which the block does not end
        self.lost = False  # within a line so long that its middle was let go
        self.offset = 0  # bytes of the log that are dealt with for good

    @property
    def unfinished(self) -> bool:
        """Whether the log ends within a line."""
        return bool(self.pending) and not self.pending.endswith(b"\n")

    # -- bytes to blocks

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), self.block):
            self.pending += data[start : start + self.block]
            while self._block():
                pass

    def _block(self) -> bool:
        """Deal with the first block of what is pending; False where it is not all there yet."""
        pending = self.pending
        if self.lost:
            end = pending.find(b"\n") + 1
            self._drop(end or len(pending))
            self.lost = not end
            return end > 0
        if len(pending) < self.block:
            return False
        self.sought = max(self.sought, self.block - 1)
        end = pending.find(b"\n", self.sought, self.line) + 1
        if not end and len(pending) < self.line:
            self.sought = len(pending)
            return False
        end = end or pending.rfind(b"\n", 0, self.block) + 1
        if end:
            self._take(bytes(pending[:end]))
            self._drop(end)
            return True
        # Of a line without end only its redraws are of use.
        end = pending.rfind(b"\r", 1, self.line - 1)
        if end > 0:
            self._take(bytes(pending[:end]) + b"\n", ended=False)
            self._drop(end)
        else:
            self._drop(self.line)
            self.lost = True
        return True

    def _drop(self, size: int) -> None:
        del self.pending[:size]
        self.offset += size
        self.sought = 0

    # -- blocks to numbers

    def _take(self, data: bytes, *, ended: bool = True) -> None:
        for name, pattern in self.patterns.items():
            self._own(name, pattern, data)
        tracebacks = self.state.tracebacks
        if not tracebacks.within(data) and self._skip(data) == len(data):
            self._remember(data[-1000:])
            return
        if b"\x1b" in data or b"\x00" in data:
            data = folding.strip_escapes(folding.join_redrawn(data))
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
        data = tracebacks.without(data)
        start = self._skip(data)
        if start:
            self._remember(data[max(0, start - 1000) : start])
        if start < len(data):
            Batch(self.state, data[start:], ended).run()

    def _skip(self, data: bytes) -> int:
        """The start of the first line that may hold a number; ``len(data)`` where none does."""
        start = len(data)
        for word in (*_DIGITS, *_NAMES_OF_NUMBERS):  # that many searches by memchr are much quicker than one for a set
            if (other := data.find(word, 0, start)) >= 0:
                start = other
        return start if start == len(data) else data.rfind(b"\n", 0, start) + 1

    def _remember(self, skipped: bytes) -> None:
        """Of lines without numbers, the last few: they may be headings."""
        for line in skipped.split(b"\n")[-6:]:
            if line.strip():
                self.state.heading(line.rstrip(b"\r").rpartition(b"\r")[2])

    def _own(self, name: str, pattern: re.Pattern[bytes], data: bytes) -> None:
        values = []
        for match in pattern.finditer(data):
            text = match.group(pattern.groups and 1)
            if text is None:
                continue
            value = recipe.number(text.strip().rstrip(b"%"))
            if value is not None:
                values.append(value)
        if values:
            self.state.curves.setdefault((OWN, "", name), Curve()).extend(
                [self.state.lines] * len(values), None, values
            )

    # -- what is known

    def found(self, *, ended: bool = False) -> tuple[dict[str, Found], Ambient]:
        """The metrics so far and where the training stands, with what the line now being redrawn shows.

        ``ended``: nothing more will come, so the last line counts without its newline.
        """
        state = self._with_pending(ended)
        epochs = state.ambient.epoch is not None
        return named(state.curves, state.drafts, state.traits, self.patterns, epochs=epochs), state.ambient

    def metrics(self, params: Mapping[str, Any] | None = None, *, ended: bool = False) -> Metrics:
        found, ambient = self.found(ended=ended)
        series = {name: as_series(name, one) for name, one in found.items()}
        kept = {name: one for name, one in series.items() if not restates(one, params or {})}
        return Metrics(kept, ambient.epoch, ambient.epochs_total, ambient.step, ambient.steps_total)

    def to_json(self) -> dict[str, Any]:
        """All that the reader knows, for ``from_json`` to go on from ``offset``."""
        return {**self.state.to_json(), "offset": self.offset, "lost": self.lost}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], patterns: Mapping[str, re.Pattern[bytes]] | None = None, *, block: int = 0
    ) -> Reader:
        """The reader that wrote ``data``; raises KeyError, TypeError, ValueError or AttributeError if it is damaged."""
        reader = cls(patterns, block=block)
        reader.state = State.from_json(data)
        reader.offset, reader.lost = data["offset"], bool(data["lost"])
        return reader

    def _with_pending(self, ended: bool) -> State:
        """The state, or a copy of it that has also read what is pending, and what a line being redrawn shows."""
        whole, newline, line = bytes(self.pending).rpartition(b"\n")
        data = whole + newline
        pieces = [piece for piece in line.split(b"\r") if piece.strip()]
        if pieces and (ended or b"\r" in line):
            if not ended and len(pieces) > 1 and not line.endswith(b"\r"):
                pieces.pop()  # it may be half of itself
            data += b"\r".join(pieces) + b"\n"
        if not data or self.lost:
            return self.state
        twin = Reader(self.patterns, block=self.block)
        twin.state = self.state.copy() if self.offset else twin.state
        twin._take(data)
        return twin.state
