"""The database made true again: from the run folders where it is lost or damaged, and after every crash."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sweeper import command, folders, model, paths, procs
from sweeper.errors import SweepError
from sweeper.grid import expand
from sweeper.model import Outcome, RunRecord
from sweeper.spec import read_spec
from sweeper.store.db import STOP, Store, Wish
from sweeper.store.enqueue import enqueue

REBUILDING = 30.0  # seconds that another may take to rebuild a database
REBUILT = "the queue was rebuilt from the run folders"
NUMBER_LIMIT = 100_000_000  # of runs: a folder that is named like a larger one is none of ours
BOOT = "boot"  # the flag that says in which boot the queue was last held against the folders
UNSYNCED = 3600.0  # seconds before a boot in which something may have ended that a reset took away
LOST_LIMIT = 3  # attempts in a row that vanished without an outcome make a run failed


def open_store(sweep: paths.SweepDir, *, readonly: bool = False) -> Store:
    """Open the queue of a sweep; a missing or damaged one is rebuilt from the folders (the damaged file is kept aside).

    Raises SweepError where it can neither be opened nor rebuilt.
    """
    try:
        if _there(sweep):
            return _checked(sweep, readonly=readonly)
        if readonly and not any(True for _ in folders.run_folders(sweep)):
            raise SweepError(f"{sweep.path} holds no sweep (it has no queue.db and no runs)")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise SweepError(f"the queue {sweep.db} cannot be opened: {error}") from error
    try:
        _rebuild(sweep)
        return _checked(sweep, readonly=readonly)
    except (sqlite3.Error, OSError) as error:
        raise SweepError(f"the queue {sweep.db} cannot be made: {error}") from error


def _there(sweep: paths.SweepDir) -> bool:
    """Whether there is a queue; one without content is none, for it is only ever put there whole."""
    try:
        return sweep.db.stat().st_size > 0
    except FileNotFoundError:
        return False


def _checked(sweep: paths.SweepDir, *, readonly: bool) -> Store:
    store = Store(sweep.db, readonly=readonly, runs=sweep.path)
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


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the database itself is broken, rather than busy, unreadable or on a full disk."""
    text = str(error)
    return any(word in text for word in ("malformed", "not a database", "no such table", "no such column", "corrupt"))


