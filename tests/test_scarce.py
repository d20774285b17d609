"""A machine that has nothing to spare for a while (processes, descriptors), and run folders that are not as they were:
the scheduler waits for the one, does without the other, and goes on with the rest."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweeper import control, folders, model, procs
from tests.conftest import Workshop, wait_for
from tests.test_disk import sweep
from tests.test_scheduler import kill

if TYPE_CHECKING:
    from people import Town

pytest_plugins = ["nvml_standin", "people"]
LIMIT = 40  # processes of the user
RUNS = 30
WHILE = 1.7  # seconds that the machine is full: longer than three tries that count
# Without a fork: "read" is of the shell itself, and waits at the terminal.
WAITING = """
command: 'echo {x} $SWEEP_ATTEMPT >> tally; while [ ! -e go{x} -a ! -e go ]; do read -t 0.05; done; true'
grid: {x: {range: [1, 31]}}
gpus: 0
"""
# Takes every process that the user may have, and holds them until its input ends.
HOG = """
import os, select
reader, writer = os.pipe()
full = False
while not select.select([0], [], [], 0.01 if full else 0)[0]:
    try:
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    except BlockingIOError:
        if not full:
            os.write(1, b"full\\n")
        full = True
"""


def lines(folder: Path) -> list[str]:
    file = folder / "tally"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("how", [pytest.param("--serial", marks=pytest.mark.long), "--parallel=2"])
def test_that_no_process_is_to_be_had_is_waited_for(town: Town, how: str) -> None:
    person = town.person()
    log = person.folder / "runs" / "s" / "scheduler.log"
    (person.folder / "s.yaml").write_text(WAITING)
    os.chmod(person.folder / "s.yaml", 0o644)
    limited = ("prlimit", f"--nproc={LIMIT}", person.python)
    person.run(*limited, "-m", "sweeper", "s.yaml", how, "--detach")
    atonce = 1 if how == "--serial" else 2
    wait_for(lambda: len(lines(person.folder)) == atonce)
    hog = person.start(*limited, "-c", HOG, stdin=-1)
    assert hog.stdout is not None
    assert hog.stdin is not None
    assert hog.stderr is not None
    assert hog.stdout.readline() == "full\n"
    for number in range(1, RUNS - atonce):  # so many that some begin when nothing is left, however quick they are
        (person.folder / f"go{number}").touch()
    wait_for(lambda: "Resource temporarily unavailable" in log.read_text(), what=log.read_text())
    time.sleep(WHILE)  # this is what is done to it; nothing is waited for
    hog.stdin.close()
    hog.wait(10)
    (person.folder / "go").touch()
    wait_for(lambda: person.status("s")["state"] == "finished", what=log.read_text())
    assert person.status("s")["counts"] == {"done": RUNS}
    assert sorted(lines(person.folder)) == sorted(f"{x} 1" for x in range(1, RUNS + 1))
    hog.stdout.close()
    hog.stderr.close()


def set_descriptors(pid: int, most: int | None) -> None:
    """Let a process have so many descriptors; None: as many as it may."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if most is None else most, hard))


@pytest.mark.parametrize("parallel", [None, pytest.param(2, marks=pytest.mark.long)])
def test_that_no_descriptor_is_to_be_had_is_waited_for(shop: Workshop, parallel: int | None) -> None:
    shop.launch(WAITING, parallel)
    wait_for(lambda: len(shop.lines()) == (parallel or 1) and shop.run_dir((parallel or 1) + 1))
    pid = shop.scheduler()
    set_descriptors(pid, max(map(int, os.listdir(f"/proc/{pid}/fd"))))
    for number in range(1, (parallel or 1) + 3):
        (shop.folder / f"go{number}").touch()
    wait_for(lambda: "Too many open files" in shop.tell(), what=shop.tell())
    time.sleep(WHILE)  # this is what is done to it; nothing is waited for
    set_descriptors(pid, None)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": RUNS}
    assert sorted(shop.lines()) == sorted(f"{x} 1" for x in range(1, RUNS + 1))


