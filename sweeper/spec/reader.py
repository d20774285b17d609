"""Gathers the mistakes of one sweep file, and reads durations and sizes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sweeper.errors import InputError, Problem
from sweeper.model import Value
from sweeper.spec.nodes import MAX_NODES, Node, Scalar, plain_value

MAX_PROBLEMS = 50
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES: dict[str, int] = {
    "B": 1,
    **{f"{letter}{i}B": (1024 if i else 1000) ** n for n, letter in enumerate("KMGT", 1) for i in ("", "i")},
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[wdhms])+", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?i?B)?", re.ASCII | re.IGNORECASE)
_SECONDS_AT_MOST = 10 * 365 * 86400


def parse_duration(text: str | int | float) -> float:
    """Seconds of ``2h``, ``90m``, ``1h30m``, ``45s``, ``2d``, ``1w``, or a plain number of seconds.

    Raises InputError for anything else, for negative ones, and for more than ten years.
    """
    words = str(text).strip()
    if _DURATION.fullmatch(words):
        seconds = sum(float(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"[\d.]+[wdhms]", words))
    else:
        try:
            seconds = float(words) if not isinstance(text, bool) else -1.0
        except ValueError:
            seconds = -1.0
    if not 0 <= seconds <= _SECONDS_AT_MOST:
        raise InputError(f"{words[:60]!r} is not a duration: write 45s, 90m, 1h30m, 2d or a number of seconds")
    return seconds


def parse_size(text: str | int | float) -> int:
    """Bytes of ``8GB`` (10^9), ``8GiB`` (2^30), ``500MB``, or a plain number of bytes. Raises InputError."""
    words = str(text).strip()
    match = _SIZE.fullmatch(words)
    if not match or isinstance(text, bool) or len(words) > 30:
        raise InputError(f"{words[:60]!r} is not a size: write 8GB, 500MB, 8GiB or a number of bytes")
    unit = (match[2] or "B").upper().replace("I", "i")
    return int(float(match[1]) * _SIZES[unit])


def too_small(size: int) -> bool:
    """Whether nobody can mean so little of a GPU's memory: its unit was forgotten. 0 means no matter."""
    return 0 < size < 1_000_000


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that is most likely meant, or None."""
    names = [name for name in known if abs(len(name) - len(word)) <= max(3, len(word) // 2)][:2000]
    folded = {name.lower().replace("-", "_"): name for name in names}
    match = difflib.get_close_matches(word.lower().replace("-", "_")[:200], list(folded), n=1, cutoff=0.6)
    return folded[match[0]] if match else None


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The mistakes in the order of the file, at most MAX_PROBLEMS of them."""
    found = sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))
    if len(found) > MAX_PROBLEMS:
        more = Problem(f"and {len(found) - MAX_PROBLEMS} more mistakes like these")
        found = [*found[:MAX_PROBLEMS], replace(more, line=found[MAX_PROBLEMS].line)]
    return found


class Reader:
    """Where the parts of the file report what is wrong with a node."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []  # what is allowed, and often a mistake
        self._budget = [MAX_NODES]

    def add(self, node: Node | None, key: str, message: str, remedy: str = "") -> None:
        line, column = (node.line, node.column) if node is not None else (None, None)
        self.problems.append(Problem(message, line, column, key, remedy))

    def note(self, node: Node, key: str, message: str) -> None:
        if len(self.notes) < MAX_PROBLEMS:
            self.notes.append(Problem(message, node.line, node.column, key))

    def data(self, node: Node) -> Any:
        return plain_value(node, self._budget)

    def spend(self, node: Node) -> None:
        """One more node is read; raises YamlError where aliases multiply them beyond measure."""
        plain_value(node if isinstance(node, Scalar) else Scalar(node.line, node.column, None, "", True), self._budget)

    def value(self, node: Node) -> Value:
        """A parameter's value with its spelling. Infinity and NaN are spelled as Python reads them."""
        if isinstance(node, Scalar) and node.plain and isinstance(node.value, (int, float)):
            if isinstance(node.value, bool):
                return Value(node.value)
            special = isinstance(node.value, float) and node.value in (float("inf"), float("-inf"))
            if special or node.value != node.value:
                return Value(node.value, repr(node.value))
            return Value(node.value, node.text)
        return Value(self.data(node))
