"""What programs say when GPU memory runs out, what only sounds like it, and the kernel's own count of its kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.oom import kernel_kills, oom_in

SAID = {
    "PyTorch 1": b"RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 39.59 GiB total capacity)",
    "PyTorch 2": b"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
    "PyTorch 2.5": b"torch.OutOfMemoryError: CUDA out of memory.",
    "PyTorch async": b"RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be reported elsewhere",
    "PyTorch ROCm": b"torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB",
    "cuBLAS": b"CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "TensorFlow": b"tensorflow.python.framework.errors_impl.ResourceExhaustedError: Graph execution error:\n"
    b"OOM when allocating tensor with shape[64,512] and type float",
    "JAX": b"jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes.",
    "XLA": b"failed to allocate 1.0GiB from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "XGBoost": b"xgboost.core.XGBoostError: [12:00:00] Memory allocation error on worker 0: bad_alloc",
    "RAPIDS": b"MemoryError: std::bad_alloc: out_of_memory: CUDA error at: pool_memory_resource.hpp",
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
def test_what_programs_say(said: bytes) -> None:
    assert oom_in(b"epoch 3 loss 0.2\r\n\xff\xfe" + said + b"\n")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"RuntimeError: CUDA error: device-side assert triggered",
        b"we never run out of memory here",
        b"grpc: RESOURCE_EXHAUSTED: Quota exceeded",
        b"MemoryError",
        b"ValueError: bloom filter",
    ],
)
def test_what_only_sounds_like_it(said: bytes) -> None:
    assert not oom_in(said)


def test_a_long_line_is_searched_in_no_time() -> None:
    assert not oom_in(b"ResourceExhaustedError: " * 100_000)


def test_the_kernel_counts_in_our_group_or_on_the_machine(tmp_path: Path) -> None:
    assert kernel_kills(tmp_path) == 0
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/vmstat").write_text("oom_kill_disable 9\noom_kill 4\n")
    assert kernel_kills(tmp_path) == 4
    (tmp_path / "proc/self/cgroup").write_text("1:name=systemd:/x\n0::/user.slice/a\n")
    assert kernel_kills(tmp_path) == 4
    group = tmp_path / "sys/fs/cgroup/user.slice/a"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert kernel_kills(tmp_path) == 2


def test_this_machines_count_can_be_read() -> None:
    assert kernel_kills() >= 0
