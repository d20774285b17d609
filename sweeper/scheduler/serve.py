"""A scheduler from its lock to its last line: in the first window of a tmux session, or here in this terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import termios

from sweeper import channel, errors, folders, model, paths, procs
from sweeper.scheduler import boot, witness
from sweeper.scheduler.core import Scheduler
from sweeper.scheduler.engines import Chain, Engine, Windows
from sweeper.scheduler.word import Word
from sweeper.store import open_store
from sweeper.store.db import RUN, STOP
from sweeper.supervisor.relay import Window
from sweeper.supervisor.standby import Supervisor

TAKING = 2.0  # seconds within which a scheduler that was just told to end is gone
TABLE = 1.0  # seconds until the live table: what is over by then needs none, and the first runs begin undisturbed


def take(sweep: paths.SweepDir) -> int | None:
    """The descriptor of the sweep's lock, or None where another scheduler has it. Raises OSError."""
    lock = folders.open_lock(sweep.lock)
    os.set_inheritable(lock, False)
    procs.crashpoint("before scheduler lock")
    if folders.take_lock(lock, TAKING):
        procs.crashpoint("scheduler locked")
        return lock
    os.close(lock)
    return None


def serve(sweep: paths.SweepDir, *, table: bool) -> dict[str, int]:
    """Run the sweep until nothing is left to do, and give the counts of its runs by state.

    ``table`` says that this window also shows the live table. Raises SweepError, OSError.
    """
    lock = take(sweep)
    if lock is None:
        raise errors.SweepError(f"{sweep.name} has a scheduler already")
    server = channel.listen(channel.address(sweep.path))
    store = open_store(sweep)
    word = Word(sweep, store)
    wish = store.wish()
    if wish is None:
        raise errors.SweepError(f"{sweep.path} was never launched")
    word.log(f"scheduler {os.getpid()} begins")
    window = None
    engine: Engine
    if wish.parallel is None:
        window = Window()
        engine = Chain(lambda ours, held: Supervisor(ours, Window(), chain=True, held=held).run())
        window.raw()
    else:
        engine = Windows(wish.session, channel.address(sweep.path))
        if table:
            _never_freeze()
            for number in (signal.SIGINT, signal.SIGQUIT):  # a key pressed at the table ends no night
                signal.signal(number, signal.SIG_IGN)
    scheduler = Scheduler(sweep, store, engine, server, word, lock)
    shown = _Table(sweep, word)
    if table and window is None:
        scheduler.loop.at(TABLE, shown.show)
    try:
        scheduler.run()
    finally:
        if window is not None:
            window.restore()
        shown.close()
    store = scheduler.store  # it may have been opened anew
    counts = store.counts()
    word.log("scheduler ends: " + (summary(counts) or "no runs"))
    wish = store.wish() or wish
    if not scheduler.leaving:
        word.finished(scheduler.line.spec, wish.why if wish.want != RUN else "")
    channel.address(sweep.path).unlink(missing_ok=True)
    if wish.want == STOP and wish.why in witness.HUNG_UP and not scheduler.leaving:
        store.close()
        scheduler.let_go()
        if said := witness.watch(sweep, scheduler.loop):
            word.log(said)
    return counts


def summary(counts: dict[str, int]) -> str:
    """``7 done, 1 failed, 4 queued``."""
    return ", ".join(f"{counts[state]} {state.replace('_', ' ')}" for state in model.STATES if counts.get(state))


def _never_freeze() -> None:
    """Ctrl-S in this window must not hold up the scheduler's last words, and with them its locks."""
    with contextlib.suppress(termios.error, OSError):
        attributes = termios.tcgetattr(0)
        attributes[0] &= ~(termios.IXON | termios.IXOFF)
        termios.tcsetattr(0, termios.TCSANOW, attributes)


class _Table:
    """The live table in this window, by a process of its own: what it costs delays no run."""

    def __init__(self, sweep: paths.SweepDir, word: Word) -> None:
        self._sweep, self._word = sweep, word
        self._process: subprocess.Popen[bytes] | None = None

    def show(self) -> None:
        ours = [boot.__file__, paths.import_path(), "watch", str(self._sweep.path)]
        try:
            self._process = subprocess.Popen([sys.executable, "-I", "-S", "-X", "utf8", *ours])
        except OSError as error:  # the runs matter, not the picture
            self._word.log(f"the live table cannot be shown: {error}")

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
