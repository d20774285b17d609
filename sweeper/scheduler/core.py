"""The scheduler's loop: supervisors come, are given runs, end; wishes change; nothing is asked twice."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from filelock import lock_descriptor

from sweeper import errors, folders, model, paths, procs
from sweeper.channel import Channel, Message
from sweeper.model import Outcome
from sweeper.scheduler.engines import Engine, Opened
from sweeper.scheduler.holding import Holding
from sweeper.scheduler.line import Line
from sweeper.scheduler.word import Word
from sweeper.store import Store, open_store, reconcile
from sweeper.store.db import PAUSE, RUN, STOP
from sweeper.store.rebuild import LOST_LIMIT, REBUILT, is_damage, put_aside

OPENING = 30.0  # seconds within which a standby must have reported
LOOK = 2.0  # seconds between two looks whether the window of one that has not is still there
AGAIN = 5.0  # seconds until something that did not work is tried again
STANDBY_DEATHS = 3  # standbys that die in a row before use are an error, not a loop
ADOPTING = 0.2  # seconds between two looks for the supervisor of a run whose lock is held
LOOKS = 3  # such looks until what holds the lock is taken for the rest of a lost run
HUSH = 0.01  # seconds after a "go" in which nothing else is done, so that the run begins undisturbed
TWICE = 1.5  # seconds within which a second Ctrl-C in a chain means the whole chain
STALE = "its file was deleted or replaced"
HANGUP_PAUSE = 0.5  # seconds to learn whether a closed window was one, or the whole session


class Stage(Enum):
    """How far a supervisor is."""

    OPENING = "opening"
    IDLE = "idle"
    PREPARING = "preparing"
    READY = "ready"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(eq=False)
class Worker:
    """A supervisor of ours, from the opening of its window to the end of its channel."""

    opened: Opened
    since: float
    look_at: float
    stage: Stage = Stage.OPENING
    number: int = 0
    started: bool = False
    recorded: bool = False

    @property
    def channel(self) -> Channel | None:
        return self.opened.channel


@dataclass(eq=False)
class Adopted:
    """A run that an earlier scheduler started and that still lives; ``pidfd`` is its supervisor's, if that lives."""

    number: int
    pidfd: int | None
    check_at: float
    looks: int = 0


