"""One line of the report's summary, and the small words that its makers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.results.causes import printable
from sweeper.results.data import Run

SETTINGS = 10  # parameters of a run that are named in a line
GOOD, BAD, WARN, PLAIN = "good", "bad", "warn", "plain"
STATES = {"out_of_memory": "out of memory"}  # where the words are not the state's own name


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the summary. ``about`` is its first word; ``tone`` how it should look; ``command`` what to type."""

    about: str
    text: str
    tone: str = PLAIN
    command: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.text}" + (f"  ->  {self.command}" if self.command else "")


def clean(text: str) -> str:
    return " ".join(printable(text).split())


def settings(run: Run, names: Sequence[str]) -> str:
    """``lr=0.1 hidden=64``, of no more parameters and no longer values than one line of words can bear."""
    known = [name for name in names if name in run.record.params]
    parts = [f"{name}={shorten(run.text(name), 32)}" for name in known[:SETTINGS]]
    return " ".join(parts) + (f" and {len(known) - SETTINGS} more" if len(known) > SETTINGS else "")


def shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
