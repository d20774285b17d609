"""One picture of a sweep: bar, counts, time left, what each run is doing; drawn from the queue and the logs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import control, model, moments, paths
from sweeper.model import RunRecord
from sweeper.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = 30  # runs shown in the table
Cells = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Frame:
    """All that one picture shows; ``left`` is the estimate of what is left, in seconds."""

    status: control.Status
    left: float | None


def look(sweep: paths.SweepDir, store: Store) -> Frame:
    status = control.status(sweep, store)
    return Frame(status, time_left(status, store.times()))


def time_left(status: control.Status, times: list[float]) -> float | None:
    """Seconds until the last run ends, if each takes as long as those that ended well so far; None while none has."""
    if not times or not status.left:
        return None
    now = time.time()
    flying = [record for record in status.flight if record.state == model.RUNNING and record.started]
    # One that began after now did so before the clock was set back.
    slots = sorted(_rest(max(0.0, now - (record.started or now)), times) for record in flying)
    slots = [0.0] * ((status.parallel or 1) - len(slots)) + slots
    rounds, odd = divmod(max(0, status.left - len(flying)), len(slots))
    mean = sum(times) / len(times)
    # Each slot takes its share, and those that are free first one more.
    return rounds * mean + max(slots[-1], slots[odd - 1] + mean if odd else 0.0)


def _rest(took: float, times: list[float]) -> float:
    """What is left of a run that has taken so long: as of those that took longer."""
    longer = [one - took for one in times if one > took]
    return sum(longer) / len(longer) if longer else took / 10


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
    order = (model.RUNNING, model.WAITING, model.QUEUED, *model.STATES)
    others = [state for state in dict.fromkeys(order) if state != model.DONE and status.counts.get(state)]
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


def cells(record: RunRecord) -> Cells:
    """The row of a run in flight. It is read from its log."""
    runs = record.state == model.RUNNING
    return (
        str(record.number),
        printable(record.label),
        "GPU " + ",".join(record.gpus) if record.gpus and runs else "",
        clock(time.time() - record.started) if record.started and runs else "",
        ("waiting for " if record.state == model.WAITING else "") + doing(record),
    )


def printable(text: str) -> str:
    """``text`` without anything that a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def picture(frame: Frame, rows: Sequence[Cells]) -> RenderableType:
    """The live table as rich draws it, with these of the runs in flight, from the first on. Each is a line; but whom a
    run waits for is told in full."""
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
    for (number, label, gpus, took, what), record in zip(rows, status.flight, strict=False):
        waits = record.state == model.WAITING
        table.add_row(
            Text(f"  {number}", style="bold"),
            Text(label, overflow="ellipsis", no_wrap=True),
            Text(gpus, no_wrap=True),
            Text(took, style="cyan", no_wrap=True),
            Text(what, style="dim", overflow="fold" if waits else "ellipsis", no_wrap=not waits),
        )
    parts: list[RenderableType] = [top, table]
    if status.waits:
        parts.append(Text(f"  waiting for {printable(moments.ago(status.waits))}", style="dim"))
    if len(status.flight) > len(rows):
        parts.append(Text(f"  and {len(status.flight) - len(rows)} more", style="dim"))
    for record in status.unwell[-3:]:
        style = "yellow" if record.state == model.STOPPED else "red"
        parts.append(
            Text(f"  run {record.number} {record.state.replace('_', ' ')}: {printable(record.note)}", style=style)
        )
    return Group(*parts)
