"""The durable queue: what a launch makes of it, what numbers mean, and that it is rebuilt from the folders."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper import command, folders, model, paths
from sweeper.errors import InputError, SweepError
from sweeper.grid import expand
from sweeper.spec import read_spec
from sweeper.store import Change, Wish, enqueue, open_store, reconcile
from sweeper.store.catalog import Catalog
from sweeper.store.db import STOP


class Desk:
    """A sweep whose runs are carried out by pen and paper."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "s.yaml"
        self.sweep = paths.SweepDir(folder / "runs" / "s")
        self.sweep.path.mkdir(parents=True)
        self.store = open_store(self.sweep)

    def launch(self, grid: str, words: str = "train", rest: str = "") -> Change:
        self.file.write_text(f"command: {words}\ngpus: 0\ngrid: {grid}\n{rest}")
        spec = read_spec(self.file)
        environment = {"variables": {}, "umask": 18, "file": str(self.file), "parallel": 2, "options": {}}
        paths.replace(self.sweep.environment(1), json.dumps(environment))
        change = enqueue(self.store, spec, expand(spec), command.template(spec), Wish(file=str(self.file), parallel=2))
        paths.replace(self.sweep.file, spec.source)
        return change

    def params(self) -> dict[int, dict[str, object]]:
        """What the wanted runs are, in file order."""
        known = Catalog(self.store.generations(), str(self.file))
        touched = {record.number: record.params for record in self.store.records()}
        return {
            number: touched.get(number) or {name: value.value for name, value in known.params(number).items()}
            for number in self.store.wanted()
        }

    def touch(self, number: int) -> paths.RunDir:
        known = Catalog(self.store.generations(), str(self.file))
        spec = read_spec(self.file)
        template = command.template(spec)
        params = known.params(number)
        values = {name: value.value for name, value in params.items()}
        run = self.sweep.run(paths.folder_name(number, command.texts(params)))
        run.path.mkdir(exist_ok=True)
        job = model.Job(
            sweep="s", number=number, key=template.key(params), params=values, texts={}, command="train", before="",
            workdir="/", environment="environment-1.json", env={}, timeout=None, grace=1, gpus=model.GpuRequest(),
        )  # fmt: skip
        paths.replace(run.job, json.dumps(job.to_json()))
        self.store.touch(number, job.key, values, {}, run.path.name)
        return run

    def attempt(self, number: int, attempt: int = 1, outcome: str | None = None, told: bool = True) -> model.Outcome:
        """An attempt stands in the folder (with its outcome); the queue is ``told`` of it, or not."""
        run = self.touch(number)
        begun = model.Attempt(attempt, 999_999_999, 1, "host", "boot", [], 0, 100.0)
        paths.replace(run.attempt(attempt), json.dumps(begun.to_json()))
        if told:
            self.store.set_started(number, attempt, 100.0, [], "host")
        ended = model.Outcome(outcome or "", attempt, 0, None, "because", 100.0, 101.0, [], "host", 0, 0)
        if outcome is not None:
            paths.replace(run.outcome(attempt), json.dumps(ended.to_json()))
            if told:
                self.store.set_outcome(number, ended)
        return ended

    def state(self, number: int) -> str:
        record = self.store.record(number)
        assert record is not None
        return record.state

    def again(self) -> None:
        """Open the queue anew, as the next process does."""
        self.store.close()
        self.store = open_store(self.sweep)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_a_launch_numbers_the_points_in_file_order(desk: Desk) -> None:
    assert desk.launch("{a: [5, 6], b: [x, y]}") == Change(total=4, new=4, kept=0, gone=0, again=0)
    assert desk.params() == {
        1: {"a": 5, "b": "x"},
        2: {"a": 5, "b": "y"},
        3: {"a": 6, "b": "x"},
        4: {"a": 6, "b": "y"},
    }
    assert desk.store.counts() == {"queued": 4}
    assert [*desk.store.touched()] == []


def test_launched_again_unchanged_changes_nothing(desk: Desk) -> None:
    desk.launch("{a: [1, 2, 3]}")
    desk.attempt(1, outcome=model.DONE)
    desk.attempt(2, outcome=model.FAILED)
    assert desk.launch("{a: [1, 2, 3]}") == Change(total=3, new=0, kept=1, gone=0, again=1)
    assert desk.store.counts() == {"done": 1, "queued": 2}
    assert len(desk.store.generations()) == 1


