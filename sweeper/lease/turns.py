"""Whose turn it is: first come, first served among those that could use the same GPU. Pure, and the same for everybody.

Claims are gone through in order of arrival. One that finds enough GPUs has its turn and takes them. One that does not
keeps what it found for itself, and closes the GPUs that are shared where it could be next; so a run that needs two GPUs
is not starved by those that need one, nor one that needs a GPU alone by those that share. Nobody keeps a GPU that he
may not take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sweeper.lease.claims import Claim

# Whether a claim could be served by this GPU (a UUID) beside those that hold it, as far as its driver is concerned.
Fits = Callable[[Claim, str, Sequence[Claim]], bool]


def anything(_claim: Claim, _uuid: str, _holders: Sequence[Claim]) -> bool:
    """The driver left out of account."""
    return True


def plan(
    queue: Sequence[Claim], held: Mapping[str, Sequence[Claim]], machine: Sequence[str], fits: Fits
) -> dict[str, tuple[str, ...]]:
    """Which of the waiting claims (by name) can have which GPUs now.

    ``queue`` is in order of arrival; ``held`` says who holds each GPU of ``machine`` (UUIDs, the preferred first).
    """
    holders = {uuid: list(held.get(uuid, ())) for uuid in machine}
    closed: set[str] = set()
    turns: dict[str, tuple[str, ...]] = {}
    for claim in queue:
        allowed = set(claim.allowed)
        mine = [uuid for uuid in machine if uuid in allowed and uuid not in closed]
        joined = [uuid for uuid in mine if _may_join(claim, holders[uuid]) and fits(claim, uuid, holders[uuid])]
        fresh = [uuid for uuid in mine if not holders[uuid] and fits(claim, uuid, ())]
        if claim.keep_free:
            free = sum(1 for uuid in machine if not holders[uuid] and fits(claim, uuid, ()))
            fresh = fresh[: max(0, free - claim.keep_free)]
        found = joined + fresh  # beside others first: whole GPUs are left for those that need them
        if len(found) >= claim.count:
            turns[claim.name] = tuple(found[: claim.count])
            for uuid in turns[claim.name]:
                holders[uuid].append(claim)
        else:
            closed.update(found)
            closed.update(uuid for uuid in mine if holders[uuid])
    return turns


def _may_join(claim: Claim, holders: Sequence[Claim]) -> bool:
    return (
        bool(holders)
        and claim.sharing
        and all(holder.sharing for holder in holders)
        and len(holders) < min(claim.per_gpu, *(holder.per_gpu for holder in holders))
    )


def before(claim: Claim, queue: Sequence[Claim]) -> list[Claim]:
    """Those who came before ``claim`` and could use a GPU that it could use, the nearest last."""
    wanted = set(claim.allowed)
    return [other for other in queue if _came_before(other, claim) and wanted.intersection(other.allowed)]


def ranks(claim: Claim, queue: Sequence[Claim]) -> dict[str, int]:
    """For each GPU that ``claim`` could use, how many came before it that could use that one."""
    earlier = before(claim, queue)
    return {uuid: sum(1 for other in earlier if uuid in other.allowed) for uuid in claim.allowed}


def neighbours(claim: Claim, queue: Sequence[Claim], nearest: int, *, after: bool) -> list[Claim]:
    """The ``nearest`` who came right before (or after) ``claim``, for each GPU that it could use."""
    side = [other for other in queue if other.name != claim.name and _came_before(claim, other) == after]
    if not after:
        side.reverse()
    found: dict[str, Claim] = {}
    for uuid in claim.allowed:
        for other in [one for one in side if uuid in one.allowed][:nearest]:
            found[other.name] = other
    return list(found.values())


def _came_before(one: Claim, other: Claim) -> bool:
    return one.name < other.name