def put_aside(sweep: paths.SweepDir) -> None:
    """Keep a damaged database under another name. A log that its deleted database left would spoil the next one."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{sweep.db}{suffix}", f"{sweep.db}.damaged-{stamp}{suffix}")


def _rebuild(sweep: paths.SweepDir) -> None:
    """Put a new database where the missing or damaged one was, made beside and linked there when it is whole.

    One process at a time does it, and whoever comes later finds it done.
    """
    lock = folders.open_lock(sweep.rebuild_lock)
    try:
        if not folders.take_lock(lock, REBUILDING):
            raise OSError(f"somebody else has been rebuilding it for {REBUILDING:g} s")
        if _there(sweep):
            try:
                _checked(sweep, readonly=False).close()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            else:
                return
        put_aside(sweep)
        beside = sweep.db.with_name(f".queue.{os.getpid()}.db")
        store = Store(beside, runs=sweep.path)
        try:
            _fill(store, sweep)
        finally:
            store.close()
        os.replace(beside, sweep.db)
    finally:
        os.close(lock)


def _fill(store: Store, sweep: paths.SweepDir) -> None:
    """Enter run.json, the attempts and the outcomes, and what was wanted last; stopped: nobody starts by looking."""
    with store:
        for number, run in folders.run_folders(sweep):
            _restore(store, number, run)
        last = _last_launch(sweep)
        if last is None:
            return
        store.set_wish(last)
    try:
        spec = read_spec(last.file, text=sweep.file.read_text(encoding="utf-8"))
        points, template = expand(spec), command.template(spec)
    except (OSError, ValueError, SweepError):
        return  # the next launch enters what is wanted
    enqueue(store, spec, points, template, last, again=())


def _restore(store: Store, number: int, run: paths.RunDir) -> None:
    job = folders.read_job(run)
    if job is None or job.number != number or not 0 < number <= NUMBER_LIMIT:
        return  # it is no run's folder, or another one's copy
    past = folders.history(run)
    outcome = past.outcome
    # An attempt without outcome may be running now: whoever reconciles will see, and count it if it is lost.
    flying = past.attempts > 0 and outcome is None
    state = outcome.outcome if outcome is not None else model.RUNNING if flying else model.QUEUED
    record = folders.record(run, job, past, state)
    store.restore(record, failures=0, losses=max(0, past.losses - 1))


def _last_launch(sweep: paths.SweepDir) -> Wish | None:
    """The wish as the newest environment file remembers it; stopped, because nobody may start by reading."""
    numbers = []
    for entry in sweep.path.glob("environment-*.json"):
        with contextlib.suppress(ValueError):
            numbers.append(int(entry.stem.removeprefix("environment-")))
    for number in sorted(numbers, reverse=True):
        data = folders.read_json(sweep.environment(number))
        if data is not None and isinstance(data.get("file"), str):
            parallel = data.get("parallel")
            return Wish(
                file=data["file"],
                environment=number,
                parallel=parallel if type(parallel) is int and parallel > 0 else None,
                want=STOP,
                why=REBUILT,
                options=_options(data.get("options")),
            )
    return None


def _options(found: object) -> dict[str, Any]:
    """What was typed at the launch, as far as it is what a launch writes."""
    if not isinstance(found, dict):
        return {}
    options = {name: value for name, value in found.items() if name in ("hold", "cwd", "gpu")}
    try:
        model.GpuRequest.from_json(options.get("gpu") or {})
    except (TypeError, AttributeError):
        del options["gpu"]
    if not isinstance(options.get("cwd", ""), str):
        del options["cwd"]
    return options


def reconcile(
    store: Store, sweep: paths.SweepDir, busy: Collection[int] = ()
) -> tuple[list[RunRecord], list[tuple[int, Outcome]]]:
    """Make the states of all runs that were in flight agree with their folders, but for those in ``busy``.

    Gives the runs that are alive (or may be, for their folder cannot be read), and the outcomes that the queue had not
    heard of, which the caller enters. What has neither outcome nor lock becomes lost; the caller queues it again. He
    holds the sweep's lock, or that of its launch while it has no scheduler.
    """
    _after_reset(store)
    alive, ended = [], []
    for record in store.records([model.QUEUED, model.WAITING, model.RUNNING]):
        if record.folder is None or record.number in busy:
            continue
        run = paths.RunDir(Path(record.folder))
        try:
            held = folders.is_held(run.lock)
            past = folders.History() if held else folders.history(run)
        except OSError:
            held = True  # for all that is known; who takes it over finds out, and says why where he cannot
        if held:
            alive.append(record)
            continue
        if past.attempts < record.attempts:  # a reset, or somebody, took the others: their numbers are given again
            store.set_attempts(record.number, past.attempts)
        known = min(record.attempts - (1 if record.state == model.RUNNING else 0), past.attempts)
        if past.outcome is not None and past.attempts > known:
            ended.append((record.number, past.outcome))
        elif past.attempts > known or record.state == model.RUNNING:
            store.set_state(record.number, model.LOST)
        elif record.state == model.WAITING:
            store.requeue(record.number)
    return alive, ended


def _after_reset(store: Store) -> None:
    """After a boot, count as lost what the queue had heard the end of and whose outcome did not come to the disk.

    Older ones are not doubted: it was synced long before, and whoever deleted a folder since meant to.
    """
    boot = procs.boot_id()
    if store.flag(BOOT) == boot:
        return
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for record in store.records([model.DONE, model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY]):
        if record.folder is None or record.ended is None or record.ended < began - UNSYNCED:
            continue
        try:
            past = folders.history(paths.RunDir(Path(record.folder)))
        except OSError:
            continue  # closed to us; nothing says that it is not there
        if past.outcome is None or past.attempts < record.attempts:
            store.set_lost(record.number, past.attempts, LOST_LIMIT)
    store.set_flag(BOOT, boot)
