"""List the GPUs, and who holds what: the table of `sweep gpus`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import moments
from sweeper.errors import SweepError
from sweeper.lease import claims, devices, evidence, hold, lockers, words
from sweeper.lease import folder as places
from sweeper.lease.asking import Asked, resolve, visible, why_none
from sweeper.lease.claims import Claim
from sweeper.lease.devices import Gpu, GpuProcess, Machine, all_gpus, machine
from sweeper.lease.remains import Seen
from sweeper.lease.roll import Roll
from sweeper.moments import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Asked",
    "Gpu",
    "GpuProcess",
    "all_gpus",
    "gpus_json",
    "gpus_table",
    "machine",
    "resolve",
    "snapshot",
    "visible",
    "why_none",
]

_SHOWN = 20  # of those that wait, in the table
_LOOKS = 20  # at a GPU that changes hands just now
_PAUSE = 0.005  # seconds between two of them


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a GPU, or waits for one. ``run`` is None for a command, and for a chain that holds its GPUs for all of
    its runs; ``since`` is unix time; ``count`` is how many GPUs it has or needs, ``per_gpu`` how many may share
    each; ``claim`` tells it from any other, and sorts by arrival; ``process`` is the pid in words, and what
    has become of it."""

    claim: str
    user: str
    pid: int
    sweep: str
    run: int | None
    command: str
    since: float
    count: int
    per_gpu: int
    stopped: bool = False
    process: str = ""


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

    ``state`` is ``free``, ``held``, ``shared``, ``busy`` (with processes outside our locks, by the default measure),
    ``unusable`` (its lock cannot be taken) or ``lost`` (its driver does not reach it, nor tell its UUID: a holder shown
    there holds one of those that are lost); ``note`` says more of these, and who has a lock without a claim.
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
    note: str = ""


def snapshot(folder: Path | None = None) -> list[GpuRow]:
    """Every GPU of this machine as it is now. Raises SweepError where the folder of the locks cannot be used.

    Claims are read one after the other: of a GPU that changes hands meanwhile the old and the new holder may both be
    seen, or a lock without a name. Then it is looked again, so that what lasts is shown as it is, and nothing else.
    """
    found = devices.machine()
    if not found.gpus and not found.lost:
        return []
    place = places.choose() if folder is None else folder
    rows = _look(found, place)
    for _ in range(_LOOKS):
        if all(map(_settled, rows)):
            break
        time.sleep(_PAUSE)
        rows = _look(found, place)
    return rows


def _look(found: Machine, folder: Path) -> list[GpuRow]:
    now = Roll(claims.read_all(folder))
    uses = evidence.look(found.gpus, now.found)
    rows = [_row(gpu, uses[gpu.uuid], now, folder) for gpu in found.gpus]
    return sorted(
        rows + [_lost(index, why, now, uses.keys(), folder) for index, why in found.lost], key=lambda row: row.index
    )


def _settled(row: GpuRow) -> bool:
    if row.state == "shared":
        return len(row.holders) <= min(holder.per_gpu for holder in row.holders)
    return row.state != "held" or len(row.holders) == 1


def gpus_json(folder: Path | None = None) -> list[dict[str, Any]]:
    """The same as plain data."""
    return [asdict(row) for row in snapshot(folder)]


