"""The queue opened: to change it, or to look at it, which works wherever anything can be read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sweeper import folders, paths
from sweeper.errors import SweepError
from sweeper.store.copy import snapshot
from sweeper.store.db import Store
from sweeper.store.rebuild import REBUILT, of_folders, put_aside, rebuild
from sweeper.store.sound import checked, is_broken, is_ours, there, why_not

T = TypeVar("T")


def open_store(sweep: paths.SweepDir, *, readonly: bool = False) -> Store:
    """Open the queue of a sweep; a missing or damaged one is rebuilt from the folders (the damaged file is kept aside).

    ``readonly`` is for looking: where the queue cannot be used as it lies there (a full or read-only disk, another
    user's sweep) it is a copy of it in memory, or what the run folders say, and ``store.note`` tells of the latter.
    Raises SweepError where it can neither be opened nor rebuilt.
    """
    try:
        return _to_look_at(sweep) if readonly else _to_change(sweep)
    except (sqlite3.Error, OSError) as error:
        raise SweepError(why_not(sweep.db, error)) from error


def _to_change(sweep: paths.SweepDir, *, readonly: bool = False) -> Store:
    """The queue as it lies there, made anew if it must be. Raises sqlite3.Error, OSError, SweepError."""
    try:
        if there(sweep):
            return checked(sweep, readonly=readonly)
    except sqlite3.Error as error:
        if not is_broken(sweep, error):
            raise
    if readonly and not sweep.file.exists() and not any(True for _ in folders.run_folders(sweep)):
        raise SweepError(f"{sweep.path} holds no sweep (it has no queue.db and no runs)")
    rebuild(sweep)
    store = checked(sweep, readonly=readonly)
    store.note = f"{REBUILT}: it was missing or damaged (what was damaged is kept beside it)"
    return store


def _to_look_at(sweep: paths.SweepDir) -> Store:
    failed: sqlite3.Error | OSError | SweepError
    try:
        # Beside another user's queue no file of ours may appear, not even one that SQLite makes.
        if is_ours(sweep):
            return _to_change(sweep, readonly=True)
        return Store(sweep.db, runs=sweep.path, memory=snapshot(sweep.db))
    except (sqlite3.Error, OSError, SweepError) as error:
        failed = error
    try:
        return Store(sweep.db, runs=sweep.path, memory=snapshot(sweep.db))
    except (sqlite3.Error, OSError):
        return of_folders(sweep, why_not(sweep.db, failed))


def with_store(sweep: paths.SweepDir, act: Callable[[Store], T], *, readonly: bool = False) -> T:
    """What ``act`` makes of the queue, opened as ``open_store`` does it; once more, with one made anew, where damage
    shows only on the way. Raises SweepError, and what ``act`` raises but SQLite's own."""
    try:
        with contextlib.closing(open_store(sweep, readonly=readonly)) as store:
            return act(store)
    except sqlite3.Error as error:
        failed = error
    try:
        if is_broken(sweep, failed) and is_ours(sweep):
            put_aside(sweep)
            with contextlib.closing(open_store(sweep, readonly=readonly)) as store:
                return act(store)
        if readonly:
            with contextlib.closing(of_folders(sweep, why_not(sweep.db, failed))) as store:
                return act(store)
    except (sqlite3.Error, OSError) as error:
        raise SweepError(why_not(sweep.db, error)) from error
    raise SweepError(why_not(sweep.db, failed)) from failed
