"""The commands as a person gives them: real processes, real sweeps, a tmux server of their own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper import folders, index, paths
from sweeper.command import syntax
from sweeper.gather import sweep_data
from sweeper.results import collect
from sweeper.store import Store
from tests.conftest import ROOT, SWEEP, Said, Workshop, say, wait_for

QUICK = "command: echo loss=0.{x}\ngrid: {x: [1, 2, 3]}\ngpus: 0\n"
# Each run goes on until there is a file called end.
SLOW = (
    "command: 'echo on {x}; echo {x} >>tally; while ! test -e end; do sleep 0.05; done'\n"
    "grid: {x: [1, 2, 3]}\ngpus: 0\n"
)


class Shell:
    """A person's shell in a folder: no terminal, nothing on standard input."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.folder = shop.folder
        self.env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.started: list[subprocess.Popen[str]] = []

    def write(self, text: str, name: str = "s.yaml") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def sweep(self, *typed: str, check: int | None = None, **variables: str) -> Said:
        return say(*typed, check=check, cwd=self.folder, **variables)

    def bash(self, line: str) -> Said:
        line = line.replace("sweep ", shlex.join(SWEEP) + " ")
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, cwd=self.folder, env=self.env, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *typed: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        made = subprocess.Popen([*SWEEP, *typed], cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)
        self.started.append(made)
        return made

    def slow(self, *flags: str) -> None:
        """A sweep of three runs, two at a time, the first two of which are running."""
        self.write(SLOW)
        self.sweep("s.yaml", "--parallel", "2", "--detach", *flags, check=0)
        wait_for(lambda: len(self.shop.lines()) == 2 and self.shop.counts().get("running") == 2, what="two runs")

    def end(self) -> None:
        (self.folder / "end").touch()
        self.shop.finish()


@pytest.fixture
def shell(shop: Workshop) -> Iterator[Shell]:
    made = Shell(shop)
    yield made
    (shop.folder / "end").touch()
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


# -- from the first command to the last ----------------------------------------------------------------------------


def test_a_sweep_from_launch_to_removal(shell: Shell) -> None:
    shell.write(QUICK)
    said = shell.sweep("s.yaml", "--parallel", "2", check=0)
    assert said.out.startswith("s: 3 runs (3 x), 2 at a time, in tmux session sweep-s\n")
    assert "3 of 3 done" in said.out
    assert "best:" in said.out
    assert "\x1b" not in said.out
    said = shell.sweep("s.yaml", "--serial", check=0)
    assert "3 done already" in said.out
    assert "finished" in shell.sweep("status", check=0).out
    assert "3 done" in shell.sweep("ls", check=0).out
    assert shell.sweep("logs", "2", check=0).out == "loss=0.2\n"
    assert shell.sweep("logs", "s", "2", "--raw", check=0).out == "loss=0.2\n"
    assert shell.sweep("report", "--format", "csv", check=0).out.count("\n") == 4
    assert shell.sweep("resume", check=0).out.startswith("s has nothing left to do")
    assert "every run that ended is done" in shell.sweep("retry", check=0).out
    said = shell.sweep("retry", "s", "2", check=0)
    assert said.out.startswith("s: 1 run queued again")
    shell.shop.finish()
    assert len(list((shell.shop.sweep.path / "0002-x=2").glob("outcome-*.json"))) == 2
    assert "no terminal" in shell.sweep("rm", check=2).err
    assert "is deleted" in shell.sweep("rm", "s", "--yes", check=0).out
    assert not shell.shop.sweep.path.exists()
    assert list((shell.folder / "runs").iterdir()) == []
    assert "no sweep was started yet" in shell.sweep("status", check=2).err


def test_a_launch_without_a_number_keeps_the_last_one(shell: Shell) -> None:
    def launched(*flags: str) -> str:
        return shell.sweep("s.yaml", *flags, check=0).out.splitlines()[0]

    shell.write(QUICK)
    assert "one after another" in launched(), "nobody has said a number yet, and there is no GPU"
    assert ", 3 at a time" in launched("--parallel", "3")
    assert ", 3 at a time" in launched()
    assert "one after another, in this terminal" in launched("--serial", "--here"), "which says where, for once"
    assert ", 3 at a time" in launched()
    assert ", 3 at a time" in launched("--fresh")
    assert "one after another" in launched("--serial")
    assert "one after another, in tmux" in launched()


def test_what_an_older_version_was_launched_with_is_kept(shop: Workshop) -> None:
    shop.run(QUICK, 2)
    wish = shop.ask(Store.wish)
    older = {name: value for name, value in wish.options.items() if name != "asked"}
    shop.ask(lambda store: store.set_wish(replace(wish, options=older)))
    assert shop.launch(serial=False).plan.parallel == 2
    shop.finish()


def test_a_failed_run_makes_exit_status_one(shell: Shell) -> None:
    shell.write("command: 'while ! test -e end; do sleep 0.02; done; exit {x}'\ngrid: {x: [0, 3]}\ngpus: 0\n")
    end = shell.folder / "end"
    end.touch()
    said = shell.sweep("s.yaml", "--serial", "--here")
    assert said.code == 1
    said = shell.sweep("status", check=0)
    assert "run 2 failed: exit status 3" in said.out
    assert "sweep logs s 2" in said.out
    end.unlink()
    process = shell.start("s.yaml", "--serial")
    assert process.stdout is not None
    while "1 running" not in (line := process.stdout.readline()):  # what ends before the first look is no news
        assert line, "it ended"
    end.touch()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.count("run 2 failed") == 1