def gpus_table(rows: list[GpuRow] | None = None) -> RenderableType:
    """The same as a table for a terminal, those who wait below it; a line of text where there are no GPUs."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = snapshot() if rows is None else rows
    if not rows:
        why = why_none(machine(load=False))
        return Text(f"{why[0].upper()}{why[1:]}.")
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("GPU", justify="right")
    table.add_column("name")
    table.add_column("memory", justify="right")
    table.add_column("use", justify="right")
    table.add_column("state")
    table.add_column("by whom", overflow="fold")
    colours = {
        "free": "green",
        "held": "yellow",
        "shared": "yellow",
        "busy": "red",
        "unusable": "bold red",
        "lost": "bold red",
    }
    for row in rows:
        whom = [_held_by(holder) for holder in row.holders] + [_other(process) for process in row.others]
        if row.note:
            whom.insert(0, row.note)
        table.add_row(
            Text(row.uuid if row.mig else str(row.index)),
            Text(row.name),
            Text(f"{row.memory_used / 1e9:.1f}/{row.memory_total / 1e9:.0f} GB"),
            Text("" if row.utilization is None else f"{row.utilization} %"),
            Text(row.state, style=colours.get(row.state, "red")),
            Text("\n".join(whom)),
        )
    queue = sorted({holder.claim: holder for row in rows for holder in row.queue}.items())
    if not queue:
        return table
    waiting = Table(box=None, padding=(0, 1), show_header=False, expand=True)
    waiting.add_column(justify="right")
    for _ in range(3):
        waiting.add_column(no_wrap=True)
    waiting.add_column(no_wrap=True, ratio=1)  # what is left of the line
    for place, (claim, holder) in enumerate(queue[:_SHOWN], 1):
        wanted = _wanted(holder.count, [row for row in rows if any(one.claim == claim for one in row.queue)], rows)
        pid = f"pid {holder.pid}{', stopped' if holder.stopped else ''}"
        waiting.add_row(str(place), wanted, duration(time.time() - holder.since), pid, Text(_who(holder)))
    more = [Text(f"     and {len(queue) - _SHOWN} more")] if len(queue) > _SHOWN else []
    return Group(table, Text("\n waiting, in order", style="bold"), waiting, *more)


def lock_problems() -> list[str]:
    """What a person should know of the place where GPU locks live, for `sweep doctor`; empty where all is well."""
    try:
        place = places.choose()
    except (SweepError, OSError) as error:
        return [str(error)]
    if place == places.ADMINISTRATORS:
        return []
    return [f"GPU locks live in {place}; an administrator can give them a safer place: {places.admin_command()}"]


def _row(gpu: Gpu, use: evidence.Use, now: Roll, folder: Path) -> GpuRow:
    holding = now.held.get(gpu.uuid, [])
    waiting = [claim for claim in now.queue if gpu.uuid in claim.allowed]
    others = [_process(seen, left=True) for seen, _ in use.left] + [_process(seen, left=False) for seen in use.others]
    state = "free" if not holding else "shared" if all(claim.sharing for claim in holding) else "held"
    note = "" if holding else moments.ago(lockers.outsider(folder, gpu.uuid))
    if note:
        state = "held"
    elif fault := hold.fault(folder, gpu.uuid):
        note = claims.plain(fault)
        state = "unusable" if not holding else state
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
        holders=[_holder(claim, now, folder) for claim in holding],
        others=others,
        queue=[_holder(claim, now) for claim in waiting],
        note=note,
    )


def _lost(index: int, why: str, now: Roll, shown: Set[str], folder: Path) -> GpuRow:
    """A GPU that its driver counts and does not reach. Nobody knows its UUID: whoever names one that is not shown may
    mean this one."""
    holding = {claim.name: claim for uuid, found in now.held.items() if uuid not in shown for claim in found}
    waiting = [claim for claim in now.queue if not shown >= set(claim.allowed)]
    return GpuRow(
        index=index,
        uuid="",
        name="?",
        mig=False,
        state="lost",
        memory_total=0,
        memory_used=0,
        utilization=None,
        holders=[_holder(claim, now, folder) for claim in holding.values()],
        others=[],
        queue=[_holder(claim, now) for claim in waiting],
        note=f"the driver says: {claims.plain(why)}",
    )


def _somebody(gpu: Gpu) -> Claim:
    """One who asks for this GPU with the defaults."""
    from sweeper.model import GpuRequest

    above = GpuRequest().busy_above
    return Claim(claims.WAITING, os.getpid(), 0, "", 1, (gpu.uuid,), busy_above=above, uid=os.geteuid())


def _holder(claim: Claim, now: Roll, folder: Path | None = None) -> Holder:
    return Holder(
        claim=claim.name,
        user=evidence.user(claim.uid),
        pid=claim.pid,
        sweep=claim.sweep,
        run=claim.run or None,
        command=claim.command,
        since=claim.since,
        count=claim.count,
        per_gpu=claim.per_gpu,
        stopped=not now.goes(claim),
        process=words.process(claim, folder) if folder is not None else f"pid {claim.pid}",
    )


def _process(seen: Seen, *, left: bool) -> Process:
    since = None if seen.ticks < 0 else claims.unix_time(seen.ticks)
    return Process(evidence.user(seen.uid), seen.pid, evidence.command(seen.pid), seen.memory, since, left)


def _held_by(holder: Holder) -> str:
    return f"{_who(holder)} ({holder.process}, for {duration(time.time() - holder.since)})"


def _other(process: Process) -> str:
    memory = "" if process.memory is None else f", {evidence.size(process.memory)}"
    since = "" if process.since is None else f", for {duration(time.time() - process.since)}"
    kind = "left of a run that is over: " if process.left else "outside the locks: "
    return f"{kind}{process.user}: {process.command} (pid {process.pid}{memory}{since})"


def _who(holder: Holder) -> str:
    """``alice: digits 7: python train.py --lr 3``."""
    of = f"{holder.sweep} {holder.run or ''}".rstrip() + ": " if holder.sweep else ""
    return f"{holder.user}: {of}{holder.command or '?'}"


def _wanted(count: int, allowed: Sequence[GpuRow], machine: Sequence[GpuRow]) -> str:
    """Which GPUs somebody waits for: ``GPU 0, 1``, ``1 of GPU 0, 2``, or, where any will do, ``2 of 4 GPUs``."""
    names = ", ".join(row.uuid if row.mig else str(row.index) for row in allowed)
    if count == len(allowed):
        return f"GPU {names}"
    return f"{count} of {len(machine)} GPUs" if len(allowed) == len(machine) else f"{count} of GPU {names}"
