"""Did a run die for want of memory? By what it said last, and by the kernel's count of its own kills."""

from __future__ import annotations

import re

_SAID = re.compile(
    rb"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    rb"|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED: Out of memory"
    rb"|ResourceExhaustedError: OOM when allocating|OOM when allocating tensor|HIP out of memory"
    rb"|Memory allocation error on worker|bad_alloc: cudaErrorMemoryAllocation"
)


def oom_in(text: bytes) -> bool:
    """Whether the end of a log says that GPU memory ran out (PyTorch, TensorFlow, JAX, XGBoost, cuBLAS, HIP)."""
    return _SAID.search(text) is not None


def kernel_kills() -> int:
    """How many processes the kernel's OOM killer has ended since boot; 0 where it does not say."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0
