"""GPUs that were free by the claims and that the locks did not give all the same.

Somebody has them who does not say so: his claim was deleted, or he has not written it yet. Or something is wrong with
the lock. Such a GPU is left alone for a while, which grows with each refusal; the others may be had meanwhile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import SweepError
from sweeper.lease import claims, lockers
from sweeper.lease.claims import Claim
from sweeper.lease.hold import Refused

_PAUSES = (0.001, 0.004, 0.02, 0.1, 0.5, 5.0)  # seconds; for a bad lock the last


@dataclass(frozen=True)
class _Refusal:
    """``why`` is what is wrong with the lock, '' where somebody has it; until a moment of the monotonic clock."""

    why: str
    tries: int
    until: float


class Refusals:
    """What one waiter was refused."""

    def __init__(self) -> None:
        self._found: dict[str, _Refusal] = {}
        self._now: set[str] = set()
        self._stood: set[str] = set()  # what was not to be tried at the last look

    def begin(self) -> None:
        """From now on nothing is tried twice."""
        self._now.clear()

    def note(self, refused: Refused) -> None:
        uuid = refused.uuid
        tries = self._found[uuid].tries + 1 if uuid in self._found else 0
        seconds = _PAUSES[-1 if refused.why else min(tries, len(_PAUSES) - 1)]
        self._found[uuid] = _Refusal(refused.why, tries, time.monotonic() + seconds * (1 + random.random() / 4))
        self._now.add(uuid)

    def standing(self, claim: Claim, held: Mapping[str, Sequence[Claim]]) -> dict[str, str]:
        """UUID -> what is wrong with its lock ('': somebody has it), for the GPUs that are not to be tried yet.

        ``held`` are those whose holder says so by now. Raises SweepError where bad locks leave ``claim`` too few.
        """
        self._found = {uuid: one for uuid, one in self._found.items() if uuid not in held}
        now = time.monotonic()
        found = {uuid: one.why for uuid, one in self._found.items() if now < one.until or uuid in self._now}
        self._stood = set(found)
        bad = [why for uuid, why in found.items() if why and uuid in claim.allowed]
        if len(claim.allowed) - len(bad) < claim.count:
            raise SweepError(bad[0])
        return found

    def unnamed(self, folder: Path, held: Mapping[str, Sequence[Claim]]) -> dict[str, list[Claim]]:
        """The GPUs that are locked still although nobody says so, each with nobody as its holder."""
        left = [uuid for uuid, one in self._found.items() if not one.why and uuid not in held]
        return {uuid: [nobody(uuid, who)] for uuid in left if (who := lockers.outsider(folder, uuid))}

    def next(self) -> float:
        """When to try again; a moment that has passed where that came while one looked."""
        ends = [one.until for uuid, one in self._found.items() if uuid in self._now or uuid in self._stood]
        return min(ends, default=float("inf"))


def nobody(uuid: str, who: str = "") -> Claim:
    """The holder of a GPU that is locked although no claim says by whom; ``who`` is what else tells of him."""
    return Claim(claims.HOLDING, pid=0, ticks=0, boot="", count=1, allowed=(uuid,), gpus=(uuid,), command=who)
