"""Messages between scheduler, supervisors and the command line: JSON packets on a local socket.

A packet is one JSON object with its kind under "kind". SOCK_SEQPACKET keeps them apart, and the end of the file tells
each side at once that the other is gone, however it went. One that does not read (it is stopped, or its disk hangs) is
not gone: what it does not take is kept for it.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
from pathlib import Path
from typing import Any

from sweeper import paths

LIMIT = 160_000  # bytes of a packet; the kernel's default buffer holds 208 kB
_NOT_NOW = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)  # the other side is there all the same
Message = dict[str, Any]


def address(sweep_dir: Path) -> Path:
    """The path of the socket of the scheduler of this sweep, in the user's runtime folder. Raises OSError."""
    import hashlib  # OpenSSL: 4 MB that no supervisor needs

    real = os.path.realpath(sweep_dir)  # the same folder by another way must lead to the same scheduler
    digest = hashlib.blake2b(os.fsencode(real), digest_size=10).hexdigest()
    return paths.runtime_folder() / f"{digest}.sock"


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``; one left over by a dead scheduler is replaced. Raises OSError.

    Only the holder of the sweep's lock may call this: nobody else listens there then.
    """
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    server.bind(os.fspath(path))
    server.listen(64)
    server.setblocking(False)
    return server


class Channel:
    """One end of a connection. ``receive`` gives None where there is nothing yet, and raises EOFError at the end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._kept: dict[str, bytes] = {}
        sock.setblocking(False)

    @classmethod
    def connect(cls, path: Path, patience: float | None = 5.0) -> Channel:
        """Raises OSError where nobody listens. Who listens but takes nobody in is waited for so many seconds."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(patience)
            sock.connect(os.fspath(path))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def blocked(self) -> bool:
        """Whether packets are kept because the other side does not read: call ``flush`` once it can be written."""
        return bool(self._kept)

    def send(self, kind: str, **fields: Any) -> bool:
        """Send a packet, or keep it (of each kind the newest) until it is taken. False where the other side is gone."""
        packet = json.dumps({"kind": kind, **fields}).encode()
        if len(packet) > LIMIT:
            raise ValueError(f"a packet of {len(packet)} bytes is over the limit of {LIMIT}")
        self._kept.pop(kind, None)
        self._kept[kind] = packet
        return self.flush()

    def flush(self) -> bool:
        """Send what was kept, as far as it is taken; False where the other side is gone."""
        while self._kept:
            kind = next(iter(self._kept))
            try:
                self.sock.send(self._kept[kind], socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno in _NOT_NOW:
                    return True
                self._kept.clear()
                return False
            del self._kept[kind]
        return True

    def receive(self) -> Message | None:
        try:
            packet = self.sock.recv(LIMIT)
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise EOFError from error
        if not packet:
            raise EOFError
        try:
            message = json.loads(packet)
        except (ValueError, RecursionError) as error:
            raise EOFError from error
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise EOFError  # none of ours speaks so
        return message

    def wait(self, timeout: float) -> Message | None:
        """The next packet within ``timeout`` seconds, or None. Raises EOFError."""
        deadline = time.monotonic() + timeout
        poller = select.poll()
        while True:
            poller.register(self.sock, select.POLLIN | (select.POLLOUT if self.blocked else 0))
            there = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
            self.flush()
            message = self.receive() if there else None
            if message is not None or time.monotonic() >= deadline:
                return message

    def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until all that was kept is sent, or the other side is gone."""
        deadline = time.monotonic() + timeout
        poller = select.poll()
        poller.register(self.sock, select.POLLOUT)
        while self._kept and time.monotonic() < deadline:
            poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
            self.flush()

    def close(self) -> None:
        self.sock.close()
