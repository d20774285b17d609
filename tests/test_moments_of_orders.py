"""Orders that come at a bad moment: half given, after the end they would have prevented, to one who can't obey."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper import control, folders, model, tmux
from sweeper.scheduler.aftermath import Aftermath
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.scheduler.word import Word
from sweeper.store import Store
from tests.conftest import ROOT, Workshop, over, wait_for
from tests.supervision import Hand

UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


def killed_at(shop: Workshop, point: str, *typed: str) -> None:
    """A command that dies when it comes to this point."""
    link = shop.folder / "crash"
    link.symlink_to(point)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SWEEP_TEST_CRASH": str(link)}
    done = subprocess.run([sys.executable, "-m", "sweeper", *typed], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert not link.is_symlink()


# -- to the scheduler --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, None])
@pytest.mark.parametrize("how", ["launch", "resume"])
def test_who_has_lost_its_session_leaves_what_is_wanted_to_another(
    shop: Workshop, parallel: int | None, how: str
) -> None:
    """While its runs are still being ended: it could open no window for others, and a chain has no terminal."""
    work = f"trap '' HUP; trap : TERM; echo {{x}} >> tally; {UNTIL_GO}; exit 3"
    shop.launch(f'command: "{work}"\ngrid: {{x: [1, 2]}}\ngrace: 60s\n', parallel)
    wait_for(lambda: shop.lines() == ["1"] and shop.counts().get("running") == 1)
    shop.tmux("kill-session", "-t", "sweep-s")
    wait_for(lambda: "session was closed" in shop.tell())
    assert shop.alive()
    if how == "launch":
        shop.launch(None, parallel)
    else:
        assert control.resume(shop.sweep)
    (shop.folder / "go").touch()
    counts = shop.finish()
    assert sum(counts.values()) == 2
    assert "queued" not in counts
    assert "2" in shop.lines()


def test_a_stop_that_was_killed_before_it_told_anybody_is_told_by_the_next(shop: Workshop) -> None:
    shop.launch(f"command: ': {{x}}; {UNTIL_GO}'\ngrid: {{x: [1, 2]}}\n", 1)
    wait_for(lambda: shop.counts().get("running") == 1)
    killed_at(shop, "committed", "stop", "s")
    assert shop.alive()
    done = control.stop(shop.sweep)
    assert (done.was, done.changed) == ("stopping", False)
    assert shop.finish() == {"stopped": 1, "queued": 1}


def test_a_session_that_closes_while_the_scheduler_is_started_is_made_anew(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.run("command: 'test {x} = 1'\ngrid: {x: [1, 2]}\n", 1) == {"done": 1, "failed": 1}
    assert "sweep-s" in shop.tmux("list-sessions"), "the window of the run that failed stays"
    real = tmux.new_window

    def late(*words: Any, **named: Any) -> tmux.Pane:
        shop.tmux("kill-session", "-t", "sweep-s")
        return real(*words, **named)

    monkeypatch.setattr(tmux, "new_window", late)
    shop.launch(None, 1)
    assert shop.finish() == {"done": 1, "failed": 1}
    attempt = shop.attempt(2)
    assert attempt is not None
    assert attempt.number == 2


def test_what_a_killed_launch_added_is_run_also_after_a_run_that_was_taken_over(shop: Workshop) -> None:
    shop.launch(f"command: 'echo {{x}} >> tally; {UNTIL_GO}'\ngrid: {{x: [1]}}\n", 1)
    wait_for(lambda: shop.counts().get("running") == 1)
    pid = shop.scheduler()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: over(pid))
    assert control.resume(shop.sweep)
    shop.file.write_text(shop.file.read_text().replace("[1]", "[1, 2]"))
    killed_at(shop, "committed", str(shop.file), "--parallel", "1", "--detach")
    assert shop.counts() == {"running": 1, "queued": 1}
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 2}


# -- about one run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ended(shop: Workshop) -> Iterator[tuple[Store, Aftermath]]:
    """A sweep of two runs, and who enters what becomes of them."""
    assert shop.run("command: 'true'\ngrid: {x: [1, 2]}\nretries: 1\n") == {"done": 2}
    store = shop.store()
    line = Line(store, shop.sweep)
    line.load(())
    yield store, Aftermath(Loop(), shop.sweep, line, Word(shop.sweep, store), lambda _: None)
    store.close()


def of(store: Store, number: int) -> tuple[str, str]:
    record = store.record(number)
    assert record is not None
    return record.state, record.note


def failed(attempt: int) -> model.Outcome:
    return model.Outcome(model.FAILED, attempt, 3, None, "exit status 3", 1.0, 2.0, [], "vm", 0, 0)


def test_a_run_that_waited_and_could_not_begin_is_queued_again(ended: tuple[Store, Aftermath]) -> None:
    store, aftermath = ended
    store.set_state(1, model.WAITING, "GPU 0")
    aftermath.put_back(1)
    assert of(store, 1)[0] == model.QUEUED
    assert aftermath.line.next() == 1


def test_a_run_that_is_to_be_stopped_is_not_put_back(ended: tuple[Store, Aftermath]) -> None:
    store, aftermath = ended
    store.ask_stop([1])
    store.requeue(1)
    aftermath.put_back(1)
    assert of(store, 1) == (model.STOPPED, "stopped by its user")
    assert aftermath.line.next() is None


def test_a_run_that_failed_just_before_its_stop_is_not_tried_again(ended: tuple[Store, Aftermath]) -> None:
    store, aftermath = ended
    aftermath.enter(1, failed(2))
    assert of(store, 1)[0] == model.QUEUED, "it has a retry"
    store.ask_stop([2])
    aftermath.enter(2, failed(2))
    assert of(store, 2) == (model.FAILED, "exit status 3")


def test_a_lost_run_that_is_to_be_stopped_is_not_begun_again(shop: Workshop) -> None:
    shop.launch(f"command: 'echo {{x}} >> tally; {UNTIL_GO}'\ngrid: {{x: [1, 2]}}\ngrace: 60s\n", 1)
    wait_for(lambda: shop.counts().get("running") == 1)
    attempt = shop.attempt(1)
    assert attempt is not None
    shop.ask(lambda store: store.ask_stop([1]))  # and before anybody is told of it
    os.kill(attempt.pid, signal.SIGKILL)
    wait_for(lambda: shop.state(1) == model.STOPPED)
    (shop.folder / "go").touch()
    assert shop.finish() == {"stopped": 1, "done": 1}
    assert shop.lines() == ["1", "2"]


# -- to a supervisor ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hand(private: Path) -> Iterator[Hand]:
    made = Hand(private)
    yield made
    made.close()


@pytest.mark.parametrize(("code", "outcome"), [(0, model.DONE), (3, model.FAILED)])
@pytest.mark.parametrize("by", ["scheduler", "timeout"])
def test_what_has_ended_is_not_stopped(hand: Hand, code: int, outcome: str, by: str) -> None:
    """Its supervisor hears of the end and of the order together, having been stopped meanwhile."""
    fields = {"timeout": 1.0} if by == "timeout" else {}
    window = hand.run(f"echo $$ > pid; {UNTIL_GO}; exit {code}", **fields)
    wait_for(lambda: (hand.folder / "pid").exists() and (hand.folder / "pid").read_text().strip())
    command = int((hand.folder / "pid").read_text())
    os.kill(window.process.pid, signal.SIGSTOP)
    (hand.folder / "go").touch()
    wait_for(lambda: over(command))
    if by == "scheduler":
        window.send("stop", why="stopped by its user")
    else:
        attempt = folders.read_attempt(window.run_dir, 1)
        assert attempt is not None
        wait_for(lambda: time.time() > attempt.started + 1.5)
    os.kill(window.process.pid, signal.SIGCONT)
    recorded = window.hear("recorded")["outcome"]
    assert (recorded["outcome"], recorded["exit_code"]) == (outcome, code)


def test_what_is_told_to_be_recorded_can_be_begun_again(hand: Hand) -> None:
    window = hand.run("true")
    window.hear("recorded")
    assert not folders.is_held(window.run_dir.lock)
