"""From argv to an exit code: help and versions first, then words -> plan by fire, then the plan carried out.

Every command only returns a plan; ``main`` carries it out after fire has consumed every word, since fire calls first
and rejects afterwards. Errors become text and exit codes here and nowhere else: 0 all well, 1 some runs did not end
well, 2 the input is wrong and nothing was changed, 75 a GPU is held and --no-wait was given.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from sweeper.cli import complete, help, words
from sweeper.cli.table import LAUNCH, NAMES, Command
from sweeper.errors import InputError, SweepError
from sweeper.version import VERSION

SEPARATOR = "\x1f"  # fire's own separator, out of the way of a plain "-"


class Plan:
    """What was asked for, not done yet. fire can chain nothing into it: it shows no members and cannot be called."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], int]) -> None:
        self._act = act

    def __dir__(self) -> list[str]:
        return []


def main(argv: Sequence[str] | None = None) -> None:
    """The command ``sweep``. Exits with the code that says how it went."""
    sys.excepthook = _unexpected
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _main(typed)
        sys.stdout.flush()
    except SweepError as error:
        print(f"sweep: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains on its way out
        code = 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        code = 130
    except sqlite3.Error as error:
        print(f"sweep: the queue cannot be used: {error}; sweep doctor looks for the cause", file=sys.stderr)
        code = 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"sweep: {where}{error.strerror or error}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _main(typed: list[str]) -> int:
    if sys.platform != "linux":
        raise InputError(f"sweep needs Linux (its locks, terminals and processes); this is {sys.platform}")
    if typed and typed[0] == "__complete":
        print("\n".join(complete.candidates(typed[1:])))
        return 0
    own, after = _split(typed)
    if not own or own[0] == "help":
        print(help.of(NAMES[own[1]]) if len(own) > 1 and own[1] in NAMES else help.overview())
        return 0
    if own == ["--version"]:
        print(f"sweep {VERSION}")
        return 0
    command, rest = words.command_of(own)
    if "--help" in rest or "-h" in rest:
        print(help.of(command))
        return 0
    plan = _plan(command, words.normalise(command, rest), after)
    return plan._act()


def _split(typed: list[str]) -> tuple[list[str], list[str] | None]:
    """``run-one --gpus 1 -- COMMAND``: what is ours and what is the command; fire would drop the latter."""
    if typed and typed[0] == "run-one" and "--" in typed:
        place = typed.index("--")
        return typed[:place], typed[place + 1 :]
    return typed, None


def _plan(command: Command, typed: list[str], after: list[str] | None) -> Plan:
    import fire

    fire.core.parser.DefaultParseValue = lambda value: value  # strings stay strings (FACTS: 1.10, a,b, hex ids)
    function = _functions(after)[command.name]
    plan = fire.Fire(
        function,
        command=[*typed, "--", f"--separator={SEPARATOR}"],
        name=f"sweep {command.name}" if command is not LAUNCH else "sweep",
        serialize=lambda _: None,
    )
    if not isinstance(plan, Plan):
        raise InputError(f"sweep {command.name}: this cannot be understood; {help.of(command).splitlines()[0]}")
    return plan


def _functions(after: list[str] | None) -> dict[str, Callable[..., Plan]]:
    """What fire binds the words to: one function a command, which reads its values and returns the plan."""
    from sweeper.cli import actions

    def launch(
        file: str = "",
        *,
        parallel: str | None = None,
        serial: str = "",
        gpus: str | None = None,
        gpus_allowed: str | None = None,
        hold: str = "",
        dry_run: str = "",
        detach: str = "",
        fresh: str = "",
        here: str = "",
        runs_dir: str | None = None,
    ) -> Plan:
        if not file:
            raise InputError("which sweep file? sweep FILE [--parallel N | --serial]; sweep --help shows the rest")
        options = actions.options(
            parallel=None if parallel is None else words.number("parallel", parallel, least=1),
            serial=_on(serial),
            here=_on(here),
            fresh=_on(fresh),
            runs_dir=runs_dir,
            gpus=gpus,
            gpus_allowed=words.indices("gpus-allowed", gpus_allowed),
            hold=_on(hold) or None,
        )
        return Plan(lambda: actions.launch(file, options, dry_run=_on(dry_run), detach=_on(detach)))

    def status(name: str | None = None, *, json: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: actions.status(name, runs_dir, as_json=_on(json)))

    def ls(*, json: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: actions.ls(runs_dir, as_json=_on(json)))

    def attach(*typed: str, runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        return Plan(lambda: actions.attach(name, _one(runs), runs_dir))

    def logs(*typed: str, follow: str = "", raw: str = "", runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        if not runs:
            raise InputError("which run's log? sweep logs [NAME] RUN; sweep status shows their numbers")
        return Plan(lambda: actions.logs(name, _one(runs), runs_dir, follow=_on(follow), raw=_on(raw)))

    def stop(*typed: str, runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        return Plan(lambda: actions.stop(name, runs, runs_dir))

    def pause(name: str | None = None, *, runs_dir: str | None = None) -> Plan:
        return Plan(lambda: actions.pause(name, runs_dir))

    def resume(
        name: str | None = None,
        *,
        all: str = "",
        at_boot: str = "",
        never: str = "",
        yes: str = "",
        runs_dir: str | None = None,
    ) -> Plan:
        if _on(at_boot) or _on(never):
            if _on(at_boot) and _on(never):
                raise InputError("--at-boot and --never exclude each other")
            return Plan(lambda: actions.at_boot(install=_on(at_boot), yes=_on(yes)))
        if _on(all):
            if name is not None:
                raise InputError("--all means every sweep: leave the name out")
            return Plan(actions.resume_all)
        return Plan(lambda: actions.resume(name, runs_dir))

    def retry(*typed: str, runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        return Plan(lambda: actions.retry(name, runs, runs_dir))

    def rm(name: str | None = None, *, yes: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: actions.remove(name, runs_dir, yes=_on(yes)))

    def report(
        *names: str,
        maximize: str | None = None,
        minimize: str | None = None,
        last: str = "",
        columns: str | None = None,
        where: str = "",
        sort: str | None = None,
        top: str | None = None,
        format: str = "",
        output: str | None = None,
        html: str = "",
        open: str = "",
        runs_dir: str | None = None,
    ) -> Plan:
        if maximize and minimize:
            raise InputError("--maximize and --minimize exclude each other: rank by one metric")
        if _on(html) and format not in ("", "html"):
            raise InputError(f"--html and --format {format} exclude each other")
        return Plan(
            lambda: actions.report(
                names,
                runs_dir,
                maximize=maximize,
                minimize=minimize,
                last=_on(last),
                columns=words.listing(columns),
                where=where,
                sort=words.listing(sort),
                top=None if top is None else words.number("top", top),
                format="html" if _on(html) or _on(open) else format or "table",
                output=output,
                show=_on(open),
            )
        )

    def gpus(*, watch: str = "", json: str = "") -> Plan:
        return Plan(lambda: actions.gpus(watch=_on(watch), as_json=_on(json)))

    def run_one(
        *,
        gpus: str | None = None,
        gpus_allowed: str | None = None,
        gpu_memory: str | None = None,
        per_gpu: str | None = None,
        ignore_others: str = "",
        no_wait: str = "",
        same_command: str = "",
    ) -> Plan:
        if not after:
            raise InputError("which command? sweep run-one [--gpus N] -- COMMAND...")
        return Plan(
            lambda: actions.run_one(
                after,
                gpus=gpus,
                gpus_allowed=words.indices("gpus-allowed", gpus_allowed),
                gpu_memory=gpu_memory,
                per_gpu=1 if per_gpu is None else words.number("per-gpu", per_gpu, least=1),
                ignore_others=_on(ignore_others),
                no_wait=_on(no_wait),
                same_command=_on(same_command),
            )
        )

    def doctor(*, json: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: actions.doctor(runs_dir, as_json=_on(json)))

    def schema() -> Plan:
        return Plan(actions.schema)

    def completion(shell: str = "") -> Plan:
        if not shell:
            raise InputError("for which shell? sweep completion bash, zsh or fish")
        text = complete.script(shell)
        return Plan(lambda: _print(text))

    functions: dict[str, Callable[..., Plan]] = {
        "launch": launch,
        "status": status,
        "ls": ls,
        "attach": attach,
        "logs": logs,
        "stop": stop,
        "pause": pause,
        "resume": resume,
        "retry": retry,
        "rm": rm,
        "report": report,
        "gpus": gpus,
        "run-one": run_one,
        "doctor": doctor,
        "schema": schema,
        "completion": completion,
    }
    return functions


def _print(text: str) -> int:
    print(text, end="")
    return 0


def _on(value: Any) -> bool:
    """Whether a switch is on: ``words.normalise`` leaves 'True' or 'False'."""
    return bool(value == "True")


def _one(runs: Sequence[int]) -> int:
    if len(runs) > 1:
        raise InputError("one run at a time here")
    return runs[0] if runs else 0


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A fault of ours: the traceback goes into a file, the user gets one line."""
    folder = os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "sweep")
    path = os.path.join(folder, f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    text = "".join(traceback.format_exception(kind, error, trace))
    try:
        os.makedirs(folder, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"sweep {VERSION}, {sys.version}\n{sys.argv}\n{text}")
        where = f"the details are in {path}"
    except OSError:
        where = text
    print(f"sweep: a fault in sweep itself ({kind.__name__}: {error}); {where}", file=sys.stderr)
