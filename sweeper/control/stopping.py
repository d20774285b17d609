"""A sweep, or some of its runs, stopped: by its scheduler, or where there is none by a word to the supervisors."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper import folders, index, launch, model, paths, procs
from sweeper.control.seeing import FLIGHT, GOING, change, look, status
from sweeper.errors import InputError, SweepError
from sweeper.model import RunRecord
from sweeper.store import Store, Wish, source_of
from sweeper.store.db import STOP


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop did: the runs that are being ended, those that will not be started, those (of the named) that had
    ended before; ``was`` is the sweep's state before. Empty and ``changed`` False: there was nothing to stop.
    ``silent`` says that its scheduler does not answer: then the supervisors were told."""

    was: str
    changed: bool
    ending: list[int]
    unstarted: list[int]
    over: list[int]
    silent: str = ""


def stop(sweep: paths.SweepDir, runs: Sequence[int] = (), *, why: str = "sweep stop") -> Stopped:
    """Stop a sweep, or some of its runs. Returns before they have ended. Raises InputError for a run that there is not.

    An interrupted sweep is marked as stopped; one that has ended is left as it is.
    """
    try:
        return change(sweep, lambda store: _stop(sweep, store, runs, why))
    except InputError:
        raise
    except SweepError as error:
        raise SweepError(f"{error}{_all_the_same(sweep)}") from error


def _all_the_same(sweep: paths.SweepDir) -> str:
    """How a sweep is ended where nothing can be written, a full disk say."""
    try:
        session = look(sweep, lambda store: status(sweep, store, unwell=0)).session if launch.alive(sweep) else ""
    except (SweepError, OSError):
        return ""
    return f"\n    tmux kill-session -t '={session}' ends its runs all the same" if session else ""


def _stop(sweep: paths.SweepDir, store: Store, runs: Sequence[int], why: str) -> Stopped:
    now = status(sweep, store, unwell=0)
    flying = [record.number for record in now.flight if record.state in FLIGHT]
    unstarted: list[int] = []
    over: list[int] = []
    if runs:
        check_runs(store, runs)
        ended = {record.number for record in store.records(model.OUTCOMES)}
        gone = {record.number for record in store.records() if not record.wanted}
        over = [number for number in runs if number not in flying and (number in ended or number in gone)]
        unstarted = [number for number in runs if number not in flying and number not in over]
        flying = [number for number in flying if number in set(runs)]
    changed = bool(flying or unstarted) if runs else now.state in GOING
    index.remember(sweep)
    again = not runs and now.state == "stopping"  # whoever stopped it may have been killed before he told anybody
    if not (changed or again):
        return Stopped(now.state, False, [], [], over)
    with store:
        if runs:
            store.touch_all(_untouched(store, sweep, unstarted))
            store.ask_stop([*flying, *unstarted])
        elif not again:
            store.set_wish(replace(wish_of(store, sweep), want=STOP, why=why))
    silent = ""
    try:
        heard = launch.wake(sweep)
    except launch.SilentError as error:
        heard, silent = False, str(error)
    if not heard:
        _end([record for record in now.flight if record.number in flying])
        with store:
            for number in store.stops():
                record = store.record(number)
                if record is not None and record.state == model.QUEUED:
                    store.set_state(number, model.STOPPED, "stopped before it began")
    return Stopped(now.state, changed, flying, unstarted, over, silent)


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
    wish = wish_of(store, sweep)
    known = catalog.Catalog(store.generations(), wish.file)
    template = command.template(read_spec(wish.file, text=source_of(store, sweep)))
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


def wish_of(store: Store, sweep: paths.SweepDir) -> Wish:
    wish = store.wish()
    if wish is None:
        raise InputError(f"{sweep.name} was never launched: sweep FILE launches it")
    return wish


def check_runs(store: Store, runs: Sequence[int]) -> None:
    wanted = store.wanted()
    there = wanted if isinstance(wanted, range) else set(wanted)
    for number in runs:
        if number not in there and store.record(number) is None:
            raise InputError(f"there is no run {number}: {its_runs(store)}")


def its_runs(store: Store) -> str:
    """Which runs there are, in the words that follow "there is no run 7"."""
    wanted = store.wanted()
    return f"its runs are {min(wanted)} to {max(wanted)}" if len(wanted) else "it has no runs"
