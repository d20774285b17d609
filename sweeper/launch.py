"""A launch, step by step: read and check everything, then write what is wanted, then wake or start the scheduler."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from sweeper import channel, command, folders, index, paths
from sweeper.channel import Channel
from sweeper.command import Template
from sweeper.errors import InputError, SpecError, SweepError
from sweeper.grid import Points, expand
from sweeper.model import GpuRequest
from sweeper.scheduler import boot
from sweeper.spec import Spec, read_spec
from sweeper.store import Change, Store, Wish, enqueue, open_store, reconcile
from sweeper.store.db import RUN, STOP

PRIVATE = ("SWEEP_RUN_DIR", "SWEEP_NAME", "SWEEP_RUN", "SWEEP_ATTEMPT", "SWEEP_PARAMS", "TMUX", "TMUX_PANE", "_")
PATIENCE = 20.0  # seconds within which a new scheduler must answer


@dataclass(frozen=True)
class Options:
    """What was typed beside the file. ``parallel`` None and ``serial`` False: as many as there are GPUs."""

    parallel: int | None = None
    serial: bool = False
    here: bool = False
    fresh: bool = False
    runs_dir: str | None = None
    gpus: int | str | None = None
    gpus_allowed: tuple[int, ...] | None = None
    hold: bool | None = None


@dataclass(frozen=True)
class Plan:
    """A launch that was checked and has changed nothing yet."""

    spec: Spec
    points: Points
    template: Template
    sweep: paths.SweepDir
    parallel: int | None
    request: GpuRequest
    options: Options
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Launched:
    """What a launch did: the change of the queue, whether a scheduler was running already, and its tmux session."""

    plan: Plan
    change: Change
    woken: bool
    session: str


def plan(file: str, options: Options) -> Plan:
    """Check everything that can be checked before anything is changed. Raises InputError (SpecError), SweepError."""
    spec = read_spec(file)
    points = expand(spec)
    template = command.template(spec)
    problems = template.check(points)
    if problems:
        raise SpecError(spec.file, problems)
    sweep = paths.SweepDir(index.runs_dir(options.runs_dir, spec.runs_dir) / spec.name)
    _check_owner(sweep, spec)
    _check_folder(spec)
    request, visible, notes = _gpus(spec, options)
    if points.duplicates:
        notes.append(f"{points.duplicates} points stand twice in the file; each runs once")
    return Plan(spec, points, template, sweep, _parallel(options, request, visible), request, options, notes)


def _check_folder(spec: Spec) -> None:
    if spec.workdir is not None and not spec.workdir.is_dir():
        line = spec.lines.get("workdir")
        where = spec.file if line is None else f"{spec.file}:{line}"
        raise InputError(
            f"{where}: workdir: {spec.workdir} is no folder\n    it is resolved against the sweep file's folder"
        )


def _check_owner(sweep: paths.SweepDir, spec: Spec) -> None:
    owner = folders.read_json(sweep.owner)
    if owner is None:
        if sweep.path.exists() and not sweep.path.is_dir():
            raise InputError(f"{sweep.path} is in the way: it is no folder")
        return
    index.check_host(sweep)
    if owner.get("file") != spec.file and os.path.exists(str(owner.get("file"))):
        raise InputError(
            f"{sweep.path} belongs to another sweep file: {owner.get('file')}\n"
            f"    give this one a `name:` of its own, or another runs folder (--runs-dir)"
        )


def _gpus(spec: Spec, options: Options) -> tuple[GpuRequest, int, list[str]]:
    """What each run asks of the GPUs, how many it may use, and remarks. Raises InputError where it cannot be had."""
    asked = options.gpus if options.gpus is not None else spec.gpus
    allowed = options.gpus_allowed if options.gpus_allowed is not None else spec.gpus_allowed
    if asked == 0:
        return GpuRequest(count=0), 0, []
    from sweeper import gpus

    visible = gpus.visible(os.environ)
    notes: list[str] = []
    if not visible and asked is None:
        return GpuRequest(count=0), 0, []
    request = GpuRequest(
        count=None if asked == "all" else 1 if asked is None else int(asked),
        allowed=allowed,
        per_gpu=spec.per_gpu,
        memory=spec.gpu_memory,
        busy_above=spec.busy_above,
        ignore_others=spec.ignore_others,
        keep_free=spec.keep_free,
    )
    usable = gpus.resolve(request, visible)
    return request, len(usable), notes


def _parallel(options: Options, request: GpuRequest, usable: int) -> int | None:
    """How many at once; None is a serial chain."""
    if options.serial and options.parallel is not None:
        raise InputError("--serial and --parallel exclude each other: give one of them")
    if options.here and options.parallel is not None:
        raise InputError("--here runs a chain in this terminal: give --serial with it, not --parallel")
    if options.parallel is not None:
        if options.parallel < 1:
            raise InputError("--parallel wants a number of runs at once, 1 or more")
        return options.parallel
    if options.serial or options.here or request.count == 0:
        return None
    return max(1, max(0, usable - request.keep_free) // (request.count or usable) * request.per_gpu)


# -- carrying it out -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def launching(sweep: paths.SweepDir) -> Iterator[None]:
    """Hold the launch lock: who changes what is wanted. Waits for others, who hold it for a moment. Raises OSError."""
    lock = folders.open_lock(sweep.launch_lock)
    try:
        deadline = time.monotonic() + PATIENCE * 2
        while not lock_descriptor(lock, blocking=False):
            if time.monotonic() > deadline:
                raise SweepError(f"somebody else has been launching {sweep.name} for a long time: try again")
            time.sleep(0.01)
        yield
    finally:
        os.close(lock)


def alive(sweep: paths.SweepDir) -> bool:
    """Whether the sweep has a scheduler."""
    return folders.is_held(sweep.lock)


def carry_out(plan: Plan) -> Launched:
    """Make the file true: write it, the environment and what is wanted; wake the scheduler, or start it.

    Raises InputError (then nothing has changed), SweepError, OSError.
    """
    sweep = plan.sweep
    if plan.parallel is not None or not plan.options.here:
        from sweeper import tmux

        tmux.check()
    _make_folder(sweep)
    with launching(sweep):
        _check_owner(sweep, plan.spec)
        if plan.options.fresh:
            sweep = _move_aside(sweep)
    with launching(sweep):
        running = alive(sweep)
        if running and plan.options.here:
            raise InputError(f"{sweep.name} is running already: launch it without --here to change it")
        store = open_store(sweep)
        try:
            if not running:
                catch_up(store, sweep)
            before = store.wish()
            plan = _as_it_runs(plan, before, running)
            _check_mode(before, plan, running)
            wish = _wish(plan, sweep, before, running)
            change = enqueue(store, plan.spec, plan.points, plan.template, wish)
            paths.replace(sweep.file, plan.spec.source, sync=True)
            paths.replace(sweep.owner, json.dumps({"host": socket.gethostname(), "file": plan.spec.file}))
            index.remember(sweep)
            if not plan.options.here and not (running and wake(sweep)):
                wish = start(sweep, store, wish)
        finally:
            store.close()
    return Launched(plan, change, running, wish.session)


def catch_up(store: Store, sweep: paths.SweepDir) -> None:
    """Enter what happened since the last scheduler was killed, so that what failed meanwhile is queued again."""
    with store:
        _, ended = reconcile(store, sweep)
        for number, outcome in ended:
            store.set_outcome(number, outcome)


def _make_folder(sweep: paths.SweepDir) -> None:
    try:
        sweep.path.mkdir(parents=True, exist_ok=True)
        if not sweep.owner.exists() and not sweep.pointer.exists() and not works(sweep.path):
            local = paths.local_state(sweep.path)
            local.mkdir(mode=0o700, exist_ok=True)
            paths.replace(sweep.pointer, f"{local}\n")
            paths.state_folder.cache_clear()
    except OSError as error:
        raise InputError(
            f"the folder {sweep.path} cannot be made: {error.strerror}\n"
            "    give another runs folder with --runs-dir, SWEEP_RUNS_DIR or `runs_dir:`"
        ) from error


def works(folder: Path) -> bool:
    """Whether locks exclude and SQLite writes in this folder: tried, since network file systems may only pretend."""
    probe = folder / f".probe-{os.getpid()}"
    descriptors: list[int] = []
    try:
        descriptors += [folders.open_lock(probe), folders.open_lock(probe)]
        if not lock_descriptor(descriptors[0], blocking=False) or lock_descriptor(descriptors[1], blocking=False):
            return False
        Store(probe.with_suffix(".db")).close()
    except (OSError, sqlite3.Error):
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        for file in folder.glob(f"{probe.name}*"):
            file.unlink(missing_ok=True)
    return True


def _move_aside(sweep: paths.SweepDir) -> paths.SweepDir:
    """``--fresh``: the old results get another name, and nothing is deleted."""
    if not index.is_sweep(sweep.path):
        return sweep
    check_at_rest(sweep, ", then --fresh")
    with contextlib.closing(open_store(sweep)) as store:
        wish = store.wish()
        if wish is not None:  # or resume --all would go on with what was put aside
            store.set_wish(replace(wish, want=STOP, why="put aside by --fresh"))
    number = 1
    while (aside := sweep.path.with_name(f"{sweep.name}.old-{number}")).exists():
        number += 1
    sweep.path.rename(aside)
    index.remember(paths.SweepDir(aside))
    sweep.path.mkdir()
    return sweep


def _as_it_runs(plan: Plan, before: Wish | None, running: bool) -> Plan:
    """Launched without --parallel or --serial while it runs, a sweep goes on as many at a time as it does."""
    said = plan.options.parallel is not None or plan.options.serial or plan.options.here
    return replace(plan, parallel=before.parallel) if running and before is not None and not said else plan


def _check_mode(before: Wish | None, plan: Plan, running: bool) -> None:
    if running and before is not None and (before.parallel is None) != (plan.parallel is None):
        now = "a serial chain" if before.parallel is None else f"{before.parallel} at a time"
        raise InputError(
            f"{plan.sweep.name} is running as {now}: sweep stop {plan.sweep.name} first to change between the two"
        )


def environment(plan: Plan) -> dict[str, Any]:
    """What is remembered of the launching person and place."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "variables": {name: value for name, value in os.environ.items() if name not in PRIVATE},
        "umask": umask,
        "cwd": os.getcwd(),
        "file": plan.spec.file,
        "host": socket.gethostname(),
        "parallel": plan.parallel,
        "options": _options(plan),
    }


