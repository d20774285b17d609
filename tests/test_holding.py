"""``hold: true``: a chain's GPUs are its own from its first run to its last, and it says whom it waits for."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from sweeper import control, gpus, paths
from sweeper.cli import standing
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
SWEEP = f"PYTHONPATH={shlex.quote(paths.import_path())} {shlex.quote(sys.executable)} -m sweeper"
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
    window = shop.tmux("capture-pane", "-p", "-t", "sweep-s:")
    assert f"[sweep: waits for GPU 0, held by {me}since " in " ".join(window.split())
    assert max(map(len, window.splitlines())) < 80
    standing.status("s", None, as_json=False)
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


GB = 1_000_000_000
OOM = "echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1"


def attempts(shop: Workshop) -> list[list[str]]:
    """GPUs, run and attempt of each attempt, in order."""
    return [line.split() for line in shop.lines("tally")]


def chain(work: str, **keys: str) -> str:
    lines = [f'command: "echo $CUDA_VISIBLE_DEVICES {{x}} $SWEEP_ATTEMPT >> tally; {work}"', "hold: true"]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in {"grid": "{x: [1, 2, 3]}", **keys}.items())]) + "\n"


FIRST_OF_1 = f"if [ {{x}}$SWEEP_ATTEMPT = 11 ]; then {OOM}; fi"


def test_a_run_out_of_memory_gets_a_larger_gpu(shop: Workshop, machine: StandIn) -> None:
    machine.gpus[1].total = 80 * GB
    machine.save()
    counts = shop.run(chain(FIRST_OF_1, gpus="1", retries_oom="1", grid="{x: [1, 2, 3, 4, 5, 6, 7]}"))
    assert counts == {"done": 7}
    assert ["0", "1", "1"] in attempts(shop)
    again = attempts(shop).index(["1", "1", "2"])
    assert {line[0] for line in attempts(shop)[again:]} == {"1"}, "what is roomier is kept"
    assert attempts(shop)[-1][1] == "7"


def test_a_run_out_of_memory_is_alone_and_the_others_share_again(shop: Workshop, machine: StandIn) -> None:
    states = f"if [ {{x}}$SWEEP_ATTEMPT = 11 ]; then {OOM}; fi; {SWEEP} gpus --json >> states"
    assert shop.run(chain(states, gpus="1", per_gpu="2", gpus_allowed="[2]", retries_oom="1")) == {"done": 3}
    shown = json.JSONDecoder()
    text, found = (shop.folder / "states").read_text(), []
    while text.strip():
        rows, end = shown.raw_decode(text)
        found.append(rows[2]["state"])
        text = text[end:].lstrip()
    order = [line[1:] for line in attempts(shop) if line[1:] != ["1", "1"]]
    assert dict(zip(map(tuple, order), found, strict=True)) == {
        ("1", "2"): "held",
        ("2", "1"): "shared",
        ("3", "1"): "shared",
    }


def test_what_is_roomy_enough_is_kept_for_the_retry(shop: Workshop, machine: StandIn) -> None:
    until = "while [ ! -e go ]; do sleep 0.02; done"
    work = f"if [ $SWEEP_ATTEMPT = 1 ]; then {until}; {OOM}; fi"
    shop.launch(chain(work, gpus="1", gpus_allowed="[2]", retries_oom="1", grid="{x: [1, 2]}"))
    wait_for(lambda: attempts(shop), what=shop.tell())
    colleague = Waiter(GpuRequest(count=1, allowed=(2,)), {"command": "colleague"})
    assert colleague.try_acquire() is None
    (shop.folder / "go").touch()
    deadline = time.monotonic() + 30
    while (lease := colleague.try_acquire()) is None:
        assert time.monotonic() < deadline, "the chain did not let its GPU go at its end"
        time.sleep(0.005)
    assert len(attempts(shop)) == 4, "nobody came between its runs"
    lease.close()
    colleague.close()
    assert shop.finish() == {"done": 2}


def test_another_number_of_gpus_is_taken_up(shop: Workshop, machine: StandIn) -> None:
    text = chain("if [ {x} = 1 ]; then while [ ! -e go ]; do sleep 0.02; done; fi", gpus="1")
    shop.launch(text)
    wait_for(lambda: attempts(shop), what=shop.tell())
    shop.launch(text.replace("gpus: 1", "gpus: 2"))
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 3}
    first, second, third = [line[0].split(",") for line in attempts(shop)]
    assert first == ["0"]
    assert len(second) == 2
    assert second == third


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


def test_looks_that_were_overtaken_are_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    """Each time that it is woken it looks again in a moment, then after a minute: only one such look may stay due."""
    loop, engine = Loop(), Chain(lambda _channel, _lease: None)
    holding = Holding(engine, loop, print)
    moments = [*[0.0, 30.0] * 50, 30.0]
    looks = 0

    class Woken(Scripted):
        def try_acquire(self) -> Any:
            nonlocal looks
            looks += 1

    waiter = Woken(*moments)
    holding.waiter = cast("Waiter", waiter)
    for _ in range(50):
        holding._try()  # something woke it
        loop.do_later()
    assert looks == 100
    for pending in list(loop._later):
        pending[1]()
    assert looks <= 101, "one of them is still due"
    waiter.close()
    os.close(waiter.writer)
