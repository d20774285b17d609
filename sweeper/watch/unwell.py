"""Runs that did not end well, in few lines: those that ended alike are put together."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.model import RunRecord
from sweeper.watch.picture import printable

GROUPS = 10  # shown
NAMED = 3  # runs whose parameters are given, where several ended alike


def lines(records: Sequence[RunRecord]) -> list[str]:
    """``run 9 failed: exit status 1: CUDA error · lr=1.0 hidden=32``; ``40 runs failed: no such file: runs 1-40``."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.state, record.note), []).append(record)
    found = []
    for (state, note), alike in list(groups.items())[:GROUPS]:
        what = printable(_what(state, note))
        if len(alike) <= NAMED:
            found += [f"run {one.number} {what}" + _parameters(one) for one in alike]
        else:
            found.append(f"{len(alike)} runs {what}: {numbers([one.number for one in alike])}")
    if len(groups) > GROUPS:
        rest = sum(len(alike) for alike in list(groups.values())[GROUPS:])
        found.append(f"and {rest} more, in {len(groups) - GROUPS} other ways")
    return found


def numbers(some: Sequence[int]) -> str:
    """``1-40, 42``: as ``sweep stop`` and ``sweep retry`` take them, but for the commas."""
    spans: list[list[int]] = []
    for number in sorted(some):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


def _what(state: str, note: str) -> str:
    name = state.replace("_", " ")
    return note if note.startswith(name) else f"{name}: {note}" if note else name


def _parameters(record: RunRecord) -> str:
    return f" · {printable(record.label)}" if record.params else ""
