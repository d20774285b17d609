"""Did a run die for want of memory? By what it said last, and by the kernel's count of its own kills."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SAID = re.compile(
    rb"CUDA out of memory|HIP out of memory|torch\.(?:cuda\.)?OutOfMemoryError"  # PyTorch
    rb"|(?:CUDA|HIP) (?:driver )?error: out of memory"
    rb"|Cuda failure (?:\d+ )?'out of memory'"  # NCCL
    rb"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|out of memory \(error code 2\)"  # CUDA itself
    rb"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    rb"|ResourceExhaustedError: .{0,200}(?:OOM when allocating|failed to allocate memory)"  # TensorFlow
    rb"|OOM when allocating tensor|Out of memory while trying to allocate \d+ bytes"
    rb"|RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate request|Error allocating device buffer)"  # JAX
    rb"|Memory allocation error on worker|bad_alloc: (?:cudaErrorMemoryAllocation|out_of_memory)"  # XGBoost, RAPIDS
    rb"|cupy\.cuda\.memory\.OutOfMemoryError"
)
# What shells, Python's multiprocessing, PyTorch's DataLoader and torchrun, joblib say of a child that SIGKILL ended.
_KILLED = re.compile(rb"\bKilled\b|SIGKILL|exitcode *: *-9\b|[Ss]ignal:? 9\b")


def oom_in(text: bytes) -> bool:
    """Whether the end of a log says that GPU memory ran out (PyTorch, TensorFlow, JAX, XGBoost, NCCL, CUDA, HIP)."""
    return _SAID.search(text) is not None


def killed_in(text: bytes) -> bool:
    """Whether the end of a log says that a process of the run was ended by SIGKILL."""
    return _KILLED.search(text) is not None


@dataclass(frozen=True, slots=True)
class Counter:
    """Where the kernel counts the processes that its OOM killer has ended; ``machine``: all of the machine's, since it
    counts none more narrowly (which ones it ended stands in its log alone, and that is root's to read)."""

    file: Path
    machine: bool

    def read(self) -> int:
        """How many there are so far; 0 where it does not say."""
        return _count(self.file) or 0

    def blamed(self, whom: str) -> str:
        """What a run died of, as surely as it is known: the machine's count may be of others."""
        if self.machine:
            return f"{whom}killed while the kernel ended processes of this machine for want of memory"
        return f"{whom}ended by the kernel for want of memory"


def counter(root: Path = Path("/")) -> Counter:
    """The narrowest count there is: that of this process's memory cgroup, which those that it starts share
    (cgroups(7), version 2 or 1), else the whole machine's."""
    for file in _files(root):
        if _count(file) is not None:
            return Counter(file, machine=False)
    return Counter(root / "proc/vmstat", machine=True)


def _files(root: Path) -> Iterator[Path]:
    """The files of our own cgroups that may have the count."""
    paths: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            paths["cgroup2"] = path
        elif "memory" in controllers.split(","):
            paths["cgroup"] = path
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        kind, options = right.split(" ")[0], right.rpartition(" ")[2].split(",")
        if kind in paths and (kind == "cgroup2" or "memory" in options):
            top, point = left.split(" ")[3:5]  # what of the hierarchy is to be seen, and where
            below = paths[kind].removeprefix(top) if top != "/" else paths[kind]
            folder = root / point.lstrip("/") / below.strip("/")
            yield folder / ("memory.events" if kind == "cgroup2" else "memory.oom_control")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _count(file: Path) -> int | None:
    for line in _lines(file):
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.isdigit():
            return int(value)
    return None
