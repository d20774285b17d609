"""The signals that reach a supervisor: caught, kept until the loop looks, never lost between two looks."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

_CAUGHT = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_LEAVE = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_HARMLESS = (signal.SIGCHLD, signal.SIGWINCH)


class Signals:
    """``wake`` can be read whenever a signal has come."""

    def __init__(self) -> None:
        self.wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._seen: list[int] = []

    def catch(self, *, hangups: bool) -> None:
        """Begin to catch; without ``hangups``, or where nohup says so, SIGHUP is ignored."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in _CAUGHT:
            if number == signal.SIGHUP and (not hangups or signal.getsignal(number) == signal.SIG_IGN):
                signal.signal(number, signal.SIG_IGN)
            else:
                signal.signal(number, lambda caught, _frame: self._seen.append(caught))

    def drain(self) -> None:
        """Empty ``wake``; what came stays to be taken."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)

    def take(self) -> list[int]:
        """Those that came since the last time."""
        seen, self._seen = self._seen, []
        return seen

    def told_to_leave(self) -> bool:
        """Whether somebody wants this process to end; the signal stays to be taken."""
        return any(number in _LEAVE for number in self._seen)

    def being_ended(self, patience: float) -> bool:
        """Whether this process is being ended just now (a shutdown sends TERM to all, in any order). Waits so many
        seconds for it."""
        poller = select.poll()
        poller.register(self.wake, select.POLLIN)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if any(number not in _HARMLESS for number in self._seen):
                return True
            if poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.drain()
        return False
