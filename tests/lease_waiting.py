"""Wait for a lease in the test's own process, as a supervisor does."""

from __future__ import annotations

import select
import time

from sweeper.lease import Lease, Waiter


def lease_of(waiter: Waiter, patience: float = 15.0) -> Lease:
    """The lease, slept for as a supervisor does."""
    deadline = time.monotonic() + patience
    while (lease := waiter.try_acquire()) is None:
        assert time.monotonic() < deadline, waiter.waiting_for().text
        seconds = waiter.timeout()
        select.select([waiter], [], [], min(seconds if seconds is not None else 60.0, deadline - time.monotonic()))
    waiter.close()
    return lease


def refused(waiter: Waiter) -> bool:
    """Whether it gets nothing, also after the short looks that follow a wake-up."""
    return all(waiter.try_acquire() is None for _ in range(4))
