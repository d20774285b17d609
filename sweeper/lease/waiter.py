"""Waiting for GPUs: one claim in the queue, looked at again when the kernel says that something changed.

There is no lock around the decision. Everybody reads the same claims and comes to the same plan (turns.py); the locks
on the GPUs settle the rest, without blocking. So nobody who is stopped or killed at any moment holds up the others.

Only the two first for a GPU watch its holders, and the first asks the driver; every other waiter watches the two before
it. Whoever leaves the queue wakes the two behind it, and whoever finds another's turn come wakes that one. The others
are told, and look within seconds, so that they say whom they wait for now. Those who would come to watch if the first
were stopped see every few seconds whether they are; as a safety net each looks again after some minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper import procs
from sweeper.errors import InputError, SweepError
from sweeper.lease import asking, claims, devices, evidence, roll, turns, words
from sweeper.lease import folder as places
from sweeper.lease.claims import Claim
from sweeper.lease.hold import Lease, Refused, take
from sweeper.lease.refusals import Refusals, nobody
from sweeper.lease.roll import Roll
from sweeper.lease.silence import Silence
from sweeper.lease.wake import LOOK, NEWS, TURN, Wake, send
from sweeper.lease.words import Wait
from sweeper.model import GpuRequest

NEAREST = 2  # how many watch the same thing, so that one of them may be stopped
DRIVER = 5.0  # seconds between two readings of what only the driver, or only /proc, knows
BLIND = 0.5  # seconds between two looks of the first in line where the kernel could not be asked to wake it
LATER = 2.0  # seconds until those further back look who holds the GPUs now
SAFETY = 60.0  # seconds between two looks of the first; the further back, the more
_MOVES = 5  # times in a row that the folder may be removed while it is made again
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
        self._choose = places.choose if folder is None else lambda: folder
        self.folder = self._choose()
        self._over: dict[str, Claim] = {}
        self._gpus = {gpu.uuid: gpu for gpu in machine.gpus}  # all that were ever seen
        roll.refuse_nested(self.folder, environment)
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
        except OSError as error:
            self._wake.close()
            raise places.unwritable(self.folder, error) from error
        except BaseException:
            self._wake.close()
            raise
        self.claim = replace(self.claim, name=name)
        self._steps = len(_LADDER)  # nobody has woken us yet
        self._new = True
        self._again: float | None = 0.0
        self._due = 0.0  # when it is to be looked at all claims again; before, only whether those before us go on
        self._near: list[Claim] = []
        self._wait = Wait("its turn", "")
        self._poked: dict[str, float] = {}
        self._refused = Refusals()
        self._silence = Silence()

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
        letters = self._wake.drain()
        now = time.monotonic()
        if letters - {NEWS}:
            self._steps = 0
        elif self._again is not None and letters and now < self._again:
            self._again = self._due = min(self._again, now + LATER * (0.5 + random.random() / 2))
            return None
        elif self._again is not None and self._again <= now < self._due and not letters and self._near_go():
            self._again = min(self._due, now + DRIVER)
            return None
        self._refused.begin()
        for _ in range(len(self.claim.allowed) + NEAREST):  # each may be refused once
            outcome = self._look(told=TURN in letters)
            if isinstance(outcome, Lease):
                return outcome
            if not outcome:
                return None
        self._again = self._due = time.monotonic() + _LADDER[0]
        return None

    def close(self) -> None:
        """Leave the queue. Twice does nothing, and after a lease was given only what waiting took is let go."""
        if self._descriptor >= 0:
            now = None
            with contextlib.suppress(OSError, SweepError):  # unlocked, our file says by itself that nobody waits
                now = self._read()
                (self.folder / self.claim.name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
            if now is not None:
                self._announce(now)
        if self._wake is not None:
            self._wake.close()

    # -- one look at the queue ---------------------------------------------------------------------------------

    def _read(self) -> Roll:
        for _ in range(_MOVES):
            try:
                return self._read_once()
            except (FileNotFoundError, NotADirectoryError):  # the whole folder is gone
                self.folder = self._choose()
                self._wake.move(self.folder)
        return self._read_once()

    def _read_once(self) -> Roll:
        found = claims.read_all(self.folder, self._over)
        if self._descriptor >= 0 and not any(claim.name == self.claim.name for claim in found):
            # Somebody removed our file: without it nobody knows that we wait.
            descriptor, _ = claims.create(self.folder, self.claim, self.claim.name)
            os.close(self._descriptor)
            self._descriptor = descriptor
            found = claims.read_all(self.folder, self._over)
        return Roll(found, self.claim.name, self._silence.of)

    def _look(self, *, told: bool) -> Lease | bool:
        """The lease; else whether it is worth looking once more at once."""
        now = self._read()
        refused = self._refused.standing(self.claim, now.held)
        bad = {uuid: why for uuid, why in refused.items() if why}
        held = {**{uuid: [nobody(uuid)] for uuid in refused if uuid not in bad}, **now.held}
        ranks = turns.ranks(self.claim, now.queue, now.goes, most=2 * NEAREST)
        open_to_us = [
            uuid for uuid in self.claim.allowed if not held.get(uuid) or turns.may_join(self.claim, held[uuid])
        ]
        known = [uuid for uuid in self._gpus if uuid not in bad]
        claimed = turns.plan(now.queue, held, known, turns.anything, now.runs)
        due = [claim for claim in turns.before(self.claim, now.queue) if claim.name in claimed]
        late = self._silence.see(due)
        if self._silence:
            claimed = turns.plan(now.queue, held, known, turns.anything, now.goes)
        chosen = self.claim.name in claimed
        # Otherwise others are in the way, and whoever of them leaves will say so, or whoever is first.
        asks = chosen or any(ranks[uuid] == 0 for uuid in open_to_us)
        uses: dict[str, evidence.Use] | None = None
        if asks or self._new or told or late:
            self._new = False
            uses = evidence.look(devices.all_gpus(load=False), now.found)
            self._gpus.update({uuid: use.gpu for uuid, use in uses.items()})
            plan = self._plan(now, held, bad, uses)
            if self.claim.name in plan:
                lease = self._take(plan[self.claim.name], now, uses)
                if lease is not None:
                    now.forget_the_dead(self.folder, uses)
                return lease or True
            self._tell(plan, now.queue)
            theirs = self._plan(now, held, bad, uses, now.runs) if self._silence else plan
            if due and self._silence.judge(due, theirs.keys()):
                return True
            now.forget_the_dead(self.folder, uses)
        said = {**now.held, **self._refused.unnamed(self.folder, now.held)}
        wait = words.wait(self.claim, now.queue, now.hindered, said, bad, uses, self._gpus, self.folder)
        if wait.key != self._wait.key:
            self._wait = wait
        return self._sleep(now, held, uses if asks else None, ranks)

    def _plan(
        self,
        now: Roll,
        held: Mapping[str, Sequence[Claim]],
        bad: Mapping[str, str],
        uses: Mapping[str, evidence.Use],
        goes: turns.Goes | None = None,
    ) -> dict[str, tuple[str, ...]]:
        machine = [uuid for uuid in uses if uuid not in bad]
        return turns.plan(now.queue, held, machine, lambda *about: evidence.fits(uses, *about), goes or now.goes)

    def _take(self, uuids: Sequence[str], now: Roll, uses: Mapping[str, evidence.Use]) -> Lease | None:
        taken = take(self.folder, uuids, self.claim.per_gpu)
        if isinstance(taken, Refused):
            self._refused.note(taken)
            return None
        told = replace(
            self.claim, state=claims.HOLDING, gpus=tuple(uuids), since=time.time(), began=claims.ticks_now(), wake=""
        )
        try:
            claims.write(self._descriptor, told)
            procs.crashpoint("lease told")
            gpus = [use.gpu for uuid, use in uses.items() if uuid in uuids]
            lease = Lease(self.folder, gpus, told, self._descriptor, taken)
        except BaseException:
            taken.close()
            raise
        self._descriptor = -1
        self._again = None
        self._announce(now)
        return lease

    def _announce(self, now: Roll) -> None:
        """We have left the queue: wake those right behind us, and let the others know who is before them now."""
        behind = turns.behind(self.claim, now.queue, now.goes, NEAREST)
        send(LOOK, [other.wake for other in behind])
        told = {self.claim.name, *(other.name for other in behind)}
        send(NEWS, [other.wake for other in now.queue if other.name not in told])

    def _sleep(
        self,
        now: Roll,
        held: Mapping[str, Sequence[Claim]],
        uses: Mapping[str, evidence.Use] | None,
        ranks: Mapping[str, int],
    ) -> bool:
        """Arrange to be woken; True where what should wake us happened meanwhile."""
        first = any(rank < NEAREST for rank in ranks.values())
        near = turns.ahead(self.claim, now.queue, now.goes, NEAREST)
        watched = {(claim.pid, claim.ticks) for claim in near}
        holders: set[str] = set()
        seconds = SAFETY * (0.75 + random.random() / 2) * (1 + len(turns.before(self.claim, now.queue)) / 8)
        if first:
            holders = {claim.name for uuid in self.claim.allowed for claim in held.get(uuid, ()) if claim.name}
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
        moment = time.monotonic()
        close = any(rank < 2 * NEAREST for rank in ranks.values())
        self._again = self._due = min(moment + seconds, self._refused.next(), self._silence.next(close=close))
        self._near = near if close else []
        if self._near:
            self._again = min(self._due, moment + DRIVER)
        return any(not claims.held(self.folder, name) for name in new)

    def _near_go(self) -> bool:
        """Whether those before us go on, as far as it is for us to see."""
        return not any(procs.stopped(claim.pid, claim.ticks) for claim in self._near)

    def _tell(self, plan: Mapping[str, Sequence[str]], queue: Sequence[Claim]) -> None:
        """Wake those whose turn has come, each at most once a second."""
        now = time.monotonic()
        due = [claim for claim in queue if claim.name in plan and self._poked.get(claim.name, 0.0) + 1.0 < now]
        for claim in due:
            self._poked[claim.name] = now
        send(TURN, [claim.wake for claim in due])
