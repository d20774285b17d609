"""For people: whom a run waits for, in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper import moments, procs
from sweeper.lease import evidence, lockers, remains, turns
from sweeper.lease.claims import Claim
from sweeper.lease.devices import Gpu
from sweeper.lease.evidence import Use

_SHOWN = 5  # pids of what a holder that has ended left
_LOOKED_AT = 8  # of those before, whether they go on
# What keeps who waits from going on when his turn comes, in words; '' for nothing.
Hindered = Callable[[Claim], str]


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for, in one line that is safe for a terminal. ``note`` is for keeping: its moments are marked
    (moments.py). ``text`` says how long ago they are just now, ``lasting`` when they were, for where it is printed once
    and stays; ``everything`` says it of each GPU, in lines. ``key`` is equal while the cause is the same."""

    note: str
    key: str
    causes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return moments.ago(self.note)

    @property
    def lasting(self) -> str:
        return moments.at(self.note)

    @property
    def everything(self) -> str:
        return moments.ago("\n    ".join(self.causes or [self.note]))


def wait(
    claim: Claim,
    queue: Sequence[Claim],
    hindered: Hindered,
    held: Mapping[str, Sequence[Claim]],
    bad: Mapping[str, str],
    uses: Mapping[str, Use] | None,
    gpus: Mapping[str, Gpu],
    folder: Path | None = None,
) -> Wait:
    """What ``claim`` waits for. ``bad`` says of GPUs what is wrong with their locks; the claims are in ``folder``.

    Without ``uses`` the driver was not asked, since somebody else is in the way.
    """
    causes: dict[str, list[str]] = {}  # in words -> the GPUs
    blocked: list[str] = []
    key = ""
    for uuid in claim.allowed:
        cause = _cause(claim, uuid, list(held.get(uuid, ())), bad, uses, folder)
        if cause is not None:
            name = gpus[uuid].handle if uuid in gpus else uuid
            causes.setdefault(cause[0], []).append(name)
            key = cause[1] if not blocked else key
            blocked.append(name)
    earlier = turns.before(claim, queue)
    behind = _behind(earlier, hindered) if earlier else ""
    if claim.keep_free and len(claim.allowed) - len(blocked) >= claim.count:
        free = sum(1 for uuid in gpus if not held.get(uuid)) - sum(1 for uuid in bad if not held.get(uuid))
        if not earlier or free < claim.count + claim.keep_free:
            text = f"more free GPUs: keep_free leaves {claim.keep_free} to others" + (f"; {behind}" if behind else "")
            return Wait(text, text)
    if not causes:
        return Wait(behind or "its turn", behind)
    several = f", or for GPU {', '.join(blocked[1:])}" if blocked[1:] else ""
    if claim.count > 1:
        several = f" ({claim.count} GPUs are needed)"
    if claim.keep_free:
        several = f" ({claim.count + claim.keep_free} must be free: keep_free leaves {claim.keep_free} to others)"
    ending = f"; {behind}" if behind else ""
    return Wait(
        f"GPU {blocked[0]}, {next(iter(causes))}{several}{ending}",
        f"{blocked} {key} {behind}",
        tuple(f"GPU {', '.join(names)}, {words}" for words, names in causes.items())
        + ((several.strip(),) if several.startswith(" (") else ())
        + ((behind,) if behind else ()),
    )


def _cause(
    claim: Claim,
    uuid: str,
    holders: Sequence[Claim],
    bad: Mapping[str, str],
    uses: Mapping[str, Use] | None,
    folder: Path | None,
) -> tuple[str, str] | None:
    """Why ``claim`` does not have this GPU, in words, and what of that stays the same; None where nothing hinders."""
    if uuid in bad:
        what = bad[uuid].split("\n")[0]
        return f"which cannot be locked: {what}", what
    if holders and not (claim.sharing and all(one.sharing for one in holders)):
        return f"held by {holder(holders[0], folder)}", f"{holders[0].name} {remains.ended(holders[0])}"
    if holders and not turns.may_join(claim, holders):
        strictest = min(holders, key=lambda one: one.per_gpu)
        if strictest.per_gpu < claim.per_gpu:
            return (
                f"shared by {len(holders)} already, and no more are let in by {holder(strictest, folder)}",
                strictest.name,
            )
        return f"shared by {len(holders)} already, one of them {holder(holders[0], folder)}", "shared"
    objection = evidence.objection(claim, uses.get(uuid), holders) if uses is not None else None
    return None if objection is None else (objection(), moments.without(objection()))


def holder(claim: Claim, folder: Path | None = None) -> str:
    """``alice: python train.py --lr 3 (pid 4242, since ...)``, the moment marked."""
    if claim.uid < 0:
        return claim.command or lockers.DELETED
    what = claim.command or (f"run {claim.run} of {claim.sweep}" if claim.sweep else "a command")
    return f"{evidence.user(claim.uid)}: {what} ({process(claim, folder)}, {moments.mark(claim.since)})"


def process(claim: Claim, folder: Path | None = None) -> str:
    """``pid 4242``; of one that is gone what it started and what holds on, as far as we may see that."""
    if not remains.ended(claim):
        return f"pid {claim.pid}"
    left = [] if folder is None else procs.openers(os.fspath(folder / claim.name))
    if not left:
        return f"pid {claim.pid}, which has ended or is in a container, and what it started holds on"
    shown = ", ".join(map(str, left[:_SHOWN])) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
    return f"pid {claim.pid} has ended, and of what it started pid {shown} hold{'' if left[1:] else 's'} on"


def _behind(earlier: Sequence[Claim], hindered: Hindered) -> str:
    passed = next((claim for claim in earlier[:_LOOKED_AT] if hindered(claim)), None)
    note = ""
    if passed is not None:
        note = f", of whom {evidence.user(passed.uid)}'s process {passed.pid} {hindered(passed)}"
    return f"its turn behind {len(earlier)} other{'s' if len(earlier) > 1 else ''} ({_users(earlier)}){note}"


def _users(found: Sequence[Claim]) -> str:
    """``alice, bob and 2 more``, in the order of their first ones."""
    users = list(dict.fromkeys(claim.uid for claim in found))
    named = [evidence.user(uid) for uid in users[:3]]
    if len(users) > 3:
        return f"{', '.join(named)} and {len(users) - 3} more"
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
