"""The database made true again: from the run folders where it is lost or damaged, and after every crash."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from sweeper import folders, model, paths
from sweeper.errors import SweepError
from sweeper.model import RunRecord
from sweeper.store.db import STOP, Store, Wish

LOST_LIMIT = 3  # attempts in a row that vanished without an outcome make a run failed


def open_store(sweep: paths.SweepDir, *, readonly: bool = False) -> Store:
    """Open the queue of a sweep; a missing or damaged one is rebuilt from the folders (the damaged file is kept aside).

    Raises SweepError where it can neither be opened nor rebuilt.
    """
    try:
        missing = not sweep.db.exists()
        if missing and readonly and not any(True for _ in folders.run_folders(sweep)):
            raise SweepError(f"{sweep.path} holds no sweep (it has no queue.db and no runs)")
        if not missing:
            return _checked(sweep, readonly=readonly)
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise SweepError(f"the queue {sweep.db} cannot be opened: {error}") from error
        _aside(sweep.db)
    return _rebuilt(sweep)


def _checked(sweep: paths.SweepDir, *, readonly: bool) -> Store:
    store = Store(sweep.db, readonly=readonly)
    try:
        store.wish()
        store.total()
        store.counts()
    except sqlite3.DatabaseError:
        store.close()
        raise
    except (ValueError, TypeError) as error:
        store.close()
        raise sqlite3.DatabaseError("malformed content") from error
    return store


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return any(word in text for word in ("malformed", "not a database", "no such table", "no such column", "corrupt"))


def _aside(database: Path) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{database}{suffix}", f"{database}.damaged-{stamp}{suffix}")


def _rebuilt(sweep: paths.SweepDir) -> Store:
    """A new database from run.json, the attempts and the outcomes. What is wanted is entered by the next launch."""
    try:
        store = Store(sweep.db)
    except sqlite3.Error as error:
        raise SweepError(f"the queue {sweep.db} cannot be made: {error}") from error
    with store:
        for _, run in folders.run_folders(sweep):
            _restore(store, run)
        last = _last_launch(sweep)
        if last is not None:
            store.set_wish(last)
    return store


def _restore(store: Store, run: paths.RunDir) -> None:
    job = folders.read_job(run)
    if job is None:
        return
    past = folders.history(run)
    outcome = past.outcome
    state = outcome.outcome if outcome is not None else model.QUEUED
    if outcome is None and past.losses >= LOST_LIMIT:
        state = model.FAILED
    attempt = past.attempt
    record = RunRecord(
        number=job.number,
        key=job.key,
        params=job.params,
        texts=job.texts,
        state=state,
        folder=str(run.path),
        attempts=past.attempts,
        exit_code=outcome.exit_code if outcome else None,
        signal=outcome.signal if outcome else None,
        note=outcome.reason if outcome else "",
        started=attempt.started if attempt else None,
        ended=outcome.ended if outcome else None,
        gpus=attempt.gpus if attempt else [],
        host=attempt.host if attempt else None,
    )
    store.restore(record, failures=0, losses=past.losses if outcome is None else 0)


def _last_launch(sweep: paths.SweepDir) -> Wish | None:
    """The wish as the newest environment file remembers it; stopped, because nobody may start by reading."""
    numbers = []
    for entry in sweep.path.glob("environment-*.json"):
        with contextlib.suppress(ValueError):
            numbers.append(int(entry.stem.removeprefix("environment-")))
    for number in sorted(numbers, reverse=True):
        data = folders.read_json(sweep.environment(number))
        if data is not None and isinstance(data.get("file"), str):
            return Wish(
                file=data["file"],
                environment=number,
                parallel=data.get("parallel"),
                want=STOP,
                why="the queue was rebuilt from the run folders",
                options=data.get("options") or {},
            )
    return None


def reconcile(store: Store, sweep: paths.SweepDir) -> list[RunRecord]:
    """Make the states of all runs that were in flight agree with their folders; give those that are alive.

    The caller holds the sweep's lock. Outcomes that the database had not heard of are entered; what has neither
    outcome nor lock is given as lost by its state, and the caller queues it again after ending what is left of it.
    """
    alive = []
    for record in store.records([model.QUEUED, model.WAITING, model.RUNNING]):
        if record.folder is None:
            continue
        run = paths.RunDir(Path(record.folder))
        if folders.is_held(run.lock):
            alive.append(record)
            continue
        past = folders.history(run)
        known = record.attempts - (1 if record.state == model.RUNNING else 0)
        if past.outcome is not None and past.attempts > known:
            store.set_outcome(record.number, past.outcome)
        elif past.attempts > known or record.state == model.RUNNING:
            store.set_state(record.number, model.LOST)
        elif record.state == model.WAITING:
            store.requeue(record.number)
    return alive
