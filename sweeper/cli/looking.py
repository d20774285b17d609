"""The commands that only look: status, ls, attach, logs, gpus, doctor, schema. Each returns the exit code."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import index, model, moments, obstacle, paths
from sweeper.errors import InputError, SweepError

if TYPE_CHECKING:
    from sweeper import control
    from sweeper.store import Store

EVERY = 2.0  # seconds between two looks of gpus --watch


def status(name: str | None, runs_dir: str | None, *, as_json: bool) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    now, times = control.look(sweep, lambda store: (control.status(sweep, store), store.times()))
    if as_json:
        print(json.dumps(_status_json(now), ensure_ascii=False, indent=2))
        return 0
    print(_status_text(now, times))
    return 0


def _status_json(now: control.Status) -> dict[str, Any]:
    def run(record: model.RunRecord) -> dict[str, Any]:
        fields = ("number", "state", "params", "note", "folder", "attempts", "started", "ended", "gpus", "exit_code")
        return {field: getattr(record, field) for field in fields} | {"note": moments.at(record.note)}

    return {
        "name": now.sweep.name,
        "folder": str(now.sweep.path),
        "state": now.state,
        "why": now.why,
        "total": now.total,
        "counts": now.counts,
        "parallel": now.parallel,
        "session": now.session,
        "waiting_for": moments.at(now.waits),
        "note": now.note,
        "notify_failed": _unsent(now.sweep),
        "in_flight": [run(record) for record in now.flight],
        "not_well": [run(record) for record in now.unwell],
    }


def _status_text(now: control.Status, times: list[float]) -> str:
    from sweeper import watch

    left = watch.time_left(now, times)
    how = "one after another" if now.parallel is None else f"{now.parallel} at a time"
    lines = [f"{now.sweep.name}: {watch.headline(watch.Frame(now, left))}"]
    lines.append(
        f"  {now.state}, {how}" + (f", tmux session {now.session}" if now.session else "") + f", {now.sweep.path}"
    )
    if now.waits:
        lines.append(f"  waiting for {watch.printable(moments.ago(now.waits))}")
    for record in now.flight:
        took = watch.clock(time.time() - record.started) if record.state == model.RUNNING and record.started else ""
        gpus = "GPU " + ",".join(record.gpus) if record.gpus and record.state == model.RUNNING else ""
        what = ("waiting for " if record.state == model.WAITING else "") + watch.doing(record)
        state = record.state if record.state not in (model.RUNNING, model.WAITING) else ""
        lines.append(
            "  " + "  ".join(filter(None, (str(record.number), watch.printable(record.label), gpus, took, state, what)))
        )
    lines += [f"  run {one.number} {one.state.replace('_', ' ')}: {watch.printable(one.note)}" for one in now.unwell]
    if now.unwell_count > len(now.unwell):
        lines.append(f"  and {now.unwell_count - len(now.unwell)} more that did not end well")
    if now.unwell:
        lines.append(f"sweep logs {now.sweep.name} {now.unwell[-1].number} shows the log of the last one")
    left = now.left + now.counts.get(model.STOPPED, 0)
    if now.state in ("stopped", "paused", "interrupted") and left:
        lines.append(f"sweep resume {now.sweep.name} goes on with the {left} that {'is' if left == 1 else 'are'} left")
    if now.note:
        lines.append(f"  {watch.printable(now.note)}")
    if unsent := _unsent(now.sweep):
        lines.append(f"  notify did not work: {watch.printable(unsent)}")
    return "\n".join(lines)


def _unsent(sweep: paths.SweepDir) -> str:
    """Why the last overnight word failed, '' where it did not or there was none."""
    try:
        with open(sweep.unsent, encoding="utf-8", errors="replace") as file:
            return file.readline(2000).strip()
    except OSError:
        return ""


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
        raise InputError(f"there is no run {run} in {sweep.name}")
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
