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
from pathlib import Path

from sweeper.errors import SweepError

ADMINISTRATORS = Path("/var/lib/sweep-locks/v1")
PARENTS = (Path("/run/lock"), Path("/var/tmp"), Path("/tmp"))
NAME = "sweep-locks-v1"
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "fuse.sshfs", "afs", "ceph", "beegfs", "9p", "glusterfs")


def admin_command() -> str:
    """The administrator's one line that gives the locks the safest place."""
    return f"sudo install -d -o root -g root -m 1777 {ADMINISTRATORS}"


def choose() -> Path:
    """The folder of the GPU locks, made where it is missing. Raises SweepError where there is none that will do."""
    if ADMINISTRATORS.is_dir() and fault(ADMINISTRATORS) is None:
        return ADMINISTRATORS
    for parent in PARENTS:
        if _shared(parent):
            path = parent / NAME
            _make(path)
            wrong = fault(path)
            if wrong is not None:
                raise SweepError(
                    f"{path}, where GPU locks live, cannot be used: {wrong}.\n"
                    f"    Have it removed, or let the administrator make one: {admin_command()}"
                )
            return path
    raise SweepError(
        f"there is no folder for GPU locks that every user of this machine may write "
        f"({', '.join(map(str, PARENTS))}).\n    Let the administrator make one: {admin_command()}"
    )


def fault(path: Path) -> str | None:
    """What is wrong with a lock folder, in words; None where nothing is."""
    try:
        status = path.lstat()
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is no folder"
    shared = stat.S_IMODE(status.st_mode) & 0o1777 == 0o1777
    if not shared and status.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {status.st_uid} and is not open to all (mode {stat.S_IMODE(status.st_mode):04o})"
    if not os.access(path, os.W_OK | os.X_OK):
        return "you may not write there"
    kind = file_system(status.st_dev)
    if kind.startswith(_NETWORK):
        return f"it is on a network file system ({kind})"
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
    )


def _make(path: Path) -> None:
    """Make the folder with its mode at once: beside, then renamed, so that no kill leaves one that only we may use."""
    if path.exists() or path.is_symlink():
        return
    beside = path.with_name(f".{NAME}-{os.getpid()}-{os.urandom(4).hex()}")
    beside.mkdir(mode=0o700)
    try:
        beside.chmod(0o1777)
        os.rename(beside, path)
    except OSError:
        beside.rmdir()
        if not path.is_dir():  # otherwise somebody was quicker
            raise
