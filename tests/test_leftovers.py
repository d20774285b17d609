"""What killed writers left beside their files: removed at the next launch, and nothing else with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sweeper import folders, index, paths
from sweeper.launch import place, tidying
from tests.conftest import Workshop, say

TEXT = "command: 'echo {x}'\ngrid: {x: [1, 2]}\n"


def dead() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def age(file: Path) -> Path:
    past = time.time() - 2 * tidying.QUIET
    os.utime(file, (past, past), follow_symlinks=False)
    return file


def written(file: Path) -> Path:
    file.write_text("half a fi")
    return age(file)


def test_what_a_killed_supervisor_left_is_gone_after_the_next_launch(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = shop.folder / "crash"
    link.symlink_to("written outcome-1.json")
    monkeypatch.setenv("SWEEP_TEST_CRASH", str(link))
    assert shop.run(TEXT) == {"done": 2}
    assert not link.is_symlink(), "somebody died there"
    left = [*shop.sweep.path.glob("*/.outcome-1.json.*")]
    assert len(left) == 1
    assert shop.run() == {"done": 2}
    assert left[0].exists(), "it is too young: another host may be writing it"
    age(left[0])
    assert shop.run() == {"done": 2}
    assert not left[0].exists()


def test_only_what_is_ours_dead_and_old_is_removed(shop: Workshop) -> None:
    shop.run(TEXT)
    run = shop.run_dir(1)
    assert run is not None
    pid = dead()
    names = (
        ".sweep.yaml.%d", ".owner.json.%d", ".environment-3.json.%d", "..report.json.%d", ".queue.%d.db",
        ".queue.%d.db-wal", ".probe-%d", ".probe-%d.db",
    )  # fmt: skip
    gone = [written(shop.sweep.path / (name % pid)) for name in names]
    of_run = (".run.json.%d", ".attempt-12.json.%d", ".outcome-1.json.%d", "..metrics.json.%d")
    gone += [written(run.path / (name % pid)) for name in of_run]
    gone.append(written(index.folder() / f".index.json.{pid}"))
    kept = [
        written(run.path / f".run.json.{os.getpid()}"),
        written(run.path / f".checkpoint.{pid}"),
        written(run.path / f".run.json.{pid}.best"),
        written(run.path / f"run.json.{pid}"),
        written(shop.sweep.path / f".queue.{pid}.db.mine"),
        run.path / f".attempt-2.json.{pid}",
        run.path / f".attempt-3.json.{pid}",
        run.path / f".attempt-4.json.{pid}",
    ]
    kept[-3].write_text("just now")
    kept[-2].mkdir()
    age(kept[-2])
    kept[-1].symlink_to("/nowhere")
    age(kept[-1])
    assert shop.run() == {"done": 2}
    assert [file for file in gone if os.path.lexists(file)] == []
    assert [file for file in kept if not os.path.lexists(file)] == []


def test_run_folders_that_have_not_changed_are_not_looked_into(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(TEXT)
    seen: list[Path] = []
    monkeypatch.setattr(tidying, "_tidy_folder", lambda folder, before: seen.append(folder))
    one, two = shop.run_dir(1), shop.run_dir(2)
    assert one is not None
    assert two is not None
    past = time.time() - 10 * tidying.QUIET
    os.utime(one.path, (past, past))
    shop.run()
    assert one.path not in seen
    assert two.path in seen


@pytest.mark.parametrize("point", ["removal renamed", "sweep forgotten"])
def test_a_sweep_whose_removal_was_cut_short_is_removed_by_the_next_launch_of_its_name(
    shop: Workshop, point: str
) -> None:
    shop.run(TEXT)
    link = shop.folder / "crash"
    link.symlink_to(point)
    with pytest.raises(AssertionError):
        say("rm", "s", "--yes", SWEEP_TEST_CRASH=str(link), check=0)
    assert not link.is_symlink()
    assert not shop.sweep.path.exists()
    other = shop.sweep.path.with_name(f".s.removed-{os.getpid()}")  # one that is being removed
    other.mkdir()
    shop.run(TEXT)
    assert sorted(path.name for path in shop.sweep.path.parent.iterdir()) == [other.name, "s"]


def test_where_locks_do_not_work_a_sweep_that_begins_anew_has_a_queue_of_its_own(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locks and queue lie elsewhere, by a name that must not be that of the sweep which was there before."""
    monkeypatch.setattr(place, "works", lambda folder: False)
    states = []
    try:
        assert shop.run("command: 'true {x}'\ngrid: {x: [1, 2]}\n") == {"done": 2}
        states.append(shop.sweep.state)
        assert shop.sweep.state != shop.sweep.path
        assert shop.run(fresh=True) == {"done": 2}
        states.append(shop.sweep.state)
        assert len({*states}) == 2
        assert len([run for _, run in folders.run_folders(shop.sweep)]) == 2, "they ran again"
        aside = paths.SweepDir(shop.sweep.path.with_name("s.old-1"))
        assert aside.state == states[0]
        assert aside.db.exists()
    finally:
        for state in states:
            shutil.rmtree(state)
        paths.state_folder.cache_clear()
