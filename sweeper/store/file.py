"""The database file: its tables, how it is opened, transactions, and whether it is still the same file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sweeper import paths, procs

BUSY = 10.0  # seconds that another's transaction may take

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
CREATE TABLE IF NOT EXISTS marks (number INTEGER PRIMARY KEY, mark TEXT NOT NULL);
"""


class Database:
    """An open database. Every statement is one transaction unless it runs inside ``with``. Raises sqlite3.Error.

    ``runs`` is where the run folders lie, if it is not where the database is. ``memory`` is a database in memory that
    stands for the file at this moment; ``note`` says what it lacks, for whoever looks.
    """

    def __init__(
        self,
        path: Path,
        *,
        readonly: bool = False,
        runs: Path | None = None,
        memory: sqlite3.Connection | None = None,
        note: str = "",
    ) -> None:
        self.path = path
        self.runs = path.parent if runs is None else runs
        self.note = note
        # Also to read it may be written: whoever closes it last folds SQLite's log in and takes it away.
        self.connection = connect(path, "rw" if readonly else "rwc") if memory is None else memory
        try:
            if memory is None and not readonly:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = NORMAL")
                self.connection.execute("PRAGMA cache_size = -2000")
            if not readonly:
                self.connection.executescript(_SCHEMA)
        except sqlite3.Error:
            self.connection.close()
            raise
        self._opened = _identity(path) if memory is None else None

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
        if self._opened is None:
            return  # it is in memory
        self.connection.execute("PRAGMA synchronous = FULL")
        paths.sync_path(self.path.parent)  # the name of a log that another connection made: SQLite sees to its own only

    @contextlib.contextmanager
    def durable(self) -> Iterator[None]:
        """Within it, as after ``synced``."""
        self.synced()
        try:
            yield
        finally:
            self.connection.execute("PRAGMA synchronous = NORMAL")

    @property
    def stale(self) -> bool:
        """Whether the file was deleted or replaced since it was opened; what is in memory alone is so at once."""
        return self._opened is None or _identity(self.path) != self._opened

    def close(self) -> None:
        self.connection.close()


def connect(path: Path, mode: str, *flags: str) -> sqlite3.Connection:
    """``mode`` and ``flags`` are SQLite's URI parameters. Raises sqlite3.Error."""
    uri = f"file:{_uri(path)}?" + "&".join([f"mode={mode}", *flags])
    return sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _uri(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path))
