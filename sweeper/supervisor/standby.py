"""The supervisor's loop: stand by, prepare, go, relay, end, record; it sleeps in poll(2) until something happens."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import model, procs
from sweeper.channel import Channel, Message
from sweeper.model import GpuRequest, Outcome
from sweeper.supervisor.attempt import Running
from sweeper.supervisor.relay import Window

if TYPE_CHECKING:
    from sweeper.lease import Lease, Waiter

FAREWELL = 5.0  # seconds that an ended supervisor waits for its scheduler to look after the window
RETRY = 1.0  # seconds between two tries to write what a full disk refused
CLOSED = "its window was closed"
TWICE = 1.5  # seconds within which a second Ctrl-C in a chain means the whole chain
_IN, _OUT, _GONE = select.POLLIN, select.POLLOUT, select.POLLHUP | select.POLLERR | select.POLLNVAL
_SIGNALS = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Supervisor:
    """Carries out one run. ``chain`` says that the window belongs to the scheduler and its other runs too;
    ``held`` is a lease that the chain keeps between its runs."""

    def __init__(self, channel: Channel, window: Window, *, chain: bool = False, held: Lease | None = None) -> None:
        self.channel: Channel | None = channel
        self.window = window
        self.chain = chain
        self.held = held
        self.running: Running | None = None
        self.lease: Lease | None = held
        self.waiter: Waiter | None = None
        self.waiting_since = 0.0
        self.told: tuple[str, str] | None = None
        self.kill_at: float | None = None
        self.interrupted_at = 0.0
        self.stalled = False
        self.trouble = ""
        self.left = False
        self._seen: list[int] = []
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # -- the loop ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the run is recorded or given up."""
        procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)
        self._catch_signals()
        if not self.chain:
            self.window.raw()
        self._tell("hello", pid=os.getpid(), pane=os.environ.get("TMUX_PANE"))
        try:
            while not self.left:
                self._step()
        except BaseException:
            import traceback

            self._tell("crashed", why=traceback.format_exc()[-4000:])  # its window may be gone before anybody looks
            raise

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in _SIGNALS:
            if number == signal.SIGHUP and (self.chain or signal.getsignal(number) == signal.SIG_IGN):
                # The chain's window is watched by its scheduler, and nohup means what it says.
                signal.signal(number, signal.SIG_IGN)
            else:
                signal.signal(number, lambda caught, _frame: self._seen.append(caught))

    def _step(self) -> None:
        poller = select.poll()
        poller.register(self._wake, _IN)
        relay = self.running.relay if self.running is not None else None
        active = self.running is not None and self.running.attempt is not None
        if self.channel is not None:
            poller.register(self.channel, _IN)
        if self.waiter is not None:
            poller.register(self.waiter.fileno(), _IN)
        if relay is not None and active and not relay.ended and not relay.unsaved:
            poller.register(relay.master, _IN | (_OUT if relay.typing else 0))
        if self.window.stdin is not None and not self.window.gone and (active or not self.chain):
            poller.register(self.window.stdin, _IN if active else 0)
        if self.window.is_terminal and self.window.pending and self.window.stdout != self.window.stdin:
            poller.register(self.window.stdout, _OUT)
        for descriptor, events in poller.poll(self._patience()):
            if descriptor == self._wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            elif self.channel is not None and descriptor == self.channel.fileno():
                self._listen()
            elif self.waiter is not None and descriptor == self.waiter.fileno():
                self._try_lease()
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

    def _patience(self) -> float | None:
        """How long to sleep, in milliseconds."""
        now = time.monotonic()
        until = []
        run = self.running
        if self.waiter is not None and (again := self.waiter.timeout()) is not None:
            until.append(now + again)
        if self.kill_at is not None:
            until.append(self.kill_at)
        if run is not None and run.attempt is not None and self.told is None:
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
        run = self.running
        if self.waiter is not None:
            again = self.waiter.timeout()
            if again is not None and again <= 0:
                self._try_lease()
        if not self.window.is_terminal and self.window.pending:
            self.window.flush()
        if run is None or run.attempt is None or run.relay is None:
            return
        if run.relay.unsaved:
            run.relay.save()
        self._report_trouble(run.relay.trouble)
        timeout = run.job.timeout
        if timeout is not None and self.told is None and not run.main_ended and now >= run.began + timeout:
            self.stop(model.TIMEOUT, f"longer than its timeout of {timeout:g} s")
        quiet = now - max(run.began, run.relay.last_output)
        if run.job.stall is not None and quiet < run.job.stall:
            self.stalled = False
        elif run.job.stall is not None and not self.stalled:
            self.stalled = True
            self._tell("stalled", number=run.job.number, seconds=quiet)
        if self.kill_at is not None and now >= self.kill_at:
            procs.kill_descendants(os.getpid())
            self.kill_at = now + 0.05
            self._reap()

    def _handle_signals(self) -> None:
        seen, self._seen = self._seen, []
        for number in seen:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGWINCH:
                if self.running is not None and self.running.relay is not None:
                    self.running.relay.resize()
            elif number == signal.SIGHUP:
                self.stop(model.STOPPED, CLOSED)
            else:
                self.stop(model.STOPPED, f"its supervisor was ended by {signal.Signals(number).name}")

    # -- messages ----------------------------------------------------------------------------------------------

    def _tell(self, kind: str, **fields: Any) -> None:
        if self.channel is not None and not self.channel.send(kind, **fields):
            self._alone()

    def _alone(self) -> None:
        """The scheduler is gone: finish what runs, begin nothing."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self.running is None or self.running.attempt is None:
            self._leave()

    def _listen(self) -> None:
        while self.channel is not None and not self.left:
            try:
                message = self.channel.receive()
            except EOFError:
                self._alone()
                return
            if message is None:
                return
            self._obey(message)

    def _obey(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "prepare":
            self._prepare(Path(message["folder"]))
        elif kind == "go":
            self._go(int(message["known"]))
        elif kind == "stop":
            self.stop(model.STOPPED, str(message["why"]))
        elif kind == "bye" and (self.running is None or self.running.attempt is None):
            self._leave()

    def _prepare(self, folder: Path) -> None:
        try:
            self.running = Running(folder, self.window)
            if self.running.job.gpus.count == 0 or self.held is not None:
                self.running.fork(self._leased())
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._tell("unprepared", why=str(error), full=_is_full(error))
            self._leave()
            return
        self._tell("prepared")

    def _leased(self) -> list[int]:
        return list(self.lease.fds) if self.lease is not None else []

    # -- go ----------------------------------------------------------------------------------------------------

    def _go(self, known: int) -> None:
        """Take the run, unless somebody has it or its folder knows more than the queue does."""
        run = self.running
        assert run is not None
        from sweeper import folders

        try:
            if not run.take():
                self._refuse("held")
                return
            past = folders.history(run.run)
            if past.attempts > known:
                self._refuse("known" if past.outcome is not None else "lost")
                return
            if past.attempts and past.outcome is None and (left := run.end_leftovers()):
                who = ", ".join(map(str, left))
                self._refuse("error", why=f"what is left of its lost attempt will not end: process {who}")
                return
        except OSError as error:
            self._refuse(_cause(error), why=f"its lock cannot be taken: {error}")
            return
        self.waiting_since = time.monotonic()
        if run.shell is None:
            self._wait_for_gpus()
        else:
            self._begin()

    def _refuse(self, cause: str, why: str = "") -> None:
        self._let_go()
        self._tell("refused", cause=cause, why=why)
        self._leave()

    def _wait_for_gpus(self) -> None:
        from sweeper import errors, lease

        run = self.running
        assert run is not None
        who = {
            "sweep": run.job.sweep,
            "run": run.job.number,
            "command": run.job.command,
            "pid": os.getpid(),
            "run_dir": str(run.run.path),
        }
        try:
            self.waiter = lease.Waiter(_roomier(run.job.gpus, run.environment), who, env=run.environment)
        except (OSError, errors.SweepError) as error:
            self._refuse("error", why=str(error))
            return
        self._try_lease()

    def _try_lease(self) -> None:
        assert self.waiter is not None
        assert self.running is not None
        from sweeper import errors

        try:
            lease = self.waiter.try_acquire()
        except (OSError, errors.SweepError) as error:
            self._refuse("later", why=f"its GPUs cannot be leased: {error}")  # a driver may recover
            return
        if lease is None:
            text = self.waiter.waiting_for().text
            if text != self.trouble:
                self.trouble = text
                self._tell("waiting", text=text)
                self.window.write(f"sweep: run {self.running.job.number} waits for {text}\r\n".encode())
            return
        self.lease = lease
        self.waiter.close()
        self.waiter = None
        self.trouble = ""
        try:
            self.running.fork(self._leased())
        except OSError as error:
            self._release()
            self._refuse(_cause(error), why=f"its shell cannot be forked: {error}")
            return
        self._begin()

    def _begin(self) -> None:
        run = self.running
        assert run is not None
        gpus = list(self.lease.names) if self.lease is not None else []
        variables = dict(self.lease.environment) if self.lease is not None else {}
        free = [gpu.memory_total - gpu.memory_used for gpu in self.lease.gpus] if self.lease is not None else []
        try:
            attempt = run.begin(gpus, variables, time.monotonic() - self.waiting_since, min(free, default=None))
        except OSError as error:
            self._release()
            self._refuse(_cause(error), why=f"its attempt cannot be written: {error}")
            return
        self._tell("started", attempt=attempt.number, gpus=gpus, at=attempt.started)
        if self.chain:
            self.window.write(_header(run).encode("utf-8", "replace"))
        if run.relay is not None:
            run.relay.resize()
        self._reap()  # it may be dead already, and then no signal tells of it any more

    # -- typing and the window ---------------------------------------------------------------------------------

    def _typed(self, events: int) -> None:
        assert self.window.stdin is not None
        data = b""
        if events & _IN:
            try:
                data = os.read(self.window.stdin, 4096)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
        if data:
            if self.running is not None and self.running.relay is not None:
                self.running.relay.type(data)
            for _ in range(data.count(b"\x03")):
                self._interrupt()
            return
        self.window.gone = True
        if not self.chain:
            self.stop(model.STOPPED, CLOSED)

    def _interrupt(self) -> None:
        """Ctrl-C reached the run by its terminal; a second one soon after means the whole chain."""
        if self.chain:
            self._tell("interrupt")  # the second one may reach the next run's supervisor: the scheduler counts
            if time.monotonic() - self.interrupted_at > TWICE:
                self.window.write(b"\r\n[sweep: Ctrl-C went to this run; once more now stops the sweep]\r\n")
        self.interrupted_at = time.monotonic()

    # -- the end -----------------------------------------------------------------------------------------------

    def stop(self, outcome: str, why: str) -> None:
        """End the run: TERM to all of it, KILL after the grace. Before it has begun: leave the queue."""
        run = self.running
        if run is None or run.attempt is None:
            if self.waiter is not None:
                self._tell("withdrawn", outcome=outcome, why=why)
            self._leave()
            return
        if self.told is not None:
            return
        if not run.main_ended:
            self.told = (outcome, why)
        self._terminate()

    def _terminate(self) -> None:
        assert self.running is not None
        if self.kill_at is not None:
            return
        self.kill_at = time.monotonic() + self.running.job.grace
        below = procs.descendants(os.getpid())
        procs.signal_all(below, signal.SIGTERM)
        procs.signal_all(below, signal.SIGCONT)

    def _reap(self) -> None:
        run = self.running
        if run is None or run.shell is None or self.left:
            return
        empty = run.reap()
        if run.attempt is None:
            if run.status is not None and os.WIFSIGNALED(run.status):
                self._refuse("error", why="its shell was killed before it began")
            return
        if empty:
            self._finish()
        elif run.main_ended and self.kill_at is None:
            self._terminate()  # the stragglers

    def _finish(self) -> None:
        """Nothing of the run lives: the slot, then the GPUs are free; then the outcome; then the lock."""
        run = self.running
        assert run is not None
        assert run.relay is not None
        verdict = self._verdict(run)
        outcome = None
        if self.chain and (verdict[0] is not None or run.status != 0):
            # The chain's next run prints into the same window: say what became of this one first.
            self._drain(run)
            outcome = run.outcome(*verdict)
            self.window.write(_farewell(run, outcome))
        procs.crashpoint("before ended")
        self._tell("ended", number=run.job.number, closed=verdict == (model.STOPPED, CLOSED))
        self._release()
        if outcome is None:
            self._drain(run)
            outcome = run.outcome(*verdict)
            self.window.write(_farewell(run, outcome))
        if self._record(run, outcome):
            self._tell("recorded", outcome=outcome.to_json())
            procs.crashpoint("before unlock")
            run.close()
            self._wait_for_bye()
        else:
            run.close()
        self.left = True

    def _drain(self, run: Running) -> None:
        assert run.relay is not None
        run.relay.drain()
        while run.relay.unsaved:
            self._report_trouble(run.relay.trouble)
            time.sleep(RETRY)
            if self._told_to_leave():
                return
            if run.relay.save():
                run.relay.drain()

    def _told_to_leave(self) -> bool:
        return any(number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT) for number in self._seen)

    def _verdict(self, run: Running) -> tuple[str | None, str]:
        if self.told is not None:
            return self.told
        code, number = _ending(run.status)
        if code == 0:
            return None, ""
        if number == signal.SIGINT and self.interrupted_at >= run.began:
            return model.STOPPED, "Ctrl-C in its window"
        if number in (signal.SIGTERM, signal.SIGHUP) and self._being_ended():
            return model.STOPPED, f"ended by {signal.Signals(number).name} together with its supervisor"
        return None, ""

    def _being_ended(self) -> bool:
        """Whether this process is being ended just now as well (a shutdown sends TERM to all, in any order)."""
        poller = select.poll()
        poller.register(self._wake, _IN)
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            if any(number != signal.SIGCHLD and number != signal.SIGWINCH for number in self._seen):
                return True
            if poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
        return False

    def _record(self, run: Running, outcome: Outcome) -> bool:
        """Write the outcome, waiting for room on a full disk; False where it cannot be or we are told to leave."""
        while True:
            try:
                run.record(outcome)
            except FileNotFoundError:
                self._tell("unrecorded", why=f"its folder {run.run.path} is gone", outcome=outcome.to_json())
                return False
            except OSError as error:
                self._report_trouble(f"its outcome cannot be written: {error.strerror}; tried again every second")
                time.sleep(RETRY)
                if self._told_to_leave():
                    return False
            else:
                return True

    def _report_trouble(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self._tell("trouble", text=text)
            if text:
                self.window.write(f"\r\n[sweep: {text}]\r\n".encode())

    def _wait_for_bye(self) -> None:
        deadline = time.monotonic() + FAREWELL
        while self.channel is not None and not self.chain and time.monotonic() < deadline:
            try:
                message = self.channel.wait(max(0.01, deadline - time.monotonic()))
            except (EOFError, OSError):
                return
            if message is None or message["kind"] == "bye":
                return

    def _release(self) -> None:
        """Give the GPUs back, unless the chain holds them."""
        if self.lease is not None and self.lease is not self.held:
            self.lease.close()
            self.lease = None

    def _leave(self) -> None:
        """Leave without having begun anything (or with nothing left to do)."""
        if self.waiter is not None:
            self.waiter.close()
            self.waiter = None
        self._let_go()
        self.left = True

    def _let_go(self) -> None:
        """Give back a run that has not begun."""
        if self.running is not None and self.running.attempt is None:
            self.running.close()
            self.running = None


def _is_full(error: BaseException) -> bool:
    """Whether this will pass: a full disk or a full quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _cause(error: OSError) -> str:
    return "full" if _is_full(error) else "error"


