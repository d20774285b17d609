"""What is left of runs that are over: processes that no lock shows, since they closed what they had inherited.

A process is known as a run's by its descent from the run's process or by the lease that its environment names; where
neither can be seen, by its user and its start: after the run took the GPU, and before the run was over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from sweeper import procs
from sweeper.lease.claims import HOLDING, WAITING, Claim, ticks_now
from sweeper.lease.devices import GpuProcess

PATIENCE = 60  # seconds that what is left of a run that gave its GPUs back may take until it computes on one
_INITIAL_PIDS = 0xEFFFFFFC  # the inode of the machine's own pid namespace (include/linux/proc_ns.h)
_NEVER = 2**63


@dataclass(frozen=True, slots=True)
class Seen:
    """A process on a GPU; ``uid`` and ``ticks`` are -1 where /proc hides them."""

    pid: int
    memory: int | None
    uid: int
    ticks: int


def see(process: GpuProcess) -> Seen | None:
    """The process with what /proc says; None where it has ended (a driver may show it a little longer)."""
    uid, state, parent = status(process.pid)
    if state in ("Z", "X") and _threads(process.pid) <= 1:
        return None
    ticks = procs.start_ticks(process.pid)
    if parent == -1 and not exists(process.pid) and _own_pids():
        return None
    return Seen(process.pid, process.memory, uid, -1 if ticks is None else ticks)


def status(pid: int) -> tuple[int, str, int]:
    """(uid, state letter, parent) of a process; (-1, "", -1) where there is none or /proc hides it."""
    uid, state, parent = -1, "", -1
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("State:"):
                    state = line.split()[1]
                elif line.startswith("PPid:"):
                    parent = int(line.split()[1])
                elif line.startswith("Uid:"):
                    uid = int(line.split()[1])
                    break
    except OSError:
        return -1, "", -1
    return uid, state, parent


def naming(claims: Sequence[Claim]) -> dict[str, list[Seen]]:
    """Claim name -> the living processes whose environment names that lease, for the claims that are over.

    Only this user's processes can be seen so (root sees everybody's). Those that wait in the queue themselves, and
    what waits for them, are left out: nobody is to wait for himself.
    """
    over = [claim for claim in claims if claim.state == HOLDING and not claim.live and os.geteuid() in (0, claim.uid)]
    wanted = {_entry(claim): claim.name for claim in over}
    found: dict[str, list[Seen]] = {}
    carriers = _carriers(wanted.keys()) if wanted else {}
    waiting = [claim.pid for claim in claims if carriers and claim.live and claim.state == WAITING]
    spared = {pid for one in waiting for pid in _lineage(one)}
    for pid, entries in carriers.items():
        seen = None if pid in spared else see(GpuProcess(pid, None))
        if seen is not None:
            for entry in entries:
                found.setdefault(wanted[entry], []).append(seen)
    return found


def ended(claim: Claim) -> bool:
    """Whether the process that a claim names is gone, as far as can be seen from here; the claim may live all the same,
    by what it started."""
    if not claim.ticks or procs.alive(claim.pid, claim.ticks):
        return False
    return status(claim.pid)[0] != -1 or not exists(claim.pid)


def may_still_come(claim: Claim) -> bool:
    """Whether a process that is left of this run is to be expected on its GPUs, though it is not there yet.

    One of a run that was killed always is. One that a run left behind when it gave its GPUs back has some time: many
    such never compute (an agent, a terminal's server), and would keep a GPU for weeks.
    """
    return not claim.released or ticks_now() - claim.released < PATIENCE * os.sysconf("SC_CLK_TCK")


def ends(about: Sequence[Claim]) -> dict[str, int]:
    """Claim name -> when the run was over at the latest (ticks), for the claims on one GPU that are over.

    It said so itself, or somebody has come since who could not have come while it was there.
    """
    return {
        claim.name: claim.released
        or min(
            (one.began for one in about if one.began > claim.began and not (one.sharing and claim.sharing)),
            default=_NEVER,
        )
        for claim in about
        if not claim.live
    }


def owner(seen: Seen, about: Sequence[Claim], ended: Mapping[str, int]) -> tuple[Claim | None, list[Claim]]:
    """The run that a process on a GPU belongs to, and the runs that are over that it may belong to as well.

    ``about`` are the claims on that GPU, ``ended`` is what ``ends`` says of them.
    """
    if not about:
        return None, []
    over = [claim for claim in about if not claim.live and _fits(seen, claim, ended[claim.name])]
    for pid in _lineage(seen.pid):
        named = [claim for claim in about if claim.pid == pid and procs.alive(pid, claim.ticks) and _is_of(claim)]
        if named:
            return max(named, key=lambda claim: (claim.live, claim.began)), []
    live = [claim for claim in about if claim.live and _fits(seen, claim, _NEVER)]
    if not live and not over and seen.uid == -1 and not _own_pids():
        live = [claim for claim in about if claim.live]  # in a container nobody can tell: it is the holder's
    if live and over:
        variables = procs.environment(seen.pid) or ()
        if any(_entry(claim) in variables for claim in live):
            over = []
    return max(live or over, key=lambda claim: claim.began, default=None), over


def _entry(claim: Claim) -> bytes:
    return b"SWEEP_LEASE=" + claim.name.encode()


def _carriers(entries: Set[bytes]) -> dict[int, set[bytes]]:
    """The processes whose environment has any of ``entries``, and which."""
    found: dict[int, set[bytes]] = {}
    for pid in procs.everybody():
        if named := entries & (procs.environment(pid) or set()):
            found[pid] = set(named)
    return found


def _fits(seen: Seen, claim: Claim, end: int) -> bool:
    return claim.uid == seen.uid and claim.began <= seen.ticks <= end


def _is_of(claim: Claim) -> bool:
    """Whether the process that a claim names is its user's, or hidden: anybody may name any."""
    return status(claim.pid)[0] in (claim.uid, -1)


def _lineage(pid: int) -> list[int]:
    """The process, its parent, and so on; without the machine's first."""
    found: list[int] = []
    while pid > 1 and pid not in found:
        found.append(pid)
        pid = status(pid)[2]
    return found


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _own_pids() -> bool:
    """Whether pids mean here what they mean to the driver; in a container they do not."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_PIDS
    except OSError:
        return False
