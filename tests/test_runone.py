"""`run-one`'s engine: the command's own exit status, signals, input and output, with a lease; and once at a time."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sweeper import runone
from sweeper.errors import BusyError
from sweeper.lease import claims, folder
from tests.conftest import wait_for

if TYPE_CHECKING:
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin"]
ROOT = Path(__file__).parent.parent
PROGRAM = """
import json, sys
from sweeper.errors import SweepError
from sweeper.model import GpuRequest
from sweeper.runone import run_one
asked = json.loads(sys.argv[1])
request = GpuRequest(count=asked.pop("gpus", 0), allowed=asked.pop("allowed", None))
try:
    sys.exit(run_one(sys.argv[2:], request, **asked))
except SweepError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""

# The same with a folder of locks of its own, which a test may remove.
APART = f"""
from pathlib import Path
from sweeper.lease import folder
folder.ADMINISTRATORS, folder.PARENTS = Path(os.environ["APART"], "none"), (Path(os.environ["APART"]),)
folder._shared = lambda _parent: True
sys.argv[:] = sys.argv[2:]
{PROGRAM}"""


RUN = "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def words(asked: str, *command: str, before: str = "") -> list[str]:
    """The program's words; ``before`` is what another program does before it becomes this one."""
    first = [sys.executable, "-c", f"import os, sys; {before}"] if before else [sys.executable]
    return [*first, "-c", PROGRAM, asked, *command]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(asked: str, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(asked, *command), env=environment(), capture_output=True, text=True, timeout=30, **more)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(asked: str, *command: str, before: str = "", **more: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        started.append(subprocess.Popen(words(asked, *command, before=before), env=environment(), text=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line(process: subprocess.Popen[str], *, error: bool = False) -> str:
    stream = process.stderr if error else process.stdout
    assert stream is not None
    assert select.select([stream], [], [], 20)[0], "it said nothing"
    return stream.readline().rstrip("\n")


@pytest.mark.parametrize("status", [0, 1, 2, 75, 126, 255])
def test_the_exit_status_is_the_commands(status: int) -> None:
    assert run("{}", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_it_ends_by_the_signal_that_ended_the_command(number: signal.Signals) -> None:
    assert run("{}", "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$").returncode == -number


def test_input_output_and_words_are_the_commands(tmp_path: Path) -> None:
    hostile = ["a b", "--x", "$(date)", "'q\"", "é\n", ""]
    code = "import sys; sys.stderr.write('err'); print(sys.stdin.read() + repr(sys.argv[1:]))"
    done = run("{}", sys.executable, "-c", code, *hostile, input="typed\n")
    assert done.stdout == f"typed\n{hostile!r}\n"
    assert done.stderr == "err"


def test_a_command_that_is_not_there_or_not_a_program(tmp_path: Path) -> None:
    done = run("{}", "no-such-command")
    assert (done.returncode, done.stderr) == (127, "sweep: no-such-command: No such file or directory\n")
    (tmp_path / "text").write_text("")
    assert run("{}", str(tmp_path / "text")).returncode == 126
    assert run("{}").returncode == 2


def test_what_is_sent_to_us_reaches_the_command(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("{}", "bash", "-c", "trap 'echo got; exit 9' TERM USR1; echo ready; while :; do sleep 0.05; done")
    assert line(process) == "ready"
    process.send_signal(signal.SIGTERM)
    assert line(process) == "got"
    assert process.wait(timeout=20) == 9


ONE_AFTER_ANOTHER = """
import select, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ready", flush=True)
while True:
    while signal.sigtimedwait({signal.SIGINT}, 0.05):
        print("one", flush=True)
    if select.select([sys.stdin], [], [], 0)[0]:
        word = sys.stdin.readline()
        if not word:
            sys.exit(3)
        print("heard:", word, end="", flush=True)
"""


def test_ctrl_c_of_the_terminal_reaches_the_command_once() -> None:
    pid, master = pty.fork()
    if pid == 0:  # not a shell, whose trap is not run where the signal comes just before its read sleeps
        os.execve(sys.executable, words("{}", sys.executable, "-c", ONE_AFTER_ANOTHER), environment())
    text = b""

    def until(wanted: bytes) -> None:
        nonlocal text
        deadline = time.monotonic() + 20
        while wanted not in text:
            assert select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0], text
            text += os.read(master, 4096)

    until(b"ready")
    os.write(master, b"\x03")
    until(b"one")
    os.write(master, b"end\n")
    until(b"heard: end")
    assert text.count(b"one") == 1
    os.write(master, b"\x04")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    os.close(master)


def test_the_command_has_the_gpus_and_the_next_waits(
    machine: StandIn, start: Callable[..., subprocess.Popen[str]]
) -> None:
    show = "echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER ${MASTER_PORT:+port}; read -r word"
    first = start('{"gpus": 3}', "bash", "-c", show)
    assert line(first) == "0,1,2 PCI_BUS_ID port"
    busy = run('{"gpus": 2, "no_wait": true}', "true")
    assert busy.returncode == 75
    assert busy.stderr.startswith("not started: it would wait for GPU 0, 1, 2, held by ")
    assert f"(pid {first.pid}, for 0:" in busy.stderr
    second = start('{"gpus": 2}', "bash", "-c", show)
    assert line(second, error=True).startswith("sweep: waiting for GPU 0, held by ")
    first.communicate("\n")
    assert line(second) == "0,1 PCI_BUS_ID port"
    assert second.communicate("\n")[0] == ""
    left = [claim for claim in claims.read_all(folder.choose()) if set(claim.allowed) & set(machine.uuids)]
    assert left == [], "whoever ends in order leaves nothing"


def test_killed_it_leaves_the_lease_to_the_command(
    machine: StandIn, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start('{"gpus": 4}', "bash", "-c", "echo $$; exec sleep 600")
    command = int(line(first))
    first.kill()
    first.wait()
    assert run('{"gpus": 1, "no_wait": true}', "true").returncode == 75
    os.kill(command, signal.SIGKILL)
    assert run('{"gpus": 4}', "true").returncode == 0


def test_interrupted_while_it_waits(machine: StandIn, start: Callable[..., subprocess.Popen[str]]) -> None:
    first = start('{"gpus": 4}', "bash", "-c", "echo ready; read -r word")
    assert line(first) == "ready"
    second = start('{"gpus": 1}', "true")
    assert "waiting for" in line(second, error=True)
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=20) == -signal.SIGINT
    assert second.communicate()[1] == ""


# SIGINT comes when the interpreter has looked for signals the last time before the kernel sleeps: one call in C does
# both, the signal and the sleep.
JUST_BEFORE_IT_SLEEPS = """
import ctypes, select, signal
from functools import partial
class Poll:
    def __init__(self):
        self.real = real()
        self.register = self.real.register
    def poll(self, timeout=None):
        calls = [partial(ctypes.PyDLL(None)["raise"], signal.SIGINT), partial(self.real.poll, timeout)]
        return list(map(partial.__call__, calls))[1]
real, select.poll = select.poll, Poll
"""


def test_interrupted_in_the_moment_before_it_sleeps(
    machine: StandIn, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start('{"gpus": 4}', "bash", "-c", "echo ready; read -r word")
    assert line(first) == "ready"
    program = [sys.executable, "-c", JUST_BEFORE_IT_SLEEPS + PROGRAM, '{"gpus": 1}', "true"]
    with subprocess.Popen(program, env=environment(), text=True, stderr=subprocess.PIPE) as second:
        try:
            said = second.communicate(timeout=20)[1]
        finally:
            second.kill()
    assert second.returncode == -signal.SIGINT
    assert said.count("\n") == said.count("waiting for") <= 1


def test_an_interrupt_that_is_ignored_stays_so(machine: StandIn, start: Callable[..., subprocess.Popen[str]]) -> None:
    first = start('{"gpus": 4}', "bash", "-c", "echo ready; read -r word")
    assert line(first) == "ready"
    second = start('{"gpus": 1}', "true", before="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " + RUN)
    assert "waiting for" in line(second, error=True)
    second.send_signal(signal.SIGINT)
    first.communicate("\n")
    assert second.wait(timeout=20) == 0


def test_a_terminal_stopped_with_ctrl_s_keeps_nobody_waiting(
    machine: StandIn, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    holders = [start(f'{{"gpus": 1, "allowed": [{number}]}}', "bash", "-c", "echo; read -r word") for number in (0, 1)]
    assert [line(holder) for holder in holders] == ["", ""]
    pid, master = pty.fork()
    if pid == 0:
        os.execve(sys.executable, words('{"gpus": 4}', "touch", str(tmp_path / "ran")), environment())
    try:
        text = b""
        while b"waiting for GPU 0" not in text:
            assert select.select([master], [], [], 20)[0], text
            text += os.read(master, 4096)
        os.write(master, b"\x13")
        holders[0].communicate("\n")  # now it is GPU 1 that it waits for, and it can't be said
        time.sleep(0.1)
        holders[1].communicate("\n")
        wait_for((tmp_path / "ran").exists)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(master)  # which ends it where it still waits


def test_a_pipe_that_nobody_reads_keeps_nobody_waiting(
    machine: StandIn, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start('{"gpus": 4}', "bash", "-c", "echo; read -r word")
    assert line(holder) == ""
    reader, writer = os.pipe()
    os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)))
    waiting = start('{"gpus": 1}', "echo", "ran", stderr=writer)
    wait_for(lambda: any(claim.pid == waiting.pid for claim in claims.read_all(folder.choose())))
    time.sleep(0.1)
    holder.communicate("\n")
    assert line(waiting) == "ran"
    assert waiting.wait(timeout=20) == 0
    assert os.get_blocking(writer), "others write there too"
    os.close(reader)
    os.close(writer)


def test_the_folder_of_the_locks_goes_away_while_it_waits(
    machine: StandIn, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APART", str(tmp_path))
    locks = tmp_path / folder.NAME
    holder = start('{"gpus": 4}', "sh", "-c", "echo; read -r word", before=APART)
    assert line(holder) == ""
    first = start('{"gpus": 4}', "sh", "-c", "echo ran; read -r word", before=APART)
    assert "waiting for" in line(first, error=True)
    (name,) = [claim.name for claim in claims.read_all(locks) if claim.pid == first.pid]
    second = start('{"gpus": 1}', "echo", "ran", before=APART)
    assert "waiting for" in line(second, error=True)
    shutil.rmtree(locks)
    holder.communicate("\n")
    assert line(first) == "ran", line(first, error=True)
    assert [claim.name for claim in claims.read_all(locks) if claim.pid == first.pid] == [name], "it kept its place"
    first.communicate("\n")
    assert line(second) == "ran"
    assert (first.returncode, second.wait(timeout=20)) == (0, 0)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


LOOP = "while :; do sleep 0.02; done"


@pytest.mark.parametrize(
    "name", ["ALRM", "PIPE", "VTALRM", "USR2", "ABRT", "RTMIN", "RTMAX-1", "CONT", "TSTP", "WINCH"]
)
def test_every_signal_sent_to_us_reaches_the_command(start: Callable[..., subprocess.Popen[str]], name: str) -> None:
    process = start("{}", "bash", "-c", f"trap 'echo got {name}; exit 9' {name}; echo ready; {LOOP}")
    assert line(process) == "ready"
    subprocess.run(["bash", "-c", f"kill -{name} {process.pid}"], check=True)
    assert line(process) == f"got {name}"
    assert process.wait(timeout=20) == 9


def test_a_timer_that_was_set_for_us_is_the_commands(start: Callable[..., subprocess.Popen[str]]) -> None:
    first = f"import signal; signal.pthread_sigmask(0, [signal.SIGALRM]); signal.setitimer(0, 0.01); {RUN}"
    program = (
        "import signal, time; signal.signal(signal.SIGALRM, lambda *_: (print('got', flush=True), exit(9)));"
        "signal.pthread_sigmask(1, [signal.SIGALRM]); time.sleep(20)"
    )
    process = start("{}", sys.executable, "-c", program, before=first)
    assert line(process) == "got"
    assert process.wait(timeout=20) == 9


def test_stopped_and_continued_together(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("{}", "bash", "-c", f"echo $$; {LOOP}", preexec_fn=os.setpgrp)
    command = int(line(process))
    for _ in range(3):
        process.send_signal(signal.SIGTSTP)  # to it alone, as a script may
        wait_for(lambda: (state(command), state(process.pid)) == ("T", "T"))
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: "T" not in (state(command), state(process.pid)))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM


def test_ctrl_z_of_the_terminal_gives_the_shell_its_prompt() -> None:
    pid, master = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "--norc", "-i"], {**environment(), "PS1": "prompt> ", "TERM": "dumb"})
    text = b""

    def until(wanted: bytes) -> None:
        nonlocal text
        deadline = time.monotonic() + 20
        while wanted not in text:
            assert select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0], text
            text += os.read(master, 4096)
        text = text.partition(wanted)[2]

    until(b"prompt> ")
    script = "trap 'echo went on' CONT; echo rea''dy; until read -r -t 0.05 word; do :; done; echo had $word"
    os.write(master, f"{shlex.join(words('{}', 'bash', '-c', script))}\n".encode())
    until(b"ready\r\n")
    os.write(master, b"\x1a")
    until(b"Stopped")
    until(b"prompt> ")
    os.write(master, b"fg\n")
    until(b"went on")
    os.write(master, b"a word\n")
    until(b"had a word")
    until(b"prompt> ")
    os.write(master, b"exit\n")
    os.waitpid(pid, 0)
    os.close(master)


def test_orphans_that_end_are_let_go_of(start: Callable[..., subprocess.Popen[str]]) -> None:
    script = "for i in 1 2 3 4 5 6; do (sh -c 'echo orphan' &); done; read -r word; exit 7"
    process = start("{}", "sh", "-c", script)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(6)] == ["orphan\n"] * 6  # several may come at once
    wait_for(lambda: len(children(process.pid)) == 1, what="the end of the zombies")
    process.communicate("\n")
    assert process.returncode == 7


def test_an_orphan_that_has_ended_is_nothing_left(machine: StandIn) -> None:
    done = run('{"gpus": 1}', "sh", "-c", "(true &); read -r word; sleep 0.1", input="\n")
    assert done.returncode == 0, done.stderr
    assert [claim for claim in claims.read_all(folder.choose()) if set(claim.allowed) & set(machine.uuids)] == []


def test_a_parent_that_ignores_the_ends_of_its_children(start: Callable[..., subprocess.Popen[str]]) -> None:
    code = f"import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); {RUN}"
    assert start("{}", "sh", "-c", "exit 7", before=code).wait(timeout=20) == 7


@pytest.mark.parametrize("most", [32, 64, 100, 110])
def test_few_descriptors_are_enough(machine: StandIn, most: int) -> None:
    done = run(
        '{"gpus": 4}', "echo", "well", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr


def sees(same: list[str], **more: Any) -> str:
    done = run('{"same_command": true}', *same, **more)
    assert done.returncode in (0, 75), done.stderr
    return done.stderr


def test_a_command_that_was_started_otherwise_is_the_same(start: Callable[..., subprocess.Popen[str]]) -> None:
    command = ["sleep", f"600.{os.getpid()}"]
    other = subprocess.Popen(command)
    try:
        wait_for(lambda: Path(f"/proc/{other.pid}/cmdline").read_bytes().startswith(b"sleep"))
        today = time.strftime("%b %d")
        told = sees(command)
        assert told.startswith(f"you are running this command line already (pid {other.pid}, since {today} ")
        assert told.endswith("); --same-command does not start it again\n")
        assert run('{"same_command": true}', "sleep", f"0.0{os.getpid()}").returncode == 0
    finally:
        other.kill()
        other.wait()
    by_us = start("{}", *command)
    pid = wait_for(lambda: children(by_us.pid))[0]
    wait_for(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep"))
    assert f"(pid {pid}, since " in sees(command)
    os.kill(pid, signal.SIGKILL)
    assert by_us.wait(timeout=20) == -signal.SIGKILL


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_script_is_the_same_by_its_name_and_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "train"
    script.write_text("#!/bin/bash -e\necho ready\nread -r word\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    running = subprocess.Popen(["train", "--lr", "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert line(running) == "ready"
    assert f"already (pid {running.pid}, " in sees(["train", "--lr", "3"])
    assert f"already (pid {running.pid}, " in sees([str(script), "--lr", "3"])
    assert sees(["train", "--lr", "4"], input="\n") == ""
    running.communicate("\n")


def test_one_that_waits_for_its_gpu_counts_too(machine: StandIn, start: Callable[..., subprocess.Popen[str]]) -> None:
    holder = start('{"gpus": 4}', "bash", "-c", "echo ready; read -r word")
    assert line(holder) == "ready"
    command = ["sh", "-c", f": {os.getpid()}"]
    typed = [sys.executable, "-m", "sweeper", "run-one", "--", *command]
    waiting = subprocess.Popen(typed, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert "waiting for" in line(waiting, error=True)
        assert f"you are waiting to run this command line already (pid {waiting.pid}, since" in sees(command)
        holder.communicate("\n")
        assert waiting.wait(timeout=20) == 0
    finally:
        waiting.kill()
        waiting.communicate()


def test_one_that_runs_under_another_name_does_not_wait(tmp_path: Path) -> None:
    command = ["bash", "-c", f"exec -a other sleep 600 # {os.getpid()}"]
    typed = [sys.executable, "-m", "sweeper", "run-one", "--gpus", "0", "--", *command]
    running = subprocess.Popen(typed, env=environment())
    try:
        (pid,) = wait_for(lambda: children(running.pid))
        wait_for(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"other"))
        assert f"you are running this command line already (pid {pid}, since" in sees(command)
    finally:
        running.terminate()
        running.wait()


def test_started_otherwise_while_it_waited(machine: StandIn, start: Callable[..., subprocess.Popen[str]]) -> None:
    holder = start('{"gpus": 4}', "bash", "-c", "echo ready; read -r word")
    assert line(holder) == "ready"
    command = ["sleep", f"601.{os.getpid()}"]
    waiting = start('{"gpus": 1, "same_command": true}', *command)
    assert "waiting for" in line(waiting, error=True)
    other = subprocess.Popen(command)
    try:
        wait_for(lambda: Path(f"/proc/{other.pid}/cmdline").read_bytes().startswith(b"sleep"))
        holder.communicate("\n")
        assert waiting.wait(timeout=20) == 75
        assert f"already (pid {other.pid}, " in line(waiting, error=True)
    finally:
        other.kill()
        other.wait()
    assert run('{"gpus": 4, "no_wait": true}', "true").returncode == 0


def test_of_two_that_begin_together_with_the_same_command_one_runs() -> None:
    """Each sees the other in /proc: which of them it is, the lock says."""
    command = ["sleep", f"0.0{os.getpid()}1"]
    flags = (["--same-command"], ["--gpus", "0", "--same_command"], ["--gpus", "1"])
    for typed in flags:
        program = "import sys; print('ready', flush=True); sys.stdin.read()"
        words = [sys.executable, "-c", program, "run-one", *typed, "--", *command]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert line(other) == "ready"
            if "--gpus 1" in " ".join(typed):
                with pytest.raises(BusyError, match="waiting to run"):
                    runone.same.take(command)
            else:
                os.close(runone.same.take(command))
            other.communicate()
    descriptor = runone.same.take(command)
    with pytest.raises(BusyError, match="running"):
        runone.same.take(command)
    os.close(descriptor)


def test_the_same_command_runs_once(start: Callable[..., subprocess.Popen[str]]) -> None:
    command = ["bash", "-c", f"echo $$; read -r word # {os.getpid()}"]
    first = start('{"same_command": true}', *command)
    pid = int(line(first))
    again = run('{"same_command": true}', *command)
    assert again.returncode == 75
    assert f"already (pid {pid}, since " in again.stderr
    assert run('{"same_command": true}', *command, "another").returncode in (0, 1)
    first.kill()
    first.wait()
    assert run('{"same_command": true}', *command).returncode == 75, "the command itself still runs"
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while run('{"same_command": true}', *command, input="\n").returncode == 75:
        assert time.monotonic() < deadline
    runone.same_command_lock(command).unlink()
    runone.same_command_lock([*command, "another"]).unlink()
