"""The scheduler from outside: whether there is one, woken, or started in the first window of the sweep's session."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import channel, folders, obstacle, paths, procs
from sweeper.channel import Channel
from sweeper.errors import SweepError
from sweeper.scheduler import boot
from sweeper.store import Store, Wish
from sweeper.store.db import STOP

if TYPE_CHECKING:
    from sweeper.tmux import Pane

UNSTARTED = "its scheduler did not start"
PATIENCE = 20.0  # seconds within which a scheduler must answer
LOOK = 1.0  # seconds without an answer until it is looked whether it can answer at all
OK, GONE, SILENT = "ok", "gone", "silent"


class SilentError(SweepError):
    """There is a scheduler, and it does not answer."""


def alive(sweep: paths.SweepDir) -> bool:
    """Whether the sweep has a scheduler."""
    return folders.is_held(sweep.lock)


def wake(sweep: paths.SweepDir) -> bool:
    """Have the scheduler read what is wanted; True once it has, False where there is none. Raises SilentError."""
    return _ask(sweep, "wake")


def reach(sweep: paths.SweepDir) -> bool:
    """Whether the sweep has a scheduler, which answers; False where it has none. Raises SilentError."""
    return _ask(sweep, "ping")


def reached(sweep: paths.SweepDir) -> bool:
    """``reach``, before anything is changed. Raises SweepError that says so, also where none could be started."""
    try:
        there = reach(sweep)
        os.close(folders.open_lock(sweep.lock))
        return there
    except SilentError as error:
        raise SweepError(f"{error}\n    nothing was changed") from error
    except OSError as error:
        raise SweepError(f"{sweep.name} cannot be changed: {obstacle.explain(error, sweep.lock)}") from error


def woken(sweep: paths.SweepDir) -> bool:
    """``wake``, after something was written. Raises SweepError that says so."""
    try:
        return wake(sweep)
    except SilentError as error:
        raise SweepError(f"{error}\n    what is wanted is written down, and is done then") from error


def set_going(sweep: paths.SweepDir, store: Store, wish: Wish) -> Wish:
    """Have what was written carried out: by the scheduler there is, else by a new one. Gives the wish as it is then.

    Raises SweepError.
    """
    return wish if woken(sweep) else start(sweep, store, wish)


def _ask(sweep: paths.SweepDir, kind: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while alive(sweep):
        answer = _call(sweep, kind, deadline - time.monotonic())
        if answer == OK:
            return True
        if answer == SILENT or time.monotonic() > deadline:
            raise SilentError(_silence(sweep))
        time.sleep(0.02)  # it is about to listen, or to leave
    return False


def _call(sweep: paths.SweepDir, kind: str, patience: float) -> str:
    """OK: it has answered. GONE: nobody listens, or it left meanwhile. SILENT: it says nothing for so many seconds, or
    cannot, being stopped."""
    try:
        line = Channel.connect(channel.address(sweep.path))
    except OSError:
        return GONE
    deadline = time.monotonic() + patience
    try:
        line.send(kind)
        while (left := deadline - time.monotonic()) > 0:
            if line.wait(min(left, LOOK)) is not None:
                return OK
            if procs.state(_pid(sweep)) == procs.STOPPED:
                break
    except EOFError:
        return GONE
    finally:
        line.close()
    return SILENT


def _pid(sweep: paths.SweepDir) -> int:
    """The scheduler's process; 0 where it is not to be seen."""
    found = {pid: procs.start_ticks(pid) or 0 for pid in procs.openers(os.fspath(sweep.lock))}
    return min(found, key=lambda pid: found[pid], default=0)


def pidfd(sweep: paths.SweepDir) -> int | None:
    """A pidfd of the scheduler's process, or None where it is not to be seen. The caller closes it."""
    pid = _pid(sweep)
    try:
        return procs.pidfd(pid, procs.start_ticks(pid) or 0) if pid else None
    except OSError:
        return None


def _silence(sweep: paths.SweepDir) -> str:
    pid = _pid(sweep)
    state = procs.state(pid)
    who = ", ".join(filter(None, (f"process {pid} on {socket.gethostname()}" if pid else "", state)))
    if state == procs.STOPPED:
        way = f"kill -CONT {pid} lets it go on"
    elif state:
        way = "it goes on when it can; its runs do not need it"
    else:
        way = f"try again, or end it with kill {pid or 'PID'}: its runs go on, and the next launch takes them over"
    return f"the scheduler of {sweep.name} does not answer" + (f" ({who})" if who else "") + f"\n    {way}"


def start(sweep: paths.SweepDir, store: Store, wish: Wish) -> Wish:
    """Start the scheduler in the first window of the sweep's session, and wait until it answers. Raises SweepError."""
    from sweeper import tmux

    seen = sweep.log.stat().st_size if sweep.log.exists() else 0
    try:
        try:
            wish, window = _open_window(sweep, store, wish)
        except SweepError:  # its session may have closed, or another's have taken the name, since it was looked at
            wish, window = _open_window(sweep, store, wish)
    except SweepError:
        store.set_wish(replace(wish, want=STOP, why=UNSTARTED))
        raise
    procs.crashpoint("session opened")
    if not _comes_up(sweep, seen, lambda: tmux.window_of(window.pane) is not None):
        store.set_wish(replace(wish, want=STOP, why=UNSTARTED))
        said = _tail(sweep.log, seen).strip() or "nothing"
        raise SweepError(f"the scheduler of {sweep.name} did not start{tmux.obstacles()}\n    {sweep.log} says: {said}")
    return wish


def _open_window(sweep: paths.SweepDir, store: Store, wish: Wish) -> tuple[Wish, Pane]:
    """The scheduler's window, in the session that stands or a new one; and the wish that names it.

    Raises SweepError.
    """
    from sweeper import tmux

    name, standing = tmux.free_name(f"sweep-{sweep.name}", str(sweep.path))
    if standing:
        for pane, dead in tmux.panes(name).items():
            if dead and (old := tmux.window_of(pane)) is not None:
                tmux.close(old)
        standing = bool(tmux.panes(name))
    wish = replace(wish, session=name, here=False)
    store.set_wish(wish)
    argv = [sys.executable, "-I", "-S", "-X", "utf8", boot.__file__, paths.import_path(), "window", str(sweep.path)]
    procs.crashpoint("before session")
    if standing:
        return wish, tmux.new_window(name, "sweep", argv, front=True)
    return wish, tmux.new_session(name, str(sweep.path), argv)


def _comes_up(sweep: paths.SweepDir, seen: int, possible: Callable[[], bool]) -> bool:
    """Whether a new scheduler has taken up its work within PATIENCE; one that has come and gone with nothing to do has,
    as its log says after ``seen`` bytes. ``possible`` says whether its window is there."""
    deadline = time.monotonic() + PATIENCE
    look = time.monotonic() + 0.5
    last = False
    while not last:
        now = time.monotonic()
        if now > look:
            look = now + 0.5
            last = now > deadline or not possible()
        # One whose folder was deleted and made anew may listen there still, and a silent one reads a long queue.
        if _call(sweep, "ping", max(LOOK, deadline - now)) != GONE:
            if alive(sweep):
                return True
        elif "scheduler ends:" in _tail(sweep.log, seen) and not alive(sweep):
            return True
        time.sleep(0.005)
    return False


def _tail(log: Path, seen: int = 0) -> str:
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(seen if seen <= size else 0, size - 2000))
            return "".join(c for c in file.read().decode("utf-8", "replace") if c.isprintable() or c == "\n")
    except OSError as error:
        return f"(unreadable: {error.strerror})"
