"""The commands carried out: a library call each, and the printing of what it gives. Each returns the exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper import index, model, paths
from sweeper import launch as launching
from sweeper.errors import InputError, SweepError


def options(**typed: Any) -> launching.Options:
    """What was typed beside the file; ``gpus`` is a number or the word all. Raises InputError."""
    return launching.Options(**{**typed, "gpus": _gpu_count(typed["gpus"])})


def _gpu_count(text: str | None) -> int | str | None:
    from sweeper.cli import words

    return text if text is None or text == "all" else words.number("gpus", text)


# -- launching -----------------------------------------------------------------------------------------------------


def launch(file: str, typed: launching.Options, *, dry_run: bool, detach: bool) -> int:
    plan = launching.plan(file, typed)
    if dry_run:
        write = sys.stdout.write
        for line in launching.command_lines(plan):
            write(line + "\n")
        sys.stdout.flush()
        print(f"{len(plan.points)} {_runs(len(plan.points))} ({plan.points.describe()})", file=sys.stderr)
        return 0
    done = launching.carry_out(plan)
    print(_opening(done), flush=True)
    for note in plan.notes:
        print(f"  {note}", flush=True)
    name = plan.sweep.name
    if typed.here:
        from sweeper.scheduler.serve import serve

        counts = serve(plan.sweep, table=False)
        return _ending(plan.sweep, counts)
    if detach:
        print(f"sweep attach {name} · sweep status {name} · sweep stop {name}")
        return 0
    return _watch(plan.sweep)


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def _opening(done: launching.Launched) -> str:
    """``digits: 12 runs (3 lr x 2 hidden x 2 seed), 2 at a time, in tmux session sweep-digits``."""
    plan, change = done.plan, done.change
    described = plan.points.describe()
    words = [f"{plan.sweep.name}: {change.total} {_runs(change.total)}" + (f" ({described})" if described else "")]
    words.append("one after another" if plan.parallel is None else f"{plan.parallel} at a time")
    words.append("in this terminal" if plan.options.here else f"in tmux session {done.session}")
    line = ", ".join(words)
    changes = []
    if change.kept:
        changes.append(f"{change.kept} done already")
    if change.again:
        changes.append(f"{change.again} queued again")
    if change.gone:
        changes.append(f"{change.gone} dropped")
    if change.new and change.new != change.total:
        changes.append(f"{change.new} new")
    return line + (f"\n  {', '.join(changes)}" if changes else "")


def _watch(sweep: paths.SweepDir) -> int:
    from sweeper import watch

    hint = f"Ctrl-C leaves it running. sweep attach {sweep.name} · sweep stop {sweep.name}"
    try:
        frame = watch.until_end(sweep, hint=hint)
    except KeyboardInterrupt:
        print(
            f"\n{sweep.name} goes on. sweep status {sweep.name} · sweep attach {sweep.name} · sweep stop {sweep.name}"
        )
        return 0
    if frame.status.state in ("running", "paused", "stopping"):
        return 0  # nobody reads our output any more
    return _ending(sweep, frame.status.counts, frame.status.why)


def _ending(sweep: paths.SweepDir, counts: dict[str, int], why: str = "") -> int:
    """The report's head, and the exit code: 0 if every run is done."""
    from sweeper import results
    from sweeper.gather import sweep_data

    if why:
        print(f"{sweep.name} was stopped: {why}")
    report = results.collect(sweep_data(sweep))
    print(results.head(report, width=_width(), color=sys.stdout.isatty()).rstrip())
    return 0 if {state for state, count in counts.items() if count} <= {model.DONE} else 1


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


# -- looking -------------------------------------------------------------------------------------------------------


def status(name: str | None, runs_dir: str | None, *, as_json: bool) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    with contextlib.closing(control.open_sweep(sweep)) as store:
        now = control.status(sweep, store)
        left = None if as_json else _left(now, store)
    if as_json:
        print(json.dumps(_status_json(now), ensure_ascii=False, indent=2))
        return 0
    print(_status_text(now, left))
    return 0


def _left(now: Any, store: Any) -> float | None:
    from sweeper import watch

    return watch.Frame(now, watch.time_left(now, store.times())).left


def _status_json(now: Any) -> dict[str, Any]:
    def run(record: model.RunRecord) -> dict[str, Any]:
        fields = ("number", "state", "params", "note", "folder", "attempts", "started", "ended", "gpus", "exit_code")
        return {field: getattr(record, field) for field in fields}

    return {
        "name": now.sweep.name,
        "folder": str(now.sweep.path),
        "state": now.state,
        "why": now.why,
        "total": now.total,
        "counts": now.counts,
        "parallel": now.parallel,
        "session": now.session,
        "in_flight": [run(record) for record in now.flight],
        "not_well": [run(record) for record in now.unwell],
    }


