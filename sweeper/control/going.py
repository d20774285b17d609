"""A sweep that stands made to pause, to go on, to try again; or removed for good."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeper import folders, index, launch, model, paths
from sweeper.control.seeing import FLIGHT, as_it_is, open_sweep
from sweeper.control.stopping import check_runs, wish_of
from sweeper.errors import InputError, SweepError
from sweeper.store import Store, Wish
from sweeper.store.db import PAUSE, RUN, STOP


def pause(sweep: paths.SweepDir) -> None:
    """Let what runs finish, and start nothing. Raises InputError where nothing runs."""
    with launch.launching(sweep), contextlib.closing(open_sweep(sweep)) as store:
        store.synced()  # what was ordered outlasts a power cut
        wish = wish_of(store, sweep)
        if not launch.alive(sweep):
            raise InputError(f"{sweep.name} is not running: there is nothing to pause")
        if wish.want == STOP:
            raise InputError(f"{sweep.name} is being stopped: sweep resume {sweep.name} starts it again afterwards")
        with store:
            store.set_wish(replace(wish, want=PAUSE))
        launch.wake(sweep)
        index.remember(sweep)


def resume(sweep: paths.SweepDir) -> bool:
    """Go on with a paused, stopped or interrupted sweep; stopped runs are queued again. False: nothing was left to do.

    Raises SweepError where its scheduler does not start.
    """
    with launch.launching(sweep), contextlib.closing(open_sweep(sweep)) as store:
        store.synced()  # what was ordered outlasts a power cut
        index.remember(sweep)
        before = wish_of(store, sweep)
        wish = replace(before, want=RUN, why="")
        left = (*model.UNFINISHED, model.STOPPED, model.LOST)
        alive = launch.alive(sweep)
        if not alive and not any(store.counts().get(state) for state in left):
            return False
        _check_tmux(alive)
        with store:
            _hear_of_stops(store)
            store.requeue_all((model.STOPPED,))  # what failed or was lost meanwhile is the scheduler's to judge
            store.ask_again(all_stop=before.want == STOP)
            store.set_wish(wish)
        _set_going(sweep, store, wish)
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

    Raises InputError for a run that there is not, or that is in flight.
    """
    with launch.launching(sweep), contextlib.closing(open_sweep(sweep)) as store:
        store.synced()  # what was ordered outlasts a power cut
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
        alive = launch.alive(sweep)
        if any(store.counts().get(state) for state in states):
            _check_tmux(alive)
        if not alive:
            launch.catch_up(store, sweep)
        with store:
            again = store.requeue_all(states, runs or None)
            again += store.ask_again(all_stop=before.want == STOP, numbers=runs or None)
            if again:
                store.set_wish(wish)
        if again:
            _set_going(sweep, store, wish)
        return again


def _check_tmux(alive: bool) -> None:
    """Before anything is changed: can a scheduler be started, where none runs? Raises SweepError."""
    if not alive:
        from sweeper import tmux

        tmux.check()


def _set_going(sweep: paths.SweepDir, store: Store, wish: Wish) -> None:
    if not (launch.alive(sweep) and launch.wake(sweep)):
        launch.start(sweep, store, replace(wish, here=False))


def resumable(sweep: paths.SweepDir) -> bool:
    """Whether the sweep was running when its scheduler went (a reboot, a crash): ``resume --all`` continues these."""
    if launch.alive(sweep):
        return False
    with contextlib.closing(open_sweep(sweep)) as store:
        wish = store.wish()
        if wish is None or wish.want != RUN:
            return False
        counts = store.counts()
        if any(counts.get(state) for state in model.UNFINISHED):
            return True
        # A shutdown may have ended the last runs, and they were entered as stopped, before it ended their scheduler.
        return any("its supervisor" in record.note for record in store.records([model.STOPPED], gone=False))


def remove(sweep: paths.SweepDir) -> None:
    """Delete a sweep's folder with all its results. Raises InputError while anything of it runs, SweepError where
    something in it cannot be deleted."""
    launch.check_at_rest(sweep)
    # Under another name first: no launch can come in between, and a half-deleted sweep is never taken for one.
    aside = sweep.path.with_name(f".{sweep.name}.removed-{os.getpid()}")
    state = sweep.state
    with launch.launching(sweep):
        launch.check_at_rest(sweep)
        sweep.path.rename(aside)
    try:
        if state != sweep.path:
            shutil.rmtree(state)
        shutil.rmtree(aside)
    except OSError as error:
        raise SweepError(
            f"{error.filename} could not be deleted: {error.strerror}\n    what is left of the sweep is in {aside}"
        ) from error
