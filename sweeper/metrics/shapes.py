"""What the lines of a log are understood as, one recipe a shape, and how long that is remembered.

The first line of a shape decides for all others of it in the same log. What a line of another log was understood as
only spares the work of parsing one that is the same but for digits that cannot matter.
"""

from __future__ import annotations

import re
from typing import Any

from sweeper.metrics.recipe import DUMP, NOTHING, Recipe, build

FORGET = 10_000  # lines: logs of free text have no end of them
_LONG = 2000  # bytes of a line that is remembered
_WIDE = 64  # metrics on it
_SHAPES = 2000  # of a log that are remembered from one block of lines to the next
# In these digits lines may differ without being understood otherwise. No line has a newline in it.
_ALIKE = (
    (re.compile(rb"(?<!\d)\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?"), b"\n1"),
    (re.compile(rb"(?<![\w.:-])\d\d:\d\d(?::\d\d)?(?![\w.:-]|,\d)"), b"\n2"),
    (re.compile(rb"(?<=[=: ])(?<!\d:)(?<!IoU=)\d+\.\d+(?=[ ,;|%\]}]|$)"), b"\n3"),
)
_OWN_NUMBERS = re.compile(
    rb"(?<![A-Za-z_@0-9])(?<![A-Za-z][- (])(?<![A-Za-z] \()[0-9]+|(?<=[A-Za-z][ ])[0-9]+(?![0-9]*\)?\s*[:=])"
)  # and not part of a name
_BLANKS = re.compile(rb" +")
_known: dict[bytes, Recipe] = {}


def known(line: bytes) -> Recipe:
    """What ``line`` is understood as. What was once made of one like it is used again, in whichever log that was."""
    if len(line) > _LONG:
        return build(line)
    like = line
    for pattern, mark in _ALIKE:
        like = pattern.sub(mark, like)
    found = _known.get(like)
    if found is None:
        if len(_known) >= FORGET:
            _known.clear()
        found = build(line)
        if len(found.fields) <= _WIDE:
            _known[like] = found
    return found


def forget() -> None:
    """Let go of all that is remembered of lines: nothing that is read of a log hangs on it."""
    _known.clear()


class Shapes:
    """What the first line of each shape in a log was understood as: that holds for all others of its shape."""

    __slots__ = ("kept", "passing")

    def __init__(self) -> None:
        self.kept: dict[bytes, Recipe | bytes] = {}  # bytes: the line that it will be made of
        self.passing: dict[bytes, Recipe] = {}  # what is forgotten with the block of lines

    def of(self, shape: bytes, line: bytes) -> Recipe:
        """The recipe for lines of ``shape``, of which ``line`` is one, without its newline."""
        found = self.kept.get(shape)
        if found is None:
            found = self.passing.get(shape)
            if found is None:
                found = known(line)
                if len(self.kept) < _SHAPES and len(line) <= _LONG and len(found.fields) <= _WIDE:
                    self.kept[shape] = found
                else:
                    self.passing[shape] = found
        elif isinstance(found, bytes):
            found = self.kept[shape] = known(found)
        return found

    def copy(self) -> Shapes:
        twin = Shapes()
        twin.kept = dict(self.kept)
        return twin

    def to_json(self) -> list[list[str | None]]:
        """(shape, example); in place of the example None where such lines say nothing, "" where they dump settings."""
        return [[shape.decode("latin-1"), _example(made)] for shape, made in self.kept.items()]

    @classmethod
    def from_json(cls, data: Any) -> Shapes:
        shapes = cls()
        for shape, example in data:
            made = NOTHING if example is None else example.encode("latin-1") if example else DUMP
            shapes.kept[shape.encode("latin-1")] = made
        return shapes


def _example(made: Recipe | bytes) -> str | None:
    if isinstance(made, bytes):
        return made.decode("latin-1")
    return None if made is NOTHING else made.example.decode("latin-1")


def layout(line: bytes) -> bytes:
    """What tells a line from others of its shape: where its numbers stand, and which digits are of names (acc@1)."""
    return b"\0" + _BLANKS.sub(b" ", _OWN_NUMBERS.sub(b"0", line))
