"""What supervisors say, and what follows from it: the slot at once, then the queue, the window last.

Their words are hints, the run folders the truth: one that falls silent may have lost nothing but its voice.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from sweeper import model
from sweeper.channel import Message
from sweeper.model import Outcome
from sweeper.scheduler.aftermath import Aftermath
from sweeper.scheduler.crew import Crew, Stage, Worker
from sweeper.scheduler.line import Line
from sweeper.scheduler.slots import Slots
from sweeper.scheduler.word import Word

TWICE = 1.5  # seconds within which a second Ctrl-C in a chain means the whole chain


class Hearing:
    """``stop`` stops the whole sweep, with a reason."""

    def __init__(
        self, line: Line, crew: Crew, slots: Slots, aftermath: Aftermath, word: Word, stop: Callable[[str], None]
    ) -> None:
        self.line = line
        self.crew = crew
        self.slots = slots
        self.aftermath = aftermath
        self.word = word
        self.stop = stop
        self.interrupted_at = -TWICE

    def hear(self, worker: Worker, message: Message) -> None:
        """Act on one packet. Raises sqlite3.Error."""
        kind = message["kind"]
        if kind == "hello":
            worker.stage = Stage.IDLE
        elif kind == "prepared":
            worker.stage = Stage.READY
        elif kind == "started":
            self.slots.deaths = 0
            self.slots.struck.discard(worker.number)
            worker.started = True
            self.crew.loop.at(0.0, lambda: self._enter_start(worker, message))
        elif kind in ("waiting", "trouble"):
            state = model.WAITING if kind == "waiting" else model.RUNNING
            self.line.store.set_state(worker.number, state, str(message["text"]))
            if kind == "waiting" and not worker.named:
                worker.named = True
                self.crew.loop.at(0.0, lambda: self._name(worker))
        elif kind == "ended":
            worker.stage = Stage.ENDED
            if message.get("closed"):
                self.slots.pause()  # or the whole session was: SIGHUP will tell
            self.slots.fill()
        elif kind == "recorded":
            worker.recorded = True
            number, worker.number = worker.number, 0
            self._bid_farewell(worker, number, str(message["outcome"]["outcome"]))
            self.aftermath.enter(number, Outcome.from_json(message["outcome"]))
        elif kind == "interrupt":
            at = float(message["at"])  # when it was pressed; it may be heard much later
            if at - self.interrupted_at < TWICE:
                self.stop("Ctrl-C, twice")
            self.interrupted_at = at
        else:
            self._hear_trouble(worker, kind, message)

    def _hear_trouble(self, worker: Worker, kind: str, message: Message) -> None:
        number = worker.number
        if kind == "stalled":
            self.word.stalled(self.line.spec, number, float(message["seconds"]), str(message.get("held", "")))
        elif kind == "crashed":
            self.word.log(f"the supervisor of run {number or '(none yet)'} failed:\n{message['why']}")
        elif kind == "unprepared":
            worker.number = 0
            passing, own = bool(message.get("full")), bool(message.get("own"))
            self.slots.not_begun(number, str(message["why"]), passing=passing, own=own)
        elif kind == "withdrawn":
            worker.number = 0
            self.aftermath.withdraw(number, str(message["outcome"]), str(message["why"]))
        elif kind == "unrecorded":
            worker.recorded = True
            worker.number = 0
            self.word.log(f"run {number}: {message['why']}; it ended as {message['outcome']['outcome']}")
            self.line.store.set_state(number, model.FAILED, str(message["why"]))
            self.aftermath.failed(number)
        elif kind == "refused":
            self._refused(worker, str(message["cause"]), str(message["why"]))

    def _refused(self, worker: Worker, cause: str, why: str) -> None:
        number, worker.number = worker.number, 0
        if cause == "held":
            self.word.log(f"run {number} is still alive; waiting for it")
            self.aftermath.adopt(number)
        elif cause in ("error", "full", "later"):
            self.slots.not_begun(number, why, passing=cause != "error")
        else:  # its folder knows of an attempt that the queue had not heard of
            self.aftermath.settle(number)

    def _enter_start(self, worker: Worker, message: Message) -> None:
        if worker not in self.crew.workers or worker.recorded:
            return  # it has ended meanwhile
        attempt, at, gpus = int(message["attempt"]), float(message["at"]), list(message["gpus"])
        self.line.store.set_started(worker.number, attempt, at, gpus, socket.gethostname())
        if not worker.named:
            self._name(worker)

    def _name(self, worker: Worker) -> None:
        """Give its window the run's name, so that whoever looks at the session knows which is which."""
        if worker.number and worker in self.crew.workers:
            self.crew.engine.begun(worker.opened, self.line.title(worker.number))

    def _bid_farewell(self, worker: Worker, number: int, outcome: str) -> None:
        """The window of a run that failed stays; only then may its process leave."""
        well = outcome in (model.DONE, model.STOPPED)
        engine = self.crew.engine

        def look_after() -> None:
            if not well:  # a short one may have ended before its window got its name
                engine.begun(worker.opened, self.line.title(number))
            engine.ended(worker.opened, well)
            self.crew.dismiss(worker)

        self.crew.loop.at(0.0, look_after)

    def hung_up(self, worker: Worker) -> None:
        """A supervisor's channel is at its end, however that came."""
        number, stage = worker.number, worker.stage
        self.crew.forget(worker)
        if worker.recorded or number == 0:
            if stage in (Stage.OPENING, Stage.IDLE) and not worker.recorded:
                self.slots.count_death()
            return
        if stage in (Stage.PREPARING, Stage.READY):
            self.aftermath.put_back(number)
            self.slots.count_death()
            return
        if not worker.started:
            self.slots.count_death()
        self.aftermath.follow(number)