def test_numbers_are_kept_and_never_given_again(desk: Desk) -> None:
    desk.launch("{a: [1, 2, 3]}")
    desk.attempt(2, outcome=model.DONE)
    assert desk.launch("{a: [4, 2, 5]}") == Change(total=3, new=2, kept=1, gone=2, again=0)
    assert desk.params() == {4: {"a": 4}, 2: {"a": 2}, 5: {"a": 5}}
    assert desk.launch("{a: [1, 2, 3]}").new == 0
    assert desk.params() == {1: {"a": 1}, 2: {"a": 2}, 3: {"a": 3}}
    assert desk.launch("{a: [3, 6]}").new == 1
    assert desk.params() == {3: {"a": 3}, 6: {"a": 6}}


def test_a_run_that_is_gone_from_the_file_is_kept_but_not_wanted(desk: Desk) -> None:
    desk.launch("{a: [1, 2]}")
    desk.attempt(1, outcome=model.DONE)
    desk.attempt(2, outcome=model.FAILED)
    desk.launch("{a: [3]}")
    assert desk.store.counts() == {"queued": 1}
    assert [(one.number, one.wanted) for one in desk.store.records()] == [(1, False), (2, False)]
    desk.launch("{a: [1, 2, 3]}")
    assert desk.store.counts() == {"done": 1, "queued": 2}


def test_an_edited_command_that_would_repeat_finished_runs_is_refused_and_changes_nothing(desk: Desk) -> None:
    desk.launch("{a: [1, 2]}")
    desk.attempt(1, outcome=model.DONE)
    with pytest.raises(InputError, match="1 finished run would be run again"):
        desk.launch("{a: [1, 2, 3]}", words="train --more")
    assert desk.store.total() == 2
    assert len(desk.store.generations()) == 1
    assert desk.launch("{a: [2, 3]}", words="train --more").new == 2
    assert list(desk.params()) == [3, 4]


def test_other_settings_are_taken_without_new_numbers(desk: Desk) -> None:
    desk.launch("{a: [1, 2]}")
    desk.attempt(1, outcome=model.DONE)
    assert desk.launch("{a: [1, 2]}", rest="timeout: 5m\n").new == 0
    assert desk.params() == {1: {"a": 1}, 2: {"a": 2}}


def test_a_million_points_need_no_rows(desk: Desk) -> None:
    desk.launch("{a: {range: [0, 1000]}, b: {range: [0, 1000]}}")
    assert desk.store.counts() == {"queued": 1_000_000}
    assert desk.sweep.db.stat().st_size < 200_000


# -- states ------------------------------------------------------------------------------------------------------------


def test_three_losses_in_a_row_are_a_failure_and_an_outcome_begins_anew(desk: Desk) -> None:
    desk.launch("{a: [1]}")
    desk.touch(1)
    assert [desk.store.set_lost(1, attempt, 3) for attempt in (1, 2)] == ["queued", "queued"]
    assert desk.store.set_lost(1, 3, 3) == "failed"
    desk.store.requeue_all([model.FAILED])
    assert desk.store.set_lost(1, 4, 3) == "queued"
    desk.attempt(1, 5, outcome=model.STOPPED)
    desk.store.requeue_all([model.STOPPED])
    assert desk.store.set_lost(1, 6, 3) == "queued"


def test_a_transaction_that_fails_leaves_nothing(desk: Desk) -> None:
    desk.launch("{a: [1]}")
    desk.touch(1)

    def interrupted() -> None:
        with desk.store:
            desk.store.set_state(1, model.DONE)
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        interrupted()
    assert desk.state(1) == model.QUEUED


def test_what_happened_without_a_scheduler_is_found_in_the_folders(desk: Desk) -> None:
    desk.launch("{a: {range: [0, 6]}}")
    desk.attempt(1)  # lost
    done = desk.attempt(2, outcome=model.DONE, told=False)
    desk.attempt(3, outcome=model.DONE)
    held = desk.touch(4)
    desk.attempt(4)
    desk.touch(5)
    unheard = desk.attempt(6, told=False)
    assert unheard.attempt == 1
    lock = folders.open_lock(held.lock)
    assert folders.take_lock(lock)
    alive, ended = reconcile(desk.store, desk.sweep)
    os.close(lock)
    assert [record.number for record in alive] == [4]
    assert ended == [(2, done)]
    states = {record.number: record.state for record in desk.store.records()}
    assert states == {1: "lost", 2: "queued", 3: "done", 4: "running", 5: "queued", 6: "lost"}


def test_runs_in_hand_are_left_alone(desk: Desk) -> None:
    desk.launch("{a: [1]}")
    desk.attempt(1)
    assert reconcile(desk.store, desk.sweep, [1]) == ([], [])
    assert desk.state(1) == model.RUNNING


