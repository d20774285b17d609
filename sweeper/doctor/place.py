"""Where runs are kept: what that file system can do is tried there, by two processes, and removed again."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import lock_descriptor

from sweeper import folders, paths
from sweeper.doctor.check import Check

NETWORK = (
    "nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "fuse.glusterfs", "afs", "9p", "panfs",
    "wekafs", "orangefs", "pvfs2", "ocfs2", "gfs2",
)  # fmt: skip
MEMORY = ("tmpfs", "ramfs")
SLOW_SYNC = 0.2  # seconds

TAKE = """
import fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""
_WRITE = """
import sqlite3, sys
try:
    with sqlite3.connect(sys.argv[1], timeout=0) as connection:
        connection.execute("INSERT INTO tried VALUES (2)")
except sqlite3.OperationalError as error:
    sys.exit(3 if "locked" in str(error) else str(error))
"""


@dataclass(frozen=True, slots=True)
class Mount:
    """The file system that a path is on."""

    point: str
    kind: str
    source: str

    @property
    def network(self) -> bool:
        return self.kind.startswith(NETWORK)


def mount_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> Mount:
    """By the longest mount point that ``path`` lies below; proc(5) has the format. Raises OSError."""
    wanted = os.path.realpath(path)
    best = Mount("/", "", "")
    for line in mountinfo.read_text("utf-8", "surrogateescape").splitlines():
        left, separator, right = line.partition(" - ")
        fields, details = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5 or len(details) < 2:
            continue
        point = _unescaped(fields[4])
        if (wanted == point or wanted.startswith(point.rstrip("/") + "/")) and len(point) >= len(best.point):
            best = Mount(point, details[0], _unescaped(details[1]))  # of two on one place, the later covers the other
    return best


def _unescaped(field: str) -> str:
    for escaped, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, char)
    return field


# -- the runs folder -----------------------------------------------------------------------------------------------


def standing(path: Path) -> Path:
    """``path``, or the nearest of the folders above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def runs_folder(path: Path) -> Check:
    """Try, where the runs are or will be, everything that a sweep asks of a file system."""
    name, here = "runs folder", standing(path)
    elsewhere = "Keep the runs elsewhere, on a local disk: SWEEP_RUNS_DIR, --runs-dir or runs_dir: in the file"
    if not here.is_dir():
        return Check(name, "bad", f"{here} is not a folder", elsewhere)
    mount = mount_of(here)
    where = f"{path} on {mount.kind or 'an unknown file system'}"
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".sweep-doctor-", dir=here, ignore_cleanup_errors=True)
    except OSError as error:
        return Check(name, "bad", f"{where} cannot be written: {error.strerror}", elsewhere)
    with scratch as folder:
        faults = []
        pace = 0.0
        tests: list[tuple[str, Callable[[Path], str]]] = [
            ("writing and renaming", _try_renames),
            ("permissions", _try_modes),
            ("locks", _try_locks),
            ("SQLite", _try_sqlite),
        ]
        for what, test in tests:
            began = time.monotonic()
            try:
                fault = test(Path(folder))
            except (OSError, sqlite3.Error, subprocess.SubprocessError) as error:
                fault = str(error)
            if fault:
                faults.append(f"{what}: {fault}")
            if test is _try_renames:
                pace = (time.monotonic() - began) / _RENAMES
    if faults:
        return Check(name, "bad", f"{where} will not do; {'; '.join(faults)}", elsewhere)
    text = f"{where}: locks, renames, fsync ({pace * 1000:.0f} ms) and SQLite work"
    if mount.network:
        remedy = "Nothing, while the server answers. To be independent of it, keep the runs on a local disk."
        return Check(name, "warn", f"{text}, but it is a network file system ({mount.source})", remedy)
    if mount.kind in MEMORY:
        return Check(name, "warn", f"{text}, but it is memory: a reboot empties it", elsewhere)
    if pace > SLOW_SYNC:
        return Check(name, "warn", f"{text}, but it is slow: every run waits for it", elsewhere)
    return Check(name, "ok", text)


_RENAMES = 3


def _try_renames(folder: Path) -> str:
    for number in range(_RENAMES):
        paths.replace(folder / "renamed", str(number), sync=True)
        if (folder / "renamed").read_text(encoding="utf-8") != str(number):
            return "a renamed file does not hold what was written"
    return ""


def _try_modes(folder: Path) -> str:
    paths.replace(folder / "private", "", mode=0o600)
    mode = stat.S_IMODE((folder / "private").stat().st_mode)
    return "" if mode & 0o077 == 0 else f"a file for its owner alone (0600) is open to others ({mode:04o})"


def _try_locks(folder: Path) -> str:
    """A lock keeps another process out, by an inherited descriptor too, until the last one that has it is gone."""
    lock = folder / "lock"
    descriptor = folders.open_lock(lock)
    try:
        if not lock_descriptor(descriptor, blocking=False):
            return "a new file is locked already"
        if other(TAKE, lock) != 3:
            return "two processes get the same lock"
        heir = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(descriptor,))
    finally:
        os.close(descriptor)
    with heir:
        if other(TAKE, lock) != 3:
            return "a lock is free while a process that inherited it lives"
    return "" if other(TAKE, lock) == 0 else "a lock is not free when its holder is gone"


def _try_sqlite(folder: Path) -> str:
    """Two processes and a write-ahead log, as the queue is kept."""
    file = folder / "tried.db"
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            return f"no write-ahead log ({mode} instead)"
        connection.execute("CREATE TABLE tried (number INTEGER)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO tried VALUES (1)")
        if other(_WRITE, file) != 3:
            return "two processes write at once"
        connection.execute("COMMIT")
        if other(_WRITE, file) != 0:
            return "a second process cannot write"
        rows = connection.execute("SELECT number FROM tried ORDER BY number").fetchall()
        return "" if rows == [(1,), (2,)] else "a second process's row is not seen"
    finally:
        connection.close()


def other(code: str, file: Path) -> int:
    """Carry out ``code`` in another process; its exit status."""
    command = [sys.executable, "-I", "-S", "-c", code, os.fspath(file)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode
