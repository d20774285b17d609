"""What programs say when GPU memory runs out, what only sounds like it, and the kernel's own count of its kills."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import model, oom
from sweeper.oom import killed_in, oom_in
from tests.conftest import wait_for
from tests.supervision import Hand

SAID = {
    "PyTorch 1": b"RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 39.59 GiB total capacity)",
    "PyTorch 2": b"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
    "PyTorch 2.5": b"torch.OutOfMemoryError: CUDA out of memory.",
    "PyTorch async": b"RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be reported elsewhere",
    "PyTorch expandable segments": b"RuntimeError: CUDA driver error: out of memory",
    "NCCL": b"ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'",
    "NCCL 2.27": b"Cuda failure 'out of memory'",
    "PyTorch ROCm": b"torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB",
    "cuBLAS": b"CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "TensorFlow": b"tensorflow.python.framework.errors_impl.ResourceExhaustedError: Graph execution error:\n"
    b"OOM when allocating tensor with shape[64,512] and type float",
    "TensorFlow eager": b"ResourceExhaustedError: {{function_node __wrapped__AddV2_device_/job:localhost/replica:0/"
    b"task:0/device:GPU:0}} failed to allocate memory [Op:AddV2]",
    "TensorFlow XLA": b"Out of memory while trying to allocate 1073741824 bytes. [Op:__inference_train_function_123]",
    "JAX buffer": b"XlaRuntimeError: RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate 4.00G.",
    "CuPy": b"cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,000 bytes (allocated so far: 0).",
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


@pytest.mark.parametrize(
    "said",
    [
        b"RuntimeError: DataLoader worker (pid 1234) is killed by signal: Killed.",
        b"run.sh: line 3: 1234 Killed                  python train.py",
        b"subprocess.CalledProcessError: Command 'python x.py' died with <Signals.SIGKILL: 9>.",
        b"  exitcode  : -9 (pid: 1234)\n  traceback : Signal 9 (SIGKILL) received by PID 1234",
        b"The exit codes of the workers are {SIGKILL(-9)}",
    ],
)
def test_what_parents_say_of_a_killed_child(said: bytes) -> None:
    assert killed_in(b"epoch 3\r\n" + said + b"\n")
    assert not oom_in(said), "it may have been killed by hand"


def test_an_ordinary_error_tells_of_no_killed_child() -> None:
    assert not killed_in(b"Skilled killed signal 90 exitcode: 9 SIGTERM")


def machine_of(root: Path, **files: str) -> Path:
    """A made /proc and /sys; names have ``__`` for slashes."""
    for name, text in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def counts(root: Path) -> tuple[int, bool]:
    found = oom.counter(root)
    return found.read(), found.machine


VMSTAT = "oom_kill_disable 9\noom_kill 4\n"


def test_nothing_is_counted_where_the_kernel_does_not_say(tmp_path: Path) -> None:
    assert counts(tmp_path) == (0, True)
    assert counts(machine_of(tmp_path, proc__vmstat=VMSTAT)) == (4, True)


def test_the_kernel_counts_in_our_group(tmp_path: Path) -> None:
    root = machine_of(
        tmp_path,
        proc__vmstat=VMSTAT,
        proc__self__cgroup="0::/user.slice/a\n",
        proc__self__mountinfo="25 24 0:22 / /proc rw - proc proc rw\n"
        "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    )
    assert counts(root) == (4, True), "a root group has no count"
    group = root / "sys/fs/cgroup/user.slice/a"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert counts(root) == (2, False)


def test_version_1_counts_too_and_a_container_sees_a_part(tmp_path: Path) -> None:
    root = machine_of(
        tmp_path,
        proc__vmstat=VMSTAT,
        proc__self__cgroup="4:memory:/docker/12ab/job\n3:cpu,cpuacct:/docker/12ab\n0::/docker/12ab\n",
        proc__self__mountinfo="31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
        "32 31 0:29 /docker/12ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 /docker/12ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "41 31 0:38 /docker/12ab /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n",
    )
    (root / "sys/fs/cgroup/memory/job").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory/job/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert counts(root) == (7, False)


def test_this_machines_count_can_be_read() -> None:
    assert oom.counter().read() >= 0


# -- a run that the kernel ends --------------------------------------------------------------------------------------


@pytest.fixture
def hand(private: Path) -> Iterator[Hand]:
    hand = Hand(private)
    yield hand
    hand.close()


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A memory cgroup of 200 MB; skips the test where none can be made."""
    own = oom.counter()
    if own.machine or os.geteuid() != 0:
        pytest.skip("no memory cgroup of this process's own, or not root")
    group = own.file.parent / f"sweep-test-{os.getpid()}"
    limit = "memory.max" if own.file.name == "memory.events" else "memory.limit_in_bytes"
    try:
        group.mkdir()
        try:
            (group / limit).write_text(str(200_000_000))
        except OSError:
            group.rmdir()
            raise
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


GREEDY = "x = bytearray(2_000_000_000)"


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (f"exec python3 -c '{GREEDY}'", None, "killed by SIGKILL: ended by the kernel for want of memory"),
        (
            f"python3 -c '{GREEDY}'; echo 'DataLoader worker (pid 12) is killed by signal: Killed.'; exit 1",
            1,
            "exit status 1: a process of it was ended by the kernel for want of memory",
        ),
    ],
    ids=["itself", "a child"],
)
def test_the_kernel_ends_it_or_a_child_of_it(
    hand: Hand, small_group: Path, command: str, code: int | None, reason: str
) -> None:
    window = hand.start()
    (small_group / "cgroup.procs").write_text(str(window.process.pid))
    window.prepare(hand.job(command))
    window.go()
    found = window.outcome()
    assert (found.outcome, found.exit_code, found.reason) == (model.OUT_OF_MEMORY, code, reason)


def test_what_the_kernel_ended_before_the_command_began_is_others(hand: Hand, small_group: Path) -> None:
    window = hand.start()
    (small_group / "cgroup.procs").write_text(str(window.process.pid))
    window.prepare(hand.job("kill -9 $$"))
    another = subprocess.Popen(["sh", "-c", f"read -r go; exec python3 -c '{GREEDY}'"], stdin=subprocess.PIPE)
    (small_group / "cgroup.procs").write_text(str(another.pid))
    another.communicate(b"go\n")
    assert another.returncode == -signal.SIGKILL
    window.go()
    assert window.outcome().outcome == model.FAILED
