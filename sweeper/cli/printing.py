"""Logs on the terminal: folded as a terminal would show them, or raw, once or as they grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from sweeper import folders, paths
from sweeper.errors import InputError

CHUNK = 1 << 20


def run_folder(sweep: paths.SweepDir, number: int) -> paths.RunDir:
    """The folder of a run. Raises InputError where it has none."""
    for found, run in folders.run_folders(sweep):
        if found == number:
            return run
    raise InputError(
        f"run {number} of {sweep.name} has printed nothing yet: it was not started (or there is no such run)"
    )


def print_log(run: paths.RunDir, *, follow: bool, raw: bool) -> None:
    """Print a run's log; with ``follow`` until the run ends. Raises KeyboardInterrupt, OSError."""
    from sweeper import metrics

    folder = None if raw else metrics.Folder()
    out = sys.stdout.buffer
    sys.stdout.flush()
    for chunk in _chunks(run, follow=follow):
        out.write(chunk if folder is None else folder.feed(chunk))
        out.flush()
    if folder is not None:
        out.write(folder.end())
        out.flush()


def _chunks(run: paths.RunDir, *, follow: bool) -> Iterator[bytes]:
    if not run.log.exists() and not follow:
        return
    while not run.log.exists():
        time.sleep(0.2)
    with open(run.log, "rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if chunk:
                yield chunk
                continue
            if not follow:
                return
            alive = folders.is_held(run.lock)
            chunk = file.read(CHUNK)
            if chunk:
                yield chunk
            elif not alive:
                return
            else:
                time.sleep(0.2)
