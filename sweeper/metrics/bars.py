"""Lines that are drawn over and over: which of their states were meant to last."""

from __future__ import annotations

import re

_BAR = re.compile(rb"%\||% \[\d|\d+/\d+ (?:\[|\xe2\x94)|\d+it \[|\xe2\x94\x81|\xe2\x94\x80")
_DECIMALS = re.compile(rb"\d+\.\d*(?:[eE][-+]?\d+)?")


def bar(piece: bytes) -> bytes | None:
    """What tells a bar's states from another bar's: what stands before it, but for the bar's own numbers."""
    found = _BAR.search(piece)
    return _DECIMALS.sub(b"", piece[: found.start()]).rstrip(b" 0123456789") if found else None


def finals(pieces: list[bytes]) -> list[int]:
    """Which states of a redrawn line are the last of their bar; what is no bar was meant to be read as it is."""
    last = []
    before: bytes | None = b""
    fast_before: bytes | None = None
    for place, piece in enumerate(pieces):
        at = piece.find(b"%|")
        fast = piece[:at].rstrip(b" 0123456789") if at >= 0 else None
        if fast is not None and fast == fast_before:
            continue
        fast_before = fast
        identity = bar(piece)
        if place and (before is None or (identity is not None and identity != before)):
            last.append(place - 1)
        before = identity
    return [*last, len(pieces) - 1]


DRAFT, PIECE, FINAL = "draft", "piece", "final"
_DRAFTS = 200  # redraws of one bar that count towards the curve of a training that is one bar from end to end


def states(line: bytes, ended: bool, drafts: bool) -> list[tuple[bytes, str]]:
    """What there is to read of a redrawn line, in its order: each bar's last state, and where wanted some drafts of it.

    The last of all is final, and the states before it are pieces. A bar at the end of a line that has not ``ended`` is
    still being drawn, and left out.
    """
    pieces = [piece for piece in line.split(b"\r") if piece and not piece.isspace()]
    if not pieces:
        return []
    last = finals(pieces)
    if not ended and last[-1] == len(pieces) - 1 and bar(pieces[-1]) is not None:
        last.pop()
    kept: set[int] = set()
    if drafts and len(last) < len(pieces):
        drawn = sorted(set(range(len(pieces))).difference(last))
        kept = set(drawn[:: max(1, -(-len(drawn) // _DRAFTS))])
    return [
        (pieces[place], DRAFT if place in kept else PIECE if place + 1 < len(pieces) else FINAL)
        for place in sorted(kept.union(last))
    ]
