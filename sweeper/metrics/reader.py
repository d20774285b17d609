"""The bytes of a log, as they come -> metrics: whole shapes of lines at a time, in memory that does not grow."""

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

BATCH = 1 << 20  # bytes that are taken apart at a time
_PENDING = 1 << 20  # bytes of a line that has not ended
_DIGITS = [b"%d" % digit for digit in range(10)]
_NAMES_OF_NUMBERS = (b"nan", b"NaN", b"NAN", b"inf", b"Inf", b"INF ")


class Reader:
    """Feed it a log's bytes; ``metrics()`` may be asked at any time. A line counts once its newline is there."""

    def __init__(self, patterns: Mapping[str, re.Pattern[bytes]] | None = None) -> None:
        self.patterns = dict(patterns or {})
        self.state = State()
        self.pending = b""
        self.lost = False  # within a line so long that its middle was let go
        self.offset = 0  # bytes of the log that are dealt with for good

    # -- bytes to lines

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), BATCH):
            self._feed(data[start : start + BATCH] if len(data) > BATCH else data)

    def _feed(self, data: bytes) -> None:
        cut = data.rfind(b"\n")
        if cut < 0:
            self._hold(data)
            return
        head, rest = data[: cut + 1], data[cut + 1 :]
        if self.lost:
            self.offset += len(self.pending)
            self.pending, self.lost = b"", False
            skip = head.find(b"\n") + 1
            self.offset += skip
            head = head[skip:]
        else:
            head, self.pending = self.pending + head, b""
        if head:
            self._take(head)
            self.offset += len(head)
        if rest:
            self._hold(rest)

    def _hold(self, data: bytes) -> None:
        """Keep what is no whole line yet; of a line without end only its redraws are of use."""
        self.pending += data
        if len(self.pending) <= _PENDING:
            return
        cut = self.pending.rfind(b"\r", 0, len(self.pending) - 1)
        if cut > 0 and not self.lost:
            done, self.pending = self.pending[:cut], self.pending[cut:]
            self._take(done + b"\n", ended=False)
            self.offset += len(done)
        else:
            self.offset += len(self.pending)
            self.pending, self.lost = b"", True

    # -- lines to numbers

    def _take(self, data: bytes, *, ended: bool = True) -> None:
        for name, pattern in self.patterns.items():
            self._own(name, pattern, data)
        if self._skip(data, 0) == len(data):
            self._remember(data[-1000:])
            return
        if b"\x1b" in data or b"\x00" in data:
            data = folding.strip_escapes(folding.join_redrawn(data))
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
        place, size = 0, len(data)
        while place < size:
            start = self._skip(data, place)
            if start > place:
                self._remember(data[max(place, start - 1000) : start])
            if start >= size:
                break
            stop = data.find(b"\n", start + BATCH // 4)
            stop = size if stop < 0 else stop + 1
            Batch(self.state, data[start:stop], ended).run()
            place = stop

    def _skip(self, data: bytes, place: int) -> int:
        """The start of the first line from ``place`` on that may hold a number; ``len(data)`` where none does."""
        start = len(data)
        for digit in _DIGITS:  # ten searches by memchr are much quicker than one for a set
            if (other := data.find(digit, place, start)) >= 0:
                start = other
        for word in _NAMES_OF_NUMBERS:
            if (other := data.find(word, place, start)) >= 0:
                start = other
        if start == len(data):
            return start
        return data.rfind(b"\n", place, start) + 1 or place

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
            if value == value or text.strip().lower().lstrip(b"+-") == b"nan":
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
        series = {name: as_series(name, curve, steps) for name, (curve, steps) in found.items()}
        kept = {name: one for name, one in series.items() if not restates(one, params or {})}
        return Metrics(kept, ambient.epoch, ambient.epochs_total, ambient.step, ambient.steps_total)

    def to_json(self) -> dict[str, Any]:
        """All that the reader knows, for ``from_json`` to go on from ``offset``."""
        return {**self.state.to_json(), "offset": self.offset}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], patterns: Mapping[str, re.Pattern[bytes]] | None = None) -> Reader:
        """The reader that wrote ``data``; raises KeyError, TypeError, ValueError or AttributeError if it is damaged."""
        reader = cls(patterns)
        reader.state = State.from_json(data)
        reader.offset = data["offset"]
        return reader

    def _with_pending(self, ended: bool) -> State:
        """The state, or a copy of it that has also read what the line now being redrawn shows."""
        pieces = [piece for piece in self.pending.split(b"\r") if piece.strip()]
        if self.lost or not pieces or not (ended or b"\r" in self.pending):
            return self.state
        if not ended and len(pieces) > 1 and not self.pending.endswith(b"\r"):
            pieces.pop()  # it may be half of itself
        twin = Reader(self.patterns)
        twin.state = self.state.copy()
        twin._take(b"\r".join(pieces) + b"\n")
        return twin.state
