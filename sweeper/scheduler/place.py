"""Whether the sweep's folder is still where it was, and its lock still the one that this scheduler holds.

inotify tells of it at once. Whoever deletes a folder deletes the lock in it; whoever moves it moves the folder, or one
above it: only these are watched, so that nothing which happens in them wakes an idle scheduler.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from sweeper import folders, paths
from sweeper.errors import SweepError
from sweeper.scheduler.loop import Loop
from sweeper.scheduler.word import Word

# <sys/inotify.h>
_ATTRIB, _MOVED_FROM, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x4, 0x40, 0x200, 0x400, 0x800
_GONE = "no more runs are started there.\n    Launch the sweep file again to go on"


class GoneError(SweepError):
    """The folder is not there any more. ``moved`` is where it is now; ``deleted`` says that it is nowhere."""

    def __init__(self, text: str, moved: Path | None = None, *, deleted: bool = False) -> None:
        super().__init__(text)
        self.moved = moved
        self.deleted = deleted


class Place:
    """The folder of ``sweep``; ``lock`` is the descriptor of its lock."""

    def __init__(self, sweep: paths.SweepDir, lock: int, loop: Loop, word: Word) -> None:
        self.sweep = sweep
        self.lock = lock
        self.word = word
        self.folder = os.open(sweep.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.notices = _Notices()
        if self.notices.descriptor is not None:
            loop.watch(self.notices.descriptor, self._noticed)
        self._watch()

    def _watch(self) -> None:
        real = self.sweep.path.resolve()
        for folder in {self.sweep.path, *self.sweep.path.parents, real, *real.parents}:
            self.notices.add(folder, _MOVE_SELF | _DELETE_SELF)
        # A folder that somebody has something open in tells of its deletion by its parent alone.
        self.notices.add(self.sweep.path.parent, _MOVE_SELF | _DELETE_SELF | _MOVED_FROM | _DELETE)
        self.notices.add(self.sweep.lock, _MOVE_SELF | _DELETE_SELF | _ATTRIB)

    def _noticed(self) -> None:
        self.notices.clear()
        self.check()

    def check(self) -> None:
        """Raises GoneError where this is no longer the sweep's folder, and OSError where only its lock is not there: it
        may just be being deleted, and nothing should be made in it. ``mend`` looks again a while later."""
        if not self._locked():
            raise FileNotFoundError(errno.ENOENT, "it was deleted while the sweep ran", str(self.sweep.lock))

    def mend(self) -> None:
        """The same a while later. If a lock is all that was deleted (somebody took it for a stale one) it is made anew.
        Raises GoneError, OSError."""
        if not self._locked():
            if not self.sweep.file.exists():
                raise self._gone()
            self._lock_again()

    def _locked(self) -> bool:
        """Whether our lock is there. Raises GoneError where the folder is not."""
        try:
            there = _is(self.sweep.path, self.folder)
            locked = there and _is(self.sweep.lock, self.lock)
        except OSError:
            return True  # closed to us for now; it may be there all the same
        if not there:
            raise self._gone()
        return locked

    def _lock_again(self) -> None:
        lock = folders.open_lock(self.sweep.lock)
        try:
            if not folders.take_lock(lock):
                raise GoneError(f"{self.sweep.lock} was deleted, and another scheduler has taken over")
            os.dup2(lock, self.lock, inheritable=False)
        finally:
            os.close(lock)
        self.word.log(f"{self.sweep.lock} was deleted while the sweep ran, and was made anew")
        self._watch()

    def _gone(self) -> GoneError:
        was = self.sweep.path
        link = os.readlink(f"/proc/self/fd/{self.folder}")
        if link != os.path.realpath(was) and _is(Path(link), self.folder):
            return GoneError(
                f"{was} was moved to {link} while the sweep ran: no more runs are started.\n"
                "    Move it back, or give its new place with --runs-dir, and launch the sweep file again to go on",
                Path(link),
            )
        if link.endswith(" (deleted)") or link == os.path.realpath(was):
            return GoneError(f"{was} was deleted while the sweep ran: its runs are ended, and {_GONE}", deleted=True)
        return GoneError(f"{was} was deleted or moved while the sweep ran: {_GONE}")


def _is(path: Path, descriptor: int) -> bool:
    """Whether ``path`` names what is open. Raises OSError where that cannot be told."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


class _Notices:
    """inotify(7). ``descriptor`` can be read whenever something has happened; None where the kernel gives none."""

    def __init__(self) -> None:
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        found = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.descriptor: int | None = found if found >= 0 else None

    def add(self, path: Path, events: int) -> None:
        """Watch for these; what cannot be watched (a folder above ours that is closed to us) is left out."""
        if self.descriptor is not None:
            self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), events)

    def clear(self) -> None:
        assert self.descriptor is not None
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 65536):
                continue
