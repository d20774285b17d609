"""A sweep file launched, watched, and what came out of it printed. Each command returns the exit code."""

from __future__ import annotations

import sys
from typing import Any

from sweeper import index, model, paths
from sweeper import launch as launching
from sweeper.cli.printing import count_runs, plain, width
from sweeper.cli.words import gpu_count
from sweeper.errors import InputError

SHOWN = 20  # runs that are told by their number


def options(**typed: Any) -> launching.Options:
    """What was typed beside the file; ``gpus`` is a number or the word all. Raises InputError."""
    return launching.Options(**{**typed, "gpus": gpu_count(typed["gpus"])})


def launch(file: str, typed: launching.Options, *, dry_run: bool, detach: bool) -> int:
    if typed.here and detach:
        raise InputError("--here and --detach exclude each other: nohup sweep FILE --serial --here & goes on by itself")
    plan = launching.plan(file, typed)
    if dry_run:
        return _dry_run(plan)
    done = launching.carry_out(plan)
    print(_opening(done), flush=True)
    if done.aside is not None:
        print(f"  the results of before are in {done.aside}", flush=True)
    for note in filter(None, [*plan.notes, done.note, _alive(done)]):
        print(f"  note: {note}", flush=True)
    name = plan.sweep.name
    if typed.here:
        from sweeper.scheduler.serve import serve

        counts = serve(plan.sweep, table=False)
        return _ending(plan.sweep, counts)
    if detach:
        print(f"sweep attach {name} · sweep status {name} · sweep stop {name}")
        return 0
    return _watch(plan.sweep)


def _dry_run(plan: launching.Plan) -> int:
    """The commands on standard output, and all about them on standard error."""
    write = sys.stdout.write
    for line in launching.command_lines(plan):
        write(line + "\n")
    sys.stdout.flush()
    print(f"{len(plan.points)} {count_runs(len(plan.points))} ({plan.points.describe()})", file=sys.stderr)
    for line in [*_previewed(plan), *(f"note: {note}" for note in plan.notes)]:
        print(plain(line), file=sys.stderr)
    return 0


def _previewed(plan: launching.Plan) -> list[str]:
    """What a launch would do to the sweep that stands."""
    if plan.options.fresh:
        there = index.is_sweep(plan.sweep.path)
        return [f"--fresh would move what is in {plan.sweep.path} aside and begin anew"] if there else []
    try:
        found = launching.preview(plan)
    except InputError as error:
        return [f"note: it would not be launched: {error}"]
    if found is None:
        return []
    change, gone = found
    said = [(change.kept, "kept"), (change.again, "queued again"), (change.new, "new"), (gone.count, "gone")]
    told = ", ".join(f"{count} {word}" for count, word in said if count)
    return [f"of the sweep in {plan.sweep.path}: {told or 'nothing would change'}"]


def _opening(done: launching.Launched) -> str:
    """``digits: 12 runs (3 lr x 2 hidden x 2 seed), 2 at a time, in tmux session sweep-digits``."""
    plan, change = done.plan, done.change
    described = plan.points.describe()
    words = [f"{plan.sweep.name}: {change.total} {count_runs(change.total)}" + (f" ({described})" if described else "")]
    words.append("one after another" if plan.parallel is None else f"{plan.parallel} at a time")
    words.append("in this terminal" if plan.options.here else f"in tmux session {done.session}")
    line = ", ".join(words)
    changes = []
    if change.kept:
        changes.append(f"{change.kept} done already")
    if change.again:
        changes.append(f"{change.again} queued again")
    if change.new and change.new != change.total:
        changes.append(f"{change.new} new")
    if done.gone.count:
        kept = " (kept on disk)" if done.gone.begun else ""
        changes.append(f"{done.gone.count} gone from the file{kept}")
    return line + (f"\n  {', '.join(changes)}" if changes else "")


def _alive(done: launching.Launched) -> str:
    """A remark on what runs though it has left the file."""
    alive = done.gone.alive
    if not alive:
        return ""
    numbers = " ".join(map(str, alive[:SHOWN]))
    rest = f" (and {len(alive) - SHOWN} more)" if len(alive) > SHOWN else ""
    return (
        f"{count_runs(len(alive))} {numbers.replace(' ', ', ')}{rest} still "
        f"{'runs' if len(alive) == 1 else 'run'} though gone from the file: "
        f"sweep stop {done.plan.sweep.name} {numbers} ends {'it' if len(alive) == 1 else 'them'}"
    )


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
    if frame.status.state in ("running", "paused", "stopping") and launching.alive(sweep):
        return 0  # nobody reads our output any more
    return _ending(sweep, frame.status.counts, frame.status.why)


def _ending(sweep: paths.SweepDir, counts: dict[str, int], why: str = "") -> int:
    """The report's head, and the exit code: 0 if every run is done."""
    from sweeper import results
    from sweeper.gather import sweep_data

    if why:
        print(f"{sweep.name} was stopped: {why}")
    report = results.collect(sweep_data(sweep))
    print(results.head(report, width=width(), color=sys.stdout.isatty()).rstrip())
    return 0 if {state for state, count in counts.items() if count} <= {model.DONE} else 1
