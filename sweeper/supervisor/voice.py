"""What a supervisor says: packets to its scheduler, lines to whoever looks at its window."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweeper import model, moments
from sweeper.channel import Channel
from sweeper.model import Outcome
from sweeper.supervisor.attempt import Running
from sweeper.supervisor.relay import Window

if TYPE_CHECKING:
    from sweeper.lease import Wait

FAREWELL = 5.0  # seconds that an ended supervisor waits for its scheduler to listen, or to look after the window


class Voice:
    """``channel`` is None once the scheduler is gone; then ``alone`` is called. ``trouble`` is what was said last of
    what holds the run up."""

    def __init__(self, channel: Channel, window: Window, alone: Callable[[], None]) -> None:
        self.channel: Channel | None = channel
        self.window = window
        self.trouble = ""
        self._alone = alone

    def tell(self, kind: str, **fields: Any) -> None:
        if self.channel is not None and not self.channel.send(kind, **fields):
            self.hang_up()

    def go_on(self) -> None:
        """Say what the scheduler did not take before."""
        if self.channel is not None and not self.channel.flush():
            self.hang_up()

    def finish(self) -> None:
        """The same, as the last thing: the scheduler is waited for, but not for ever."""
        if self.channel is not None:
            self.channel.drain(FAREWELL)

    def hang_up(self) -> None:
        """The scheduler is gone."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self._alone()

    def waits(self, run: Running, wait: Wait) -> None:
        """The run waits for this, said whenever it changes."""
        if wait.note != self.trouble:
            self.trouble = wait.note
            self.tell("waiting", text=wait.note)
            lines = moments.folded(f"sweep: run {run.job.number} waits for {wait.note}")
            self.window.write(f"{lines}\r\n".encode("utf-8", "replace"))

    def report(self, trouble: str) -> None:
        """What holds the run up now ('' once it goes on), said whenever it changes."""
        if trouble != self.trouble:
            self.trouble = trouble
            self.tell("trouble", text=trouble)
            if trouble:
                self.window.write(f"\r\n[sweep: {trouble}]\r\n".encode())

    def announce(self, run: Running) -> None:
        """Which run of the chain begins."""
        words = " ".join(f"{name}={run.job.texts.get(name, value)}" for name, value in run.job.params.items())
        plain = "".join(char if char.isprintable() else "?" for char in words)
        self.window.write(f"\x1b[2m[sweep: run {run.job.number}: {plain[:150]}]\x1b[0m\r\n".encode("utf-8", "replace"))

    def farewell(self, run: Running, outcome: Outcome) -> None:
        """What became of a run that is not done."""
        if outcome.outcome == model.DONE:
            return
        seconds = outcome.ended - outcome.started
        text = f"run {run.job.number} {outcome.outcome.replace('_', ' ')}: {outcome.reason} (after {seconds:.1f} s)"
        self.window.write(f"\r\n[sweep: {text}]\r\n[sweep: its log is {run.run.log}]\r\n".encode("utf-8", "replace"))

    def wait_for_bye(self) -> None:
        """Stay until the scheduler has looked after the window, but not for ever."""
        deadline = time.monotonic() + FAREWELL
        while self.channel is not None and time.monotonic() < deadline:
            try:
                message = self.channel.wait(max(0.01, deadline - time.monotonic()))
            except (EOFError, OSError):
                return
            if message is None or message["kind"] == "bye":
                return