def test_a_dry_run_changes_nothing_and_is_ready_for_a_shell(shell: Shell) -> None:
    shell.write("command: printf '%s\\n'\nargs: '{name}={value}'\ngrid: {x: [\"a'; touch x #\", é]}\ngpus: 0\n")
    said = shell.sweep("s.yaml", "--dry-run", check=0)
    assert said.err == "2 runs (2 x)\n"
    ran = subprocess.run(["bash", "-c", said.out], capture_output=True, text=True, cwd=shell.folder, check=True)
    assert ran.stdout == "x=a'; touch x #\nx=é\n"
    assert not (shell.folder / "runs").exists()
    assert not (shell.folder / "x").exists()


def test_a_dry_run_says_what_a_launch_would_do_and_does_none_of_it(shell: Shell) -> None:
    text = "command: test {x} != 3\ngrid: {x: [1, 2, 3, 4]}\ngpus: 0\n"
    shell.write(text)
    shell.sweep("s.yaml", check=1)
    before = {file: file.stat().st_mtime_ns for file in shell.shop.sweep.path.rglob("*")}
    shell.write(text.replace("[1, 2, 3, 4]", "[2, 3, 5, 6]"))
    said = shell.sweep("s.yaml", "--dry-run", check=0)
    assert said.out.count("test ") == 4
    assert f"of the sweep in {shell.shop.sweep.path}: 1 kept, 1 queued again, 2 new, 2 gone\n" in said.err
    assert "--fresh would move" in shell.sweep("s.yaml", "--dry-run", "--fresh", check=0).err
    shell.write(text.replace("!=", "-ne"))
    said = shell.sweep("s.yaml", "--dry-run", check=0)
    assert "note: it would not be launched: the command was edited, and 3 finished runs" in said.err
    assert "would move" in shell.sweep("s.yaml", "--dry-run", "--fresh", check=0).err
    assert {file: file.stat().st_mtime_ns for file in shell.shop.sweep.path.rglob("*")} == before
    assert shell.shop.counts() == {"done": 3, "failed": 1}
    shell.write(text.replace("[1, 2, 3, 4]", "[2, 3, 5, 6]"))
    assert "1 done already, 1 queued again, 2 new, 2 gone" in shell.sweep("s.yaml").out


def test_a_dry_run_looks_at_a_sweep_that_runs(shell: Shell) -> None:
    shell.slow()
    shell.write(SLOW.replace("[1, 2, 3]", "[1, 4]"))
    assert ": 1 new, 2 gone\n" in shell.sweep("s.yaml", "--dry-run", check=0).err
    assert shell.shop.counts() == {"running": 2, "queued": 1}
    shell.end()


def test_fresh_says_where_the_old_results_are(shell: Shell) -> None:
    shell.write(QUICK)
    assert "of before" not in shell.sweep("s.yaml", "--fresh", check=0).out, "there were none"
    for number in (1, 2):
        said = shell.sweep("s.yaml", "--fresh", check=0).out
        assert f"\n  the results of before are in {shell.shop.sweep.path}.old-{number}\n" in said
    assert "3 done" in shell.sweep("status", "s.old-2", check=0).out


def test_rm_closes_the_session_that_failed_runs_have_left(shell: Shell) -> None:
    def sessions() -> list[str]:
        return shell.shop.tmux("list-sessions", "-F", "#{session_name}").split()

    shell.shop.tmux("new-session", "-d", "-s", "mine", "sleep 600")
    shell.write("command: exit {x}\ngrid: {x: [0, 3]}\ngpus: 0\n")
    shell.sweep("s.yaml", "--parallel", "2", check=1)
    assert sorted(sessions()) == ["mine", "sweep-s"], "the window of the failed run stays"
    assert "its tmux session sweep-s is closed\n" in shell.sweep("rm", "s", "--yes", check=0).out
    assert sessions() == ["mine"]
    shell.sweep("s.yaml", "--parallel", "2", check=1)
    shell.shop.tmux("new-window", "-d", "-t", "=sweep-s:", "sleep 600")
    assert "tmux session" not in shell.sweep("rm", "s", "--yes", check=0).out
    assert sorted(sessions()) == ["mine", "sweep-s"], "somebody works in it"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("python train.py", "train.py"),
        ("OMP_NUM_THREADS=1 /usr/bin/python3.11 -u src/train.py --x 1 | tee log", "src/train.py"),
        ("bash go.sh", "go.sh"),
        ("./go.sh; true", "./go.sh"),
        ("python there.py", ""),
        ("python -m train", ""),
        ("python -c 'x.py'", ""),
        ("cd elsewhere && python train.py", ""),
        ("python $HOME/train.py", ""),
        ("python 'my train.py'", ""),
        ("python {run}.py", ""),
        ("python ~/train.py", ""),
        ("bash ls", ""),
        ("echo ./go.sh", ""),
    ],
)
def test_a_script_that_is_not_there_is_told_of(shell: Shell, text: str, missing: str) -> None:
    (shell.folder / "there.py").touch()
    told = f"note: {missing} is not in {shell.folder}, where the runs start (workdir: says otherwise)\n"
    shell.write(f"command: {json.dumps(text)}\ngpus: 0\n")
    said = shell.sweep("s.yaml", "--dry-run", check=0)
    assert said.err == f"1 run (1)\n{told if missing else ''}"
    shell.write(f"command: {json.dumps(text)}\ngpus: 0\nbefore: cd elsewhere\n")
    assert "note:" not in shell.sweep("s.yaml", "--dry-run", check=0).err


