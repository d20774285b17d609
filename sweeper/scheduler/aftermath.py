"""What became of a run: its outcome entered, its retry queued, what was lost ended; also of an earlier scheduler's."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper import folders, model, paths, procs
from sweeper.model import Outcome
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.scheduler.word import Word
from sweeper.store import reconcile
from sweeper.store.counting import BROKEN
from sweeper.store.db import RUN, STOP
from sweeper.store.rebuild import LOST_LIMIT

AGAIN = 2.0  # seconds until something that did not work is tried again
FIRST = 0.5  # seconds from a failure until it is told which was the first
ADOPTING = 0.2  # seconds between two looks for the supervisor of a run whose lock is held
LOOKS = 3  # such looks until what holds the lock is taken for the rest of a lost run
STALE = "its file was deleted or replaced"


@dataclass(eq=False)
class Adopted:
    """A run that lives and is none of the crew's; ``pidfd`` is its supervisor's, if that lives. ``stuck`` is why it
    cannot be ended or known, which is tried again now and then."""

    number: int
    pidfd: int | None
    check_at: float
    looks: int = 0
    stuck: str = ""


class Aftermath:
    """Enters into the queue what the run folders say. ``adopted`` are the runs that live without a word from them, most
    of them an earlier scheduler's; ``stop`` stops the whole sweep, with a reason."""

    def __init__(self, loop: Loop, sweep: paths.SweepDir, line: Line, word: Word, stop: Callable[[str], None]) -> None:
        self.loop = loop
        self.sweep = sweep
        self.line = line
        self.word = word
        self.stop = stop
        self.adopted: list[Adopted] = []
        self._said: dict[int, str] = {}

    def put_back(self, number: int) -> None:
        """Queue a run again, unless it is gone from the file or was stopped meanwhile, or is to be."""
        record = self.line.store.record(number)
        if record is None or record.state not in (model.QUEUED, model.WAITING):
            return
        if self.line.store.asked_to_stop(number):
            self.line.store.set_state(number, model.STOPPED, "stopped by its user")
            return
        if record.state == model.WAITING:  # for GPUs, until something kept it from beginning
            self.line.store.requeue(number)
        if record.wanted:
            self.line.put_back(number)

    def enter(self, number: int, outcome: Outcome) -> None:
        """Enter what stands in the folder, and queue the run again where it has retries left."""
        spec = self.line.spec
        if self.line.store.stale:
            raise sqlite3.OperationalError(STALE)
        with self.line.store:
            ordered = outcome.outcome == model.STOPPED and self.line.store.asked_again(number)
            unwanted = self.line.store.asked_to_stop(number)  # it ended by itself just before
            self.line.store.set_outcome(number, outcome)
            _, failures, ooms = self.line.store.tries(number)
            again = (
                self.line.wish.want != STOP
                and not unwanted
                and (
                    (outcome.outcome == model.OUT_OF_MEMORY and ooms <= spec.retries_oom)
                    or (outcome.outcome in BROKEN and failures + max(0, ooms - spec.retries_oom) <= spec.retries)
                )
            )
            if ordered:
                self.line.store.requeue_all([model.STOPPED], [number])
            elif again:
                self.line.store.requeue(number)
        if ordered:
            self.put_back(number)
            self.word.log(f"run {number}: stopped, and queued again since")
            return
        if again:
            self.put_back(number)
            self.word.log(f"run {number}: {outcome.outcome}, {outcome.reason}; tried again")
            return
        if outcome.outcome in BROKEN:
            self.failed(number)

    def failed(self, number: int) -> None:
        """A run has failed for good, as the queue says by now: the whole sweep may have to stop."""
        self.word.failed(number)
        self.loop.at(FIRST, self.tell_of_the_first)
        self.judge()

    def tell_of_the_first(self) -> None:
        """The overnight word of the first failure: a moment late, since of runs that end together any may be heard of
        first, and a chain's next run may fail before the last one's outcome is on disk."""
        self.word.tell_of_the_first(self.line.spec)

    def judge(self) -> None:
        reason = self.word.verdict(self.line.spec) if self.line.wish.want == RUN else ""
        if reason:
            self.stop(reason)

    def withdraw(self, number: int, state: str, why: str) -> None:
        """Enter that a run was ended, or could not go, before it had begun."""
        with self.line.store:
            ordered = state == model.STOPPED and self.line.store.asked_again(number)
            self.line.store.set_state(number, state, why)
            if ordered:
                self.line.store.requeue_all([model.STOPPED], [number])
        if ordered:
            self.put_back(number)

    def settle(self, number: int) -> None:
        """A run whose supervisor is gone: what its folder says counts; else it is lost, and ended for certain."""
        try:
            self._settle(number)
        except OSError as error:
            self._stuck(number, f"it cannot be known how it ended: {error}")

    def _settle(self, number: int) -> None:
        record = self.line.store.record(number)
        if record is None or record.folder is None:
            return
        run = paths.RunDir(Path(record.folder))
        left = procs.end_run(str(run.path), str(run.lock), patience=2.0)
        if left or folders.is_held(run.lock):
            self.line.store.set_state(number, model.RUNNING, record.note)
            self._stuck(number, f"lost, but {_pids(left)} will not end")
            return
        past = folders.history(run)
        known = record.attempts - (1 if record.state == model.RUNNING else 0)
        if past.outcome is not None and past.attempts > known:
            self.enter(number, past.outcome)
            return
        if past.attempts <= known and record.state != model.LOST:
            with self.line.store.durable():
                self.line.store.set_attempts(number, past.attempts)  # fewer where somebody took its folder away
            self.line.store.requeue(number)  # it had not begun
            self.put_back(number)
            return
        state = self.line.store.set_lost(number, past.attempts, LOST_LIMIT)
        self.word.log(f"run {number}: attempt {past.attempts} was lost")
        if state == model.QUEUED:
            self.put_back(number)
        else:
            self.failed(number)

    def _stuck(self, number: int, why: str) -> None:
        """Keep its slot, and look again later."""
        if self._said.get(number) != why:
            self._said[number] = why
            self.word.log(f"run {number}: {why}; looked at again every {AGAIN:g} s")
        self.line.store.set_note(number, why)
        self.adopted.append(Adopted(number, None, time.monotonic() + AGAIN, LOOKS, why))

    # -- runs of an earlier scheduler --------------------------------------------------------------------------

    def reconcile(self, busy: Sequence[int]) -> None:
        """Find out from the folders what happened while nobody scheduled."""
        with self.line.store.durable(), self.line.store:
            alive, ended = reconcile(self.line.store, self.sweep, busy)
        for number, outcome in ended:
            self.enter(number, outcome)
        for record in alive:
            self.adopt(record.number)
        for record in self.line.store.records([model.LOST]):
            self.settle(record.number)
        self.judge()  # it may have been killed when it had just entered what decides, or before it told
        self.loop.at(FIRST, self.tell_of_the_first)

    def follow(self, number: int) -> None:
        """The supervisor of a run is heard no more. One that lives is left alone until it is gone."""
        try:
            if not self._watch(number):
                self.settle(number)
        except OSError as error:
            self._stuck(number, f"it cannot be known whether it lives: {error}")

    def adopt(self, number: int, looks: int = 0) -> None:
        """Take over a run that is held by somebody else's supervisor, or by what is left of it."""
        try:
            if not self._watch(number):
                self.adopted.append(Adopted(number, None, time.monotonic() + ADOPTING, looks))
        except OSError as error:
            self._stuck(number, f"it cannot be known whether it lives: {error}")

    def _watch(self, number: int) -> bool:
        """Whether the supervisor of the run's last attempt lives, which then is watched until it is gone."""
        record = self.line.store.record(number)
        if record is None or record.folder is None:
            return False
        past = folders.history(paths.RunDir(Path(record.folder)))
        attempt = past.attempt
        pidfd = None if attempt is None else procs.pidfd(attempt.pid, attempt.start_ticks)
        if attempt is None or pidfd is None:
            return False
        adopted = Adopted(number, pidfd, time.monotonic() + ADOPTING)
        self.adopted.append(adopted)
        self.loop.watch(pidfd, lambda: self._settle_adopted(adopted))
        if record.state != model.RUNNING and past.outcome is None:
            self.line.store.set_started(number, attempt.number, attempt.started, attempt.gpus, attempt.host)
        if self.line.wish.want == STOP or self.line.store.asked_to_stop(number):  # nobody could tell it before
            self.end(adopted)
        return True

    def _settle_adopted(self, adopted: Adopted) -> None:
        """An adopted run's supervisor is gone (or never was seen): enter what became of the run."""
        self.adopted.remove(adopted)
        if adopted.pidfd is not None:
            self.loop.forget(adopted.pidfd)
            os.close(adopted.pidfd)
        elif adopted.looks < LOOKS and self._still_held(adopted.number):
            self.adopt(adopted.number, adopted.looks + 1)  # it may just be about to write its attempt, or to leave
            return
        if adopted.stuck:
            self.line.store.set_note(adopted.number, "")
        self.follow(adopted.number)

    def _still_held(self, number: int) -> bool:
        record = self.line.store.record(number)
        if record is None or record.folder is None:
            return False
        try:
            return folders.is_held(paths.RunDir(Path(record.folder)).lock)
        except OSError:
            return True  # for all that is known

    def end(self, adopted: Adopted) -> None:
        """Have its supervisor stop it. One that is stuck is given up: its next attempt begins only once it is gone."""
        if adopted.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(adopted.pidfd, signal.SIGTERM)
        elif adopted.stuck:
            self.adopted.remove(adopted)
            self.line.store.set_state(adopted.number, model.STOPPED, adopted.stuck)

    def check_adopted(self) -> None:
        """Look again at those whose supervisor has not been seen."""
        now = time.monotonic()
        for adopted in [one for one in self.adopted if one.pidfd is None and now >= one.check_at]:
            if adopted in self.adopted:  # what became of another may have stopped the sweep, and given this one up
                self._settle_adopted(adopted)

    @property
    def moments(self) -> list[float]:
        """When there is something to look at again."""
        return [adopted.check_at for adopted in self.adopted if adopted.pidfd is None]


def _pids(left: list[int]) -> str:
    return "process " + ", ".join(map(str, left)) if left else "a process of another user"
