"""What a person does to a sweep that stands: see its status, stop, pause, resume, retry, remove it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper import folders, index, launch, model, paths, procs
from sweeper.errors import InputError, SweepError
from sweeper.model import RunRecord
from sweeper.store import Store, Wish, open_store
from sweeper.store.db import PAUSE, RUN, STOP

FLIGHT = (model.RUNNING, model.WAITING)
UNWELL = (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY, model.STOPPED)
UNHEARD = 200  # runs at most that are looked at in their folders because their scheduler is gone
GOING = ("running", "paused", "interrupted")  # the states in which there is something to stop


@dataclass(frozen=True, slots=True)
class Status:
    """A sweep at one moment. ``state`` is running, paused, stopping, stopped, finished or interrupted (its scheduler
    is gone and runs are left); ``counts`` are of the wanted runs; ``flight`` are the runs that are not at rest."""

    sweep: paths.SweepDir
    state: str
    why: str
    counts: dict[str, int]
    total: int
    parallel: int | None
    session: str
    flight: list[RunRecord]
    unwell: list[RunRecord]

    @property
    def unwell_count(self) -> int:
        return sum(self.counts.get(state, 0) for state in model.OUTCOMES if state != model.DONE)

    @property
    def left(self) -> int:
        return sum(self.counts.get(state, 0) for state in model.UNFINISHED)


def open_sweep(sweep: paths.SweepDir) -> Store:
    """The queue of a sweep on this host. Raises InputError on another host, SweepError where it cannot be opened."""
    index.check_host(sweep)
    return open_store(sweep)


def status(sweep: paths.SweepDir, store: Store, *, unwell: int = 20) -> Status:
    """How the sweep is; at most ``unwell`` of the runs that did not end well are given."""
    wish = store.wish() or Wish(file="", want=STOP, why="it was never launched")
    alive = launch.alive(sweep)
    counts = store.counts()
    flight = []
    for record in store.records(FLIGHT):
        now = _as_it_is(record)
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
    return Status(
        sweep=sweep,
        state=_state(wish, alive, counts),
        why=wish.why if wish.want == STOP else "",
        counts={state: count for state, count in counts.items() if count},
        total=store.total(),
        parallel=wish.parallel,
        session=wish.session,
        flight=[record for record in flight if record.state in (*FLIGHT, model.LOST)],
        unwell=(store.bad(unwell) + [record for record in flight if record.state in UNWELL])[:unwell],
    )


def _as_it_is(record: RunRecord) -> RunRecord:
    """A run in flight as its lock tells: the scheduler may be gone, and the run as well."""
    if record.folder is None or folders.is_held(paths.RunDir(Path(record.folder)).lock):
        return record
    past = folders.history(paths.RunDir(Path(record.folder)))
    if past.outcome is not None and past.attempts >= record.attempts:
        return replace(record, state=past.outcome.outcome, ended=past.outcome.ended, note=past.outcome.reason)
    return replace(record, state=model.LOST)


def _unheard(record: RunRecord) -> RunRecord:
    """A queued run as its folder tells: its scheduler may have been killed before it wrote down that it had begun."""
    run = paths.RunDir(Path(record.folder or ""))
    past = folders.history(run)
    if past.attempts <= record.attempts or past.attempt is None:
        return record
    begun = replace(record, attempts=past.attempts, started=past.attempt.started, gpus=past.attempt.gpus)
    if past.outcome is not None:
        return replace(begun, state=past.outcome.outcome, ended=past.outcome.ended, note=past.outcome.reason)
    return replace(begun, state=model.RUNNING) if folders.is_held(run.lock) else record


def _state(wish: Wish, alive: bool, counts: dict[str, int]) -> str:
    left = sum(counts.get(state, 0) for state in model.UNFINISHED)
    flying = sum(counts.get(state, 0) for state in FLIGHT)
    if alive:
        return {RUN: "running", PAUSE: "paused", STOP: "stopping"}[wish.want]
    if wish.want == STOP and left:
        return "stopping" if flying else "stopped"
    if wish.want == STOP:
        return "stopped" if counts.get(model.STOPPED) else "finished"
    return "interrupted" if left else "finished"


# -- changing what is wanted ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop did: the runs that are being ended, those that will not be started, those (of the named) that had
    ended before; ``was`` is the sweep's state before. Empty and ``changed`` False: there was nothing to stop."""

    was: str
    changed: bool
    ending: list[int]
    unstarted: list[int]
    over: list[int]


