"""A copy of the queue in memory, for who looks where SQLite cannot work: a read-only disk, another user's folder.

SQLite makes files of its own beside a database even to read it. Here nothing is written there, so that nothing hinders
the sweep's user, and nothing need be writable. A log (-wal) with content is part of the database: both are copied to a
private temporary folder and opened there. A copy counts only if nothing was checkpointed or put back meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sweeper.store.file import connect

TRIES = 3
_WAL_HEADER = 32  # bytes; a log that is begun anew gets new salts there


def snapshot(path: Path) -> sqlite3.Connection:
    """The database at ``path`` as it is now, in memory, whole. Raises sqlite3.Error, OSError where it cannot be had."""
    for _ in range(TRIES):
        before = _generation(path)
        made = _with_log(path) if before[1] else _alone(path)
        if _generation(path) == before:
            if made.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                made.close()
                raise sqlite3.DatabaseError("malformed")
            return made
        made.close()
    raise sqlite3.OperationalError("it changed while it was read")


def _generation(path: Path) -> tuple[object, bytes]:
    """What must be the same before and after a copy: the log's header, and without a log the file itself."""
    try:
        with open(f"{path}-wal", "rb") as file:
            header = file.read(_WAL_HEADER)
    except FileNotFoundError:
        header = b""
    status = os.stat(path)
    return (status.st_ino, None if header else (status.st_size, status.st_mtime_ns)), header


def _alone(path: Path) -> sqlite3.Connection:
    with contextlib.closing(connect(path, "ro", "immutable=1")) as source:
        return _in_memory(source)


def _with_log(path: Path) -> sqlite3.Connection:
    import shutil  # seldom needed, and 8 ms of every command
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="sweep-"))
    try:
        for suffix in ("", "-wal"):  # the log last: it holds whatever a checkpoint changed meanwhile
            shutil.copyfile(f"{path}{suffix}", folder / f"copy.db{suffix}")
        with contextlib.closing(connect(folder / "copy.db", "rw")) as source:
            return _in_memory(source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory(source: sqlite3.Connection) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    try:
        source.backup(made)
    except sqlite3.Error:
        made.close()
        raise
    return made
