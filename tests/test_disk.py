"""A disk that turns against a sweep: its folder is moved, read-only, or closed to its user; a log of a gigabyte."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import folders, model, paths, procs
from tests.conftest import Workshop, ordinary, processes_of, remount, say, unmount, wait_for
from tests.supervision import Hand

PYTHON = shlex.quote(sys.executable)
COUNTED = """
command: >-
  echo start {x} $SWEEP_ATTEMPT >> tally; echo word {x}; %s; echo end {x} >> tally
grid: {x: [1, 2, 3, 4]}
gpus: 0
"""
UNTIL_GO = COUNTED % "while [ ! -e go ]; do sleep 0.02; done"
SHORT = COUNTED % "sleep 0.05"


@pytest.fixture
def hand(private: Path) -> Iterator[Hand]:
    hand = Hand(private)
    yield hand
    hand.close()


def starts(shop: Workshop) -> list[str]:
    return sorted(line for line in shop.lines() if line.startswith("start"))


def sweep(shop: Workshop, *words: str) -> tuple[int, str]:
    """The command line as a user without power over permissions types it: its exit status and all that it says."""
    said = say(*words, before=ordinary())
    return said.code, said.text


def quiet_end(shop: Workshop, sweep_dir: paths.SweepDir) -> None:
    """Nothing of the sweep lives any more."""
    wait_for(lambda: not folders.is_held(sweep_dir.lock) and not processes_of(sweep_dir.path), what=shop.tell())


# -- moved while it runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["moved back", "launched there"])
def test_a_runs_folder_that_is_moved_keeps_what_ended_and_goes_on(shop: Workshop, way: str) -> None:
    shop.launch(UNTIL_GO, 2)
    wait_for(lambda: len(shop.lines()) == 2 and shop.attempt(1) and shop.attempt(2))
    pid = shop.scheduler()
    there = paths.SweepDir(shop.folder / "elsewhere" / "s")
    os.rename(shop.sweep.path.parent, there.path.parent)
    (shop.folder / "go").touch()
    wait_for(lambda: not procs.start_ticks(pid), what="the scheduler's end")
    wait_for(lambda: not processes_of(shop.sweep.path), what="the runs' end")
    for number, run in folders.run_folders(there):
        if number <= 2:
            outcome = folders.history(run).outcome
            assert outcome is not None
            assert outcome.outcome == model.DONE
            assert run.log.read_bytes() == b"word %d\r\n" % number
    log = there.log.read_text()
    assert f"{shop.sweep.path} was moved to {there.path} while the sweep ran" in log
    assert "Traceback" not in log
    assert not shop.sweep.path.exists()
    if way == "moved back":
        os.rename(there.path.parent, shop.sweep.path.parent)
        assert shop.run(parallel=2) == {"done": 4}
    else:
        shop.sweep = there
        assert shop.run(parallel=2, runs_dir=str(there.path.parent)) == {"done": 4}
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4)]


def test_an_outcome_goes_where_its_folder_went_and_not_into_another(hand: Hand) -> None:
    window = hand.run("echo up; while [ ! -e go ]; do sleep 0.02; done")
    wait_for(lambda: window.log == b"up\r\n")
    there = paths.RunDir(hand.folder / "there")
    os.rename(window.run_dir.path, there.path)
    window.run_dir.path.mkdir()
    shutil.copy(there.attempt(1), window.run_dir.attempt(1))
    (hand.folder / "go").touch()
    assert window.hear("recorded")["outcome"]["outcome"] == model.DONE
    window.send("bye")
    window.process.wait(10)
    assert folders.history(there).outcome is not None
    assert os.listdir(window.run_dir.path) == ["attempt-1.json"]


def test_a_run_that_makes_its_own_folder_anew_is_recorded_there(hand: Hand) -> None:
    window = hand.run('rm -rf "$SWEEP_RUN_DIR"; mkdir "$SWEEP_RUN_DIR"; exit 3')
    assert window.hear("recorded")["outcome"]["exit_code"] == 3
    window.send("bye")
    window.process.wait(10)
    found = folders.history(window.run_dir).outcome
    assert found is not None
    assert found.exit_code == 3


# -- read-only ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(private: Path) -> Iterator[Path]:
    """The runs folder on an ext4 of its own, in a file."""
    place, image = private / "runs", private / "image"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    with open(image, "wb") as file:
        file.truncate(16_000_000)
    for words in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            made = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"a disk cannot be made here: {error}")
        if made.returncode != 0:
            pytest.skip(f"a disk cannot be made here: {made.stderr}")
    yield place
    unmount(place)


def test_a_read_only_runs_folder_is_a_message_and_nothing_is_started(shop: Workshop, disk: Path) -> None:
    shop.file.write_text(SHORT)
    remount(disk, "ro")
    code, said = sweep(shop, "s.yaml", "--parallel", "2", "--detach")
    assert (code, "Read-only file system" in said, str(shop.sweep.path) in said) == (2, True, True), said
    assert "--runs-dir" in said
    remount(disk, "rw")
    assert shop.run(parallel=2) == {"done": 4}
    remount(disk, "ro")
    code, said = sweep(shop, "s.yaml", "--parallel", "2", "--detach")
    assert (code != 0, "Read-only file system" in said, str(shop.sweep.path) in said) == (True, True, True), said


def test_a_disk_that_turns_read_only_while_it_runs_is_waited_for_and_told_of(shop: Workshop, disk: Path) -> None:
    shop.launch(UNTIL_GO, 2)
    wait_for(lambda: len(shop.lines()) == 2 and shop.log(1) and shop.log(2))
    wait_for(lambda: screen(shop, "1,") and screen(shop, "2,"), what="their windows' names, which the queue tells")
    subprocess.run(["sync", "-f", disk], check=True)
    subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
    (shop.folder / "go").touch()
    told = "its outcome cannot be written: Read-only file system; tried again every second"
    wait_for(lambda: told in screen(shop, "1,") and told in screen(shop, "2,"), what=screen(shop, "1,"))
    assert shop.alive()
    code, said = sweep(shop, "stop", "s")
    assert (code, "Read-only file system" in said) == (1, True), said
    # Such a disk is mended only once nobody uses it: the session can be closed all the same.
    shop.tmux("kill-session", "-t", "=sweep-s")
    wait_for(lambda: not processes_of(shop.sweep.path), what="the end of all")
    unmount(disk)
    subprocess.run(["e2fsck", "-p", disk.parent / "image"], capture_output=True, check=False)
    subprocess.run(["mount", "-o", "loop", disk.parent / "image", disk], check=True)
    assert shop.run(parallel=2) == {"done": 4}
    assert starts(shop) == ["start 1 1", "start 1 2", "start 2 1", "start 2 2", "start 3 1", "start 4 1"]
    assert "Traceback" not in shop.tell()


def screen(shop: Workshop, title: str) -> str:
    """What the window shows whose title begins so."""
    for line in shop.tmux("list-panes", "-a", "-F", "#{pane_id} #{window_name}").splitlines():
        pane, _, name = line.partition(" ")
        if name.startswith(title):
            return shop.tmux("capture-pane", "-p", "-J", "-t", pane)
    return ""


# -- permission denied -------------------------------------------------------------------------------------------------


def test_a_runs_folder_that_is_closed_to_us_is_a_message_and_nothing_is_started(shop: Workshop) -> None:
    shop.file.write_text(SHORT)
    runs = shop.sweep.path.parent
    runs.mkdir()
    runs.chmod(0o555)
    code, said = sweep(shop, "s.yaml", "--parallel", "2", "--detach")
    assert (code, f"{shop.sweep.path} cannot be made: Permission denied" in said) == (2, True), said
    assert "--runs-dir" in said
    runs.chmod(0o755)
    assert shop.run(parallel=2) == {"done": 4}
    shop.sweep.path.chmod(0)
    code, said = sweep(shop, "s.yaml", "--parallel", "2", "--detach")
    assert (code != 0, "Permission denied" in said, str(shop.sweep.path) in said) == (True, True, True), said
    shop.sweep.path.chmod(0o755)
    assert shop.run(parallel=2) == {"done": 4}
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4)]


def test_a_folder_that_is_closed_while_it_runs_is_waited_for_and_told_of(shop: Workshop) -> None:
    shop.file.write_text(UNTIL_GO.replace("[1, 2, 3, 4]", "[1, 2, 3, 4, 5, 6]"))
    assert sweep(shop, "s.yaml", "--parallel", "2", "--detach")[0] == 0
    wait_for(lambda: len(shop.lines()) == 2 and shop.run_dir(4) and shop.log(1) and shop.log(2))
    closed = [shop.sweep.path] + [run.path for number, run in folders.run_folders(shop.sweep) if number <= 2]
    for folder in closed:
        folder.chmod(0o555)
    (shop.folder / "go").touch()
    told = "its outcome cannot be written: Permission denied"
    wait_for(lambda: told in sweep(shop, "status", "s")[1], what=shop.tell())
    wait_for(lambda: "run 5 cannot be prepared" in shop.tell() and "Permission denied" in shop.tell(), what=shop.tell())
    wait_for(lambda: shop.outcome(3) and shop.outcome(4))  # the others have gone on
    assert shop.outcome(1) is None
    for folder in closed:
        folder.chmod(0o755)
    assert shop.finish() == {"done": 6}
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4, 5, 6)]
    assert "Traceback" not in shop.tell()


# -- much output, and none ---------------------------------------------------------------------------------------------

WRITER = """
import hashlib, os, sys
size, seen, number = int(sys.argv[1]), hashlib.sha256(), 0
while size:
    block = hashlib.sha256(b"%d" % number).hexdigest().encode() * 1024
    block = block[:size]
    seen.update(block)
    at = 0
    while at < len(block):
        at += os.write(1, block[at:])
    size -= len(block)
    number += 1