def test_a_script_is_looked_for_in_the_workdir_and_launched_all_the_same(shell: Shell) -> None:
    (shell.folder / "there.py").touch()
    (shell.folder / "sub").mkdir()
    shell.write("command: python there.py\ngpus: 0\nworkdir: sub\n")
    said = shell.sweep("s.yaml", "--serial", check=1)
    assert f"  note: there.py is not in {shell.folder / 'sub'}, where the runs start (s.yaml:3: workdir)\n" in said.out


def test_what_is_often_a_mistake_in_the_file_is_told_of_and_done(shell: Shell) -> None:
    shell.write(
        "command: echo\ngpus: 0\ngrid:\n  lr: 1e-2, 1e-3\n  hidden: [8 16 .5e3, '8 16', 1]\n  depth:\n  words: a, b\n"
        "  none: [null, ~]\nexclude:\n  - {hidden: 2}\n  - hidden == 1\n"
    )
    said = shell.sweep("s.yaml", "--dry-run", check=0)
    assert [line for line in said.err.splitlines() if line.startswith("note:")] == [
        "note: s.yaml:4: lr is one value, '1e-2, 1e-3': write [1e-2, 1e-3] for two, or quotes if one is meant",
        "note: s.yaml:5: hidden is one value, '8 16 .5e3': write [8, 16, .5e3] for three, or quotes if one is meant",
        "note: s.yaml:6: depth has nothing after its colon, which is the value null (None)",
        "note: s.yaml:10: exclude[0] leaves out nothing: no point of the grid fits it",
        "note: 3 points stand twice in the file; each runs once",
    ]
    assert "--lr='1e-2, 1e-3' --hidden='8 16 .5e3' --depth=None" in said.out
    assert "  note: s.yaml:4: lr is one value" in shell.sweep("s.yaml", check=0).out


def test_mistakes_of_every_kind_are_told_of_at_once(shell: Shell) -> None:
    shell.write(
        "command: 'echo {lr} \"{hidden}\"'\nparalel: 2\nretries: many\ngrid: {lr: [1, 2], hidden: [8]}\n"
        "exclude:\n  - lrr > 1\n  - {hiden: 8}\n  - 7\n"
    )
    said = shell.sweep("s.yaml", check=2)
    lines = [line for line in said.err.removeprefix("sweep: ").splitlines() if not line.startswith(" ")]
    assert [line.partition(": ")[0] for line in lines] == [f"s.yaml:{number}" for number in (1, 2, 3, 6, 7, 8)]
    assert "did you mean" not in said.err
    assert "no point has a parameter 'lrr'" in said.err
    assert not (shell.folder / "runs").exists()


def test_what_follows_from_a_mistake_is_not_told_of(shell: Shell) -> None:
    for grid in ("gird: {lr: [1]}", "parameters: {lr: [1]}", "grid: {lr: []}", "grid: {lr: [1], lr: [2]}"):
        shell.write(f"command: echo {{lr}}\n{grid}\nexclude: [lr > 5]\n")
        said = shell.sweep("s.yaml", check=2)
        assert said.err.count("s.yaml:") == 1, said.err


def test_a_file_that_is_called_like_a_command(shell: Shell) -> None:
    shell.write(QUICK, "report")
    assert shell.sweep("./report", "--dry-run", check=0).out.count("echo") == 3
    assert "no sweep was started yet" in shell.sweep("report", check=2).err


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("statsu", "did you mean sweep status?"),
        ("missing.yaml", "missing.yaml: there is no such file"),
        (".", "is a folder"),
        ("s.yaml --parallel", "--parallel wants a value"),
        ("s.yaml --parallel 0", "give 1 or more"),
        ("s.yaml --parallel x", "give a whole number"),
        ("s.yaml --parallel 2 --serial", "exclude each other"),
        ("s.yaml --serial --here --parallel 2", "exclude each other"),
        ("s.yaml --here --parallel 2", "--here"),
        ("s.yaml --here --detach", "exclude each other"),
        ("s.yaml --sreial", "did you mean --serial?"),
        ("status digits", "there is no sweep called 'digits'"),
        ("logs digits 1", "there is no sweep called 'digits'"),
        ("logs", "which run's log?"),
        ("attach digits", "there is no sweep called 'digits'"),
        ("stop digits", "there is no sweep called 'digits'"),
        ("pause digits", "there is no sweep called 'digits'"),
        ("resume digits", "there is no sweep called 'digits'"),
        ("resume digits --at-boot", "--at-boot is for every sweep of yours"),
        ("resume digits --never", "--never is for every sweep of yours"),
        ("resume digits --all", "--all is for every sweep of yours"),
        ("resume --all --never", "--all and --never exclude each other"),
        ("resume --at-boot --never", "--at-boot and --never exclude each other"),
        ("status --runs-dir=", "--runs-dir is empty"),
        ("retry digits 1", "there is no sweep called 'digits'"),
        ("rm digits", "there is no sweep called 'digits'"),
        ("report digits", "there is no sweep called 'digits'"),
        ("report --top x", "give a whole number"),
        ("report --format xls", "--format xls"),
        ("resume --all digits", "leave the name out"),
        ("completion tcsh", "bash, zsh, fish"),
        ("run-one", "which command?"),
        ("help statsu", "did you mean status?"),
        ("s.yaml --runs-dir s.yaml/x", "cannot be made"),
    ],
)
def test_wrong_input_is_named_and_changes_nothing(shell: Shell, typed: str, says: str) -> None:
    shell.write(QUICK)
    before = sorted(shell.folder.rglob("*"))
    said = shell.sweep(*typed.split(), check=2)
    assert says in said.err
    assert said.err.startswith("sweep: ")
    assert said.out == ""
    assert [path for path in sorted(shell.folder.rglob("*")) if path not in before and "state" not in str(path)] == []


