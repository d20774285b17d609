"""The live table: bar, counts, time left, what each run is doing; drawn from the queue and the logs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import control, launch, model, moments, paths
from sweeper.errors import SweepError
from sweeper.model import RunRecord
from sweeper.store import Store, open_store, why_not

if TYPE_CHECKING:
    from rich.console import RenderableType

TICK = 0.5  # seconds between two looks from a terminal that waits
WINDOW_TICK = 2.0  # seconds between two looks in the scheduler's own window
ROWS = 30  # runs shown in the table
TOLD = 5000  # runs of a sweep of which plain lines tell each one's beginning and end


@dataclass(frozen=True, slots=True)
class Frame:
    """All that one picture shows; ``left`` is the estimate of what is left, in seconds."""

    status: control.Status
    left: float | None


def look(sweep: paths.SweepDir, store: Store) -> Frame:
    status = control.status(sweep, store)
    return Frame(status, time_left(status, store.times()))


def time_left(status: control.Status, times: list[float]) -> float | None:
    """From the runs that ended well so far: their mean time, over as many as run at once."""
    if not times or not status.left:
        return None
    mean = sum(times) / len(times)
    now = time.time()
    flying = [record for record in status.flight if record.state == model.RUNNING and record.started]
    # One that began after now did so before the clock was set back.
    begun = sum(max(0.0, mean - max(0.0, now - (record.started or now))) for record in flying)
    queued = status.left - len(flying)
    return (begun + mean * queued) / max(1, status.parallel or 1)


def clock(seconds: float) -> str:
    """``0:41``, ``2:13:05``, ``3 d 4:00:00``."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours or days else f"{minutes}:{rest:02d}"
    return f"{days} d {text}" if days else text


def headline(frame: Frame) -> str:
    """``7 of 12 done · 2 running · 3 queued · about 0:41 left``."""
    status = frame.status
    parts = [f"{status.counts.get(model.DONE, 0)} of {status.total} done"]
    others = [state for state in model.STATES if state != model.DONE and status.counts.get(state)]
    parts += [f"{status.counts[state]} {state.replace('_', ' ')}" for state in others]
    if status.state not in ("running", "finished"):
        parts.append(status.state + (f" ({status.why})" if status.why else ""))
    if frame.left is not None and status.state == "running":
        parts.append(f"about {clock(frame.left)} left")
    return " · ".join(parts)


def doing(record: RunRecord) -> str:
    """What a run in flight is doing: what it waits for, or its last metrics."""
    if record.note:
        return printable(moments.ago(record.note))
    if record.folder is None or record.state != model.RUNNING:
        return ""
    from sweeper import metrics

    try:
        seen = metrics.tail(paths.RunDir(Path(record.folder)).log)
    except OSError:
        return ""  # deleted meanwhile
    words = []
    if seen.epoch is not None:
        words.append(f"epoch {seen.epoch:g}" + (f"/{seen.epochs_total:g}" if seen.epochs_total else ""))
    words += [f"{name} {series.last:.4g}" for name, series in list(seen.series.items())[:4] if series.last is not None]
    return "  ".join(words)


def printable(text: str) -> str:
    """``text`` without anything that a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def picture(frame: Frame, rows: int = ROWS) -> RenderableType:
    """The live table as rich draws it, with at most so many runs."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    status = frame.status
    ended = status.total - status.left
    bar = ProgressBar(total=max(1, status.total), completed=ended, width=34)
    top = Table.grid(padding=(0, 2))
    top.add_row(bar, Text(headline(frame)))
    table = Table.grid(padding=(0, 2))
    for record in status.flight[:rows]:
        began = record.started if record.state == model.RUNNING else None
        table.add_row(
            Text(f"  {record.number}", style="bold"),
            Text(printable(record.label)),
            Text("GPU " + ",".join(record.gpus) if record.gpus and record.state == model.RUNNING else ""),
            Text(clock(time.time() - began) if began else "", style="cyan"),
            Text(("waiting for " if record.state == model.WAITING else "") + doing(record), style="dim"),
        )
    parts: list[RenderableType] = [top, table]
    if status.waits:
        parts.append(Text(f"  waiting for {printable(moments.ago(status.waits))}", style="dim"))
    if len(status.flight) > rows:
        parts.append(Text(f"  and {len(status.flight) - rows} more", style="dim"))
    for record in status.unwell[-3:]:
        style = "yellow" if record.state == model.STOPPED else "red"
        parts.append(
            Text(f"  run {record.number} {record.state.replace('_', ' ')}: {printable(record.note)}", style=style)
        )
    return Group(*parts)


# -- watching --------------------------------------------------------------------------------------------------------


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
    """A look every ``tick`` seconds until the scheduler is gone, also over a queue that is replaced or out of order for
    a while; with ``news`` also all runs that began.

    Raises SweepError, sqlite3.Error where it cannot be read and nobody is there to mend it.
    """
    store: Store | None = None
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
                if frame.status.state not in ("running", "paused", "stopping"):
                    return
            time.sleep(tick)
    finally:
        if store is not None:
            store.close()


def _live(sweep: paths.SweepDir, hint: str, tick: float = TICK) -> Iterator[Frame]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for frame, _ in _frames(sweep, tick):
            table = picture(frame, max(3, min(ROWS, console.height - 7)))
            live.update(Group(table, Text(hint, style="dim")), refresh=True)
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
