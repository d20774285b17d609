"""Those who wait and do not take their turn, though nothing says that they are stopped: frozen, or stuck on a disk.

By the plan it is somebody's turn, he was told so, and some ten seconds later he still waits: he is passed over like one
who is stopped. Each sees to that for himself, and when he was wrong the locks settle it. Then the mailbox of who is
passed over is filled: only he can empty it, so whoever finds it full, now or later, knows at once that he does not
answer, and whoever finds room in it, that he does again. Without a mailbox within reach (a container's own network),
and of one who reads and yet does nothing, it counts for that one turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence, Set

from sweeper.lease.claims import Claim
from sweeper.lease.wake import fill, is_full

SOON = 0.5  # seconds after which a mailbox that is full is taken as a sign
PATIENCE = 10.0  # seconds to take one's turn: a half until the driver is asked too, a half after being told


class Silence:
    """What one waiter has seen of the others; moments of the monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # claim name -> since when it has been his turn, as far as the claims say
        self._told: dict[str, float] = {}  # and since when by the driver's word too
        self._full: dict[str, bool] = {}  # whether his mailbox was full soon after; asking puts a letter into it
        self._passed: dict[str, bool] = {}  # who is passed over, and whether his mailbox was filled

    def __bool__(self) -> bool:
        """Whether anybody is passed over."""
        return bool(self._passed)

    def of(self, claim: Claim) -> bool:
        """Whether he is passed over."""
        if self._passed.get(claim.name) and not is_full(claim.wake):
            del self._passed[claim.name]
            self._begin_anew(claim.name)
        return claim.name in self._passed

    def see(self, due: Sequence[Claim]) -> bool:
        """Note whose turn it is by the claims alone, whether passed over or not. True where that lasts too long."""
        names = {claim.name for claim in due}
        for name in self._since.keys() - names:
            self._begin_anew(name)
        for name in [name for name, filled in self._passed.items() if name not in names and not filled]:
            del self._passed[name]
        now = time.monotonic()
        for name in names:
            self._since.setdefault(name, now)
        return any(self._is_odd(claim, now) for claim in due if claim.name not in self._passed)

    def judge(self, due: Iterable[Claim], turns: Set[str]) -> bool:
        """Pass over those of ``due`` who do not take what is theirs by the driver's word too (``turns``), and who have
        been told so. True where that is somebody new."""
        now = time.monotonic()
        found = False
        for claim in due:
            if claim.name not in turns:
                self._told.pop(claim.name, None)
                if not self._passed.get(claim.name):
                    self._passed.pop(claim.name, None)
            elif claim.name not in self._passed and self._is_odd(claim, now):
                told = self._told.setdefault(claim.name, now)
                if told + PATIENCE / 2 <= now or self._full.get(claim.name):
                    self._passed[claim.name] = fill(claim.wake)
                    found = True
        return found

    def next(self, *, close: bool) -> float:
        """When to look again at those whose turn it is. Who is not ``close`` leaves those whom only the driver keeps
        from it to the others."""
        now = time.monotonic()
        found = float("inf")
        for name, since in self._since.items():
            if name not in self._passed:
                told = self._told.get(name, now)
                steps = [
                    since + SOON,
                    since + PATIENCE / 2,
                    told + PATIENCE / 2 if close or name in self._told else 0.0,
                ]
                found = min([found, *(step for step in steps if step > now)])
        return found

    def _is_odd(self, claim: Claim, now: float) -> bool:
        waited = now - self._since.get(claim.name, now)
        if waited >= SOON and claim.name not in self._full:
            self._full[claim.name] = is_full(claim.wake)
        return waited >= PATIENCE / 2 or self._full.get(claim.name, False)

    def _begin_anew(self, name: str) -> None:
        for kept in (self._since, self._told, self._full):
            kept.pop(name, None)