# -- while it runs -------------------------------------------------------------------------------------------------


def test_what_can_be_asked_and_not_done_while_it_runs(shell: Shell) -> None:
    shell.slow()
    status = shell.sweep("status", check=0)
    assert "2 running" in status.out
    assert "tmux session sweep-s" in status.out
    for typed, says in (
        ("rm --yes", "s is running: sweep stop s first"),
        ("rm", "s is running"),  # before anything is asked
        ("s.yaml --serial", "running as 2 at a time"),
        ("s.yaml --serial --here", "without --here"),
        ("s.yaml --parallel 2 --fresh", "sweep stop s first, then --fresh"),
        ("retry s 1", "run 1 is running"),
        ("stop 77", "there is no run 77: its runs are 1 to 3"),
        ("retry 77", "there is no run 77"),
        ("logs 77", "there is no run 77 in s: its runs are 1 to 3"),
        ("logs 3", "has not begun"),
        ("attach 77", "there is no run 77"),
        ("attach 3", "has no window"),
        ("attach", "attach needs a terminal; there: tmux attach -t sweep-s"),
        ("logs 1 2", "one run at a time"),
    ):
        said = shell.sweep(*typed.split(), check=2)
        assert says in said.err, typed
    assert sorted(shell.shop.lines()) == ["1", "2"]
    assert shell.shop.counts() == {"running": 2, "queued": 1}
    shell.end()
    assert shell.shop.counts() == {"done": 3}


def test_a_long_name_is_not_said_in_full(shell: Shell) -> None:
    said = shell.sweep("a" * 5000 + ".yaml", check=2)
    assert len(said.err) < 700
    assert "aaa.yaml" in said.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "command: 'for i in 1 2; do echo $i; done'\ngrid: {x: [1, 2]}\n",
            "command: cannot be read by bash: syntax err",
        ),
        ("command: 'echo {x}; fi'\ngrid: {x: [1, 2]}\n", "command: cannot be read by bash: syntax error near"),
        ("command: echo\nbefore: 'if true; then'\ngrid: {x: [1]}\n", "before: cannot be read by bash: syntax error"),
    ],
)
def test_what_bash_cannot_read_is_refused_before_anything_is_begun(shell: Shell, text: str, says: str) -> None:
    shell.write(text)
    for typed in (["s.yaml", "--serial", "--detach"], ["s.yaml", "--dry-run"]):
        said = shell.sweep(*typed, check=2)
        assert says in said.err
        assert "s.yaml:" in said.err
    assert not (shell.folder / "runs").exists()


def test_bash_is_asked_for_no_more_than_whether_it_can_read_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.folder / "startup").write_text("touch carried-out\n")
    monkeypatch.setenv("BASH_ENV", str(shell.folder / "startup"))
    loop = "for i in 1 2; do touch $(touch carried-out); done; [[ a == !(b) ]] && : ok"
    for text in (loop, "shopt -s extglob\ncase $1 in !(a)) ;; esac", "cat <<X\n`touch carried-out`\nX", ""):
        assert syntax.complaint(text) == ""
    assert syntax.complaint("if") != ""
    assert not (shell.folder / "carried-out").exists()


def test_pause_and_resume(shell: Shell) -> None:
    shell.slow()
    assert "paused" in shell.sweep("pause", check=0).out
    assert "paused" in shell.sweep("status", check=0).out
    (shell.folder / "end").touch()
    wait_for(lambda: shell.shop.counts() == {"done": 2, "queued": 1})
    assert "goes on" in shell.sweep("resume", check=0).out
    shell.shop.finish()
    assert sorted(shell.shop.lines()) == ["1", "2", "3"]
    assert "there is nothing to pause" in shell.sweep("pause", check=2).err


def test_stop_of_runs_and_of_the_sweep(shell: Shell) -> None:
    shell.slow()
    said = shell.sweep("stop", "s", "1", "3", check=0)
    assert "ending run 1 (TERM now" in said.out
    assert "run 3 will not be started" in said.out
    wait_for(lambda: shell.shop.counts() == {"stopped": 2, "running": 1})
    assert "run 1 ended already" in shell.sweep("stop", "s", "1", check=0).out
    said = shell.sweep("stop", check=0)
    assert "ending run 2" in said.out
    assert "sweep resume s goes on" in said.out
    shell.shop.finish()
    status = shell.sweep("status", check=0)
    assert "stopped (sweep stop)" in status.out
    assert "sweep resume s goes on with the 3 that are left" in status.out
    (shell.folder / "end").touch()
    shell.sweep("resume", check=0)
    assert shell.shop.finish() == {"done": 3}


