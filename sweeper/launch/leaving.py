"""The queue made equal to the file, and what has left the file by that: how many runs, and which go on all the same."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from sweeper import model
from sweeper.launch.planning import Plan
from sweeper.store import Change, Store, Wish, enqueue


@dataclass(frozen=True, slots=True)
class Gone:
    """``count`` runs have left the file with this launch, ``begun`` of which are on disk; ``alive`` are the numbers of
    those that still run though they are not in the file, since whenever."""

    count: int
    begun: int
    alive: tuple[int, ...]


def enter(store: Store, plan: Plan, wish: Wish) -> tuple[Change, Gone]:
    """Enter what the file says (``enqueue``). Raises InputError if an edited command would repeat finished runs."""
    before = store.wanted()
    change = enqueue(store, plan.spec, plan.points, plan.template, wish)
    left = _left(before, store.wanted())
    begun = sum(record.attempts > 0 and record.number in left for record in store.records()) if left else 0
    flight = store.records((model.RUNNING, model.WAITING))
    return change, Gone(len(left), begun, tuple(record.number for record in flight if not record.wanted))


def _left(before: array[int] | range, now: array[int] | range) -> frozenset[int]:
    if before == now:
        return frozenset()  # a million of them need not be looked at one by one
    if isinstance(now, range):
        return frozenset(number for number in before if number not in now)
    return frozenset(before).difference(now)
