"""The database made true again: from the run folders where it is lost or damaged, and after every crash."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper import folders, model, paths, procs
from sweeper.errors import SweepError
from sweeper.model import Outcome, RunRecord
from sweeper.store.db import RUN, STOP, Store, Wish
from sweeper.store.enqueue import enqueue
from sweeper.store.sound import FILES, checked, is_broken, is_damage, there

__all__ = ["LOST_LIMIT", "REBUILT", "is_damage", "of_folders", "put_aside", "rebuild", "reconcile"]

REBUILDING = 30.0  # seconds that another may take to rebuild a database
REBUILT = "the queue was rebuilt from the run folders"
NUMBER_LIMIT = 100_000_000  # of runs: a folder that is named like a larger one is none of ours
BOOT = "boot"  # the flag that says in which boot the queue was last held against the folders
UNSYNCED = 3600.0  # seconds before a boot in which something may have ended that a reset took away
LOST_LIMIT = 3  # attempts in a row that vanished without an outcome make a run failed


def put_aside(sweep: paths.SweepDir) -> None:
    """Keep a damaged database under another name. A log that its deleted database left would spoil the next one."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in reversed(FILES):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{sweep.db}{suffix}", f"{sweep.db}.damaged-{stamp}{suffix}")
            procs.crashpoint("queue put aside")


def rebuild(sweep: paths.SweepDir) -> None:
    """Put a new database where the missing or damaged one was, made beside and renamed there when it is whole.

    One process at a time does it, and whoever comes later finds it done. Raises sqlite3.Error, OSError, SweepError.
    """
    lock = folders.open_lock(sweep.rebuild_lock)
    try:
        if not folders.take_lock(lock, REBUILDING):
            raise SweepError(f"the queue {sweep.db} has been made anew by another process for {REBUILDING:g} s: wait")
        if there(sweep):
            try:
                checked(sweep).close()
            except sqlite3.Error as error:
                if not is_broken(sweep, error):
                    raise
            else:
                return
        procs.crashpoint("rebuild locked")
        beside = sweep.db.with_name(f".queue.{os.getpid()}.db")
        try:
            with contextlib.closing(Store(beside, runs=sweep.path)) as store:
                _fill(store, sweep)
            procs.crashpoint("queue filled")
            put_aside(sweep)
            procs.crashpoint("before queue rename")
            os.replace(beside, sweep.db)
            procs.crashpoint("queue renamed")
        except BaseException:
            for suffix in FILES:
                Path(f"{beside}{suffix}").unlink(missing_ok=True)
            raise
    finally:
        os.close(lock)


def of_folders(sweep: paths.SweepDir, why: str) -> Store:
    """What the run folders say, in memory, for looking where the queue cannot be read for the reason ``why``.

    Raises SweepError where they cannot be read either, or hold nothing.
    """
    store = Store(sweep.db, runs=sweep.path, memory=sqlite3.connect(":memory:", isolation_level=None))
    try:
        closed = _fill(store, sweep, looking=True)
    except (OSError, SweepError) as error:
        store.close()
        raise SweepError(f"{why}\n    and its run folders tell nothing: {error}") from error
    if not store.total() and not any(True for _ in store.touched()):
        store.close()
        raise SweepError(why)
    wish = store.wish()
    if wish is not None:
        store.set_wish(replace(wish, want=RUN, why=""))  # nobody knows: whether it has a scheduler must tell
    store.note = f"{why.splitlines()[0]}: what is shown is what its run folders say"
    if closed:
        store.note += f"; {closed} of them cannot be read"
    return store


def _fill(store: Store, sweep: paths.SweepDir, *, looking: bool = False) -> int:
    """Enter run.json, the attempts and the outcomes, and what was wanted last; stopped: nobody starts by looking.

    Gives how many run folders were passed over because they cannot be read, which only happens when ``looking``: a
    queue that is to be used knows all of them. Raises OSError.
    """
    closed = 0
    with store:
        for number, run in folders.run_folders(sweep):
            try:
                _restore(store, number, run)
            except OSError:
                if not looking:
                    raise
                closed += 1
        last = _last_launch(sweep, looking=looking)
        if last is None:
            return closed
        store.set_wish(last)
    from sweeper import command
    from sweeper.grid import expand
    from sweeper.spec import read_spec

    try:
        spec = read_spec(last.file, text=sweep.file.read_text(encoding="utf-8"))
        points, template = expand(spec), command.template(spec)
    except (OSError, ValueError, SweepError):
        return closed  # the next launch enters what is wanted
    enqueue(store, spec, points, template, last, again=())
    return closed


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


def _last_launch(sweep: paths.SweepDir, *, looking: bool) -> Wish | None:
    """The wish as the newest environment file remembers it; stopped, because nobody may start by reading.

    For looking the folder's owner does as well, where that is another's secret. Raises OSError.
    """
    numbers = []
    for entry in sweep.path.glob("environment-*.json"):
        with contextlib.suppress(ValueError):
            numbers.append(int(entry.stem.removeprefix("environment-")))
    for number in sorted(numbers, reverse=True):
        try:
            data = folders.read_json(sweep.environment(number))
        except PermissionError:
            if not looking:
                raise
            data = folders.read_json(sweep.owner)
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
    holds the sweep's lock, or that of its launch while it has no scheduler. Before a run goes it must be on disk that
    its number of attempts was made smaller: another reset could make the queue know an attempt that it never heard of.
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
    What was stopped is stopped all the same, with as many attempts as there are.

    Older ones are not doubted: it was synced long before, and whoever deleted a folder since meant to.
    """
    boot = procs.boot_id()
    if store.flag(BOOT) == boot:
        return
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for record in store.records([model.DONE, model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY, model.STOPPED]):
        stopped = record.state == model.STOPPED  # it stays so, and somebody may queue it again
        if record.folder is None or (not stopped and (record.ended is None or record.ended < began - UNSYNCED)):
            continue
        try:
            past = folders.history(paths.RunDir(Path(record.folder)))
        except OSError:
            continue  # closed to us; nothing says that it is not there
        if stopped:
            store.set_attempts(record.number, min(past.attempts, record.attempts))
        elif past.outcome is None or past.attempts < record.attempts:
            store.set_lost(record.number, past.attempts, LOST_LIMIT)
    store.set_flag(BOOT, boot)