def test_stop_of_what_does_not_run_changes_nothing(shell: Shell) -> None:
    shell.write(QUICK)
    shell.sweep("s.yaml", "--serial", check=0)
    before = shell.shop.ask(lambda store: store.wish())
    said = shell.sweep("stop", check=0)
    assert said.out == "s is not running: it is finished, and nothing was changed\n"
    assert shell.shop.ask(lambda store: store.wish()) == before
    assert "finished" in shell.sweep("status", check=0).out


def test_logs_follow_a_run_from_before_its_beginning_to_its_end(shell: Shell) -> None:
    shell.slow()
    followers = [shell.start("logs", "s", number, "--follow") for number in ("1", "3")]
    assert followers[1].stderr is not None
    assert "has not begun; waiting" in followers[1].stderr.readline()
    assert followers[0].stdout is not None
    assert followers[0].stdout.readline() == "on 1\n"
    shell.end()
    for follower, text in zip(followers, ("", "on 3\n"), strict=True):
        out, _ = follower.communicate(timeout=20)
        assert (follower.returncode, out) == (0, text)


def test_interrupting_logs_leaves_the_run_alone(shell: Shell) -> None:
    shell.slow()
    follower = shell.start("logs", "s", "1", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "on 1\n"
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=20)
    assert follower.returncode == 130
    assert "Traceback" not in err
    assert shell.shop.counts() == {"running": 2, "queued": 1}


def test_the_file_edited_and_launched_again_while_it_runs(shell: Shell) -> None:
    shell.slow()
    shell.write(SLOW.replace("[1, 2, 3]", "[1, 2, 4, 5]"))
    said = shell.sweep("s.yaml", "--parallel", "3", "--detach", check=0)
    assert "4 runs (4 x), 3 at a time" in said.out
    assert "2 new, 1 gone from the file\n" in said.out, "the third had not begun"
    wait_for(lambda: len(shell.shop.lines()) == 3, what="a third at once")
    shell.end()
    assert sorted(shell.shop.lines()) == ["1", "2", "4", "5"]


def test_what_has_left_the_file_is_told_of(shell: Shell) -> None:
    shell.slow()
    shell.write(SLOW.replace("[1, 2, 3]", "[2, 4]"))
    said = shell.sweep("s.yaml", "--detach", check=0).out
    assert "  1 new, 2 gone from the file (kept on disk)\n" in said
    assert "note: run 1 still runs though gone from the file: sweep stop s 1 ends it" in said
    said = shell.sweep("s.yaml", "--detach", check=0).out
    assert "gone from the file (kept" not in said, "that was the launch before"
    assert "run 1 still runs though gone" in said
    shell.end()
    assert shell.shop.counts() == {"done": 2}
    shell.write(QUICK.replace("[1, 2, 3]", "[9]").replace("loss=0", "on"), "t.yaml")
    shell.write(SLOW.replace("[1, 2, 3]", "[4, 5]"))
    assert "1 done already, 1 new, 1 gone from the file (kept on disk)" in shell.sweep("s.yaml", check=0).out


def test_a_file_typed_in_another_folder_than_before_is_told_of(shell: Shell) -> None:
    shell.write(QUICK)
    assert "note:" not in shell.sweep("s.yaml", check=0).out
    (there := shell.folder / "there").mkdir()
    (there / "link.yaml").symlink_to("../s.yaml")
    said = say("../s.yaml", check=0, cwd=there).out
    told = f"note: this file was launched from {shell.folder} before, and lies in {shell.shop.sweep.path};"
    assert f"{told} this is a second sweep of it, and its commands run in" in said
    assert f"the folder where you are now, {there} (workdir: says otherwise)\n" in said
    assert "note:" not in say("../s.yaml", check=0, cwd=there).out, "that was told when it began"
    assert f"this file was launched from {there} before" in say("link.yaml", check=0, cwd=there).out
    assert "note:" not in shell.sweep("s.yaml", "--fresh", check=0).out
    shell.write(f"{QUICK}workdir: .\n")
    said = shell.sweep("s.yaml", "--runs-dir", "more", check=0).out
    assert "second sweep of it\n" in said, "the commands run where they did"


def test_killed_scheduler_and_another_launch_repeat_nothing(shell: Shell) -> None:
    shell.slow()
    os.kill(wait_for(shell.shop.scheduler), signal.SIGKILL)
    wait_for(lambda: not shell.shop.alive())
    assert "interrupted" in shell.sweep("status", check=0).out
    said = shell.sweep("s.yaml", "--parallel", "2", "--detach", check=0)
    assert "s: 3 runs" in said.out
    shell.end()
    assert shell.shop.counts() == {"done": 3}
    assert sorted(shell.shop.lines()) == ["1", "2", "3"]


def test_an_interrupted_sweep_can_be_stopped_for_good(shell: Shell) -> None:
    shell.slow()
    os.kill(wait_for(shell.shop.scheduler), signal.SIGKILL)
    (shell.folder / "end").touch()
    wait_for(lambda: shell.sweep("status", "--json").out.count('"done": 2'))
    assert "it is marked as stopped" in shell.sweep("stop", check=0).out
    assert "no sweep was interrupted" in shell.sweep("resume", "--all", check=0).out
    assert not shell.shop.alive()


