"""What keeps us from a file, in words: whose it is, which disk is full or read-only, and the way out."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path

_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY)
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (
    "what is there can be looked at, but not changed; mount -o remount,rw makes it writable (an administrator's),\n"
    "    and where it turned read-only by itself, dmesg names the disk's fault"
)


def passes(error: Exception) -> bool:
    """Whether the machine only lacks something for now: processes, memory, descriptors, room."""
    return isinstance(error, OSError) and error.errno in _SCARCE


def in_the_way(error: Exception) -> bool:
    """Whether something else stands where a file is to be: that will not pass, and hinders nothing but this file."""
    return isinstance(error, OSError) and error.errno in _IN_THE_WAY


def user_name(uid: int) -> str:
    """The name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def explain(error: OSError, path: Path | None = None) -> str:
    """``path: what is wrong``, with what there is to say about it, and below it the way out where one is known.

    ``path`` is what was to be read or written, where the error does not name it.
    """
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    if not named and path is None:
        return error.strerror or str(error)
    place = Path(named[-1]) if named else path  # of two, what it was to be
    what, remedy = reason(error, place)
    return f"{place}: {what}" + (f"\n    {remedy}" if remedy else "")


def reason(error: OSError, path: Path | None) -> tuple[str, str]:
    """What is wrong with ``path``, without naming it, and the way out where one is known, else ''."""
    what = error.strerror or str(error)
    detail, remedy = _known(error.errno, path) if path is not None else ("", "")
    return what + (f" ({detail})" if detail else ""), remedy


def _known(number: int | None, place: Path) -> tuple[str, str]:
    """What more can be said of an error at this place, and the way out; empty where nothing is known."""
    if number in (errno.EACCES, errno.EPERM):
        return _permission(place)
    if number == errno.EROFS:
        return f"mounted at {mount_point(place)}", READ_ONLY
    if number in (errno.ENOSPC, errno.EDQUOT):
        return _room(
            mount_point(place), number
        ), "make room there, and give the command again; what runs is held and loses nothing"
    if number in _IN_THE_WAY:
        return "", "something else stands where sweep keeps a file of its own: move it away"
    if number in (errno.EIO, errno.ESTALE, errno.EUCLEAN):
        return "", "the disk, or the server that it is on, fails: dmesg says more"
    return "", ""


def _permission(place: Path) -> tuple[str, str]:
    """Who owns what is closed, and how it is opened."""
    closed = _closed(place)
    try:
        status = os.stat(closed)
    except OSError:
        return "", ""
    owner = user_name(status.st_uid)
    shown = "" if closed == place else f"{closed} "
    mode = stat.filemode(status.st_mode)
    if status.st_uid != os.geteuid():
        return f"{shown}{mode} belongs to {owner}, and you are {user_name(os.geteuid())}", f"ask {owner} to open it"
    wanted = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
    if status.st_mode & wanted == wanted:
        return f"{shown}{mode} belongs to you", ""
    return f"{shown}{mode} belongs to you", f"chmod u+{'rwx' if wanted == 0o700 else 'rw'} {closed} opens it"


def _closed(place: Path) -> Path:
    """The first folder on the way to ``place`` that lets us not through, else what cannot be read or written itself."""
    place = Path(os.path.abspath(place))
    for step in (*reversed(place.parents), place):
        try:
            os.lstat(step)
        except PermissionError:
            return step.parent
        except OSError:
            return step.parent  # it is not there: the folder does not take it
    return place


def mount_point(place: Path) -> Path:
    """The mount point of the file system that ``place`` is on, or would be."""
    place = Path(os.path.realpath(place))
    while place != place.parent and not (os.path.exists(place) and os.path.ismount(place)):
        place = place.parent
    return place


def _room(mount: Path, number: int) -> str:
    if number == errno.EDQUOT:
        return f"your quota at {mount}"
    try:
        found = os.statvfs(mount)
    except OSError:
        return f"mounted at {mount}"
    if found.f_files and not found.f_favail:
        return f"no more files fit on {mount}"
    free, whole = (blocks * found.f_frsize / 1e6 for blocks in (found.f_bavail, found.f_blocks))
    return f"{free:.0f} of {whole:.0f} MB free at {mount}"


def no_room(folder: Path) -> str:
    """What is wrong where nothing more can be written into a folder for want of space; "" where there is some."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""
    if not _is_full(found):
        return ""
    return f"{os.strerror(errno.ENOSPC)} ({_room(mount_point(folder), errno.ENOSPC)})"


def _is_full(found: os.statvfs_result) -> bool:
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return bool((found.f_blocks and not free) or (found.f_files and not found.f_favail))


def hindrance(path: Path) -> OSError | None:
    """Why the file at ``path`` cannot be written or made, found by looking; None where nothing is known to hinder it.

    For errors of libraries that do not tell.
    """
    try:
        if path.exists() and not path.is_file():
            return OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        found = os.statvfs(path.parent)
    except OSError as error:
        return error
    if found.f_flag & os.ST_RDONLY:
        return OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return OSError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    if _is_full(found):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return None
