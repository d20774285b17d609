"""A Python that stands ready: it has imported what other people's libraries cost, and forks for each command.

Half of what a short command takes is the import of the libraries that it uses. What is tested is its own: every command
is a process of its own still, in which the program is imported and begins as it would without this.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What Python and the loader read at their start: where it differs, a process is to be started anew.
AT_START = ("PYTHON", "LD_", "LANG", "LC_")
NEVER = ("PYTHONUNBUFFERED",)  # no test leaves it to what it starts


@dataclass(frozen=True)
class Done:
    """As of subprocess: the exit status, or minus the signal's number."""

    returncode: int
    stdout: str
    stderr: str


class Ready:
    """``python FLAGS`` with these modules imported and these variables set, started when it is first needed."""

    def __init__(self, modules: Sequence[str], flags: Sequence[str] = (), **variables: str) -> None:
        self.modules, self.flags, self.variables = modules, flags, variables
        self.socket: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.base = {name: value for name, value in at_start(os.environ).items() if name not in NEVER}
        self.base |= at_start(variables)

    def takes(self, env: Mapping[str, str]) -> bool:
        """Whether a command in this environment would begin as in a Python that was started for it."""
        return at_start(env) == self.base

    def run(self, words: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, seconds: float = 60) -> Done:
        """What ``python FLAGS`` with these words (``-m MODULE ...``, ``FILE ...``) says, nothing on its standard input.

        Raises subprocess.TimeoutExpired.
        """
        assert self.takes(env)
        ours = self._socket()
        pipes = [os.pipe(), os.pipe()]
        order = {"words": list(words), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        data = json.dumps(order).encode()
        socket.send_fds(ours, [len(data).to_bytes(8, "big")], [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        ours.sendall(data)
        pid = int.from_bytes(_exactly(ours, 4), "big")
        try:
            said = _read_all([read for read, _ in pipes], seconds)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), seconds) from None
        finally:
            for read, _ in pipes:
                os.close(read)
            code = int.from_bytes(_exactly(ours, 4), "big", signed=True)
        return Done(code, *(_text(piece) for piece in said))

    def close(self) -> None:
        if self.socket is not None and self.process is not None:
            self.socket.close()
            said = self.process.communicate(timeout=20)
            assert said == (b"", b""), said
            self.socket = self.process = None

    def _socket(self) -> socket.socket:
        if self.socket is None:
            self.socket, theirs = socket.socketpair()
            # Nothing of the test that came first: neither its folder nor its variables may stay in use.
            kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
            argv = [sys.executable, *self.flags, __file__, str(theirs.fileno()), *self.modules]
            self.process = subprocess.Popen(
                argv,
                env={**kept, **self.base, **self.variables},
                cwd="/",
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # what its children find at their start, as those of subprocess.run do
                stderr=subprocess.PIPE,
            )
            theirs.close()
            atexit.register(self.close)  # else it would end as well, once nobody has the other end of its socket
        return self.socket


def at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_START)}


def _text(data: bytes) -> str:
    """As subprocess has it with text=True."""
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


def _read_all(pipes: list[int], seconds: float) -> list[bytes]:
    """Raises TimeoutError."""
    found = dict.fromkeys(pipes, b"")
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                if piece := os.read(key.fd, 1 << 16):
                    found[key.fd] += piece
                else:
                    selector.unregister(key.fd)
    return list(found.values())


def _exactly(sock: socket.socket, size: int) -> bytes:
    """Raises EOFError where the other side is gone."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


# -- the process that stands ready -------------------------------------------------------------------------------------


def serve(sock: socket.socket) -> None:
    while True:
        size, descriptors, _, _ = socket.recv_fds(sock, 8, 2)
        if not size:
            return
        size += _exactly(sock, 8 - len(size))
        order = json.loads(_exactly(sock, int.from_bytes(size, "big")))
        pid = os.fork()
        if pid == 0:
            sock.close()
            begin(order, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        sock.sendall(pid.to_bytes(4, "big"))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sock.sendall(status.to_bytes(4, "big", signed=True))


def begin(order: dict[str, object], descriptors: list[int]) -> None:
    """Become what ``python`` would be that was given these words; the rest is done by ``main``, at the bottom."""
    global words
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(order["cwd"]))
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    words = order["words"]  # type: ignore[assignment]


words: list[str] = []

if __name__ == "__main__":
    import importlib
    import runpy

    del sys.path[0]  # this file's own folder
    for name in sys.argv[2:]:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as served:
        serve(served)
    if words and words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(words[0]))
        runpy.run_path(words[0], run_name="__main__")
