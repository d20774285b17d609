"""What run-one says while it waits: never waited for, however long the terminal or the pipe takes it.

A terminal that was stopped with Ctrl-S, and a pipe that nobody reads, block whoever writes; and whoever waits for GPUs
and blocks keeps them from all the others. So a thread writes, and what is overtaken meanwhile is never said. The
terminal is shared with other programs: it stays as it is, without O_NONBLOCK.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_PATIENCE = 0.05  # seconds for a line that is just being written, so that it stands before what the command says


class Voice:
    """Says lines on standard error, the latest first and the others never."""

    def __init__(self) -> None:
        self._descriptor = -1 if sys.stderr is None else sys.stderr.fileno()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._line = b""
        self._over = False

    def say(self, line: str) -> None:
        """Does not block."""
        if self._descriptor < 0:
            return
        with self._changed:
            self._line = f"{line}\n".encode(errors="replace")
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._speak, daemon=True)  # whose write may never end
            # It takes no signal: the main thread waits for them, and the command must have them.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """Nothing more is said, but for a line that is half written."""
        with self._changed:
            self._over = True
            self._line = b""
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _speak(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._over)
                line, self._line = self._line, b""
            if not line:
                return
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                return  # the terminal or the reader is gone
