"""How a run ends: TERM and KILL for what lives, the verdict, the last bytes, the outcome on disk, the locks let go."""

from __future__ import annotations

import os
import signal
import time

from sweeper import model, procs
from sweeper.model import Outcome
from sweeper.supervisor.attempt import Running
from sweeper.supervisor.leasing import Leasing
from sweeper.supervisor.signals import Signals
from sweeper.supervisor.voice import Voice

RETRY = 1.0  # seconds between two tries to write what a full disk refused
CLOSED = "its window was closed"
TWICE = 1.5  # seconds within which a second Ctrl-C in a chain means the whole chain
TOGETHER = 0.3  # seconds within which a shutdown that ended the command reaches its supervisor too


class Ending:
    """``told`` are the outcome and the reason of whoever ended the run, None if it ends alone; ``kill_at`` is when what
    still lives is killed. ``chain`` says that the window belongs to other runs too."""

    def __init__(self, voice: Voice, signals: Signals, leasing: Leasing, *, chain: bool) -> None:
        self.voice = voice
        self.signals = signals
        self.leasing = leasing
        self.chain = chain
        self.told: tuple[str, str] | None = None
        self.kill_at: float | None = None
        self.interrupted_at = 0.0
        self.late: float | None = None  # seconds from the command's end until somebody ended this process, too

    def stop(self, run: Running, outcome: str, why: str) -> None:
        """End a run that has begun: TERM to all of it, KILL after the grace."""
        if self.told is not None:
            return
        if not run.main_ended:
            self.told = (outcome, why)
        self.terminate(run)

    def ended_too(self, run: Running) -> None:
        """This process is being ended by a signal, perhaps while only stragglers of the run are left, or before it has
        heard of the command's end."""
        if self.late is None:
            self.late = 0.0 if run.main_ended_at is None else time.monotonic() - run.main_ended_at

    def terminate(self, run: Running) -> None:
        """TERM to all that lives of the run, once."""
        if self.kill_at is not None:
            return
        self.kill_at = time.monotonic() + run.job.grace
        below = procs.descendants(os.getpid())
        procs.signal_all(below, signal.SIGTERM)
        procs.signal_all(below, signal.SIGCONT)

    def kill(self, now: float) -> bool:
        """KILL what lives once its grace is over, again and again; True where that was done."""
        if self.kill_at is None or now < self.kill_at:
            return False
        procs.kill_descendants(os.getpid())
        self.kill_at = now + 0.05
        return True

    def interrupt(self) -> None:
        """Ctrl-C reached the run by its terminal; a second one soon after means the whole chain."""
        if self.chain:
            # The second one may reach the next run's supervisor: the scheduler counts.
            self.voice.tell("interrupt", at=time.monotonic())
            if time.monotonic() - self.interrupted_at > TWICE:
                self.voice.window.write(b"\r\n[sweep: Ctrl-C went to this run; once more now stops the sweep]\r\n")
        self.interrupted_at = time.monotonic()

    # -- nothing of it lives any more --------------------------------------------------------------------------

    def finish(self, run: Running) -> None:
        """The slot, then the GPUs are free; then the outcome; then the lock."""
        verdict = self._verdict(run)
        outcome = None
        if self.chain and (verdict[0] is not None or run.status != 0):
            # The chain's next run prints into the same window: say what became of this one first.
            outcome = self._last_words(run, verdict)
        procs.crashpoint("before ended")
        self.voice.tell("ended", number=run.job.number, closed=verdict == (model.STOPPED, CLOSED))
        self.leasing.give_back()
        if outcome is None:
            outcome = self._last_words(run, verdict)
        if self._record(run, outcome):
            procs.crashpoint("before unlock")
            run.close()  # first: whoever hears that it is recorded may begin it again
            self.voice.tell("recorded", outcome=outcome.to_json())
            if not self.chain:
                self.voice.wait_for_bye()
        else:
            run.close()

    def _last_words(self, run: Running, verdict: tuple[str | None, str]) -> Outcome:
        self._drain(run)
        outcome = run.outcome(*verdict)
        self.voice.farewell(run, outcome)
        return outcome

    def _drain(self, run: Running) -> None:
        assert run.relay is not None
        run.relay.drain()
        while run.relay.unsaved:
            self.voice.report(run.relay.trouble)
            time.sleep(RETRY)
            if self.signals.told_to_leave():
                return
            if run.relay.save():
                run.relay.drain()

    def _verdict(self, run: Running) -> tuple[str | None, str]:
        if self.told is not None:
            return self.told
        code, number = _ending(run.status)
        if code == 0:
            return None, ""
        if number == signal.SIGINT and self.interrupted_at >= run.began:
            return model.STOPPED, "Ctrl-C in its window"
        # A shutdown reaches everybody, in any order. What it ended is no failure; what failed long before it is one.
        if number in (signal.SIGTERM, signal.SIGHUP):
            if self.late is not None or self.signals.being_ended(TOGETHER):
                return model.STOPPED, f"ended by {signal.Signals(number).name} together with its supervisor"
        elif (self.late is not None and self.late < TOGETHER) or self.signals.told_to_leave():
            return model.STOPPED, "ended together with its supervisor"
        return None, ""

    def _record(self, run: Running, outcome: Outcome) -> bool:
        """Write the outcome, waiting for room on a full disk; False where it cannot be or we are told to leave."""
        while True:
            try:
                run.record(outcome)
            except FileNotFoundError:
                self.voice.tell("unrecorded", why=f"its folder {run.run.path} is gone", outcome=outcome.to_json())
                return False
            except OSError as error:
                self.voice.report(f"its outcome cannot be written: {error.strerror}; tried again every second")
                time.sleep(RETRY)
                if self.signals.told_to_leave():
                    return False
            else:
                return True


def _ending(status: int | None) -> tuple[int | None, int | None]:
    """(exit status, signal) of the command, where bash's 128 + n counts as signal n."""
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return code, code - 128 if 128 < code < 160 else None
