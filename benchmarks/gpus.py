"""Figures of GPU leases: a lease of a free GPU, handing over, and what 64 waiters cost. ``python benchmarks/gpus.py``

On the tests' stand-in for NVIDIA's library, four GPUs, and on this machine's own GPUs with ``--real``; ``--quick``
rests for a shorter time. Prints a table.
"""

from __future__ import annotations

import ctypes
import os
import select
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sweeper import procs  # noqa: E402
from sweeper.lease import Lease, Waiter, all_gpus  # noqa: E402
from sweeper.model import GpuRequest  # noqa: E402

WAITERS, LEASES = 64, 300
IDLE, QUICK = 90.0, 15.0  # seconds of rest


def wait(waiter: Waiter) -> Lease:
    poller = select.poll()
    poller.register(waiter.fileno(), select.POLLIN)
    while (lease := waiter.try_acquire()) is None:
        seconds = waiter.timeout()
        poller.poll(None if seconds is None else seconds * 1000 + 0.5)
    waiter.close()
    return lease


def take(folder: Path, count: int | None = 1) -> Lease:
    return wait(Waiter(GpuRequest(count=count), {"command": "benchmark", "pid": os.getpid()}, folder))


def free_lease(folder: Path) -> list[float]:
    """Seconds from asking for a free GPU to having it."""
    procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)
    times = []
    for _ in range(LEASES):
        begun = time.perf_counter()
        lease = take(folder)
        times.append(time.perf_counter() - begun)
        lease.close()
    return times


def queued(folder: Path, count: int) -> None:
    while sum(1 for path in folder.iterdir() if path.name.startswith("claim-")) < count:
        time.sleep(0.05)
    time.sleep(1.0)


def cpu(pid: int) -> float:
    """Seconds of processor that a process has used, to the clock tick; the scheduler's own count where it is kept."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def queue(folder: Path, idle: float) -> tuple[float, list[float]]:
    """What 64 waiting processes use of one core, and the seconds from each one's leaving to the next one's having."""
    gate = take(folder, None)
    reader, log = os.pipe()
    pids = []
    for _ in range(WAITERS):
        pid = os.fork()
        if pid == 0:
            for descriptor in gate.fds:
                os.close(descriptor)
            waiting_process(folder, log)
        pids.append(pid)
    queued(folder, WAITERS + 1)
    before = sum(cpu(pid) for pid in pids)
    time.sleep(idle)
    used = (sum(cpu(pid) for pid in pids) - before) / idle
    left = time.monotonic()
    gate.close()
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(log)
    with os.fdopen(reader) as lines:
        times = sorted(tuple(float(word) for word in line.split()) for line in lines)
    gaps = []
    for got, next_left in times:
        gaps.append(got - left)
        left = next_left
    return used, gaps


def waiting_process(folder: Path, log: int) -> None:
    """One of the forked processes: wait for all GPUs, say when they came and went, and end."""
    procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)  # as run-one and supervisors are: nothing can be left of it unseen
    lease = take(folder, None)
    got = time.monotonic()
    time.sleep(0.005)  # the others settle down again, as they do between real runs
    left = time.monotonic()
    os.write(log, f"{got} {left}\n".encode())
    lease.close()
    os._exit(0)


def row(what: str, figure: str, wanted: str) -> None:
    print(f"{what:<58} {figure:>26} {wanted:>12}")


def milliseconds(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered) * 1e3:.2f} (95 %: {ordered[int(len(ordered) * 0.95)] * 1e3:.2f}) ms"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "locks"
        folder.mkdir()
        if "--real" not in sys.argv:
            import nvml_standin

            library = nvml_standin.build(Path(name))
            ctypes.CDLL(str(library))
            os.environ.update(nvml_standin.StandIn(library, Path(name) / "gpus.txt", 4).environment())
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        begun = time.perf_counter()
        gpus = all_gpus(load=False)
        started = time.perf_counter() - begun
        print(f"{len(gpus)} GPUs ({gpus[0].name}), {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        row("", "median", "wanted")
        row("starting NVIDIA's library, with its import", f"{started * 1e3:.1f} ms", "")
        row("lease of a free GPU", milliseconds(free_lease(folder)), "<= 2 ms")
        used, gaps = queue(folder, QUICK if "--quick" in sys.argv else IDLE)
        row(f"{WAITERS} waiters, of one core", f"{used * 100:.3f} %", "<= 0.5 %")
        row(f"handing over, up to {WAITERS} waiting", milliseconds(gaps), "<= 5 ms")


if __name__ == "__main__":
    main()
