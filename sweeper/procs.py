"""Processes by /proc and pidfd: who they are for certain, what descends from whom, and how to end them all.

A pid alone is never trusted: it is paired with the start time that the kernel keeps for it (field 22 of
/proc/PID/stat), or signalled through a pidfd that was opened before the check.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 20  # looks for what was forked meanwhile
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # nobody may be taken for dead because of these
STOPPED = "stopped"
_STATES = {"T": STOPPED, "t": "stopped by a debugger", "D": "waiting for a disk or server that does not answer"}
_REPLACED = 0.25  # seconds within which execve has given a process its new environment
_PF_EXITING, _PF_KTHREAD = 0x00000004, 0x00200000  # include/linux/sched.h
_CRASH = os.environ.get("SWEEP_TEST_CRASH")


def crashpoint(name: str) -> None:
    """Where the fault suite may kill this process; does nothing unless SWEEP_TEST_CRASH names an armed link."""
    if _CRASH is not None:
        _crash(_CRASH, name)


def _crash(link: str, name: str) -> None:
    """Die by SIGKILL if the symbolic link says this point's name, and be the only one that does: removing it claims it.

    Its target is the beginning of a point's name; the harness makes it at the moment of its choice (tests/faults).
    """
    try:
        if name.startswith(os.readlink(link)):
            os.unlink(link)
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        return


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def boot_id() -> str:
    """The identity of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_ticks(pid: int) -> int | None:
    """When ``pid`` was started, in clock ticks since boot; None where there is no such process (or a zombie)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return int(fields[19])


def parent(pid: int) -> int:
    """The pid of the process that ``pid`` is a child of; 0 where there is none, or /proc hides it."""
    fields = _stat(pid)
    return 0 if fields is None else int(fields[1])


def alive(pid: int, ticks: int) -> bool:
    """Whether ``pid`` is still the process that was started at ``ticks``."""
    return start_ticks(pid) == ticks


def state(pid: int) -> str:
    """What a process does, in words: ``stopped``, say. Empty where it is gone, or runs or sleeps as usual."""
    fields = _stat(pid)
    return _STATES.get(fields[0], "") if fields is not None else ""


def openers(path: str) -> list[int]:
    """The living processes that have this very file open for writing, as far as we may know; this one is left out."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    identity = (status.st_dev, status.st_ino)
    return [
        pid for pid in everybody() if pid != os.getpid() and start_ticks(pid) is not None and _has_open(pid, identity)
    ]


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return None
    return text[text.rindex(")") + 2 :].split()


def pidfd(pid: int, ticks: int) -> int | None:
    """A pidfd of that very process, or None where it is gone. The caller closes it. Raises OSError if none is left."""
    try:
        descriptor = os.pidfd_open(pid)
    except OverflowError:  # a damaged file may say anything
        return None
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return None
    living = False
    try:
        living = alive(pid, ticks)
    finally:
        if not living:
            os.close(descriptor)
    return descriptor if living else None


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def everybody() -> Iterator[int]:
    """All processes, and those that came while the caller looked at these: one that forks and ends before it is looked
    at (as daemons do) leaves a child that only a later list has. So nobody escapes by descent."""
    known: set[int] = set()
    for _ in range(ROUNDS):
        fresh = [pid for pid in pids() if pid not in known]
        if not fresh:
            break
        known.update(fresh)
        yield from fresh


def descendants(root: int) -> list[int]:
    """All living descendants of ``root``, itself left out, parents before their children."""
    return list(_family(root))


def _family(root: int) -> dict[int, int]:
    """The living descendants of ``root``, each with its process group, parents before their children."""
    children: dict[int, list[int]] = {}
    groups: dict[int, int] = {}
    for pid in everybody():
        fields = _stat(pid)
        if fields is not None and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(pid)
            groups[pid] = int(fields[2])
    found: dict[int, int] = {}
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update((pid, groups[pid]) for pid in below)
        waiting += below
    return found


def signal_all(targets: Iterable[int], number: int) -> None:
    """Send a signal to each of ``targets`` that still exists and may be signalled."""
    for pid in targets:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def kill_descendants(root: int) -> bool:
    """SIGKILL everything below ``root``, a subreaper with a process group of its own; True when nothing was left.

    Three ways against programs that fork without end: whole groups at once, which the kernel does between two forks;
    the rest are stopped before they are killed; and those who fork and exit, to be always a step ahead, come to
    ``root`` as its direct children, which can be listed and killed faster than they fork.
    """
    stopped: dict[int, int] = {}
    for _ in range(ROUNDS):
        fresh = {pid: group for pid, group in _family(root).items() if pid not in stopped}
        if not fresh:
            break
        for group in _foreign(fresh):
            signal_all([-group], signal.SIGSTOP)
        signal_all(fresh, signal.SIGSTOP)
        stopped.update(fresh)
    for group in _foreign(stopped):
        signal_all([-group], signal.SIGKILL)
    signal_all(stopped, signal.SIGKILL)
    deadline = time.monotonic() + 0.02
    while (below := _children(root)) and time.monotonic() < deadline:
        signal_all(below, signal.SIGKILL)
    return not stopped


