"""How a run begins: its folder read, its lock taken, its GPUs waited for, its attempt written, its command let go."""

from __future__ import annotations

import time
from pathlib import Path

from sweeper import obstacle
from sweeper.supervisor.attempt import Running
from sweeper.supervisor.leasing import Leasing
from sweeper.supervisor.voice import Voice


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The run does not begin here. ``cause`` tells the scheduler what to do: held (somebody has it), known or lost (its
    folder knows more than the queue), full or later (it will pass), error."""

    def __init__(self, cause: str, why: str = "") -> None:
        super().__init__(cause, why)
        self.cause = cause
        self.why = why


class Beginning:
    """``chain`` says that the window belongs to other runs too."""

    def __init__(self, voice: Voice, leasing: Leasing, *, chain: bool) -> None:
        self.voice = voice
        self.leasing = leasing
        self.chain = chain
        self.waiting_since = 0.0

    def prepare(self, folder: Path) -> Running | None:
        """The run in this folder, its shell forked unless it waits for GPUs; None, and told, where that cannot be."""
        run = None
        try:
            run = Running(folder, self.voice.window)
            if not self.leasing.wanted(run):
                run.fork(self.leasing.fds)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.voice.tell("unprepared", why=str(error), full=obstacle.passes(error), own=obstacle.in_the_way(error))
            if run is not None:
                run.close()
            return None
        return run

    def go(self, run: Running, known: int) -> bool:
        """Take the run, unless somebody has it or its folder knows more than the queue does, which knows of so many
        attempts; True once it has begun, False while it waits for GPUs. Raises Refused."""
        from sweeper import folders

        try:
            if not run.take():
                raise Refused("held")
            past = folders.history(run.run)
            run.attempts = past.attempts
            if past.attempts > known:
                raise Refused("known" if past.outcome is not None else "lost")
            if past.attempts and past.outcome is None and (left := run.end_leftovers()):
                who = ", ".join(map(str, left))
                raise Refused("error", f"what is left of its lost attempt will not end: process {who}")
        except OSError as error:
            raise Refused(_cause(error), f"its lock cannot be taken: {error}") from error
        self.waiting_since = time.monotonic()
        if run.shell is None:
            return self._wait_for_gpus(run)
        self._begin(run)
        return True

    def _wait_for_gpus(self, run: Running) -> bool:
        from sweeper import errors

        try:
            self.leasing.ask(run)
        except (OSError, errors.SweepError) as error:
            raise Refused("error", str(error)) from error
        return self.try_lease(run)

    def try_lease(self, run: Running) -> bool:
        """Begin if its GPUs are there now; False while it waits. Raises Refused."""
        from sweeper import errors

        try:
            leased = self.leasing.try_acquire()
        except (OSError, errors.SweepError) as error:  # a driver may recover
            raise Refused("later", f"its GPUs cannot be leased: {error}") from error
        if not leased:
            assert self.leasing.waiter is not None
            self.voice.waits(run, self.leasing.waiter.waiting_for())
            return False
        self.voice.trouble = ""
        try:
            run.fork(self.leasing.fds)
        except OSError as error:
            self.leasing.give_back()
            raise Refused(_cause(error), f"its shell cannot be forked: {error}") from error
        self._begin(run)
        return True

    def _begin(self, run: Running) -> None:
        gpus = self.leasing.names
        waited = time.monotonic() - self.waiting_since
        try:
            attempt = run.begin(gpus, self.leasing.environment, waited, self.leasing.free)
        except OSError as error:
            self.leasing.give_back()
            raise Refused(_cause(error), f"its attempt cannot be written: {error}") from error
        self.voice.tell("started", attempt=attempt.number, gpus=gpus, at=attempt.started)
        if self.chain:
            self.voice.announce(run)
        if run.relay is not None:
            run.relay.resize()


def _cause(error: OSError) -> str:
    return "full" if obstacle.passes(error) else "error"
