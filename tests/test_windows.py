"""Sweeps in a real tmux, as a person meets them: windows, what they show, closing them, the user's own settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweeper import errors, model, procs
from sweeper.cli import looking
from sweeper.lease import Waiter
from sweeper.model import GpuRequest
from sweeper.scheduler.engines import KEPT
from tests.conftest import Workshop, wait_for

if TYPE_CHECKING:
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin"]
UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"
WAITING = f"command: 'echo hello {{x}}; {UNTIL_GO}'\ngrid: {{x: [1, 2, 3, 4]}}\n"


def windows(shop: Workshop) -> dict[str, str]:
    """The sweep's windows: names and ids."""
    lines = shop.tmux("list-windows", "-t", "=sweep-s:", "-F", "#{window_name}\t#{window_id}").splitlines()
    return dict(line.split("\t") for line in lines)


def shown(shop: Workshop, name: str) -> str:
    found = windows(shop).get(name)
    return "" if found is None else shop.tmux("capture-pane", "-p", "-t", found)


def go(shop: Workshop) -> None:
    (shop.folder / "go").touch()


def test_each_run_has_a_window_with_its_output_and_its_parameters_as_name(shop: Workshop) -> None:
    shop.launch(WAITING, 2)
    wait_for(lambda: "hello 1" in shown(shop, "1,x=1") and "hello 2" in shown(shop, "2,x=2"), what=str(windows(shop)))
    assert shop.tmux("list-sessions", "-F", "#{session_name}").split() == ["sweep-s"]
    assert "sweep" in windows(shop)
    go(shop)
    assert shop.finish() == {"done": 4}
    wait_for(lambda: not shop.tmux("list-sessions"), what="the session's end when all went well")


def told_of_holder(shop: Workshop, run: str) -> bool:
    return "held by" in shown(shop, run)


def test_the_window_of_a_run_that_waits_has_its_name_and_is_found(shop: Workshop, machine: StandIn) -> None:
    waiter = Waiter(GpuRequest(count=None), {"command": "python train.py"})
    lease = waiter.try_acquire()
    assert lease is not None
    shop.launch(f"{WAITING}gpus: 1", 2)
    for run in ("1,x=1", "2,x=2"):
        wait_for(partial(told_of_holder, shop, run), what=str(windows(shop)))
        text = " ".join(shown(shop, run).split())
        assert text.startswith(f"sweep: run {run[0]} waits for GPU 0, held by ")
        assert f": python train.py (pid {os.getpid()}, since " in text
    with pytest.raises(errors.InputError, match="attach needs a terminal"):  # and not: it has no window
        looking.attach("s", 2, None)
    with pytest.raises(errors.InputError, match="run 4 of s has no window"):
        looking.attach("s", 4, None)
    lease.close()
    waiter.close()
    wait_for(lambda: "hello 2" in shown(shop, "2,x=2"))
    go(shop)
    assert shop.finish() == {"done": 4}


def test_the_chain_is_one_window_that_can_be_typed_into(shop: Workshop) -> None:
    shop.launch("command: 'echo first {x}; read -r line; echo got $line'\ngrid: {x: [1, 2]}\n")
    wait_for(lambda: "first 1" in shown(shop, "sweep"))
    assert len(windows(shop)) == 1
    shop.tmux("send-keys", "-t", "=sweep-s:", "one", "Enter")
    wait_for(lambda: "first 2" in shown(shop, "sweep"))
    assert "got one" in shown(shop, "sweep")
    shop.tmux("send-keys", "-t", "=sweep-s:", "two", "Enter")
    assert shop.finish() == {"done": 2}
    assert b"got two" in shop.log(2)


def test_windows_of_failed_runs_stay_a_limited_number_of_them(shop: Workshop) -> None:
    text = f"command: 'echo number {{x}}; exit 3'\ngrid: {{x: {{range: [0, {KEPT + 3}]}}}}\n"
    assert shop.run(text, 2) == {"failed": KEPT + 3}
    wait_for(lambda: "sweep" not in windows(shop))
    kept = windows(shop)
    assert len(kept) == KEPT
    name = next(iter(kept))
    assert "exit status 3" in shown(shop, name)
    assert "number " in shown(shop, name)
    assert shop.run(parallel=2) == {"failed": KEPT + 3}, "and the next launch finds its way in that session"


def test_a_window_that_is_closed_stops_its_run_alone(shop: Workshop) -> None:
    shop.launch(WAITING, 2)
    wait_for(lambda: "hello 2" in shown(shop, "2,x=2"))
    shop.tmux("kill-window", "-t", windows(shop)["2,x=2"])
    wait_for(lambda: shop.state(2) == model.STOPPED)
    outcome = shop.outcome(2)
    assert outcome is not None
    assert outcome.reason == "its window was closed"
    go(shop)
    assert shop.finish() == {"done": 3, "stopped": 1}


