"""Did a run die for want of memory? By what it said last, and by the kernel's count of its own kills."""

from __future__ import annotations

import re
from pathlib import Path

_SAID = re.compile(
    rb"CUDA out of memory|HIP out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory"  # PyTorch
    rb"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|out of memory \(error code 2\)"  # CUDA itself
    rb"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    rb"|ResourceExhaustedError: .{0,200}OOM when allocating|OOM when allocating tensor"  # TensorFlow
    rb"|RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate request)"  # JAX
    rb"|Memory allocation error on worker|bad_alloc: (?:cudaErrorMemoryAllocation|out_of_memory)"  # XGBoost, RAPIDS
)


def oom_in(text: bytes) -> bool:
    """Whether the end of a log says that GPU memory ran out (PyTorch, TensorFlow, JAX, XGBoost, cuBLAS, HIP)."""
    return _SAID.search(text) is not None


def kernel_kills(root: Path = Path("/")) -> int:
    """How many processes the kernel's OOM killer has ended, as narrowly as it says: in this process's cgroup (which
    those that it starts share), else on the whole machine since boot; 0 where it does not say."""
    group = _own_group(root)
    count = None if group is None else _count(group / "memory.events", "oom_kill")
    return (count if count is not None else _count(root / "proc/vmstat", "oom_kill")) or 0


def _own_group(root: Path) -> Path | None:
    """The folder of our cgroup (version 2; cgroups(7))."""
    try:
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("0::/"):
                return root / "sys/fs/cgroup" / line[4:]
    except OSError:
        return None
    return None


def _count(file: Path, name: str) -> int | None:
    try:
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            key, _, value = line.partition(" ")
            if key == name and value.isdigit():
                return int(value)
    except OSError:
        return None
    return None