class Scheduler:
    """Runs one sweep until nothing is left to do. The caller holds the sweep's lock by the descriptor ``lock``."""

    def __init__(
        self, sweep: paths.SweepDir, store: Store, engine: Engine, server: socket.socket, word: Word, lock: int
    ) -> None:
        self.sweep = sweep
        self.lock = lock
        self.store = store
        self.engine = engine
        self.server = server
        self.word = word
        self.line = Line(store, sweep)
        self.selector = selectors.DefaultSelector()
        self.holding = Holding(engine, self.selector, self._at, word.log)
        self.workers: list[Worker] = []
        self.visitors: list[Channel] = []
        self.adopted: list[Adopted] = []
        self.deaths = 0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.hung_up = False
        self.interrupted_at = -TWICE
        self.hold_until = 0.0
        self.quiet_until = 0.0
        self.leaving = False
        self.ill = False
        self._signals: list[int] = []

    # -- start, loop, end --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises InputError where the queue cannot be read (never launched, or its file no longer parses), SweepError
        where the sweep's folder is taken away."""
        self._catch_signals()
        self.selector.register(self.server, selectors.EVENT_READ, self._accept)
        self.line.load(())
        self._reconcile()
        self.line.load(self._busy())
        self._stop_asked()
        while not self.leaving:
            try:
                self._fill()
                if self._finished():
                    break
                self._sleep()
                self._handle_signals()
                self._do_later()
            except sqlite3.Error as error:
                self._fall_ill(error)
        self.holding.release()
        self.engine.finish()

    def _sleep(self) -> None:
        now = time.monotonic()
        until = [max(moment, self.quiet_until) for moment, _ in self.later]
        until += [worker.look_at for worker in self.workers if worker.stage is Stage.OPENING]
        until += [adopted.check_at for adopted in self.adopted if adopted.pidfd is None]
        until += [moment for moment in (self.hold_until, self.quiet_until) if moment > now]
        left = min(until) - now if until else 0.0
        timeout = None if not until else left + 0.001 if left > 0 else 0.0
        for key, _ in self.selector.select(timeout):
            key.data()

    def _catch_signals(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 4096)

        self.selector.register(reader, selectors.EVENT_READ, drain)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda caught, _frame: self._signals.append(caught))

    def _handle_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGHUP:
                self.hang_up()
            elif number == signal.SIGINT:
                self.stop("Ctrl-C")
            else:
                self.word.log(f"ended by {signal.Signals(number).name}; runs go on without a scheduler")
                self.leaving = True

    def hang_up(self) -> None:
        """The session, its server or the chain's terminal is gone: the sweep stops, and stays stopped."""
        if not self.hung_up:
            self.hung_up = True
            self.hold_until = 0.0
            self.stop("its tmux session was closed" if self.line.wish.session else "its terminal was closed")

    def stop(self, why: str) -> None:
        """Stop the whole sweep, as ``sweep stop`` does."""
        self.word.log(f"stopped: {why}")
        with self.store:
            wish = self.store.wish() or self.line.wish
            self.store.set_wish(replace(wish, want=STOP, why=why))
        self._load()

    def _finished(self) -> bool:
        if self.ill or self.adopted or any(worker.number or worker.recorded for worker in self.workers):
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
            self._at(0.05, lambda: None)
            return False
        try:
            self._load()
        except sqlite3.Error:
            os.close(launch)
            raise
        if self.line.wish.want == RUN and not self.line.empty:
            os.close(launch)
            return False
        for worker in list(self.workers):
            self._dismiss(worker)
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
            self._at(0.0 if is_damage(error) or self.store.stale else AGAIN, self._heal)

    def _heal(self) -> None:
        self._check_folder()
        try:
            if self.store.stale:
                self.store.close()
                self._use(open_store(self.sweep))
            wish = self.store.wish()
            if wish is None or (wish.want == STOP and wish.why == REBUILT):
                self.store.set_wish(self.line.wish)
            self._reconcile()
        except (sqlite3.Error, errors.SweepError) as error:
            self.word.log(f"the queue still cannot be used: {error}")
            self._at(AGAIN, self._heal)
            return
        self.ill = False
        self._load()

    def _use(self, store: Store) -> None:
        self.word.log("the queue was opened anew")
        self.store = self.line.store = self.word.store = store

    def _check_folder(self) -> None:
        """Raises SweepError where this is no longer the sweep's folder, and its lock no longer the sweep's."""
        try:
            there = os.stat(self.sweep.lock)
        except OSError:
            there = None
        ours = os.fstat(self.lock)
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise errors.SweepError(
                f"{self.sweep.path} was deleted or moved while the sweep ran: no more runs are started there.\n"
                "    Launch the sweep file again to go on"
            )

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
        for worker in list(self.workers):
            if worker.stage in (Stage.PREPARING, Stage.READY):
                if worker.number not in wanted:
                    self._take_back(worker, back=False)
                elif self.line.wish.want != RUN or self.line.settings != settings:
                    self._take_back(worker)
        self._stop_asked()
        if self.line.wish.want == STOP:
            self._stop_all(self.line.wish.why or "the sweep was stopped")

    def _stop_all(self, why: str) -> None:
        for worker in self.workers:
            if worker.stage is Stage.ACTIVE and worker.channel is not None:
                worker.channel.send("stop", why=why)
        for adopted in self.adopted:
            self._end_adopted(adopted)

    def _stop_asked(self) -> None:
        """Carry out the stops of single runs."""
        asked = self.store.stops()
        if not asked:
            return
        hands = {worker.number: worker for worker in self.workers if worker.number}
        for number in asked:
            worker = hands.get(number)
            if worker is not None and worker.stage is Stage.ACTIVE:
                if worker.channel is not None:
                    worker.channel.send("stop", why="stopped by its user")
                continue
            adopted = next((one for one in self.adopted if one.number == number), None)
            if adopted is not None:
                self._end_adopted(adopted)
                continue
            if worker is not None and worker.stage in (Stage.PREPARING, Stage.READY):
                self._take_back(worker, back=False)
            record = self.store.record(number)
            if record is not None and record.state == model.QUEUED:
                self.line.drop([number])
                self.store.set_state(number, model.STOPPED, "stopped before it began")

    def _end_adopted(self, adopted: Adopted) -> None:
        if adopted.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(adopted.pidfd, signal.SIGTERM)

    # -- slots -------------------------------------------------------------------------------------------------

    def _busy(self) -> list[int]:
        return [worker.number for worker in self.workers if worker.number] + [one.number for one in self.adopted]

    def workers_active(self) -> int:
        return sum(worker.stage is Stage.ACTIVE for worker in self.workers)

    def _capacity(self) -> int:
        if self.ill or self.line.wish.want != RUN or time.monotonic() < self.hold_until:
            return 0
        capacity = self.line.wish.parallel or 1
        unsure = sum(worker.stage is Stage.ENDED and bool(worker.number) for worker in self.workers)
        return min(capacity, self.word.allowance(self.line.spec, capacity, unsure))

    def _fill(self) -> None:
        """Let ready runs go into free slots, then see that others stand ready."""
        if self.leaving:
            return
        free = self._capacity() - self.workers_active() - len(self.adopted)
        for worker in self.workers:
            if free <= 0 or (worker.stage is Stage.PREPARING and self.engine.in_order):
                break
            if worker.stage is Stage.READY and worker.channel is not None:
                attempts, _, _ = self.store.tries(worker.number)
                worker.stage = Stage.ACTIVE
                procs.crashpoint("before go")
                worker.channel.send("go", known=attempts)
                self.quiet_until = time.monotonic() + HUSH
                procs.crashpoint("gone")
                free -= 1
        if free > 0 or time.monotonic() >= self.quiet_until:
            self._prefetch(free)
        now = time.monotonic()
        for worker in list(self.workers):
            if worker.stage is Stage.OPENING and now > worker.look_at:
                worker.look_at = now + LOOK
                if now > worker.since + OPENING or not self.engine.there(worker.opened):
                    self.word.log("a window opened, but no supervisor reported from it")
                    self._lost_standby(worker)
        for adopted in list(self.adopted):
            if adopted.pidfd is None and time.monotonic() >= adopted.check_at:
                self._settle_adopted(adopted)

    def _prefetch(self, free: int) -> None:
        preparing = sum(worker.stage is Stage.PREPARING for worker in self.workers)
        for worker in [worker for worker in self.workers if worker.stage is Stage.IDLE]:
            # While slots are free only as many as they take, so that no later run overtakes an earlier one.
            if self.ill or 0 < free <= preparing or not self._prepare(worker):
                break
            preparing += 1
        if self.line.wish.want != RUN and not self.workers_active():
            self.holding.release()
        if self.line.wish.want != RUN or self._capacity() == 0:
            return
        if not self.line.empty and not self.holding.ready(self.line):
            return
        standing = sum(
            worker.stage in (Stage.OPENING, Stage.IDLE, Stage.PREPARING, Stage.READY) for worker in self.workers
        )
        waiting = sum(worker.stage in (Stage.OPENING, Stage.IDLE) for worker in self.workers)
        if standing < max(0, free) + self.engine.ahead and self.line.at_least(waiting + 1):
            try:
                self._open()
            except (errors.SweepError, OSError) as error:
                self.word.log(f"no window could be opened: {error}")
                self._count_death()
                self.hold_until = time.monotonic() + HANGUP_PAUSE
                return
            self._at(0.0, lambda: None)  # the next one after a look at what supervisors say

    def _open(self) -> None:
        now = time.monotonic()
        worker = Worker(self.engine.open(), now, now + LOOK)
        self.workers.append(worker)
        if worker.channel is not None:
            self._listen_to(worker)

    def _prepare(self, worker: Worker) -> bool:
        """Give an idle supervisor the next run to prepare; False when there is none (now)."""
        if self.line.wish.want != RUN:
            self._dismiss(worker)
            return True
        number = self.line.next()
        if number is None:
            self._dismiss(worker)
            return True
        try:
            run = self.line.make(number)
        except (OSError, KeyError) as error:
            self._check_folder()
            self.word.log(f"run {number} cannot be prepared: {error}; tried again in {AGAIN:g} s")
            self.line.put_back(number)
            self.hold_until = time.monotonic() + AGAIN
            return False
        worker.number, worker.stage, worker.started = number, Stage.PREPARING, False
        self.workers.remove(worker)
        self.workers.append(worker)  # they stand in the order of their runs
        assert worker.channel is not None
        worker.channel.send("prepare", folder=str(run.path))
        return True

    def _take_back(self, worker: Worker, *, back: bool = True) -> None:
        """A run was prepared and is not wanted (now)."""
        number, worker.number = worker.number, 0
        if back:
            self.line.put_back(number)
        self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        if worker.channel is not None:
            worker.channel.send("bye")
        self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        if worker.channel is not None:
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(worker.channel)
            worker.channel.close()
            worker.opened.channel = None
        if worker in self.workers:
            self.workers.remove(worker)
        self._at(0.0, lambda: self._look_after(worker.opened))

    def _look_after(self, opened: Opened) -> None:
        if not self.engine.gone(opened):
            self._at(0.2, lambda: self._look_after(opened))

    # -- what supervisors say ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self.server.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptor left, say
            self.word.log(f"a connection could not be taken: {error}")
            time.sleep(0.05)
            return
        visitor = Channel(sock)
        self.visitors.append(visitor)
        self.selector.register(visitor, selectors.EVENT_READ, lambda: self._receive_visitor(visitor))

    def _receive_visitor(self, visitor: Channel) -> None:
        """The first packet tells a supervisor in its window from the command line."""
        try:
            message = visitor.receive()
        except (EOFError, ValueError):
            message = None
            self._part(visitor)
            visitor.close()
        if message is None:
            return
        if message["kind"] == "wake":
            try:
                self._load()
            finally:
                visitor.send("ok")  # also where the queue cannot be read now: it will be
        elif message["kind"] == "hello":
            worker = next(
                (
                    one
                    for one in self.workers
                    if one.opened.pane is not None and one.channel is None and one.opened.pane.pane == message["pane"]
                ),
                None,
            )
            self._part(visitor)
            if worker is None:
                visitor.send("bye")
                visitor.close()
                return
            worker.opened.channel = visitor
            worker.opened.reported = True
            self._listen_to(worker)
            self._hear(worker, message)

    def _part(self, visitor: Channel) -> None:
        self.visitors.remove(visitor)
        self.selector.unregister(visitor)

    def _listen_to(self, worker: Worker) -> None:
        assert worker.channel is not None
        self.selector.register(worker.channel, selectors.EVENT_READ, lambda: self._receive(worker))

    def _receive(self, worker: Worker) -> None:
        while worker.channel is not None:
            try:
                message = worker.channel.receive()
            except EOFError:
                self._hung_up(worker)
                return
            if message is None:
                return
            self._hear(worker, message)

    def _hear(self, worker: Worker, message: Message) -> None:
        kind = message["kind"]
        if kind == "hello":
            worker.stage = Stage.IDLE
        elif kind == "prepared":
            worker.stage = Stage.READY
        elif kind == "started":
            self.deaths = 0
            worker.started = True
            self._at(0.0, lambda: self._enter_start(worker, message))
        elif kind in ("waiting", "trouble"):
            state = model.WAITING if kind == "waiting" else model.RUNNING
            self.store.set_state(worker.number, state, str(message["text"]))
        elif kind == "ended":
            worker.stage = Stage.ENDED
            if message.get("closed") and self.hold_until < time.monotonic():
                self.hold_until = time.monotonic() + HANGUP_PAUSE  # or the whole session was: SIGHUP will tell
            self._fill()
        elif kind == "recorded":
            worker.recorded = True
            number, worker.number = worker.number, 0
            self._bid_farewell(worker, number, str(message["outcome"]["outcome"]))
            self._enter_outcome(number, Outcome.from_json(message["outcome"]))
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
        elif kind == "unprepared":
            self.word.log(f"run {number} cannot be prepared: {message['why']}")
            worker.number = 0
            self.line.put_back(number)
            self._trouble(full=bool(message.get("full")))
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
            self._adopt(number)
        elif cause in ("error", "full"):
            self.word.log(f"run {number}: {why}")
            self._put_back(number)
            self._trouble(full=cause == "full")
        else:  # its folder knows of an attempt that the queue had not heard of
            self._settle(number)

    def _trouble(self, *, full: bool) -> None:
        """Something kept a supervisor from its run. A full disk is waited for; the rest is an error before long."""
        if full:
            self.hold_until = time.monotonic() + AGAIN
        else:
            self._count_death()
            self.hold_until = time.monotonic() + HANGUP_PAUSE

    def _put_back(self, number: int) -> None:
        """Queue a run again, unless it is gone from the file or was stopped meanwhile."""
        record = self.store.record(number)
        if record is not None and record.wanted and record.state == model.QUEUED:
            self.line.put_back(number)

    def _enter_start(self, worker: Worker, message: Message) -> None:
        if worker not in self.workers or worker.recorded:
            return  # it has ended meanwhile
        self.store.set_started(
            worker.number, int(message["attempt"]), float(message["at"]), list(message["gpus"]), socket.gethostname()
        )
        self.engine.begun(worker.opened, self.line.title(worker.number))

    def _bid_farewell(self, worker: Worker, number: int, outcome: str) -> None:
        """The window of a run that did not end well stays; only then may its process leave."""

        def look_after() -> None:
            if outcome != model.DONE:
                self.engine.begun(
                    worker.opened, self.line.title(number)
                )  # a short one may have ended before it got its name
            self.engine.ended(worker.opened, outcome == model.DONE)
            self._dismiss(worker)

        self._at(0.0, look_after)

    def _hung_up(self, worker: Worker) -> None:
        """A supervisor's channel is at its end, however that came."""
        number, stage = worker.number, worker.stage
        self._forget(worker)
        if worker.recorded or number == 0:
            if stage in (Stage.OPENING, Stage.IDLE) and not worker.recorded:
                self._count_death()
            return
        if stage in (Stage.PREPARING, Stage.READY):
            self._put_back(number)
            self._count_death()
            return
        if not worker.started:
            self._count_death()
        self._settle(number)

    def _lost_standby(self, worker: Worker) -> None:
        self._forget(worker)
        self._count_death()

    def _count_death(self) -> None:
        self.deaths += 1
        if self.deaths == 1:
            # Perhaps the whole session is being closed: SIGHUP will tell in a moment.
            self.hold_until = max(self.hold_until, time.monotonic() + 0.1)
        if self.deaths >= STANDBY_DEATHS and not self.hung_up:
            self.stop(f"{self.deaths} supervisors died before they could start a run; see {self.sweep.log}")

    # -- outcomes ----------------------------------------------------------------------------------------------

    def _enter_outcome(self, number: int, outcome: Outcome) -> None:
        """Enter what stands in the folder, and queue the run again where it has retries left."""
        spec = self.line.spec
        if self.store.stale:
            raise sqlite3.OperationalError(STALE)
        with self.store:
            self.store.set_outcome(number, outcome)
            _, failures, ooms = self.store.tries(number)
            again = self.line.wish.want != STOP and (
                (outcome.outcome == model.OUT_OF_MEMORY and ooms <= spec.retries_oom)
                or (
                    outcome.outcome in (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY)
                    and failures + max(0, ooms - spec.retries_oom) <= spec.retries
                )
            )
            if again:
                self.store.requeue(number)
        if again:
            self._put_back(number)
            self.word.log(f"run {number}: {outcome.outcome}, {outcome.reason}; tried again")
            return
        reason = self.word.ended(spec, number, outcome)
        if reason and self.line.wish.want == RUN:
            self.stop(reason)

    def _settle(self, number: int) -> None:
        """A run whose supervisor is gone: what its folder says counts; else it is lost, and ended for certain."""
        record = self.store.record(number)
        if record is None or record.folder is None:
            return
        run = paths.RunDir(Path(record.folder))
        left = procs.end_run(str(run.path), str(run.lock), patience=2.0)
        if left or folders.is_held(run.lock):
            self.store.set_state(number, model.RUNNING, f"lost, but {_pids(left)} will not end")
            self.adopted.append(Adopted(number, None, time.monotonic() + AGAIN))
            return
        past = folders.history(run)
        known = record.attempts - (1 if record.state == model.RUNNING else 0)
        if past.outcome is not None and past.attempts > known:
            self._enter_outcome(number, past.outcome)
            return
        if past.attempts <= known and record.state != model.LOST:
            self.store.requeue(number)  # it had not begun
            self._put_back(number)
            return
        state = self.store.set_lost(number, past.attempts, LOST_LIMIT)
        self.word.log(f"run {number}: attempt {past.attempts} was lost")
        if state == model.QUEUED:
            self._put_back(number)

    # -- runs of an earlier scheduler --------------------------------------------------------------------------

    def _reconcile(self) -> None:
        with self.store:
            alive, ended = reconcile(self.store, self.sweep, self._busy())
        for number, outcome in ended:
            self._enter_outcome(number, outcome)
        for record in alive:
            self._adopt(record.number)
        for record in self.store.records([model.LOST]):
            self._settle(record.number)

    def _adopt(self, number: int, looks: int = 0) -> None:
        """Take over a run that is held by somebody else's supervisor, or by what is left of it."""
        record = self.store.record(number)
        if record is None or record.folder is None:
            return
        attempt = folders.history(paths.RunDir(Path(record.folder))).attempt
        pidfd = None if attempt is None else procs.pidfd(attempt.pid, attempt.start_ticks)
        adopted = Adopted(number, pidfd, time.monotonic() + ADOPTING, looks)
        self.adopted.append(adopted)
        if attempt is not None and pidfd is not None and record.state != model.RUNNING:
            self.store.set_started(number, attempt.number, attempt.started, attempt.gpus, attempt.host)
        if pidfd is not None:
            self.selector.register(pidfd, selectors.EVENT_READ, lambda: self._settle_adopted(adopted))

    def _settle_adopted(self, adopted: Adopted) -> None:
        """An adopted run's supervisor is gone (or never was seen): enter what became of the run."""
        self.adopted.remove(adopted)
        if adopted.pidfd is not None:
            self.selector.unregister(adopted.pidfd)
            os.close(adopted.pidfd)
        elif adopted.looks < LOOKS and self._still_held(adopted.number):
            self._adopt(adopted.number, adopted.looks + 1)  # it may just be about to write its attempt, or to leave
            return
        self._settle(adopted.number)

    def _still_held(self, number: int) -> bool:
        record = self.store.record(number)
        return (
            record is not None and record.folder is not None and folders.is_held(paths.RunDir(Path(record.folder)).lock)
        )

    # -- later -------------------------------------------------------------------------------------------------

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after what is urgent, or after so many seconds."""
        self.later.append((time.monotonic() + seconds, action))

    def _do_later(self) -> None:
        """One thing at a time: whoever speaks meanwhile is heard before the next."""
        now = time.monotonic()
        due = None if now < self.quiet_until else next((entry for entry in self.later if entry[0] <= now), None)
        if due is not None:
            self.later.remove(due)  # before it is done: what fails is not done again, and the others are not lost
            due[1]()


def _pids(left: list[int]) -> str:
    return "process " + ", ".join(map(str, left)) if left else "a process of another user"
