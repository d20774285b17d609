"""Waiting for GPUs: one claim in the queue, looked at again when the kernel says that something changed.

There is no lock around the decision. Everybody reads the same claims and comes to the same plan (turns.py); the locks
on the GPUs settle the rest, without blocking. So nobody who is stopped or killed at any moment holds up the others,
beyond keeping his place in the queue while he lives.

Only the two first for a GPU watch its holders and ask the driver; every other waiter watches the two before it. Whoever
leaves the queue wakes the two behind it, and whoever finds another's turn come wakes that one. The others are told, and
look within seconds, so that they say whom they wait for now. As a safety net each looks again once a minute.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper import procs
from sweeper.errors import InputError
from sweeper.lease import asking, claims, devices, evidence, turns, words
from sweeper.lease import folder as places
from sweeper.lease.claims import Claim
from sweeper.lease.hold import Lease, take
from sweeper.lease.wake import Wake, poke, tell
from sweeper.lease.words import Wait
from sweeper.model import GpuRequest

NEAREST = 2  # how many watch the same thing, so that one of them may be stopped
DRIVER = 5.0  # seconds between two readings of what only the driver knows
BLIND = 0.5  # seconds between two looks of the first in line where the kernel could not be asked to wake it
NEWS = 2.0  # seconds until those further back look who holds the GPUs now
SAFETY = 60.0
_LADDER = (0.001, 0.004, 0.02, 0.1, 0.5)  # seconds after being woken: drivers and locks are let go a moment later


class Waiter:
    """One request for GPUs, in the queue from now on. Belongs to one process; ``folder`` is another place for tests.

    ``who`` says for whom: ``sweep``, ``run`` (number), ``command``, ``pid``. ``env`` is the environment that the run
    will have, as far as it says which GPUs it may use. Raises InputError where the request can never be met,
    SweepError or OSError where the folder of the locks cannot be used.
    """

    def __init__(
        self,
        request: GpuRequest,
        who: Mapping[str, Any],
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        environment = os.environ if env is None else env
        machine = devices.machine(load=False)
        asked = asking.resolve(request, asking.visible(environment, machine.gpus), machine)
        if asked.count == 0:
            raise InputError("a run without GPUs needs no lease")
        self.folder = places.choose() if folder is None else folder
        self._over: dict[str, Claim] = {}
        self._gpus = {gpu.uuid: gpu for gpu in machine.gpus}
        self._order = tuple(self._gpus)
        _refuse_nested(self.folder, environment, asked)
        self._wake = Wake(self.folder)
        pid = int(who.get("pid", os.getpid()))
        self.claim = Claim(
            state=claims.WAITING,
            pid=pid,
            ticks=procs.start_ticks(pid) or 0,
            boot=procs.boot_id(),
            count=asked.count,
            allowed=tuple(gpu.uuid for gpu in asked.allowed),
            sweep=str(who.get("sweep") or ""),
            run=int(who.get("run") or 0),
            command=str(who.get("command") or ""),
            per_gpu=request.per_gpu,
            memory=request.memory,
            busy_above=min(request.busy_above, claims.MOST),
            ignore_others=request.ignore_others,
            keep_free=request.keep_free,
            since=time.time(),
            wake=self._wake.name,
            uid=os.geteuid(),
            live=True,
        )
        try:
            claims.sweep_up(self.folder)
            self._descriptor, name = claims.create(self.folder, self.claim)
        except BaseException:
            self._wake.close()
            raise
        self.claim = replace(self.claim, name=name)
        self._steps = len(_LADDER)  # nobody has woken us yet
        self._new = True
        self._again: float | None = 0.0
        self._wait = Wait("its turn", "")
        self._poked: dict[str, float] = {}
        self._trouble: dict[str, str] = {}

    # -- what a loop needs -------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Readable when it is worth trying again; ``try_acquire`` makes it quiet."""
        return self._wake.fileno()

    def timeout(self) -> float | None:
        """Seconds after which to try again even if nothing happened."""
        return None if self._again is None else max(0.0, self._again - time.monotonic())

    def waiting_for(self) -> Wait:
        """Whom or what it waits for. The same object until the cause changes."""
        return self._wait

    def try_acquire(self) -> Lease | None:
        """The lease, or None where it is not to be had now. Does not block. Raises OSError, SweepError."""
        woken, news = self._wake.drain()
        if woken:
            self._steps = 0
        elif news and self._again is not None and (now := time.monotonic()) < self._again:
            self._again = min(self._again, now + NEWS * (0.5 + random.random() / 2))
            return None
        for _ in range(3):
            outcome = self._look()
            if isinstance(outcome, Lease):
                return outcome
            if not outcome:
                break
        return None

    def close(self) -> None:
        """Leave the queue. Twice does nothing, and after a lease was given only what waiting took is let go."""
        if self._descriptor >= 0:
            queue = self._queue(self._read())
            (self.folder / self.claim.name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
            self._announce(queue)
        if self._wake is not None:
            self._wake.close()

    # -- one look at the queue ---------------------------------------------------------------------------------

    def _read(self) -> list[Claim]:
        found = claims.read_all(self.folder, self._over)
        if self._descriptor >= 0 and not any(claim.name == self.claim.name for claim in found):
            # Somebody removed our file: without it nobody knows that we wait.
            os.close(self._descriptor)
            self._descriptor, _ = claims.create(self.folder, self.claim, self.claim.name)
            found = claims.read_all(self.folder, self._over)
        return found

    def _queue(self, found: Sequence[Claim]) -> list[Claim]:
        return [claim for claim in found if claim.live and claim.state == claims.WAITING]

    def _look(self) -> Lease | bool:
        """The lease; else whether it is worth looking once more at once."""
        found = self._read()
        queue = self._queue(found)
        held = _held(found)
        for uuid in self._trouble:
            held.setdefault(uuid, [_nobody(uuid)])
        self._trouble = {}
        ahead = turns.ranks(self.claim, queue)
        first = any(rank < NEAREST for rank in ahead.values())
        chosen = turns.plan(queue, held, self._order, turns.anything).get(self.claim.name)
        uses: dict[str, evidence.Use] | None = None
        driver = chosen is not None  # otherwise others are in the way, and whoever of them leaves will say so
        if driver or self._new:
            self._new = False
            uses = evidence.look(devices.all_gpus(load=False), found)
            known = uses
            plan = turns.plan(queue, held, self._order, lambda *about: evidence.fits(known, *about))
            chosen = plan.get(self.claim.name)
            if chosen is not None:
                lease = self._take(chosen, queue)
                if lease is not None:
                    self._clean(found, uses)
                    return lease
                self._again = time.monotonic() + 0.001 * (1 + random.random())
                self._say(found, held, uses)
                return False
            self._tell(plan, queue)
            self._clean(found, uses)
        self._say(found, held, uses)
        return self._sleep(queue, held, uses if driver else None, first=first)

    def _take(self, uuids: Sequence[str], queue: Sequence[Claim]) -> Lease | None:
        taken = take(self.folder, uuids, self.claim.per_gpu)
        if isinstance(taken, str):
            self._trouble = {taken: "held"}
            return None
        now = replace(
            self.claim, state=claims.HOLDING, gpus=tuple(uuids), since=time.time(), began=claims.ticks_now(), wake=""
        )
        try:
            claims.write(self._descriptor, now)
            gpus = [self._gpus[uuid] for uuid in self._order if uuid in uuids]
            lease = Lease(self.folder, gpus, now, self._descriptor, taken)
        except BaseException:
            taken.close()
            raise
        self._descriptor = -1
        self._again = None
        self._announce(queue)
        return lease

    def _announce(self, queue: Sequence[Claim]) -> None:
        """We have left the queue: wake those right behind us, and let the others know who is before them now."""
        behind = turns.neighbours(self.claim, queue, NEAREST, after=True)
        poke(other.wake for other in behind)
        told = {self.claim.name, *(other.name for other in behind)}
        tell(other.wake for other in queue if other.name not in told)

    def _sleep(
        self,
        queue: Sequence[Claim],
        held: Mapping[str, Sequence[Claim]],
        uses: Mapping[str, evidence.Use] | None,
        *,
        first: bool,
    ) -> bool:
        """Arrange to be woken; True where what should wake us happened meanwhile."""
        near = turns.neighbours(self.claim, queue, NEAREST, after=False)
        watched = {(claim.pid, claim.ticks) for claim in near}
        holders: set[str] = set()
        seconds = SAFETY * (0.75 + random.random() / 2)
        if first:
            holders = {claim.name for uuid in self.claim.allowed for claim in held.get(uuid, ()) if claim.name}
            if any(not claim.name for uuid in self.claim.allowed for claim in held.get(uuid, ())):
                seconds = min(seconds, BLIND)
        if uses is not None:  # nothing but what the driver shows is in the way
            seconds = min(seconds, DRIVER)
            for use in uses.values():
                if use.gpu.uuid in self.claim.allowed:
                    strangers = [*use.others, *(left for left, _ in use.left)]
                    watched |= {(one.pid, one.ticks) for one in strangers if one.ticks >= 0}
        complete = self._wake.processes(watched)
        new = self._wake.claims(holders)
        if not complete:
            seconds = min(seconds, DRIVER)
        if self._wake.blind:
            seconds = min(seconds, BLIND)
        if first and self._steps < len(_LADDER):
            seconds = min(seconds, _LADDER[self._steps])
            self._steps += 1
        self._again = time.monotonic() + seconds
        return any(not claims.held(self.folder, name) for name in new)

    def _tell(self, plan: Mapping[str, Sequence[str]], queue: Sequence[Claim]) -> None:
        """Wake those whose turn has come, each at most once a second."""
        now = time.monotonic()
        due = [claim for claim in queue if claim.name in plan and self._poked.get(claim.name, 0.0) + 1.0 < now]
        for claim in due:
            self._poked[claim.name] = now
        poke(claim.wake for claim in due)

    def _clean(self, found: Sequence[Claim], uses: Mapping[str, evidence.Use]) -> None:
        """Remove this user's claims that are over (root: everybody's), once nothing of them is left on a GPU."""
        kept = {past.name for use in uses.values() for _, past in use.left}
        for claim in found:
            if claim.live or claim.name in kept or os.geteuid() not in (0, claim.uid):
                continue
            if claim.boot != self.claim.boot or all(uuid in uses for uuid in claim.gpus):
                (self.folder / claim.name).unlink(missing_ok=True)

    def _say(
        self, found: Sequence[Claim], held: Mapping[str, Sequence[Claim]], uses: Mapping[str, evidence.Use] | None
    ) -> None:
        wait = words.wait(self.claim, self._queue(found), held, uses, self._gpus)
        if wait.key != self._wait.key:
            self._wait = wait


def _held(found: Sequence[Claim]) -> dict[str, list[Claim]]:
    held: dict[str, list[Claim]] = {}
    for claim in found:
        if claim.live and claim.state == claims.HOLDING:
            for uuid in claim.gpus:
                held.setdefault(uuid, []).append(claim)
    return held


def _nobody(uuid: str) -> Claim:
    """The holder of a GPU that is locked although no claim says by whom."""
    return Claim(state=claims.HOLDING, pid=0, ticks=0, boot="", count=1, allowed=(uuid,), gpus=(uuid,))


def _refuse_nested(folder: Path, env: Mapping[str, str], asked: asking.Asked) -> None:
    """A command that holds its GPUs until this one ends must not make this one wait for them."""
    name = env.get("SWEEP_LEASE", "")
    for claim in claims.read_all(folder):
        if claim.name == name and claim.live:
            left = [gpu for gpu in asked.allowed if gpu.uuid not in claim.gpus]
            if len(left) < asked.count:
                raise InputError(
                    "the command that this is started from holds the GPUs that are asked for, and would wait for "
                    "itself.\n    They are its own already: write gpus: 0 here, or start this outside of it"
                )
