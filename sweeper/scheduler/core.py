"""The scheduler's loop: supervisors come, are given runs, end; wishes change; nothing is asked twice."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

from filelock import lock_descriptor

from sweeper import errors, folders, model, paths, procs
from sweeper.channel import Message
from sweeper.model import Outcome
from sweeper.scheduler.aftermath import AGAIN, STALE, Aftermath
from sweeper.scheduler.crew import LOOK, Crew, Ears, Stage, Worker
from sweeper.scheduler.engines import Engine
from sweeper.scheduler.holding import Holding
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.scheduler.word import Word
from sweeper.store import Store, open_store
from sweeper.store.db import PAUSE, RUN, STOP
from sweeper.store.rebuild import REBUILT, is_damage, put_aside

OPENING = 30.0  # seconds within which a standby must have reported
STANDBY_DEATHS = 3  # standbys that die in a row before use are an error, not a loop
TWICE = 1.5  # seconds within which a second Ctrl-C in a chain means the whole chain
HANGUP_PAUSE = 0.5  # seconds to learn whether a closed window was one, or the whole session
HUNG_UP = ("its tmux session was closed", "its terminal was closed")


class Scheduler:
    """Runs one sweep until nothing is left to do. The caller holds the sweep's lock by the descriptor ``lock``."""

    def __init__(
        self, sweep: paths.SweepDir, store: Store, engine: Engine, server: socket.socket, word: Word, lock: int
    ) -> None:
        self.sweep = sweep
        self.lock = lock
        self.store = store
        self.engine = engine
        self.word = word
        self.line = Line(store, sweep)
        self.loop = Loop()
        self.crew = Crew(self.loop, engine, server, Ears(self._hear, self._hung_up, self._load, word.log))
        self.aftermath = Aftermath(self.loop, sweep, self.line, word, self.stop)
        self.holding = Holding(engine, self.loop, word.log)
        self.deaths = 0
        self.hung_up = False
        self.interrupted_at = -TWICE
        self.hold_until = 0.0
        self.leaving = False
        self.ill = False

    # -- start, loop, end --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises InputError where the queue cannot be read (never launched, or its file no longer parses), SweepError
        where the sweep's folder is taken away."""
        self.loop.catch_signals()
        self.line.load(())
        self.aftermath.reconcile(self._busy())
        self.line.load(self._busy())
        self._stop_asked()
        while not self.leaving:
            try:
                self._fill()
                if self._finished():
                    break
                self.loop.sleep(self._moments())
                self._handle_signals()
                self.loop.do_later()
            except sqlite3.Error as error:
                self._fall_ill(error)
        self.holding.release()
        self.engine.finish()

    def _moments(self) -> list[float]:
        """When something is to be looked at again, if nothing happens before."""
        held = [self.hold_until] if self.hold_until > time.monotonic() else []
        return [*held, *self.aftermath.moments, *(worker.look_at for worker in self.crew.at(Stage.OPENING))]

    def _handle_signals(self) -> None:
        while self.loop.signals:
            number = self.loop.signals.pop(0)
            if number == signal.SIGHUP:
                if not self.leaving:
                    self.hang_up()
            elif number == signal.SIGINT:
                self.stop("Ctrl-C")
            else:
                self.word.log(f"ended by {signal.Signals(number).name}; runs go on without a scheduler")
                self.leaving = True
                self._hang_up_no_more()

    def hang_up(self) -> None:
        """The session, its server or the chain's terminal is gone: the sweep stops, and stays stopped."""
        if not self.hung_up:
            self.hung_up = True
            self.hold_until = 0.0
            self.stop(HUNG_UP[0] if self.line.wish.session else HUNG_UP[1])

    def _hang_up_no_more(self) -> None:
        """TERM beside HUP: not the session was closed, the machine shuts down. ``resume --all`` is to go on later."""
        with self.store:
            wish = self.store.wish()
            if self.hung_up and wish is not None and wish.want == STOP and wish.why in HUNG_UP:
                self.store.set_wish(replace(wish, want=RUN, why=""))

    def stop(self, why: str) -> None:
        """Stop the whole sweep, as ``sweep stop`` does."""
        self.word.log(f"stopped: {why}")
        with self.store:
            wish = self.store.wish() or self.line.wish
            self.store.set_wish(replace(wish, want=STOP, why=why))
        self._load()

    def _finished(self) -> bool:
        if self.ill or self.aftermath.adopted or any(worker.number or worker.recorded for worker in self.crew.workers):
            return False
        if self.line.wish.want == RUN and not self.line.empty:
            return False
        if self.line.wish.want == PAUSE:
            return False
        return self._leave_the_field()

    def _leave_the_field(self) -> bool:
        """Nothing is left to do: make sure of it while nobody can launch, and keep that lock until the process ends."""
        launch = folders.open_lock(self.sweep.launch_lock)
        if not lock_descriptor(launch, blocking=False):  # somebody is launching: he will wake us
            os.close(launch)
            self.loop.at(0.05, lambda: None)
            return False
        try:
            self._load()
        except sqlite3.Error:
            os.close(launch)
            raise
        if self.line.wish.want == RUN and not self.line.empty:
            os.close(launch)
            return False
        for worker in list(self.crew.workers):
            self.crew.dismiss(worker)
        return True

    # -- a queue that cannot be read or written ----------------------------------------------------------------

    def _fall_ill(self, error: sqlite3.Error) -> None:
        """Start nothing until the queue works again: a full disk gets room, a damaged or deleted file is rebuilt.

        What happens meanwhile stands in the run folders and is read from there then.
        """
        self.word.log(f"the queue cannot be used: {error}; tried again in {AGAIN:g} s")
        if is_damage(error):
            self.store.close()
            put_aside(self.sweep)
        if not self.ill:
            self.ill = True
            self.loop.at(0.0 if is_damage(error) or self.store.stale else AGAIN, self._heal)

    def _heal(self) -> None:
        self._check_folder()
        try:
            if self.store.stale:
                self.store.close()
                self._use(open_store(self.sweep))
            wish = self.store.wish()
            if wish is None or (wish.want == STOP and wish.why == REBUILT):
                self.store.set_wish(self.line.wish)
            self.aftermath.reconcile(self._busy())
        except (sqlite3.Error, errors.SweepError) as error:
            self.word.log(f"the queue still cannot be used: {error}")
            self.leaving = self.leaving or self.hung_up  # nobody looks any more, and no stop can be written
            self.loop.at(AGAIN, self._heal)
            return
        self.ill = False
        self._load()

    def _use(self, store: Store) -> None:
        self.word.log("the queue was opened anew")
        self.store = self.line.store = self.word.store = store

    def _check_folder(self) -> None:
        """Raises SweepError where this is no longer the sweep's folder, and its lock no longer the sweep's."""
        try:
            there = os.stat(self.sweep.lock) if self.sweep.path.is_dir() else None
        except FileNotFoundError:
            there = None
        except OSError:
            return  # closed to us for now; it may be there all the same
        ours = os.fstat(self.lock)
        if there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            return
        moved = Path(os.readlink(f"/proc/self/fd/{self.lock}")).parent
        if not ours.st_nlink or self.sweep.state != self.sweep.path or not moved.is_dir():
            raise errors.SweepError(
                f"{self.sweep.path} was deleted or moved while the sweep ran: no more runs are started there.\n"
                "    Launch the sweep file again to go on"
            )
        text = (
            f"{self.sweep.path} was moved to {moved} while the sweep ran: no more runs are started.\n"
            "    Move it back, or give its new place with --runs-dir, and launch the sweep file again to go on"
        )
        self.word.sweep = paths.SweepDir(moved)
        self.word.log(text)
        raise errors.SweepError(text)

    # -- what is wanted ----------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take up the wish and the queue as they are now."""
        if self.ill:
            return
        if self.store.stale:
            raise sqlite3.OperationalError(STALE)
        settings = self.line.settings
        try:
            self.line.load(self._busy())
        except (errors.SweepError, OSError) as error:
            self.word.log(f"the queue cannot be read: {error}")
            return
        wanted = self.store.wanted()
        for worker in self.crew.at(Stage.PREPARING, Stage.READY):
            if worker.number not in wanted:
                self._take_back(worker, back=False)
            elif self.line.wish.want != RUN or self.line.settings != settings:
                self._take_back(worker)
        self._stop_asked()
        if self.line.wish.want == STOP:
            self._stop_all(self.line.wish.why or "the sweep was stopped")

    def _stop_all(self, why: str) -> None:
        for worker in self.crew.at(Stage.ACTIVE):
            if worker.channel is not None:
                worker.channel.send("stop", why=why)
        for adopted in self.aftermath.adopted:
            self.aftermath.end(adopted)

    def _stop_asked(self) -> None:
        """Carry out the stops of single runs."""
        asked = self.store.stops()
        if not asked:
            return
        hands = {worker.number: worker for worker in self.crew.workers if worker.number}
        for number in asked:
            worker = hands.get(number)
            if worker is not None and worker.stage is Stage.ACTIVE:
                if worker.channel is not None:
                    worker.channel.send("stop", why="stopped by its user")
                continue
            adopted = next((one for one in self.aftermath.adopted if one.number == number), None)
            if adopted is not None:
                self.aftermath.end(adopted)
                continue
            if worker is not None and worker.stage in (Stage.PREPARING, Stage.READY):
                self._take_back(worker, back=False)
            record = self.store.record(number)
            if record is not None and record.state == model.QUEUED:
                self.line.drop([number])
                self.store.set_state(number, model.STOPPED, "stopped before it began")

    # -- slots -------------------------------------------------------------------------------------------------

    def _busy(self) -> list[int]:
        return self.crew.numbers + [one.number for one in self.aftermath.adopted]

    def _capacity(self) -> int:
        if self.ill or self.line.wish.want != RUN or time.monotonic() < self.hold_until:
            return 0
        capacity = self.line.wish.parallel or 1
        unsure = sum(bool(worker.number) for worker in self.crew.at(Stage.ENDED))
        return min(capacity, self.word.allowance(self.line.spec, capacity, unsure))

    def _fill(self) -> None:
        """Let ready runs go into free slots, then see that others stand ready."""
        if self.leaving:
            return
        free = self._capacity() - len(self.crew.at(Stage.ACTIVE)) - len(self.aftermath.adopted)
        for worker in self.crew.workers:
            if free <= 0 or (worker.stage is Stage.PREPARING and self.engine.in_order):
                break
            if worker.stage is Stage.READY and worker.channel is not None:
                attempts, _, _ = self.store.tries(worker.number)
                worker.stage = Stage.ACTIVE
                procs.crashpoint("before go")
                worker.channel.send("go", known=attempts)
                self.loop.hush()
                procs.crashpoint("gone")
                free -= 1
        if free > 0 or time.monotonic() >= self.loop.quiet_until:
            self._prefetch(free)
        now = time.monotonic()
        for worker in self.crew.at(Stage.OPENING):
            if now > worker.look_at:
                worker.look_at = now + LOOK
                if now > worker.since + OPENING or not self.engine.there(worker.opened):
                    self.word.log("a window opened, but no supervisor reported from it")
                    self._lost_standby(worker)
        self.aftermath.check_adopted()

    def _prefetch(self, free: int) -> None:
        preparing = len(self.crew.at(Stage.PREPARING))
        for worker in self.crew.at(Stage.IDLE):
            # While slots are free only as many as they take, so that no later run overtakes an earlier one.
            if self.ill or 0 < free <= preparing or not self._prepare(worker):
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
            try:
                self.crew.open()
            except (errors.SweepError, OSError) as error:
                self.word.log(f"no window could be opened: {error}")
                self._count_death()
                self.hold_until = time.monotonic() + HANGUP_PAUSE
                return
            self.loop.at(0.0, lambda: None)  # the next one after a look at what supervisors say

    def _prepare(self, worker: Worker) -> bool:
        """Give an idle supervisor the next run to prepare; False when there is none (now)."""
        if self.line.wish.want != RUN:
            self.crew.dismiss(worker)
            return True
        number = self.line.next()
        if number is None:
            self.crew.dismiss(worker)
            return True
        try:
            run = self.line.make(number)
        except (OSError, KeyError) as error:
            self._check_folder()
            self.word.log(f"run {number} cannot be prepared: {error}; tried again in {AGAIN:g} s")
            self.line.put_back(number)
            self.hold_until = time.monotonic() + AGAIN
            return False
        self.crew.hand(worker, number, str(run.path))
        return True

    def _take_back(self, worker: Worker, *, back: bool = True) -> None:
        """A run was prepared and is not wanted (now)."""
        number, worker.number = worker.number, 0
        if back:
            self.line.put_back(number)
        self.crew.dismiss(worker)

    # -- what supervisors say ----------------------------------------------------------------------------------

    def _hear(self, worker: Worker, message: Message) -> None:
        kind = message["kind"]
        if kind == "hello":
            worker.stage = Stage.IDLE
        elif kind == "prepared":
            worker.stage = Stage.READY
        elif kind == "started":
            self.deaths = 0
            worker.started = True
            self.loop.at(0.0, lambda: self._enter_start(worker, message))
        elif kind in ("waiting", "trouble"):
            state = model.WAITING if kind == "waiting" else model.RUNNING
            self.store.set_state(worker.number, state, str(message["text"]))
            if kind == "waiting" and not worker.named:
                worker.named = True
                self.loop.at(0.0, lambda: self._name(worker))
        elif kind == "ended":
            worker.stage = Stage.ENDED
            if message.get("closed") and self.hold_until < time.monotonic():
                self.hold_until = time.monotonic() + HANGUP_PAUSE  # or the whole session was: SIGHUP will tell
            self._fill()
        elif kind == "recorded":
            worker.recorded = True
            number, worker.number = worker.number, 0
            self._bid_farewell(worker, number, str(message["outcome"]["outcome"]))
            self.aftermath.enter(number, Outcome.from_json(message["outcome"]))
        elif kind == "interrupt":
            now = time.monotonic()
            if now - self.interrupted_at < TWICE:
                self.stop("Ctrl-C, twice")
            self.interrupted_at = now
        else:
            self._hear_trouble(worker, kind, message)

    def _hear_trouble(self, worker: Worker, kind: str, message: Message) -> None:
        number = worker.number
        if kind == "stalled":
            self.word.stalled(self.line.spec, number, float(message["seconds"]))
        elif kind == "crashed":
            self.word.log(f"the supervisor of run {number or '(none yet)'} failed:\n{message['why']}")
        elif kind == "unprepared":
            self.word.log(f"run {number} cannot be prepared: {message['why']}")
            worker.number = 0
            self.line.put_back(number)
            self._trouble(passing=bool(message.get("full")))
        elif kind == "withdrawn":
            worker.number = 0
            self.store.set_state(number, str(message["outcome"]), str(message["why"]))
        elif kind == "unrecorded":
            worker.recorded = True
            worker.number = 0
            self.word.log(f"run {number}: {message['why']}; it ended as {message['outcome']['outcome']}")
            self.store.set_state(number, model.FAILED, str(message["why"]))
        elif kind == "refused":
            self._refused(worker, str(message["cause"]), str(message["why"]))

    def _refused(self, worker: Worker, cause: str, why: str) -> None:
        number, worker.number = worker.number, 0
        if cause == "held":
            self.word.log(f"run {number} is still alive; waiting for it")
            self.aftermath.adopt(number)
        elif cause in ("error", "full", "later"):
            self.word.log(f"run {number}: {why}")
            self.aftermath.put_back(number)
            self._trouble(passing=cause != "error")
        else:  # its folder knows of an attempt that the queue had not heard of
            self.aftermath.settle(number)

    def _trouble(self, *, passing: bool) -> None:
        """Something kept a supervisor from its run: what passes is waited for, the rest is an error before long."""
        if passing:
            self.hold_until = time.monotonic() + AGAIN
        else:
            self._count_death()
            self.hold_until = time.monotonic() + HANGUP_PAUSE

    def _enter_start(self, worker: Worker, message: Message) -> None:
        if worker not in self.crew.workers or worker.recorded:
            return  # it has ended meanwhile
        self.store.set_started(
            worker.number, int(message["attempt"]), float(message["at"]), list(message["gpus"]), socket.gethostname()
        )
        if not worker.named:
            self._name(worker)

    def _name(self, worker: Worker) -> None:
        """Give its window the run's name, so that whoever looks at the session knows which is which."""
        if worker.number and worker in self.crew.workers:
            self.engine.begun(worker.opened, self.line.title(worker.number))

    def _bid_farewell(self, worker: Worker, number: int, outcome: str) -> None:
        """The window of a run that failed stays; only then may its process leave."""
        well = outcome in (model.DONE, model.STOPPED)

        def look_after() -> None:
            if not well:  # a short one may have ended before its window got its name
                self.engine.begun(worker.opened, self.line.title(number))
            self.engine.ended(worker.opened, well)
            self.crew.dismiss(worker)

        self.loop.at(0.0, look_after)

    def _hung_up(self, worker: Worker) -> None:
        """A supervisor's channel is at its end, however that came."""
        number, stage = worker.number, worker.stage
        self.crew.forget(worker)
        if worker.recorded or number == 0:
            if stage in (Stage.OPENING, Stage.IDLE) and not worker.recorded:
                self._count_death()
            return
        if stage in (Stage.PREPARING, Stage.READY):
            self.aftermath.put_back(number)
            self._count_death()
            return
        if not worker.started:
            self._count_death()
        self.aftermath.settle(number)

    def _lost_standby(self, worker: Worker) -> None:
        self.crew.forget(worker)
        self._count_death()

    def _count_death(self) -> None:
        self.deaths += 1
        if self.deaths == 1:
            # Perhaps the whole session is being closed: SIGHUP will tell in a moment.
            self.hold_until = max(self.hold_until, time.monotonic() + 0.1)
        if self.deaths >= STANDBY_DEATHS and not self.hung_up:
            self.stop(f"{self.deaths} supervisors died before they could start a run; see {self.sweep.log}")
