"""What a person sees and types in a real terminal, and that leaving it changes nothing."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeper
from sweeper import procs
from tests.conftest import Workshop, wait_for

ROOT = Path(sweeper.__file__).parent.parent
# Exit status 256 is 0 to a shell.
SLOW = (
    "command: 'echo epoch 1 loss 0.{x}; echo {x} >>tally; while ! test -e end; do sleep 0.05; done; exit {x}'\n"
    "grid: {x: [0, 3, 256]}\ngpus: 0\n"
)


class Terminal:
    """A terminal of 100 columns with a shell in it, drawn by a tmux server that sweep knows nothing of."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.folder = shop.folder
        command = self.folder / "bin" / "sweep"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-m", "sweeper"])} "$@"\n')
        command.chmod(0o755)
        variables = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PS1": "$ "}
        given = [f"{name}={value}" for name, value in variables.items()]
        shell = ["env", "-u", "TMUX", "-u", "TMUX_PANE", *given, "bash", "--norc", "--noprofile"]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "24", *shell)

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", "outer", *words], capture_output=True, text=True, cwd=self.folder, check=True
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def give(self, line: str) -> None:
        """Type a command on a cleared screen."""
        self.type("-l", f"clear; {line}")
        self.type("Enter")

    @property
    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait(self, *texts: str, gone: str = "") -> str:
        """The screen once all of these stand on it, and ``gone``, which the command before has left there, no more."""
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.screen
            return all(text in seen for text in texts) and not (gone and gone in seen)

        wait_for(there, what=f"{texts} on\n{self.screen}")
        return seen

    def status(self, line: str) -> str:
        """Give a command, wait for its end, and give its exit status."""
        self.give(f"{line}; echo status=$?")
        wait_for(lambda: "status=" in self.screen.replace("echo status=", ""), what=self.screen)
        return self.screen.replace("echo status=", "").partition("status=")[2].split()[0]

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def terminal(shop: Workshop) -> Iterator[Terminal]:
    made = Terminal(shop)
    made.shop.file.write_text(SLOW)
    try:
        made.wait("$")
        yield made
    finally:
        (shop.folder / "end").touch()
        subprocess.run(["tmux", "-L", "outer", "kill-server"], capture_output=True, check=False)


def begun(terminal: Terminal, runs: int = 2) -> None:
    wait_for(lambda: len(terminal.shop.lines()) == runs, what=f"{runs} runs begun")


def windows(terminal: Terminal) -> list[str]:
    return terminal.shop.tmux("list-windows", "-t", "=sweep-s", "-F", "#{window_name}").split()


def test_the_live_table_and_its_end(terminal: Terminal) -> None:
    terminal.give("sweep s.yaml --parallel 2; echo status=$?")
    screen = terminal.wait("0 of 3 done", "2 running", "1 queued", "loss 0.3", "Ctrl-C leaves it running")
    assert "s: 3 runs (3 x), 2 at a time, in tmux session sweep-s" in screen
    assert "━" in screen
    assert "x=3" in screen
    (terminal.folder / "end").touch()
    screen = terminal.wait("status=1", "best:")
    assert "Ctrl-C leaves it running" not in screen  # the table has gone, what came out has stayed
    assert "2 done, 1 failed, 0 left of 3" in screen


def test_ctrl_c_detaches_and_changes_nothing(terminal: Terminal) -> None:
    terminal.give("sweep s.yaml --parallel 2; echo status=$?")
    terminal.wait("2 running", "Ctrl-C leaves it running")
    terminal.type("C-c")
    terminal.wait("s goes on. sweep status s · sweep attach s · sweep stop s", "status=0")
    assert terminal.shop.alive()
    terminal.give("sweep status")
    terminal.wait("2 running", "x=3", "loss 0.3")
    (terminal.folder / "end").touch()
    assert terminal.shop.finish() == {"done": 2, "failed": 1}


def cursor_is_there(terminal: Terminal) -> bool:
    return terminal.tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"


@pytest.mark.parametrize("way", ["key", "TERM", "HUP"])
def test_whoever_ends_the_live_table_has_his_cursor_again(terminal: Terminal, way: str) -> None:
    terminal.give("ulimit -c 0; sweep s.yaml --parallel 2; echo status=$?")
    terminal.wait("2 running", "Ctrl-C leaves it running")
    assert not cursor_is_there(terminal)
    if way == "key":
        terminal.type("C-\\")
    else:
        shell = int(terminal.tmux("display-message", "-p", "#{pane_pid}"))
        (command,) = procs.descendants(shell)
        os.kill(command, getattr(signal, f"SIG{way}"))
    terminal.wait("\nstatus=")
    assert cursor_is_there(terminal)
    assert terminal.shop.alive()


def test_ctrl_z_gives_the_terminal_back_and_fg_shows_the_table_below(terminal: Terminal) -> None:
    terminal.give("sweep s.yaml --parallel 2; echo status=$?")
    terminal.wait("2 running", "Ctrl-C leaves it running")
    terminal.type("C-z")
    terminal.wait("Stopped")
    assert cursor_is_there(terminal)
    terminal.type("-l", "clear; echo these $((6 * 7)) words; fg")
    terminal.type("Enter")
    terminal.wait("these 42 words", "2 running", "Ctrl-C leaves it running")
    assert not cursor_is_there(terminal)
    (terminal.folder / "end").touch()
    screen = terminal.wait("best:")
    assert "these 42 words" in screen
    assert "Ctrl-C leaves it running" not in screen
    assert cursor_is_there(terminal)


