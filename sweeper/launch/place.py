"""The sweep's folder at a launch: its lock held, made where missing, its file system tried, old results put aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import lock_descriptor

from sweeper import folders, index, obstacle, paths, procs
from sweeper.errors import InputError, SweepError
from sweeper.launch.reaching import PATIENCE, alive
from sweeper.store import Store, Wish, with_store
from sweeper.store.db import STOP

PUT_ASIDE = "put aside by --fresh"


@contextlib.contextmanager
def launching(sweep: paths.SweepDir) -> Iterator[None]:
    """Hold the launch lock: who changes what is wanted. Waits for others, who hold it for a moment. Raises SweepError.

    It is the first thing that any change does, and so tells where nothing can be changed.
    """
    index.check_ours(sweep)
    try:
        lock = folders.open_lock(sweep.launch_lock)
    except OSError as error:
        raise SweepError(f"{sweep.name} cannot be changed: {obstacle.explain(error, sweep.launch_lock)}") from error
    try:
        procs.crashpoint("before launch lock")
        deadline = time.monotonic() + PATIENCE * 2
        while not lock_descriptor(lock, blocking=False):
            if time.monotonic() > deadline:
                raise SweepError(f"{sweep.name} has been in change for long by {folders.users(sweep.launch_lock)}")
            time.sleep(0.01)
        procs.crashpoint("launch locked")
        yield
    finally:
        os.close(lock)


def check_at_rest(sweep: paths.SweepDir, then: str = "") -> None:
    """Raises InputError on another host, for another's sweep, and while anything of it runs."""
    index.check_ours(sweep)
    if alive(sweep):
        raise InputError(f"{sweep.name} is running: sweep stop {sweep.name} first{then}")
    for number, run in folders.run_folders(sweep):
        if folders.is_held(run.lock):
            raise InputError(f"run {number} of {sweep.name} is still alive: sweep stop {sweep.name} first{then}")


def make_folder(sweep: paths.SweepDir) -> None:
    try:
        paths.make_folder(sweep.path)
        if not sweep.owner.exists() and not sweep.pointer.exists() and not works(sweep.path):
            _move_state(sweep)
    except OSError as error:
        what, remedy = obstacle.reason(error, sweep.path)
        raise InputError(
            f"the folder {sweep.path} cannot be made: {what}\n"
            + (f"    {remedy};\n" if remedy else "")
            + "    or give another runs folder with --runs-dir, SWEEP_RUNS_DIR or `runs_dir:`"
        ) from error


def _move_state(sweep: paths.SweepDir) -> None:
    """Have locks and queue lie on a local disk. Of two launches at once the first names the folder. Raises OSError."""
    procs.crashpoint("before state-folder")
    local = paths.local_state(sweep.path)
    local.mkdir(mode=0o700)
    beside = sweep.path / f".{sweep.pointer.name}.{os.getpid()}"
    beside.write_text(f"{local}\n", encoding="utf-8")
    paths.sync_path(beside)
    procs.crashpoint("written state-folder")
    try:
        os.link(beside, sweep.pointer)
    except FileExistsError:
        local.rmdir()
    except OSError:  # a file system without links
        os.replace(beside, sweep.pointer)
    procs.crashpoint("renamed state-folder")
    beside.unlink(missing_ok=True)
    paths.sync_path(sweep.path)
    paths.state_folder.cache_clear()


def works(folder: Path) -> bool:
    """Whether locks exclude and SQLite writes in this folder: tried, since network file systems may only pretend.

    Raises OSError where the disk is full or read-only: that says nothing about what it can do.
    """
    probe = folder / f".probe-{os.getpid()}"
    descriptors: list[int] = []
    try:
        descriptors += [folders.open_lock(probe), folders.open_lock(probe)]
        if not lock_descriptor(descriptors[0], blocking=False) or lock_descriptor(descriptors[1], blocking=False):
            return False
        Store(probe.with_suffix(".db")).close()
    except (OSError, sqlite3.Error):
        hindrance = obstacle.hindrance(probe)
        if hindrance is not None:
            raise hindrance from None
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        for file in folder.glob(f"{probe.name}*"):
            file.unlink(missing_ok=True)
    return True


@dataclass(frozen=True, slots=True)
class Aside:
    """Where ``--fresh`` has put the old results, and what was wanted of that sweep."""

    path: Path
    wish: Wish | None


def move_aside(sweep: paths.SweepDir) -> Aside | None:
    """``--fresh``: the old results get another name, and nothing is deleted. None where there are none."""
    if not index.is_sweep(sweep.path):
        return None
    check_at_rest(sweep, ", then --fresh")
    wish = with_store(sweep, _stop_for_good)
    number = 1
    while (aside := sweep.path.with_name(f"{sweep.name}.old-{number}")).exists():
        number += 1
    procs.crashpoint("before aside")
    sweep.path.rename(aside)
    procs.crashpoint("put aside")
    index.remember(paths.SweepDir(aside))
    paths.state_folder.cache_clear()  # where locks do not work, what was put aside has kept its own
    make_folder(sweep)
    return Aside(aside, wish)


def _stop_for_good(store: Store) -> Wish | None:
    """Or ``resume --all`` would go on with what was put aside. Gives what was wanted until now."""
    wish = store.wish()
    if wish is not None:
        store.set_wish(replace(wish, want=STOP, why=PUT_ASIDE))
    return wish
