"""``hold: true``: a chain's GPUs are its own from its first run to its last, and it says whom it waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from sweeper import control, gpus
from sweeper.cli import looking
from sweeper.lease import Wait, Waiter, evidence, folder
from sweeper.model import GpuRequest
from sweeper.scheduler.engines import Chain
from sweeper.scheduler.holding import Holding
from sweeper.scheduler.loop import Loop
from tests.conftest import Workshop, wait_for

if TYPE_CHECKING:
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin"]
CHAIN = "command: echo $CUDA_VISIBLE_DEVICES >> tally && true {args}\ngrid: {x: [1, 2, 3]}\nhold: true\n"
SOON = 20.0  # seconds; a waiter that nothing wakes looks again after a minute


@pytest.fixture
def all_of_them(machine: StandIn) -> Iterator[Waiter]:
    """Asks for every GPU of the machine."""
    waiter = Waiter(GpuRequest(count=None), {"command": "python train.py --lr 3"})
    yield waiter
    waiter.close()


def waits(shop: Workshop) -> str:
    return shop.ask(lambda store: control.status(shop.sweep, store)).waits


def test_it_says_whom_it_waits_for_and_keeps_what_it_got(
    shop: Workshop, machine: StandIn, all_of_them: Waiter, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = all_of_them.try_acquire()
    assert lease is not None
    shop.launch(f"{CHAIN}gpus: all\n")
    me = f"{evidence.user(os.geteuid())}: python train.py --lr 3 (pid {os.getpid()}, "
    wait_for(lambda: waits(shop).startswith(f"GPU 0, held by {me}since @"))
    assert f"[sweep: waits for GPU 0, held by {me}since " in shop.tmux("capture-pane", "-p", "-J", "-t", "sweep-s:")
    looking.status("s", None, as_json=False)
    assert f"\n  waiting for GPU 0, held by {me}for 0:" in capsys.readouterr().out
    row = gpus.snapshot()[0]
    assert [(one.sweep, one.run, one.command) for one in row.queue] == [("s", None, "sweep s.yaml --serial --hold")]
    later = Waiter(GpuRequest(count=1), {"command": "later"})
    assert later.try_acquire() is None
    lease.close()
    deadline = time.monotonic() + SOON
    while (found := later.try_acquire()) is None:
        assert time.monotonic() < deadline, "the chain was not woken"
        time.sleep(0.005)
    assert shop.lines() == ["0,1,2,3"] * 3, "nobody came between its runs"
    found.close()
    later.close()
    assert shop.finish()["done"] == 3
    assert waits(shop) == ""


def test_it_holds_what_its_launcher_may_use(shop: Workshop, machine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.tmux("new-session", "-d", "-s", "another", "sleep 600")  # the server knows nothing of the variable
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert shop.run(f"{CHAIN}gpus: 1\n")["done"] == 3
    assert shop.lines() == ["2"] * 3


def test_a_lock_that_cannot_be_opened_passes(shop: Workshop, machine: StandIn) -> None:
    odd = [folder.choose() / f"gpu-{uuid}" for uuid in machine.uuids]
    for path in odd:
        path.mkdir()
    try:
        shop.launch(f"{CHAIN}gpus: 1\n")
        wait_for(lambda: "its GPUs cannot be leased: " in shop.tell())
        assert shop.alive()
    finally:
        for path in odd:
            path.rmdir()
    assert shop.finish()["done"] == 3


class Scripted:
    """A waiter that is to be looked at again after so many seconds, and then has its lease."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.reader

    def try_acquire(self) -> Any:
        os.read(self.reader, 1)
        return None if self.seconds else SimpleNamespace(names=["0"])

    def timeout(self) -> float:
        return self.seconds.pop(0)

    def waiting_for(self) -> Wait:
        return Wait("its turn", "")

    def close(self) -> None:
        os.close(self.reader)


def test_an_earlier_look_does_not_wait_for_a_later_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Woken a moment before a lock is free, it looks again shortly after, whatever look was due already."""
    loop, engine = Loop(), Chain(lambda _channel, _lease: None)
    holding = Holding(engine, loop, print)
    waiter = Scripted(60.0, 0.01)
    holding.waiter = cast("Waiter", waiter)
    loop.watch(waiter.fileno(), holding._try)
    for letter in (b"1", b"2"):  # the first look, and one that something woke
        os.write(waiter.writer, letter)
        loop.sleep([])
    os.write(waiter.writer, b"3")
    deadline = time.monotonic() + SOON
    while engine.held is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
        loop.do_later()
    os.close(waiter.writer)
