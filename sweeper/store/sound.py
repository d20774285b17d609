"""A queue opened and found sound, or not: whether it is there, whether it is damaged, what it is called otherwise."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sweeper import folders, obstacle, paths
from sweeper.errors import SweepError
from sweeper.store.db import Store
from sweeper.store.file import BUSY

_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "corrupt")
FILES = ("", "-wal", "-shm")  # what SQLite makes of one database, by the ends of their names


def there(sweep: paths.SweepDir) -> bool:
    """Whether there is a queue; one without content is none, for it is only ever put there whole. Raises OSError."""
    try:
        return sweep.db.stat().st_size > 0
    except FileNotFoundError:
        return False


def is_ours(sweep: paths.SweepDir) -> bool:
    """Whether the queue, or where it belongs, is this user's. Raises OSError."""
    return os.stat(sweep.db if sweep.db.exists() else sweep.path).st_uid == os.geteuid()


def checked(sweep: paths.SweepDir, *, readonly: bool = False) -> Store:
    """The queue, opened, if the first questions to it are answered. Raises sqlite3.Error."""
    store = Store(sweep.db, readonly=readonly, runs=sweep.path)
    try:
        store.wish()
        store.total()
        store.counts()
    except sqlite3.Error:
        store.close()
        raise
    return store


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the database itself is broken, rather than busy, unreadable or on a full disk."""
    return any(word in str(error) for word in _DAMAGE)


def is_broken(sweep: paths.SweepDir, error: sqlite3.Error) -> bool:
    """Whether the queue must be made anew: it is damaged, or something else stands in the place of its files."""
    return is_damage(error) or any(
        os.path.isdir(file) or os.path.islink(file) for file in (f"{sweep.db}{suffix}" for suffix in FILES)
    )


def why_not(db: Path, error: sqlite3.Error | OSError | SweepError) -> str:
    """What keeps us from a queue, and the way out; SQLite's own words are for programmers."""
    if isinstance(error, SweepError):
        return str(error)
    if isinstance(error, OSError):
        return f"the queue cannot be used: {obstacle.explain(error, db)}"
    if "locked" in str(error) or "busy" in str(error):
        return f"the queue {db} has been in use for {BUSY:g} s by {folders.users(db)}"
    for suffix in FILES:
        found = obstacle.hindrance(Path(f"{db}{suffix}"))
        if found is not None:
            return f"the queue cannot be used: {obstacle.explain(found)}"
    if is_damage(error):
        return f"the queue {db} is damaged ({error})\n    the next command makes it anew from the run folders"
    return f"the queue {db} cannot be used: {error}\n    sweep doctor looks for the cause"
