"""`sweep run-one`: one command with a lease, in the present terminal, as if it had been started by itself.

We wait for it and hold the lease meanwhile (a command like sudo closes what it inherits); killed with SIGKILL, we leave
the lease to the command, which inherited it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence

from sweeper import procs
from sweeper.errors import BusyError, InputError
from sweeper.lease import Lease, Waiter
from sweeper.model import GpuRequest
from sweeper.runone import same
from sweeper.runone.command import end_by, reap, run
from sweeper.runone.interrupt import Interrupt
from sweeper.runone.same import same_command_lock
from sweeper.runone.voice import Voice

__all__ = ["run_one", "same_command_lock"]


def run_one(argv: Sequence[str], request: GpuRequest, *, no_wait: bool = False, same_command: bool = False) -> int:
    """Run ``argv`` with the GPUs of ``request`` (count 0: none) and give its exit status.

    A command that a signal ended ends this process by the same signal. With ``no_wait`` raises BusyError where the GPUs
    are not to be had now; with ``same_command`` where this user runs the same command line already. Raises InputError.
    """
    if not argv:
        raise InputError("sweep run-one: no command is given.\n    sweep run-one [--gpus N] -- COMMAND...")
    kept = [same.take(argv)] if same_command else []
    with Interrupt() as interrupt:
        lease = None if request.count == 0 else _lease(argv, request, interrupt, no_wait=no_wait)
    if interrupt.came:  # while it waited: the command would have ended by it
        end_by(signal.SIGINT)
    if same_command and lease is not None:
        same.check(argv)  # it may have been started otherwise while we waited
    procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)  # so that the lease knows whether anything is left of it
    variables = {} if lease is None else lease.environment
    status, fault = run(argv, {**os.environ, **variables}, kept + ([] if lease is None else lease.fds))
    if lease is not None:
        reap()
        lease.close()
    for descriptor in kept:
        os.close(descriptor)
    if fault:  # said now, since a terminal may keep whoever writes waiting
        print(fault, file=sys.stderr)
    if os.WIFSIGNALED(status):
        end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _lease(argv: Sequence[str], request: GpuRequest, interrupt: Interrupt, *, no_wait: bool) -> Lease | None:
    """The lease, or None where the wait was interrupted. Raises BusyError with ``no_wait``."""
    waiter = Waiter(request, {"command": " ".join(argv), "pid": os.getpid()})
    voice = Voice()
    try:
        lease = waiter.try_acquire()
        if lease is None and no_wait:
            raise BusyError(f"not started: it would wait for {waiter.waiting_for().everything}")
        said = ""
        poller = select.poll()
        poller.register(waiter.fileno(), select.POLLIN)
        poller.register(interrupt.fileno(), select.POLLIN)
        while lease is None and not interrupt.came:
            wait = waiter.waiting_for()
            if wait.key != said:
                said = wait.key
                voice.say(f"sweep: waiting for {wait.lasting}")
            seconds = waiter.timeout()
            poller.poll(None if seconds is None else seconds * 1000 + 0.5)
            lease = waiter.try_acquire()
        return lease
    finally:
        waiter.close()
        voice.close()
