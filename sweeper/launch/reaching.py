"""The scheduler from outside: whether there is one, woken, or started in the first window of the sweep's session."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeper import channel, folders, paths
from sweeper.channel import Channel
from sweeper.errors import SweepError
from sweeper.scheduler import boot
from sweeper.store import Store, Wish
from sweeper.store.db import STOP

PATIENCE = 20.0  # seconds within which a new scheduler must answer


def alive(sweep: paths.SweepDir) -> bool:
    """Whether the sweep has a scheduler."""
    return folders.is_held(sweep.lock)


def wake(sweep: paths.SweepDir) -> bool:
    """Have the scheduler read what is wanted; True once it has."""
    try:
        line = Channel.connect(channel.address(sweep.path))
    except OSError:
        return False
    try:
        line.send("wake")
        answer = line.wait(PATIENCE)
    except EOFError:
        return False
    finally:
        line.close()
    return answer is not None and answer["kind"] == "ok"


def start(sweep: paths.SweepDir, store: Store, wish: Wish) -> Wish:
    """Start the scheduler in the first window of the sweep's session, and wait until it answers. Raises SweepError."""
    from sweeper import tmux

    name, standing = tmux.free_name(f"sweep-{sweep.name}", str(sweep.path))
    if standing:
        for pane, dead in tmux.panes(name).items():
            if dead and (old := tmux.window_of(pane)) is not None:
                tmux.close(old)
        standing = bool(tmux.panes(name))
    wish = replace(wish, session=name)
    store.set_wish(wish)
    seen = sweep.log.stat().st_size if sweep.log.exists() else 0
    argv = [sys.executable, "-I", "-S", "-X", "utf8", boot.__file__, paths.import_path(), "window", str(sweep.path)]
    if standing:
        window = tmux.new_window(name, "sweep", argv, front=True)
    else:
        window = tmux.new_session(name, str(sweep.path), argv, {})
    _wait_until(lambda: _answers(sweep, seen), lambda: window.pane in tmux.panes(name))
    if not _answers(sweep, seen):
        store.set_wish(replace(wish, want=STOP, why="its scheduler did not start"))
        raise SweepError(f"the scheduler of {sweep.name} did not start; the end of {sweep.log}:\n{_tail(sweep.log)}")
    return wish


def _answers(sweep: paths.SweepDir, seen: int) -> bool:
    """Whether a scheduler listens, or has come and gone, as its log says after ``seen`` bytes."""
    try:
        line = Channel.connect(channel.address(sweep.path))
    except OSError:
        return "scheduler ends:" in _tail(sweep.log, seen) and not alive(sweep)
    line.close()
    return alive(sweep)  # one whose folder was deleted and made anew may listen there still


def _wait_until(condition: Callable[[], bool], possible: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    look = time.monotonic() + 0.5
    while time.monotonic() < deadline and not condition():
        time.sleep(0.005)
        if time.monotonic() > look:
            look += 0.5
            if not possible() and not condition():
                return


def _tail(log: Path, seen: int = 0) -> str:
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(seen if seen <= size else 0, size - 2000))
            return "".join(c for c in file.read().decode("utf-8", "replace") if c.isprintable() or c == "\n")
    except OSError as error:
        return f"(unreadable: {error.strerror})"
