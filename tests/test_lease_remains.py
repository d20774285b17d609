"""What is left of runs that are over: processes that closed what they had inherited, and are still there."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lease_waiting import lease_of, refused

from sweeper import gpus, procs
from sweeper.lease import Waiter, claims, evidence, remains
from tests.conftest import over, wait_for

if TYPE_CHECKING:
    from lease_processes import Drivers
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin", "lease_processes"]
MB = 1_000_000


@pytest.mark.parametrize("joined", ["before the rest began", "after the rest began"])
def test_who_shared_with_a_run_does_not_make_its_rest_forgotten(
    driver: Drivers, waiter: Callable[..., Waiter], machine: StandIn, joined: str
) -> None:
    """The rest is known by its user and its start alone, and the sharer may have come before it or after it."""
    shares = {"allowed": (0,), "per_gpu": 2}
    early = lease_of(waiter(**shares)) if joined.startswith("before") else None
    first = driver(request=shares, child="hides")
    child = first.hear("got")["child"]
    machine.occupy(0, child, 100 * MB)
    sharer = early or lease_of(waiter(**shares))
    first.kill()
    late = waiter(allowed=(0,))
    assert refused(late)
    for _ in range(2):  # what others do meanwhile forgets nothing
        lease_of(waiter(allowed=(1,))).close()
    sharer.close()
    assert refused(late)
    assert f"still used by {evidence.user(os.geteuid())}'s process {child} 'sleep 600'" in late.waiting_for().text
    os.kill(child, signal.SIGKILL)
    assert select.select([late], [], [], 10)[0] == [late]
    lease_of(late).close()


def test_the_process_of_a_run_that_goes_on_is_its_own(
    driver: Drivers, waiter: Callable[..., Waiter], machine: StandIn
) -> None:
    """Of two runs that share, the nearer one in the line of descent has the process, and the dead one has none."""
    shares = {"allowed": (0,), "per_gpu": 3}
    ours = lease_of(waiter(**shares))
    dead, alive = driver(request=shares), driver(request=shares, child="closes")
    dead.hear("got")
    said = alive.hear("got")
    machine.occupy(0, said["child"], 100 * MB)
    dead.kill()
    use = evidence.look(gpus.all_gpus(), claims.read_all(driver.folder))[machine.uuids[0]]
    assert use.ours == {said["env"]["SWEEP_LEASE"]: 100 * MB}
    assert (use.left, use.others, use.kept) == ([], [], set())
    ours.close()


def test_what_a_run_leaves_when_it_gives_its_gpu_back_is_not_forgotten(
    driver: Drivers, waiter: Callable[..., Waiter], machine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = driver(request={"allowed": (0,)}, child="closes")
    said = first.hear("got")
    child, name = said["child"], said["env"]["SWEEP_LEASE"]
    first.release()
    first.hear("released")
    first.process.wait()
    late = waiter(allowed=(0,))
    assert refused(late), "it has not reached the GPU yet, and may"
    assert f"GPU 0, kept for {evidence.user(os.geteuid())}'s process {child} 'sleep 600'" in late.waiting_for().text
    monkeypatch.setattr(remains, "PATIENCE", 0)
    lease_of(late).close()  # it does not seem to
    assert (driver.folder / name).exists(), "whoever came next found it there, and left it"
    machine.occupy(0, child, 100 * MB)
    last = waiter(allowed=(0,))
    assert refused(last)
    assert f"still used by {evidence.user(os.geteuid())}'s process {child}" in last.waiting_for().text
    assert [process.left for process in gpus.snapshot(driver.folder)[0].others] == [True]
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: over(child))
    lease_of(last).close()
    assert not (driver.folder / name).exists()


def test_nobody_waits_for_himself(driver: Drivers, machine: StandIn) -> None:
    """A run was killed, and what it had started waits for a GPU of its own."""
    outer = driver(request={"allowed": (0,)})
    environment = outer.hear("got")["env"]
    outer.kill()
    left = driver(request={"allowed": (0,)}, env=environment)
    assert left.hear("got")["names"] == ["0"]


@pytest.fixture
def replaced() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is replaced by itself again and again (execve)."""
    found = subprocess.Popen(["/bin/sh", "-c", 'exec "$0" -c "$1" "$0" "$1"', "/bin/sh", 'exec "$0" -c "$1" "$0" "$1"'])
    yield found
    found.kill()
    found.wait()


def test_a_process_that_is_just_being_replaced_is_seen(replaced: subprocess.Popen[bytes]) -> None:
    """Its environment is empty for a moment, and it was taken for somebody else's."""
    name = next(f"{key}={value}".encode() for key, value in os.environ.items() if key == "PATH")
    ticks = procs.start_ticks(replaced.pid)
    misses = sum(name not in (procs.environment(replaced.pid) or ()) for _ in range(3000))
    assert misses == 0
    assert procs.start_ticks(replaced.pid) == ticks


def test_an_environment_that_was_cleared_is_read_at_once() -> None:
    bare = subprocess.Popen(["sleep", "600"], env={})
    try:
        while Path(f"/proc/{bare.pid}/comm").read_text() != "sleep\n":
            pass
        assert procs.environment(bare.pid) == set()
    finally:
        bare.kill()
        bare.wait()
    assert procs.environment(bare.pid) is None


FORKER = """
import os, time
end = time.monotonic() + 20
while time.monotonic() < end:
    time.sleep(0.005)
    if os.fork():
        os._exit(0)
"""


def test_one_that_forks_and_ends_all_the_time_does_not_escape() -> None:
    """Each of its processes lives for some milliseconds, less than it takes to look at all that there are."""
    subprocess.Popen([sys.executable, "-I", "-S", "-c", FORKER], env={"SWEEP_LEASE": "forker"}).wait()
    try:
        assert all(remains._carriers({b"SWEEP_LEASE=forker"}) for _ in range(30))
    finally:
        while found := remains._carriers({b"SWEEP_LEASE=forker"}):
            procs.signal_all(found, signal.SIGKILL)
