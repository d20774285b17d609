"""Ctrl-C while run-one waits, which must end the wait at whatever moment it comes.

A KeyboardInterrupt is not enough: the interpreter raises it between two of its own steps, and a signal that comes after
the last of them and before the kernel sleeps is only seen when something else ends the sleep, minutes later (the remedy
is the descriptor of signal.set_wakeup_fd: the signal itself makes it readable). Raised in a finalizer it would be lost.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType


class Interrupt:
    """Within its context SIGINT raises nothing: ``came`` says whether there was one, and ``fileno`` is readable then.

    Where SIGINT is ignored (a job in the background of a shell without job control) it stays so.
    """

    def __init__(self) -> None:
        self.came = False
        self._reader = self._writer = -1

    def fileno(self) -> int:
        return self._reader

    def __enter__(self) -> Interrupt:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
