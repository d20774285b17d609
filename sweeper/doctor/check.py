"""One line of the doctor's table, and how the doctor asks other programs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "bad"]
SECONDS = 10.0  # that another program may take to answer


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and, where it is not well, what to type or write where.

    ``warn`` is what may cost a night under some circumstances, ``bad`` what will not work. ``text`` and ``remedy`` hold
    no control characters but newlines.
    """

    name: str
    level: Level
    text: str
    remedy: str = ""


def ask(*command: str) -> tuple[int, str]:
    """A command's exit status and what it said, on both outputs; 127 where it is missing or does not answer."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout.strip()


def plain(text: str) -> str:
    """``text`` without control characters but newlines: some of it was written by other users and programs."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def size(number: float) -> str:
    """Bytes for people: ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def listed(words: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
