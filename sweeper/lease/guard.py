"""Names that the kernel gives to one process at a time and takes back when its last descriptor closes.

They are abstract Unix sockets (unix(7)): no file, so no cleaner, no rm and no other folder of locks can take them away.
Each held GPU has one beside its lock file; that is why a lock file deleted while held does not give the GPU away twice.
A run's MASTER_PORT is kept apart from other runs' in the same way. They reach as far as the network namespace.
"""

from __future__ import annotations

import errno
import os
import socket

from sweeper.errors import SweepError
from sweeper.model import MAX_SHARE

_PORTS = (20000, 32768)  # above well-known services, below the ports that Linux hands out by itself


def hold(what: str) -> int | None:
    """Take a name; None where somebody has it. Closing the descriptor that is given gives it back."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        found.bind(_address(what))
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return found.detach()


def is_held(what: str, probe: socket.socket) -> bool:
    """Whether somebody has the name; looking takes nothing."""
    try:
        probe.connect(_address(what))
    except ConnectionRefusedError:
        return False
    except OSError as error:
        return error.errno != errno.ENOENT
    return True


def gpu(uuid: str, slot: int | None = None) -> str:
    """The name for a whole GPU, or for one of the places of those that share it."""
    return f"gpu/{uuid}" if slot is None else f"gpu/{uuid}/{slot}"


def shared(uuid: str) -> bool:
    """Whether any place of those that share this GPU is taken."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return any(is_held(gpu(uuid, slot), probe) for slot in range(MAX_SHARE))


def whole(uuid: str) -> bool:
    """Whether somebody has this GPU for himself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return is_held(gpu(uuid), probe)


def taken(uuid: str) -> bool:
    """Whether anybody has this GPU, or a place on it."""
    return whole(uuid) or shared(uuid)


def port() -> tuple[int, int]:
    """A TCP port that nobody listens on and no other run was given, and the descriptor that keeps it so.

    Raises SweepError where there is none left.
    """
    first, end = _PORTS[0], min(_PORTS[1], _ephemeral())
    if end - first < 1000:
        end = _PORTS[1]
    start = int.from_bytes(os.urandom(4), "little") % (end - first)
    for step in range(end - first):
        number = first + (start + step) % (end - first)
        kept = hold(f"port/{number}")
        if kept is None:
            continue
        if _unused(number):
            return number, kept
        os.close(kept)
    raise SweepError(f"no TCP port between {first} and {end} is free for MASTER_PORT")


def _ephemeral() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return _PORTS[1]


def _unused(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("", number))
        except OSError:
            return False
    return True


def _address(what: str) -> str:
    """At most 107 bytes: a longer UUID than any driver gives is cut, which can only make two GPUs one."""
    return "\0" + f"sweep/1/{what}"[:100]
