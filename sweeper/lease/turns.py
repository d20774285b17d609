"""Whose turn it is: first come, first served among those that could use the same GPU. Pure, and the same for everybody.

Claims are gone through in order of arrival. One that finds enough GPUs has its turn and takes them. One that does not
keeps what it found for itself, and closes the GPUs that are shared where it could be next; so a run that needs two GPUs
is not starved by those that need one, nor one that needs a GPU alone by those that share. Nobody keeps a GPU that he
may not take: neither one that is stopped (he is passed over, and has his place again when he goes on), nor one who
needs more than the machine has by now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sweeper.lease.claims import Claim

# Whether a claim could be served by this GPU (a UUID) beside those that hold it, as far as its driver is concerned.
Fits = Callable[[Claim, str, Sequence[Claim]], bool]
# Whether who waits would take his turn: he is not stopped.
Goes = Callable[[Claim], bool]


def anything(_claim: Claim, _uuid: str, _holders: Sequence[Claim]) -> bool:
    """The driver left out of account."""
    return True


def plan(
    queue: Sequence[Claim], held: Mapping[str, Sequence[Claim]], machine: Sequence[str], fits: Fits, goes: Goes
) -> dict[str, tuple[str, ...]]:
    """Which of the waiting claims (by name) can have which GPUs now.

    ``queue`` is in order of arrival; ``held`` says who holds each GPU of ``machine`` (UUIDs, the preferred first).
    """
    holders = {uuid: list(held.get(uuid, ())) for uuid in machine}
    closed: set[str] = set()
    turns: dict[str, tuple[str, ...]] = {}
    for claim in queue:
        able = [uuid for uuid in machine if uuid in claim.allowed]
        if claim.count > len(able) or claim.count + claim.keep_free > len(machine):
            continue
        mine = [uuid for uuid in able if uuid not in closed]
        joined = [uuid for uuid in mine if may_join(claim, holders[uuid]) and fits(claim, uuid, holders[uuid])]
        fresh = [uuid for uuid in mine if not holders[uuid] and fits(claim, uuid, ())]
        if claim.keep_free:
            free = sum(1 for uuid in machine if not holders[uuid] and fits(claim, uuid, ()))
            fresh = fresh[: max(0, free - claim.keep_free)]
        found = joined + fresh  # beside others first: whole GPUs are left for those that need them
        shared = [uuid for uuid in mine if holders[uuid] and all(holder.sharing for holder in holders[uuid])]
        if not (found or shared) or not goes(claim):
            continue
        if len(found) >= claim.count:
            turns[claim.name] = tuple(found[: claim.count])
            for uuid in turns[claim.name]:
                holders[uuid].append(claim)
        else:
            closed.update(found, shared)
    return turns


def may_join(claim: Claim, holders: Sequence[Claim]) -> bool:
    """Whether ``claim`` may share a GPU with these, so that nobody has more beside him than he allows."""
    return (
        bool(holders)
        and claim.sharing
        and all(holder.sharing for holder in holders)
        and len(holders) < places(claim, holders)
    )


def places(claim: Claim, holders: Sequence[Claim]) -> int:
    """How many may share a GPU of which ``claim`` would be one."""
    return min(claim.per_gpu, *(holder.per_gpu for holder in holders))


def before(claim: Claim, queue: Sequence[Claim]) -> list[Claim]:
    """Those who came before ``claim`` and could use a GPU that it could use, the nearest last."""
    wanted = set(claim.allowed)
    return [other for other in queue if _came_before(other, claim) and not wanted.isdisjoint(other.allowed)]


def ranks(claim: Claim, queue: Sequence[Claim], goes: Goes, *, most: int) -> dict[str, int]:
    """For each GPU that ``claim`` could use, how many who go on came before it that could use that one; no more than
    ``most`` are counted."""
    counts = dict.fromkeys(claim.allowed, 0)
    for other in before(claim, queue):
        fewer = [uuid for uuid in other.allowed if counts.get(uuid, most) < most]
        if fewer and goes(other):
            for uuid in fewer:
                counts[uuid] += 1
    return counts


def ahead(claim: Claim, queue: Sequence[Claim], goes: Goes, nearest: int) -> list[Claim]:
    """The ``nearest`` who go on and came right before ``claim``, for each GPU that it could use."""
    return [other for other in _side(claim, before(claim, queue)[::-1], goes, nearest) if goes(other)]


def behind(claim: Claim, queue: Sequence[Claim], goes: Goes, nearest: int) -> list[Claim]:
    """The ``nearest`` who go on and came right after ``claim``, for each GPU that it could use; and those between them
    that are stopped, who will want to know when they go on."""
    return _side(claim, [other for other in queue if _came_before(claim, other)], goes, nearest)


def _side(claim: Claim, others: Sequence[Claim], goes: Goes, nearest: int) -> list[Claim]:
    left = dict.fromkeys(claim.allowed, nearest)
    found = []
    for other in others:
        common = [uuid for uuid in other.allowed if left.get(uuid)]
        if common:
            found.append(other)
            if goes(other):
                for uuid in common:
                    left[uuid] -= 1
        if not any(left.values()):
            break
    return found


def _came_before(one: Claim, other: Claim) -> bool:
    return one.name < other.name
