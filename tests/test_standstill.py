"""A scheduler or a supervisor that stands still for a while (stopped, or its disk hangs) is not taken for dead."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper import channel, folders, model, paths, procs
from sweeper.channel import Channel
from sweeper.scheduler.aftermath import Aftermath
from sweeper.scheduler.crew import LOOKS, Crew, Ears
from sweeper.scheduler.engines import Opened
from sweeper.scheduler.line import Line
from sweeper.scheduler.loop import Loop
from sweeper.scheduler.word import Word
from tests.conftest import Workshop, wait_for
from tests.supervision import Hand

PYTHON = shlex.quote(sys.executable)
HELD = 250  # packets at least that a socket takes before it is full
# Each line after a pause that counts as a stall: a packet for the scheduler.
CHATTER = "import time\nfor i in range({lines}):\n    print(i, flush=True)\n    time.sleep({pause})\n"
# A scheduler that is a child of this test: tmux itself wakes what is stopped in its windows.
SERVE = """
import sys
from contextlib import closing
from dataclasses import replace
from sweeper import launch
from sweeper.scheduler.serve import serve
from sweeper.store import open_store
plan = launch.plan(sys.argv[1], launch.Options(serial=True, here=True, fresh=True))
launch.carry_out(plan)
if int(sys.argv[2]):
    with closing(open_store(plan.sweep)) as store:
        store.set_wish(replace(store.wish(), parallel=int(sys.argv[2]), session="sweep-s"))
serve(plan.sweep, table=False)
"""


@contextlib.contextmanager
def serving(shop: Workshop, text: str, parallel: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """The sweep with its scheduler in a process of our own, whose end is waited for."""
    shop.file.write_text(text)
    if parallel:
        shop.tmux("new-session", "-A", "-d", "-s", "sweep-s", "sleep 1000")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with open(shop.folder / "said", "wb") as said:
        argv = [sys.executable, "-c", SERVE, str(shop.file), str(parallel)]
        process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield process
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """While this lasts the process does nothing."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# -- packets -----------------------------------------------------------------------------------------------------------


def test_what_is_not_taken_is_kept_and_of_each_kind_the_newest() -> None:
    ours, theirs = Channel.pair()
    sent = 0
    while not ours.blocked:
        assert ours.send("waiting", text=str(sent))
        sent += 1
    assert sent > HELD
    for text in ("older", "newer"):
        assert ours.send("trouble", text=text)
    assert ours.send("waiting", text="last")
    heard = []
    while message := theirs.wait(0.0):
        heard.append(message)
        ours.flush()
    assert [one["text"] for one in heard if one["kind"] == "waiting"] == [*map(str, range(sent - 1)), "last"]
    assert [one["text"] for one in heard if one["kind"] == "trouble"] == ["newer"]
    theirs.close()
    assert not ours.send("waiting", text="nobody")
    assert not ours.blocked
    ours.close()


def test_who_asks_and_waits_also_sends_what_was_kept() -> None:
    ours, theirs = Channel.pair()
    number = 0
    while not ours.blocked:
        ours.send(f"word{number}")
        number += 1
    assert theirs.receive()
    while theirs.receive():
        continue
    theirs.send("ok")
    assert ours.wait(5.0) == {"kind": "ok"}
    assert not ours.blocked
    ours.close()
    theirs.close()


@pytest.fixture
def hand(private: Path) -> Iterator[Hand]:
    hand = Hand(private)
    yield hand
    hand.close()


def test_a_supervisor_whose_scheduler_does_not_listen_keeps_to_it(hand: Hand) -> None:
    (hand.folder / "chatter.py").write_text(CHATTER.format(lines=20_000, pause=0.002))
    window = hand.run(f"{PYTHON} chatter.py & while [ ! -e go ]; do sleep 0.02; done", stall=0.0001)
    wait_for(lambda: unread(window.channel) > HELD * 70, what="a socket that takes no more")
    (hand.folder / "go").touch()
    found = window.outcome()  # it hears all, and that the run was recorded
    assert found.outcome == model.DONE
    assert len([message for message in window.heard if message["kind"] == "stalled"]) >= HELD


def unread(end: Channel | None) -> int:
    """Bytes that lie in a socket."""
    assert end is not None
    return int.from_bytes(fcntl.ioctl(end, termios.FIONREAD, bytes(4)), sys.byteorder)


# -- a scheduler that stands still -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [0, 2])
def test_a_run_that_says_much_to_a_stopped_scheduler_is_neither_killed_nor_repeated(
    shop: Workshop, parallel: int
) -> None:
    for lines, pause in ((500, 0.006), (1500, 0.01)):
        (shop.folder / "chatter.py").write_text(CHATTER.format(lines=lines, pause=pause))
        chatter = f"[ {{x}} = 2 ] || {PYTHON} chatter.py"
        text = f"command: 'echo $SWEEP_RUN $SWEEP_ATTEMPT >> tally; {chatter}'\ngrid: {{x: [1, 2]}}\ngpus: 0\n"
        with serving(shop, f"{text}stall: 0.0001s\n", parallel) as process:
            # Not for its attempt: the one of the round before lies there until it is put aside.
            wait_for(shop.lines, what="the first run")
            with stopped(process.pid):
                wait_for(lambda: shop.log(1).count(b"\n") > lines * 0.8, 60.0)  # noqa: B023
        assert shop.counts() == {"done": 2}
        assert sorted(shop.lines()) == ["1 1", "2 1"]
        if shop.tell().count("run 1 has printed nothing") >= HELD:
            return
        (shop.folder / "tally").unlink()
    pytest.fail("the run never said so much that its socket was full")


