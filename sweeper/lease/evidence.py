"""What the driver and /proc say against taking a GPU: processes of runs that are over, other people's, promised memory.

A process belongs to a run of ours if it descends from the run's process, or is of the same user and was started after
the run took the GPU (and before it gave it back). What is left of a run that is over keeps its GPU, whatever its size:
its descriptor may have been closed, but it is still there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweeper import moments, procs
from sweeper.lease.claims import HOLDING, Claim, plain, unix_time
from sweeper.lease.devices import Gpu, GpuProcess

_UNNAMED = 100_000_000  # bytes in use that no process accounts for and that an idle GPU may show
_INITIAL_PIDS = 0xEFFFFFFC  # the inode of the machine's own pid namespace (include/linux/proc_ns.h)


@dataclass(frozen=True, slots=True)
class Seen:
    """A process on a GPU; ``uid`` and ``ticks`` are -1 where /proc hides them."""

    pid: int
    memory: int | None
    uid: int
    ticks: int


@dataclass(slots=True)
class Use:
    """What is on one GPU: by run (claim name) its memory in bytes, what is left of runs that are over, and others'."""

    gpu: Gpu
    ours: dict[str, int] = field(default_factory=dict)
    left: list[tuple[Seen, Claim]] = field(default_factory=list)
    others: list[Seen] = field(default_factory=list)
    gone: int = 0


def look(gpus: Sequence[Gpu], claims: Sequence[Claim]) -> dict[str, Use]:
    """UUID -> what is on that GPU, as the driver has just shown it."""
    boot = procs.boot_id()
    uses = {}
    holding = [claim for claim in claims if claim.state == HOLDING and claim.boot == boot]
    lingering = _lingering([claim for claim in holding if not claim.live and not claim.released])
    for gpu in gpus:
        about = [claim for claim in holding if gpu.uuid in claim.gpus]
        live = [claim for claim in about if claim.live]
        over = _not_followed([claim for claim in about if not claim.live], about)
        use = uses[gpu.uuid] = Use(gpu)
        use.left += [(seen, claim) for claim in over for seen in lingering.get(claim.name, ())]
        known = {seen.pid for seen, _ in use.left}
        for process in gpu.processes:
            seen = _see(process)
            if seen is None:
                use.gone += process.memory or 0
                continue
            if seen.pid in known:
                continue
            owner = _owner(seen, live)
            if owner is not None:
                use.ours[owner.name] = use.ours.get(owner.name, 0) + (seen.memory or 0)
                continue
            past = _owner(seen, over)
            if past is None:
                use.others.append(seen)
            else:
                use.left.append((seen, past))
    return uses


def objection(claim: Claim, use: Use | None, holders: Sequence[Claim]) -> str | None:
    """Why ``claim`` can't be served by a GPU beside ``holders``, in words that follow "GPU 1, "; None if it can."""
    if use is None:
        return "which the driver no longer shows"
    if use.left:
        seen, past = use.left[0]
        whose = f"a run of {user(past.uid)} that is over"
        return f"still used by {describe(seen)}, left from {whose}{_more(len(use.left))}"
    if not claim.ignore_others:
        if use.others:
            busy = sum(seen.memory or 0 for seen in use.others) if holders else use.gpu.memory_used - use.gone
            if busy > claim.busy_above or (busy == 0 and claim.busy_above == 0):
                return f"busy with {describe(use.others[0])}{_more(len(use.others))}"
        elif not holders and use.gpu.memory_used - use.gone > max(claim.busy_above, _UNNAMED):
            return f"busy with something that the driver does not name ({size(use.gpu.memory_used)})"
    if claim.memory:
        promised = sum(max(0, holder.memory - use.ours.get(holder.name, 0)) for holder in holders)
        free = use.gpu.memory_total - use.gpu.memory_used - promised
        if free < claim.memory:
            return f"where {size(max(0, free))} are free and {size(claim.memory)} are asked for"
    return None


def fits(uses: Mapping[str, Use], claim: Claim, uuid: str, holders: Sequence[Claim]) -> bool:
    return objection(claim, uses.get(uuid), holders) is None


def user(uid: int) -> str:
    """A user's name, or the number where the machine knows no name."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}" if uid >= 0 else "somebody"


def describe(seen: Seen) -> str:
    """``bob's process 999 'python x.py' (11.2 GB, since ...)``, the moment marked (moments.py)."""
    facts = [] if seen.memory is None else [size(seen.memory)]
    if seen.ticks >= 0:
        facts.append(moments.mark(unix_time(seen.ticks)))
    about = f" ({', '.join(facts)})" if facts else ""
    return f"{user(seen.uid)}'s process {seen.pid} '{command(seen.pid)}'{about}"


def size(amount: int) -> str:
    """``11.2 GB``; ``300 MB`` below one."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"


def command(pid: int) -> str:
    """The command line of a process as others may see it, safe for a terminal."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
    except OSError:
        return "?"
    return plain(" ".join(os.fsdecode(word) for word in words if word), 80) or "?"


def _see(process: GpuProcess) -> Seen | None:
    """The process with what /proc says; None where it has ended (a driver may show it a little longer)."""
    uid, state, parent = status(process.pid)
    if state in ("Z", "X") and _threads(process.pid) <= 1:
        return None
    ticks = procs.start_ticks(process.pid)
    if parent == -1 and not _exists(process.pid) and _own_pids():
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


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _exists(pid: int) -> bool:
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


def _owner(seen: Seen, claims: Sequence[Claim]) -> Claim | None:
    """The run that a process belongs to: by descent, else the latest of its user that began before it."""
    if not claims:
        return None
    ancestors = _ancestors(seen.pid)
    for claim in claims:
        if claim.pid in ancestors and procs.start_ticks(claim.pid) == claim.ticks:
            return claim
    fitting = [
        claim
        for claim in claims
        if claim.uid == seen.uid and claim.began <= seen.ticks and (not claim.released or seen.ticks <= claim.released)
    ]
    if not fitting and seen.uid == -1 and not _own_pids():
        fitting = [claim for claim in claims if claim.live]  # in a container nobody can tell: it is the holder's
    return max(fitting, key=lambda claim: claim.began, default=None)


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = status(pid)[2]
    return found


def _lingering(over: Sequence[Claim]) -> dict[str, list[Seen]]:
    """Claim name -> the living processes whose environment still names that lease: killed runs' descendants that closed
    their descriptor and may not have reached the GPU yet. Only this user's can be seen (root sees everybody's)."""
    wanted = {b"SWEEP_LEASE=" + claim.name.encode(): claim.name for claim in over if os.geteuid() in (0, claim.uid)}
    found: dict[str, list[Seen]] = {}
    for pid in procs.pids() if wanted else ():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                named = wanted.keys() & set(file.read().split(b"\0"))
        except OSError:  # gone, or somebody else's
            continue
        seen = _see(GpuProcess(pid, None)) if named else None
        if seen is not None:
            for name in named:
                found.setdefault(wanted[name], []).append(seen)
    return found


def _not_followed(over: Sequence[Claim], about: Sequence[Claim]) -> list[Claim]:
    """Those that are over and that nobody came after: whoever did had looked and found nothing left."""
    return [claim for claim in over if not any(other.began > claim.began for other in about)]


def _more(count: int) -> str:
    return "" if count < 2 else f", and {count - 1} more"
