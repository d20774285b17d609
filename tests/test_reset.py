"""A machine's reset: what was synced is there, what was not is done again, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper import index, model
from sweeper.store import Store, rebuild
from tests.conftest import Workshop, end_all, end_tmux, processes_of, wait_for
from tests.faults.durable import Disk, build

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler for the library that forgets"
)


@needs_compiler
def test_a_reset_leaves_what_was_synced_and_nothing_else(tmp_path: Path) -> None:
    program = """
import os, sys
root = sys.argv[1]
def write(path, text, sync):
    with open(path, "w") as file:
        file.write(text); file.flush()
        if sync: os.fsync(file.fileno())
def sync(folder):
    descriptor = os.open(folder, os.O_RDONLY); os.fsync(descriptor); os.close(descriptor)
for name in ("kept", "way_lost"):
    os.makedirs(f"{root}/top/{name}")
    write(f"{root}/top/{name}/a", "all", True)
    write(f"{root}/top/{name}/b", "no bytes", False)
    sync(f"{root}/top/{name}")
    if name == "kept": sync(f"{root}/top"); sync(root)
write(f"{root}/top/kept/c", "no name", True)
write(f"{root}/top/kept/a", "later", False)
print(open("/proc/sys/kernel/random/boot_id").read().strip())
"""
    root = tmp_path / "root"
    root.mkdir()
    (root / "other").write_text("the test's own")
    disk = Disk(root, ("top",), tmp_path / "kept")
    boots = []
    for _ in range(2):
        environment = {**os.environ, **disk.environment(), "LD_PRELOAD": str(build(tmp_path))}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, str(root)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        boots.append(done.stdout)
        disk.reset()
        files = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
        assert files == {"other": "the test's own", "top/kept/a": "all", "top/kept/b": ""}
        disk.reset()
        assert (root / "top/kept/a").read_text() == "all", "what a reset left is on disk"
        (root / "top").rename(tmp_path / f"first-{len(boots)}")
    assert boots[0] != boots[1], "each boot has an id of its own"


@needs_compiler
def test_what_was_recorded_outlasts_a_power_cut(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the file system forgets: outcomes, logs, parameters, the sweep's file, and that there is a sweep."""
    aside = tmp_path_factory.mktemp("disk")
    shop.file.write_text("command: echo it is {x}; echo {x} >> tally\ngrid: {x: [1, 2, 3]}\ngpus: 0\n")
    disk = Disk(shop.folder, ("runs", "home"), aside / "kept")
    environment = {**os.environ, **disk.environment(), "LD_PRELOAD": str(build(aside))}
    argv = [sys.executable, "-m", "sweeper", str(shop.file), "--serial", "--here"]
    root = Path(rebuild.__file__).parent.parent.parent

    def launch() -> None:
        done = subprocess.run(argv, env={**environment, "PYTHONPATH": str(root)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    launch()
    kept = {number: shop.log(number) for number in (1, 2, 3)}
    assert kept[3] == b"it is 3\r\n"
    disk.reset()
    assert {number: shop.log(number) for number in (1, 2, 3)} == kept
    assert [entry.path for entry in index.entries()] == [shop.sweep.path]
    assert shop.sweep.file.read_bytes() == shop.file.read_bytes()
    shop.sweep.db.unlink(missing_ok=True)  # the folders alone must do
    launch()
    assert shop.lines() == ["1", "2", "3"], "nothing that was recorded ran again"
    assert shop.counts() == {"done": 3}


@needs_compiler
def test_what_was_ordered_outlasts_a_power_cut(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A sweep that was stopped is not begun again at boot."""
    aside = tmp_path_factory.mktemp("disk")
    shop.file.write_text("command: sleep 60{x}\ngrid: {x: [1, 2]}\ngpus: 0\ngrace: 0.1s\n")
    disk = Disk(shop.folder, ("runs", "home"), aside / "kept")
    root = Path(rebuild.__file__).parent.parent.parent
    environment = {**os.environ, **disk.environment(), "LD_PRELOAD": str(build(aside)), "PYTHONPATH": str(root)}
    ours = [sys.executable, "-m", "sweeper"]
    with subprocess.Popen(
        [*ours, str(shop.file), "--serial", "--here"], env=environment, stdout=subprocess.PIPE
    ) as one:
        wait_for(lambda: shop.attempt(1))
        one.kill()
    end_all(processes_of(shop.folder))  # the run, which would go on alone
    wait_for(lambda: not processes_of(shop.folder))
    with contextlib.closing(shop.store()) as reader:  # or the stop, being the last to leave, would sync everything
        assert reader.wish() is not None
        done = subprocess.run([*ours, "stop", "s"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    disk.reset()
    assert shop.ask(lambda store: store.wish()).want == "stop"


@needs_compiler
def test_a_number_that_is_given_again_outlasts_the_next_power_cut(
    shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A reset took an attempt that the queue knows as lost; the next one takes what the queue has heard since, but not
    the outcome of the attempt that has its number now: that is no attempt which the queue knows."""
    aside = tmp_path_factory.mktemp("disk")
    until_go = "while [ ! -e go ]; do sleep 0.02; done"
    (shop.folder / "go").touch()
    assert shop.run(f"command: 'echo {{x}} >> tally; [ {{x}} = 1 ] || {until_go}'\ngrid: {{x: [1, 2]}}\n") == {
        "done": 2
    }
    (shop.folder / "go").unlink()
    for number in (1, 2):
        run = shop.run_dir(number)
        assert run is not None
        run.attempt(1).unlink()
        run.outcome(1).unlink()
    shop.ask(lambda store: store.requeue(1))
    shop.ask(lambda store: store.requeue(2))
    disk = Disk(shop.folder, ("runs", "home"), aside / "kept")
    disk.settle()
    root = Path(rebuild.__file__).parent.parent.parent
    environment = {**os.environ, **disk.environment(), "LD_PRELOAD": str(build(aside)), "PYTHONPATH": str(root)}

    def resume() -> None:
        argv = [sys.executable, "-m", "sweeper", "resume", "s", "--detach"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    resume()
    wait_for(lambda: shop.lines() == ["1", "2"] * 2 and shop.counts() == {"done": 1, "running": 1})
    end_all(processes_of(shop.folder))
    end_tmux(Path(os.environ["TMUX_TMPDIR"]))
    disk.reset()
    (shop.folder / "go").touch()
    resume()
    wait_for(lambda: not shop.alive())
    assert shop.counts() == {"done": 2}
    assert shop.lines().count("1") == 2, "it was recorded"


@pytest.mark.parametrize("when", ["since", "long before", "in this boot"])
def test_an_end_that_a_reset_took_is_done_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The queue was synced with what it had heard, and the outcome a moment later was not."""
    text = "command: echo {x} >> tally\ngrid: {x: [1, 2]}\n"
    assert shop.run(text) == {"done": 2}
    run = shop.run_dir(2)
    assert run is not None
    for file in (run.outcome(1), run.attempt(1)):
        file.unlink()
    if when == "long before":

        def forget(store: Store) -> None:
            store.connection.execute("UPDATE runs SET ended = ?", (time.time() - 10 * 365 * 86400,))

        shop.ask(forget)
    if when != "in this boot":
        shop.ask(lambda store: store.set_flag(rebuild.BOOT, "another"))
    assert shop.run(text) == {"done": 2}
    assert shop.lines() == ["1", "2", *(["2"] if when == "since" else [])]
    if when == "since":
        shop.ask(lambda store: store.set_flag(rebuild.BOOT, "another"))
        assert shop.run(text) == {"done": 2}
        assert len(shop.lines()) == 3, "what is recorded is not doubted"


def test_a_stopped_run_whose_attempt_a_reset_took_is_queued_again_without_it(shop: Workshop) -> None:
    text = "command: echo {x} >> tally\ngrid: {x: [1, 2]}\n"
    assert shop.run(text) == {"done": 2}
    run = shop.run_dir(1)
    assert run is not None
    run.attempt(1).unlink()
    run.outcome(1).unlink()
    shop.ask(lambda store: store.set_state(1, model.STOPPED, "by a test"))
    shop.ask(lambda store: store.set_flag(rebuild.BOOT, "another"))
    shop.ask(lambda store: rebuild.reconcile(store, shop.sweep))
    record = shop.ask(lambda store: store.record(1))
    assert record is not None
    assert (record.state, record.attempts) == (model.STOPPED, 0)


def test_attempts_that_were_taken_away_are_counted_from_the_folder(shop: Workshop) -> None:
    """Or the outcome of the attempt that takes the number again would pass for one heard of long ago."""
    text = "command: echo {x} >> tally; exit 1\ngrid: {x: [1]}\nretries: 2\n"
    assert shop.run(text) == {"failed": 1}
    run = shop.run_dir(1)
    assert run is not None
    for number in (1, 2, 3):
        run.attempt(number).unlink()
        run.outcome(number).unlink()
    shop.ask(lambda store: store.set_state(1, model.QUEUED))
    attempt = model.Attempt(1, 999_999_999, 1, "vm", "boot", [], 0, 1.0)
    outcome = model.Outcome(model.DONE, 1, 0, None, "", 1.0, 2.0, [], "vm", 0, 0)
    shop.ask(lambda store: rebuild.reconcile(store, shop.sweep))
    # As a scheduler that was killed leaves it: done, and not told.
    run.attempt(1).write_text(json.dumps(attempt.to_json()))
    run.outcome(1).write_text(json.dumps(outcome.to_json()))
    _, ended = shop.ask(lambda store: rebuild.reconcile(store, shop.sweep))
    assert [(number, end.outcome) for number, end in ended] == [(1, model.DONE)]