def _status_text(now: Any, left: float | None) -> str:
    from sweeper import watch

    how = "one after another" if now.parallel is None else f"{now.parallel} at a time"
    lines = [f"{now.sweep.name}: {watch.headline(watch.Frame(now, left))}"]
    lines.append(
        f"  {now.state}, {how}" + (f", tmux session {now.session}" if now.session else "") + f", {now.sweep.path}"
    )
    for record in now.flight:
        took = watch.clock(time.time() - record.started) if record.state == model.RUNNING and record.started else ""
        gpus = "GPU " + ",".join(record.gpus) if record.gpus and record.state == model.RUNNING else ""
        what = "waiting for " + watch.printable(record.note) if record.state == model.WAITING else watch.doing(record)
        state = record.state if record.state not in (model.RUNNING, model.WAITING) else ""
        lines.append(
            "  " + "  ".join(filter(None, (str(record.number), watch.printable(record.label), gpus, took, state, what)))
        )
    lines += [f"  run {one.number} {one.state.replace('_', ' ')}: {watch.printable(one.note)}" for one in now.unwell]
    if now.unwell_count > len(now.unwell):
        lines.append(f"  and {now.unwell_count - len(now.unwell)} more that did not end well")
    if now.unwell:
        lines.append(f"sweep logs {now.sweep.name} {now.unwell[-1].number} shows the log of the last one")
    if now.state in ("stopped", "interrupted") and now.left:
        lines.append(f"sweep resume {now.sweep.name} goes on with the {now.left} that are left")
    return "\n".join(lines)


def ls(runs_dir: str | None, *, as_json: bool) -> int:
    from sweeper import control

    here = index.runs_dir(runs_dir)
    found = {entry.path: entry.used for entry in index.entries() if index.is_sweep(entry.path)}
    if here.is_dir():
        for path in sorted(here.iterdir()):
            if index.is_sweep(path) and not path.name.startswith("."):
                found.setdefault(path, 0.0)
    if runs_dir is not None:
        found = {path: used for path, used in found.items() if path.parent == here}
    rows = []
    for path in found:
        sweep = paths.SweepDir(path)
        try:
            with contextlib.closing(control.open_sweep(sweep)) as store:
                now = control.status(sweep, store, unwell=0)
            counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in now.counts.items())
            rows.append(
                {"name": sweep.name, "state": now.state, "runs": now.total, "counts": counts, "folder": str(path)}
            )
        except SweepError as error:
            said = str(error).splitlines()[0]
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


def attach(name: str | None, run: int, runs_dir: str | None) -> int:
    from sweeper import control, tmux

    sweep = index.find(name, runs_dir)
    with contextlib.closing(control.open_sweep(sweep)) as store:
        now = control.status(sweep, store)
        record = store.record(run) if run else None
    if not now.session or not tmux.panes(now.session):
        raise SweepError(
            f"{sweep.name} has no tmux session now ({now.state}): sweep logs {sweep.name} RUN shows what a run printed"
        )
    pane = None
    if run:
        if record is None or record.state not in (model.RUNNING, model.WAITING) or record.folder is None:
            state = record.state if record is not None else "not there, or not begun"
            raise SweepError(
                f"run {run} has no window: it is {state}; sweep logs {sweep.name} {run} shows what it printed"
            )
        pane = _pane_of(now.session, record)
    index.remember(sweep)
    if not sys.stdin.isatty():
        raise InputError(f"attach needs a terminal; there: tmux attach -t {now.session}")
    tmux.attach(now.session, pane)
    return 0


def _pane_of(session: str, record: model.RunRecord) -> str | None:
    from sweeper import folders, tmux

    attempt = folders.history(paths.RunDir(Path(record.folder or ""))).attempt
    if attempt is None:
        return None
    return tmux.pane_of(session, attempt.pid)


def logs(name: str | None, run: int, runs_dir: str | None, *, follow: bool, raw: bool) -> int:
    from sweeper.cli import printing

    sweep = index.find(name, runs_dir)
    folder = printing.run_folder(sweep, run)
    index.remember(sweep)
    printing.print_log(folder, follow=follow, raw=raw)
    return 0


def gpus(*, watch: bool, as_json: bool) -> int:
    from rich.console import Console

    from sweeper import gpus as gpu_module

    if as_json:
        print(json.dumps(gpu_module.gpus_json(), ensure_ascii=False, indent=2))
        return 0
    console = Console(highlight=False)
    if not watch:
        console.print(gpu_module.gpus_table())
        return 0
    from rich.live import Live

    try:
        with Live(gpu_module.gpus_table(), console=console, auto_refresh=False, screen=sys.stdout.isatty()) as live:
            while True:
                time.sleep(2.0)
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


# -- changing ------------------------------------------------------------------------------------------------------


def stop(name: str | None, runs: Sequence[int], runs_dir: str | None) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    ended = control.stop(sweep, runs)
    if ended:
        numbers = ", ".join(map(str, ended[:20]))
        print(f"{sweep.name}: ending {_runs(len(ended))} {numbers} (TERM now, KILL after the grace)")
    elif runs:
        print(f"{sweep.name}: {_runs(len(runs))} {', '.join(map(str, runs[:20]))} will not be started")
    else:
        print(f"{sweep.name} is stopped")
    if not runs:
        print(f"sweep resume {sweep.name} goes on where it was")
    return 0


