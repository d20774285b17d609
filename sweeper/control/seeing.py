"""How a sweep is: its queue, corrected by the locks and folders of the runs in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sweeper import folders, index, launch, model, obstacle, paths
from sweeper.model import RunRecord
from sweeper.store import Store, Wish, with_store
from sweeper.store.wish import CHAIN_WAITS, PAUSE, RUN, STOP

T = TypeVar("T")
FLIGHT = (model.RUNNING, model.WAITING)
UNWELL = (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY, model.STOPPED)
UNHEARD = 200  # runs at most that are looked at in their folders because their scheduler is gone
GOING = ("running", "paused", "interrupted")  # the states in which there is something to stop


@dataclass(frozen=True, slots=True)
class Status:
    """A sweep at one moment. ``state`` is running, paused, stopping, stopped, finished or interrupted (its scheduler
    is gone and runs are left); ``counts`` are of the wanted runs; ``flight`` are the runs that are not at rest;
    ``waits`` is what a chain with ``hold: true`` waits for before any of them, its moments marked (moments.py);
    ``note`` says what is not known, and why."""

    sweep: paths.SweepDir
    state: str
    why: str
    counts: dict[str, int]
    total: int
    parallel: int | None
    session: str
    flight: list[RunRecord]
    unwell: list[RunRecord]
    waits: str = ""
    note: str = ""

    @property
    def unwell_count(self) -> int:
        return sum(self.counts.get(state, 0) for state in model.OUTCOMES if state != model.DONE)

    @property
    def left(self) -> int:
        return sum(self.counts.get(state, 0) for state in model.UNFINISHED)


def look(sweep: paths.SweepDir, ask: Callable[[Store], T]) -> T:
    """What ``ask`` makes of the sweep's queue, opened for looking. Works for another user's sweep too, on a read-only
    disk, and over a damaged queue. Raises InputError on another host, SweepError where nothing can be read."""
    index.check_open(sweep)
    index.check_host(sweep)
    return with_store(sweep, ask, readonly=True)


def change(sweep: paths.SweepDir, act: Callable[[Store], T]) -> T:
    """What ``act`` makes of the sweep's queue, while nobody else changes what is wanted. Raises InputError on another
    host and for another user's sweep, SweepError where nothing can be written."""

    def do(store: Store) -> T:
        store.synced()  # what was ordered outlasts a power cut
        return act(store)

    with launch.launching(sweep):
        return with_store(sweep, do)


def status(sweep: paths.SweepDir, store: Store, *, unwell: int = 20) -> Status:
    """How the sweep is; at most ``unwell`` of the runs that did not end well are given."""
    wish = store.wish() or Wish(file="", want=STOP, why="it was never launched")
    alive = launch.alive(sweep)
    counts = store.counts()
    flight = []
    for record in store.records(FLIGHT):
        now = as_it_is(record)
        flight.append(now)
        if now.state != record.state and record.wanted:
            shown = model.QUEUED if now.state == model.LOST else now.state
            counts[record.state] -= 1
            counts[shown] = counts.get(shown, 0) + 1
    if not alive:
        for record in store.waiting(UNHEARD):
            now = _unheard(record)
            if now.state != record.state:
                flight.append(now)
                counts[model.QUEUED] -= 1
                counts[now.state] = counts.get(now.state, 0) + 1
    state = _state(wish, alive, counts)
    holds = state == "running" and wish.parallel is None and bool(wish.options.get("hold"))
    return Status(
        sweep=sweep,
        state=state,
        why=wish.why if wish.want == STOP else "",
        counts={state: count for state, count in counts.items() if count},
        total=store.total(),
        parallel=wish.parallel,
        session=wish.session,
        flight=[record for record in flight if record.state in (*FLIGHT, model.LOST)],
        note=store.note or (_held(sweep) if alive else ""),
        unwell=(store.bad(unwell) + [record for record in flight if record.state in UNWELL])[:unwell],
        waits=(store.flag(CHAIN_WAITS) or "") if holds and not flight else "",
    )


def _held(sweep: paths.SweepDir) -> str:
    """What keeps a running sweep from going on, as far as its disk shows it."""
    full = obstacle.no_room(sweep.path)
    return f"{sweep.path}: {full}: what runs is held until there is room" if full else ""


def as_it_is(record: RunRecord) -> RunRecord:
    """A run in flight as its lock tells: the scheduler may be gone, and the run as well."""
    try:
        if record.folder is None or folders.is_held(paths.RunDir(Path(record.folder)).lock):
            return _unheard(record) if record.state == model.WAITING else record
        past = folders.history(paths.RunDir(Path(record.folder)))
    except PermissionError:
        return record  # its folder is closed to us: what the queue says must do
    if past.outcome is not None and past.attempts >= record.attempts:
        return replace(record, state=past.outcome.outcome, ended=past.outcome.ended, note=past.outcome.reason)
    return replace(record, state=model.LOST)


def _unheard(record: RunRecord) -> RunRecord:
    """A queued or waiting run as its folder tells: its scheduler may have been killed before it wrote down that it had
    begun."""
    run = paths.RunDir(Path(record.folder or ""))
    try:
        past = folders.history(run)
        alive = folders.is_held(run.lock)
    except PermissionError:
        return record
    if past.attempts <= record.attempts or past.attempt is None:
        return record
    begun = replace(record, attempts=past.attempts, started=past.attempt.started, gpus=past.attempt.gpus, note="")
    if past.outcome is not None:
        return replace(begun, state=past.outcome.outcome, ended=past.outcome.ended, note=past.outcome.reason)
    return replace(begun, state=model.RUNNING) if alive else record


def _state(wish: Wish, alive: bool, counts: dict[str, int]) -> str:
    left = sum(counts.get(state, 0) for state in model.UNFINISHED)
    flying = sum(counts.get(state, 0) for state in FLIGHT)
    if alive:
        return {RUN: "running", PAUSE: "paused", STOP: "stopping"}[wish.want]
    if wish.want == STOP and left:
        return "stopping" if flying else "stopped"
    if wish.want == STOP:
        return "stopped" if counts.get(model.STOPPED) else "finished"
    if wish.want == PAUSE and left:
        return "paused"  # also after a reboot: resume --all leaves it alone
    return "interrupted" if left else "finished"
