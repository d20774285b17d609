"""``hold: true``: a chain takes its GPUs once and keeps them between its runs, instead of queueing again for each."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import folders
from sweeper.errors import SweepError
from sweeper.model import GpuRequest
from sweeper.scheduler.engines import Chain, Engine
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.store.wish import CHAIN_WAITS

if TYPE_CHECKING:
    from sweeper.lease import Waiter

AGAIN = 5.0  # seconds until a lease that could not be asked for, or not be had, is asked for again


class Holding:
    """The chain's own lease, or nothing where no chain holds. ``log`` gets a line whenever what it waits for changes;
    the same stands in the queue for whoever shows the sweep."""

    def __init__(self, engine: Engine, loop: Loop, log: Callable[[str], None]) -> None:
        self.engine = engine
        self.loop = loop
        self.log = log
        self.line: Line | None = None
        self.waiter: Waiter | None = None
        self.said = ""
        self.failed = False
        self.due: float | None = None

    def ready(self, line: Line) -> bool:
        """Whether runs may be prepared: nothing is to be held, or it is held. Begins to wait where it is not."""
        self.line = line
        if not isinstance(self.engine, Chain) or not line.wish.options.get("hold"):
            return True
        request = GpuRequest.from_json(line.wish.options.get("gpu") or GpuRequest().to_json())
        if request.count == 0 or self.engine.held is not None:
            return True
        if self.waiter is None and not self.failed:
            self._ask(request, line)
        return self.engine.held is not None

    def release(self) -> None:
        """Give the GPUs back, or leave the queue for them."""
        self._leave()
        if isinstance(self.engine, Chain) and self.engine.held is not None:
            self.engine.held.close()
            self.engine.held = None

    def _ask(self, request: GpuRequest, line: Line) -> None:
        from sweeper import lease

        stored = folders.read_json(line.sweep.environment(line.wish.environment)) or {}
        environment = {**stored.get("variables", os.environ), **line.spec.env}  # ours is the tmux server's
        command = f"sweep {Path(line.wish.file).name} --serial --hold"
        who = {"sweep": line.sweep.name, "run": 0, "command": command, "pid": os.getpid()}
        try:
            self.waiter = lease.Waiter(request, who, env=environment)
        except (SweepError, OSError) as error:
            self._fail(f"no lease can be asked for: {error}")
            return
        self.loop.watch(self.waiter.fileno(), self._try)
        self._try()

    def _try(self) -> None:
        if self.waiter is None or not isinstance(self.engine, Chain):
            return
        try:
            found = self.waiter.try_acquire()
        except (SweepError, OSError) as error:  # a driver may recover
            self._fail(f"its GPUs cannot be leased: {error}")
            return
        if found is None:
            wait = self.waiter.waiting_for()
            self._wake_up_after(self.waiter.timeout())
            self._say(f"waits for {wait.lasting}", wait.note)
            return
        self._leave()
        self.engine.held = found
        self._say(f"holds GPU {', '.join(found.names)} for the whole chain", "")

    def _fail(self, text: str) -> None:
        self._leave()
        self.failed = True
        self.loop.at(AGAIN, self._forgive)
        self._say(f"{text}; tried again in {AGAIN:g} s", "")

    def _forgive(self) -> None:
        self.failed = False

    def _leave(self) -> None:
        """Leave the queue."""
        if self.waiter is not None:
            self.loop.forget(self.waiter.fileno())
            self.waiter.close()
            self.waiter = None

    def _wake_up_after(self, seconds: float | None) -> None:
        """An earlier look than the one that is due already is arranged as well; one too many does no harm."""
        if seconds is None:
            return
        moment = time.monotonic() + seconds
        if self.due is None or moment < self.due:
            self.due = moment
            self.loop.at(seconds, self._tick)

    def _tick(self) -> None:
        self.due = None
        self._try()

    def _say(self, text: str, note: str) -> None:
        """``note`` is what the queue tells of the wait, '' where there is none."""
        if text == self.said:
            return
        self.said = text
        self.log(text)
        with contextlib.suppress(OSError):  # its terminal may be gone; the log has it
            sys.stdout.write(f"[sweep: {text}]\r\n")
            sys.stdout.flush()
        if self.line is not None:
            self.line.store.set_flag(CHAIN_WAITS, note)