def _foreign(family: Mapping[int, int]) -> set[int]:
    """The process groups that are not our own."""
    return {group for group in family.values() if group > 1} - {os.getpgrp()}


def _children(root: int) -> list[int]:
    """The direct children of ``root``'s main thread, by one small file; empty on kernels without it."""
    try:
        with open(f"/proc/{root}/task/{root}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def stopped(pid: int, ticks: int) -> bool:
    """Whether that very process is stopped (SIGSTOP, Ctrl-Z, a debugger); False where /proc hides it."""
    fields = _stat(pid)
    return fields is not None and fields[0] in "Tt" and int(fields[19]) == ticks


def environment(pid: int) -> set[bytes] | None:
    """The entries of the environment that a process was started with; None where it ends, or is hidden from this user.

    While execve(2) replaces it by another program it shows none: that moment is waited for.
    """
    deadline = time.monotonic() + _REPLACED
    while True:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                data = file.read()
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            return None
        if data:
            return set(data.split(b"\0"))
        fields = _stat(pid)
        if fields is None or _is_ending(fields):
            return None
        begin, end = fields[47:49]  # where the environment is; the code's place is entered last (fs/binfmt_elf.c)
        bare = begin == end != "0" and fields[23] != "0"
        if int(fields[6]) & _PF_KTHREAD or bare or time.monotonic() > deadline:
            return set()
        time.sleep(0.0005)


def _is_ending(fields: list[str]) -> bool:
    return fields[0] in "ZX" or bool(int(fields[6]) & _PF_EXITING)


def _mentions(pid: int, variable: bytes) -> bool:
    return variable in (environment(pid) or ())


def _has_open(pid: int, identity: tuple[int, int]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # gone, or somebody else's
        return False
    for name in names:
        try:
            status = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == identity and _writable(pid, name):
            return True
    return False


def _writable(pid: int, descriptor: str) -> bool:
    """Runs hold their lock by a descriptor open for writing; whoever only looks whether it is held reads."""
    try:
        with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
            for line in file:
                if line.startswith("flags:"):
                    return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False
    return False


def of_run(run_dir: str, lock: str, spare: Iterable[int] = ()) -> list[int]:
    """The living processes of this user that belong to the run in ``run_dir``: whose environment names it as
    SWEEP_RUN_DIR, or that have its lock file open for writing. This process and those in ``spare`` are left out."""
    variable = b"SWEEP_RUN_DIR=" + os.fsencode(run_dir)
    try:
        status = os.stat(lock)
        identity = (status.st_dev, status.st_ino)
    except OSError:
        identity = (-1, -1)
    uid = os.getuid()
    own = {os.getpid(), *spare}
    found = []
    for pid in everybody():
        try:
            if pid in own or os.stat(f"/proc/{pid}").st_uid not in (uid, 0):
                continue
        except OSError:
            continue
        if start_ticks(pid) is not None and (_mentions(pid, variable) or _has_open(pid, identity)):
            found.append(pid)
    return found


def end_run(run_dir: str, lock: str, *, patience: float = 5.0, spare: Iterable[int] = ()) -> list[int]:
    """End everything that is left of a lost run; give the pids of what would not die within ``patience`` seconds."""
    return end_all(lambda: of_run(run_dir, lock, spare), patience=patience)


def end_all(find: Callable[[], list[int]], *, patience: float) -> list[int]:
    """SIGKILL what ``find`` finds until it finds nothing more; give what is left after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = find()
        if not found:
            return []
        opened = [(pid, descriptor) for pid in found if (descriptor := _open_pidfd(pid)) is not None]
        still = set(find())  # a pid may have been reused between the two looks; it is killed only if it still fits
        for pid, descriptor in opened:
            if pid in still:
                _send(descriptor, signal.SIGKILL)
        for _, descriptor in opened:
            _wait_end(descriptor, min(deadline, time.monotonic() + 1.0))
            os.close(descriptor)
        if time.monotonic() > deadline:
            return find()


def _send(descriptor: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait_end(descriptor: int, deadline: float) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