def _options(plan: Plan) -> dict[str, Any]:
    hold = plan.options.hold if plan.options.hold is not None else plan.spec.hold
    return {"gpu": plan.request.to_json(), "hold": hold, "cwd": os.getcwd()}


def _wish(plan: Plan, sweep: paths.SweepDir, before: Wish | None, running: bool) -> Wish:
    """Write the environment, where it differs from the last one, and give the new wish."""
    data = environment(plan)
    number = before.environment if before is not None else 0
    if number == 0 or folders.read_json(sweep.environment(number)) != data:
        number += 1
        text = json.dumps(data, ensure_ascii=False, indent=0)
        paths.replace(sweep.environment(number), text, mode=0o600, sync=True)
    return Wish(
        file=plan.spec.file,
        environment=number,
        parallel=plan.parallel,
        want=RUN,
        session=before.session if running and before is not None else "",
        here=plan.options.here,
        options=data["options"],
    )


def check_at_rest(sweep: paths.SweepDir, then: str = "") -> None:
    """Raises InputError on another host, and while anything of the sweep runs."""
    index.check_host(sweep)
    if alive(sweep):
        raise InputError(f"{sweep.name} is running: sweep stop {sweep.name} first{then}")
    for number, run in folders.run_folders(sweep):
        if folders.is_held(run.lock):
            raise InputError(f"run {number} of {sweep.name} is still alive: sweep stop {sweep.name} first{then}")


