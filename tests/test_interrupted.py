"""What --fresh, resume and resume --all make of a sweep whose scheduler was killed: no more than it says."""

from __future__ import annotations

import os
import signal

import pytest

from sweeper import control, errors, launch, model, paths, watch
from sweeper.store import Store
from tests.conftest import Workshop, wait_for

TWO = "command: 'echo {x} >>tally; while ! test -e end; do sleep 0.05; done; test ! -e bad'\ngrid: {x: [1, 2]}\n"


def interrupted(shop: Workshop, text: str = TWO, parallel: int = 2) -> None:
    """Two runs go on alone; nobody schedules."""
    shop.launch(text, parallel=parallel)
    wait_for(lambda: len(shop.lines()) == parallel, what="the runs")
    wait_for(lambda: shop.counts().get(model.RUNNING) == parallel)
    os.kill(wait_for(shop.scheduler), signal.SIGKILL)
    wait_for(lambda: not shop.alive())


def test_fresh_waits_for_what_still_lives(shop: Workshop) -> None:
    interrupted(shop)
    with pytest.raises(errors.InputError, match="still alive"):
        shop.launch(parallel=2, fresh=True)
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))


def test_what_fresh_put_aside_is_not_resumed(shop: Workshop) -> None:
    interrupted(shop)
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))
    wait_for(lambda: not any(shop.ask(lambda store: control.status(shop.sweep, store)).flight))
    shop.run(parallel=2, fresh=True)
    aside = paths.SweepDir(shop.sweep.path.with_name("s.old-1"))
    assert aside.path.is_dir()
    assert not control.resumable(aside)


def test_a_pause_after_its_scheduler_was_killed_holds(shop: Workshop) -> None:
    interrupted(shop, TWO.replace("[1, 2]", "[1, 2, 3]"))
    control.pause(shop.sweep)
    assert not control.resumable(shop.sweep)
    assert control.left_alone(shop.sweep) == "paused"
    assert shop.ask(lambda store: control.status(shop.sweep, store)).state == "paused"
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))
    assert len(shop.lines()) == 2
    assert control.resume(shop.sweep)
    assert shop.finish() == {model.DONE: 3}
    assert control.left_alone(shop.sweep) == ""
    with pytest.raises(errors.InputError, match="nothing to pause"):
        control.pause(shop.sweep)


def test_whoever_watches_a_paused_sweep_hears_that_its_scheduler_was_killed(shop: Workshop) -> None:
    interrupted(shop)
    control.pause(shop.sweep)
    frame = watch.until_end(shop.sweep, hint="")
    assert frame.status.state == "paused"
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))


def test_resume_leaves_retries_to_the_scheduler(shop: Workshop) -> None:
    """A run that failed while nobody scheduled has its retries left."""
    interrupted(shop, TWO + "retries: 1\n")
    (shop.folder / "bad").touch()
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))
    control.resume(shop.sweep)
    assert shop.finish() == {model.FAILED: 2}
    assert sorted(shop.lines()) == ["1", "1", "2", "2"]


def test_resume_adopts_what_runs_and_goes_on(shop: Workshop) -> None:
    interrupted(shop, TWO.replace("[1, 2]", "[1, 2, 3]"))
    assert control.resume(shop.sweep)
    wait_for(lambda: shop.counts() == {model.RUNNING: 2, model.QUEUED: 1})
    (shop.folder / "end").touch()
    assert shop.finish() == {model.DONE: 3}
    assert sorted(shop.lines()) == ["1", "2", "3"]


def test_losses_count_across_resumes(shop: Workshop) -> None:
    interrupted(shop, TWO.replace("[1, 2]", "[1]"), parallel=1)
    for _ in range(3):
        attempt = shop.attempt(1)
        assert attempt is not None
        os.kill(attempt.pid, signal.SIGKILL)
        before = len(shop.lines())
        control.resume(shop.sweep)
        wait_for(lambda before=before: len(shop.lines()) > before or not shop.alive())
        if not shop.alive():
            break
        wait_for(lambda: shop.state(1) == model.RUNNING)
        os.kill(wait_for(shop.scheduler), signal.SIGKILL)
        wait_for(lambda: not shop.alive())
    assert shop.state(1) == model.FAILED
    assert len(shop.lines()) == 3
    (shop.folder / "end").touch()


def test_a_run_that_its_user_stopped_is_not_resumed_with_all(shop: Workshop) -> None:
    interrupted(shop)
    control.resume(shop.sweep)  # both are adopted
    control.stop(shop.sweep, [2])
    wait_for(lambda: shop.state(2) == model.STOPPED)
    (shop.folder / "end").touch()
    shop.finish()
    assert not control.resumable(shop.sweep)
    record = shop.ask(lambda store: store.record(2))
    assert record.note == "stopped by its user"


def test_a_launch_without_flags_goes_on_as_many_at_a_time(shop: Workshop) -> None:
    shop.launch(TWO, parallel=2)
    wait_for(lambda: len(shop.lines()) == 2)
    options = launch.Options()
    done = launch.carry_out(launch.plan(str(shop.file), options))
    assert done.woken
    assert done.plan.parallel == 2
    (shop.folder / "end").touch()
    shop.finish()


def test_what_ended_alone_is_told_once(shop: Workshop) -> None:
    interrupted(shop)
    (shop.folder / "bad").touch()
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))
    now = wait_for(
        lambda: (now := shop.ask(lambda store: control.status(shop.sweep, store))).counts.get(model.FAILED) == 2 and now
    )
    assert now.unwell_count == len(now.unwell) == 2
    assert now.flight == []


def test_one_that_began_when_nobody_scheduled_any_more_runs_and_waits_no_longer(shop: Workshop) -> None:
    """Its scheduler was killed while it waited for a GPU, and it got it before it heard of that."""
    interrupted(shop)

    def forget(store: Store) -> None:
        store.set_state(1, model.WAITING, "GPU 0, held by alice: train.py (pid 42, since @5)")
        store.connection.execute("UPDATE runs SET attempts = 0, started = NULL WHERE number = 1")

    shop.ask(forget)
    status = shop.ask(lambda store: control.status(shop.sweep, store))
    assert status.counts == {model.RUNNING: 2}
    attempt = shop.attempt(1)
    assert attempt is not None
    assert [(one.state, one.note) for one in status.flight] == [(model.RUNNING, "")] * 2
    assert attempt.started in [one.started for one in status.flight]
    (shop.folder / "end").touch()
    wait_for(lambda: all(shop.outcome(number) for number in (1, 2)))
