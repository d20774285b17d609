"""What killed writers left behind: files half written beside their place (paths.replace), removed at the next launch;
and sweeps that somebody was removing.

Of files, removed is only what is called as we call such files, is ours, was written by a process that is gone, and has
not been touched for a while: another host that shares the folder may be writing one, and its processes cannot be seen
from here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sweeper import index, paths, procs
from sweeper.store import Store

QUIET = 60.0  # seconds without a change
TIDIED = "tidied"  # the flag that says when it was looked last, in unix seconds
_REMOVED = ".removed-"
_BESIDE = re.compile(
    r"\.(?:(?:sweep\.yaml|owner\.json|state-folder|environment-\d+\.json|\.report\.json|index\.json"
    r"|run\.json|attempt-\d+\.json|outcome-\d+\.json|\.metrics\.json)\.(\d+)"
    r"|queue\.(\d+)\.db(?:-wal|-shm|-journal)?|probe-(\d+)(?:\.db(?:-wal|-shm|-journal)?)?)"
)


def removal(sweep: paths.SweepDir) -> Path:
    """Where this process puts a sweep that it removes: under a name by which nobody takes it for a sweep."""
    return sweep.path.with_name(f".{sweep.name}{_REMOVED}{os.getpid()}")


def end_removals(sweep: paths.SweepDir) -> None:
    """Delete what is left of sweeps of this name whose removers were killed meanwhile; nobody else ever would."""
    start = f".{sweep.name}{_REMOVED}"
    with contextlib.suppress(OSError):
        for name in os.listdir(sweep.path.parent):
            pid = name.removeprefix(start)
            if name.startswith(start) and pid.isdecimal() and procs.start_ticks(int(pid)) is None:
                left = paths.SweepDir(sweep.path.with_name(name))
                if left.state.parent == paths.local_states():
                    shutil.rmtree(left.state, ignore_errors=True)
                shutil.rmtree(left.path, ignore_errors=True)


def tidy(sweep: paths.SweepDir, store: Store) -> None:
    """Remove what dead writers left in the sweep's folder, and in those of the runs that changed since the last look.

    It is a service: where it cannot be done now, the next launch does it.
    """
    now = time.time()
    with contextlib.suppress(OSError, sqlite3.Error, ValueError):
        last = float(store.flag(TIDIED) or 0)
        since = last - 2 * QUIET if last <= now else 0.0  # the clock was set back: all may have changed since
        for folder in {sweep.path, sweep.state, index.folder(), *_changed(sweep, since)}:
            _tidy_folder(folder, now - QUIET)
        store.set_flag(TIDIED, str(int(now)))
    end_removals(sweep)


def _changed(sweep: paths.SweepDir, since: float) -> Iterator[Path]:
    """The folders of runs in which a file was made or renamed since then."""
    with os.scandir(sweep.path) as entries:
        for entry in entries:
            if paths.folder_number(entry.name) is not None and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime >= since:
                        yield Path(entry.path)


def _tidy_folder(folder: Path, before: float) -> None:
    try:
        names = [name for name in os.listdir(folder) if name.startswith(".")]
    except OSError:
        return  # closed to us: whoever needs it says so
    for name in names:
        match = _BESIDE.fullmatch(name)
        if match is None or procs.start_ticks(int(match.group(match.lastindex or 1))) is not None:
            continue
        with contextlib.suppress(OSError):
            status = os.lstat(folder / name)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_mtime < before:
                os.unlink(folder / name)