def stop(sweep: paths.SweepDir, runs: Sequence[int] = (), *, why: str = "sweep stop") -> Stopped:
    """Stop a sweep, or some of its runs. Returns before they have ended. Raises InputError for a run that there is not.

    An interrupted sweep is marked as stopped; one that has ended is left as it is.
    """
    with launch.launching(sweep), contextlib.closing(open_sweep(sweep)) as store:
        now = status(sweep, store, unwell=0)
        flying = [record.number for record in now.flight if record.state in FLIGHT]
        unstarted: list[int] = []
        over: list[int] = []
        if runs:
            _check_runs(store, runs)
            ended = {record.number for record in store.records(model.OUTCOMES)}
            gone = {record.number for record in store.records() if not record.wanted}
            over = [number for number in runs if number not in flying and (number in ended or number in gone)]
            unstarted = [number for number in runs if number not in flying and number not in over]
            flying = [number for number in flying if number in set(runs)]
        changed = bool(flying or unstarted) if runs else now.state in GOING
        index.remember(sweep)
        if not changed:
            return Stopped(now.state, False, [], [], over)
        with store:
            if runs:
                store.touch_all(_untouched(store, sweep, unstarted))
                store.ask_stop([*flying, *unstarted])
            else:
                store.set_wish(replace(_wish(store, sweep), want=STOP, why=why))
        if not (launch.alive(sweep) and launch.wake(sweep)):
            _end([record for record in now.flight if record.number in flying])
            with store:
                for number in store.stops():
                    record = store.record(number)
                    if record is not None and record.state == model.QUEUED:
                        store.set_state(number, model.STOPPED, "stopped before it began")
        return Stopped(now.state, True, flying, unstarted, over)


def _untouched(
    store: Store, sweep: paths.SweepDir, runs: Sequence[int]
) -> list[tuple[int, str, dict[str, object], dict[str, str], str]]:
    """Rows for runs that nobody has touched, so that their stop can be remembered."""
    from sweeper import command
    from sweeper.spec import read_spec
    from sweeper.store import catalog

    touched = {number for number, _ in store.touched()}
    missing = [number for number in runs if number not in touched]
    if not missing:
        return []
    wish = _wish(store, sweep)
    known = catalog.Catalog(store.generations(), wish.file)
    template = command.template(read_spec(wish.file, text=sweep.file.read_text(encoding="utf-8")))
    rows = []
    for number in missing:
        params = known.params(number)
        folder = paths.folder_name(number, command.texts(params))
        rows.append((number, template.key(params), catalog.values(params), catalog.texts(params), folder))
    return rows


def _end(records: Iterable[RunRecord]) -> None:
    """Without a scheduler: tell the supervisors themselves."""
    for record in records:
        attempt = folders.history(paths.RunDir(Path(record.folder or ""))).attempt
        if attempt is None:
            continue
        descriptor = procs.pidfd(attempt.pid, attempt.start_ticks)
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            os.close(descriptor)


def _wish(store: Store, sweep: paths.SweepDir) -> Wish:
    wish = store.wish()
    if wish is None:
        raise InputError(f"{sweep.name} was never launched: sweep FILE launches it")
    return wish


def _check_runs(store: Store, runs: Sequence[int]) -> None:
    wanted = store.wanted()
    there = wanted if isinstance(wanted, range) else set(wanted)
    for number in runs:
        if number not in there and store.record(number) is None:
            raise InputError(f"there is no run {number}: {_range(store)}")


def _range(store: Store) -> str:
    wanted = store.wanted()
    return f"its runs are {min(wanted)} to {max(wanted)}" if len(wanted) else "it has no runs"


def pause(sweep: paths.SweepDir) -> None:
    """Let what runs finish, and start nothing. Raises InputError where nothing runs."""
    with launch.launching(sweep), contextlib.closing(open_sweep(sweep)) as store:
        wish = _wish(store, sweep)
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
        index.remember(sweep)
        wish = replace(_wish(store, sweep), want=RUN, why="")
        left = (*model.UNFINISHED, model.STOPPED, model.LOST)
        alive = launch.alive(sweep)
        if not alive and not any(store.counts().get(state) for state in left):
            return False
        _check_tmux(alive)
        with store:
            _hear_of_stops(store)
            store.requeue_all((model.STOPPED,))  # what failed or was lost meanwhile is the scheduler's to judge
            store.set_wish(wish)
        _set_going(sweep, store, wish)
        return True


def _hear_of_stops(store: Store) -> None:
    """Enter the runs that were stopped when no scheduler was there to hear of it, as a shutdown does."""
    for record in store.records(FLIGHT):
        if record.folder is not None and _as_it_is(record).state == model.STOPPED:
            outcome = folders.history(paths.RunDir(Path(record.folder))).outcome
            if outcome is not None:
                store.set_outcome(record.number, outcome)


def retry(sweep: paths.SweepDir, runs: Sequence[int] = ()) -> list[int]:
    """Queue runs again that did not end well (of these numbers; a finished one too, if it is named). Gives them.

    Raises InputError for a run that there is not, or that is in flight.
    """
    with launch.launching(sweep), contextlib.closing(open_sweep(sweep)) as store:
        index.remember(sweep)
        wish = replace(_wish(store, sweep), want=RUN, why="")
        states = [state for state in model.OUTCOMES if runs or state != model.DONE]
        if runs:
            _check_runs(store, runs)
            for record in store.records(FLIGHT):
                if record.number in runs and _as_it_is(record).state in FLIGHT:
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
