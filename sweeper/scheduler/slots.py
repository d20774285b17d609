"""Which run goes when: ready ones into free slots, others made ready behind them, and what keeps them from it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sweeper import errors, model, obstacle, procs
from sweeper.scheduler.aftermath import AGAIN, Aftermath
from sweeper.scheduler.crew import Crew, Stage, Worker
from sweeper.scheduler.holding import Holding
from sweeper.scheduler.line import Line
from sweeper.scheduler.place import Place
from sweeper.scheduler.word import Word
from sweeper.store.db import RUN

STANDBY_DEATHS = 3  # standbys that die in a row before use are an error, not a loop
HANGUP_PAUSE = 0.5  # seconds to learn whether a closed window was one, or the whole session


class Slots:
    """``closed`` keeps everything from being started; ``hold_until`` does so until that moment (monotonic).

    ``deaths`` are the supervisors in a row that could not start a run, ``struck`` the runs that could not be started
    the last time; ``stop`` stops the whole sweep, with a reason.
    """

    def __init__(
        self,
        place: Place,
        line: Line,
        crew: Crew,
        aftermath: Aftermath,
        word: Word,
        stop: Callable[[str], None],
    ) -> None:
        self.place = place
        self.line = line
        self.crew = crew
        self.loop = crew.loop
        self.engine = crew.engine
        self.aftermath = aftermath
        self.word = word
        self.stop = stop
        self.holding = Holding(self.engine, self.loop, word.log)
        self.closed = False
        self.hold_until = 0.0
        self.deaths = 0
        self.struck: set[int] = set()

    @property
    def busy(self) -> list[int]:
        """The runs in somebody's hands."""
        return self.crew.numbers + [one.number for one in self.aftermath.adopted]

    @property
    def moments(self) -> list[float]:
        """When something is to be looked at again, if nothing happens before."""
        held = [self.hold_until] if self.hold_until > time.monotonic() else []
        return [*held, *self.aftermath.moments, *(worker.look_at for worker in self.crew.at(Stage.OPENING))]

    def _capacity(self) -> int:
        if self.closed or self.line.wish.want != RUN or time.monotonic() < self.hold_until:
            return 0
        capacity = self.line.wish.parallel or 1
        ended = {worker.number for worker in self.crew.at(Stage.ENDED) if worker.number}  # and it is not known yet how
        if ended and self.word.limited(self.line.spec, len(ended)):
            return 0
        canaries = self.word.canaries(self.line.spec)
        if canaries is None:
            return capacity
        flying = {worker.number for worker in self.crew.at(Stage.ACTIVE)}
        flying |= ended | {one.number for one in self.aftermath.adopted}
        if not flying <= canaries.out:
            return 0  # canaries go alone: others that are in flight, since an earlier launch say, are waited for
        return min(capacity, len(canaries.out - ended) + canaries.room)

    def fill(self) -> None:
        """Let ready runs go into free slots, then see that others stand ready."""
        self.aftermath.check_adopted()  # first: what it puts back is to go in now, for nothing else may happen soon
        free = self._capacity() - len(self.crew.at(Stage.ACTIVE)) - len(self.aftermath.adopted)
        for worker in self.crew.workers:
            if free <= 0 or (worker.stage is Stage.PREPARING and self.engine.in_order):
                break
            if worker.stage is Stage.READY and worker.channel is not None and self._may_go(worker.number):
                attempts, _, _ = self.line.store.tries(worker.number)
                worker.stage = Stage.ACTIVE
                procs.crashpoint("before go")
                self.crew.tell(worker, "go", known=attempts)
                self.loop.hush()
                procs.crashpoint("gone")
                free -= 1
        if free > 0 or time.monotonic() >= self.loop.quiet_until:
            self._prefetch(free)
        for worker in self.crew.unreported():
            why = f"a window opened, but no supervisor reported from it{self.engine.obstacles()}"
            self.word.log(why)
            self.crew.forget(worker)
            self.count_death(why)

    def _may_go(self, number: int) -> bool:
        """Whether a run need not wait for canaries. It is written down as one before it goes."""
        canaries = self.word.canaries(self.line.spec)
        if canaries is None or number in canaries.out:
            return True
        if canaries.room:
            self.word.sends(number)
        return canaries.room > 0

    def _next(self) -> int | None:
        """The number of the run to prepare next; 0 where canaries must be back first, None where none is left."""
        canaries = self.word.canaries(self.line.spec)
        if canaries is None or self.line.empty:
            return self.line.next()
        held = set(self.busy)
        if (number := self.line.take(canaries.out - held)) is not None:
            return number
        return self.line.next() if canaries.room > len(held - canaries.out) else 0

    def _prefetch(self, free: int) -> None:
        preparing = len(self.crew.at(Stage.PREPARING))
        for worker in self.crew.at(Stage.IDLE):
            # While slots are free only as many as they take, so that no later run overtakes an earlier one.
            if self.closed or 0 < free <= preparing or not self._prepare(worker):
                break
            preparing += 1
        if self.line.wish.want != RUN and not len(self.crew.at(Stage.ACTIVE)):
            self.holding.release()
        if self.line.wish.want != RUN or self._capacity() == 0:
            return
        if not self.line.empty and not self.holding.ready(self.line):
            return
        waiting = len(self.crew.at(Stage.OPENING, Stage.IDLE))
        standing = waiting + len(self.crew.at(Stage.PREPARING, Stage.READY))
        if standing < max(0, free) + self.engine.ahead and self.line.at_least(waiting + 1):
            self._open()

    def _open(self) -> None:
        try:
            self.crew.open()
        except (errors.SweepError, OSError) as error:
            self.word.log(f"no window could be opened: {error}")
            passing = obstacle.passes(error) or isinstance(error, errors.OverloadError)
            self.trouble(f"no window could be opened: {error}", passing=passing)
            return
        self.loop.at(0.0, lambda: None)  # the next one after a look at what supervisors say

    def _prepare(self, worker: Worker) -> bool:
        """Give an idle supervisor the next run to prepare; False when there is none (now)."""
        while True:
            number = self._next() if self.line.wish.want == RUN else None
            if number == 0:
                return False
            if number is None:
                self.crew.dismiss(worker)
                return True
            if not self._has_gpus(number):
                return False
            try:
                run = self.line.make(number)
            except (OSError, KeyError) as error:
                self.place.check()
                if isinstance(error, KeyError) or self._is_its_own(error):
                    self.not_begun(number, f"its folder cannot be made: {error}", own=True)
                    continue
                self.word.log(f"run {number} cannot be prepared: {error}; tried again in {AGAIN:g} s")
                self.line.put_back(number)
                self.hold_until = time.monotonic() + AGAIN
                return False
            self.crew.hand(worker, number, str(run.path))
            return True

    def _is_its_own(self, error: OSError) -> bool:
        """Whether what hinders a run is in its own folder, and hinders no other."""
        closed = isinstance(error, PermissionError) and os.access(self.place.sweep.path, os.W_OK | os.X_OK)
        return closed or obstacle.in_the_way(error)

    def _has_gpus(self, number: int) -> bool:
        """Whether what a chain holds will do for this run; else it is queued again, and once nothing of the chain is on
        them others are asked for."""
        busy = self.busy
        if self.holding.serves(self.line, number, alone=not busy):
            return True
        if not busy:
            for worker in self.crew.at(Stage.OPENING, Stage.IDLE):  # they have inherited them
                self.crew.dismiss(worker)
            self.holding.exchange(self.line, number)
        self.line.put_back(number)
        return False

    def take_back(self, worker: Worker, *, back: bool = True) -> None:
        """A run was prepared and is not wanted (now)."""
        number, worker.number = worker.number, 0
        if back:
            self.line.put_back(number)
        self.crew.dismiss(worker)

    # -- what keeps a run from its slot ------------------------------------------------------------------------

    def pause(self) -> None:
        """A window closed: start nothing until it is known whether the whole session did."""
        if self.hold_until < time.monotonic():
            self.hold_until = time.monotonic() + HANGUP_PAUSE

    def not_begun(self, number: int, why: str, *, passing: bool = False, own: bool = False) -> None:
        """A run could not be started. What passes is waited for; where the fault is its ``own``, or it cannot be
        started twice in a row, it has failed."""
        self.word.log(f"run {number} cannot be started: {why}")
        if own or (not passing and number in self.struck):
            self.struck.discard(number)
            self.line.store.set_state(number, model.FAILED, f"it cannot be started: {why}")
            self.aftermath.failed(number)
        else:
            if not passing:
                self.struck.add(number)
            self.aftermath.put_back(number)
        if not own:
            self.trouble(why, passing=passing)

    def trouble(self, why: str, *, passing: bool) -> None:
        """Something kept a supervisor from its run: what passes is waited for, the rest is an error before long."""
        if passing:
            self.hold_until = time.monotonic() + AGAIN
        else:
            self.count_death(why)
            self.hold_until = time.monotonic() + HANGUP_PAUSE

    def count_death(self, why: str = "its supervisor died") -> None:
        """One more that could start no run."""
        self.deaths += 1
        if self.deaths == 1:
            # Perhaps the whole session is being closed: SIGHUP will tell in a moment.
            self.hold_until = max(self.hold_until, time.monotonic() + 0.1)
        if self.deaths >= STANDBY_DEATHS:
            self.deaths = 0
            why = " ".join(why.split())
            self.stop(f"{STANDBY_DEATHS} times in a row no run could be started: {why}; see {self.place.sweep.log}")
