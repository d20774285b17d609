"""The commands that only look: ls, attach, logs, gpus, doctor, schema. Each returns the exit code."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import index, model, obstacle, paths
from sweeper.errors import InputError, SweepError

if TYPE_CHECKING:
    from sweeper import control
    from sweeper.store import Store

EVERY = 2.0  # seconds between two looks of gpus --watch


def ls(runs_dir: str | None, *, as_json: bool) -> int:
    from sweeper import control
    from sweeper.cli import printing

    here = index.runs_dir(runs_dir)
    found = {entry.path: entry.used for entry in index.entries() if index.is_sweep(entry.path)}
    if here.is_dir() and os.access(here, os.R_OK | os.X_OK):
        for path in sorted(here.iterdir()):
            if index.is_sweep(path) and not path.name.startswith("."):
                found.setdefault(path, 0.0)
    if runs_dir is not None:
        found = {path: used for path, used in found.items() if path.parent == here}
    rows = []
    for path in found:
        sweep = paths.SweepDir(path)
        try:
            now = control.look(sweep, partial(control.status, sweep, unwell=0))
            counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in now.counts.items())
            rows.append(
                {"name": sweep.name, "state": now.state, "runs": now.total, "counts": counts, "folder": str(path)}
            )
        except (SweepError, OSError) as error:
            said = obstacle.explain(error) if isinstance(error, OSError) else str(error)
            said = printing.plain(said).partition("\n")[0]
            rows.append({"name": sweep.name, "state": "?", "runs": 0, "counts": said, "folder": str(path)})
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif not rows:
        print("no sweeps yet: sweep FILE starts one")
    else:
        width = {key: max(len(str(row[key])) for row in rows) for key in ("name", "state", "counts")}
        for row in rows:
            print("  ".join([*(f"{row[key]:{width[key]}}" for key in width), str(row["folder"])]))
    return 0


def attach(name: str | None, run: int | None, runs_dir: str | None) -> int:
    from sweeper import control, tmux

    sweep = index.find(name, runs_dir)
    now, record = control.look(sweep, lambda store: _asked(sweep, store, run))
    tmux.check()
    session = tmux.session_of(str(sweep.path)) or now.session  # its user may have renamed it
    if not session or not tmux.panes(session):
        raise InputError(
            f"{sweep.name} has no tmux session now (it is {now.state}): "
            f"sweep logs {sweep.name} RUN shows what a run printed"
        )
    pane = None
    if run is not None:
        # A chain has one window for all of its runs, and a failed run's stays when the run has ended.
        pane = _pane_of(session, record) if record is not None and record.folder is not None else None
        if pane is None and (now.parallel is not None or record is None or record.state not in control.FLIGHT):
            state = record.state.replace("_", " ") if record is not None else "not begun"
            shows = f": sweep logs {sweep.name} {run} shows what it printed" if record is not None else ""
            raise InputError(f"run {run} of {sweep.name} has no window, it is {state}{shows}")
    index.remember(sweep)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(f"attach needs a terminal; there: tmux attach -t {session}")
    tmux.attach(session, pane)
    return 0


def _asked(sweep: paths.SweepDir, store: Store, run: int | None) -> tuple[control.Status, model.RunRecord | None]:
    """Raises InputError where there is no such run."""
    from sweeper import control

    record = store.record(run) if run is not None else None
    if run is not None and record is None and run not in store.wanted():
        raise InputError(f"there is no run {run} in {sweep.name}: {control.its_runs(store)}")
    return control.status(sweep, store), record


def _pane_of(session: str, record: model.RunRecord) -> str | None:
    from sweeper import folders, procs, tmux

    run = paths.RunDir(Path(record.folder or ""))
    if record.state == model.WAITING:  # no attempt names its supervisor yet, but it holds the run's lock
        return next(
            filter(None, (tmux.pane_of(session, pid) for pid in procs.of_run(str(run.path), str(run.lock)))), None
        )
    attempt = folders.history(run).attempt
    return None if attempt is None else tmux.pane_of(session, attempt.pid)


def logs(name: str | None, run: int, runs_dir: str | None, *, follow: bool, raw: bool) -> int:
    from sweeper.cli import printing

    sweep = index.find(name, runs_dir)
    printing.print_log(sweep, run, follow=follow, raw=raw)
    index.remember(sweep)
    return 0


def gpus(*, watch: bool, as_json: bool) -> int:
    from rich.console import Console
    from rich.live import Live

    from sweeper import gpus as gpu_module

    console = Console(highlight=False)

    def show() -> None:
        if as_json:  # watched: one line a look
            print(json.dumps(gpu_module.gpus_json(), ensure_ascii=False, indent=None if watch else 2), flush=True)
            return
        if watch:
            print(time.strftime("%H:%M:%S"))
        console.print(gpu_module.gpus_table())
        sys.stdout.flush()

    if not watch:
        show()
        return 0
    try:
        if as_json or not sys.stdout.isatty():  # nobody redraws a pipe or a file: each look follows the last
            while True:
                show()
                time.sleep(EVERY)
        with Live(gpu_module.gpus_table(), console=console, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(EVERY)
                live.update(gpu_module.gpus_table(), refresh=True)
    except KeyboardInterrupt:
        return 0


def doctor(runs_dir: str | None, *, as_json: bool) -> int:
    from sweeper import doctor as doctor_module

    found = doctor_module.checks(index.runs_dir(runs_dir))
    if as_json:
        from dataclasses import asdict

        print(json.dumps([asdict(check) for check in found], ensure_ascii=False, indent=2))
    else:
        from rich.console import Console

        Console(highlight=False).print(doctor_module.table(found))
    return 1 if any(check.level == "bad" for check in found) else 0


def schema() -> int:
    from sweeper import spec

    print(json.dumps(spec.schema(), ensure_ascii=False, indent=2))
    return 0