# -- run folders that are not as they were -----------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [None, 2])
def test_spoiled_run_folders_cost_their_runs_alone(shop: Workshop, parallel: int | None) -> None:
    text = "command: '[ -e good -o {x} -gt 6 ]'\ngrid: {x: [1, 2, 3, 4, 5, 6]}\n"
    assert shop.run(text, parallel) == {"failed": 6}
    runs = dict(folders.run_folders(shop.sweep))
    shutil.rmtree(runs[1].path)
    runs[1].path.touch()
    runs[2].job.unlink()
    runs[2].job.mkdir()
    runs[3].lock.unlink()
    runs[3].lock.symlink_to(runs[3].lock)
    runs[4].log.unlink()
    runs[4].log.mkdir()
    runs[5].outcome(1).unlink()
    runs[5].outcome(1).mkdir()
    (shop.sweep.path / "0008-x=8").touch()
    (shop.folder / "good").touch()
    shop.run(text.replace("6]}", "6, 7, 8]}"), parallel)
    told = {number: shop.ask(lambda store: store.record(number)).note for number in range(1, 9)}  # noqa: B023
    for number in (1, 2, 3, 4, 8):
        assert shop.state(number) == model.FAILED
        assert told[number].startswith("it cannot be started: ")
        assert f"000{number}-x={number}" in told[number]
    assert shop.counts() == {"done": 3, "failed": 5}, told
    assert "Traceback" not in shop.tell()


def test_a_run_that_cannot_be_looked_at_is_left_alone_until_it_can(shop: Workshop) -> None:
    """Whether it lives is not known while its folder is closed."""
    ends = "while [ ! -e go ]; do sleep 0.02; done"
    shop.file.write_text(f"command: 'echo {{x}} >> tally; {ends}'\ngrid: {{x: [1, 2, 3]}}\ngpus: 0\n")
    assert sweep(shop, "s.yaml", "--parallel", "2", "--detach")[0] == 0
    wait_for(lambda: len(shop.lines()) == 2 and shop.attempt(1) and shop.attempt(2))
    run, attempt = shop.run_dir(1), shop.attempt(1)
    assert run is not None
    assert attempt is not None
    kill(shop.scheduler())
    run.path.chmod(0)
    code, said = sweep(shop, "s.yaml", "--parallel", "2", "--detach")
    assert code == 0, said
    wait_for(lambda: "run 1: it cannot be known whether it lives: [Errno 13]" in shop.tell(), what=shop.tell())
    assert len(shop.lines()) == 2, "and it keeps its slot"
    run.path.chmod(0o755)
    wait_for(lambda: not stuck(shop, 1), what=shop.tell())
    assert procs.alive(attempt.pid, attempt.start_ticks)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 3}
    assert sorted(shop.lines()) == ["1", "2", "3"]


def test_a_run_that_cannot_be_known_is_given_up_by_a_stop(shop: Workshop) -> None:
    shop.file.write_text("command: 'echo {x} >> tally; exec sleep 1000'\ngrid: {x: [1, 2, 3]}\ngpus: 0\n")
    assert sweep(shop, "s.yaml", "--parallel", "1", "--detach")[0] == 0
    wait_for(lambda: shop.lines() and shop.attempt(1))
    run, attempt = shop.run_dir(1), shop.attempt(1)
    assert run is not None
    assert attempt is not None
    kill(shop.scheduler())
    run.path.chmod(0)
    assert sweep(shop, "s.yaml", "--parallel", "1", "--detach")[0] == 0
    wait_for(lambda: stuck(shop, 1), what=shop.tell())
    control.stop(shop.sweep)
    assert shop.finish() == {"stopped": 1, "queued": 2}
    run.path.chmod(0o755)
    kill(attempt.pid)


def stuck(shop: Workshop, number: int) -> bool:
    return "it cannot be known" in shop.ask(lambda store: store.record(number)).note
