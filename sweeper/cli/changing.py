"""The commands that change what a sweep is to do, and run-one. Each returns the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sweeper import index, launch, model, obstacle, paths
from sweeper.cli import words
from sweeper.cli.printing import count_runs, plain
from sweeper.errors import InputError, RequestError, SweepError

SHOWN = 20  # runs that are told by their number


def stop(name: str | None, runs: Sequence[int], runs_dir: str | None) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    done = control.stop(sweep, runs)
    if done.over:
        print(f"{sweep.name}: {_listed(done.over)} ended already")
    if done.ending:
        print(f"{sweep.name}: ending {_listed(done.ending)} (TERM now, KILL after the grace)")
    if done.unstarted:
        print(f"{sweep.name}: {_listed(done.unstarted)} will not be started")
    if done.silent:
        print(f"sweep: {plain(done.silent)}\n    its runs are told to end all the same", file=sys.stderr)
    if runs:
        return 0
    if done.was == "stopping":
        print(f"{sweep.name} is being stopped already")
    elif not done.changed:
        print(f"{sweep.name} is not running: it is {done.was}, and nothing was changed")
    elif done.was == "interrupted" and not done.ending:
        print(f"{sweep.name} was not running any more; it is marked as stopped, and resume --all leaves it alone")
    elif not done.ending:
        print(f"{sweep.name} is stopped")
    if done.changed:
        print(f"sweep resume {sweep.name} goes on where it was")
    return 0


def _listed(numbers: Sequence[int]) -> str:
    """``run 7``, ``runs 7, 9``, ``runs 1, 2, 3 and 97 more``."""
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{count_runs(len(numbers))} {', '.join(map(str, numbers[:SHOWN]))}{more}"


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
        print(f"{sweep.name} has nothing left to do; sweep retry {sweep.name} runs again what did not end well")
    return 0


def resume_all() -> int:
    """Continue every sweep of this user that was running; one that cannot be is told and does not hinder the others."""
    from sweeper import control

    going, alone, troubled = [], [], 0
    for entry in reversed(index.entries()):
        sweep = paths.SweepDir(entry.path)
        if not index.is_sweep(entry.path):
            continue
        try:
            if control.resumable(sweep) and control.resume(sweep):
                going.append(sweep.name)
            elif why := control.left_alone(sweep):
                alone.append(f"{sweep.name} ({plain(why)})")
        except (SweepError, OSError) as error:
            troubled += 1
            why = obstacle.explain(error) if isinstance(error, OSError) else str(error)
            print(f"sweep: {sweep.name}: {plain(why)}", file=sys.stderr)
    if alone:
        more = f" and {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
        print(f"left alone: {', '.join(alone[:SHOWN])}{more}. sweep resume NAME goes on with one")
    if going or troubled:
        print(f"resumed: {', '.join(going) or 'none'}" + (f"; {troubled} could not be" if troubled else ""))
    else:
        print("no sweep was interrupted")
    return 1 if troubled else 0


def at_boot(*, install: bool, yes: bool) -> int:
    from sweeper import boot

    if not install:
        found = boot.remove(os.environ)
        print(f"removed: {', '.join(found)}" if found else "nothing was installed")
        return 0
    plan = boot.plan(boot.command(os.environ), os.environ)
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
        print(f"{sweep.name}: {len(again)} {count_runs(len(again))} queued again. sweep status {sweep.name}")
    else:
        print(f"{sweep.name}: nothing to retry, " + ("they have not ended" if runs else "every run that ended is done"))
    return 0


def remove(name: str | None, runs_dir: str | None, *, yes: bool) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    launch.check_at_rest(sweep)
    if not yes and not _ask(f"Delete {sweep.path} with all its results?"):
        return 2
    control.remove(sweep)
    print(f"{sweep.path} is deleted")
    if session := _close_session(sweep):
        print(f"its tmux session {session} is closed")
    return 0


def _close_session(sweep: paths.SweepDir) -> str | None:
    """The windows of failed runs outlive the sweep; with its results they have nothing left to show."""
    from sweeper import tmux

    return tmux.close_session(str(sweep.path))


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
    from sweeper import runone

    asked = words.gpu_count(gpus)
    if asked is None:
        machine = gpu_module.machine(load=False)
        asked = 1 if gpu_module.visible(os.environ, machine.gpus) else 0
        named = "gpus_allowed" if gpus_allowed is not None else "gpu_memory" if gpu_memory is not None else ""
        if not asked and named:
            why = gpu_module.why_none(machine)
            raise RequestError(named, f"asks for GPUs, but {why}", "Leave it out, or write gpus: 0").typed()
        if not asked and machine.broken:
            print(f"sweep: it gets no GPU: {gpu_module.why_none(machine)}", file=sys.stderr, flush=True)
    request = model.GpuRequest(
        count=None if asked == "all" else int(asked),
        allowed=gpus_allowed,
        per_gpu=per_gpu,
        memory=0 if gpu_memory is None else words.gpu_memory(gpu_memory),
        ignore_others=ignore_others,
    )
    try:
        return int(runone.run_one(argv, request, no_wait=no_wait, same_command=same_command))
    except RequestError as error:
        raise error.typed() from None
