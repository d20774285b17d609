"""The supervisor's loop: stand by, prepare, go, relay, end, record; it sleeps in poll(2) until something happens."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import model, procs
from sweeper.channel import Channel, Message
from sweeper.supervisor.attempt import Running
from sweeper.supervisor.beginning import Beginning, Refused
from sweeper.supervisor.ending import CLOSED, RETRY, Ending
from sweeper.supervisor.leasing import Leasing
from sweeper.supervisor.relay import Window
from sweeper.supervisor.signals import Signals
from sweeper.supervisor.voice import Voice

if TYPE_CHECKING:
    from sweeper.lease import Lease

_IN, _OUT = select.POLLIN, select.POLLOUT


class Supervisor:
    """Carries out one run. ``chain`` says that the window belongs to the scheduler and its other runs too;
    ``held`` is a lease that the chain keeps between its runs."""

    def __init__(self, channel: Channel, window: Window, *, chain: bool = False, held: Lease | None = None) -> None:
        self.window = window
        self.chain = chain
        self.signals = Signals()
        self.voice = Voice(channel, window, self._alone)
        self.leasing = Leasing(held)
        self.beginning = Beginning(self.voice, self.leasing, chain=chain)
        self.ending = Ending(self.voice, self.signals, self.leasing, chain=chain)
        self.running: Running | None = None
        self.stalled = False
        self.left = False

    # -- the loop ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the run is recorded or given up."""
        procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)
        self.signals.catch(hangups=not self.chain)  # the chain's window is watched by its scheduler
        if not self.chain:
            self.window.raw()
        self.voice.tell("hello", pid=os.getpid(), pane=os.environ.get("TMUX_PANE"))
        try:
            while not self.left:
                self._step()
            self.voice.finish()
        except BaseException:
            import traceback

            # Its window may be gone before anybody looks.
            self.voice.tell("crashed", why=traceback.format_exc()[-4000:])
            raise

    def _step(self) -> None:
        poller = select.poll()
        poller.register(self.signals.wake, _IN)
        channel, waiter = self.voice.channel, self.leasing.waiter
        relay = self.running.relay if self.running is not None else None
        active = self._begun() is not None
        if channel is not None:
            poller.register(channel, _IN | (_OUT if channel.blocked else 0))
        if waiter is not None:
            poller.register(waiter.fileno(), _IN)
        if relay is not None and active and not relay.ended and not relay.unsaved:
            poller.register(relay.master, _IN | (_OUT if relay.typing else 0))
        if self.window.stdin is not None and not self.window.gone and (active or not self.chain):
            poller.register(self.window.stdin, _IN if active else 0)
        if self.window.is_terminal and self.window.pending and self.window.stdout != self.window.stdin:
            poller.register(self.window.stdout, _OUT)
        for descriptor, events in poller.poll(self._patience()):
            channel, waiter = self.voice.channel, self.leasing.waiter  # an earlier one may have closed them
            if descriptor == self.signals.wake:
                self.signals.drain()
            elif channel is not None and descriptor == channel.fileno():
                self.voice.go_on()
                self._listen()
            elif waiter is not None and descriptor == waiter.fileno():
                self._advance(self.beginning.try_lease)
            elif relay is not None and descriptor == relay.master:
                if events & _OUT:
                    relay.flush_typed()
                relay.pump()
            elif descriptor == self.window.stdin:
                self._typed(events)
            elif descriptor == self.window.stdout:
                self.window.flush()
        self._handle_signals()
        self._handle_clock()

    def _begun(self) -> Running | None:
        """The run, if it has begun."""
        return self.running if self.running is not None and self.running.attempt is not None else None

    def _patience(self) -> float | None:
        """How long to sleep, in milliseconds."""
        now = time.monotonic()
        until = []
        run = self.running
        if (again := self.leasing.timeout) is not None:
            until.append(now + again)
        if self.ending.kill_at is not None:
            until.append(self.ending.kill_at)
        if run is not None and run.attempt is not None and self.ending.told is None:
            if run.job.timeout is not None and not run.main_ended:
                until.append(run.began + run.job.timeout)
            if run.job.stall is not None and not self.stalled and run.relay is not None:
                until.append(max(run.began, run.relay.last_output) + run.job.stall)
        if run is not None and run.relay is not None and run.relay.unsaved:
            until.append(now + RETRY)
        if not self.window.is_terminal and self.window.pending:
            until.append(now + 0.05)
        return None if not until else max(0.0, min(until) - now) * 1000 + 1

    def _handle_clock(self) -> None:
        now = time.monotonic()
        again = self.leasing.timeout
        if again is not None and again <= 0:
            self._advance(self.beginning.try_lease)
        if not self.window.is_terminal and self.window.pending:
            self.window.flush()
        run = self._begun()
        if run is None or run.relay is None:
            return
        if run.relay.unsaved:
            run.relay.save()
        self.voice.report(run.relay.trouble)
        timeout = run.job.timeout
        if timeout is not None and self.ending.told is None and not run.main_ended and now >= run.began + timeout:
            self.stop(model.TIMEOUT, f"longer than its timeout of {timeout:g} s")
        quiet = now - max(run.began, run.relay.last_output)
        if run.job.stall is not None and quiet < run.job.stall:
            self.stalled = False
        elif run.job.stall is not None and not self.stalled:
            self.stalled = True
            held = {"held": run.relay.trouble} if run.relay.trouble else {}  # then it is no fault of the run's
            self.voice.tell("stalled", number=run.job.number, seconds=quiet, **held)
        if self.ending.kill(now):
            self._reap()

    def _handle_signals(self) -> None:
        for number in self.signals.take():
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGWINCH:
                if self.running is not None and self.running.relay is not None:
                    self.running.relay.resize()
            else:
                if (run := self._begun()) is not None:
                    self.ending.ended_too(run)
                ended = f"its supervisor was ended by {signal.Signals(number).name}"
                self.stop(model.STOPPED, CLOSED if number == signal.SIGHUP else ended)

    # -- the scheduler -----------------------------------------------------------------------------------------

    def _alone(self) -> None:
        """The scheduler is gone: finish what runs, begin nothing."""
        if self._begun() is None:
            self._leave()

    def _listen(self) -> None:
        while self.voice.channel is not None and not self.left:
            try:
                message = self.voice.channel.receive()
            except EOFError:
                self.voice.hang_up()
                return
            if message is None:
                return
            self._obey(message)

    def _obey(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "prepare":
            self.running = self.beginning.prepare(Path(message["folder"]))
            if self.running is None:
                self._leave()
            else:
                self.voice.tell("prepared")
        elif kind == "go":
            self._advance(lambda run: self.beginning.go(run, int(message["known"])))
        elif kind == "stop":
            self.stop(model.STOPPED, str(message["why"]))
        elif kind == "bye" and self._begun() is None:
            self._leave()

    def _advance(self, step: Callable[[Running], bool]) -> None:
        """One step of the run towards its beginning."""
        assert self.running is not None
        try:
            begun = step(self.running)
        except Refused as refused:
            self._refuse(refused)
            return
        if begun:
            self._reap()  # it may be dead already, and then no signal tells of it any more

    def _refuse(self, refused: Refused) -> None:
        self._let_go()
        self.voice.tell("refused", cause=refused.cause, why=refused.why)
        self._leave()

    # -- the person at the window ------------------------------------------------------------------------------

    def _typed(self, events: int) -> None:
        data = self.window.read() if events & _IN else b""
        if not data:
            self.window.gone = True
            if not self.chain:
                self.stop(model.STOPPED, CLOSED)
            return
        if self.running is not None and self.running.relay is not None:
            self.running.relay.type(data)
        for _ in range(data.count(b"\x03")):
            self.ending.interrupt()

    # -- the end -----------------------------------------------------------------------------------------------

    def stop(self, outcome: str, why: str) -> None:
        """End the run; before it has begun: leave the queue."""
        if why != CLOSED:  # a window that closes takes both with it
            self._reap()  # what has ended by itself was not stopped
        if self.left:
            return
        run = self._begun()
        if run is not None:
            self.ending.stop(run, outcome, why)
            return
        if self.leasing.waiter is not None:
            self.voice.tell("withdrawn", outcome=outcome, why=why)
        self._leave()

    def _reap(self) -> None:
        run = self.running
        if run is None or run.shell is None or self.left:
            return
        empty = run.reap()
        if run.attempt is None:
            if run.status is not None and os.WIFSIGNALED(run.status):
                self._refuse(Refused("error", "its shell was killed before it began"))
        elif empty:
            self.ending.finish(run)
            self.left = True
        elif run.main_ended:
            self.ending.terminate(run)  # the stragglers

    def _leave(self) -> None:
        """Leave without having begun anything (or with nothing left to do)."""
        self.leasing.withdraw()
        self._let_go()
        self.left = True

    def _let_go(self) -> None:
        """Give back a run that has not begun."""
        if self.running is not None and self.running.attempt is None:
            self.running.close()
            self.running = None
