"""The database file: its tables, how it is opened, transactions, and whether it is still the same file."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sweeper import paths, procs

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generation (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, source TEXT NOT NULL,
    first INTEGER NOT NULL, count INTEGER NOT NULL, picked BLOB
);
CREATE TABLE IF NOT EXISTS wanted (id INTEGER PRIMARY KEY CHECK (id = 1), first INTEGER, count INTEGER, numbers BLOB);
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, params TEXT NOT NULL, texts TEXT NOT NULL, folder TEXT,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    ooms INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, signal INTEGER,
    note TEXT NOT NULL DEFAULT '', started REAL, ended REAL, gpus TEXT NOT NULL DEFAULT '[]', host TEXT,
    wanted INTEGER NOT NULL DEFAULT 1, stop INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_state ON runs (wanted, state);
"""


class Database:
    """An open database. Every statement is one transaction unless it runs inside ``with``. Raises sqlite3.Error.

    ``runs`` is where the run folders lie, if it is not where the database is.
    """

    def __init__(self, path: Path, *, readonly: bool = False, runs: Path | None = None) -> None:
        self.path = path
        self.runs = path.parent if runs is None else runs
        mode = "ro" if readonly else "rwc"
        uri = f"file:{_uri(path)}?mode={mode}"
        self.connection = sqlite3.connect(uri, uri=True, timeout=10.0, isolation_level=None)
        self.connection.execute("PRAGMA busy_timeout = 10000")
        if not readonly:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute("PRAGMA cache_size = -2000")
            self.connection.executescript(_SCHEMA)
        self._opened = _identity(path)

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            procs.crashpoint("before commit")
            try:
                self.connection.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
            procs.crashpoint("committed")
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self.connection.in_transaction:  # SQLite itself takes some back, on a full disk
            self.connection.execute("ROLLBACK")

    def synced(self) -> None:
        """From now on, have each transaction on disk before it is reported done, also against a reset."""
        self.connection.execute("PRAGMA synchronous = FULL")
        paths.sync_path(self.path.parent)  # the name of a log that another connection made: SQLite sees to its own only

    @property
    def stale(self) -> bool:
        """Whether the file was deleted or replaced since it was opened."""
        return _identity(self.path) != self._opened

    def close(self) -> None:
        self.connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _uri(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path))
