"""What large sweeps and idle ones cost: a million points, a hundred thousand runs, a night of waiting.

Memory is the peak of one process as the kernel keeps it (VmHWM), or what is resident now (VmRSS). Run folders and
queue of the large sweeps are made by the store's own calls, not by running them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import (
    ROOT,
    Job,
    Place,
    Row,
    cpu,
    make_job,
    megabytes,
    milliseconds,
    place,
    processes,
    resident,
    run_alone,
    stamps,
    wait_for,
)

FAILING = 100  # one run in so many of the made ones has failed

_PEAK = """
import atexit, os, sys
def tell():
    with open("/proc/self/status") as status, open(os.environ["BENCH_PEAK"], "w") as file:
        file.writelines(line for line in status if line.startswith("VmHWM"))
atexit.register(tell)
"""
_CLI = _PEAK + "from sweeper.cli import main\nmain()\n"
_PRODUCT = (
    _PEAK
    + """
import itertools
side = int(sys.argv[1])
count = 0
for point in itertools.product(range(side), range(side), range(side)):
    dict(zip(("a", "b", "c"), point))
    count += 1
assert count == side**3
"""
)
_INSERT = (
    _PEAK
    + """
import itertools, json, sqlite3
side = int(sys.argv[1])
db = sqlite3.connect("reference.db")
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = NORMAL")
db.execute("CREATE TABLE runs (number INTEGER PRIMARY KEY, params TEXT NOT NULL, state TEXT NOT NULL)")
points = itertools.product(range(side), range(side), range(side))
with db:
    db.executemany("INSERT INTO runs (params, state) VALUES (?, 'queued')",
                   (('{"a": %d, "b": %d, "c": %d}' % point,) for point in points))
"""
)
_MAKE = """
import json, os, socket, sys, time
from dataclasses import replace
from pathlib import Path
from sweeper import command, launch, model, paths
from sweeper.model import Attempt, Job, Outcome
from sweeper.store import enqueue, open_store
from sweeper.store.catalog import texts, values
file, count, failing, with_folders = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "folders"
plan = launch.plan(file, launch.Options(parallel=2))
sweep = plan.sweep
sweep.path.mkdir(parents=True)
paths.replace(sweep.file, plan.spec.source)
paths.replace(sweep.owner, json.dumps({"host": socket.gethostname(), "file": plan.spec.file}))
store = open_store(sweep)
wish = launch.new_wish(plan, sweep, None, False)
enqueue(store, plan.spec, plan.points, plan.template, wish)
now = time.time() - count
boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
with store:
    for number in range(1, count + 1):
        params = plan.points[number - 1]
        run = sweep.run(paths.folder_name(number, command.texts(params)))
        key = plan.template.key(params)
        bad = number % failing == 0
        job = Job(sweep.name, number, key, values(params), texts(params),
                  plan.template.render(params, run=number, run_dir=str(run.path), sweep=sweep.name), "",
                  str(Path(file).parent), "environment-1.json", {}, None, 10.0, model.GpuRequest())
        attempt = Attempt(1, 1, 1, socket.gethostname(), boot, [], 0, now + number)
        outcome = Outcome("failed" if bad else "done", 1, int(bad), None, "exit status 1: no luck" if bad else "",
                          now + number, now + number + 0.9, [], socket.gethostname(), 0, 12)
        store.touch(number, key, job.params, job.texts, run.path.name)
        store.set_started(number, 1, attempt.started, [], attempt.host)
        store.set_outcome(number, outcome)
        if with_folders:
            run.path.mkdir()
            run.job.write_text(json.dumps(job.to_json()))
            run.attempt(1).write_text(json.dumps(attempt.to_json()))
            run.outcome(1).write_text(json.dumps(outcome.to_json()))
            run.log.write_text("loss 0.5\\r\\n")
            run.lock.touch()
