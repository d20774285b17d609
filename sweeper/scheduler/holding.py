"""``hold: true``: a chain takes its GPUs once and keeps them between its runs, instead of queueing again for each.

They are given back and others asked for where a run needs others: one that ran out of memory is to be alone and to have
more. Never are some kept while others are waited for: two chains could wait for each other for ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import folders, model, moments
from sweeper.errors import SweepError
from sweeper.model import GpuRequest
from sweeper.scheduler.engines import Chain, Engine
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.store.wish import CHAIN_WAITS
from sweeper.supervisor.leasing import roomier

if TYPE_CHECKING:
    from sweeper.lease import Waiter

AGAIN = 2.0  # seconds until a lease that could not be asked for, or not be had, is asked for again


class Holding:
    """The chain's own lease, or nothing where no chain holds. ``log`` gets a line whenever what it waits for changes;
    the same stands in the queue for whoever shows the sweep."""

    def __init__(self, engine: Engine, loop: Loop, log: Callable[[str], None]) -> None:
        self.engine = engine
        self.loop = loop
        self.log = log
        self.line: Line | None = None
        self.request = GpuRequest()  # what is held, or waited for
        self.run = 0  # the run for whose sake it is something else than the file says
        self.waiter: Waiter | None = None
        self.said = ""
        self.failed = False
        self.due: float | None = None

    def ready(self, line: Line) -> bool:
        """Whether runs may be prepared: nothing is to be held, or it is held. Begins to wait where it is not."""
        self.line = line
        if not isinstance(self.engine, Chain) or self.engine.held is not None:
            return True
        request = self._wanted(line)
        if request.count == 0:
            return True
        if self.waiter is not None and request != self.request:  # its file was changed meanwhile
            self._leave()
        if self.waiter is None and not self.failed:
            self._ask(request, line)
        return self.engine.held is not None

    def serves(self, line: Line, number: int, *, alone: bool) -> bool:
        """Whether this run may have what is held. ``alone``: nothing of the chain is on it now."""
        if not isinstance(self.engine, Chain) or self.engine.held is None:
            return True
        request = line.request(number)
        if not line.wish.options.get("hold") or replace(request, more_than=0) != replace(self.request, more_than=0):
            return False
        if request.more_than > self.request.more_than:
            if not alone or not self._is_roomy(request, line):
                return False
            self.request = request
        return True

    def exchange(self, line: Line, number: int) -> None:
        """Give back what is held, to ask for what this run needs."""
        self.release()
        self.run = number

    def release(self) -> None:
        """Give the GPUs back, or leave the queue for them."""
        self._leave()
        self.run = 0
        if isinstance(self.engine, Chain) and self.engine.held is not None:
            self.engine.held.close()
            self.engine.held = None

    def _wanted(self, line: Line) -> GpuRequest:
        """What is to be held; a count of 0 where nothing is."""
        if not line.wish.options.get("hold"):
            return GpuRequest()
        if self.run:
            record = line.store.record(self.run)
            if record is not None and record.wanted and record.state == model.QUEUED:
                return line.request(self.run)
            self.run = 0
        return GpuRequest.from_json(line.wish.options.get("gpu") or GpuRequest().to_json())

    def _is_roomy(self, request: GpuRequest, line: Line) -> bool:
        """Whether on all that is held so much memory is free, by the driver's word."""
        from sweeper import gpus

        assert isinstance(self.engine, Chain)
        assert self.engine.held is not None
        free = {gpu.uuid: gpu.memory_total - gpu.memory_used for gpu in gpus.all_gpus(load=False)}
        try:
            wanted = roomier(request, self._environment(line)).memory
        except SweepError:  # they can be had no more: asking for them will say why
            return False
        return all(free.get(gpu.uuid, 0) >= wanted for gpu in self.engine.held.gpus)

    def _environment(self, line: Line) -> Mapping[str, str]:
        """That of the runs, as far as it says which GPUs they may use; ours is the tmux server's."""
        stored = folders.read_json(line.sweep.environment(line.wish.environment)) or {}
        return {**stored.get("variables", os.environ), **line.spec.env}

    def _ask(self, request: GpuRequest, line: Line) -> None:
        from sweeper import lease

        environment = self._environment(line)
        self.request = request
        command = f"sweep {Path(line.wish.file).name} --serial --hold"
        who = {"sweep": line.sweep.name, "run": 0, "command": command, "pid": os.getpid()}
        try:
            self.waiter = lease.Waiter(roomier(request, environment), who, env=environment)
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
        """An earlier look takes the place of the one that is due already."""
        if seconds is None:
            return
        moment = time.monotonic() + seconds
        if self.due is None or moment < self.due:
            self.due = moment
            self.loop.at(seconds, lambda: self._tick(moment))

    def _tick(self, moment: float) -> None:
        if moment == self.due:  # otherwise an earlier look took its place, and arranged for the next one
            self.due = None
            self._try()

    def _say(self, text: str, note: str) -> None:
        """``note`` is what the queue tells of the wait, '' where there is none."""
        if text == self.said:
            return
        self.said = text
        self.log(text)
        with contextlib.suppress(OSError):  # its terminal may be gone; the log has it
            sys.stdout.write(moments.folded(f"[sweep: {text}]") + "\r\n")
            sys.stdout.flush()
        if self.line is not None:
            self.line.store.set_flag(CHAIN_WAITS, note)
