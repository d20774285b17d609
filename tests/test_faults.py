"""The fault suite in short: thirty random faults, some of the crash points; and that it would find what is wrong.

The long forms are ``python -m tests.faults --faults 500``, ``--points`` and ``--calls``.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import sweeper
from sweeper import control, folders, launch, model, paths
from sweeper.launch.tidying import TIDIED
from sweeper.store import open_store
from tests.conftest import Workshop, wait_for
from tests.faults import bench, points, refusals

ROOT = Path(sweeper.__file__).parent.parent
SELDOM = {'folder / "private"'}  # what sweep doctor tries


PARTS = 10  # of the crash points, so that one goes through in a few seconds; each day has another


def suite(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, check=False, **more)


@pytest.mark.timeout(300)
def test_thirty_faults_break_nothing() -> None:
    done = suite("--faults", "30", "--seed", "7000", capture_output=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "0  violations" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_five_hundred_faults_break_nothing() -> None:
    assert suite("--faults", "500", "--seed", str(int(time.time()))).returncode == 0


@pytest.mark.timeout(300)
def test_a_death_at_the_crash_points_of_the_day_breaks_nothing() -> None:
    part = f"{int(time.time() // 86400) % PARTS + 1}/{PARTS}"
    done = suite("--points", "--part", part, capture_output=True, timeout=280)
    assert done.returncode == 0, f"python -m tests.faults --points --part {part}\n{done.stdout}{done.stderr[-2000:]}"
    assert "0  violations" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_death_at_each_crash_point_breaks_nothing() -> None:
    done = suite("--points", stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout
    assert "never hit" not in done.stdout


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_death_at_the_nth_call_that_changes_something_breaks_nothing() -> None:
    assert suite("--calls", "--seed", str(int(time.time()))).returncode == 0


def test_crash_points_do_nothing_unless_they_are_asked_for(tmp_path: Path) -> None:
    program = "import sys; from sweeper.procs import crashpoint; crashpoint('forked'); print('alive')"
    link = tmp_path / "armed"
    for armed, point in ((False, "forked"), (True, "something else"), (True, "forked")):
        link.unlink(missing_ok=True)
        link.symlink_to(point)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        env.pop("SWEEP_TEST_CRASH", None)
        if armed:
            env["SWEEP_TEST_CRASH"] = str(link)
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == ((-9, "") if armed and point == "forked" else (0, "alive\n"))
    assert not link.is_symlink(), "whoever dies takes the link with it, so that only one does"


def test_the_suite_knows_every_crash_point() -> None:
    """That each of them comes, the pass shows: here it is that none is left out of it."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "sweeper").rglob("*.py")]
    written = [name for text in texts for name in re.findall(r'crashpoint\("([^"]+)"\)', text)]
    assert "lease told" in written
    assert sorted(set(written) - set(points.ALL)) == []
    files = {name for text in texts for name in re.findall(r"paths\.replace\((.+?), [jt(\"f]", text)}
    assert files - SELDOM == {
        "run.job", "self.run.attempt(number)", "self.run.outcome(outcome.attempt)", "sweep.environment(number)",
        "sweep.owner", "file", "run_dir.metrics_cache", "cache.path",
        'Path(f"/proc/self/fd/{self.place}") / self.run.outcome(outcome.attempt).name',
    }, "whatever is written has its points in tests/faults/points.py"  # fmt: skip


def crashed_night(shop: Workshop, count: int, done: int, lost: int) -> None:
    """A sweep of ``count`` runs as a crash leaves it: ``done`` finished, ``lost`` in flight, the others untouched."""
    from sweeper import command
    from sweeper.store import enqueue

    plan = shop.plan(f"command: 'echo {{x}} >> tally'\ngrid: {{x: {{range: [0, {count}]}}}}\n", 2)
    shop.sweep.path.mkdir(parents=True)
    store = open_store(shop.sweep)
    enqueue(store, plan.spec, plan.points, plan.template, launch.new_wish(plan, shop.sweep, None, False))
    with store:
        store.set_flag(TIDIED, str(int(time.time())))
        for number in range(1, done + lost + 1):
            params = plan.points[number - 1]
            values = {name: value.value for name, value in params.items()}
            run = shop.sweep.run(paths.folder_name(number, command.texts(params)))
            run.path.mkdir()
            job = model.Job(
                "s", number, plan.template.key(params), values, {}, "true", "", "/", "environment-1.json", {}, None,
                1.0, model.GpuRequest(),
            )  # fmt: skip
            run.job.write_text(json.dumps(job.to_json()))
            attempt = model.Attempt(1, 999_999_999, 1, "vm", "boot", [], 0, 1.0)
            run.attempt(1).write_text(json.dumps(attempt.to_json()))
            store.touch(number, job.key, values, {}, run.path.name)
            store.set_started(number, 1, 1.0, [], "vm")
            if number <= done:
                outcome = model.Outcome(model.DONE, 1, 0, None, "", 1.0, 2.0, [], "vm", 0, 0)
                run.outcome(1).write_text(json.dumps(outcome.to_json()))
                store.set_outcome(number, outcome)
            os.utime(run.path, (1.0, 1.0))
    store.close()


