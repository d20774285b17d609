"""The folder taken away from a sweep that runs: the kernel tells of it at once, whoever is silent or waits."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from sweeper import control, folders, model, paths, procs
from tests.conftest import Workshop, wait_for

WAITING = """
command: 'echo start {x} $SWEEP_ATTEMPT >> tally; exec sleep 1000'
grid: {x: [1, 2, 3]}
gpus: 0
"""


def shown(shop: Workshop) -> str:
    """What the scheduler's window shows."""
    return shop.tmux("capture-pane", "-p", "-J", "-t", "=sweep-s:sweep")


def delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # somebody may just be making a file in it
    if folder.exists():
        shutil.rmtree(folder)


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_deleted_folder_ends_the_sweep_and_its_runs_while_nobody_speaks(shop: Workshop, parallel: int | None) -> None:
    shop.launch(WAITING, parallel)
    wait_for(lambda: len(shop.lines()) == (parallel or 1) and shop.attempt(1))
    pid = shop.scheduler()
    run = shop.run_dir(1)
    assert run is not None
    of_it = procs.of_run(str(run.path), str(run.lock))
    assert len(of_it) == 2, "its supervisor and its command"
    delete(shop.sweep.path)
    wait_for(lambda: not procs.start_ticks(pid), what="the scheduler's end")
    wait_for(lambda: not any(map(procs.start_ticks, of_it)), what="the run's end")
    assert f"{shop.sweep.path} was deleted while the sweep ran: its runs are ended" in shown(shop).replace("\n", " ")
    assert not shop.sweep.path.exists(), "and nobody makes it again"
    assert shop.run("command: 'true'\ngrid: {x: [1]}\n", parallel) == {"done": 1}


def test_a_paused_sweep_notices_too(shop: Workshop) -> None:
    shop.launch("command: 'echo {x} >> tally; while [ ! -e go ]; do sleep 0.02; done'\ngrid: {x: [1, 2]}\n", 1)
    wait_for(lambda: shop.lines() == ["1"])
    control.pause(shop.sweep)
    (shop.folder / "go").touch()
    wait_for(lambda: shop.state(1) == model.DONE)
    pid = shop.scheduler()
    delete(shop.sweep.path)
    wait_for(lambda: not procs.start_ticks(pid), what="the scheduler's end")


@pytest.mark.parametrize("what", ["runs/s", "runs", "."])
def test_a_folder_moved_with_any_above_it_ends_the_scheduler_and_no_run(shop: Workshop, what: str) -> None:
    base = shop.folder / "base"
    base.mkdir()
    shop.sweep = paths.SweepDir(base / "runs" / "s")
    shop.launch(WAITING, 2, runs_dir=str(base / "runs"))
    wait_for(lambda: len(shop.lines()) == 2 and shop.attempt(1) and shop.attempt(2))
    pid = shop.scheduler()
    attempts = [shop.attempt(1), shop.attempt(2)]
    moved = (base / what).resolve()
    os.rename(moved, there := moved.with_name("there"))
    wait_for(lambda: not procs.start_ticks(pid), what="the scheduler's end")
    for attempt in attempts:
        assert attempt is not None
        assert procs.alive(attempt.pid, attempt.start_ticks)
    os.rename(there, moved)
    shop.launch(parallel=2, runs_dir=str(base / "runs"))
    wait_for(lambda: len(shop.ask(lambda store: store.records([model.RUNNING]))) == 2)
    control.stop(shop.sweep)
    assert shop.finish() == {"stopped": 2, "queued": 1}
    assert len(shop.lines()) == 2
    assert shop.tell().count("was moved to") == 1


def test_a_lock_that_is_deleted_is_made_anew_and_nothing_else_happens(shop: Workshop) -> None:
    shop.launch("command: 'echo {x} >> tally; while [ ! -e go ]; do sleep 0.02; done'\ngrid: {x: [1, 2, 3]}\n", 2)
    wait_for(lambda: len(shop.lines()) == 2)
    pid = shop.scheduler()
    shop.sweep.lock.unlink()
    wait_for(lambda: folders.is_held(shop.sweep.lock))
    assert shop.launch(parallel=3).woken, "it is the same scheduler that holds it"
    wait_for(lambda: len(shop.lines()) == 3)
    assert procs.start_ticks(pid)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 3}
    assert shop.tell().count("was made anew") == 1


def test_what_happens_in_the_folder_wakes_nobody(shop: Workshop) -> None:
    shop.launch(WAITING, 2)
    wait_for(lambda: len(shop.lines()) == 2 and "standby" in shop.tmux("list-windows", "-a"))
    pid = shop.scheduler()
    wait_for(lambda: "2 running" in shown(shop), what="the live table, which comes after a second")
    before = wait_for(lambda: switches(pid) == switches(pid, 0.3) and switches(pid))
    for number in range(500):
        file = shop.sweep.path / f"file{number}"
        file.touch()
        file.rename(file.with_name("other"))
        file.with_name("other").unlink()
        (shop.folder / f"file{number}").mkdir()
        (shop.folder / f"file{number}").rmdir()
    assert switches(pid) - before <= 3
    control.stop(shop.sweep)
    shop.finish()


def switches(pid: int, after: float = 0.0) -> int:
    """How often a process has slept and was woken."""
    time.sleep(after)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