def wake(sweep: paths.SweepDir) -> bool:
    """Have the scheduler read what is wanted; True once it has."""
    try:
        line = Channel.connect(channel.address(sweep.path))
    except OSError:
        return False
    try:
        line.send("wake")
        answer = line.wait(PATIENCE)
    except EOFError:
        return False
    finally:
        line.close()
    return answer is not None and answer["kind"] == "ok"


def start(sweep: paths.SweepDir, store: Store, wish: Wish) -> Wish:
    """Start the scheduler in the first window of the sweep's session, and wait until it answers. Raises SweepError."""
    from sweeper import tmux

    name, standing = tmux.free_name(f"sweep-{sweep.name}", str(sweep.path))
    if standing:
        for pane, dead in tmux.panes(name).items():
            if dead and (old := tmux.window_of(pane)) is not None:
                tmux.close(old)
        standing = bool(tmux.panes(name))
    wish = replace(wish, session=name)
    store.set_wish(wish)
    seen = sweep.log.stat().st_size if sweep.log.exists() else 0
    argv = [sys.executable, "-I", "-S", "-X", "utf8", boot.__file__, paths.import_path(), "window", str(sweep.path)]
    if standing:
        window = tmux.new_window(name, "sweep", argv, front=True)
    else:
        window = tmux.new_session(name, str(sweep.path), argv, {})
    _wait_until(lambda: _answers(sweep, seen), lambda: window.pane in tmux.panes(name))
    if not _answers(sweep, seen):
        store.set_wish(replace(wish, want=STOP, why="its scheduler did not start"))
        raise SweepError(f"the scheduler of {sweep.name} did not start; the end of {sweep.log}:\n{_tail(sweep.log)}")
    return wish


def _answers(sweep: paths.SweepDir, seen: int) -> bool:
    """Whether a scheduler listens, or has come and gone, as its log says after ``seen`` bytes."""
    try:
        line = Channel.connect(channel.address(sweep.path))
    except OSError:
        return "scheduler ends:" in _tail(sweep.log, seen) and not alive(sweep)
    line.close()
    return alive(sweep)  # one whose folder was deleted and made anew may listen there still


def _wait_until(condition: Callable[[], bool], possible: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    look = time.monotonic() + 0.5
    while time.monotonic() < deadline and not condition():
        time.sleep(0.005)
        if time.monotonic() > look:
            look += 0.5
            if not possible() and not condition():
                return


def _tail(log: Path, seen: int = 0) -> str:
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(seen if seen <= size else 0, size - 2000))
            return "".join(c for c in file.read().decode("utf-8", "replace") if c.isprintable() or c == "\n")
    except OSError as error:
        return f"(unreadable: {error.strerror})"


def command_lines(plan: Plan) -> Iterator[str]:
    """The commands of all points, one a line, ready for a shell."""
    return command.dry_run(plan.points, plan.template, sweep=plan.spec.name)