store.close()
"""


def measure(quick: bool) -> list[Row]:
    """Quick: a thousand points and runs where the full form has a million, ten and a hundred thousand."""
    side = 10 if quick else 100
    rounds = 1 if quick else 3
    rows = []
    with place() as at:
        rows += _launch(at, make_job(at.path), side, rounds)
    with place() as at:
        rows += _references(at, side, rounds)
    for runs, goal in ((300, 0.15), (1000, 0.4)) if quick else ((10_000, 0.15), (100_000, 0.4)):
        with place() as at:
            rows += _status(at, runs, goal, 1 if quick else 9)
    with place() as at:
        rows += _recovery(at, make_job(at.path), 300 if quick else 10_000, rounds)
    with place() as at:
        rows += _idle(at, 0.5 if quick else 20.0)
    return rows


# -- a million points ------------------------------------------------------------------------------------------------


def _cli(at: Place, *words: str | Path, output: str = "result") -> tuple[float, int]:
    """(seconds, peak bytes) of the command line. Raises RuntimeError where it fails."""
    return _alone(at, _CLI, *words, output=output)


def _alone(at: Place, code: str, *words: str | Path, output: str = "result") -> tuple[float, int]:
    at.env["BENCH_PEAK"] = str(at.path / "peak")
    with open(os.devnull if output == "null" else at.path / output, "wb") as file:
        began = time.monotonic()
        running = at.popen(sys.executable, "-c", code, *words, stdout=file, stderr=subprocess.PIPE)
        said = running.communicate()[1]
        took = time.monotonic() - began
    if running.returncode != 0:
        raise RuntimeError(f"{words}: exit {running.returncode}: {said.decode()}")
    return took, int((at.path / "peak").read_text(encoding="ascii").split()[1]) * 1024


def _launch(at: Place, job: Job, side: int, rounds: int) -> list[Row]:
    grid = "".join(f"  {name}: {{range: [0, {side}]}}\n" for name in "abc")
    log = at.path / "points.stamps"
    file = at.file("points.yaml", f"command: {job.program} {log} 100000000 {{args}}\ngrid:\n{grid}gpus: 0\n")
    begun, returned, peaks, schedulers = [], [], [], []
    for _ in range(rounds):
        log.unlink(missing_ok=True)
        began = job.clock()
        took, peak = _cli(at, file, "--parallel", "1", "--detach")
        wait_for(lambda: bool(stamps(log)[0]), "the first run")
        begun.append((stamps(log)[0][0] - began) / 1e9)
        returned.append(took)
        peaks.append(peak)
        schedulers.append(resident(at.scheduler("points"), "VmHWM"))
        at.end("points")
        at.sweep("rm", "points", "--yes")
    dry = [_cli(at, file, "--dry-run", output="null") for _ in range(rounds)]
    lines = len(at.sweep(file, "--dry-run").splitlines())
    if lines != side**3:
        raise RuntimeError(f"--dry-run printed {lines} lines for {side**3} points")
    points = f"{side**3:,} points"
    first, dried = statistics.median(begun), statistics.median(took for took, _ in dry)
    return [
        _timed(f"{points}: launched, first run begun", first, 4.0, f"prompt after {statistics.median(returned):.2f} s"),
        _sized(f"{points}: peak memory of the command line", max(peaks), 100e6),
        _sized(f"{points}: peak memory of the scheduler", max(schedulers), 50e6),
        _timed(f"{points}: --dry-run", dried, 8.0, f"peak memory {megabytes(max(peak for _, peak in dry))}"),
    ]


def _references(at: Place, side: int, rounds: int) -> list[Row]:
    rows = []
    for what, code in (("plain itertools.product", _PRODUCT), ("bare SQLite insert of every point", _INSERT)):
        found = []
        for _ in range(rounds):
            for name in ("", "-wal", "-shm"):
                (at.path / f"reference.db{name}").unlink(missing_ok=True)
            found.append(_alone(at, code, str(side)))
        took = statistics.median(took for took, _ in found)
        peak = megabytes(max(peak for _, peak in found))
        rows.append(Row(f"{side**3:,} points: {what}", f"{took:.2f} s", note=f"for comparison; peak memory {peak}"))
    return rows


def _timed(what: str, seconds: float, goal: float, note: str = "") -> Row:
    return Row(what, f"{seconds:.2f} s", f"{goal:g} s", seconds <= goal, note)


def _sized(what: str, size: float, goal: float, note: str = "") -> Row:
    return Row(what, megabytes(size), megabytes(goal), size <= goal, note)


# -- many runs -------------------------------------------------------------------------------------------------------


def _make(at: Place, name: str, job: Job | None, runs: int, more: int, folders: bool) -> Path:
    """A sweep of ``runs`` runs that have ended and ``more`` that are queued."""
    log = at.path / f"{name}.stamps"
    words = f"{job.program} {log} 100000000 {{args}}" if job is not None else "true {args}"
    file = at.file(
        f"{name}.yaml", f"command: {words}\ngrid: {{lr: [0.1], seed: {{range: [0, {runs + more}]}}}}\ngpus: 0\n"
    )
    at.run(sys.executable, "-c", _MAKE, file, str(runs), str(FAILING), "folders" if folders else "rows")
    return file


def _status(at: Place, runs: int, goal: float, rounds: int) -> list[Row]:
    _make(at, "many", None, runs, 500, folders=False)
    found = [_cli(at, "status", at.runs / "many") for _ in range(rounds)]
    said = (at.path / "result").read_text(encoding="utf-8")
    if f"of {runs + 500} done" not in said:
        raise RuntimeError(f"status says: {said}")
    took = statistics.median(took for took, _ in found)
    note = f"fastest {milliseconds(min(took for took, _ in found))}, peak memory {megabytes(max(m for _, m in found))}"
    return [Row(f"status of {runs:,} runs", milliseconds(took), milliseconds(goal), took <= goal, note)]


def _recovery(at: Place, job: Job, runs: int, rounds: int) -> list[Row]:
    """A crash, then launched again: until the first new run begins. Beside it, in the same minutes, the first launch of
    a sweep that has nothing behind it, and after the crash of one with a tenth of the runs."""
    crashes = {
        f"recovery with {runs:,} ended runs: next run begun": (_make(at, "recover", job, runs, 100, folders=True), 1.0),
        f"recovery with {runs // 10:,} ended runs": (_make(at, "small", job, runs // 10, 100, folders=True), None),
    }
    found: dict[str, list[float]] = {what: [] for what in crashes}
    peaks, fresh = [], []
    for file, _ in crashes.values():
        at.sweep(file, "--parallel", "2", "--detach")
        wait_for(lambda file=file: len(stamps(_log(file))[0]) >= 2, "the first runs")  # type: ignore[misc]
    for _ in range(rounds):
        for what, (file, _) in crashes.items():
            found[what].append(_crash(at, job, file))
        peaks.append(resident(at.scheduler("recover"), "VmHWM"))
        fresh.append(_first_launch(at, job))
    for file, _ in crashes.values():
        at.end(file.stem)
    rows = []
    for what, (_, goal) in crashes.items():
        took = statistics.median(found[what])
        note = f"scheduler killed, launched again; {took / statistics.median(fresh):.1f} x the first launch below"
        rows.append(_timed(what, took, goal, note) if goal else Row(what, f"{took:.2f} s", note=note))
    rows.append(Row("first launch of 100 runs: first run begun", f"{statistics.median(fresh):.2f} s", note="beside it"))
    return [*rows, _sized("peak memory of the scheduler after the recovery", max(peaks), 50e6)]


def _log(file: Path) -> Path:
    return file.with_name(f"{file.stem}.stamps")


def _crash(at: Place, job: Job, file: Path) -> float:
    """Seconds from a launch after the scheduler was killed to the next run's beginning."""
    # The runs go on without their scheduler; one of them ends meanwhile, so that a slot is free afterwards.
    log = _log(file)
    os.kill(at.scheduler(file.stem), signal.SIGKILL)
    wait_for(lambda: not at.scheduler(file.stem), "the scheduler's death")
    busy = [pid for pid, line in processes(str(log)).items() if line.startswith(str(job.program))]
    os.kill(busy[0], signal.SIGTERM)
    seen = len(stamps(log)[0])
    began = job.clock()
    _cli(at, file, "--parallel", "2", "--detach")
    wait_for(lambda: len(stamps(log)[0]) > seen, "the next run")
    return (stamps(log)[0][seen] - began) / 1e9


