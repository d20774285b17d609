"""The GPUs of one run: asked for, waited for, held while it lives, given back. What it needs is imported only then."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeper.model import GpuRequest
from sweeper.supervisor.attempt import Running

if TYPE_CHECKING:
    from sweeper.lease import Lease, Waiter


class Leasing:
    """``held`` is a lease that the chain keeps between its runs: it is used, and never given back here."""

    def __init__(self, held: Lease | None) -> None:
        self.held = held
        self.lease: Lease | None = held
        self.waiter: Waiter | None = None

    def wanted(self, run: Running) -> bool:
        """Whether the run has to wait for GPUs of its own."""
        return run.job.gpus.count != 0 and self.held is None

    def ask(self, run: Running) -> None:
        """Join the queue. Raises OSError, SweepError."""
        from sweeper import lease

        who = {
            "sweep": run.job.sweep,
            "run": run.job.number,
            "command": run.job.command,
            "pid": os.getpid(),
            "run_dir": str(run.run.path),
        }
        self.waiter = lease.Waiter(roomier(run.job.gpus, run.environment), who, env=run.environment)

    def try_acquire(self) -> bool:
        """Whether they are ours now. Raises OSError, SweepError."""
        assert self.waiter is not None
        found = self.waiter.try_acquire()
        if found is None:
            return False
        self.lease = found
        self.withdraw()
        return True

    @property
    def timeout(self) -> float | None:
        """Seconds until it is to be tried again; None where only the waiter's descriptor tells."""
        return None if self.waiter is None else self.waiter.timeout()

    def withdraw(self) -> None:
        """Leave the queue."""
        if self.waiter is not None:
            self.waiter.close()
            self.waiter = None

    def give_back(self) -> None:
        """Let the next one have them, unless the chain holds them."""
        if self.lease is not None and self.lease is not self.held:
            self.lease.close()
            self.lease = None

    # -- what the run is told and inherits ---------------------------------------------------------------------

    @property
    def fds(self) -> list[int]:
        return list(self.lease.fds) if self.lease is not None else []

    @property
    def names(self) -> list[str]:
        return list(self.lease.names) if self.lease is not None else []

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.lease.environment) if self.lease is not None else {}

    @property
    def free(self) -> int | None:
        """Bytes free on the fullest of them when they were leased."""
        if self.lease is None:
            return None
        return min((gpu.memory_total - gpu.memory_used for gpu in self.lease.gpus), default=None)


def roomier(request: GpuRequest, environment: Mapping[str, str]) -> GpuRequest:
    """The request of a run that ran out of memory: more free than it had, where so much can ever be free on as many
    GPUs as it needs; else about what it had. A driver always takes a little of a GPU, and a desktop somewhat more.
    Raises InputError where the GPUs cannot be had at all."""
    if not request.more_than:
        return request
    from sweeper import gpus

    asked = gpus.resolve(request, gpus.visible(environment))
    most = sorted(gpu.memory_total for gpu in asked.allowed)[-asked.count] * 95 // 100
    more = request.more_than * 105 // 100
    wanted = more if more <= most else min(request.more_than, most) * 95 // 100
    return replace(request, memory=max(request.memory, wanted))
