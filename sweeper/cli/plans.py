"""Words -> plan by fire: one function a command, which reads its values and returns what is to be done later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper.cli import complete, help, words
from sweeper.cli.table import LAUNCH, Command
from sweeper.errors import InputError


class Plan:
    """What was asked for, not done yet. fire can chain nothing into it: it shows no members and cannot be called."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], int]) -> None:
        self._act = act

    def __dir__(self) -> list[str]:
        return []

    def carry_out(self) -> int:
        """Do it, and give the exit code."""
        return self._act()


def plan(command: Command, typed: list[str], after: list[str] | None) -> Plan:
    import fire

    fire.core.parser.DefaultParseValue = lambda value: value  # strings stay strings (FACTS: 1.10, a,b, hex ids)
    function = _functions(after)[command.name]
    made = fire.Fire(
        function,
        command=[*typed, "--", f"--separator={words.SEPARATOR}"],
        name=f"sweep {command.name}" if command is not LAUNCH else "sweep",
        serialize=lambda _: None,
    )
    if not isinstance(made, Plan):
        raise InputError(f"sweep {command.name}: this cannot be understood; {help.of(command).splitlines()[0]}")
    return made


def _functions(after: list[str] | None) -> dict[str, Callable[..., Plan]]:
    """What fire binds the words to: one function a command, which reads its values and returns the plan."""
    from sweeper.cli import changing, looking, reporting, standing, starting

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
        options = starting.options(
            parallel=None if parallel is None else words.number("parallel", parallel, least=1),
            serial=_on(serial),
            here=_on(here),
            fresh=_on(fresh),
            runs_dir=runs_dir,
            gpus=gpus,
            gpus_allowed=words.indices("gpus-allowed", gpus_allowed),
            hold=_on(hold) if hold else None,
        )
        return Plan(lambda: starting.launch(file, options, dry_run=_on(dry_run), detach=_on(detach)))

    def status(name: str | None = None, *, json: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: standing.status(name, runs_dir, as_json=_on(json)))

    def ls(*, json: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: looking.ls(runs_dir, as_json=_on(json)))

    def attach(*typed: str, runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        run = words.one(runs)
        return Plan(lambda: looking.attach(name, run, runs_dir))

    def logs(*typed: str, follow: str = "", raw: str = "", runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        run = words.one(runs)
        if run is None:
            raise InputError("which run's log? sweep logs [NAME] RUN; sweep status shows their numbers")
        return Plan(lambda: looking.logs(name, run, runs_dir, follow=_on(follow), raw=_on(raw)))

    def stop(*typed: str, runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        return Plan(lambda: changing.stop(name, runs, runs_dir))

    def pause(name: str | None = None, *, runs_dir: str | None = None) -> Plan:
        return Plan(lambda: changing.pause(name, runs_dir))

    def resume(
        name: str | None = None,
        *,
        all: str = "",
        at_boot: str = "",
        never: str = "",
        yes: str = "",
        detach: str = "",
        runs_dir: str | None = None,
    ) -> Plan:
        chosen = [flag for flag, word in (("--all", all), ("--at-boot", at_boot), ("--never", never)) if _on(word)]
        if len(chosen) > 1:
            raise InputError(f"{' and '.join(chosen)} exclude each other: give one of them")
        if chosen and name is not None:
            raise InputError(f"{chosen[0]} is for every sweep of yours: leave the name out")
        if _on(at_boot) or _on(never):
            return Plan(lambda: changing.at_boot(install=_on(at_boot), yes=_on(yes)))
        if _on(all):
            return Plan(changing.resume_all)
        return Plan(lambda: changing.resume(name, runs_dir))

    def retry(*typed: str, detach: str = "", runs_dir: str | None = None) -> Plan:
        name, runs = words.name_and_runs(typed)
        return Plan(lambda: changing.retry(name, runs, runs_dir))

    def rm(name: str | None = None, *, yes: str = "", runs_dir: str | None = None) -> Plan:
        return Plan(lambda: changing.remove(name, runs_dir, yes=_on(yes)))

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
            lambda: reporting.report(
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
        return Plan(lambda: looking.gpus(watch=_on(watch), as_json=_on(json)))

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
            lambda: changing.run_one(
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
        return Plan(lambda: looking.doctor(runs_dir, as_json=_on(json)))

    def schema() -> Plan:
        return Plan(looking.schema)

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
