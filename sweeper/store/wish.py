"""What the queue holds besides runs: what is wanted of the sweep, and which points each launch added."""

from __future__ import annotations

import sqlite3
import zlib
from array import array
from dataclasses import dataclass, field
from typing import Any

RUN, PAUSE, STOP = "run", "pause", "stop"
CHAIN_WAITS = "chain waits"  # the flag that says what a chain with hold: true waits for, before any of its runs


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants of the whole sweep. ``parallel`` None means one serial chain; ``want`` is run, pause or stop.

    ``options`` are those of the command line that replace keys of the file (gpus, gpus_allowed, hold); ``environment``
    is the number of the environment file; ``file`` is the user's sweep file, ``why`` the reason of a stop.
    """

    file: str
    environment: int = 1
    parallel: int | None = None
    want: str = RUN
    why: str = ""
    session: str = ""
    here: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """The points that one launch added: ``picked`` are their places in that file's expansion (None: all of them)."""

    id: int
    identity: str
    source: str
    first: int
    count: int
    picked: array[int] | None

    def index(self, number: int) -> int:
        """The place in the file's expansion of the run with this number."""
        offset = number - self.first
        return offset if self.picked is None else self.picked[offset]


def pack(numbers: array[int] | None) -> bytes | None:
    return None if numbers is None else zlib.compress(numbers.tobytes(), 1)


def unpack(blob: bytes | None) -> array[int] | None:
    """Raises sqlite3.DatabaseError where it is not what ``pack`` made."""
    try:
        return None if blob is None else array("I", zlib.decompress(blob))
    except (zlib.error, ValueError, TypeError) as error:
        raise sqlite3.DatabaseError("malformed numbers") from error
