"""Messages between scheduler, supervisors and the command line: JSON packets on a local socket.

A packet is one JSON object with its kind under "kind". SOCK_SEQPACKET keeps them apart, and the end of the file tells
each side at once that the other is gone, however it went.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from sweeper import paths

LIMIT = 160_000  # bytes of a packet; the kernel's default buffer holds 208 kB
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
        sock.setblocking(False)

    @classmethod
    def connect(cls, path: Path) -> Channel:
        """Raises OSError where nobody listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(5.0)
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

    def send(self, kind: str, **fields: Any) -> bool:
        """Send a packet; False where the other side is gone or does not read."""
        packet = json.dumps({"kind": kind, **fields}).encode()
        if len(packet) > LIMIT:
            raise ValueError(f"a packet of {len(packet)} bytes is over the limit of {LIMIT}")
        try:
            self.sock.send(packet, socket.MSG_NOSIGNAL)
        except OSError:
            return False
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
        self.sock.settimeout(timeout)
        try:
            return self.receive()
        except TimeoutError:
            return None
        finally:
            self.sock.setblocking(False)

    def close(self) -> None:
        self.sock.close()
