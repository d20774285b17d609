"""Start lease_driver.py, hear what it says, and end every process that was started. And waiters of the test's own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sweeper.lease import Waiter
from sweeper.model import GpuRequest

if TYPE_CHECKING:
    from nvml_standin import StandIn

TESTS = Path(__file__).parent
PATIENCE = 20.0


class Driver:
    """One waiting or holding process."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None, **asked: Any) -> None:
        env = {**os.environ, **(env or {}), "PYTHONPATH": str(TESTS.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "lease_driver.py"), json.dumps({"folder": str(folder), **asked})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        self.pid = self.process.pid
        self.children: list[int] = []
        self._rest = b""

    def hear(self, event: str, *, containing: str = "", patience: float = PATIENCE) -> dict[str, Any]:
        """The next thing of this kind that it says; fails when it says none in time."""
        deadline = time.monotonic() + patience
        assert self.process.stdout is not None
        while True:
            while b"\n" in self._rest:
                line, self._rest = self._rest.split(b"\n", 1)
                said = json.loads(line)
                if said.get("child"):
                    self.children.append(said["child"])
                if said["event"] == event and containing in said.get("text", ""):
                    return said
            ready = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                pytest.fail(f"process {self.pid} did not say {event!r} {containing!r} in {patience} s")
            self._rest += data

    def silent(self, seconds: float) -> bool:
        """Whether it gets nothing for so long: a look at a state that must not change."""
        try:
            self.hear("got", patience=seconds)
        except pytest.fail.Exception:
            return True
        return False

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"release\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Drivers:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Driver] = []

    def __call__(self, **asked: Any) -> Driver:
        self.all.append(Driver(self.folder, **asked))
        return self.all[-1]

    def end(self) -> None:
        for driver in self.all:
            if driver.process.poll() is None:
                driver.process.send_signal(signal.SIGCONT)
                driver.kill()
            for stream in (driver.process.stdin, driver.process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        continue
            for child in driver.children:
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    continue


@pytest.fixture
def driver(locks: Path) -> Iterator[Drivers]:
    """Starts processes in the test's lock folder: ``driver(request={"count": 2})``."""
    drivers = Drivers(locks)
    yield drivers
    drivers.end()


@pytest.fixture
def waiter(machine: StandIn, locks: Path) -> Any:
    """Starts a waiter of this process: ``waiter(count=2)``; everything is closed at the end."""
    started: list[Waiter] = []

    def start(command: str = "python train.py", pid: int | None = None, **asked: Any) -> Waiter:
        who = {"command": command, "pid": os.getpid() if pid is None else pid}
        started.append(Waiter(GpuRequest(**{"count": 1, **asked}), who, locks))
        return started[-1]

    yield start
    for one in started:
        one.close()
