"""Who lives, looked at while it changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import procs
from tests.conftest import over, processes_of, wait_for

# Told to, it forks as daemons do: the child closes everything, and the parent ends.
DAEMON = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
if os.fork():
    os._exit(0)
os.setsid()
os.closerange(0, 100)
time.sleep(600)
"""


@pytest.fixture
def moving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that forks and ends in the moment between the list of all processes and the look at this one."""
    words, variables = [sys.executable, "-I", "-S", "-c", DAEMON], {"SWEEP_RUN_DIR": str(tmp_path)}
    process = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    looked = procs._stat

    def look(pid: int) -> list[str] | None:
        if pid == process.pid and process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            process.wait(timeout=20)
        return looked(pid)

    monkeypatch.setattr(procs, "_stat", look)
    yield process
    monkeypatch.undo()
    for pid in processes_of(tmp_path):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda gone=pid: over(gone))


def test_nobody_escapes_by_forking_while_a_run_is_looked_for(moving: subprocess.Popen[bytes], tmp_path: Path) -> None:
    found = procs.of_run(str(tmp_path), str(tmp_path / "lock"))
    assert len(found) == 1
    assert found != [moving.pid]
    assert procs.end_run(str(tmp_path), str(tmp_path / "lock")) == []
    wait_for(lambda: over(found[0]))


def test_nobody_escapes_by_forking_while_descendants_are_looked_for(moving: subprocess.Popen[bytes]) -> None:
    procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)
    try:
        found = procs.descendants(os.getpid())
        heirs = [pid for pid in found if b"closerange" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(heirs) == 1
        assert heirs != [moving.pid]
        os.kill(heirs[0], signal.SIGKILL)
        os.waitpid(heirs[0], 0)
    finally:
        procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 0)
