"""Takes tracebacks out of a log's lines: the source that they quote and their messages (``loss is NaN``) are no metric.

A traceback is the line ``Traceback (most recent call last):``, what follows indented or in a box, and the first line
that is neither, where that can be the exception's. Of a chain each is one. A tag before the words (``[rank1]: ``)
stands before its other lines, too, and several may be under way at once.
"""

from __future__ import annotations

import re

_WORDS = b"Traceback (most recent call last)"
_TAG = re.compile(rb"(?:\[[^\]]{1,40}\]|\([^)]{1,40}\)|[Rr]ank ?\d+):?[ \t]*$")
_INSIDE = (b" ", b"\t", "│".encode(), "╰".encode())
_EXCEPTION = re.compile(rb"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::\s.*)?$")
_MOST = 64  # tags that are remembered


class Tracebacks:
    """Which tracebacks are under way: by the tag of their lines, whether a line of the exception ends them (a group's
    exceptions stand indented within it)."""

    def __init__(self, open: dict[bytes, bool] | None = None) -> None:
        self.open = open or {}

    def within(self, data: bytes) -> bool:
        """Whether any of ``data`` may be of one."""
        return bool(self.open) or _WORDS in data

    def without(self, data: bytes) -> bytes:
        """``data``, whole lines, without those of tracebacks."""
        if not self.within(data):
            return data
        start = 0 if self.open else data.rfind(b"\n", 0, data.find(_WORDS)) + 1
        kept = [rest for line in data[start:].split(b"\n") if (rest := self._kept(line)) is not None]
        return data[:start] + b"\n".join(kept)

    def _kept(self, line: bytes) -> bytes | None:
        """What of a line is no traceback's; None where nothing is."""
        if _WORDS in line:
            return self._begin(line)
        if not self.open:
            return line
        tag = next((tag for tag in self.open if tag and line.startswith(tag)), b"")
        if tag not in self.open or not line:
            return line
        rest = line[len(tag) :].rstrip()
        rest = rest[1:] if tag and rest[:1] == b" " else rest
        if not rest or rest.startswith(_INSIDE):
            return None
        return None if self.open.pop(tag) and _EXCEPTION.match(rest) else line

    def _begin(self, line: bytes) -> bytes | None:
        before = line.partition(_WORDS)[0]
        tag = before.rstrip() if _TAG.match(before) else b""
        if len(self.open) < _MOST and not (before.lstrip()[:1] == b"|" and tag in self.open):  # one within a group
            self.open[tag] = b"Group" not in before
        return None if tag or not before.strip() else before  # a bar may stand there that was being drawn
