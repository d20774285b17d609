"""`run-one`'s engine: the command's own exit status, signals, input and output, with a lease; and once at a time."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sweeper import runone
from sweeper.lease import claims, folder

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


def words(asked: str, *command: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, asked, *command]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(asked: str, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(asked, *command), env=environment(), capture_output=True, text=True, timeout=30, **more)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(asked: str, *command: str, **more: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        started.append(subprocess.Popen(words(asked, *command), env=environment(), text=True, **pipes))
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


def test_ctrl_c_of_the_terminal_reaches_the_command_once() -> None:
    script = "trap 'echo one' INT; echo ready; while read -r word; do echo $word; done; exit 3"
    pid, master = pty.fork()
    if pid == 0:
        os.execve(sys.executable, words("{}", "bash", "-c", script), environment())
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
    until(b"end\r\nend")
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


def test_the_same_command_runs_once(start: Callable[..., subprocess.Popen[str]]) -> None:
    command = ["bash", "-c", f"echo $$; read -r word # {os.getpid()}"]
    first = start('{"same_command": true}', *command)
    pid = int(line(first))
    again = run('{"same_command": true}', *command)
    assert again.returncode == 75
    assert f"already (pid {first.pid})" in again.stderr
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