def test_resume_all_goes_on_with_what_was_interrupted(shell: Shell) -> None:
    shell.slow()
    os.kill(wait_for(shell.shop.scheduler), signal.SIGKILL)
    wait_for(lambda: not shell.shop.alive())
    assert "resumed: s" in shell.sweep("resume", "--all", check=0).out
    shell.end()
    assert shell.shop.counts() == {"done": 3}


def test_many_launches_at_the_same_instant_are_one(shell: Shell) -> None:
    shell.write(SLOW)
    launches = [shell.start("s.yaml", "--parallel", "2", "--detach") for _ in range(4)]
    for launch in launches:
        out, err = launch.communicate(timeout=60)
        assert launch.returncode == 0, err
        assert "s: 3 runs" in out
    wait_for(lambda: len(shell.shop.lines()) == 2)
    assert shell.shop.tmux("list-sessions", "-F", "#{session_name}") == "sweep-s\n"
    shell.end()
    assert sorted(shell.shop.lines()) == ["1", "2", "3"]
    assert shell.shop.tell().count("begins") == 1


def test_stopping_while_it_starts(shell: Shell) -> None:
    shell.write(SLOW)
    launch = shell.start("s.yaml", "--parallel", "2", "--detach")
    wait_for(lambda: shell.shop.sweep.file.exists())
    said = shell.sweep("stop", "s", check=0)
    assert launch.wait(60) == 0
    launch.communicate()
    assert "Traceback" not in said.err
    shell.shop.finish()
    counts = shell.shop.counts()
    assert sum(counts.values()) == 3
    assert set(counts) <= {"stopped", "queued"}


def test_the_runs_folder_deleted_while_it_is_watched(shell: Shell) -> None:
    shell.write(SLOW)
    watcher = shell.start("s.yaml", "--parallel", "2")
    wait_for(lambda: len(shell.shop.lines()) == 2)
    shell.shop.sweep.path.rename(shell.folder / "moved")
    shutil.rmtree(shell.folder / "moved")
    _, err = watcher.communicate(timeout=30)
    assert watcher.returncode == 1
    assert "was deleted or moved while the sweep ran" in err
    assert "which was deleted or moved" in shell.sweep("status", "s", check=2).err
    (shell.folder / "end").touch()


# -- where and whose -----------------------------------------------------------------------------------------------


def test_sweeps_are_found_by_name_folder_and_file_from_anywhere(shell: Shell) -> None:
    (shell.folder / "a").mkdir()
    (shell.folder / "b").mkdir()
    shell.write(QUICK.replace("command", "name: other\ncommand"), "a/s.yaml")
    shell.sweep("a/s.yaml", "--serial", "--here", "--runs-dir", "a/runs", check=0)
    for place, name in (("b", "other"), ("a", "./runs/other"), (".", "a/s.yaml"), ("a", "s.yaml"), ("a/runs", "other")):
        done = subprocess.run(
            [*SWEEP, "status", name],
            capture_output=True,
            text=True,
            cwd=shell.folder / place,
            env=shell.env,
            check=True,
        )
        assert done.stdout.startswith("other: 3 of 3 done")
    assert "other" in shell.sweep("ls", check=0).out
    assert "did you mean other?" in shell.sweep("status", "othr", check=2).err


def copied_from_elsewhere(shell: Shell) -> Path:
    """The folder of a sweep that ran on a host called elsewhere, two of its three runs done."""
    shell.write(QUICK.replace("[1, 2, 3]", "[1, 2]"))
    shell.sweep("s.yaml", "--serial", "--here", check=0)
    copy = shell.folder / "copies" / "s"
    shutil.copytree(shell.shop.sweep.path, copy)
    shutil.rmtree(shell.shop.sweep.path)
    (copy / "owner.json").write_text(json.dumps({"host": "elsewhere", "file": "/home/ann/s.yaml"}))
    (copy / "sweep.yaml").write_text(QUICK + "maximize: loss\n")
    return copy


def test_a_folder_copied_from_another_host(shell: Shell) -> None:
    copy = copied_from_elsewhere(shell)
    said = shell.sweep("report", "copies/s", check=0)
    assert "2 done, 0 failed, 1 left of 3" in said.out
    assert "loss 0.2" in said.out  # sweep.yaml says that it is to be maximized
    assert shell.sweep("logs", "copies/s", "2", check=0).out == "loss=0.2\n"
    assert shell.sweep("logs", "copies/s", "2", "--follow", check=0).out == "loss=0.2\n"
    assert json.loads(shell.sweep("report", str(copy), "--format", "json", check=0).out)
    for command in ("status", "stop", "pause", "resume", "retry", "rm", "attach"):
        said = shell.sweep(command, "copies/s", check=2)
        assert "host elsewhere" in said.err, command
        assert f"this is {socket.gethostname()}" in said.err
    assert copy.is_dir()


def test_a_folder_without_its_queue_is_reported_all_the_same(shell: Shell) -> None:
    copy = copied_from_elsewhere(shell)
    for name in ("queue.db", "owner.json", "sweep.yaml"):
        (copy / name).unlink()
    (copy / "sweep.yaml").write_text("this: is\nno: sweep file\n")
    said = shell.sweep("report", "copies/s", check=0)
    assert "2 done" in said.out


