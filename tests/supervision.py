"""A hand that plays the scheduler for one supervisor, in a terminal that plays its window."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

from sweeper import channel, folders, model, paths
from sweeper.channel import Channel, Message
from sweeper.supervisor import boot


class Hand:
    """Prepares run folders, starts a supervisor for each, and keeps what it says and shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sweep = paths.SweepDir(folder / "s")
        self.sweep.path.mkdir()
        self.socket = folder / "hand.sock"
        self.server = channel.listen(self.socket)
        self.server.setblocking(True)
        self.server.settimeout(10)
        self.windows: list[Supervised] = []
        self.environment({**os.environ})

    def environment(self, variables: dict[str, str]) -> None:
        paths.replace(self.sweep.environment(1), json.dumps({"variables": variables, "umask": 0o022}))

    def job(self, command: str, number: int = 1, **fields: Any) -> paths.RunDir:
        run = self.sweep.run(f"{number:04d}-x={number}")
        run.path.mkdir(exist_ok=True)
        data = {
            "sweep": "s",
            "number": number,
            "key": "key",
            "params": {"x": number},
            "texts": {},
            "command": command,
            "before": "",
            "workdir": str(self.folder),
            "environment": "environment-1.json",
            "env": {},
            "timeout": None,
            "grace": 5.0,
            "gpus": model.GpuRequest(),
            **fields,
        }
        paths.replace(run.job, json.dumps(model.Job(**data).to_json()))
        return run

    def start(self, *, terminal: bool = True) -> Supervised:
        window = Supervised(self, terminal=terminal)
        self.windows.append(window)
        return window

    def run(self, command: str, **fields: Any) -> Supervised:
        """Start a supervisor and let it go with this command."""
        window = self.start()
        window.prepare(self.job(command, **fields))
        window.go()
        return window

    def close(self) -> None:
        for window in self.windows:
            window.close()
        self.server.close()


class Supervised:
    """One supervisor in its window (a pseudo-terminal that is read all the time)."""

    def __init__(self, hand: Hand, *, terminal: bool) -> None:
        self.shown = bytearray()
        self.heard: list[Message] = []
        self.run_dir: paths.RunDir
        master, slave = pty.openpty()
        self.master = master
        self.resize(30, 100, signal_it=False)
        argv = [sys.executable, "-I", "-S", "-X", "utf8", boot.__file__, str(hand.socket), paths.import_path()]

        if terminal:
            argv = ["setsid", "-c", *argv]  # in a session of its own, with this terminal
        end: Any = slave if terminal else subprocess.PIPE
        self.process = subprocess.Popen(
            argv,
            stdin=end if terminal else subprocess.DEVNULL,
            stdout=end,
            stderr=subprocess.STDOUT,
        )
        os.close(slave)
        source = master if terminal else self.process.stdout.fileno()  # type: ignore[union-attr]
        self.reading = True
        self.reader = threading.Thread(target=self._read, args=(source,), daemon=True)
        self.reader.start()
        sock, _ = hand.server.accept()
        self.channel: Channel | None = Channel(sock)
        assert self.hear("hello")

    def _read(self, source: int) -> None:
        while True:
            if not self.reading:
                time.sleep(0.01)
                continue
            try:
                data = os.read(source, 65536)
            except OSError:
                return
            if not data:
                return
            self.shown += data

    def resize(self, rows: int, columns: int, *, signal_it: bool = True) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if signal_it:
            os.kill(self.process.pid, signal.SIGWINCH)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def hear(self, kind: str, seconds: float = 20.0) -> Message:
        """The next message of this kind; others are kept. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        assert self.channel is not None
        while True:
            for message in self.heard:
                if message["kind"] == kind:
                    self.heard.remove(message)
                    return message
            try:
                fresh = self.channel.wait(max(0.01, deadline - time.monotonic()))
            except EOFError:
                fresh = None
            assert fresh is not None, f"no {kind}; heard {self.heard}, shown {bytes(self.shown[-500:])!r}"
            self.heard.append(fresh)

    def prepare(self, run: paths.RunDir) -> None:
        self.run_dir = run
        assert self.channel is not None
        self.channel.send("prepare", folder=str(run.path))
        self.hear("prepared")

    def go(self, known: int = 0, *, started: bool = True) -> None:
        assert self.channel is not None
        self.channel.send("go", known=known)
        if started:
            self.hear("started")

    def send(self, kind: str, **fields: Any) -> None:
        assert self.channel is not None
        self.channel.send(kind, **fields)

    def outcome(self, seconds: float = 20.0) -> model.Outcome:
        """Wait for the end, and give what the folder says of it."""
        told = model.Outcome.from_json(self.hear("recorded", seconds)["outcome"])
        self.send("bye")
        self.process.wait(10)
        found = folders.history(self.run_dir).outcome
        assert found == told
        assert not folders.is_held(self.run_dir.lock)
        return found

    @property
    def log(self) -> bytes:
        return self.run_dir.log.read_bytes()

    def hang_up(self) -> None:
        """The scheduler is gone."""
        assert self.channel is not None
        self.channel.close()
        self.channel = None

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.reading = False
        os.close(self.master)
