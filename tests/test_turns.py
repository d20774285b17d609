"""Whose turn it is, for any queue: nobody gets what another has, nor what he may not use, nor before his turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from sweeper.lease import turns
from sweeper.lease.claims import WAITING, Claim

MACHINE = ("a", "b", "c", "d")


def everybody(_claim: Claim) -> bool:
    return True


@some.composite
def requests(draw: some.DrawFn) -> list[Claim]:
    queue = []
    for number in range(draw(some.integers(1, 8))):
        allowed = draw(some.lists(some.sampled_from(MACHINE), min_size=1, unique=True))
        queue.append(
            Claim(
                state=WAITING,
                pid=1,
                ticks=1,
                boot="",
                count=draw(some.integers(1, len(allowed))),
                allowed=tuple(allowed),
                per_gpu=draw(some.sampled_from([1, 1, 2, 3])),
                keep_free=draw(some.sampled_from([0, 0, 0, 1])),
                name=f"{number:03d}",
                live=True,
            )
        )
    return queue


def check_held(held: dict[str, list[Claim]]) -> None:
    for holders in held.values():
        if len(holders) > 1:
            assert all(claim.per_gpu > 1 for claim in holders)
            assert len(holders) <= min(claim.per_gpu for claim in holders)


@given(requests())
def test_everybody_is_served_in_the_end_and_never_two_alone(queue: list[Claim]) -> None:
    """Turns are taken, and the oldest holder goes when nobody has a turn: the queue empties, whatever is in it."""
    held: dict[str, list[Claim]] = {}
    running: list[Claim] = []
    waiting = [claim for claim in queue if claim.count + claim.keep_free <= len(MACHINE)]
    while waiting:
        plan = turns.plan(waiting, held, MACHINE, turns.anything, everybody)
        assert plan or running, "nobody holds anything, and nobody has a turn"
        for claim in [one for one in waiting if one.name in plan]:
            gpus = plan[claim.name]
            assert len(set(gpus)) == len(gpus) == claim.count
            assert set(gpus) <= set(claim.allowed)
            free = [uuid for uuid in MACHINE if not held.get(uuid)]
            fresh = [uuid for uuid in gpus if uuid in free]
            assert not fresh or len(free) - len(fresh) >= claim.keep_free
            for uuid in gpus:
                held.setdefault(uuid, []).append(claim)
            check_held(held)
            running.append(claim)
            waiting.remove(claim)
        if not plan:
            gone = running.pop(0)
            for holders in held.values():
                if gone in holders:
                    holders.remove(gone)


@given(requests())
def test_those_that_came_later_change_nothing_for_the_earlier(queue: list[Claim]) -> None:
    whole = turns.plan(queue, {}, MACHINE, turns.anything, everybody)
    for length in range(len(queue)):
        part = turns.plan(queue[:length], {}, MACHINE, turns.anything, everybody)
        assert part == {name: gpus for name, gpus in whole.items() if name in part}
        assert {name for name in whole if name < f"{length:03d}"} == set(part)


@given(requests(), some.sets(some.integers(0, 7)))
def test_who_is_stopped_is_as_if_he_were_not_there(queue: list[Claim], stopped: set[int]) -> None:
    names = {f"{number:03d}" for number in stopped}
    plan = turns.plan(queue, {}, MACHINE, turns.anything, lambda claim: claim.name not in names)
    assert plan == turns.plan([one for one in queue if one.name not in names], {}, MACHINE, turns.anything, everybody)


@given(requests(), some.integers(1, 3))
def test_who_needs_more_than_there_is_by_now_keeps_nothing(queue: list[Claim], left: int) -> None:
    machine = MACHINE[:left]
    plan = turns.plan(queue, {}, machine, turns.anything, everybody)
    possible = [
        claim
        for claim in queue
        if claim.count <= len(set(claim.allowed) & set(machine)) and claim.count + claim.keep_free <= left
    ]
    assert plan == turns.plan(possible, {}, machine, turns.anything, everybody)
    assert bool(plan) == bool(possible)


@given(requests(), some.sets(some.integers(0, 7)), some.integers(1, 3))
def test_who_is_near_and_who_is_first(queue: list[Claim], stopped: set[int], nearest: int) -> None:
    names = {f"{number:03d}" for number in stopped}

    def goes(claim: Claim) -> bool:
        return claim.name not in names

    for claim in queue:
        earlier = [one for one in queue if one.name < claim.name and goes(one)]
        exact = {uuid: sum(uuid in one.allowed for one in earlier) for uuid in claim.allowed}
        assert turns.ranks(claim, queue, goes, most=99) == exact
        assert turns.ranks(claim, queue, goes, most=nearest) == {uuid: min(nearest, n) for uuid, n in exact.items()}
        ahead = turns.ahead(claim, queue, goes, nearest)
        behind = turns.behind(claim, queue, goes, nearest)
        assert all(goes(one) for one in ahead)
        for uuid in claim.allowed:
            assert sum(uuid in one.allowed for one in ahead) >= min(nearest, exact[uuid])
            later = [one for one in queue if one.name > claim.name and uuid in one.allowed]
            going = [one for one in later if goes(one)][:nearest]
            last = going[-1] if len(going) == nearest else later[-1] if later else claim
            assert [one for one in later if one.name <= last.name] == [
                one for one in behind if uuid in one.allowed and one.name <= last.name
            ]
