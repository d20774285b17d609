"""Listing GPUs: NVIDIA by the real nvidia-ml-py, AMD by a made /sys, what the environment lets one use, the table."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sweeper import gpus, launch
from sweeper.errors import InputError, SpecError
from sweeper.lease import claims, devices, evidence, folder, remains, turns
from sweeper.lease.claims import WAITING, Claim
from sweeper.lease.devices import Gpu, Machine
from sweeper.model import GpuRequest

if TYPE_CHECKING:
    from nvml_standin import StandIn

    from tests.conftest import Workshop

pytest_plugins = ["nvml_standin"]
ROOT = Path(__file__).parent.parent
GB = 1_000_000_000


def listed(env: dict[str, str], code: str = "") -> Any:
    """What another process sees of the machine's GPUs."""
    program = "import json; from sweeper.lease import devices; found = devices.machine(); " + (
        code or "print(json.dumps([[gpu.index, gpu.uuid, gpu.memory_used, len(gpu.processes)] for gpu in found.gpus]))"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "STANDIN_GPUS")}
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(said.stdout)


def test_what_the_driver_says(machine: StandIn) -> None:
    machine.gpus[1].load, machine.gpus[1].name = 83, "NVIDIA H200"
    machine.occupy(1, 4242, 7 * GB)
    found = gpus.all_gpus()
    assert [gpu.uuid for gpu in found] == machine.uuids
    assert [gpu.handle for gpu in found] == ["0", "1", "2", "3"]
    assert (found[1].name, found[1].utilization, found[1].memory_total) == ("NVIDIA H200", 83, 40 * GB)
    assert found[1].memory_used == 7 * GB + 5_000_000, "what the driver keeps for itself is not counted"
    assert [(one.pid, one.memory) for one in found[1].processes] == [(4242, 7 * GB)]


def test_a_gpu_that_fell_off_the_bus_is_left_out(machine: StandIn) -> None:
    machine.gpus[2].lost = True
    machine.save()
    assert [gpu.index for gpu in gpus.all_gpus()] == [0, 1, 3]
    assert "GPU 2" in devices.machine().reason


def test_an_old_driver_is_asked_in_its_own_words(machine: StandIn, tmp_path: Path) -> None:
    from nvml_standin import build

    (tmp_path / "old").mkdir()
    library = build(tmp_path / "old", "-DOLD")
    machine.occupy(0, 1, 3 * GB)
    env = {**machine.environment(), "LD_LIBRARY_PATH": str(library.parent)}
    assert listed(env)[0] == [0, machine.uuids[0], 3 * GB + 5_000_000, 1]


def test_no_driver_is_no_gpus_and_a_reason(machine: StandIn, tmp_path: Path) -> None:
    reason = "print(json.dumps([len(found.gpus), found.reason]))"
    machine.init = 9
    machine.save()
    assert listed(machine.environment(), reason) == [0, "NVIDIA's driver: Driver Not Loaded"]
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")
    count, why = listed({"LD_LIBRARY_PATH": str(tmp_path)}, reason)
    assert count == 0
    assert "Shared Library Not Found" in why


@pytest.fixture
def mismatched(machine: StandIn) -> StandIn:
    """The driver was updated, and the machine not started again."""
    from sweeper.lease import nvidia

    machine.init = 18
    machine.save()
    nvidia.stop()
    return machine


