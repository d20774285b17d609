"""Where the GPU locks live: one folder for every user of the machine, chosen by no variable of theirs.

The administrator's comes first: /var/lib/sweep-locks/v1, made by root, sticky (1777) like /tmp. There nobody can remove
or replace another's file, no cleaner of temporary files comes by, and it survives reboots (what a boot leaves behind is
recognised by its boot id). Without it, the first of these parents that root owns and anybody may write, sticky:

- /run/lock: memory, local to the machine, emptied by a boot, and no rule of systemd-tmpfiles ages it (Debian, Ubuntu);
- /var/tmp, then /tmp: everywhere, but cleaners remove what is 30 or 10 days old there. The files of a lease that is
  held longer may go; guard.py is what keeps their GPU from being given twice.

Not /dev/shm: systemd-logind's RemoveIPC deletes a user's files there when his last session ends, as ours do overnight.
Not /run/user, the home, or a folder that a variable names: those differ between users. Never a network file system,
where flock may be silent nonsense. The folder carries its layout's version: releases of different layouts do not meet
there, but they still meet at the guards.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sweeper import procs
from sweeper.errors import SweepError

ADMINISTRATORS = Path("/var/lib/sweep-locks/v1")
PARENTS = (Path("/run/lock"), Path("/var/tmp"), Path("/tmp"))
NAME = "sweep-locks-v1"
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "fuse.sshfs", "afs", "ceph", "beegfs", "9p", "glusterfs")


def admin_command() -> str:
    """The administrator's one line that gives the locks the safest place."""
    return f"sudo install -d -o root -g root -m 1777 {ADMINISTRATORS}"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a lock folder, in words that follow "cannot be used: ", and the way out."""

    what: str
    way: str


def choose() -> Path:
    """The folder of the GPU locks, made where it is missing. Raises SweepError where there is none that will do.

    An administrator's that is there and will not do is an error for everybody, root too: whoever went on to another
    folder would stand in another queue.
    """
    if _is_there(ADMINISTRATORS):
        wrong = fault(ADMINISTRATORS)
        if wrong is not None:
            raise SweepError(f"{ADMINISTRATORS}, where GPU locks live, cannot be used: {wrong.what}.\n    {wrong.way}")
        return ADMINISTRATORS
    for parent in PARENTS:
        if _shared(parent):
            path = parent / NAME
            _make(path)
            wrong = fault(path)
            if wrong is not None:
                raise SweepError(f"{path}, where GPU locks live, cannot be used: {wrong.what}.\n    {wrong.way}")
            return path
    raise SweepError(
        f"there is no folder for GPU locks that every user of this machine may write "
        f"({', '.join(map(str, PARENTS))}).\n    Let the administrator make one: {admin_command()}"
    )


def fault(path: Path) -> Fault | None:
    """What is wrong with a lock folder; None where nothing is. The same for every user, as far as it can be."""
    ours = path == ADMINISTRATORS
    mend = f"Let the administrator {'mend it' if ours else 'make one'}: {admin_command()}"
    other = mend if ours else f"Have it removed, or let the administrator make one: {admin_command()}"
    try:
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            return Fault("it is a symbolic link", f"Have it removed. {mend}")
        if not stat.S_ISDIR(status.st_mode):
            return Fault("it is no folder", f"Have it removed. {mend}")
        flags = os.statvfs(path).f_flag
    except OSError as error:
        opened = f"sudo chmod 755 {path.parent} && {admin_command()}"
        return Fault(f"it cannot be looked at ({error.strerror})", f"Let the administrator open it to all: {opened}")
    if mode & 0o777 != 0o777:
        return Fault(f"it is not open to all users (mode {mode:04o}, of user {status.st_uid})", other)
    if not mode & stat.S_ISVTX:
        return Fault(f"it is not sticky: anybody could remove another's locks there (mode {mode:04o})", other)
    kind = file_system(status.st_dev)
    if kind.startswith(_NETWORK):
        return Fault(f"it is on a network file system ({kind})", "Let the administrator mount a local one there")
    if flags & os.ST_RDONLY:
        return Fault("its file system is read-only", "Let the administrator mount it for writing")
    if not os.access(path, os.W_OK | os.X_OK):
        return Fault("you may not write there", f"Let the administrator see what closes it to you. {mend}")
    return None


def unwritable(path: Path, error: OSError) -> SweepError:
    """What to say where a file could not be made in the lock folder."""
    ways = {
        errno.ENOSPC: f"Make room there: df {path} and df -i {path} say what is used up",
        errno.EDQUOT: "Your quota there is used up",
        errno.EROFS: "Its file system is read-only: let the administrator mount it for writing",
    }
    way = ways.get(error.errno or 0, f"Let the administrator see to it, or make another: {admin_command()}")
    return SweepError(f"{path}, where GPU locks live, takes no file: {error.strerror or error}.\n    {way}")


def file_system(device: int) -> str:
    """The type of the file system with this device number, as /proc/self/mountinfo has it; empty if unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                left, _, right = line.partition(" - ")
                if left.split()[2] == wanted:
                    return right.split()[0]
    except (OSError, IndexError):
        return ""
    return ""


def _shared(parent: Path) -> bool:
    try:
        status = parent.stat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == 0
        and stat.S_IMODE(status.st_mode) & 0o1777 == 0o1777
        and not file_system(status.st_dev).startswith(_NETWORK)
        and not os.statvfs(parent).f_flag & os.ST_RDONLY
    )


def _is_there(path: Path) -> bool:
    """Whether there is something, be it closed to us."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _make(path: Path) -> None:
    """Make the folder with its mode at once: beside, then renamed, so that no kill leaves one that only we may use."""
    if path.exists() or path.is_symlink():
        return
    beside = path.with_name(f".{NAME}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        beside.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        procs.crashpoint("lock folder made")
        beside.chmod(0o1777)
        os.rename(beside, path)
        procs.crashpoint("lock folder renamed")
    except OSError:
        beside.rmdir()
        if not path.is_dir():  # otherwise somebody was quicker
            raise
