"""``hold: true``: a chain takes its GPUs once and keeps them between its runs, instead of queueing again for each."""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sweeper.errors import SweepError
from sweeper.model import GpuRequest
from sweeper.scheduler.engines import Chain, Engine
from sweeper.scheduler.line import Line

if TYPE_CHECKING:
    from sweeper.lease import Waiter

AGAIN = 5.0  # seconds until a lease that could not even be asked for is asked for again


class Holding:
    """The chain's own lease, or nothing where no chain holds. ``wait`` registers a descriptor with a callback,
    ``later`` calls one after some seconds; ``log`` gets a line whenever what it waits for changes."""

    def __init__(
        self,
        engine: Engine,
        selector: selectors.BaseSelector,
        later: Callable[[float, Callable[[], None]], None],
        log: Callable[[str], None],
    ) -> None:
        self.engine = engine
        self.selector = selector
        self.later = later
        self.log = log
        self.waiter: Waiter | None = None
        self.said = ""
        self.failed = False
        self.timed = False

    def ready(self, line: Line) -> bool:
        """Whether runs may be prepared: nothing is to be held, or it is held. Begins to wait where it is not."""
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
        if self.waiter is not None:
            self.selector.unregister(self.waiter.fileno())
            self.waiter.close()
            self.waiter = None
        if isinstance(self.engine, Chain) and self.engine.held is not None:
            self.engine.held.close()
            self.engine.held = None

    def _ask(self, request: GpuRequest, line: Line) -> None:
        from sweeper import lease

        who = {"sweep": line.sweep.name, "run": 0, "command": f"sweep {line.wish.file} --serial", "pid": os.getpid()}
        try:
            self.waiter = lease.Waiter(request, who)
        except (SweepError, OSError) as error:
            self._say(f"no lease can be asked for: {error}; tried again in {AGAIN:g} s")
            self.failed = True
            self.later(AGAIN, self._forgive)
            return
        self.selector.register(self.waiter.fileno(), selectors.EVENT_READ, self._try)
        self._try()

    def _forgive(self) -> None:
        self.failed = False

    def _try(self) -> None:
        if self.waiter is None or not isinstance(self.engine, Chain):
            return
        found = self.waiter.try_acquire()
        if found is None:
            self._say(f"waits for {self.waiter.waiting_for().text}")
            again = self.waiter.timeout()
            if again is not None and not self.timed:
                self.timed = True
                self.later(again, self._tick)
            return
        waiter, self.waiter = self.waiter, None
        self.selector.unregister(waiter.fileno())
        waiter.close()
        self.engine.held = found
        self._say(f"holds GPU {', '.join(found.names)} for the whole chain")

    def _tick(self) -> None:
        self.timed = False
        self._try()

    def _say(self, text: str) -> None:
        if text != self.said:
            self.said = text
            self.log(text)
            sys.stdout.write(f"[sweep: {text}]\r\n")
            sys.stdout.flush()
