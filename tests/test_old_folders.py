"""Sweeps of older versions, checked in: every later version loads them, reports them and goes on with them."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from pathlib import Path

import pytest

from sweeper import control, folders, index, launch, paths
from sweeper.errors import SweepError
from sweeper.store import open_store
from tests.conftest import say, wait_for

DATA = Path(__file__).parent / "data"
OLD = sorted(path.name for path in DATA.glob("sweep-*"))
ENDED = {1: "done", 2: "failed", 3: "timeout", 4: "out_of_memory", 5: "stopped"}


class Old:
    """A checked-in sweep, moved here: its host and its project's folder are this test's."""

    def __init__(self, version: str, place: Path, queue: bool) -> None:
        self.place = place
        path = place / "runs" / "old"
        self.sweep = paths.SweepDir(path)
        shutil.copytree(DATA / version, path)
        sql = (path / "queue.sql").read_text()
        (path / "queue.sql").unlink()
        for file in [*path.rglob("*.json"), *path.rglob("*.yaml")]:
            file.write_text(self.here(file.read_text()))
        shutil.copy(path / "sweep.yaml", place / "old.yaml")
        if queue:
            database = sqlite3.connect(self.sweep.db)
            database.executescript(self.here(sql))
            database.close()

    def here(self, text: str) -> str:
        return text.replace("/home/user/project", str(self.place)).replace("gpu-server", socket.gethostname())

    def say(self, *typed: str) -> str:
        return say(*typed, check=0, cwd=self.place).text

    def states(self) -> dict[int, str]:
        store = open_store(self.sweep)
        try:
            return {record.number: record.state for record in store.records()}
        finally:
            store.close()

    def outcomes(self) -> dict[int, int]:
        """How many outcomes each run has."""
        return {number: len([*run.path.glob("outcome-*.json")]) for number, run in folders.run_folders(self.sweep)}


@pytest.fixture(params=[(version, queue) for version in OLD for queue in (True, False)], ids=str)
def old(request: pytest.FixtureRequest, private: Path) -> Old:
    version, queue = request.param
    return Old(version, private, queue)


def test_there_is_an_old_sweep_and_it_names_no_machine() -> None:
    assert OLD
    for file in (path for version in OLD for path in (DATA / version).rglob("*") if path.is_file()):
        text = file.read_text()
        for word in ("/tmp/", "/root", "swo-"):
            assert word not in text, file


def test_its_states_are_known(old: Old) -> None:
    states = old.states()
    assert {number: states[number] for number in ENDED} == ENDED
    store = open_store(old.sweep)
    try:
        now = control.status(old.sweep, store)
        assert now.total == 8
        assert sum(now.counts.values()) == 8
        assert now.counts["queued"] == 3  # the two that never began, and the one that was lost
        for record in store.records():
            assert record.label == f"x={record.number} seed=0"
            assert record.folder is not None
            assert Path(record.folder).is_dir()
    finally:
        store.close()
    assert now.state in ("interrupted", "stopped")


def test_status_report_and_logs(old: Old) -> None:
    data = json.loads(old.say("status", str(old.sweep.path), "--json"))
    assert data
    said = old.say("status", str(old.sweep.path))
    assert "1 of 8 done" in said
    assert "bad lr" in said
    report = old.say("report", str(old.sweep.path))
    assert "1 done" in report
    assert "loss 0.1" in report
    assert "epoch 2 loss=0.2" in old.say("logs", str(old.sweep.path), "2")
    assert "x,seed" in old.say("report", str(old.sweep.path), "--format", "csv").replace(" ", "")


def test_launched_again_it_keeps_what_is_finished(old: Old) -> None:
    old.say("old.yaml", "--parallel", "4", "--detach")
    wait_for(lambda: not launch.alive(old.sweep), 60)
    states = old.states()
    assert states[1] == states[7] == states[8] == "done"
    outcomes = old.outcomes()
    assert outcomes[1] == 1  # not run again
    assert all(outcomes[number] == 2 for number in (2, 3, 4, 5))
    assert (old.sweep.run("0006-x=6,seed=0").outcome(2)).exists()  # its first attempt was lost


def test_it_is_found_and_goes_on_after_a_reboot(old: Old) -> None:
    index.remember(old.sweep)
    assert "old" in old.say("ls")
    store = open_store(old.sweep)
    try:
        wish = store.wish()
        assert wish is not None
        if wish.want == "run":
            assert control.resumable(old.sweep)
        else:  # nobody starts by looking
            with pytest.raises(SweepError, match="whether it was running is not known"):
                control.resumable(old.sweep)
    finally:
        store.close()
