"""Run folders read: which attempts there were, how they ended, whether one is alive. The truth about what happened.

The highest attempt decides. Alive means that the run's lock is held; without lock and outcome an attempt is lost.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper import model, paths, procs
from sweeper.model import Attempt, Job, Outcome, RunRecord

LOOKS = 0.05  # seconds within which those who only look at a lock have gone again
TAIL = 65_536  # bytes of a log's end that are searched for what a run died of
_NUMBERED = re.compile(r"^(attempt|outcome)-(\d+)\.json$")


@dataclass(frozen=True, slots=True)
class History:
    """What the folder of a run says: its last attempt and that one's outcome, and how many were lost in a row."""

    attempts: int = 0
    attempt: Attempt | None = None
    outcome: Outcome | None = None
    losses: int = 0


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or only half a one. Raises OSError if it is unreadable."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:  # as paths.replace wrote it
            data = json.load(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_job(run: paths.RunDir) -> Job | None:
    data = read_json(run.job)
    try:
        return None if data is None else Job.from_json(data)
    except (TypeError, KeyError, AttributeError):
        return None


def read_attempt(run: paths.RunDir, number: int) -> Attempt | None:
    data = read_json(run.attempt(number))
    try:
        return None if data is None else Attempt.from_json(data)
    except TypeError:
        return None


def read_outcome(run: paths.RunDir, number: int) -> Outcome | None:
    data = read_json(run.outcome(number))
    try:
        outcome = None if data is None else Outcome.from_json(data)
    except TypeError:
        return None
    return outcome if outcome is not None and outcome.outcome in model.OUTCOMES else None


def history(run: paths.RunDir) -> History:
    """What happened in a run's folder, whether or not something of it is alive. Raises OSError if it is unreadable."""
    attempts: set[int] = set()
    outcomes: set[int] = set()
    try:
        names = os.listdir(run.path)
    except (FileNotFoundError, NotADirectoryError):
        return History()
    for name in names:
        match = _NUMBERED.match(name)
        if match:
            (attempts if match.group(1) == "attempt" else outcomes).add(int(match.group(2)))
    numbers = sorted(attempts | outcomes, reverse=True)
    if not numbers:
        return History()
    losses = 0
    for number in numbers:
        if number in outcomes and read_outcome(run, number) is not None:
            break
        losses += 1
    last = numbers[0]
    return History(last, read_attempt(run, last), read_outcome(run, last), losses)


def log_end(log: int, begin: int, end: int | None = None) -> bytes:
    """The last TAIL bytes of an open log, of those from ``begin`` to ``end``: of one attempt alone. Raises OSError."""
    end = os.fstat(log).st_size if end is None else end
    first = max(begin, end - TAIL)
    return os.pread(log, max(0, end - first), first)


def record(run: paths.RunDir, job: Job, past: History, state: str) -> RunRecord:
    """A run as its folder tells it, in a state that the caller has judged."""
    attempt, outcome = past.attempt, past.outcome
    return RunRecord(
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
        started=outcome.started if outcome else attempt.started if attempt else None,
        ended=outcome.ended if outcome else None,
        gpus=outcome.gpus if outcome else attempt.gpus if attempt else [],
        host=outcome.host if outcome else attempt.host if attempt else None,
    )


def is_held(lock: Path) -> bool:
    """Whether somebody holds this lock file. Two who look do not hinder each other; whoever takes the lock at that very
    moment tries again (``take_lock``). Raises OSError where locks do not work there.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link: nobody takes such a one
            return False
        if not isinstance(error, PermissionError):
            raise
        return _is_listed(os.stat(lock))  # another user's: the kernel's list tells it all the same
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _is_listed(status: os.stat_result) -> bool:
    """Whether /proc/locks (proc(5)) has a flock on this file."""
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii") as file:
        fields = [line.split() for line in file if "FLOCK" in line]
    return any(line[1] == "FLOCK" and wanted in line for line in fields)


def users(file: Path) -> str:
    """Who has this file open for writing, and, below, what a person can do about it."""
    found = {pid: procs.state(pid) for pid in procs.openers(os.fspath(file))}
    if not found:
        return "a process that cannot be seen from here\n    try again when it is done"
    told = ", ".join(f"process {pid}" + (f" ({state})" if state else "") for pid, state in found.items())
    stopped = " ".join(str(pid) for pid, state in found.items() if state == procs.STOPPED)
    way = f"kill -CONT {stopped} lets what is stopped go on" if stopped else "try again when that is done"
    return f"{told}\n    {way}"


def open_lock(lock: Path) -> int:
    """Open a lock file for holding; it is taken by ``take_lock`` and given back by closing. Raises OSError."""
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def take_lock(descriptor: int, patience: float = LOOKS) -> bool:
    """Take the lock of an open lock file; False where somebody holds it for longer than those who only look at it.

    Also False where the file was deleted meanwhile: another may hold the one that replaced it. Raises OSError.
    """
    deadline = time.monotonic() + patience
    while not _lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return os.fstat(descriptor).st_nlink > 0


def _lock(descriptor: int) -> bool:
    # What filelock.lock_descriptor does, whose import would cost every run 12 ms of CPU and 3 MB.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # some file systems call it EACCES
        return False
    return True


def run_folders(sweep: paths.SweepDir) -> Iterator[tuple[int, paths.RunDir]]:
    """The numbers and folders of all runs that somebody has touched, in no order."""
    try:
        entries = os.scandir(sweep.path)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            number = paths.folder_number(entry.name)
            if number is not None and entry.is_dir(follow_symlinks=False):
                yield number, paths.RunDir(Path(entry.path))


def git_commit(folder: Path) -> str | None:
    """The commit checked out in the work tree that ``folder`` is in, by reading its files; None where there is none."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a worktree or a submodule: "gitdir: PATH"
                git = (parent / git.read_text(encoding="utf-8").split(":", 1)[1].strip()).resolve()
            head = (git / "HEAD").read_text(encoding="utf-8").strip()
        except (OSError, IndexError, UnicodeDecodeError):
            continue
        return _resolve(git, head)
    return None


def _resolve(git: Path, head: str) -> str | None:
    if not head.startswith("ref: "):
        return head
    name = head[5:]
    try:
        common = git / (git / "commondir").read_text(encoding="utf-8").strip()
    except OSError:
        common = git
    for root in (git, common):
        try:
            return (root / name).read_text(encoding="utf-8").strip()
        except OSError:
            continue
    try:
        packed = (common / "packed-refs").read_text(encoding="utf-8")
    except OSError:
        return None
    return next((line.split()[0] for line in packed.splitlines() if line.endswith(" " + name)), None)
