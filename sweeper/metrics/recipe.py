"""What was once understood of a line, for all lines of the same shape: a pattern whose groups are the numbers.

Training logs repeat a few shapes of line for ever. Two lines have the same shape where the same is left of them without
digits and blanks (one ``bytes.translate``); the first of a shape is parsed, the others are matched, many at a time.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.metrics.vocabulary import STRONG

if TYPE_CHECKING:
    from sweeper.metrics.saying import Line, Span

_DIGITS_OR_BLANKS = re.compile(r"(\d+|[ ]+)")
_THOUSANDS = re.compile(rb"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_IN_NAME = re.compile(r"\d+")
_NAME_DIGITS = re.compile(
    r"(?<=[^\W\d])\d+|(?<=@)\d+(?:\.\d+)?|(?<=[^\W\d][- (])\d+(?=\D|$)|(?<=[^\W\d] \()\d+(?=\))"
)  # loss1, acc@1, top-5
SHAPELESS = b"0123456789 "


@dataclass(frozen=True)
class Field:
    """A metric in a recipe: its name, what its name says, the group of its number, and of the m of n/m (0: none)."""

    name: str
    kind: str
    group: int
    total: int = 0
    label: str = ""
    soft: str = ""


@dataclass(frozen=True)
class Recipe:
    """How to read all lines of one shape. Groups count from 1; 0 means that the line does not say.

    ``example`` is the line that it was made from, and ``groups`` its numbers: the pattern is only compiled once there
    is another line of this shape, for most of a log of free text never comes again.
    """

    example: bytes = b""
    spans: tuple[Span, ...] = ()
    fields: tuple[Field, ...] = ()
    epoch: int = 0
    epochs_total: int = 0
    step: int = 0
    steps_total: int = 0
    inner: bool = False
    split: str = ""
    step_word: str = "step"
    dump: bool = False
    back: bool = False  # holds for the lines since the last rule, too

    @functools.cached_property
    def pattern(self) -> re.Pattern[bytes]:
        names = {self.spans[field.group - 1]: f"{field.name} {field.label}" for field in self.fields}
        return re.compile(_pattern(_text(self.example), self.spans, names), re.MULTILINE)

    @functools.cached_property
    def groups(self) -> tuple[bytes, ...]:
        text = _text(self.example)
        return tuple(text[start:stop].encode("utf-8", "surrogateescape") for start, stop in self.spans)

    def numbers(self, texts: Sequence[bytes]) -> list[tuple[bytes, ...]] | None:
        """The groups of each of these lines; None if one of them has another build after all."""
        if len(texts) == 1 and texts[0] == self.example:
            return [self.groups]
        rows = self.pattern.findall(b"\n".join(texts))
        if len(rows) != len(texts):
            return None
        return rows if len(self.spans) > 1 else [(row,) for row in rows]

    @property
    def marks(self) -> bool:
        return bool(self.epoch or self.step)

    @property
    def tells_step(self) -> bool:
        """Whether the step is the training's, and not that of a download's bar."""
        return bool(self.step and (self.fields or self.epoch or not self.inner))

    @property
    def marks_at(self) -> tuple[int, int, int, int]:
        return self.epoch, self.epochs_total, self.step, self.steps_total

    @functools.cached_property
    def steady(self) -> bool:
        """Whether the fields keep company with something that is surely about training."""
        return self.marks or any(field.kind == STRONG for field in self.fields)


NOTHING = Recipe()
DUMP = Recipe(dump=True)


def build(line: bytes) -> Recipe:
    from sweeper.metrics import lines  # its patterns take 10 ms to compile, and a report of what is cached needs none

    if len(line) > lines.LONGEST:
        return NOTHING
    return _made(line, lines.parse(_text(line)))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _made(example: bytes, line: Line) -> Recipe:
    if line.dump:
        return DUMP
    if not line.pairs and not line.marks:
        return NOTHING
    spans: list[Span] = []
    for pair in line.pairs:
        spans.append(pair.span)
        if pair.total:
            spans.append(pair.total)
    spans += [span for span in (line.epoch, line.epochs_total, line.step, line.steps_total) if span]
    spans = sorted(set(spans))
    group = {span: place for place, span in enumerate(spans, 1)}
    return Recipe(
        example,
        tuple(spans),
        tuple(
            Field(pair.name, pair.kind, group[pair.span], group[pair.total] if pair.total else 0, pair.label, pair.soft)
            for pair in line.pairs
        ),
        epoch=group[line.epoch] if line.epoch else 0,
        epochs_total=group[line.epochs_total] if line.epochs_total else 0,
        step=group[line.step] if line.step else 0,
        steps_total=group[line.steps_total] if line.steps_total else 0,
        inner=line.inner,
        split=line.split or "",
        step_word=line.step_word,
        back=line.back,
    )


def _pattern(text: str, spans: Sequence[Span], names: Mapping[Span, str]) -> bytes:
    parts = [b"^"]
    end = 0
    for start, stop in spans:
        parts.append(_before(text[end:start], _IN_NAME.findall(names.get((start, stop), ""))))
        parts.append(b"(" + _loose(text[start:stop]) + b")")
        end = stop
    parts += [_loose(text[end:]), b"$"]
    return b"".join(parts)


def _before(text: str, digits: Sequence[str]) -> bytes:
    """A pattern for what stands before a number: the digits of its name are part of the name."""
    if not digits:
        return _loose(text)
    parts = []
    end = 0
    for match in _NAME_DIGITS.finditer(text):
        if all(part in digits for part in _IN_NAME.findall(match.group())):
            parts += [_loose(text[end : match.start()]), re.escape(match.group().encode())]
            end = match.end()
    return b"".join([*parts, _loose(text[end:])])


def _loose(text: str) -> bytes:
    """A pattern for ``text`` with any digits in place of its digits, and any blanks in place of its blanks."""
    pieces = [piece for piece in _DIGITS_OR_BLANKS.split(text) if piece]
    out = []
    for place, piece in enumerate(pieces):
        if piece[0] == " ":
            parted = 0 < place < len(pieces) - 1 and pieces[place - 1][0].isdigit() and pieces[place + 1][0].isdigit()
            out.append(b" +" if parted else b" *")
        elif piece.isascii() and piece.isdigit():
            out.append(rb"\d+" if place and pieces[place - 1][0] in " .-+" else rb" *\d+")
        else:
            out.append(re.escape(piece.encode("utf-8", "surrogateescape")))
    return b"".join(out)


def columns(rows: Sequence[Sequence[bytes]]) -> tuple[list[list[float]], list[int] | None]:
    """The numbers of these rows by the column, and the places of the rows that have any (None: of all)."""
    try:
        found = [list(map(float, column)) for column in zip(*rows, strict=True)]
        if not any(math.inf in column or -math.inf in column for column in found):
            return found, None
    except ValueError:
        pass
    known = [(place, [number(text) for text in row]) for place, row in enumerate(rows)]
    whole = [(place, row) for place, row in known if None not in row]
    return [list(column) for column in zip(*(row for _, row in whole), strict=True)], [place for place, _ in whole]


def number(text: bytes) -> float | None:
    """The number that ``text`` spells: ``1,234.5`` and ``0,95`` too; None for what only looks like one (``8.4e+ 4``),
    or is beyond all that a float holds."""
    try:
        value = float(text)
    except ValueError:
        decimal = b"" if _THOUSANDS.fullmatch(text.strip()) else b"."
        try:
            value = float(text.replace(b",", decimal).decode("utf-8", "replace"))  # of bytes: ASCII digits alone
        except ValueError:
            return None
    return value if math.isfinite(value) or text.strip()[-1:].isalpha() else None