class Opened:
    """What is opened in some folders, and these themselves: inotify(7)."""

    def __init__(self, folders: list[Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.descriptor >= 0, os.strerror(ctypes.get_errno())
        for folder in folders:
            if libc.inotify_add_watch(self.descriptor, os.fsencode(folder), 0x20) < 0:  # IN_OPEN
                pytest.skip(f"inotify watches no {len(folders)} folders here: {os.strerror(ctypes.get_errno())}")

    def __call__(self) -> bool:
        try:
            return bool(os.read(self.descriptor, 65536))
        except BlockingIOError:
            return False


@pytest.mark.parametrize("way", ["launched", "resumed"])
def test_of_runs_done_long_ago_no_folder_is_opened_before_a_crashed_sweep_goes_on(shop: Workshop, way: str) -> None:
    """Or going on would take the longer, the more was done: benchmarks/size.py has the times."""
    crashed_night(shop, 10_000, 300, 4)
    done = [run.path for number, run in folders.run_folders(shop.sweep) if number <= 300]
    opened = Opened(done)
    try:
        if way == "launched":
            shop.launch(parallel=2)
        else:
            assert control.resume(shop.sweep)
        wait_for(shop.lines)
        assert not opened()
        folders.history(paths.RunDir(done[-1]))
        assert opened()
    finally:
        os.close(opened.descriptor)
    control.stop(shop.sweep)
    shop.finish()
    assert shop.counts()["done"] >= 300


def test_the_checks_find_what_is_wrong(shop: Workshop) -> None:
    """A suite that cannot fail proves nothing: each invariant is broken by hand."""
    from tests.faults import tally

    work = f"{sys.executable} -I -S {bench.WORK} {shop.folder}/tally 3 0.01 {{x}}"
    assert shop.run(f"command: {work}\ngrid: {{x: [1, 2]}}\ngrace: 0.2s\n", 2) == {"done": 2}

    def found() -> str:
        return "\n".join(tally.violations(shop, 2, 3, []))

    assert found() == ""
    assert "left over" in tally.violations(shop, 2, 3, [os.getpid()])[0]
    file, kept = shop.folder / "tally", (shop.folder / "tally").read_text()
    for line, word in (
        ("overlap 1 2 1 1 -", "two attempts at once"),
        ("shared 1 2 1 1 0", "two holders"),
        ("start 1 2 1 1 -", "is recorded as done"),
        ("start 1 1 1 1 -", "was begun 2 times"),
        ("reset 0 0 0 0 -\nstart 1 1 1 1 -", "is recorded as done"),
    ):
        file.write_text(f"{kept}{line}\n")
        assert word in found()
    file.write_text("".join(line for line in kept.splitlines(keepends=True) if not line.startswith("end 2")))
    assert "has no end of it" in found()
    file.write_text(kept)
    run = shop.run_dir(1)
    assert run is not None
    log = run.log.read_bytes()
    run.log.write_bytes(log[:-1])
    assert "its log has" in found()
    run.log.write_bytes(log)
    shop.ask(lambda store: store.set_state(2, model.FAILED))
    assert "the queue says" in found()
    shop.ask(lambda store: store.set_state(2, model.DONE))
    outcome = run.outcome(1).read_bytes()
    run.outcome(1).write_bytes(b"")
    assert "not finished" in found()
    run.outcome(1).write_bytes(outcome)
    assert found() == ""


def test_only_refusals_that_are_known_are_passed_over() -> None:
    known = "the scheduler of s did not start\n    /runs/s/scheduler.log says: 2026-01-01 00:00:00 scheduler 1 begins"
    assert refusals.judge(known)
    for text in (
        "no word",
        "",
        f"{known}\nTraceback (most recent call last):\n",
        "s cannot be changed: odd",
        "KeyError",
    ):
        assert refusals.judge(text) is None