@pytest.mark.parametrize("parallel", [None, 2])
def test_ctrl_s_in_every_window_holds_nothing_up(shop: Workshop, parallel: int | None) -> None:
    work = f"echo hello {{x}}; {UNTIL_GO}; head -c 300000 /dev/zero | tr '\\0' y; echo; echo end"
    shop.launch(f"command: {json.dumps(work)}\ngrid: {{x: [1, 2, 3]}}\n", parallel)
    wait_for(lambda: all(shop.state(number) == model.RUNNING for number in range(1, (parallel or 1) + 1)))
    panes = shop.tmux("list-panes", "-s", "-t", "=sweep-s:", "-F", "#{pane_id}").split()
    assert len(panes) >= (parallel or 0) + 1
    for pane in panes:
        shop.tmux("send-keys", "-t", pane, "C-s")
    go(shop)
    assert shop.finish() == {"done": 3}
    for number in (1, 2, 3):
        text = shop.log(number).replace(b"^S", b"")  # where the terminal shows it
        assert text == b"hello %d\r\n" % number + b"y" * 300_000 + b"\r\nend\r\n"


@pytest.mark.parametrize("parallel", [None, 2])
@pytest.mark.parametrize("way", ["kill-session", "kill-server", "server killed"])
def test_a_session_that_is_closed_stops_the_sweep_for_good(shop: Workshop, parallel: int | None, way: str) -> None:
    shop.launch(WAITING, parallel)
    wait_for(lambda: len(shop.ask(lambda store: store.records([model.RUNNING]))) == (parallel or 1))
    if way == "kill-session":
        shop.tmux("kill-session", "-t", "=sweep-s")
    elif way == "kill-server":
        shop.tmux("kill-server")
    else:
        os.kill(int(shop.tmux("display-message", "-p", "#{pid}")), signal.SIGKILL)
    found = shop.finish()
    assert found == {"stopped": parallel or 1, "queued": 4 - (parallel or 1)}, shop.tell()
    wish = shop.ask(lambda store: store.wish())
    assert (wish.want, wish.why) == ("stop", "its tmux session was closed")
    wait_for(lambda: not shop.tmux("list-sessions"), what="the session's end")
    go(shop)
    assert shop.run(parallel=parallel) == {"done": 4}


def test_ctrl_c_twice_stops_a_chain_and_once_only_its_run(shop: Workshop) -> None:
    # exec: a bash that waits for a command which just ended well takes no Ctrl-C for its own
    shop.launch("command: 'echo hello {x}; exec sleep 1000'\ngrid: {x: [1, 2, 3, 4]}\n")
    for number in (1, 2):
        wait_for(lambda: f"hello {number}" in shown(shop, "sweep"))  # noqa: B023
        shop.tmux("send-keys", "-t", "=sweep-s:", "C-c")
        wait_for(lambda: shop.state(number) == model.STOPPED)  # noqa: B023
        time.sleep(1.6)  # what is meant here is the pause: the next Ctrl-C is not a second one
    wait_for(lambda: "hello 3" in shown(shop, "sweep"))
    shop.tmux("send-keys", "-t", "=sweep-s:", "C-c", "C-c")
    assert shop.finish()["queued"] >= 1
    assert shop.ask(lambda store: store.wish()).why == "Ctrl-C, twice"


HARMLESS = {
    "ends without clients": "set -g destroy-unattached on\nset -g remain-on-exit on\nset -g exit-empty off",
    "shell": "set -g default-shell /bin/false\nset -g default-command 'exit 3'\nset -g default-terminal no-such-kind",
    "names": "set -g automatic-rename on\nset -g allow-rename on\nset -g base-index 7\nset -g renumber-windows on",
    "renamed at once": "set-hook -g after-new-session 'rename-session mine'",
    "renamed soon": "set-hook -g session-created 'rename-session mine'\nset-hook -g window-linked 'rename-window mine'",
    "windows closed": "set-hook -g after-new-window kill-window",
    "windows split": "set-hook -g after-new-window split-window",
    "panes respawned": "set -g remain-on-exit on\nset-hook -g pane-died respawn-pane",
    "mistakes": "no-such-command\nset -g no-such-option on",
}


@pytest.mark.parametrize("parallel", [None, 2])
@pytest.mark.parametrize("conf", HARMLESS.values(), ids=HARMLESS)
def test_the_users_tmux_settings_do_no_harm(shop: Workshop, conf: str, parallel: int | None) -> None:
    (shop.folder / "home" / ".tmux.conf").write_text(f"{conf}\n")
    text = "command: 'echo {x}; [ {x} != 2 ]'\ngrid: {x: [1, 2, 3]}\n"
    assert shop.run(text, parallel) == {"done": 2, "failed": 1}
    left = ["2,x=2 1"] if parallel else []
    panes = ("list-panes", "-a", "-F", "#{window_name} #{pane_dead}")
    wait_for(
        lambda: shop.tmux(*panes).splitlines() == left, what="the failed run's window alone, in which nothing lives"
    )


