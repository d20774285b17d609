"""Idle time of a slot between one run's end and the next one's start, for runs of 100 ms, beside other queues.

Every tool runs the same job, which writes its own start and end. The peers are named in README.md with how to install
them; those found in the folder that BENCH_PEERS names (a virtual environment) count as well.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import (
    MissingError,
    Place,
    Row,
    gaps,
    make_job,
    milliseconds,
    place,
    quantile,
    run_alone,
    stamps,
    wait_for,
)

LENGTH = 100  # milliseconds of a run
Tool = Callable[[Place, Path, Path, int], None]

_HYDRA = """
import subprocess, hydra
@hydra.main(version_base=None, config_path=None)
def main(config):
    subprocess.run(config.words.split(" "), check=True)
main()
"""
_SUBMITIT = """
import subprocess, sys, time, submitit
words, runs = sys.argv[1].split(" "), int(sys.argv[2])
executor = submitit.LocalExecutor(folder="submitit")
left, flying = runs, []
while left or flying:
    flying = [job for job in flying if not job.done()]
    while left and len(flying) < 2:
        flying.append(executor.submit(subprocess.check_call, words))
        left -= 1
    time.sleep(0.001)
"""


def _program(name: str, how: str) -> str:
    """A program on PATH or in BENCH_PEERS. Raises MissingError."""
    peers = os.environ.get("BENCH_PEERS", "")
    found = shutil.which(name) or (shutil.which(name, path=os.path.join(peers, "bin")) if peers else None)
    if found is None:
        raise MissingError(f"not installed: {how}")
    return found


def _python_with(at: Place, module: str, how: str) -> str:
    python = _program("python", how) if not os.environ.get("BENCH_PEERS") else os.environ["BENCH_PEERS"] + "/bin/python"
    try:
        at.run(python, "-c", f"import {module}")
    except (OSError, RuntimeError):
        raise MissingError(f"not installed: {how}") from None
    return python


def _numbers(runs: int) -> str:
    return "".join(f"{number}\n" for number in range(runs))


def _ended(log: Path, runs: int) -> Callable[[], bool]:
    return lambda: len(stamps(log)[1]) >= runs


# -- two at once -----------------------------------------------------------------------------------------------------


def sweep_parallel(at: Place, job: Path, log: Path, runs: int) -> None:
    _program("tmux", "apt install tmux")
    _sweep(at, job, log, runs, "--parallel", "2", "--detach")


def _sweep(at: Place, job: Path, log: Path, runs: int, *how: str) -> None:
    name = log.stem
    file = at.file(
        f"{name}.yaml", f"command: {job} {log} {LENGTH} {{i}}\ngrid: {{i: {{range: [0, {runs}]}}}}\ngpus: 0\n"
    )
    at.sweep(file, *how)
    wait_for(_ended(log, runs), "the last run", every=0.2)
    wait_for(lambda: not at.scheduler(name), "the scheduler's end", 30)


def xargs(at: Place, job: Path, log: Path, runs: int) -> None:
    at.run(_program("xargs", "apt install findutils"), "-P2", "-n1", job, log, str(LENGTH), text=_numbers(runs))


def task_spooler(at: Place, job: Path, log: Path, runs: int) -> None:
    spooler = _program("tsp", "apt install task-spooler")
    here = {"TS_SOCKET": str(at.path / "tsp.sock"), "TMPDIR": str(at.path)}
    at.run(spooler, "-S", "2", env=here)
    for _ in range(runs):
        at.run(spooler, "-n", job, log, str(LENGTH), env=here)
    wait_for(_ended(log, runs), "task-spooler", every=0.2)
    at.run(spooler, "-K", env=here)


def simple_gpu_scheduler(at: Place, job: Path, log: Path, runs: int) -> None:
    program = _program("simple_gpu_scheduler", "pip install simple_gpu_scheduler")
    at.run(program, "--gpus", "0", "1", text=f"{job} {log} {LENGTH}\n" * runs)


def gnu_parallel(at: Place, job: Path, log: Path, runs: int) -> None:
    _gnu_parallel(at, job, log, runs, "-j2")


def _gnu_parallel(at: Place, job: Path, log: Path, runs: int, slots: str) -> None:
    program = _program("parallel", "apt install parallel")
    (at.path / ".parallel").mkdir(exist_ok=True)
    (at.path / ".parallel" / "will-cite").touch()
    at.run(program, slots, str(job), str(log), str(LENGTH), text=_numbers(runs))


def hydra_joblib(at: Place, job: Path, log: Path, runs: int) -> None:
    python = _python_with(at, "hydra_plugins.hydra_joblib_launcher", "pip install hydra-core hydra-joblib-launcher")
    script = at.file("hydra_app.py", _HYDRA)
    at.run(
        python, script, "--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        f"+words='{job} {log} {LENGTH}'", f"+i=range(0,{runs})",
    )  # fmt: skip


def submitit(at: Place, job: Path, log: Path, runs: int) -> None:
    python = _python_with(at, "submitit", "pip install submitit")
    at.run(python, at.file("submitit_app.py", _SUBMITIT), f"{job} {log} {LENGTH}", str(runs))


# -- one after another -----------------------------------------------------------------------------------------------


def sweep_serial(at: Place, job: Path, log: Path, runs: int) -> None:
    _program("tmux", "apt install tmux")
    _sweep(at, job, log, runs, "--serial", "--detach")


def sweep_here(at: Place, job: Path, log: Path, runs: int) -> None:
    _sweep(at, job, log, runs, "--serial", "--here")


def bash_loop(at: Place, job: Path, log: Path, runs: int) -> None:
    at.run("bash", "-c", 'for ((i = 0; i < $3; i++)); do "$0" "$1" "$2"; done', job, log, str(LENGTH), str(runs))


def nq(at: Place, job: Path, log: Path, runs: int) -> None:
    program = _program("nq", "apt install nq")
    here = {"NQDIR": str(at.path / "nq")}
    for _ in range(runs):
        at.run(program, job, log, str(LENGTH), env=here)
    wait_for(_ended(log, runs), "nq", every=0.2)


def gnu_parallel_one(at: Place, job: Path, log: Path, runs: int) -> None:
    _gnu_parallel(at, job, log, runs, "-j1")


PARALLEL: tuple[tuple[str, Tool], ...] = (
    ("sweep --parallel 2, in tmux windows", sweep_parallel),
    ("xargs -P2", xargs),
    ("task-spooler -S 2", task_spooler),
    ("simple_gpu_scheduler, 2 GPUs", simple_gpu_scheduler),
    ("GNU parallel -j2", gnu_parallel),
    ("Hydra with joblib launcher, n_jobs=2", hydra_joblib),
    ("submitit local, 2 in flight", submitit),
)
SERIAL: tuple[tuple[str, Tool], ...] = (
    ("sweep --serial, in tmux", sweep_serial),
    ("sweep --serial --here", sweep_here),
    ("bash loop", bash_loop),
    ("nq", nq),
    ("GNU parallel -j1", gnu_parallel_one),
)


def measure(quick: bool) -> list[Row]:
    """Quick: 6 runs a tool; else 60 in two rounds, so that a busy moment of the machine meets no tool alone."""
    runs, rounds = (6, 1) if quick else (60, 2)
    rows: list[Row] = []
    for kind, slots, goal, tools in (("two at once", 2, 0.005, PARALLEL), ("one at a time", 1, 0.003, SERIAL)):
        found: dict[str, list[float]] = {}
        missing: dict[str, str] = {}
        for turn in range(rounds):
            for number, (name, tool) in enumerate(tools):
                try:
                    found.setdefault(name, []).extend(_idle(tool, f"{kind.split()[0]}{number}{turn}", runs, slots))
                except MissingError as error:
                    missing[name] = str(error)
        own = statistics.median(found[tools[0][0]]) if found[tools[0][0]] else None
        for name, _ in tools:
            rows.append(_row(f"idle between runs, {kind}: {name}", found[name], missing.get(name), own, goal))
    return rows


def _idle(tool: Tool, label: str, runs: int, slots: int) -> list[float]:
    with place() as at:
        log = at.path / f"{label}.stamps"
        tool(at, make_job(at.path).program, log, runs)
        return gaps(log, slots)


def _row(what: str, found: list[float], missing: str | None, own: float | None, goal: float) -> Row:
    if missing is not None or not found:
        return Row(what, "-", note=missing or "no runs")
    middle = statistics.median(found)
    ours = ": sweep" in what
    note = f"90 % quantile {milliseconds(quantile(found, 0.9))}, {len(found)} gaps"
    if own is not None and middle != own:
        note += f", {middle / own:.2f} x ours"
    return Row(
        what, milliseconds(middle), f"{goal * 1000:g} ms" if ours else "", middle <= goal if ours else None, note
    )


if __name__ == "__main__":
    run_alone(measure, __doc__ or "")