def _first_launch(at: Place, job: Job) -> float:
    """Seconds from a first launch to the first run's beginning. Leaves nothing of the sweep."""
    log = at.path / "fresh.stamps"
    log.unlink(missing_ok=True)
    words = f"command: {job.program} {log} 100000000 {{args}}\ngrid: {{seed: {{range: [0, 100]}}}}\ngpus: 0\n"
    file = at.file("fresh.yaml", words)
    began = job.clock()
    _cli(at, file, "--parallel", "2", "--detach")
    wait_for(lambda: bool(stamps(log)[0]), "the first run")
    took = (stamps(log)[0][0] - began) / 1e9
    at.end("fresh")
    at.sweep("rm", "fresh", "--yes")
    return took


# -- a quiet night ---------------------------------------------------------------------------------------------------


def _idle(at: Place, seconds: float) -> list[Row]:
    file = at.file("quiet.yaml", "command: sleep 100000; true {args}\ngrid: {i: {range: [0, 100]}}\ngpus: 0\n")
    at.sweep(file, "--parallel", "2", "--detach")
    wait_for(lambda: len(_records(at, "quiet")) == 2, "two running runs")
    time.sleep(0.5 if seconds < 5 else 3.0)  # let the standbys come
    ours = {pid: line for pid, line in processes(str(ROOT)).items() if "new-session" not in line}
    scheduler = at.scheduler("quiet")
    tables = [pid for pid, line in ours.items() if f"watch {at.runs / 'quiet'}" in line]
    pids = [record["pid"] for record in _records(at, "quiet")]
    before = {pid: cpu(pid) for pid in (scheduler, *tables, *pids)}
    time.sleep(seconds)
    used = {pid: cpu(pid) - before[pid] for pid in before}
    shells = [_shell(pid) for pid in pids]
    run = max(resident(pid) + resident(shell) for pid, shell in zip(pids, shells, strict=True))
    quiet = 0.0005 * seconds
    rows = [
        Row(
            f"CPU of an idle scheduler over {seconds:g} s",
            f"{used[scheduler] * 1000:.2f} ms",
            "not measurable",
            used[scheduler] <= quiet,
            f"the supervisors of its 2 runs {sum(used[pid] for pid in pids) * 1000:.2f} ms",
        ),
        _sized("memory of everything of ours for one run", run, 30e6, "its supervisor and its shell"),
        _sized("memory of the scheduler", resident(scheduler), 50e6),
    ]
    for pid in tables:
        note = "the process that draws in the session's first window"
        rows.append(Row(f"CPU of the live table over {seconds:g} s", f"{used[pid] * 1000:.1f} ms", note=note))
        rows.append(Row("memory of the live table", megabytes(resident(pid)), note=note))
    at.end("quiet")
    return rows


def _records(at: Place, name: str) -> list[dict[str, int]]:
    found = []
    for file in sorted((at.runs / name).glob("*/attempt-1.json")):
        with contextlib.suppress(ValueError):
            found.append(json.loads(file.read_text(encoding="utf-8")))
    return found


def _shell(supervisor: int) -> int:
    return int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()[0])


if __name__ == "__main__":
    run_alone(measure, __doc__ or "")
