"""The scheduler's loop: it sleeps until a supervisor, the command line, a signal or the folder wakes it, until all is
done; what is wanted of the sweep; a queue or a machine that refuses its service for a while."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
from dataclasses import replace

from filelock import lock_descriptor

from sweeper import errors, folders, model, paths, procs
from sweeper.scheduler.aftermath import AGAIN, STALE, Aftermath
from sweeper.scheduler.crew import Crew, Ears, Stage
from sweeper.scheduler.engines import Engine
from sweeper.scheduler.hearing import Hearing
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.scheduler.place import GoneError, Place
from sweeper.scheduler.slots import Slots
from sweeper.scheduler.witness import HUNG_UP, take_back
from sweeper.scheduler.word import Word
from sweeper.store import Store, open_store
from sweeper.store.db import PAUSE, RUN, STOP
from sweeper.store.rebuild import REBUILT, is_damage, put_aside

SOON = 0.5  # seconds until a deleted queue is made anew: the whole folder may just be being deleted


class Scheduler:
    """Runs one sweep until nothing is left to do. The caller holds the sweep's lock by the descriptor ``lock``.

    ``ill`` says that something refuses its service for now, ``leaving`` that this process was told to end.
    """

    def __init__(
        self, sweep: paths.SweepDir, store: Store, engine: Engine, server: socket.socket, word: Word, lock: int
    ) -> None:
        self.sweep = sweep
        self.engine = engine
        self.word = word
        self.line = Line(store, sweep)
        self.loop = Loop()
        self.place = Place(sweep, lock, self.loop, word)
        ears = Ears(
            lambda worker, message: self.hearing.hear(worker, message),
            lambda worker: self.hearing.hung_up(worker),
            self._woken,
            word.log,
        )
        self.crew = Crew(self.loop, engine, server, ears)
        self.aftermath = Aftermath(self.loop, sweep, self.line, word, self.stop)
        self.slots = Slots(self.place, self.line, self.crew, self.aftermath, word, self._give_up)
        self.hearing = Hearing(self.line, self.crew, self.slots, self.aftermath, word, self.stop)
        self.launch_lock: int | None = None  # held from the last look at what is wanted
        self.hung_up = False
        self.leaving = False
        self.ill = False

    @property
    def store(self) -> Store:
        """The queue; it may be opened anew at any time."""
        return self.line.store

    # -- start, loop, end --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises InputError where the queue cannot be read (never launched, or its file no longer parses), GoneError
        where the sweep's folder is taken away."""
        self.loop.catch_signals()
        self.line.load(())
        self.aftermath.reconcile(self.slots.busy)
        self.line.load(self.slots.busy)
        self._stop_asked()
        try:
            while not self.leaving and not self._turn():
                continue
            self.loop.quiet_until = 0.0
            while not self.leaving and self.loop.do_later():  # the last windows
                continue
            self._say_what_failed()
        except GoneError as gone:
            self._abandon(gone)
            raise
        self.slots.holding.release()
        self.engine.finish()

    def _say_what_failed(self) -> None:
        try:
            self.aftermath.tell_of_the_first()
        except (sqlite3.Error, OSError) as error:
            self.word.log(f"of the first failure nobody is told: {error}")

    def _turn(self) -> bool:
        """Fill the slots, sleep until something happens, see to it; True when nothing is left to do."""
        try:
            if not self.ill:
                self.slots.fill()
            if self._finished():
                return True
            self.loop.sleep([] if self.ill else self.slots.moments)
            self._handle_signals()
            self.loop.do_later()
        except (sqlite3.Error, OSError) as error:
            self._fall_ill(error)
        return False

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
            self.slots.hold_until = 0.0
            self._stop_for_good()

    def _stop_for_good(self) -> None:
        self.stop(HUNG_UP[0] if self.line.wish.session else HUNG_UP[1])

    def _hang_up_no_more(self) -> None:
        """TERM beside HUP: not the session was closed, the machine shuts down. ``resume --all`` is to go on later."""
        if self.hung_up:
            with self.store:
                take_back(self.store)

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
        done = False
        try:
            if not lock_descriptor(launch, blocking=False):  # somebody is launching: he will wake us
                self.loop.at(0.05, lambda: None)
                return False
            procs.crashpoint("leaving locked")
            self._woken()
            done = self.line.wish.want != RUN or self.line.empty
        finally:
            if done:
                self.launch_lock = launch
            else:
                os.close(launch)
                self.loop.at(0.0, lambda: None)  # what was found is to be seen to, and nobody else may wake us
        for worker in list(self.crew.workers) if done else ():
            self.crew.dismiss(worker)
        return done

    def let_go(self) -> None:
        """Of its locks, before its process ends."""
        for lock in (self.launch_lock, self.place.lock):
            if lock is not None:
                os.close(lock)

    def _abandon(self, gone: GoneError) -> None:
        """The folder is gone. In one that was moved the runs go on, and are recorded and found there; those of one that
        was deleted have nowhere to go, and would run beside those of the next launch."""
        if gone.deleted:
            self._stop_all(str(gone))
        if gone.moved is not None:
            self.word.sweep = paths.SweepDir(gone.moved)
        self.word.log(str(gone))
        with contextlib.suppress(sqlite3.Error):  # the queue went with it
            self.word.finished(self.line.spec, str(gone))

    # -- what is wanted ----------------------------------------------------------------------------------------

    def stop(self, why: str) -> None:
        """Stop the whole sweep, as ``sweep stop`` does."""
        self.word.log(f"stopped: {why}")
        with self.store:
            wish = self.store.wish() or self.line.wish
            self.store.set_wish(replace(wish, want=STOP, why=why))
        self._load()

    def _give_up(self, why: str) -> None:
        if not self.hung_up:  # then it is no wonder
            self.stop(why)

    def _woken(self) -> bool:
        """Take up what is wanted now. False where it is to go on and our session is gone: the next scheduler, which
        whoever wants it starts once we have left, has one."""
        self._load()
        if self.hung_up and not self.ill and self.line.wish.want == RUN:
            self.word.log("it is to go on, and its session is gone: left to another scheduler")
            self.leaving = True
        return not self.leaving

    def _load(self) -> None:
        """Take up the wish and the queue as they are now."""
        if self.ill:
            return
        if self.store.stale:
            raise sqlite3.OperationalError(STALE)
        settings = self.line.settings
        try:
            self.line.load(self.slots.busy)
        except (errors.SweepError, OSError) as error:
            self.word.log(f"the queue cannot be read: {error}")
            return
        wanted = self.store.wanted()
        for worker in self.crew.at(Stage.PREPARING, Stage.READY):
            if worker.number not in wanted:
                self.slots.take_back(worker, back=False)
            elif self.line.wish.want != RUN or self.line.settings != settings:
                self.slots.take_back(worker)
        self._stop_asked()
        if self.line.wish.want == STOP:
            self._stop_all(self.line.wish.why or "the sweep was stopped")

    def _stop_all(self, why: str) -> None:
        for worker in self.crew.at(Stage.ACTIVE):
            self.crew.tell(worker, "stop", why=why)
        for adopted in list(self.aftermath.adopted):
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
                self.crew.tell(worker, "stop", why="stopped by its user")
                continue
            adopted = next((one for one in self.aftermath.adopted if one.number == number), None)
            if adopted is not None:
                self.aftermath.end(adopted)
                continue
            if worker is not None and worker.stage in (Stage.PREPARING, Stage.READY):
                self.slots.take_back(worker, back=False)
            record = self.store.record(number)
            if record is not None and record.state == model.QUEUED:
                self.line.drop([number])
                self.store.set_state(number, model.STOPPED, "stopped before it began")

    # -- a queue or a machine that refuses ---------------------------------------------------------------------

    def _fall_ill(self, error: sqlite3.Error | OSError) -> None:
        """Start nothing until it works again: a full disk gets room, a process or descriptor is to be had, a damaged or
        deleted queue is rebuilt. What happens meanwhile stands in the run folders and is read from there then."""
        damaged = isinstance(error, sqlite3.Error) and is_damage(error)
        what = "the queue cannot be used" if isinstance(error, sqlite3.Error) else "the scheduler cannot go on"
        self.word.log(f"{what}: {error}; tried again in {AGAIN:g} s")
        if damaged:
            self.store.close()
            put_aside(self.sweep)
        if not self.ill:
            self.ill = self.slots.closed = True
            self.loop.at(0.0 if damaged else SOON if self.store.stale else AGAIN, self._heal)

    def _heal(self) -> None:
        try:
            self.place.mend()
            if self.store.stale:
                self.store.close()
                self._use(open_store(self.sweep))
            wish = self.store.wish()
            if wish is None or (wish.want == STOP and wish.why == REBUILT):
                self.store.set_wish(self.line.wish)
            self.aftermath.reconcile(self.slots.busy)
        except GoneError:
            raise
        except (sqlite3.Error, errors.SweepError, OSError) as error:
            self.word.log(f"it still does not work: {error}")
            self.leaving = self.leaving or self.hung_up  # nobody looks any more, and no stop can be written
            self.loop.at(AGAIN, self._heal)
            return
        self.ill = self.slots.closed = False
        self._load()
        if self.hung_up and self.line.wish.want == RUN:  # it could not be written then
            self._stop_for_good()

    def _use(self, store: Store) -> None:
        self.word.log("the queue was opened anew")
        self.line.store = self.word.store = store
