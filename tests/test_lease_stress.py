"""64 processes of mixed sizes on 4 GPUs, some killed: never two holders, all that live finish, in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin"]
TESTS = Path(__file__).parent
FOREVER = float("inf")


@dataclass
class Process:
    """What the log says of one process; times are of the machine's clock, FOREVER where it never happened."""

    claim: str = ""
    count: int = 0
    got: float = FOREVER
    left: float = FOREVER
    killed: float = FOREVER
    status: int | None = None
    gpus: tuple[str, ...] = ()


def read(log: Path) -> tuple[dict[int, Process], list[dict[str, object]]]:
    found: dict[int, Process] = {}
    trouble = []
    for line in log.read_text().splitlines():
        data = json.loads(line)
        process = found.setdefault(data["number"], Process())
        if data["what"] == "queued":
            process.claim, process.count = data["claim"], data["count"]
        elif data["what"] == "got":
            process.got, process.gpus = data["at"], tuple(data["gpus"])
        elif data["what"] == "left":
            process.left = data["at"]
        elif data["what"] == "killed":
            process.killed = min(process.killed, data["at"])  # a dead one may be chosen again
        elif data["what"] == "ended":
            process.status = data["status"]
        else:
            trouble.append(data)
    return found, trouble


@pytest.mark.parametrize(
    ("seed", "kind"), [(1, "all"), (2, "all"), (3, "subsets"), (4, "all stops"), (5, "subsets stops")]
)
def test_many_processes_with_random_kills(machine: StandIn, locks: Path, tmp_path: Path, seed: int, kind: str) -> None:
    """Where each may use any GPU, their order is strict; where each has a set of his own, it depends on the sets, and
    who is stopped is passed over."""
    run = subprocess.run(
        [sys.executable, str(TESTS / "lease_stress.py"), str(tmp_path), "64", str(seed), *kind.split()],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    processes, trouble = read(tmp_path / "log")
    assert trouble == []
    assert len(processes) == 64
    assert run.stderr == ""
    for number, process in processes.items():
        assert len(process.gpus) == (process.count if process.got < FOREVER else 0), number
        if process.killed == FOREVER:
            assert process.status == 0, number
            assert process.got < FOREVER, number
    assert sum(process.killed < FOREVER for process in processes.values()) > 5
    assert sum(process.left < FOREVER for process in processes.values()) > 20
    if kind == "all":
        check_nobody_overtook(processes)


def check_nobody_overtook(processes: dict[int, Process]) -> None:
    """Whoever got GPUs left enough free for all who came before, were alive and still waited."""
    for process in processes.values():
        if process.got == FOREVER:
            continue
        earlier = [
            other
            for other in processes.values()
            if other.claim < process.claim and other.got > process.got and other.killed > process.got
        ]
        holding = [
            other
            for other in processes.values()
            if other is not process and other.got < process.got < min(other.left, other.killed)
        ]
        needed = sum(other.count for other in [*earlier, *holding, process])
        assert not earlier or needed <= 4, (process, earlier, holding)
