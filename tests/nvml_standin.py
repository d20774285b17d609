"""A machine with GPUs for tests: the real nvidia-ml-py on a library that is compiled here and reads a file."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "nvml" / "libnvidia-ml.c"
SONAME = "libnvidia-ml.so.1"


@dataclass
class StandInGpu:
    """A GPU as its driver shows it; ``processes`` maps pids to bytes, ``instances`` UUIDs to (total, used)."""

    uuid: str
    name: str = "Stand-in 40GB"
    total: int = 40_000_000_000
    used: int = 5_000_000
    load: int = 0
    lost: bool = False
    processes: dict[int, int] = field(default_factory=dict)
    instances: dict[str, tuple[int, int]] = field(default_factory=dict)


class StandIn:
    """A machine: change ``gpus`` and ``save()``; every process that asks its driver next sees the change."""

    def __init__(self, library: Path, file: Path, count: int) -> None:
        self.library = library
        self.file = file
        self.init = 0
        self.generation = 0  # of the driver: another number is another driver
        self.gpus = [StandInGpu(f"GPU-{uuid.uuid4()}") for _ in range(count)]
        self.save()

    @property
    def uuids(self) -> list[str]:
        return [gpu.uuid for gpu in self.gpus]

    def save(self) -> None:
        lines = [f"init\t{self.init}\t{self.generation}"]
        for number, gpu in enumerate(self.gpus):
            lines.append(f"gpu\t{gpu.uuid}\t{gpu.name}\t{gpu.total}\t{gpu.used}\t{gpu.load}\t{int(gpu.lost)}")
            lines += [f"proc\t{number}\t{pid}\t{size}" for pid, size in gpu.processes.items()]
            lines += [f"mig\t{number}\t{name}\t{size[0]}\t{size[1]}" for name, size in gpu.instances.items()]
        beside = self.file.with_suffix(".new")
        beside.write_text("\n".join(lines) + "\n")
        os.replace(beside, self.file)

    def occupy(self, index: int, pid: int, size: int) -> None:
        self.gpus[index].processes[pid] = size
        self.gpus[index].used += size
        self.save()

    def vacate(self, index: int, pid: int) -> None:
        self.gpus[index].used -= self.gpus[index].processes.pop(pid)
        self.save()

    def environment(self) -> dict[str, str]:
        """What a process needs to see this machine."""
        return {"LD_LIBRARY_PATH": str(self.library.parent), "STANDIN_GPUS": str(self.file)}


def build(folder: Path, *flags: str) -> Path:
    """Compile the stand-in into ``folder``; skip the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in of NVIDIA's library")
    library = folder / SONAME
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", *flags, f"-Wl,-soname,{SONAME}"]
    subprocess.run([compiler, *options, "-o", str(library), str(SOURCE)], check=True)
    return library


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    return build(folder)


@pytest.fixture
def machine(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Four free GPUs with UUIDs of this test's own, in this process and in those that it starts."""
    ctypes.CDLL(str(nvml_library))  # loaded under its own name: the next dlopen of that name finds this one
    found = StandIn(nvml_library, tmp_path / "gpus.txt", 4)
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("CUDA_VISIBLE_DEVICES", "SWEEP_LEASE"):
        monkeypatch.delenv(name, raising=False)
    yield found
    from sweeper.lease import nvidia

    nvidia.stop()
    forget(found.uuids)


def forget(uuids: list[str]) -> None:
    """Remove what a test of the whole program left of these GPUs in the folder that all users share."""
    from sweeper.lease import claims, folder

    shared = folder.choose()
    for path in [path for one in uuids for path in shared.glob(f"gpu-{one}*")]:
        path.unlink()
    for claim in claims.read_all(shared):
        if set(claim.allowed) & set(uuids):
            (shared / claim.name).unlink(missing_ok=True)


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """A folder for locks, like the one that all users share."""
    folder = tmp_path / "locks"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder
