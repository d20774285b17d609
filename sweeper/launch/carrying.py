"""A checked launch carried out: write what is wanted, then wake or start the scheduler."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper import folders, index, model, paths
from sweeper.errors import InputError
from sweeper.launch.leaving import Gone, enter
from sweeper.launch.place import Aside, launching, make_folder, move_aside
from sweeper.launch.planning import Plan, check_owner, holds, unheld
from sweeper.launch.reaching import reached, set_going
from sweeper.launch.tidying import tidy
from sweeper.model import RunRecord
from sweeper.store import Change, Store, Wish, reconcile, with_store
from sweeper.store.db import RUN

PRIVATE = ("SWEEP_RUN_DIR", "SWEEP_NAME", "SWEEP_RUN", "SWEEP_ATTEMPT", "SWEEP_PARAMS", "TMUX", "TMUX_PANE", "_")


@dataclass(frozen=True)
class Launched:
    """What a launch did: the change of the queue, whether a scheduler was running already, and its tmux session.

    ``gone`` is about what the file no longer holds. ``note`` is a remark on the queue, where there is one; ``aside`` is
    where ``--fresh`` has put the old results.
    """

    plan: Plan
    change: Change
    woken: bool
    session: str
    gone: Gone
    note: str = ""
    aside: Path | None = None


def carry_out(plan: Plan) -> Launched:
    """Make the file true: write it, the environment and what is wanted; wake the scheduler, or start it.

    Raises InputError (then nothing has changed), SweepError, OSError.
    """
    sweep = plan.sweep
    if plan.parallel is not None or not plan.options.here:
        from sweeper import tmux

        tmux.check()
    make_folder(sweep)
    with launching(sweep):
        check_owner(sweep, plan.spec)
        aside = move_aside(sweep) if plan.options.fresh else None
    with launching(sweep):
        running = reached(sweep)
        if running and plan.options.here:
            raise InputError(f"{sweep.name} is running already: launch it without --here to change it")
        return with_store(sweep, lambda store: _enter(plan, sweep, store, running, aside))


def _enter(plan: Plan, sweep: paths.SweepDir, store: Store, running: bool, aside: Aside | None) -> Launched:
    if not running:
        catch_up(store, sweep)
    before = store.wish()
    plan = _as_before(plan, aside.wish if aside is not None else before, running)
    _check_mode(before, plan, running)
    plan = replace(plan, notes=[*plan.notes, *unheld(plan)])
    wish = new_wish(plan, sweep, before, running)
    change, gone = enter(store, plan, wish)
    paths.replace(sweep.file, plan.spec.source, sync=True)
    paths.replace(sweep.owner, json.dumps({"host": socket.gethostname(), "file": plan.spec.file}), sync=True)
    index.remember(sweep)
    if not plan.options.here:
        wish = set_going(sweep, store, wish)
    tidy(sweep, store)
    note = store.note if before is not None else ""
    return Launched(plan, change, running, wish.session, gone, note, aside.path if aside is not None else None)


def catch_up(store: Store, sweep: paths.SweepDir) -> None:
    """Enter what happened since the last scheduler was killed, so that what failed meanwhile is queued again."""
    with store:
        alive, ended = reconcile(store, sweep)
        for number, outcome in ended:
            store.set_outcome(number, outcome)
        hear_of_begun(store, alive)


def hear_of_begun(store: Store, records: Iterable[RunRecord]) -> None:
    """Of these runs, enter which have begun: a killed scheduler may have let them go and not written it down, and what
    is asked of all that run is to be asked of them too."""
    for record in records:
        run = paths.RunDir(Path(record.folder or ""))
        try:
            begun = folders.history(run).attempt if folders.is_held(run.lock) else None
        except OSError:
            continue  # closed to us: its scheduler says so
        if begun is not None and begun.number > record.attempts and record.state != model.RUNNING:
            store.set_started(record.number, begun.number, begun.started, begun.gpus, begun.host)


def _as_before(plan: Plan, before: Wish | None, running: bool) -> Plan:
    """Launched without --parallel or --serial, a sweep goes on as many at a time as it does, or as was last asked for.

    ``--here`` says where for once, and not how many: the launch after it has the number from before it.
    """
    options = plan.options
    if options.parallel is not None or (options.serial and not options.here):
        return replace(plan, asked=options.parallel or 0)
    asked = None if before is None else _asked(before)
    if options.here or before is None:
        return replace(plan, asked=asked)
    if running:
        return replace(plan, asked=asked, parallel=before.parallel)
    return plan if asked is None else replace(plan, asked=asked, parallel=asked or None)


def _asked(wish: Wish) -> int | None:
    """What launches before this one asked for; of one that did not write it down yet, what it had."""
    said = wish.options.get("asked", None if wish.here else wish.parallel or 0)
    return said if type(said) is int and said >= 0 else None


def _check_mode(before: Wish | None, plan: Plan, running: bool) -> None:
    if running and before is not None and (before.parallel is None) != (plan.parallel is None):
        now = "a serial chain" if before.parallel is None else f"{before.parallel} at a time"
        raise InputError(
            f"{plan.sweep.name} is running as {now}: sweep stop {plan.sweep.name} first to change between the two"
        )


def environment(plan: Plan) -> dict[str, Any]:
    """What is remembered of the launching person and place."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "variables": {name: value for name, value in os.environ.items() if name not in PRIVATE},
        "umask": umask,
        "cwd": os.getcwd(),
        "file": plan.spec.file,
        "host": socket.gethostname(),
        "parallel": plan.parallel,
        "options": _options(plan),
    }


def _options(plan: Plan) -> dict[str, Any]:
    return {"gpu": plan.request.to_json(), "hold": holds(plan), "cwd": os.getcwd(), "asked": plan.asked}


def new_wish(plan: Plan, sweep: paths.SweepDir, before: Wish | None, running: bool) -> Wish:
    """Write the environment, where it differs from the last one, and give the new wish."""
    data = environment(plan)
    number = before.environment if before is not None else 0
    if number == 0 or folders.read_json(sweep.environment(number)) != data:
        number += 1
        text = json.dumps(data, ensure_ascii=False, indent=0)
        paths.replace(sweep.environment(number), text, mode=0o600, sync=True)
    return Wish(
        file=plan.spec.file,
        environment=number,
        parallel=plan.parallel,
        want=RUN,
        session=before.session if running and before is not None else "",
        here=plan.options.here,
        options=data["options"],
    )