def test_resume_all_tells_of_one_that_cannot_be_and_goes_on_with_the_others(shell: Shell) -> None:
    copy = copied_from_elsewhere(shell)
    shell.sweep("logs", "copies/s", "1", check=0)  # which notes it as used
    shell.slow()
    os.kill(wait_for(shell.shop.scheduler), signal.SIGKILL)
    wait_for(lambda: not shell.shop.alive())
    index.remember(paths.SweepDir(copy))
    said = shell.sweep("resume", "--all")
    assert "resumed: s" in said.out
    shell.end()


def test_a_session_name_that_somebody_has_taken(shell: Shell) -> None:
    subprocess.run(["tmux", "-f", "/dev/null", "new-session", "-d", "-s", "sweep-s", "sleep 1000"], check=True)
    shell.write(SLOW)
    assert "in tmux session sweep-s-2\n" in shell.sweep("s.yaml", "--serial", "--detach", check=0).out
    assert "tmux session sweep-s-2" in shell.sweep("status", check=0).out
    shell.end()
    assert "sweep-s\n" in shell.shop.tmux("list-sessions", "-F", "#{session_name}")


def test_a_session_renamed_by_its_user(shell: Shell) -> None:
    shell.slow()
    shell.shop.tmux("rename-session", "-t", "=sweep-s", "mine")
    said = shell.sweep("attach", check=2)
    assert "tmux attach -t mine" in said.err
    shell.end()
    assert shell.shop.counts() == {"done": 3}


def test_a_hostile_tmux_conf(shell: Shell) -> None:
    (shell.folder / "home" / ".tmux.conf").write_text(
        "set -g destroy-unattached on\nset -g remain-on-exit on\nset -g base-index 1\nset -g pane-base-index 1\n"
        "set -g renumber-windows on\nset -g default-shell /bin/false\nset -g default-command 'exit 3'\n"
        "set -g automatic-rename on\nset -g allow-rename on\nset -g detach-on-destroy off\nset -g history-limit 1\n"
        "set-hook -g after-new-window 'rename-window bad'\nset-hook -g window-linked 'rename-window bad'\n"
    )
    shell.write(QUICK)
    shell.sweep("s.yaml", "--parallel", "2", check=0)
    assert shell.shop.counts() == {"done": 3}
    shell.write(QUICK, "t.yaml")
    shell.sweep("t.yaml", "--serial", check=0)


# -- poor surroundings ---------------------------------------------------------------------------------------------


def test_without_tmux_it_says_how_to_go_on_and_changes_nothing(shell: Shell) -> None:
    tools = shell.folder / "tools"
    tools.mkdir()
    for tool in ("bash", "sleep", "test"):
        (tools / tool).symlink_to(shutil.which(tool) or "/bin/sh")
    shell.slow()
    shell.sweep("stop", check=0)
    shell.shop.finish()
    before = shell.shop.ask(lambda store: (store.wish(), store.counts()))
    for typed in (["s.yaml", "--serial"], ["s.yaml", "--parallel", "2"], ["resume"], ["retry"]):
        said = shell.sweep(*typed, check=1, PATH=str(tools))
        assert "apt install tmux" in said.err
        assert "--serial --here" in said.err
    assert shell.shop.ask(lambda store: (store.wish(), store.counts())) == before
    (shell.folder / "end").touch()
    shell.sweep("s.yaml", "--serial", "--here", check=0, PATH=str(tools))


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LANG": "C"},
        {"TERM": "dumb", "COLUMNS": "40"},
        {"TERM": ""},
        {"HOME": "/proc/nothing", "XDG_STATE_HOME": ""},
        {"XDG_STATE_HOME": "/proc/nothing"},
    ],
    ids=lambda variables: ",".join(f"{key}={value}" for key, value in variables.items()),
)
def test_poor_surroundings(shell: Shell, variables: dict[str, str]) -> None:
    shell.write(QUICK.replace("[1, 2, 3]", "[1, é]"))
    shell.sweep("s.yaml", "--serial", "--here", check=0, **variables)
    for typed in ("status s", "report s", "ls", "logs s 2", "s.yaml --dry-run"):
        shell.sweep(*typed.split(), check=0, **variables)


def test_closed_and_full_outputs(shell: Shell) -> None:
    shell.write("command: echo\ngrid: {x: {range: [0, 100000]}}\ngpus: 0\n")
    said = shell.bash("sweep s.yaml --dry-run | head -1; echo ${PIPESTATUS[0]}")
    assert (said.out, said.err) == ("echo --x=0\n0\n", "")
    said = shell.bash("sweep schema >/dev/full")
    assert said.code == 1
    assert "No space left" in said.err
    assert "Exception" not in said.err
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        assert shell.bash(f"sweep --version {closed}").code == 0
        assert shell.bash(f"sweep schema {closed}").err == ""


def test_a_watcher_whose_reader_leaves_goes_too(shell: Shell) -> None:
    shell.write(SLOW)
    said = shell.bash("sweep s.yaml --parallel 2 | head -1; echo ${PIPESTATUS[0]}")
    assert said.out == "s: 3 runs (3 x), 2 at a time, in tmux session sweep-s\n0\n"
    assert said.err == ""
    wait_for(lambda: len(shell.shop.lines()) == 2)
    shell.end()


def test_a_runs_folder_that_cannot_be_made(shell: Shell) -> None:
    shell.write(QUICK)
    (shell.folder / "runs").write_text("a file\n")
    said = shell.sweep("s.yaml", "--serial", "--here", check=2)
    assert f"the folder {shell.folder}/runs/s cannot be made" in said.err
    assert "--runs-dir" in said.err


