"""A scheduler that lives and does not answer, or dies as soon as it is started: said as it is, nothing half done."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import control, launch, model
from sweeper.errors import InputError, SweepError
from sweeper.launch import reaching
from sweeper.store import open_store
from tests.conftest import Workshop, processes_of, say, wait_for

WAITS = "command: 'echo {x} >> tally; while ! test -e go; do sleep 0.02; done'\ngrid: {x: [1, 2, 3]}\ngpus: 0\n"


def stop(shop: Workshop) -> list[int]:
    """Stop the scheduler, and before it the tmux server, which would let it go on. Gives both."""
    server = int(shop.tmux("display-message", "-p", "#{pid}"))
    pids = [wait_for(shop.scheduler), server]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda pid=pid: "T (stopped)" in Path(f"/proc/{pid}/status").read_text())
    return pids


@pytest.fixture
def stopped(shop: Workshop) -> Iterator[int]:
    """The pid of the sweep's scheduler, which somebody has stopped while two runs are running."""
    shop.launch(WAITS, 2)
    wait_for(lambda: shop.counts() == {"running": 2, "queued": 1})
    pids = stop(shop)
    yield pids[0]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def server(shop: Workshop) -> int:
    """The tmux server, which may be stopped and answer nothing: the parent of the scheduler."""
    return int(Path(f"/proc/{shop.scheduler()}/stat").read_text().rpartition(")")[2].split()[1])


def go_on(shop: Workshop, *pids: int) -> dict[str, int]:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    (shop.folder / "go").touch()
    return shop.finish()


def test_nothing_is_changed_where_the_scheduler_does_not_answer(shop: Workshop, stopped: int) -> None:
    before = shop.ask(lambda store: (store.wish(), store.total())), shop.sweep.file.read_text()
    shop.file.write_text(WAITS.replace("[1, 2, 3]", "[1, 2, 3, 4]"))
    said = say("s.yaml", "--parallel", "3", "--detach", check=1)
    assert "the scheduler of s does not answer" in said.err
    assert f"(process {stopped} on {socket.gethostname()}, stopped)" in said.err
    assert f"kill -CONT {stopped} lets it go on" in said.err
    assert "nothing was changed" in said.err
    for change in (control.pause, control.resume):
        with pytest.raises(SweepError, match="does not answer"):
            change(shop.sweep)
    assert (shop.ask(lambda store: (store.wish(), store.total())), shop.sweep.file.read_text()) == before
    assert go_on(shop, server(shop), stopped) == {"done": 3}
    assert "scheduler ends: 3 done" in shop.tell()


def test_a_sweep_is_stopped_all_the_same(shop: Workshop, stopped: int) -> None:
    said = say("stop", "s", check=0)
    assert f"(process {stopped} on {socket.gethostname()}, stopped)" in said.err
    assert "its runs are told to end all the same" in said.err
    wait_for(lambda: [shop.outcome(number) for number in (1, 2)].count(None) == 0)
    for pid in (server(shop), stopped):
        os.kill(pid, signal.SIGCONT)
    assert "done" not in shop.finish()
    assert (shop.state(1), shop.state(2)) == ("stopped", "stopped")


def test_one_that_falls_silent_meanwhile_is_told_with_what_was_written(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.launch(WAITS, 2)
    pids: list[int] = []
    plan = shop.plan(WAITS.replace("[1, 2, 3]", "[1, 2, 3, 4]"), 2)
    wake = reaching.wake

    def stop_and_wake(sweep: object) -> bool:
        pids.extend(stop(shop))
        return wake(shop.sweep)

    monkeypatch.setattr(reaching, "wake", stop_and_wake)
    with pytest.raises(SweepError, match="what is wanted is written down, and is done then"):
        launch.carry_out(plan)
    assert go_on(shop, *pids) == {"done": 4}, "it takes it up"


def test_a_scheduler_that_is_slow_to_answer_is_waited_for(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "LOOK", 0.05)
    shop.launch(WAITS, 2)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    address = shop.folder / "sock"
    server.bind(str(address))
    server.listen()
    monkeypatch.setattr(reaching.channel, "address", lambda _: address)
    child = os.fork()
    if not child:
        visitor, _ = server.accept()
        visitor.recv(100)
        signal.sigtimedwait([], 0.5)
        visitor.send(b'{"kind": "ok"}')
        os._exit(0)
    assert launch.reach(shop.sweep)
    os.waitpid(child, 0)
    server.close()
    monkeypatch.undo()


def test_a_scheduler_that_dies_at_once_is_no_start(shop: Workshop) -> None:
    shop.launch(WAITS, 2)
    control.stop(shop.sweep)
    wait_for(lambda: not processes_of(shop.sweep.path))
    with contextlib.closing(open_store(shop.sweep)) as store:
        wish = store.wish()
        assert wish is not None
        store.set_flag("source", "command: [")
        with pytest.raises(SweepError) as caught:
            launch.set_going(shop.sweep, store, wish)
    assert "the scheduler of s did not start" in str(caught.value)
    assert f"{shop.file}:" in str(caught.value), "its own words, and not those of an earlier one"
    assert "scheduler ends" not in str(caught.value)
    assert not launch.alive(shop.sweep)


@pytest.mark.parametrize("command", [control.resume, control.retry])
def test_what_was_launched_and_cannot_be_read_any_more_is_refused(shop: Workshop, command: object) -> None:
    assert callable(command)
    shop.run("command: 'exit 1'\n")
    with contextlib.closing(open_store(shop.sweep)) as store:
        store.set_state(1, model.STOPPED)
        store.set_flag("source", "command: [")
    with pytest.raises(InputError, match="as last launched cannot be read any more") as caught:
        command(shop.sweep)
    assert f"launch {shop.file} again" in str(caught.value)
    with contextlib.closing(open_store(shop.sweep)) as store:
        store.set_flag("source", shop.file.read_text())
    shop.sweep.environment(1).write_text("{")
    with pytest.raises(InputError, match=r"environment-1\.json is missing or damaged"):
        command(shop.sweep)
    assert shop.state(1) == model.STOPPED, "nothing was changed"
    assert not launch.alive(shop.sweep)
