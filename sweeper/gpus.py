"""List the GPUs, and who holds what: the table of `sweep gpus`."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import SweepError
from sweeper.lease import claims, devices, evidence, guard, words
from sweeper.lease import folder as places
from sweeper.lease.asking import Asked, resolve, visible
from sweeper.lease.claims import Claim
from sweeper.lease.devices import Gpu, GpuProcess, all_gpus

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Asked", "Gpu", "GpuProcess", "all_gpus", "gpus_json", "gpus_table", "resolve", "snapshot", "visible"]

_SHOWN = 5  # of those that wait for one GPU, in the table


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a GPU, or waits for one. ``since`` is unix time; ``count`` is how many GPUs it has or needs."""

    user: str
    pid: int
    sweep: str
    run: int
    command: str
    since: float
    count: int
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a GPU that no lease accounts for; ``left`` says that it is left of a run that is over."""

    user: str
    pid: int
    command: str
    memory: int | None
    since: float | None
    left: bool


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU: who holds it, who else is on it, who waits for it in which order. Memory is in bytes.

    ``state`` is ``free``, ``held``, ``shared`` or ``busy`` (with processes outside our locks, by the default measure).
    """

    index: int
    uuid: str
    name: str
    mig: bool
    state: str
    memory_total: int
    memory_used: int
    utilization: int | None
    holders: list[Holder]
    others: list[Process]
    queue: list[Holder]


def snapshot(folder: Path | None = None) -> list[GpuRow]:
    """Every GPU of this machine as it is now. Raises SweepError where the folder of the locks cannot be used."""
    gpus = devices.all_gpus()
    if not gpus:
        return []
    found = claims.read_all(places.choose() if folder is None else folder)
    uses = evidence.look(gpus, found)
    return [_row(gpu, uses[gpu.uuid], found) for gpu in gpus]


def gpus_json(folder: Path | None = None) -> list[dict[str, Any]]:
    """The same as plain data."""
    return [asdict(row) for row in snapshot(folder)]


def gpus_table(rows: list[GpuRow] | None = None) -> RenderableType:
    """The same as a table for a terminal; a line of text where there are no GPUs."""
    from rich.table import Table
    from rich.text import Text

    rows = snapshot() if rows is None else rows
    if not rows:
        reason = devices.machine(load=False).reason
        return Text(f"This machine has no GPU{f' ({reason})' if reason else ''}.")
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("GPU", justify="right")
    table.add_column("name")
    table.add_column("memory", justify="right")
    table.add_column("use", justify="right")
    table.add_column("state")
    table.add_column("by whom", overflow="fold", ratio=3)
    queue = any(row.queue for row in rows)
    if queue:
        table.add_column("waiting, in order", overflow="fold", ratio=2)
    colours = {"free": "green", "held": "yellow", "shared": "yellow", "busy": "red"}
    for row in rows:
        whom = [_held_by(holder) for holder in row.holders] + [_other(process) for process in row.others]
        if row.state == "held" and not row.holders:
            whom.insert(0, "somebody whose file in the folder of the locks was deleted")
        waiting = [f"{place}. {_waits(holder)}" for place, holder in enumerate(row.queue[:_SHOWN], 1)]
        if len(row.queue) > _SHOWN:
            waiting.append(f"and {len(row.queue) - _SHOWN} more")
        table.add_row(
            Text(row.uuid if row.mig else str(row.index)),
            Text(row.name),
            Text(f"{row.memory_used / 1e9:.1f}/{row.memory_total / 1e9:.0f} GB"),
            Text("" if row.utilization is None else f"{row.utilization} %"),
            Text(row.state, style=colours[row.state]),
            Text("\n".join(whom)),
            *([Text("\n".join(waiting))] if queue else []),
        )
    return table


def lock_problems() -> list[str]:
    """What a person should know of the place where GPU locks live, for `sweep doctor`; empty where all is well."""
    try:
        place = places.choose()
    except (SweepError, OSError) as error:
        return [str(error)]
    if place == places.ADMINISTRATORS:
        return []
    return [f"GPU locks live in {place}; an administrator can give them a safer place: {places.admin_command()}"]


def _row(gpu: Gpu, use: evidence.Use, found: list[Claim]) -> GpuRow:
    holding = [claim for claim in found if claim.live and claim.state == claims.HOLDING and gpu.uuid in claim.gpus]
    waiting = [claim for claim in found if claim.live and claim.state == claims.WAITING and gpu.uuid in claim.allowed]
    others = [_process(seen, left=True) for seen, _ in use.left] + [_process(seen, left=False) for seen in use.others]
    state = "shared" if holding and holding[0].sharing else "held" if holding else "free"
    if not holding and (guard.whole(gpu.uuid) or guard.shared(gpu.uuid)):
        state = "held"  # by somebody whose claim was deleted
    elif not holding and evidence.objection(_somebody(gpu), use, ()) is not None:
        state = "busy"
    return GpuRow(
        index=gpu.index,
        uuid=claims.plain(gpu.uuid, 80),
        name=claims.plain(gpu.name, 80),
        mig=gpu.mig,
        state=state,
        memory_total=gpu.memory_total,
        memory_used=gpu.memory_used,
        utilization=gpu.utilization,
        holders=[_holder(claim) for claim in holding],
        others=others,
        queue=[_holder(claim) for claim in waiting],
    )


def _somebody(gpu: Gpu) -> Claim:
    """One who asks for this GPU with the defaults."""
    from sweeper.model import GpuRequest

    above = GpuRequest().busy_above
    return Claim(claims.WAITING, os.getpid(), 0, "", 1, (gpu.uuid,), busy_above=above, uid=os.geteuid())


def _holder(claim: Claim) -> Holder:
    stopped = evidence.status(claim.pid)[1] in ("T", "t")
    return Holder(
        evidence.user(claim.uid), claim.pid, claim.sweep, claim.run, claim.command, claim.since, claim.count, stopped
    )


def _process(seen: evidence.Seen, *, left: bool) -> Process:
    since = None if seen.ticks < 0 else claims.unix_time(seen.ticks)
    return Process(evidence.user(seen.uid), seen.pid, evidence.command(seen.pid), seen.memory, since, left)


def _held_by(holder: Holder) -> str:
    of = f"{holder.sweep} {holder.run}: " if holder.sweep else ""
    since = words.duration(time.time() - holder.since)
    return f"{holder.user}: {of}{holder.command or '?'} (pid {holder.pid}, for {since})"


def _other(process: Process) -> str:
    memory = "" if process.memory is None else f", {evidence.size(process.memory)}"
    since = "" if process.since is None else f", since {evidence.moment(process.since)}"
    kind = "left of a run that is over: " if process.left else "outside the locks: "
    return f"{kind}{process.user}: {process.command} (pid {process.pid}{memory}{since})"


def _waits(holder: Holder) -> str:
    of = f"{holder.sweep} {holder.run}" if holder.sweep else holder.command or "?"
    many = f", {holder.count} GPUs" if holder.count > 1 else ""
    stopped = ", stopped" if holder.stopped else ""
    return f"{holder.user}: {of} ({words.duration(time.time() - holder.since)}{many}{stopped})"