def pause(name: str | None, runs_dir: str | None) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    control.pause(sweep)
    print(f"{sweep.name} is paused: what runs will finish. sweep resume {sweep.name} goes on")
    return 0


def resume(name: str | None, runs_dir: str | None) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    if control.resume(sweep):
        print(f"{sweep.name} goes on. sweep status {sweep.name} · sweep attach {sweep.name}")
    else:
        print(f"{sweep.name} has nothing left to do")
    return 0


def resume_all() -> int:
    """Continue every sweep of this user that was running; one that cannot be is told and does not hinder the others."""
    from sweeper import control

    going, troubled = [], 0
    for entry in reversed(index.entries()):
        sweep = paths.SweepDir(entry.path)
        if not index.is_sweep(entry.path):
            continue
        try:
            if control.resumable(sweep) and control.resume(sweep):
                going.append(sweep.name)
        except SweepError as error:
            troubled += 1
            print(f"sweep: {sweep.name}: {error}", file=sys.stderr)
    print(f"resumed: {', '.join(going)}" if going else "no sweep was interrupted")
    return 1 if troubled else 0


def at_boot(*, install: bool, yes: bool) -> int:
    from sweeper import boot

    if not install:
        found = boot.remove(os.environ)
        print(f"removed: {', '.join(found)}" if found else "nothing was installed")
        return 0
    plan = boot.plan([sys.executable, "-m", "sweeper"], os.environ)
    print(plan.shown())
    if not yes and not _ask("Write this?"):
        return 2
    print("written" if boot.install(plan, os.environ) else "it stood there already")
    return 0


def retry(name: str | None, runs: Sequence[int], runs_dir: str | None) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    again = control.retry(sweep, runs)
    if again:
        print(f"{sweep.name}: {len(again)} {_runs(len(again))} queued again. sweep status {sweep.name}")
    else:
        print(f"{sweep.name}: nothing to retry, every run that ended is done")
    return 0


def remove(name: str | None, runs_dir: str | None, *, yes: bool) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    if not yes and not _ask(f"Delete {sweep.path} with all its results?"):
        return 2
    control.remove(sweep)
    print(f"{sweep.path} is deleted")
    return 0


def _ask(question: str) -> bool:
    """Raises InputError where nobody can answer."""
    if not sys.stdin.isatty():
        raise InputError("there is no terminal to ask in: --yes says yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def run_one(
    argv: list[str],
    *,
    gpus: str | None,
    gpus_allowed: tuple[int, ...] | None,
    gpu_memory: str | None,
    per_gpu: int,
    ignore_others: bool,
    no_wait: bool,
    same_command: bool,
) -> int:
    from sweeper import gpus as gpu_module
    from sweeper import runone, spec

    asked = _gpu_count(gpus)
    if asked is None:
        asked = 1 if gpu_module.visible(os.environ) else 0
    memory = 0
    if gpu_memory is not None:
        try:
            memory = spec.parse_size(gpu_memory)
        except ValueError as error:
            raise InputError(f"--gpu-memory {gpu_memory}: {error}") from None
    request = model.GpuRequest(
        count=None if asked == "all" else int(asked),
        allowed=gpus_allowed,
        per_gpu=per_gpu,
        memory=memory,
        ignore_others=ignore_others,
    )
    return int(runone.run_one(argv, request, no_wait=no_wait, same_command=same_command))


# -- the report ----------------------------------------------------------------------------------------------------


def report(
    names: Sequence[str],
    runs_dir: str | None,
    *,
    maximize: str | None,
    minimize: str | None,
    last: bool,
    columns: Sequence[str],
    where: str,
    sort: Sequence[str],
    top: int | None,
    format: str,
    output: str | None,
    show: bool,
) -> int:
    from sweeper import results
    from sweeper.gather import sweep_data

    sweeps = [index.find(name, runs_dir) for name in names] or [index.find(None, runs_dir)]
    reports = [results.collect(sweep_data(sweep), maximize=maximize, minimize=minimize, last=last) for sweep in sweeps]
    if format == "html":
        from sweeper import page
        from sweeper.results.payload import payload

        title = ", ".join(sweep.name for sweep in sweeps)
        made: str | bytes = page.make_page(payload(reports), title=title)
        output = output or str(sweeps[0].path / "report.html")
    else:
        color = output is None and sys.stdout.isatty()
        made = results.render(
            reports, format, columns=columns, where=where, sort=sort, top=top, width=_width(), color=color
        )
    if output is None:
        if isinstance(made, bytes):
            if sys.stdout.isatty():
                raise InputError(f"--format {format} is not for a terminal: give --output FILE")
            sys.stdout.buffer.write(made)
        else:
            sys.stdout.write(made)
        return 0
    file = Path(output)
    if not file.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {file.parent}")
    if isinstance(made, bytes):
        file.write_bytes(made)
    else:
        file.write_text(made, encoding="utf-8")
    print(f"written: {file}", file=sys.stderr)
    if show:
        import webbrowser

        if not webbrowser.open(file.resolve().as_uri()):
            print("no browser could be opened here; copy the file to your own machine", file=sys.stderr)
    return 0
