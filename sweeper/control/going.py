"""A sweep that stands made to pause, to go on, to try again; or removed for good."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeper import folders, index, launch, model, obstacle, paths, procs
from sweeper.control.seeing import FLIGHT, as_it_is, change, look, status
from sweeper.control.stopping import check_runs, wish_of
from sweeper.errors import InputError, SpecError, SweepError
from sweeper.store import Store, Wish, counting, source_of
from sweeper.store.db import PAUSE, RUN, STOP
from sweeper.store.rebuild import REBUILT


def pause(sweep: paths.SweepDir) -> None:
    """Let what runs finish, and start nothing, also where the scheduler is gone. Raises InputError where nothing is
    left to do, SweepError."""
    change(sweep, lambda store: _pause(sweep, store))


def _pause(sweep: paths.SweepDir, store: Store) -> None:
    wish = wish_of(store, sweep)
    alive = launch.reached(sweep)
    if not alive and (wish.want == STOP or not any(store.counts().get(state) for state in model.UNFINISHED)):
        raise InputError(f"{sweep.name} is not running: there is nothing to pause")
    if wish.want == STOP:
        raise InputError(f"{sweep.name} is being stopped: sweep resume {sweep.name} starts it again afterwards")
    with store:
        store.set_wish(replace(wish, want=PAUSE))
    if alive:
        launch.woken(sweep)
    index.remember(sweep)


def resume(sweep: paths.SweepDir) -> bool:
    """Go on with a paused, stopped or interrupted sweep; stopped runs are queued again. False: nothing was left to do.

    Raises InputError where what was launched cannot be read any more, SweepError where its scheduler does not start.
    """
    return change(sweep, lambda store: _resume(sweep, store))


def _resume(sweep: paths.SweepDir, store: Store) -> bool:
    index.remember(sweep)
    before = wish_of(store, sweep)
    wish = replace(before, want=RUN, why="")
    left = (*model.UNFINISHED, model.STOPPED, model.LOST)
    alive = launch.reached(sweep)
    if not alive and not any(store.counts().get(state) for state in left):
        return False
    _check_startable(sweep, store, wish, alive)
    with store:
        if not alive:
            queued = store.records([model.QUEUED, model.WAITING], gone=False)
            launch.hear_of_begun(store, [record for record in queued if record.folder is not None])
        _hear_of_stops(store)
        store.requeue_all((model.STOPPED,))  # what failed or was lost meanwhile is the scheduler's to judge
        store.ask_again(all_stop=before.want == STOP)
        if before.want != RUN:  # after a crash the count goes on
            counting.begin(store)
        store.set_wish(wish)
    launch.set_going(sweep, store, wish)
    return True


def _hear_of_stops(store: Store) -> None:
    """Enter the runs that were stopped when no scheduler was there to hear of it, as a shutdown does."""
    for record in store.records(FLIGHT):
        if record.folder is not None and as_it_is(record).state == model.STOPPED:
            outcome = folders.history(paths.RunDir(Path(record.folder))).outcome
            if outcome is not None:
                store.set_outcome(record.number, outcome)


def retry(sweep: paths.SweepDir, runs: Sequence[int] = ()) -> list[int]:
    """Queue runs again that did not end well (of these numbers; a finished one too, if it is named). Gives them.

    Raises InputError for a run that there is not, or that is in flight, SweepError.
    """
    return change(sweep, lambda store: _retry(sweep, store, runs))


def _retry(sweep: paths.SweepDir, store: Store, runs: Sequence[int]) -> list[int]:
    index.remember(sweep)
    before = wish_of(store, sweep)
    wish = replace(before, want=RUN, why="")
    states = [state for state in model.OUTCOMES if runs or state != model.DONE]
    if runs:
        check_runs(store, runs)
        asked = set(runs) - set(store.stops())
        for record in store.records(FLIGHT):
            if before.want != STOP and record.number in asked and as_it_is(record).state in FLIGHT:
                raise InputError(
                    f"run {record.number} is {record.state}: "
                    f"sweep stop {sweep.name} {record.number} ends it, and then it can be tried again"
                )
    alive = launch.reached(sweep)
    if any(store.counts().get(state) for state in states):
        _check_startable(sweep, store, wish, alive)
    if not alive:
        launch.catch_up(store, sweep)
    with store:
        again = store.requeue_all(states, runs or None)
        again += store.ask_again(all_stop=before.want == STOP, numbers=runs or None)
        if again:
            if before.want != RUN or not alive:
                counting.begin(store)
            store.set_wish(wish)
    if again:
        launch.set_going(sweep, store, wish)
    return again


def _check_startable(sweep: paths.SweepDir, store: Store, wish: Wish, alive: bool) -> None:
    """Before anything is changed: can a scheduler be started, where none runs, and read what was launched?

    Raises InputError, SweepError.
    """
    if alive:
        return
    from sweeper import command, tmux
    from sweeper.spec import read_spec

    tmux.check()
    text = source_of(store, sweep)
    try:
        command.template(read_spec(wish.file, text=text))
    except SpecError as error:
        raise InputError(
            f"{sweep.name} cannot go on: its sweep file as last launched cannot be read any more\n"
            f"{error}\n    launch {wish.file} again"
        ) from error
    environment = sweep.environment(wish.environment)
    if folders.read_json(environment) is None:
        raise InputError(
            f"{sweep.name} cannot go on: {environment} is missing or damaged\n    launch {wish.file} again"
        )
    if not store.generations():
        raise InputError(f"{sweep.name} cannot go on: {REBUILT}, but not what was wanted\n    launch {wish.file} again")


def resumable(sweep: paths.SweepDir) -> bool:
    """Whether the sweep was running when its scheduler went (a reboot, a crash): ``resume --all`` continues these.

    Raises SweepError where nobody knows, because what was wanted was lost with the queue.
    """
    index.check_open(sweep)
    if launch.alive(sweep):
        return False
    return look(sweep, lambda store: _was_going(sweep, store))


def _was_going(sweep: paths.SweepDir, store: Store) -> bool:
    wish = store.wish()
    lost = wish is None or (wish.want == STOP and wish.why == REBUILT)
    if lost and (not store.total() or any(store.counts().get(state) for state in model.UNFINISHED)):
        raise SweepError(f"{REBUILT}, and whether it was running is not known: sweep resume {sweep.name} goes on")
    if wish is None or wish.want != RUN:
        return False
    counts = store.counts()
    if any(counts.get(state) for state in model.UNFINISHED):
        return True
    # A shutdown may have ended the last runs, and they were entered as stopped, before it ended their scheduler.
    return any("its supervisor" in record.note for record in store.records([model.STOPPED], gone=False))


def left_alone(sweep: paths.SweepDir) -> str:
    """Why ``resume --all`` does not go on with a sweep of which something is left; '' where it does, or nothing is."""
    if launch.alive(sweep):
        return ""
    now = look(sweep, lambda store: status(sweep, store, unwell=0))
    if now.why == launch.PUT_ASIDE or now.state not in ("paused", "stopped"):
        return ""
    return now.state + (f": {now.why}" if now.why else "")


def remove(sweep: paths.SweepDir) -> None:
    """Delete a sweep's folder with all its results. Raises InputError while anything of it runs, SweepError where
    something in it cannot be deleted."""
    launch.check_at_rest(sweep)
    # Under another name first: no launch can come in between, and a half-deleted sweep is never taken for one.
    aside = launch.removal(sweep)
    state = sweep.state
    with launch.launching(sweep):
        launch.check_at_rest(sweep)
        procs.crashpoint("before removal")
        sweep.path.rename(aside)
        paths.state_folder.cache_clear()
        procs.crashpoint("removal renamed")
    index.forget(sweep)
    procs.crashpoint("sweep forgotten")
    try:
        if state != sweep.path:
            shutil.rmtree(state)
        shutil.rmtree(aside)
    except OSError as error:
        raise SweepError(
            f"what is left of the sweep is in {aside}, for it could not be deleted: {obstacle.explain(error, aside)}"
        ) from error
    launch.end_removals(sweep)
