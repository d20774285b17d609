"""What the driver and /proc say against taking a GPU: processes of runs that are over, other people's, promised memory.

What is left of a run that is over keeps its GPU, whatever its size: it closed its descriptor, but it is still there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sweeper import moments, procs
from sweeper.lease import remains
from sweeper.lease.claims import HOLDING, Claim, plain, unix_time
from sweeper.lease.devices import Gpu
from sweeper.lease.remains import Seen

_UNNAMED = 100_000_000  # bytes in use that no process accounts for and that an idle GPU may show
Why = Callable[[], str]


@dataclass(slots=True)
class Use:
    """What is on one GPU: by run (claim name) its memory in bytes, what is left of runs that are over, and others'.

    ``kept`` are the claims that are over and must not be forgotten: something that may be theirs lives.
    """

    gpu: Gpu
    ours: dict[str, int] = field(default_factory=dict)
    left: list[tuple[Seen, Claim]] = field(default_factory=list)
    others: list[Seen] = field(default_factory=list)
    gone: int = 0
    kept: set[str] = field(default_factory=set)


def look(gpus: Sequence[Gpu], claims: Sequence[Claim]) -> dict[str, Use]:
    """UUID -> what is on that GPU, as the driver has just shown it."""
    boot = procs.boot_id()
    known = [claim for claim in claims if claim.boot == boot]
    named = remains.naming(known)
    uses = {}
    for gpu in gpus:
        about = [claim for claim in known if claim.state == HOLDING and gpu.uuid in claim.gpus]
        uses[gpu.uuid] = _use(gpu, about, [(seen, claim) for claim in about for seen in named.get(claim.name, ())])
    return uses


def _use(gpu: Gpu, about: Sequence[Claim], named: Sequence[tuple[Seen, Claim]]) -> Use:
    """``about`` are the claims on this GPU, ``named`` the processes that name those that are over as theirs."""
    use = Use(gpu, kept={claim.name for _, claim in named})
    certain = {seen.pid: claim for seen, claim in named}
    ended = remains.ends(about)
    for process in gpu.processes:
        seen = remains.see(process)
        if seen is None:
            use.gone += process.memory or 0
            continue
        run, also = (certain[seen.pid], []) if seen.pid in certain else remains.owner(seen, about, ended)
        use.kept.update(claim.name for claim in also)
        if run is None:
            use.others.append(seen)
        elif run.live:
            use.ours[run.name] = use.ours.get(run.name, 0) + (seen.memory or 0)
        else:
            use.left.append((seen, run))
            use.kept.add(run.name)
    there = {seen.pid for seen, _ in use.left}
    use.left += [(seen, claim) for seen, claim in named if seen.pid not in there and remains.may_still_come(claim)]
    return use


def objection(claim: Claim, use: Use | None, holders: Sequence[Claim]) -> Why | None:
    """Why ``claim`` can't be served by a GPU beside ``holders``, in words that follow "GPU 1, "; None if it can.

    The words are made when they are wanted: everybody asks about everybody, and few are told.
    """
    if use is None:
        return lambda: "which the driver no longer shows"
    if use.left:
        return partial(_still_used, use)
    if not claim.ignore_others:
        if use.others:
            busy = sum(seen.memory or 0 for seen in use.others) if holders else use.gpu.memory_used - use.gone
            if busy > claim.busy_above or (busy == 0 and claim.busy_above == 0):
                return lambda: f"busy with {describe(use.others[0])}{_more(len(use.others))}"
        elif not holders and use.gpu.memory_used - use.gone > max(claim.busy_above, _UNNAMED):
            return lambda: f"busy with something that the driver does not name ({size(use.gpu.memory_used)})"
    if claim.memory:
        promised = sum(max(0, holder.memory - use.ours.get(holder.name, 0)) for holder in holders)
        free = use.gpu.memory_total - use.gpu.memory_used - promised
        if free < claim.memory:
            return lambda: f"where {size(max(0, free))} are free and {size(claim.memory)} are asked for"
    return None


def _still_used(use: Use) -> str:
    seen, past = use.left[0]
    there = any(process.pid == seen.pid for process in use.gpu.processes)
    whose = f"left from a run of {user(past.uid)} that is over"
    return f"{'still used by' if there else 'kept for'} {describe(seen)}, {whose}{_more(len(use.left))}"


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


def _more(count: int) -> str:
    return "" if count < 2 else f", and {count - 1} more"
