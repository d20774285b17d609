"""What wakes the scheduler: descriptors, signals and moments; what is urgent first, then one thing at a time."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from typing import Protocol

HUSH = 0.01  # seconds after a "go" in which nothing else is done, so that the run begins undisturbed


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


class Loop:
    """``signals`` are those that came since somebody looked; ``quiet_until`` is when later things may be done."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.signals: list[int] = []
        self.quiet_until = 0.0
        self._later: list[tuple[float, Callable[[], None]]] = []

    def watch(self, descriptor: int | _Descriptor, action: Callable[[], None]) -> None:
        """Do something whenever a descriptor can be read."""
        self.selector.register(descriptor, selectors.EVENT_READ, action)

    def writing(self, descriptor: int | _Descriptor, wanted: bool) -> None:
        """Do it also when a watched descriptor can be written, or no more."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        key = self.selector.get_key(descriptor)
        if key.events != events:
            self.selector.modify(descriptor, events, key.data)

    def forget(self, descriptor: int | _Descriptor) -> None:
        self.selector.unregister(descriptor)

    def hush(self) -> None:
        """Leave the machine to a run that begins just now."""
        self.quiet_until = time.monotonic() + HUSH

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after what is urgent, or after so many seconds."""
        self._later.append((time.monotonic() + seconds, action))

    def do_later(self) -> bool:
        """One thing at a time: whoever speaks meanwhile is heard before the next. False where nothing was due."""
        now = time.monotonic()
        due = None if now < self.quiet_until else next((entry for entry in self._later if entry[0] <= now), None)
        if due is not None:
            self._later.remove(due)  # before it is done: what fails is not done again, and the others are not lost
            due[1]()
        return due is not None

    def sleep(self, moments: Iterable[float]) -> None:
        """Sleep until something wakes us, or until the first of these moments; then hear what it was."""
        now = time.monotonic()
        until = [max(moment, self.quiet_until) for moment, _ in self._later]
        until += moments
        if self.quiet_until > now:
            until.append(self.quiet_until)
        left = min(until) - now if until else 0.0
        timeout = None if not until else left + 0.001 if left > 0 else 0.0
        for key, _ in self.selector.select(timeout):
            key.data()

    def catch_signals(self) -> None:
        """Have signals wake the loop; those that are ignored (nohup) stay so."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 4096)

        self.watch(reader, drain)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda caught, _frame: self.signals.append(caught))