def test_ctrl_s_at_the_live_table_holds_nothing_up(terminal: Terminal) -> None:
    terminal.give("sweep s.yaml --parallel 2; echo status=$?")
    terminal.wait("2 running", "Ctrl-C leaves it running")
    terminal.type("C-s")
    (terminal.folder / "end").touch()
    assert terminal.shop.finish() == {"done": 2, "failed": 1}
    assert "2 running" in terminal.screen, "it stands still"
    terminal.type("C-q")
    terminal.wait("best:", "status=1")


def test_a_terminal_that_is_closed_changes_nothing(terminal: Terminal) -> None:
    terminal.give("sweep s.yaml --parallel 2")
    terminal.wait("2 running", "Ctrl-C leaves it running")
    terminal.close()
    begun(terminal)
    assert terminal.shop.counts() == {"running": 2, "queued": 1}
    (terminal.folder / "end").touch()
    assert terminal.shop.finish() == {"done": 2, "failed": 1}
    assert len(terminal.shop.lines()) == 3


def test_attach_and_the_windows_of_runs(terminal: Terminal) -> None:
    assert terminal.status("sweep s.yaml --parallel 2 --detach") == "0"
    begun(terminal)
    wait_for(lambda: {"1,x=0", "2,x=3"} <= set(windows(terminal)), what="the runs' windows")
    terminal.give("sweep attach s 2; echo status=$?")
    terminal.wait("epoch 1 loss 0.3", "[sweep-s]")
    terminal.shop.tmux("detach-client", "-s", "=sweep-s")
    terminal.wait("detached (from session sweep-s)", "status=0")
    (terminal.folder / "end").touch()
    assert terminal.shop.finish() == {"done": 2, "failed": 1}
    # Those of runs that ended well have closed; the failed one's stays, with what it printed and its exit status.
    wait_for(lambda: windows(terminal) == ["2,x=3"], what=f"one window; {windows(terminal)}")
    terminal.give("sweep attach s 2")
    terminal.wait("epoch 1 loss 0.3", "failed: exit status 3", "its log is", "[sweep-s]")
    terminal.shop.tmux("detach-client", "-s", "=sweep-s")
    terminal.wait("detached (from session sweep-s)")
    assert terminal.status("sweep attach s 1") == "2"
    assert "run 1 of s has no window, it is done" in terminal.screen


def test_attach_from_within_tmux_switches_to_the_session(terminal: Terminal) -> None:
    assert terminal.status("sweep s.yaml --parallel 2 --detach") == "0"
    begun(terminal)
    terminal.give("tmux -f /dev/null new-session -s mine 'PS1=\"in \" bash --norc'")
    terminal.wait("[mine]")
    terminal.type("-l", "sweep attach s 2")
    terminal.type("Enter")
    terminal.wait("epoch 1 loss 0.3", "[sweep-s]")


def test_logs_followed_and_left_with_ctrl_c(terminal: Terminal) -> None:
    assert terminal.status("sweep s.yaml --parallel 2 --detach") == "0"
    begun(terminal)
    terminal.give("sweep logs 2 --follow; echo status=$?")
    terminal.wait("epoch 1 loss 0.3")
    terminal.type("C-c")
    screen = terminal.wait("status=130")
    assert "Traceback" not in screen
    assert terminal.shop.counts() == {"running": 2, "queued": 1}


def test_here_ctrl_c_ends_a_run_and_twice_the_chain(terminal: Terminal) -> None:
    terminal.give("stty -a >before; sweep s.yaml --serial --here; echo status=$?; stty -a >after")
    begun(terminal, 1)
    terminal.wait("loss 0.0")
    terminal.type("C-c")
    begun(terminal, 2)  # the chain goes on
    terminal.wait("loss 0.3")
    terminal.type("C-c")
    terminal.wait("once more now stops the sweep")
    terminal.type("C-c")
    terminal.wait("status=1")
    terminal.shop.finish()
    assert len(terminal.shop.lines()) < 4
    assert "stopped" in terminal.shop.tell()
    wait_for(lambda: (terminal.folder / "after").exists() and (terminal.folder / "after").read_text())
    assert (terminal.folder / "after").read_text() == (terminal.folder / "before").read_text()


def test_rm_asks(terminal: Terminal) -> None:
    (terminal.folder / "end").touch()
    assert terminal.status("sweep s.yaml --serial --here") == "1"
    terminal.give("sweep rm s; echo status=$?")
    terminal.wait("Delete", "[y/N]")
    terminal.type("Enter")
    terminal.wait("status=2")
    assert terminal.shop.sweep.path.is_dir()
    terminal.give("sweep rm s; echo status=$?")
    terminal.wait("[y/N]", gone="status=2")  # a key typed before the question stands is thrown away
    terminal.type("-l", "y")
    terminal.type("Enter")
    terminal.wait("is deleted", "status=0")
    assert not terminal.shop.sweep.path.exists()


def test_a_narrow_and_a_dumb_terminal(terminal: Terminal) -> None:
    terminal.tmux("resize-window", "-x", "40", "-y", "12")
    terminal.give("sweep s.yaml --parallel 2")
    terminal.wait("0 of 3 done", "running", "Ctrl-C")
    terminal.type("C-c")
    terminal.wait("goes on")
    terminal.tmux("resize-window", "-x", "100", "-y", "24")
    terminal.give("TERM=dumb sweep s.yaml --parallel 2")
    terminal.wait("0 of 3 done · 2 running · 1 queued")
    (terminal.folder / "end").touch()
    screen = terminal.wait("run 2 failed", "best:")
    assert "━━━━━╸" not in screen
