"""Real signals to the command line, the scheduler, a supervisor and a command: what each of them does then."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeper
from sweeper import model, procs
from tests.conftest import Workshop, wait_for
from tests.supervision import Hand

ROOT = Path(sweeper.__file__).parent.parent
TEXT = """
command: >-
  echo start {x} $SWEEP_ATTEMPT >> tally; %s; echo end {x} >> tally
grid: {x: [1, 2, 3, 4]}
gpus: 0
"""
UNTIL_GO = TEXT % "while [ ! -e go ]; do sleep 0.02; done"


@pytest.fixture
def hand(private: Path) -> Iterator[Hand]:
    hand = Hand(private)
    yield hand
    hand.close()


def state(pid: int) -> str:
    """The kernel's letter: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def starts(shop: Workshop) -> list[str]:
    return sorted(line for line in shop.lines() if line.startswith("start"))


def _as_a_job() -> None:
    """As an interactive shell starts a command: in a group of its own, which Ctrl-Z stops."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def typed(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "sweeper", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_as_a_job,
    )


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if word in line:
            return seen
    pytest.fail(f"no {word} in {seen}")


# -- the command line --------------------------------------------------------------------------------------------------


def test_a_signal_to_the_command_line_leaves_the_sweep_alone(shop: Workshop) -> None:
    shop.file.write_text(UNTIL_GO)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
        process = typed("s.yaml", "--parallel", "2")
        read_until(process, "2 running")
        process.send_signal(number)
        said, _ = process.communicate(timeout=20)
        assert "Traceback" not in said
        if number == signal.SIGINT:
            assert process.returncode == 0
            assert "s goes on. sweep status s" in said
        else:
            assert process.returncode == -number
        assert shop.alive()
    process = typed("s.yaml", "--parallel", "2")
    read_until(process, "2 running")
    os.killpg(process.pid, signal.SIGTSTP)
    wait_for(lambda: state(process.pid) == "T")
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}
    os.killpg(process.pid, signal.SIGCONT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4)]
    assert shop.tell().count(" begins") == 1


# -- the scheduler -----------------------------------------------------------------------------------------------------


def test_keys_that_signal_do_not_reach_the_scheduler_in_its_window(shop: Workshop) -> None:
    shop.launch(UNTIL_GO, 2)
    wait_for(lambda: len(shop.lines()) == 2)
    pid = shop.scheduler()
    window = shop.tmux("list-panes", "-s", "-t", "=sweep-s", "-F", "#{pane_pid} #{pane_id}").splitlines()
    pane = next(line.split()[1] for line in window if line.split()[0] == str(pid))
    wait_for(lambda: "2 running" in shop.tmux("capture-pane", "-p", "-t", pane), what="the table")
    shop.tmux("send-keys", "-t", pane, "C-c", "C-\\", "C-z")
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        os.kill(pid, number)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4)]
    assert "ended by" not in shop.tell()
    assert shop.tell().count(" begins") == 1


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_hangup_of_the_scheduler_stops_the_sweep(shop: Workshop, parallel: int | None) -> None:
    shop.launch(UNTIL_GO, parallel)
    wait_for(lambda: len(shop.lines()) == (parallel or 1))
    os.kill(shop.scheduler(), signal.SIGHUP)
    assert shop.finish() == {"stopped": parallel or 1, "queued": 4 - (parallel or 1)}
    wish = shop.ask(lambda store: store.wish())
    assert (wish.want, wish.why) == ("stop", "its tmux session was closed")


def test_an_interrupt_of_a_chains_scheduler_stops_the_sweep(shop: Workshop) -> None:
    shop.launch(UNTIL_GO)
    wait_for(lambda: len(shop.lines()) == 1)
    os.kill(shop.scheduler(), signal.SIGINT)
    assert shop.finish() == {"stopped": 1, "queued": 3}
    assert shop.ask(lambda store: store.wish()).why == "Ctrl-C"


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_scheduler_that_is_stopped_for_a_while_goes_on(shop: Workshop, parallel: int | None) -> None:
    shop.launch(UNTIL_GO, parallel)
    running = parallel or 1
    wait_for(lambda: len(shop.lines()) == running)
    # tmux continues what is stopped in its windows: without it, nobody does.
    stopped = [int(shop.tmux("display-message", "-p", "#{pid}")), shop.scheduler()]
    attempts = [wait_for(lambda: shop.attempt(number)) for number in range(1, running + 1)]  # noqa: B023
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
            wait_for(lambda: state(pid) == "T")  # noqa: B023
        (shop.folder / "go").touch()
        for number, attempt in enumerate(attempts, 1):  # they end, are recorded, and leave without being heard
            wait_for(lambda: procs.start_ticks(attempt.pid) is None, what=f"the end of run {number}")  # noqa: B023
            found = shop.outcome(number)
            assert found is not None
            assert found.outcome == model.DONE
        assert len(starts(shop)) == running
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)
    assert shop.finish() == {"done": 4}
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4)]
    assert shop.tell().count(" begins") == 1


def test_a_chain_here_is_stopped_by_ctrl_z_and_goes_on(shop: Workshop) -> None:
    shop.file.write_text(UNTIL_GO)
    process = typed("s.yaml", "--serial", "--here")
    wait_for(lambda: len(shop.lines()) == 1)
    attempt = wait_for(lambda: shop.attempt(1))
    os.killpg(process.pid, signal.SIGTSTP)
    wait_for(lambda: state(process.pid) == state(attempt.pid) == "T")
    (shop.folder / "go").touch()
    wait_for(lambda: len(shop.lines()) == 2)  # the command itself has a terminal of its own, and goes on
    os.killpg(process.pid, signal.SIGCONT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert shop.counts() == {"done": 4}
    assert starts(shop) == [f"start {x} 1" for x in (1, 2, 3, 4)]


# -- a supervisor ------------------------------------------------------------------------------------------------------


def test_a_supervisor_that_is_stopped_for_a_while_loses_nothing(hand: Hand) -> None:
    window = hand.run(
        "stty -opost -echo; echo up; head -c 3000000 /dev/zero | tr '\\0' y; echo; read -r line; echo $line"
    )
    wait_for(lambda: window.log)
    os.kill(window.process.pid, signal.SIGSTOP)
    wait_for(lambda: state(window.process.pid) == "T")
    held = len(window.log)
    window.type(b"word\n")
    os.kill(window.process.pid, signal.SIGTSTP)
    assert len(window.log) == held
    os.kill(window.process.pid, signal.SIGCONT)
    assert window.outcome().outcome == model.DONE
    assert window.log == b"up\n" + b"y" * 3_000_000 + b"\nword\n"


def test_a_supervisor_that_is_stopped_obeys_when_it_is_continued(hand: Hand) -> None:
    window = hand.run("echo up; sleep 100")
    wait_for(lambda: b"up" in window.log)
    os.kill(window.process.pid, signal.SIGSTOP)
    wait_for(lambda: state(window.process.pid) == "T")
    window.send("stop", why="enough")
    os.kill(window.process.pid, signal.SIGCONT)
    found = window.outcome()
    assert (found.outcome, found.reason) == (model.STOPPED, "enough")


def test_ctrl_z_at_a_supervisor_is_nothing(hand: Hand) -> None:
    window = hand.run("read -r line; echo got $line")
    os.kill(window.process.pid, signal.SIGTSTP)  # a window has no shell that could continue it
    window.type(b"word\n")
    assert window.outcome().outcome == model.DONE
    assert b"got word" in window.log


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_the_command_alone_is_a_failure_that_names_it(hand: Hand, number: signal.Signals) -> None:
    window = hand.run("ulimit -c 0; echo up; exec sleep 100")
    wait_for(lambda: b"up" in window.log and "sleep" in command(window.process.pid))
    os.kill(procs.descendants(window.process.pid)[0], number)
    found = window.outcome()
    assert (found.outcome, found.signal) == (model.FAILED, number)
    assert found.reason == f"killed by {number.name}: up"


def command(supervisor: int) -> str:
    return " ".join(Path(f"/proc/{pid}/comm").read_text() for pid in procs.descendants(supervisor))


@pytest.mark.parametrize("way", ["typed", "sent"])
def test_ctrl_z_does_not_stop_a_command(hand: Hand, way: str) -> None:
    window = hand.run("stty -echo; echo up; read -r line; echo got $line")
    wait_for(lambda: b"up" in window.log)
    if way == "typed":
        window.type(b"\x1a")
    else:
        for pid in procs.descendants(window.process.pid):
            os.kill(pid, signal.SIGTSTP)
    window.type(b"word\n")
    assert window.outcome().outcome == model.DONE
    assert b"got word" in window.log


def test_a_command_that_is_stopped_and_continued_goes_on_and_its_timeout_counts(hand: Hand) -> None:
    window = hand.run("echo up; read -r line; echo got $line")
    wait_for(lambda: b"up" in window.log)
    shell = procs.descendants(window.process.pid)[0]
    os.kill(shell, signal.SIGSTOP)
    wait_for(lambda: state(shell) == "T")
    window.type(b"word\n")
    os.kill(shell, signal.SIGCONT)
    assert window.outcome().outcome == model.DONE
    window = hand.run("echo up; kill -STOP $$; sleep 100", number=2, timeout=0.5)
    found = window.outcome()
    assert (found.outcome, found.signal) == (model.TIMEOUT, signal.SIGTERM)
