"""The supervisors at hand: how far each is, how they report, what they say, how they leave."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sweeper import procs
from sweeper.channel import Channel, Message
from sweeper.scheduler.engines import Engine, Opened
from sweeper.scheduler.loop import Loop

LOOK = 2.0  # seconds between two looks whether the window of one that has not reported is still there
LOOKS = 15  # looks at which it must have reported: no clock, for this process may have been stopped meanwhile
AGAIN = 1.0  # seconds until somebody is let in again where no descriptor was left for him


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
    look_at: float
    looks: int = 0
    stage: Stage = Stage.OPENING
    number: int = 0
    started: bool = False
    named: bool = False  # its window has the run's name since it waits
    recorded: bool = False

    @property
    def channel(self) -> Channel | None:
        return self.opened.channel


@dataclass(frozen=True)
class Ears:
    """Whom the crew tells what it hears: a packet of a supervisor, its end, and that the command line was here; False
    says that this scheduler leaves instead."""

    hear: Callable[[Worker, Message], None]
    hung_up: Callable[[Worker], None]
    wake: Callable[[], bool]
    log: Callable[[str], None]


class Crew:
    """All supervisors of this scheduler, in the order of their runs, and the door at which they report."""

    def __init__(self, loop: Loop, engine: Engine, server: socket.socket, ears: Ears) -> None:
        self.loop = loop
        self.engine = engine
        self.server = server
        self.ears = ears
        self.workers: list[Worker] = []
        self._visitors: list[Channel] = []
        loop.watch(server, self._accept)

    def at(self, *stages: Stage) -> list[Worker]:
        """Those who are so far."""
        return [worker for worker in self.workers if worker.stage in stages]

    @property
    def numbers(self) -> list[int]:
        """The runs in their hands."""
        return [worker.number for worker in self.workers if worker.number]

    def open(self) -> None:
        """Have one more stand by. Raises SweepError, OSError."""
        worker = Worker(self.engine.open(), time.monotonic() + LOOK)
        self.workers.append(worker)
        if worker.channel is not None:
            self._listen_to(worker)

    def hand(self, worker: Worker, number: int, folder: str) -> None:
        """Give an idle one its run to prepare; they stand in the order of their runs."""
        worker.number, worker.stage, worker.started = number, Stage.PREPARING, False
        self.workers.remove(worker)
        self.workers.append(worker)
        self.tell(worker, "prepare", folder=folder)
        procs.crashpoint("run handed")

    def tell(self, worker: Worker, kind: str, **fields: Any) -> None:
        """Say something, at once or as soon as it listens. Of one that is gone the end of its channel will tell."""
        if worker.channel is not None:
            worker.channel.send(kind, **fields)
            self.loop.writing(worker.channel, worker.channel.blocked)

    def dismiss(self, worker: Worker) -> None:
        """Let one go that has nothing in hand any more."""
        if worker.channel is not None:
            worker.channel.send("bye")
        self.forget(worker)

    def forget(self, worker: Worker) -> None:
        if worker.channel is not None:
            with contextlib.suppress(KeyError, ValueError):
                self.loop.forget(worker.channel)
            worker.channel.close()
            worker.opened.channel = None
        if worker in self.workers:
            self.workers.remove(worker)
        self.loop.at(0.0, lambda: self._look_after(worker.opened))

    def _look_after(self, opened: Opened) -> None:
        if not self.engine.gone(opened):
            self.loop.at(0.2, lambda: self._look_after(opened))

    def unreported(self) -> list[Worker]:
        """Those whose window is gone, or stands for long, without a word from them. Each is looked at now and then."""
        now = time.monotonic()
        lost = []
        for worker in self.at(Stage.OPENING):
            if now > worker.look_at:
                worker.look_at = now + LOOK
                worker.looks += 1
                if worker.looks >= LOOKS or not self.engine.there(worker.opened):
                    lost.append(worker)
        return lost

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.server.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptor left, say
                self.ears.log(f"a connection could not be taken: {error}; tried again in {AGAIN:g} s")
                self.loop.forget(self.server)
                self.loop.at(AGAIN, lambda: self.loop.watch(self.server, self._accept))
                return
            self._welcome(Channel(sock))

    def _welcome(self, visitor: Channel) -> None:
        self._visitors.append(visitor)
        self.loop.watch(visitor, lambda: self._receive_visitor(visitor))

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
            stays = True
            try:
                stays = self.ears.wake()
            finally:
                if stays:
                    visitor.send("ok")  # also where the queue cannot be read now: it will be
        elif message["kind"] == "ping":
            visitor.send("ok")
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
            self.ears.hear(worker, message)

    def _part(self, visitor: Channel) -> None:
        self._visitors.remove(visitor)
        self.loop.forget(visitor)

    def _listen_to(self, worker: Worker) -> None:
        assert worker.channel is not None
        self.loop.watch(worker.channel, lambda: self._receive(worker))

    def _receive(self, worker: Worker) -> None:
        if worker.channel is not None and worker.channel.blocked:
            worker.channel.flush()
            self.loop.writing(worker.channel, worker.channel.blocked)
        while worker.channel is not None:
            try:
                message = worker.channel.receive()
            except EOFError:
                self.ears.hung_up(worker)
                return
            if message is None:
                return
            self.ears.hear(worker, message)