open("digest", "w").write(seen.hexdigest())
"""


@pytest.mark.parametrize("size", [20_000_000, pytest.param(1_000_000_000, marks=[pytest.mark.long])])
def test_every_byte_of_a_long_log_is_there(shop: Workshop, size: int) -> None:
    (shop.folder / "writer.py").write_text(WRITER)
    text = f"command: 'stty -opost; {PYTHON} writer.py {size}; : {{x}}'\ngrid: {{x: [1]}}\n"
    shop.launch(text, 1)
    assert shop.finish(110.0) == {"done": 1}
    run = shop.run_dir(1)
    assert run is not None
    seen = hashlib.sha256()
    with open(run.log, "rb") as file:
        while block := file.read(1 << 20):
            seen.update(block)
    assert run.log.stat().st_size == size
    assert seen.hexdigest() == (shop.folder / "digest").read_text()


def test_a_run_that_is_silent_for_long_costs_nothing_and_is_left_alone(shop: Workshop) -> None:
    shop.launch(COUNTED.replace("[1, 2, 3, 4]", "[1]") % "read -r line; echo $line" + "stall: 0.3s\n", 1)
    wait_for(lambda: shop.attempt(1) and "has printed nothing" in shop.tell())
    attempt = shop.attempt(1)
    assert attempt is not None
    pids = [attempt.pid, shop.scheduler()]
    before = [ticks(pid) for pid in pids]
    time.sleep(1.5)  # not to wait for something, but to see that nothing happens
    assert all(after - earlier <= 1 for earlier, after in zip(before, map(ticks, pids), strict=True))
    assert shop.tell().count("has printed nothing") == 1
    assert shop.state(1) == model.RUNNING
    pane = next(
        line.split()[0]
        for line in shop.tmux("list-panes", "-a", "-F", "#{pane_id} #{window_name}").splitlines()
        if line.split()[1].startswith("1,")
    )
    shop.tmux("send-keys", "-t", pane, "awake", "Enter")
    assert shop.finish() == {"done": 1}
    assert shop.log(1).endswith(b"awake\r\n")


def ticks(pid: int) -> int:
    """Processor time that it used, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
