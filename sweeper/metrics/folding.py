"""What a terminal would show of a log: carriage returns, backspaces and escape sequences carried out or dropped."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[0-~])?"
    rb"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"  # in one go: what is left must not join to a new sequence
)
_C1 = re.compile(rb"\xc2[\x80-\x9f]")  # the control characters beyond ASCII: some terminals obey U+009B like ESC [
_UP = re.compile(rb"\r?(?:\x1b\[2K)?(?:\x1b\[(\d+)A|(?:\x1b\[1?A(?:\x1b\[2K)?)+)")
_SCREEN = 200  # lines that a terminal may go up
_EPOCH = re.compile(rb"\W*epoch\W{0,3}(\d+)", re.IGNORECASE)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]*\x1b?|[ -/]*)?\Z")
_REDRAWN = re.compile(rb"[^\n]*[\r\x08][^\n]*")
_LINE = 1 << 16  # bytes of a line's redraws that are kept until it ends: the last ones tell what it shows
_TEXT = 1 << 20  # a plain line longer than this is given out in pieces


def join_redrawn(data: bytes) -> bytes:
    """Several lines drawn again in place (Rich's bars: back, erase, up, erase, ...) as one line drawn again by ``\\r``.

    What stood below the first of them is dropped: the next picture says it again. Where a bar goes on to the next epoch
    in place, the last picture of each epoch becomes a line.
    """
    if _UP.search(data) is None:
        return data
    out, place = bytearray(), 0
    for match in _UP.finditer(data):
        out += data[place : match.start()]
        place = match.end()
        lines = min(_SCREEN, int(match.group(1)[:4]) if match.group(1) else match.group().count(b"A"))
        end = len(out)
        for _ in range(lines):
            end = out.rfind(b"\n", 0, max(end, 0))
        if end >= 0:
            del out[end:]
            while out.endswith(b"\r"):
                out.pop()
            out += b"\r"
    return b"\n".join(_by_epoch(line) for line in bytes(out + data[place:]).split(b"\n"))


def _by_epoch(line: bytes) -> bytes:
    """The pictures of a bar drawn again and again, a line for each epoch that they name."""
    if b"\r" not in line:
        return line
    pictures: list[bytes] = []
    epochs: list[bytes | None] = []
    for picture in filter(None, line.split(b"\r")):
        found = _EPOCH.match(_ESCAPE.sub(b"", picture))
        epoch = found.group(1) if found else None
        if epochs and epochs[-1] == epoch:
            pictures[-1] = picture
        else:
            pictures.append(picture)
            epochs.append(epoch)
    return b"\n".join(pictures) + (b"\r" if line.endswith(b"\r") else b"")


def strip_escapes(data: bytes) -> bytes:
    """``data`` without colours, cursor movements, titles and control characters other than ``\\t \\n \\r \\b``."""
    if data.isascii() and b"\x1b" not in data and data.translate(None, _PLAIN) == b"":
        return data
    return _ESCAPE.sub(b"", data)


_PLAIN = bytes(code for code in range(256) if code >= 0x20 and code != 0x7F) + b"\t\n\r\x08"


def overwrite(line: bytes) -> bytes:
    """One line (no newline in it) as a terminal shows it after its carriage returns and backspaces."""
    line = line.rstrip(b"\r")
    if b"\r" not in line and b"\x08" not in line:
        return line
    pieces = line.split(b"\r")
    # Only pieces that stick out to the right of every later one can show; mostly the last covers all before it.
    shown: list[str] = []
    for piece in pieces:
        text = piece.decode("utf-8", "replace")
        if "\x08" in text:
            text = _backspaces(text)
        if len(text) >= len(shown):
            shown = list(text)
        else:
            shown[: len(text)] = text
    return "".join(shown).rstrip().encode()


def _backspaces(text: str) -> str:
    cells: list[str] = []
    place = 0
    for letter in text:
        if letter == "\x08":
            place = max(0, place - 1)
        else:
            cells[place : place + 1] = [letter]
            place += 1
    return "".join(cells)


class Folder:
    """Folds a log as it streams in; holds back only the line that is still being drawn.

    Escape sequences are dropped and not carried out: a cursor that moves up a line leaves both lines standing.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What is final after ``data``: whole lines, each ending in a newline (pieces of a line without end)."""
        data = self._held + data
        if (cut := data.rfind(b"\n")) < 0:
            self._held = self._shorten(data) if len(data) > _LINE else data
            if len(self._held) > _TEXT:
                text, self._held = self._held, b""
                return _lines(text)
            return b""
        self._held = data[cut + 1 :]
        return _lines(data[: cut + 1])

    def end(self) -> bytes:
        """What the last line shows, where the log ends without a newline."""
        text, self._held = self._held, b""
        return _lines(_UNFINISHED.sub(b"", text))

    @staticmethod
    def _shorten(line: bytes) -> bytes:
        """``line`` without its older redraws."""
        cut = line.find(b"\r", len(line) - _LINE)
        return line if cut < 0 else line[cut:]


def _lines(data: bytes) -> bytes:
    if b"\x1b" in data or data.translate(None, _PLAIN):
        data = _ESCAPE.sub(b"", data)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
    if b"\r" in data or b"\x08" in data:
        data = _REDRAWN.sub(lambda match: overwrite(match.group()), data)
    return _C1.sub("\ufffd".encode(), data) if b"\xc2" in data else data


def fold(data: bytes) -> str:
    """All of ``data`` as a terminal would show it; bytes that are no UTF-8 become U+FFFD."""
    return _lines(_UNFINISHED.sub(b"", data)).decode("utf-8", "replace")


def last_lines(path: Path, n: int) -> list[str]:
    """The last ``n`` lines of a log as a terminal would show them; reads no more of the file than it must.

    Raises OSError.
    """
    if n <= 0:
        return []
    with open(path, "rb") as file:
        end = position = file.seek(0, os.SEEK_END)
        blocks: list[bytes] = []
        newlines = 0
        while position > 0 and newlines <= n + 1 and end - position < (1 << 24):
            size = min(1 << 16, position)
            position -= size
            file.seek(position)
            blocks.append(file.read(size))
            newlines += blocks[-1].count(b"\n")
    data = b"".join(reversed(blocks))
    if position > 0:
        cut = data.find(b"\n")
        data = data[cut + 1 :]
    lines = fold(data).split("\n")
    if lines and not lines[-1].strip():
        lines.pop()
    return lines[-n:]