# -- a queue that is gone ----------------------------------------------------------------------------------------------


def remove(desk: Desk) -> None:
    desk.store.close()
    desk.sweep.db.unlink()


def garbage(desk: Desk) -> None:
    desk.store.close()
    desk.sweep.db.write_bytes(os.urandom(8192))


def emptied(desk: Desk) -> None:
    desk.store.close()
    desk.sweep.db.write_bytes(b"")


def holed(desk: Desk) -> None:
    desk.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    desk.store.close()
    with open(desk.sweep.db, "r+b") as file:
        file.seek(4096)
        file.write(bytes(20000))


def no_table(desk: Desk) -> None:
    desk.store.connection.execute("DROP TABLE runs")
    desk.store.connection.execute("CREATE TABLE runs (some TEXT)")
    desk.store.close()


@pytest.mark.parametrize("damage", [remove, garbage, emptied, holed, no_table])
def test_a_lost_queue_is_rebuilt_from_the_folders(desk: Desk, damage: object) -> None:
    desk.launch("{a: {range: [10, 20]}}")
    desk.attempt(2, outcome=model.DONE)
    desk.attempt(3, outcome=model.FAILED)
    desk.attempt(5)
    for attempt in (1, 2, 3):
        desk.attempt(7, attempt)
    wanted = desk.params()
    assert callable(damage)
    damage(desk)
    desk.store = open_store(desk.sweep)
    assert desk.params() == wanted, "every run has the number that it had"
    states = {record.number: record.state for record in desk.store.records()}
    assert states == {2: "done", 3: "failed", 5: "running", 7: "running"}
    assert reconcile(desk.store, desk.sweep) == ([], [])
    assert [desk.store.set_lost(5, 1, 3), desk.store.set_lost(7, 3, 3)] == ["queued", "failed"]
    wish = desk.store.wish()
    assert wish is not None
    assert (wish.want, wish.parallel) == (STOP, 2)
    assert desk.launch("{a: {range: [10, 21]}}") == Change(total=11, new=1, kept=1, gone=0, again=2)
    if damage in (garbage, holed, no_table):
        assert list(desk.sweep.path.glob("queue.db.damaged-*"))


def test_numbers_survive_a_rebuild_also_after_edits(desk: Desk) -> None:
    desk.launch("{a: [1, 2, 3]}")
    desk.attempt(3, outcome=model.DONE)
    desk.launch("{a: [7, 3, 2]}")
    desk.attempt(4, outcome=model.DONE)
    remove(desk)
    desk.store = open_store(desk.sweep)
    after = desk.params()
    assert (after[3], after[4]) == ({"a": 3}, {"a": 7})
    assert len(after) == 3
    assert max(after) == 5


def test_a_log_left_by_a_deleted_queue_does_not_spoil_the_next(desk: Desk) -> None:
    desk.launch("{a: [1]}")
    desk.attempt(1, outcome=model.DONE)
    other = sqlite3.connect(desk.sweep.db)  # keeps the log from being folded in
    other.execute("SELECT * FROM runs").fetchall()
    desk.store.set_state(1, model.FAILED)
    assert Path(f"{desk.sweep.db}-wal").stat().st_size > 0
    desk.sweep.db.unlink()
    desk.again()
    assert desk.state(1) == model.DONE
    assert desk.store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    other.close()


def test_a_stale_queue_knows_that_it_is(desk: Desk) -> None:
    assert not desk.store.stale
    desk.sweep.db.unlink()
    assert desk.store.stale
    open_store(desk.sweep).close()
    assert desk.store.stale


def test_a_folder_without_anything_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="holds no sweep"):
        open_store(paths.SweepDir(tmp_path), readonly=True)


def test_a_wish_of_another_version_loads(desk: Desk) -> None:
    desk.store.set_wish(replace(Wish(file="f"), why="old"))
    desk.store.connection.execute("UPDATE meta SET value = json_set(value, '$.unheard_of', 1) WHERE key = 'wish'")
    wish = desk.store.wish()
    assert wish is not None
    assert wish.why == "old"


def test_an_outcome_written_while_the_queue_was_rebuilt_is_not_overlooked(desk: Desk) -> None:
    desk.launch("{a: [1]}")
    desk.attempt(1)
    remove(desk)
    desk.store = open_store(desk.sweep)
    ended = model.Outcome(model.DONE, 1, 0, None, "", 100.0, 101.0, [], "host", 0, 0)
    paths.replace(desk.touch(1).outcome(1), json.dumps(ended.to_json()))
    assert reconcile(desk.store, desk.sweep) == ([], [(1, ended)])