def _ending(status: int | None) -> tuple[int | None, int | None]:
    """(exit status, signal) of the command, where bash's 128 + n counts as signal n."""
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return code, code - 128 if 128 < code < 160 else None


def _roomier(request: GpuRequest, environment: Mapping[str, str]) -> GpuRequest:
    """The request of a run that ran out of memory: somewhat more free than it had, but no more than can ever be free
    on a GPU that it may use (a driver always takes a little of it)."""
    if not request.more_than:
        return request
    from sweeper import gpus

    totals = [gpu.memory_total for gpu in gpus.resolve(request, gpus.visible(environment)).allowed]
    wanted = min(request.more_than * 105 // 100, max(totals) * 95 // 100)
    return replace(request, memory=max(request.memory, wanted))


def _header(run: Running) -> str:
    words = " ".join(f"{name}={run.job.texts.get(name, value)}" for name, value in run.job.params.items())
    plain = "".join(char if char.isprintable() else "?" for char in words)
    return f"\x1b[2m[sweep: run {run.job.number}: {plain[:150]}]\x1b[0m\r\n"


def _farewell(run: Running, outcome: Outcome) -> bytes:
    if outcome.outcome == model.DONE:
        return b""
    seconds = outcome.ended - outcome.started
    text = f"run {run.job.number} {outcome.outcome.replace('_', ' ')}: {outcome.reason} (after {seconds:.1f} s)"
    return f"\r\n[sweep: {text}]\r\n[sweep: its log is {run.run.log}]\r\n".encode("utf-8", "replace")