# -- JSON and completion -------------------------------------------------------------------------------------------


def test_json_and_nothing_else(shell: Shell) -> None:
    shell.write("command: exit {x}\ngrid: {x: [0, 3]}\ngpus: 0\n")
    shell.sweep("s.yaml", "--serial", "--here", check=1)
    status = json.loads(shell.sweep("status", "--json", check=0).out)
    assert status["counts"] == {"done": 1, "failed": 1}
    assert status["state"] == "finished"
    assert status["not_well"][0]["number"] == 2
    assert [row["name"] for row in json.loads(shell.sweep("ls", "--json", check=0).out)] == ["s"]
    json.loads(shell.sweep("gpus", "--json", check=0).out)
    said = shell.sweep("doctor", "--json")
    assert {check["level"] for check in json.loads(said.out)} <= {"ok", "warn", "bad"}
    assert said.code in (0, 1)
    json.loads(shell.sweep("report", "--format", "json", check=0).out)


def test_bash_completes(shell: Shell) -> None:
    command = shell.folder / "bin" / "sweep"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join(SWEEP)} "$@"\n')
    command.chmod(0o755)
    shell.write(QUICK)
    (shell.folder / "sub dir").mkdir()
    shell.write(QUICK, "sub dir/my grid.yaml")
    folders_there = shell.shop.sweep.path / "0007-x=1"
    folders_there.mkdir(parents=True)
    (shell.shop.sweep.path / "sweep.yaml").touch()
    shell.env["PATH"] = f"{command.parent}:{shell.env['PATH']}"

    def completed(*words: str) -> Sequence[str]:
        typed = shlex.join(words)
        script = (
            f"source <({command} completion bash); COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _sweep\n"
            'printf "%s\\n" "${COMPREPLY[@]}"; complete -p sweep >&2'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            capture_output=True,
            text=True,
            cwd=shell.folder,
            env=shell.env,
            check=True,
        )
        assert "-F _sweep sweep" in done.stderr
        return done.stdout.split("\n")[:-1]

    assert completed("sweep", "statu") == ["status"]
    assert completed("sweep", "s.yam") == ["s.yaml"]
    assert completed("sweep", "sub dir/") == ["sub dir/my grid.yaml"]
    assert completed("sweep", "logs", "s", "") == ["7"]
    assert completed("sweep", "report", "--format", "=", "js") == ["json"]
    assert completed("sweep", "nothing-like-it") == [""]


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(shell: Shell, shell_name: str) -> None:
    if shutil.which(shell_name) is None:
        pytest.skip(f"{shell_name} is not installed")
    script = shell.sweep("completion", shell_name, check=0).out
    subprocess.run([shell_name, "-n"], input=script, text=True, check=True, capture_output=True)


def test_nothing_is_held_after_the_last_command(shell: Shell) -> None:
    shell.write(QUICK)
    shell.sweep("s.yaml", "--serial", "--here", check=0)
    assert not any(folders.is_held(lock) for lock in shell.shop.sweep.path.rglob("*lock"))


ENDS = r"""
import os, sys, time
x = int(sys.argv[1])
if x == 1:
    raise ValueError("bad shape\n  expected 3\n  got 4")
if x == 2:
    try:
        {}["gone"]
    except KeyError as error:
        error.__notes__ = ["look into the table"] if sys.version_info >= (3, 11) else []
        raise RuntimeError("no such run") from error
if x == 3:
    print("error: cannot open the data set\nbye")
    sys.exit(3)
if x == 4:
    sys.stderr.write("Traceback (most recent call last):\n  File \"a.py\"\nmylib.Broken: half\n\nhint: mend it\n")
    sys.exit(1)
if x == 5:
    print("\x1b[31mfatal:\x1b[0m it is red\rlast")
    sys.exit(1)
print("and nothing more")
sys.exit(9)
"""


def test_status_and_report_name_the_same_cause(shell: Shell) -> None:
    (shell.folder / "ends.py").write_text(ENDS)
    python = shlex.quote(sys.executable)
    shell.write(f"command: '{python} ends.py {{x}}'\ngrid: {{x: [1, 2, 3, 4, 5, 6]}}\ngpus: 0\n")
    shell.sweep("s.yaml", "--parallel", "2", check=1)
    told = json.loads(shell.sweep("status", "s", "--json").out)["not_well"]
    notes = {run["number"]: run["note"].partition(": ")[2] for run in told}
    assert notes == {
        1: "ValueError: bad shape",
        2: "RuntimeError: no such run",
        3: "error: cannot open the data set",
        4: "mylib.Broken: half",
        5: notes[5],
        6: "and nothing more",
    }
    runs = collect(sweep_data(shell.shop.sweep)).runs
    assert {run.number: run.cause for run in runs} == notes


def test_retry_and_resume_take_the_launchs_detach(shell: Shell) -> None:
    shell.write("command: 'test -e mended'\ngpus: 0\n")
    shell.sweep("s.yaml", "--serial", check=1)
    (shell.folder / "mended").touch()
    shell.sweep("retry", "s", "--detach", check=0)
    assert shell.shop.finish() == {"done": 1}
    assert "nothing left to do" in shell.sweep("resume", "s", "--detach", check=0).out
