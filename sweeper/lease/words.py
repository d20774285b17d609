"""For people: whom a run waits for, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper import moments
from sweeper.lease import evidence, turns
from sweeper.lease.claims import Claim
from sweeper.lease.devices import Gpu
from sweeper.lease.evidence import Use


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for, in one line that is safe for a terminal. ``note`` is for keeping: its moments are marked
    (moments.py). ``text`` says how long ago they are just now, ``lasting`` when they were, for where it is printed once
    and stays. ``key`` is equal while the cause is the same."""

    note: str
    key: str

    @property
    def text(self) -> str:
        return moments.ago(self.note)

    @property
    def lasting(self) -> str:
        return moments.at(self.note)


def wait(
    claim: Claim,
    queue: Sequence[Claim],
    held: Mapping[str, Sequence[Claim]],
    uses: Mapping[str, Use] | None,
    gpus: Mapping[str, Gpu],
) -> Wait:
    """What ``claim`` waits for. Without ``uses`` the driver was not asked, since somebody else is in the way."""
    causes: list[tuple[str, str, str]] = []  # GPU, in words, what stays the same
    for uuid in claim.allowed:
        name = gpus[uuid].handle if uuid in gpus else uuid
        holders = list(held.get(uuid, ()))
        if holders and not (claim.sharing and all(one.sharing for one in holders)):
            causes.append((name, f"held by {holder(holders[0])}", holders[0].name))
            continue
        if len(holders) >= claim.per_gpu and holders:
            causes.append((name, f"shared by {len(holders)} already, one of them {holder(holders[0])}", "shared"))
            continue
        objection = evidence.objection(claim, uses.get(uuid), holders) if uses is not None else None
        if objection is not None:
            causes.append((name, objection, moments.without(objection)))
    earlier = turns.before(claim, queue)
    behind = _behind(earlier)
    if not earlier and claim.keep_free and len(claim.allowed) - len(causes) >= claim.count:
        text = f"more free GPUs: keep_free leaves {claim.keep_free} to others"
        return Wait(text, text)
    if not causes:
        return Wait(behind or "its turn", behind)
    first, text, key = causes[0]
    others = [name for name, _, _ in causes[1:]]
    several = f", or for GPU {', '.join(others)}" if others else ""
    if claim.count > 1:
        several = f" ({claim.count} GPUs are needed)"
    ending = f"; {behind}" if behind else ""
    return Wait(f"GPU {first}, {text}{several}{ending}", f"{first} {key} {others} {behind}")


def holder(claim: Claim) -> str:
    """``alice: python train.py --lr 3 (pid 4242, since ...)``, the moment marked."""
    if claim.uid < 0:
        return "somebody whose file in the folder of the locks was deleted"
    what = claim.command or (f"run {claim.run} of {claim.sweep}" if claim.sweep else "a command")
    return f"{evidence.user(claim.uid)}: {what} (pid {claim.pid}, {moments.mark(claim.since)})"


def _behind(earlier: Sequence[Claim]) -> str:
    if not earlier:
        return ""
    stopped = [claim for claim in earlier[:8] if evidence.status(claim.pid)[1] in ("T", "t")]
    note = f", of whom {evidence.user(stopped[0].uid)}'s process {stopped[0].pid} is stopped" if stopped else ""
    return f"its turn behind {len(earlier)} other{'s' if len(earlier) > 1 else ''} ({_users(earlier)}){note}"


def _users(found: Sequence[Claim]) -> str:
    """``alice, bob and 2 more``, in the order of their first ones."""
    users = list(dict.fromkeys(claim.uid for claim in found))
    named = [evidence.user(uid) for uid in users[:3]]
    if len(users) > 3:
        return f"{', '.join(named)} and {len(users) - 3} more"
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
