"""One descriptor that becomes readable when it is worth trying again; the kernel wakes it, nothing polls.

It is an epoll of: a socket on which other waiters say "look again"; pidfds of processes whose end matters (those just
ahead in the queue, others' on a GPU); and an inotify on the claims of those that hold GPUs: the kernel closes a claim
with the last process that inherited it, and tells. That notice comes a moment before the lock is free, so whoever is
woken looks again shortly after.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

_CLOSED = 0x008 | 0x400  # IN_CLOSE_WRITE | IN_DELETE_SELF
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # the values of IN_NONBLOCK and IN_CLOEXEC
_EVENT = struct.Struct("iIII")
_NAME = re.compile(r"^[0-9a-f]{16}$")
_ROOM, _SOCKETS = 600, 8  # letters, and sockets to send them by: net.unix.max_dgram_qlen is 10 or 512
_LETTERS = 64  # that are read at once: anybody may send any number
# What waiters tell each other: look at once; it is your turn, as far as I see, and only the driver can have told you;
# what you wait for has changed, but it is not your turn: look when you find the time.
LOOK, TURN, NEWS = b"!", b"*", b"?"


class Wake:
    """What one waiter sleeps on. ``name`` is where others reach it; ``blind``: the holders could not be watched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blind = False
        self.name = os.urandom(8).hex()
        self._epoll = select.epoll()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.bind(_address(self.name))
        self._epoll.register(self._socket, select.EPOLLIN)
        self._processes: dict[tuple[int, int], int] = {}
        self._inotify = -1
        self._watched: dict[str, int] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def drain(self) -> set[bytes]:
        """Forget what woke us; give the letters that others have sent, LOOK for whatever the kernel told."""
        letters: set[bytes] = set()
        for descriptor, _ in self._epoll.poll(0):
            if descriptor == self._socket.fileno():
                letters |= self._empty_socket()
                continue
            letters.add(LOOK)
            if descriptor == self._inotify:
                self._empty_inotify()
            else:
                self._forget(descriptor)
        return letters

    def processes(self, wanted: Iterable[tuple[int, int]]) -> bool:
        """Be woken by the end of these processes (pid, start ticks) and no others; False if one is already over."""
        from sweeper import procs

        chosen = set(wanted)
        for gone in set(self._processes) - chosen:
            self._forget(self._processes[gone])
        complete = True
        for pid, ticks in chosen - set(self._processes):
            descriptor = procs.pidfd(pid, ticks)
            if descriptor is None:
                complete = False
            else:
                self._processes[pid, ticks] = descriptor
                self._epoll.register(descriptor, select.EPOLLIN)
        return complete

    def claims(self, wanted: Iterable[str]) -> list[str]:
        """Be woken when one of these claims is over, and no others; give those that are watched only from now on."""
        chosen = set(wanted)
        for gone in set(self._watched) - chosen:
            _libc().inotify_rm_watch(self._inotify, self._watched.pop(gone))
        new = sorted(chosen - set(self._watched))
        self.blind = bool(chosen) and not self._start()
        if self.blind:
            return []
        for name in new:
            watch = _libc().inotify_add_watch(self._inotify, os.fsencode(self.folder / name), _CLOSED)
            if watch >= 0:
                self._watched[name] = watch
        return new

    def move(self, folder: Path) -> None:
        """The claims are in another folder from now on, or in another one of that name."""
        self.claims(())
        self.folder = folder

    def close(self) -> None:
        for descriptor in list(self._processes.values()):
            self._forget(descriptor)
        if self._inotify >= 0:
            os.close(self._inotify)
            self._inotify = -1
        self._socket.close()
        self._epoll.close()

    def _start(self) -> bool:
        """An inotify instance, made by the few that need one: a user has 128 of them by default."""
        if self._inotify < 0:
            self._inotify = _libc().inotify_init1(_FLAGS)
            if self._inotify >= 0:
                self._epoll.register(self._inotify, select.EPOLLIN)
        return self._inotify >= 0

    def _empty_socket(self) -> set[bytes]:
        letters = set()
        try:
            for _ in range(_LETTERS):
                letters.add(self._socket.recv(1))
        except BlockingIOError:
            return letters
        return letters

    def _empty_inotify(self) -> None:
        try:
            while True:
                data = os.read(self._inotify, 65536)
                offset = 0
                while offset < len(data):
                    watch, _, _, length = _EVENT.unpack_from(data, offset)
                    offset += _EVENT.size + length
                    self._watched = {name: number for name, number in self._watched.items() if number != watch}
                    _libc().inotify_rm_watch(self._inotify, watch)
        except BlockingIOError:
            return

    def _forget(self, descriptor: int) -> None:
        self._processes = {key: value for key, value in self._processes.items() if value != descriptor}
        self._epoll.unregister(descriptor)
        os.close(descriptor)


def send(letter: bytes, names: Iterable[str]) -> None:
    """Send a letter to the waiters of these names. A full mailbox needs no further one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
        for name in names:
            if _NAME.match(name):
                try:
                    sender.sendto(letter, _address(name))
                except OSError:
                    continue  # it is over, or has a letter waiting, or lives in another network namespace


def is_full(name: str) -> bool:
    """Whether the mailbox of this name takes no further letter; one that does has one more piece of news."""
    return _post(name, 1) is False


def fill(name: str) -> bool:
    """Fill a mailbox; False where it can't be reached, or is emptied as fast. Each socket has few letters under way."""
    return any(_post(name, _ROOM) is False and is_full(name) for _ in range(_SOCKETS))


def _post(name: str, most: int) -> bool | None:
    """Send news up to so many times, by a socket of its own: False when no more fits, None where nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
        for _ in range(most if _NAME.match(name) else 0):
            try:
                sender.sendto(NEWS, _address(name))
            except BlockingIOError:
                return False
            except OSError:
                return None
    return True


def _address(name: str) -> str:
    return f"\0sweep/1/wake/{name}"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
