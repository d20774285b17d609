"""The pause between two looks at a sweep, which its scheduler's end cuts short: the kernel tells (pidfd_open(2))."""

from __future__ import annotations

import os
import select
import time

from sweeper import launch, paths

AGAIN = 10.0  # seconds until a scheduler that was not found is looked for again


class Patience:
    def __init__(self, sweep: paths.SweepDir) -> None:
        self._sweep = sweep
        self._pidfd: int | None = None
        self._look_at = 0.0

    def wait(self, seconds: float) -> None:
        """So many seconds, or until the scheduler is gone. Where it is not to be seen (another's, another host's), or
        was gone already, so many seconds."""
        if self._pidfd is None and time.monotonic() >= self._look_at:
            self._pidfd = launch.pidfd(self._sweep)
            self._look_at = time.monotonic() + AGAIN
        if self._pidfd is None:
            time.sleep(seconds)
            return
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if poller.poll(seconds * 1000):
            self.close()

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
