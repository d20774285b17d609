"""``--same-command``: is this user running the same command line already?

By what /proc says of his processes, however they were started; and by a lock, for two that begin at the same moment,
and for a command that gives itself another name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import lock_descriptor

from sweeper import moments, paths, procs
from sweeper.errors import BusyError
from sweeper.lease import claims


def same_command_lock(argv: Sequence[str]) -> Path:
    """The lock that says that this user runs this command line."""
    line = b"\0".join(os.fsencode(word) for word in argv)
    return paths.runtime_folder() / f"same-{hashlib.sha256(line).hexdigest()[:32]}.lock"


def take(argv: Sequence[str]) -> int:
    """The descriptor of the lock, which the command is to inherit. Raises BusyError where it runs already, OSError."""
    path = same_command_lock(argv)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not lock_descriptor(descriptor, blocking=False):
            check(argv, locked=True)
            said = os.pread(descriptor, 20, 0).strip()
            raise BusyError(_text("running", int(said) if said.isdigit() else 0))
        procs.crashpoint("same locked")
        os.pwrite(descriptor, b"%-20d" % os.getpid(), 0)
        check(argv)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check(argv: Sequence[str], *, locked: bool = False) -> None:
    """Raises BusyError where a process of this user has this command line, or is a run-one that waits to start it.

    A run-one with ``--same-command`` counts only if somebody else has the lock (``locked``): else it is one that begins
    at this moment, and is refused because we have it.
    """
    line = [os.fsencode(word) for word in argv]
    program = shutil.which(argv[0])
    own = _own()
    ours: list[int] = []  # the run-ones of this command
    for pid in procs.pids():
        words = [] if pid in own else _words(pid)
        if _same(words, line, program):
            raise BusyError(_text("running", pid))
        if b"run-one" not in words or b"--" not in words:
            continue
        place = words.index(b"--")
        if words[place + 1 :] == line and (locked or not _asks_the_lock(words[:place])):
            ours.append(pid)
    if ours:
        below = procs.descendants(ours[0])  # nothing before its turn has come
        raise BusyError(_text("running", below[0]) if below else _text("waiting to run", ours[0]))


def _asks_the_lock(flags: Sequence[bytes]) -> bool:
    return any(flag.replace(b"_", b"-").startswith(b"--same-command") for flag in flags)


def _same(words: Sequence[bytes], line: Sequence[bytes], program: str | None) -> bool:
    """The kernel starts a script as its interpreter, perhaps an option, the script, its arguments."""
    if list(words) == list(line):
        return True
    before = len(words) - len(line)
    if program is None or before not in (1, 2) or list(words[before + 1 :]) != list(line[1:]):
        return False
    return words[before] in (line[0], os.fsencode(program)) and _is_script(program)


def _is_script(program: str) -> bool:
    try:
        with open(program, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _words(pid: int) -> list[bytes]:
    """The command line of a process of this user; none of another's, of a zombie, of one that is gone."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return []
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().removesuffix(b"\0").split(b"\0")
    except OSError:
        return []


def _own() -> set[int]:
    """This process and those that it descends from."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = procs.parent(pid)
    return found


def _text(what: str, pid: int) -> str:
    ticks = procs.start_ticks(pid) if pid else None
    since = "" if ticks is None else f", {moments.at(moments.mark(claims.unix_time(ticks)))}"
    who = f" (pid {pid}{since})" if pid else ""
    return f"you are {what} this command line already{who}; --same-command does not start it again"
