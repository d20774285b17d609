"""The roll: what each claim is at one moment. It waits, it waits but is stopped or does not answer, it holds GPUs, or
it is over.

What is over is forgotten once nothing of it is left (remains.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sweeper import procs
from sweeper.errors import RequestError
from sweeper.lease import claims
from sweeper.lease.claims import Claim
from sweeper.lease.evidence import Use

STOPPED, SILENT = "is stopped and passed over", "does not answer and is passed over"


class Roll:
    """``found`` are all claims, ``queue`` those that wait, both in order of arrival; ``held`` are the holders by UUID.

    ``own`` is the claim of who asks: whoever looks is not stopped. ``silent`` tells who does not answer.
    """

    def __init__(
        self, found: Sequence[Claim], own: str = "", silent: Callable[[Claim], bool] = lambda _claim: False
    ) -> None:
        self.found = found
        self._silent = silent
        waiting = [claim for claim in found if claim.live and claim.state == claims.WAITING]
        self.queue = [claim for claim in waiting if claim.count <= len(claim.allowed)]  # others wait for ever
        self.held: dict[str, list[Claim]] = {}
        for claim in found:
            if claim.live and claim.state == claims.HOLDING:
                for uuid in claim.gpus:
                    self.held.setdefault(uuid, []).append(claim)
        self._hindered = {own: ""}

    def goes(self, claim: Claim) -> bool:
        """Whether who waits goes on when his turn comes."""
        return not self.hindered(claim)

    def runs(self, claim: Claim) -> bool:
        """The same, but for those who only do not answer."""
        return self.hindered(claim) != STOPPED

    def hindered(self, claim: Claim) -> str:
        """What keeps who waits from going on when his turn comes, in words; '' for nothing."""
        known = self._hindered.get(claim.name)
        if known is None:
            stopped = procs.stopped(claim.pid, claim.ticks)
            known = STOPPED if stopped else SILENT if self._silent(claim) else ""
            self._hindered[claim.name] = known
        return known

    def forget_the_dead(self, folder: Path, uses: Mapping[str, Use]) -> None:
        """Remove this user's claims that are over (root: everybody's), once nothing of them is left anywhere."""
        kept = {name for use in uses.values() for name in use.kept}
        boot = procs.boot_id()
        for claim in self.found:
            if claim.live or claim.name in kept or os.geteuid() not in (0, claim.uid):
                continue
            if claim.boot != boot or all(uuid in uses for uuid in claim.gpus):
                (folder / claim.name).unlink(missing_ok=True)


def refuse_nested(folder: Path, env: Mapping[str, str]) -> None:
    """Nobody waits for GPUs for whose sake others are held: he might wait for himself, or two for each other, for ever.
    Raises RequestError in a command that holds some until it ends."""
    name = env.get("SWEEP_LEASE", "")
    for claim in claims.read_all(folder) if name else ():
        if claim.name == name and claim.live:
            raise RequestError(
                "gpus",
                f"the command that this is started from (pid {claim.pid}) holds {_numbered(len(claim.gpus))} until it "
                "ends, and nothing in it may wait for others",
                "Write gpus: 0 to use what it holds, let it ask for all of them at once, or start this outside of it.",
            )


def _numbered(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"
