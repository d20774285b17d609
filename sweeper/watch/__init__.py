"""The live table, or plain lines where there is no terminal, until the sweep's end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sqlite3
import sys
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweeper import control, launch, model, moments, paths
from sweeper.errors import SweepError
from sweeper.model import RunRecord
from sweeper.store import Store, open_store, why_not
from sweeper.watch import cursor
from sweeper.watch.patience import Patience
from sweeper.watch.picture import ROWS, Frame, cells, clock, doing, headline, look, picture, printable, time_left

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = [
    "Frame",
    "cells",
    "clock",
    "doing",
    "fitting",
    "headline",
    "in_window",
    "printable",
    "time_left",
    "until_end",
]

TICK = 0.5  # seconds between two looks from a terminal that waits
WINDOW_TICK = 2.0  # seconds between two looks in the scheduler's own window
TOLD = 5000  # runs of a sweep of which plain lines tell each one's beginning and end


def until_end(sweep: paths.SweepDir, *, hint: str) -> Frame:
    """Show the sweep until its scheduler is gone, and give the last look. Raises KeyboardInterrupt, and SweepError
    where the sweep can no longer be read.

    In a terminal the live table; plain lines in a pipe, or where the terminal can do no more. ``hint`` stands below.
    """
    last = None
    try:
        for frame in _plain(sweep) if _is_plain() else _live(sweep, hint):
            last = frame
            if _no_reader():
                break
    except (SweepError, sqlite3.Error) as error:
        if sweep.path.is_dir():
            raise SweepError(why_not(sweep.db, error) if isinstance(error, sqlite3.Error) else str(error)) from error
        raise SweepError(
            f"{sweep.path} was deleted or moved while the sweep ran: sweep FILE launches it again"
        ) from error
    assert last is not None
    return last


def _is_plain() -> bool:
    return not sys.stdout.isatty() or os.environ.get("TERM", "") in ("", "dumb", "unknown")


def _frames(sweep: paths.SweepDir, tick: float, *, news: bool = False) -> Iterator[tuple[Frame, list[RunRecord]]]:
    """A look every ``tick`` seconds until the scheduler is gone, which is noticed at once; also over a queue that is
    replaced or out of order for a while; with ``news`` also all runs that began.

    Raises SweepError, sqlite3.Error where it cannot be read and nobody is there to mend it.
    """
    store: Store | None = None
    patience = Patience(sweep)
    try:
        while True:
            frame, records = None, []
            try:
                if store is not None and store.stale:
                    store.close()
                    store = None
                # A queue that is gone is the scheduler's to make anew, or the whole folder is just being deleted.
                if store is None and (sweep.db.exists() or not launch.alive(sweep)):
                    store = open_store(sweep, readonly=True)
                frame = look(sweep, store) if store is not None else None
                if frame is not None and store is not None and news and frame.status.total <= TOLD:
                    records = store.records([*control.FLIGHT, *model.OUTCOMES], gone=False)
            except (SweepError, sqlite3.Error):
                if not launch.alive(sweep):
                    raise
            if frame is not None:
                yield frame, records
                paused = frame.status.state == "paused" and launch.alive(sweep)
                if not paused and frame.status.state not in ("running", "stopping"):
                    return
            patience.wait(tick)
    finally:
        patience.close()
        if store is not None:
            store.close()


def fitting(frame: Frame, hint: str, console: Console) -> RenderableType:
    """The picture and the hint below, with as many runs as the screen has room for: one that waits may take several
    lines."""
    from rich.console import Group
    from rich.text import Text

    rows = [cells(record) for record in frame.status.flight[: max(0, min(ROWS, console.height - 7))]]

    def drawn(many: int) -> RenderableType:
        return Group(picture(frame, rows[:many]), Text(hint, style="dim"))

    def is_too_long(many: int) -> bool:
        return len(console.render_lines(drawn(many))) >= console.height

    if not is_too_long(len(rows)):
        return drawn(len(rows))
    return drawn(max(0, bisect_left(range(len(rows)), True, key=is_too_long) - 1))


def _live(sweep: paths.SweepDir, hint: str, tick: float = TICK) -> Iterator[Frame]:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    shown: RenderableType = ""
    with cursor.given_back() as back, Live(console=console, auto_refresh=False, transient=True) as live:
        for frame, _ in _frames(sweep, tick):
            if back.was_away:  # below what the shell has said meanwhile, not over it
                console.file.write("\n" * len(console.render_lines(shown)))
                back.was_away = False
            shown = fitting(frame, hint, console)
            live.update(shown, refresh=True)
            yield frame


def _plain(sweep: paths.SweepDir) -> Iterator[Frame]:
    """A line whenever a run begins or ends; of large sweeps only how many."""
    seen: dict[int, tuple[str, int]] | None = None
    said = waits = ""
    for frame, records in _frames(sweep, TICK, news=True):
        for record in records:
            if seen is not None and seen.get(record.number) != (record.state, record.attempts):
                print(_news(record), flush=True)
        seen = {record.number: (record.state, record.attempts) for record in records}
        words = headline(frame)
        if words.partition(" · about")[0] != said.partition(" · about")[0]:
            print(words, flush=True)
            said = words
        if frame.status.waits not in ("", waits):
            print(f"waiting for {printable(moments.at(frame.status.waits))}", flush=True)
        waits = frame.status.waits
        yield frame


def _news(record: RunRecord) -> str:
    took = f" after {clock(record.ended - record.started)}" if record.ended and record.started else ""
    note = f": {printable(moments.at(record.note))}" if record.note and record.state != model.DONE else ""
    if record.state in control.FLIGHT:
        waits = "waiting for" if record.state == model.WAITING else "running"
        return (
            f"run {record.number} {waits}{note[1:] if record.state == model.WAITING else ''}  {printable(record.label)}"
        )
    return f"run {record.number} {record.state.replace('_', ' ')}{took}{note}"


def _no_reader() -> bool:
    """Whether nobody reads our output any more: then there is no one to watch for."""
    if sys.stdout.isatty():
        return False
    poller = select.poll()
    with contextlib.suppress(ValueError, OSError):
        poller.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poller.poll(0))
    return False


def in_window(sweep: paths.SweepDir) -> None:
    """The live table in the scheduler's window, until the scheduler ends this process. Raises SweepError."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    hint = f"This window holds the scheduler. Ctrl-b d detaches; sweep stop {sweep.name} stops the sweep."
    for _ in _live(sweep, hint, WINDOW_TICK):
        if os.getppid() != parent:
            return
