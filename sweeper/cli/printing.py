"""What several commands print: counts, and logs, folded as a terminal would show them or raw, once or as they grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from sweeper import folders, model, paths
from sweeper.errors import InputError, SweepError

CHUNK = 1 << 20
LOOK = 0.2  # seconds between two looks at a log that grows


def count_runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def plain(text: str) -> str:
    """``text`` with its lines, and without anything that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def print_log(sweep: paths.SweepDir, number: int, *, follow: bool, raw: bool) -> None:
    """Print a run's log; with ``follow`` from its beginning to its end, however long it takes until it begins.

    Raises InputError where there is no such run or it has not begun, KeyboardInterrupt, OSError.
    """
    from sweeper import metrics

    run = _run_folder(sweep, number)
    if run is None or not _has_begun(run):
        _check_number(sweep, number)
        if not follow:
            raise InputError(f"run {number} of {sweep.name} has not begun; --follow waits for it")
        print(f"sweep: run {number} of {sweep.name} has not begun; waiting for it", file=sys.stderr, flush=True)
    elif not follow and not run.log.exists():
        raise SweepError(f"run {number} of {sweep.name} has begun, but its log is gone: {run.log}")
    folder = None if raw else metrics.Folder()
    out = sys.stdout.buffer
    sys.stdout.flush()
    for chunk in _chunks(sweep, number, follow=follow):
        out.write(chunk if folder is None else folder.feed(chunk))
        out.flush()
    if folder is not None:
        out.write(folder.end())
        out.flush()


def _run_folder(sweep: paths.SweepDir, number: int) -> paths.RunDir | None:
    return next((run for found, run in folders.run_folders(sweep) if found == number), None)


def _has_begun(run: paths.RunDir) -> bool:
    """Not so while it only stands ready for its turn."""
    return folders.history(run).attempts > 0 or (run.log.exists() and run.log.stat().st_size > 0)


def _check_number(sweep: paths.SweepDir, number: int) -> None:
    """Raises InputError where the sweep has no such run."""
    from sweeper import control

    wanted, which = control.look(sweep, lambda store: (store.wanted(), control.its_runs(store)))
    if number not in wanted:
        raise InputError(f"there is no run {number} in {sweep.name}: {which}")


def _chunks(sweep: paths.SweepDir, number: int, *, follow: bool) -> Iterator[bytes]:
    """The log as it is, or as it grows until the run has ended (a retry that follows is another end)."""
    looks = 0
    while (run := _run_folder(sweep, number)) is None or not _has_begun(run) or not run.log.exists():
        if not follow:
            return
        looks += 1
        if looks % 10 == 0 and not _going(sweep):
            raise SweepError(f"run {number} of {sweep.name} has not begun, and the sweep does not run now")
        time.sleep(LOOK)
    with open(run.log, "rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if chunk:
                yield chunk
                continue
            if not follow:
                return
            alive = folders.is_held(run.lock) or (_queued(sweep, number) and _going(sweep))
            chunk = file.read(CHUNK)
            if chunk:
                yield chunk
            elif not alive:
                return
            else:
                time.sleep(LOOK)


def _going(sweep: paths.SweepDir) -> bool:
    """Whether the sweep has a scheduler."""
    return folders.is_held(sweep.lock)


def _queued(sweep: paths.SweepDir, number: int) -> bool:
    """Whether a run that has a log is about to be tried again, or is waiting for a GPU."""
    from sweeper import control

    try:
        record = control.look(sweep, lambda store: store.record(number))
    except SweepError:
        return False  # another host's: its log is followed as far as it goes
    return record is not None and record.wanted and record.state in model.UNFINISHED