@pytest.mark.parametrize(
    ("parallel", "runs"), [(0, 120), (3, 60), pytest.param(0, 3000, marks=pytest.mark.long),
                           pytest.param(4, 1500, marks=pytest.mark.long)]
)  # fmt: skip
def test_hundreds_of_short_runs_survive_a_scheduler_and_supervisors_that_stop_and_go(
    shop: Workshop, parallel: int, runs: int
) -> None:
    command = "echo $SWEEP_RUN $SWEEP_ATTEMPT >> tally; : {x}"
    text = f"command: '{command}'\ngrid: {{x: {{range: [0, {runs}]}}}}\ngpus: 0\n"
    dice = random.Random(runs)
    with serving(shop, text, parallel) as process:
        wait_for(shop.lines)
        while process.poll() is None:
            family = procs.descendants(process.pid) if not parallel else []
            with stopped(dice.choice([process.pid, *family])):
                time.sleep(dice.choice([0.002, 0.02, 0.1]))  # this is what is done to them; nothing is waited for
            time.sleep(dice.choice([0.002, 0.02]))
    assert shop.counts() == {"done": runs}
    assert Counter(shop.lines()) == Counter(f"{number} 1" for number in range(1, runs + 1))
    assert "lost" not in shop.tell()


class NoWindows:
    """A way to run whose windows stand and never report."""

    ahead, in_order = 1, True

    def open(self) -> Opened:
        return Opened()

    def there(self, opened: Opened) -> bool:
        return True

    def obstacles(self) -> str:
        return ""

    def begun(self, opened: Opened, title: str) -> None:
        return

    def ended(self, opened: Opened, well: bool) -> None:
        return

    def gone(self, opened: Opened) -> bool:
        return True

    def finish(self) -> None:
        return


# -- what the scheduler makes of it ------------------------------------------------------------------------------------


def test_a_run_whose_supervisor_is_heard_no_more_is_left_alone_while_that_lives(shop: Workshop) -> None:
    assert shop.run("command: 'true'\ngrid: {x: [1]}\n") == {"done": 1}
    run = shop.run_dir(1)
    assert run is not None
    lock = folders.open_lock(run.lock)
    assert folders.take_lock(lock)
    supervisor = subprocess.Popen(["sleep", "1000"], pass_fds=[lock])
    os.close(lock)
    first = folders.history(run)
    assert first.attempt is not None
    assert first.outcome is not None
    ticks = procs.start_ticks(supervisor.pid)
    assert ticks is not None
    attempt = replace(first.attempt, number=2, pid=supervisor.pid, start_ticks=ticks)
    paths.replace(run.attempt(2), json.dumps(attempt.to_json()))
    store = shop.store()
    store.requeue(1)
    line, loop, word = Line(store, shop.sweep), Loop(), Word(shop.sweep, store)
    line.load((1,))
    aftermath = Aftermath(loop, shop.sweep, line, word, pytest.fail)
    aftermath.follow(1)
    assert [one.number for one in aftermath.adopted] == [1]
    assert supervisor.poll() is None
    outcome = replace(first.outcome, attempt=2, outcome=model.FAILED, exit_code=3)
    paths.replace(run.outcome(2), json.dumps(outcome.to_json()))
    supervisor.terminate()
    supervisor.wait()
    loop.sleep([time.monotonic() + 10])
    assert aftermath.adopted == []
    record = store.record(1)
    assert record is not None
    assert (record.state, record.attempts, record.exit_code) == (model.FAILED, 2, 3)
    store.close()
    loop.selector.close()


def test_a_window_is_given_up_after_so_many_looks_and_not_by_the_clock(private: Path) -> None:
    loop = Loop()
    server = channel.listen(private / "door.sock")
    crew = Crew(loop, NoWindows(), server, Ears(lambda *_: None, lambda *_: None, lambda: None, lambda _: None))
    crew.open()
    (worker,) = crew.workers
    for _ in range(LOOKS - 1):
        worker.look_at = 0.0  # long ago: this process has been stopped for an hour
        assert crew.unreported() == []
        assert crew.unreported() == [], "and the next look is a while later"
    worker.look_at = 0.0
    assert crew.unreported() == [worker]
    server.close()
    loop.selector.close()


def test_all_who_came_while_it_stood_still_are_let_in_at_once(private: Path) -> None:
    loop, woken = Loop(), []
    server = channel.listen(private / "door.sock")
    Crew(
        loop,
        NoWindows(),
        server,
        Ears(lambda *_: None, lambda *_: None, lambda: woken.append(1) is None, lambda _: None),
    )
    visitors = [Channel.connect(private / "door.sock") for _ in range(20)]
    for visitor in visitors:
        visitor.send("wake")
    loop.sleep([time.monotonic() + 5])
    loop.sleep([time.monotonic() + 5])
    assert len(woken) == 20
    for visitor in visitors:
        assert visitor.wait(0.0) == {"kind": "ok"}
        visitor.close()
    loop.sleep([time.monotonic() + 5])
    server.close()
    loop.selector.close()