@pytest.mark.parametrize(
    "conf",
    [
        "set -g exit-unattached on",
        "set-hook -g window-linked kill-window",
        "set-hook -g session-created kill-session",
        "set-hook -g after-new-session kill-session",
    ],
)
def test_settings_that_leave_no_session_are_named(shop: Workshop, conf: str) -> None:
    (shop.folder / "home" / ".tmux.conf").write_text(f"{conf}\n")
    named = conf.removeprefix("set-hook -g ").removeprefix("set -g ").replace(" kill", r"\[0\] kill")
    with pytest.raises(errors.SweepError, match=rf"tmux\.conf: {named}\n.*--serial --here"):
        shop.launch("command: 'echo {x}'\ngrid: {x: [1, 2, 3]}\n", 2)
    wish = shop.ask(lambda store: store.wish())
    assert wish.want == "stop"
    assert not shop.alive()


def test_a_terminal_of_a_kind_that_nobody_knows_here_is_no_obstacle(shop: Workshop) -> None:
    """tmux refuses every command in such a one, as they come with the terminal of a laptop (xterm-kitty)."""
    shop.plan("command: 'true'\ngrid: {x: [1, 2]}\n", 2)
    master, slave = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sweeper", str(shop.file), "--parallel", "2", "--detach"],
            env={**os.environ, "TERM": "no-such-kind", "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=slave,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 0, done.stderr
    assert shop.finish() == {"done": 2}


def test_a_name_that_is_taken_gets_a_suffix_and_nothing_of_it_is_touched(shop: Workshop) -> None:
    shop.tmux("new-session", "-d", "-s", "sweep-s", "sleep 1000")
    launched = shop.launch(WAITING, 1)
    assert launched.session == "sweep-s-2"
    go(shop)
    assert shop.finish() == {"done": 4}
    assert shop.tmux("list-sessions", "-F", "#{session_name}").split() == ["sweep-s"]


def test_odd_names_stay_names(shop: Workshop) -> None:
    values = ["#(touch owned)", "$(touch owned)", "a;b", "x;", "#{pid}", "a:b.c", "\\;", "-d", "é\n"]
    text = f"name: n=a-b\ncommand: '{UNTIL_GO}; : {{x}}'\ngrid: {{x: {values!r}}}\n"
    shop.sweep = type(shop.sweep)(shop.sweep.path.with_name("n=a-b"))
    shop.launch(text.replace("'é\\n'", '"é\\n"').replace("'\\\\;'", '"\\\\;"'), len(values))
    wait_for(lambda: len(shop.ask(lambda store: store.records([model.RUNNING]))) == len(values))
    go(shop)
    assert shop.finish() == {"done": len(values)}
    assert not list(shop.folder.rglob("owned"))


def test_a_standby_window_that_is_closed_is_replaced(shop: Workshop) -> None:
    shop.launch(WAITING, 1)
    wait_for(lambda: "hello 1" in shown(shop, "1,x=1"))
    first = wait_for(lambda: windows(shop).get("standby"))
    shop.tmux("kill-window", "-t", first)
    go(shop)
    assert shop.finish() == {"done": 4}


def test_a_run_that_stops_its_window_from_being_read_is_not_held_up(shop: Workshop) -> None:
    text = "command: 'echo ready; sleep 0.1; head -c 3000000 /dev/zero | tr \"\\\\0\" y; : {x}'\ngrid: {x: [1]}\n"
    shop.launch(text, 1)
    wait_for(lambda: shop.log(1))
    for name, window in windows(shop).items():
        if name.startswith("1,"):
            shop.tmux("copy-mode", "-t", window)
    assert shop.finish() == {"done": 1}
    assert len(shop.log(1)) == 3_000_007


def test_no_tmux_is_an_error_that_says_what_to_do(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = shop.folder / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(errors.SweepError, match=r"(?s)apt install tmux.*--serial --here"):
        shop.launch(WAITING, 1)
    assert not shop.sweep.db.exists()


def test_nothing_runs_on_when_all_is_over(shop: Workshop) -> None:
    assert shop.run("command: 'sleep 0.05; : {x}'\ngrid: {x: {range: [0, 6]}}\n", 3) == {"done": 6}
    wait_for(lambda: not [pid for pid in procs.pids() if names(pid, shop.folder)])


def names(pid: int, folder: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"boot.py" in words and os.fsencode(folder) in words and procs.start_ticks(pid) is not None
