"""Bytes between the command's terminal, the log, and the window: the log gets all of them, the window what it can take.

The command is never held up by a window: what the window does not take is kept up to WINDOW_PENDING bytes and then left
out there. It is held up by a full disk: nothing more is read until the log has room, so that no byte is lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import time
import tty

from sweeper.supervisor import shell

WINDOW_PENDING = 1 << 20
TYPED_PENDING = 1 << 16
READ = 1 << 16
READS = 64  # at most so many reads of the terminal before the log is written and the others get their turn


class Window:
    """The terminal that a person may be looking at: a tmux pane, the present terminal, or none (a file or a pipe).

    Where standard output is a terminal it is opened anew, so that making it non-blocking changes nobody else's.
    """

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self.stdin = stdin if os.isatty(stdin) else None
        self.stdout = stdout
        self.is_terminal = os.isatty(stdout)
        self._saved: list[int | list[bytes | int]] | None = None
        self._pending = bytearray()
        self._left_out = 0
        self.gone = False
        if self.is_terminal:
            self.stdout = os.open(os.ttyname(stdout), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)

    def raw(self) -> None:
        """Hand every key to the command as it is."""
        if self.stdin is not None and self._saved is None:
            with contextlib.suppress(termios.error):
                self._saved = termios.tcgetattr(self.stdin)
                tty.setraw(self.stdin, termios.TCSANOW)

    def restore(self) -> None:
        if self.stdin is not None and self._saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.stdin, termios.TCSADRAIN, self._saved)
            self._saved = None

    def size(self) -> tuple[int, int]:
        """(rows, columns); 24 by 80 where there is no terminal."""
        try:
            return shell.get_size(self.stdout)
        except OSError:
            return (24, 80)

    def read(self) -> bytes:
        """What was typed; nothing where the terminal is gone."""
        assert self.stdin is not None
        try:
            return os.read(self.stdin, 4096)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    @property
    def pending(self) -> bool:
        return bool(self._pending) and not self.gone

    def write(self, data: bytes) -> None:
        if self.gone:
            return
        room = WINDOW_PENDING - len(self._pending)
        if len(data) > room:
            self._left_out += len(data) - room
            data = data[:room]
        self._pending += data
        self.flush()

    def flush(self) -> None:
        """Write what the window takes now."""
        while self._pending and not self.gone:
            # A pipe takes 4096 bytes at once without blocking when it is writable at all; a terminal is non-blocking.
            chunk = self._pending if self.is_terminal else self._pending[:4096]
            if not self.is_terminal and not _writable(self.stdout):
                return
            try:
                written = os.write(self.stdout, chunk)
            except BlockingIOError:
                return
            except OSError:
                self.gone = True
                self._pending.clear()
                return
            del self._pending[:written]
        if self._left_out and not self.gone:
            note = f"\r\n[sweep: this terminal was too slow; {self._left_out} bytes are in the log only]\r\n"
            self._left_out = 0
            self._pending += note.encode()


def _writable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poller.poll(0))


class Relay:
    """The command's terminal on one side, log and window on the other.

    ``slave`` is the command's side of its terminal: it is held open here until ``drain``, so that a run which closes
    its outputs and opens /dev/tty again later is still heard.
    """

    def __init__(self, master: int, slave: int, log: int, window: Window) -> None:
        self.master = master
        self.slave: int | None = slave
        self.log = log
        self.window = window
        self.ended = False
        self.unsaved = b""
        self.trouble = ""
        self.last_output = time.monotonic()
        self._typed = bytearray()
        os.set_blocking(master, False)

    @property
    def typing(self) -> bool:
        return bool(self._typed)

    def pump(self) -> bool:
        """Move what the command has printed; False when there was nothing, or its terminal is at its end.

        Raises nothing for a full disk: then ``unsaved`` is kept, ``trouble`` says why, and pump does nothing until
        ``save`` has succeeded.
        """
        if self.unsaved:
            return False
        chunks = []
        for _ in range(READS):
            try:
                chunk = os.read(self.master, READ)
            except BlockingIOError:
                break
            except OSError:  # EIO: nobody has the other side open any more
                self.ended = True
                break
            if not chunk:
                self.ended = True
                break
            chunks.append(chunk)
        if not chunks:
            return False
        data = b"".join(chunks)
        self.last_output = time.monotonic()
        self.unsaved = data
        self.save()
        self.window.write(data)
        return True

    def save(self) -> bool:
        """Write the unsaved bytes to the log; True when none are left."""
        while self.unsaved:
            try:
                written = os.write(self.log, self.unsaved)
            except OSError as error:  # full, over quota, gone: whatever it is, no byte may be lost of it
                self.trouble = f"the log cannot be written: {error.strerror}; the run is held until it can"
                return False
            self.unsaved = self.unsaved[written:]
        self.trouble = ""
        return True

    def drain(self, patience: float = 0.5) -> None:
        """Take everything that is still on its way, once nothing of the run lives.

        A stranger may have the terminal open (a debugger); it is given ``patience`` seconds without output.
        """
        if self.slave is not None:
            os.close(self.slave)
            self.slave = None
        deadline = time.monotonic() + patience
        while not self.ended and not self.unsaved:
            if self.pump():
                deadline = time.monotonic() + patience
            elif not self.ended and not self.unsaved:
                if time.monotonic() > deadline:
                    return
                _readable(self.master, 0.01)

    def type(self, data: bytes) -> None:
        """Hand what was typed in the window to the command."""
        if len(self._typed) + len(data) <= TYPED_PENDING:
            self._typed += data
        self.flush_typed()

    def flush_typed(self) -> None:
        while self._typed and not self.ended:
            try:
                written = os.write(self.master, self._typed)
            except BlockingIOError:
                return
            except OSError:
                self._typed.clear()
                return
            del self._typed[:written]

    def resize(self) -> None:
        with contextlib.suppress(OSError):
            shell.set_size(self.master, self.window.size())


def _readable(descriptor: int, timeout: float) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(timeout * 1000)
