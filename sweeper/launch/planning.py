"""What was typed, checked: everything that can be known before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sweeper import command, folders, index, paths
from sweeper.command import Template
from sweeper.errors import InputError, Problem, RequestError, SpecError
from sweeper.grid import Points, expand
from sweeper.launch import remarks
from sweeper.model import GpuRequest
from sweeper.spec import Spec, in_order, read_draft


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
    asked: int | None = None
    """How many at once were asked for, now or by an earlier launch: 0 is a serial chain, None if nobody ever said."""


def plan(file: str, options: Options) -> Plan:
    """Check everything that can be checked before anything is changed. Raises InputError (SpecError), SweepError."""
    spec, points, template = _read(file)
    sweep = paths.SweepDir(index.runs_dir(options.runs_dir, spec.runs_dir) / spec.name)
    check_owner(sweep, spec)
    _check_folder(spec)
    request, visible, notes = _gpus(spec, options)
    if index.is_lost(sweep):
        notes.append(f"{sweep.path} was deleted or moved since it was launched: this begins anew")
    notes += [*remarks.doubts(spec, points), *remarks.second_place(sweep, spec), *remarks.missing_script(spec)]
    if points.duplicates:
        notes.append(f"{points.duplicates} points stand twice in the file; each runs once")
    return Plan(spec, points, template, sweep, _parallel(options, request, visible), request, options, notes)


def _read(file: str) -> tuple[Spec, Points, Template]:
    """The file, its points and its command. Raises SpecError with all mistakes of it that can be found at once."""
    draft = read_draft(file)
    spec, problems = draft.spec, list(draft.problems)
    points: Points | None = None
    template: Template | None = None
    if spec is not None and draft.doubtful.isdisjoint(("grid", "repeat", "include")):
        try:
            points = expand(spec)
        except SpecError as error:
            problems += error.problems
    if spec is not None and draft.doubtful.isdisjoint(("command", "args")):
        try:
            template = command.template(spec)
        except SpecError as error:
            problems += error.problems
    if spec is not None and points is not None and template is not None:
        problems += template.check(points) or _unreadable(spec, points, template)
        if not problems:
            return spec, points, template
    raise SpecError(file, in_order(problems))


def _unreadable(spec: Spec, points: Points, template: Template) -> list[Problem]:
    """What bash cannot read of the first run: what was appended may have broken the command that it follows."""
    if not len(points):
        return []
    first = template.render(points[0], run=1, run_dir="/run_dir", sweep=spec.name)
    said = command.complaint(f"{spec.before}\n{first}\n")
    if not said:
        return []
    alone = command.complaint(spec.before)
    key = "before" if alone else "command"
    remedy = (
        "" if alone else "Parameters follow at the end of the command unless {args} or {name} says where they belong."
    )
    return [Problem(f"cannot be read by bash: {alone or said}", spec.lines.get(key), key=key, remedy=remedy)]


def _check_folder(spec: Spec) -> None:
    if spec.workdir is not None and not spec.workdir.is_dir():
        line = spec.lines.get("workdir")
        where = spec.file if line is None else f"{spec.file}:{line}"
        raise InputError(
            f"{where}: workdir: {spec.workdir} is no folder\n    it is resolved against the sweep file's folder"
        )


def check_owner(sweep: paths.SweepDir, spec: Spec) -> None:
    index.check_ours(sweep)
    owner = folders.read_json(sweep.owner)
    if owner is None:
        if sweep.path.exists() and not sweep.path.is_dir():
            raise InputError(f"{sweep.path} is in the way: it is no folder")
        return
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
    from sweeper.lease.folder import choose
    from sweeper.lease.roll import refuse_nested

    machine = gpus.machine(load=False)
    visible = gpus.visible(os.environ, machine.gpus)
    if not visible and asked is None:
        _check_unasked(spec, options, gpus.why_none(machine))
        return GpuRequest(count=0), 0, [f"runs get no GPU: {gpus.why_none(machine)}"] if machine.broken else []
    notes = [f"some GPUs do not answer: {machine.reason}"] if machine.broken else []
    request = GpuRequest(
        count=None if asked == "all" else 1 if asked is None else int(asked),
        allowed=allowed,
        per_gpu=spec.per_gpu,
        memory=spec.gpu_memory,
        busy_above=spec.busy_above,
        ignore_others=spec.ignore_others,
        keep_free=spec.keep_free,
    )
    try:
        usable = gpus.resolve(request, visible, machine)
        refuse_nested(choose(), os.environ)
    except RequestError as error:
        raise _located(error, spec, options) from None
    return request, len(usable), notes


def _located(error: RequestError, spec: Spec, options: Options) -> InputError:
    """Where it was written: on the command line, else in which line of the file."""
    key = error.problem.key
    if getattr(options, key, None) is not None:
        return error.typed()
    return SpecError(spec.shown, [replace(error.problem, line=spec.lines.get(key))])


def _check_unasked(spec: Spec, options: Options, why: str) -> None:
    """Where there are no GPUs, a file that names some, or their memory, asks for what it cannot have."""
    for key in ("gpus_allowed", "gpu_memory"):
        if getattr(options, key, None) is not None or getattr(spec, key):
            error = RequestError(key, f"asks for GPUs, but {why}", "Leave it out, or write gpus: 0")
            raise _located(error, spec, options)


def _parallel(options: Options, request: GpuRequest, usable: int) -> int | None:
    """How many at once; None is a serial chain."""
    if options.serial and options.parallel is not None:
        raise InputError("--serial and --parallel exclude each other: give one of them")
    if options.here and options.parallel is not None:
        raise InputError("--here runs a chain in this terminal: give --serial with it, not --parallel")
    if options.parallel is not None and options.hold:
        raise InputError("--hold is for a serial chain: give --serial with it, not --parallel")
    if options.parallel is not None:
        if options.parallel < 1:
            raise InputError("--parallel wants a number of runs at once, 1 or more")
        return options.parallel
    if options.serial or options.here or request.count == 0:
        return None
    return max(1, max(0, usable - request.keep_free) // (request.count or usable) * request.per_gpu)


def holds(plan: Plan) -> bool:
    """Whether GPUs are to be kept between runs: ``hold:`` of the file, unless something else was typed."""
    return plan.options.hold if plan.options.hold is not None else plan.spec.hold


def unheld(plan: Plan) -> list[str]:
    """A remark where hold is asked for and runs go at once: each of them queues for GPUs of its own."""
    if plan.parallel is None or plan.request.count == 0 or not holds(plan):
        return []
    line = plan.spec.lines.get("hold")
    where = "--hold" if plan.options.hold else f"{plan.spec.shown}:{line}: hold"
    return [f"{where} does nothing here: it is for a serial chain (--serial), and {plan.parallel} go at a time"]


def command_lines(plan: Plan) -> Iterator[str]:
    """The commands of all points, one a line, ready for a shell."""
    return command.dry_run(plan.points, plan.template, sweep=plan.spec.name)