def test_a_driver_that_does_not_answer_is_no_machine_without_gpus(
    mismatched: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.lease import nvidia

    found = devices.machine()
    assert (found.gpus, found.broken) == ((), True)
    with pytest.raises(InputError, match=r"this machine's GPUs do not answer \(NVIDIA's driver: .* version mismatch\)"):
        gpus.resolve(GpuRequest(count=1), [])
    mismatched.init = 9
    mismatched.save()
    assert not devices.machine().broken, "there is no driver"
    monkeypatch.setattr(nvidia, "MODULE", tmp_path / "gpus")
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    found = devices.machine()
    assert found.broken
    assert found.reason == "NVIDIA's driver: Driver Not Loaded, though its kernel module has 1 GPU"


def planned(shop: Workshop, text: str, **options: Any) -> launch.Plan:
    shop.file.write_text(f"command: echo {{x}}\ngrid: {{x: [1]}}\n{text}", encoding="utf-8")
    return launch.plan(str(shop.file), launch.Options(serial=True, **options))


def test_a_launch_says_that_the_driver_does_not_answer(mismatched: StandIn, shop: Workshop) -> None:
    plan = planned(shop, "")
    assert plan.request.count == 0
    (note,) = plan.notes
    assert note.startswith("runs get no GPU: this machine's GPUs do not answer (NVIDIA's driver: ")
    assert planned(shop, "gpus: 0\n").notes == []


def test_a_launch_says_that_a_gpu_is_lost(machine: StandIn, shop: Workshop) -> None:
    assert planned(shop, "").notes == []
    machine.gpus[2].lost = True
    machine.save()
    assert planned(shop, "").notes == ["some GPUs do not answer: GPU 2: GPU is lost"]


@pytest.mark.parametrize("asked", ["gpus_allowed: [0]", "gpu_memory: 8GB"])
def test_a_file_that_asks_for_gpus_where_there_are_none_is_told_so(
    machine: StandIn, shop: Workshop, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert planned(shop, "per_gpu: 2\nkeep_free: 1\n").notes == [], "which ask for none"
    with pytest.raises(InputError) as error:
        planned(shop, f"{asked}\n")
    key = asked.partition(":")[0]
    assert str(error.value).startswith(
        f"{shop.file}:3: {key}: asks for GPUs, but CUDA_VISIBLE_DEVICES (or its like) hides"
    )
    assert planned(shop, f"{asked}\ngpus: 0\n").request.count == 0
    with pytest.raises(InputError, match=r"(?s)^--gpus-allowed: asks for GPUs, but .*write --gpus 0$"):
        planned(shop, "", gpus_allowed=(0,))


FEWER = "Ask for fewer, or allow more (gpus_allowed, CUDA_VISIBLE_DEVICES)."
THERE = "Choose from those of this machine: 0, 1, 2, 3."
LESS = "Ask for less; a driver always takes a little of it."


@pytest.mark.parametrize(
    ("asked", "message", "remedy"),
    [
        ("gpus: 5", "gpus: asks for 5 GPUs, and only 4 may be used here: 0, 1, 2, 3", FEWER),
        (
            "gpus_allowed: [0, 9]",
            "gpus_allowed: there is no GPU 9 here",
            "Choose from those of this machine: 0, 1, 2, 3.",
        ),
        ("per_gpu: 17", "per_gpu: must be a whole number from 1 to 16 and is '17'", ""),
        (
            "gpu_memory: 100GB",
            (
                "gpu_memory: 100.0 GB can never be free on 1 GPU: of those that may be used none has so much, and the "
                "largest has 40.0 GB in all"
            ),
            LESS,
        ),
        (
            "keep_free: 4",
            "keep_free: 4 for others and 1 for each run are more than there are: this machine has 4 GPUs",
            "Keep fewer free, or ask for fewer.",
        ),
        ("gpu_memory: 8", "gpu_memory: is only 8 bytes", "Write 8GB or 8MB."),
        ("busy_above: 500", "busy_above: is only 500 bytes", "Write 500GB or 500MB."),
        ("gpu_memory: 1kB", "gpu_memory: is only 1,000 bytes", "Write it like 8GB or 500MB."),
    ],
)
def test_what_a_file_can_never_have_is_told_with_its_line(
    machine: StandIn, shop: Workshop, asked: str, message: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as error:
        planned(shop, f"{asked}\n")
    where, _, said = str(error.value).partition(" ")
    assert where == f"{shop.file}:3:"
    assert said == message + (f"\n    {remedy}" if remedy else "")


def test_what_was_typed_is_told_as_it_was_typed(machine: StandIn, shop: Workshop) -> None:
    with pytest.raises(InputError, match=r"^--gpus: asks for 5 GPUs, and only 4 may be used here"):
        planned(shop, "gpus: 1\n", gpus=5)
    with pytest.raises(InputError, match=r"^--gpus-allowed: there is no GPU 9 here\n"):
        planned(shop, "gpus_allowed: [0]\n", gpus_allowed=(9,))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--gpus", "5"), "--gpus: asks for 5 GPUs, and only 4 may be used here: 0, 1, 2, 3"),
        (("--gpus-allowed", "9"), "--gpus-allowed: there is no GPU 9 here"),
        (("--gpu-memory", "99GB"), "--gpu-memory: 99.0 GB can never be free on 1 GPU"),
        (("--gpu-memory", "8"), "--gpu-memory 8: that is only 8 bytes; write it like 8GB or 500MB"),
        (("--gpu-memory", "much"), "--gpu-memory 'much' is not a size: write 8GB, 500MB"),
        (("--per-gpu", "17"), "--per-gpu: 17 runs cannot share a GPU\n    Let 1 to 16 share it."),
    ],
)
def test_what_run_one_can_never_have_is_told_as_it_was_typed(
    machine: StandIn, shop: Workshop, asked: tuple[str, str], said: str
) -> None:
    done = run_one(*asked, "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sweep: {said}")


def test_a_sweep_inside_of_run_one_is_refused_at_launch(machine: StandIn, shop: Workshop) -> None:
    shop.file.write_text("command: echo\ngrid: {x: [1]}\n")
    launched = (sys.executable, "-m", "sweeper", str(shop.file), "--serial", "--dry-run")
    done = run_one("--", *launched)
    assert done.returncode == 2
    assert "GPU until it ends, and nothing in it may wait for others\n    Write gpus: 0 to use what it" in done.stderr
    shop.file.write_text("command: echo\ngrid: {x: [1]}\ngpus: 0\n")
    assert run_one("--", *launched).returncode == 0


def test_a_launch_says_that_hold_does_nothing_for_runs_at_once(machine: StandIn, shop: Workshop) -> None:
    text = "command: 'true'\ngrid: {x: [1, 2]}\nhold: true\ngpus: 1\n"
    done = shop.launch(text, 2)
    note = f"{shop.file}:3: hold does nothing here: it is for a serial chain (--serial), and 2 go at a time"
    assert done.plan.notes == [note]
    assert shop.finish() == {"done": 2}
    assert shop.launch(text, None).plan.notes == []
    assert shop.finish() == {"done": 2}
    with pytest.raises(InputError, match=r"^--hold is for a serial chain: give --serial with it, not --parallel$"):
        shop.plan(text, 2, hold=True)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_watched_into_a_pipe_each_look_follows_the_last(
    machine: StandIn, shop: Workshop, flags: tuple[str, ...]
) -> None:
    argv = (sys.executable, "-m", "sweeper", "gpus", "--watch", *flags)
    process = subprocess.Popen(
        argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        looks = 0
        for line in process.stdout:
            looks += len(json.loads(line)) == 4 if flags else line.startswith("GPU") or " GPU " in line.split("name")[0]
            if looks == 2:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        _, error = process.communicate()
    assert looks == 2, error
    assert error == ""


def run_one(*argv: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "sweeper", "run-one", *argv)
    return subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


@pytest.mark.parametrize("asked", [("--gpus-allowed", "0"), ("--gpu-memory", "8GB")])
def test_run_one_that_asks_for_gpus_where_there_are_none_is_told_so(
    machine: StandIn, shop: Workshop, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = run_one(*asked, "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{asked[0]}: asks for GPUs, but CUDA_VISIBLE_DEVICES (or its like) hides every GPU here" in done.stderr
    done = run_one("--", "echo", "ran")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_run_one_says_that_the_driver_does_not_answer(mismatched: StandIn, shop: Workshop) -> None:
    done = run_one("--", "echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.startswith("sweep: it gets no GPU: this machine's GPUs do not answer (NVIDIA's driver: ")
    assert run_one("--gpus", "0", "--", "true").stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("none", []),
        ("0", [0]),
        (" 2 , 1 ", [1, 2]),
        ("1,9,2", [1]),
        ("0,-1,1", [0]),
        ("3,3", [3]),
        ("UUID2", [2]),
        ("UUID1,0", [0, 1]),
        ("PREFIX3", [3]),
        ("GPU-", []),
        ("GPU-nonesuch,1", []),
        ("$(date)", []),
    ],
)
def test_cuda_visible_devices_as_cuda_reads_it(machine: StandIn, words: str | None, expected: list[int]) -> None:
    env = {}
    if words is not None:
        for index in range(4):
            words = words.replace(f"UUID{index}", machine.uuids[index])
            words = words.replace(f"PREFIX{index}", machine.uuids[index][:16])
        env = {"CUDA_VISIBLE_DEVICES": words}
    assert [gpu.index for gpu in gpus.visible(env)] == expected


def test_mig_instances_stand_for_their_gpu(machine: StandIn) -> None:
    machine.gpus[1].instances = {f"MIG-{machine.uuids[1][4:-1]}{end}": (10 * GB, 0) for end in "ab"}
    machine.save()
    found = gpus.all_gpus()
    assert [gpu.index for gpu in found] == [0, 1, 1, 2, 3]
    first, second = [gpu for gpu in found if gpu.mig]
    assert (first.handle, first.memory_total) == (first.uuid, 10 * GB)
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": f"{second.uuid},0"}, found) == [found[0], second]
    assert len(gpus.resolve(GpuRequest(count=1, allowed=(1,)), found).allowed) == 2


def test_what_is_asked_becomes_definite(machine: StandIn) -> None:
    found = gpus.all_gpus()
    assert gpus.resolve(GpuRequest(count=None), found).count == 4
    assert gpus.resolve(GpuRequest(count=None, allowed=(3, 1)), found).count == 2
    assert len(gpus.resolve(GpuRequest(count=1, allowed=(2,)), found)) == 1
    assert gpus.resolve(GpuRequest(count=0), []).count == 0
    with pytest.raises(InputError, match=r"(?s)there is no GPU 7 here.*: 0, 1, 2, 3\."):
        gpus.resolve(GpuRequest(count=1, allowed=(7,)), found)
    with pytest.raises(InputError, match=r"(?s)hides 3 here.*leaves \(0, 1\)"):
        gpus.resolve(GpuRequest(count=1, allowed=(3,)), found[:2])
    with pytest.raises(InputError, match="hides every GPU"):
        gpus.resolve(GpuRequest(count=1), [])
    with pytest.raises(InputError, match=r"(?s)has no GPU \(no driver\).*gpus: 0"):
        gpus.resolve(GpuRequest(count=1), [], Machine((), "no driver"))


def _amd(sys_folder: Path, card: int, address: str, **files: str) -> None:
    device = sys_folder / "devices" / address
    device.mkdir(parents=True)
    for name, text in {"vendor": "0x1002", "mem_info_vram_total": str(64 * GB), **files}.items():
        (device / name).write_text(text + "\n")
    drm = sys_folder / "class/drm" / f"card{card}"
    drm.mkdir(parents=True)
    (drm / "device").symlink_to(device)


def test_amd_by_what_the_kernel_says(tmp_path: Path) -> None:
    _amd(tmp_path, 0, "0000:43:00.0", mem_info_vram_used=str(2 * GB), unique_id="9246c8", gpu_busy_percent="17")
    _amd(tmp_path, 1, "0000:03:00.0", product_name="AMD Instinct MI250")
    _amd(tmp_path, 2, "0000:00:02.0", vendor="0x8086")
    _amd(tmp_path, 3, "0000:02:00.0", mem_info_vram_total=str(512 << 20))  # the processor's own
    (tmp_path / "class/drm/card0-DP-1").mkdir()
    node = tmp_path / "class/kfd/kfd/topology/nodes/1"
    node.mkdir(parents=True)
    (node / "gpu_id").write_text("5021\n")
    (node / "properties").write_text(f"cpu_cores_count 0\nlocation_id {0x43 << 8}\ndomain 0\n")
    process = tmp_path / "class/kfd/kfd/proc/777"
    process.mkdir(parents=True)
    (process / "vram_5021").write_text(str(1 * GB))
    from sweeper.lease import amd

    found = amd.read(tmp_path).gpus
    assert [(gpu.index, gpu.name, gpu.uuid) for gpu in found] == [
        (1, "AMD Instinct MI250", "AMD-0000:03:00.0"),
        (2, "AMD GPU", "GPU-9246c8"),
    ]
    assert (found[1].memory_used, found[1].utilization) == (2 * GB, 17)
    assert [(one.pid, one.memory) for one in found[1].processes] == [(777, 1 * GB)]
    assert gpus.visible({"HIP_VISIBLE_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "1"}, found) == [found[1]]
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": "1"}, found) == [found[0]]
    assert gpus.visible({"ROCR_VISIBLE_DEVICES": "2", "HIP_VISIBLE_DEVICES": "0"}, found) == [found[1]]


def test_no_gpus_at_all(tmp_path: Path) -> None:
    from sweeper.lease import amd

    assert amd.read(tmp_path) == Machine((), "there is no /sys/class/drm")


def test_the_table_and_its_data(machine: StandIn, locks: Path) -> None:
    from rich.console import Console

    from sweeper.lease import Waiter

    holder = Waiter(GpuRequest(count=2), {"sweep": "digits", "run": 7, "command": "train.py [red] --x \x1b[1m"}, locks)
    lease = holder.try_acquire()
    assert lease is not None
    waiting = Waiter(GpuRequest(count=3), {"sweep": "words", "run": 1, "command": "x"}, locks)
    waiting.try_acquire()
    machine.occupy(3, os.getppid(), 12 * GB)
    data = gpus.gpus_json(locks)
    json.dumps(data)
    assert [row["state"] for row in data] == ["held", "held", "free", "busy"]
    assert (data[0]["holders"][0]["sweep"], data[0]["holders"][0]["run"]) == ("digits", 7)
    assert data[2]["queue"][0]["sweep"] == "words"
    assert data[3]["others"][0]["pid"] == os.getppid()
    console = Console(width=150, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(gpus.gpus_table(gpus.snapshot(locks)))
    console.file.close()
    text = console.export_text()
    assert "digits 7: train.py [red] --x [1m" in text
    assert "words 1" in text
    assert "outside the locks" in text
    for one in (lease, holder, waiting):
        one.close()


def test_a_gpu_that_changes_hands_is_looked_at_again(
    machine: StandIn, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old holder's claim was read, then the new one's: nobody shall see two holders, unless they stay two."""
    from sweeper.lease import Waiter

    waiter = Waiter(GpuRequest(count=1), {"command": "new"}, locks)
    lease = waiter.try_acquire()
    assert lease is not None
    other = replace(lease.claim, command="old")
    descriptor, name = claims.create(locks, other)
    assert [one.command for one in gpus.snapshot(locks)[0].holders] == ["new", "old"], "what lasts is shown"
    pauses = []

    def end_the_old_one(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(descriptor)

    monkeypatch.setattr(time, "sleep", end_the_old_one)
    assert [one.command for one in gpus.snapshot(locks)[0].holders] == ["new"]
    assert len(pauses) == 3
    (locks / name).unlink()
    (locks / lease.claim.name).unlink()  # what lasts is shown here as well: a lock, and nobody's name
    assert [(row.state, row.holders) for row in gpus.snapshot(locks)[:2]] == [("held", []), ("free", [])]
    lease.close()
    waiter.close()


def shown(locks: Path) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(gpus.gpus_table(gpus.snapshot(locks)))
    console.file.close()
    return console.export_text()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is no ordinary file"),
        (lambda path: os.symlink("/etc/passwd", path), "it is a symbolic link"),
        (os.mkdir, "it is no ordinary file"),
    ],
)
def test_a_lock_that_cannot_be_taken_is_shown_as_unusable(
    machine: StandIn, locks: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], why: str
) -> None:
    path = locks / f"gpu-{machine.uuids[1]}"
    make(path)
    rows = gpus.snapshot(locks)
    assert [row.state for row in rows] == ["free", "unusable", "free", "free"]
    assert rows[1].note.startswith(f"{path}, the lock of a GPU, cannot be opened: {why}. It was put there by ")
    assert rows[1].note.endswith(f"{evidence.user(os.geteuid())}: have it removed")
    assert "unusable" in shown(locks)
    from sweeper.doctor import locks as doctor

    with monkeypatch.context() as patch:
        patch.setattr(folder, "choose", lambda: locks)
        check = doctor.gpu_locks()
    assert (check.level, why in check.text) == ("bad", True)
    assert check.text.startswith("GPU 1: ")


def test_who_has_locked_a_gpu_without_a_claim_is_named(
    machine: StandIn, locks: Path, sleeper_with_lock: Callable[[Path], int]
) -> None:
    from sweeper.lease import Waiter

    pid = sleeper_with_lock(locks / f"gpu-{machine.uuids[0]}")
    row = gpus.snapshot(locks)[0]
    assert (row.state, row.holders) == ("held", [])
    assert f"'s process {pid} '" in row.note
    assert row.note.endswith(f"by a lock on gpu-{machine.uuids[0]} that is none of sweep's")
    waiter = Waiter(GpuRequest(count=1, allowed=(0,)), {"command": "x"}, locks)
    assert waiter.try_acquire() is None
    assert f"GPU 0, held by {evidence.user(os.geteuid())}'s process {pid} '" in waiter.waiting_for().text
    waiter.close()


@pytest.fixture
def sleeper_with_lock() -> Iterator[Callable[[Path], int]]:
    """Starts a process that locks a file as flock(1) does."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path) -> int:
        code = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, 2); print(flush=True); input()"
        command = [sys.executable, "-c", code, path]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "\n"
        return started[-1].pid

    yield start
    for one in started:
        one.communicate("\n")


def test_a_gpu_that_is_lost_is_shown_with_its_holder(machine: StandIn, locks: Path, shop: Workshop) -> None:
    from sweeper.lease import Waiter

    holder = Waiter(GpuRequest(count=1, allowed=(1,)), {"command": "python on-it.py"}, locks)
    lease = holder.try_acquire()
    assert lease is not None
    machine.gpus[1].lost = True
    machine.save()
    rows = gpus.snapshot(locks)
    assert [(row.index, row.state) for row in rows] == [(0, "free"), (1, "lost"), (2, "free"), (3, "free")]
    assert [one.command for one in rows[1].holders] == ["python on-it.py"]
    assert rows[1].note == "the driver says: GPU is lost"
    assert "python on-it.py" in shown(locks)
    said = "--gpus-allowed: GPU 1 does not answer: its driver says 'GPU is lost'\n    See what nvidia-smi says"
    assert said in run_one("--gpus-allowed", "1", "--", "true").stderr
    lease.close()
    holder.close()


def test_those_who_wait_stand_in_one_list_with_what_they_want(machine: StandIn, locks: Path) -> None:
    from rich.console import Console

    from sweeper.lease import Waiter

    holder = Waiter(GpuRequest(count=None), {"command": "everything"}, locks)
    lease = holder.try_acquire()
    assert lease is not None
    asked = [{"count": 1}, {"count": 2, "allowed": (0, 2, 3)}, {"count": None}, {"count": 1, "allowed": (3,)}]
    waiting = [Waiter(GpuRequest(**one), {"sweep": "s", "run": 9 - n}, locks) for n, one in enumerate(asked)]
    waiting += [Waiter(GpuRequest(count=1), {"sweep": "chain", "command": "c" * 200}, locks) for _ in range(20)]
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(gpus.gpus_table(gpus.snapshot(locks)))
    console.file.close()
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    below = [" ".join(line.split()) for line in lines[lines.index(" waiting, in order") :]]
    me = evidence.user(os.geteuid())
    wanted = ["1 of 4 GPUs", "2 of GPU 0, 2, 3", "GPU 0, 1, 2, 3", "GPU 3"]
    for number, (want, line) in enumerate(zip(wanted, below[1:], strict=False)):
        who = re.escape(f"pid {os.getpid()} {me}: s {9 - number}: ?")
        assert re.fullmatch(rf"{number + 1} {want} 0:\d\d {who}", line), line
    assert f"pid {os.getpid()} {me}: chain: ccc" in below[5]
    assert below[5].endswith("c…")
    assert below[-1] == "and 4 more"
    assert max(map(len, lines)) <= 80
    for one in (lease, holder, *waiting):
        one.close()


def _claim(name: int, count: int = 1, allowed: str = "abcd", **more: Any) -> Claim:
    return Claim(WAITING, 1, 1, "boot", count, tuple(allowed), name=f"{name:03d}", live=True, **more)


def everybody(_claim: Claim) -> bool:
    return True


def test_turns_are_first_come_first_served() -> None:
    machine = ("a", "b", "c", "d")
    queue = [_claim(1, 2, "ab"), _claim(2, 1, "bc"), _claim(3, 1, "a"), _claim(4, 1)]
    assert turns.plan(queue, {}, machine, turns.anything, everybody) == {
        "001": ("a", "b"),
        "002": ("c",),
        "004": ("d",),
    }
    held = {"a": [_claim(0)]}
    assert turns.plan(queue, held, machine, turns.anything, everybody) == {"002": ("c",), "004": ("d",)}
    assert turns.ranks(queue[3], queue, everybody, most=9) == {"a": 2, "b": 2, "c": 1, "d": 0}


def test_a_driver_that_refuses_one_leaves_the_gpu_to_the_next() -> None:
    def small_only(claim: Claim, _uuid: str, _holders: object) -> bool:
        return claim.memory < 10

    queue = [_claim(1, memory=20), _claim(2, memory=5)]
    assert turns.plan(queue, {}, ("a",), small_only, everybody) == {"002": ("a",)}


def test_what_a_driver_shows_of_a_process_that_is_gone() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    process = devices.GpuProcess(ended.pid, 9 * GB)
    gpu = Gpu(0, "GPU-x", "name", "nvidia", 40 * GB, 9 * GB, processes=(process,))
    use = evidence.look([gpu], [])["GPU-x"]
    asks = _claim(1, allowed="x", busy_above=500_000_000)
    if remains._own_pids():
        assert evidence.objection(asks, use, ()) is None
    else:
        assert evidence.objection(asks, use, ()) is not None
