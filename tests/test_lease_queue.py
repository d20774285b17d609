"""The queue when something is odd: stopped waiters, deleted claims, bad locks, GPUs that go; and what is said of it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lease_waiting import lease_of, refused

from sweeper import gpus
from sweeper.errors import SweepError
from sweeper.lease import Waiter, claims, evidence, refusals, silence
from sweeper.lease import waiter as waiter_module
from tests.conftest import wait_for

if TYPE_CHECKING:
    from lease_processes import Drivers
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin", "lease_processes"]
GB = 1_000_000_000


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that can be stopped."""
    found = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    yield found
    for one in found:
        one.kill()
        one.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_a_stopped_waiter_is_passed_over_and_keeps_its_place(driver: Drivers, machine: StandIn) -> None:
    holder = driver(request={"count": 4})
    holder.hear("got")
    first = driver()
    first.hear("waiting")
    first.process.send_signal(signal.SIGSTOP)
    second = driver(request={"count": 4})
    second.hear("waiting", containing=f"process {first.pid} is stopped and passed over")
    third = driver(request={"count": 4})
    third.hear("waiting")
    holder.release()
    second.hear("got")
    assert [(one.pid, one.stopped) for one in gpus.snapshot(driver.folder)[0].queue] == [
        (first.pid, True),
        (third.pid, False),
    ]
    first.process.send_signal(signal.SIGCONT)
    first.hear("waiting", containing="held by ")
    second.release()
    assert first.hear("got")["names"] == ["0"]
    assert third.silent(0.2)
    first.release()
    third.hear("got")


def test_those_behind_two_that_are_stopped_come_to_know(
    waiter: Callable[..., Waiter], sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter_module, "DRIVER", 0.2)
    lease = lease_of(waiter(allowed=(0,)))
    ahead = [waiter(allowed=(0,), pid=one.pid) for one in sleepers]
    third = waiter(allowed=(0,))
    assert all(map(refused, [*ahead, third]))
    for one in sleepers:
        stop(one)
    lease.close()  # nobody tells the third one, who was not among those that watch the holder
    lease_of(third, patience=5).close()
    sleepers[1].send_signal(signal.SIGCONT)
    sleepers[0].send_signal(signal.SIGCONT)
    lease_of(ahead[0]).close()
    lease_of(ahead[1]).close()


def freeze_by_signal(pid: int) -> Callable[[], None]:
    os.kill(pid, signal.SIGUSR1)
    return lambda: os.kill(pid, signal.SIGUSR2)


def freeze_as_docker_does(pid: int) -> Callable[[], None]:
    """By the control group's freezer (version 1), where we may."""
    group = Path(f"/sys/fs/cgroup/freezer/sweep-test-{os.getpid()}-{pid}")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no freezer here: {error}")
    (group / "cgroup.procs").write_text(str(pid))
    (group / "freezer.state").write_text("FROZEN")
    wait_for(lambda: (group / "freezer.state").read_text() == "FROZEN\n")

    def thaw() -> None:
        (group / "freezer.state").write_text("THAWED")
        (group.parent / "cgroup.procs").write_text(str(pid))
        wait_for(lambda: (group / "cgroup.procs").read_text() == "")
        group.rmdir()

    return thaw


@pytest.mark.parametrize("freeze", [freeze_by_signal, freeze_as_docker_does])
def test_a_frozen_waiter_is_passed_over_and_keeps_its_place(
    driver: Drivers, waiter: Callable[..., Waiter], monkeypatch: pytest.MonkeyPatch, freeze: Callable[..., Any]
) -> None:
    monkeypatch.setattr(silence, "PATIENCE", 1.0)
    monkeypatch.setattr(silence, "SOON", 0.2)
    lease, other = lease_of(waiter(allowed=(0,))), lease_of(waiter(allowed=(1,)))
    first = driver(request={"allowed": (0,)})
    first.hear("waiting")
    thaw = freeze(first.pid)
    try:
        both, second, third = waiter(allowed=(0, 1), count=2), waiter(allowed=(0,)), waiter(allowed=(0,))
        assert all(map(refused, [both, second, third]))
        lease.close()
        begun = time.monotonic()
        told = f"process {first.pid} does not answer and is passed over"
        wait_for(lambda: both.try_acquire() or told in both.waiting_for().text)
        assert time.monotonic() - begun > 0.9, "it has its time first"
        other.close()
        lease = lease_of(both)
        monkeypatch.setattr(silence, "PATIENCE", 60.0)
        lease.close()
        lease = lease_of(second)  # who finds it out at once, since another has
        assert refused(third)
    finally:
        thaw()
    first.hear("waiting", containing="held by ")
    lease.close()
    first.hear("got")
    assert refused(third)
    first.release()
    lease_of(third).close()


def test_looking_only_whether_the_first_are_stopped_reads_no_claims(
    waiter: Callable[..., Waiter], sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = lease_of(waiter(allowed=(0,)))
    first, second = waiter(allowed=(0,), pid=sleepers[0].pid), waiter(allowed=(0,))
    assert refused(first)
    assert refused(second)
    reads: list[Path] = []
    monkeypatch.setattr(claims, "read_all", lambda folder, over: reads.append(folder))
    second._again = time.monotonic()
    assert second.try_acquire() is None
    assert reads == []
    monkeypatch.undo()
    seconds = second.timeout()
    assert seconds is not None
    assert 4 < seconds <= 5
    lease.close()


def test_a_gpu_that_the_first_may_not_have_is_given_to_the_next(
    waiter: Callable[..., Waiter], machine: StandIn
) -> None:
    """The claims say that it is the first one's; only the driver says that it is too full for him."""
    lease = lease_of(waiter(allowed=(0,)))
    large = waiter(allowed=(0,), memory=20 * GB, ignore_others=True)
    small = waiter(allowed=(0,), memory=5 * GB, ignore_others=True)
    smaller = waiter(allowed=(0,), memory=1 * GB, ignore_others=True)
    assert all(map(refused, [large, small, smaller]))
    machine.occupy(0, 1, 25 * GB)
    lease.close()
    assert refused(large)
    assert "15.0 GB are free and 20.0 GB are asked for" in large.waiting_for().text
    lease_of(small).close()
    assert refused(large)  # the first sees to it for all behind
    lease_of(smaller).close()
    machine.vacate(0, 1)
    lease_of(large).close()


def test_one_that_waits_for_a_second_gpu_asks_the_driver_for_those_behind(
    waiter: Callable[..., Waiter], machine: StandIn
) -> None:
    """GPU 0 is no good for the first, who waits for GPU 1 as well; the next, who does not mind, may have it."""
    lease = lease_of(waiter(allowed=(0, 1), count=2))
    second = lease_of(waiter(allowed=(2,)))
    both = waiter(allowed=(0, 2), count=2)
    assert refused(both)
    other = waiter(allowed=(0,), ignore_others=True)
    assert refused(other)
    machine.occupy(0, 1, 25 * GB)
    lease.close()
    assert refused(both)
    lease_of(other).close()
    second.close()


def test_a_claim_deleted_while_it_holds_is_waited_for_quietly(waiter: Callable[..., Waiter], locks: Path) -> None:
    lease = lease_of(waiter(count=4))
    (locks / lease.claim.name).unlink()
    now = waiter()
    assert now.try_acquire() is None
    assert now.waiting_for().everything == (
        "GPU 0, 1, 2, 3, held by somebody whose file in the folder of the locks was deleted"
    ), "what --no-wait says"
    now.close()
    queue = [waiter() for _ in range(4)]
    looks, said = 0, set()
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        for one in queue:
            if select.select([one], [], [], 0)[0] or one.timeout() == 0:
                assert one.try_acquire() is None
                looks += 1
                said.add((queue.index(one), one.waiting_for().text))
        pauses = [seconds for one in queue if (seconds := one.timeout()) is not None]
        select.select(queue, [], [], max(0.0, min([*pauses, deadline - time.monotonic()])))
    assert looks < 60
    assert len(said) == len(queue), said
    lease.close()


def test_a_bad_lock_leaves_the_other_gpus(
    waiter: Callable[..., Waiter], machine: StandIn, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_PAUSES", (0.001, 0.2))
    os.mkfifo(locks / f"gpu-{machine.uuids[0]}")
    lease = lease_of(waiter(allowed=(0, 1)))
    assert lease.names == ["1"]
    one = waiter(allowed=(0, 1))
    assert refused(one)
    assert "GPU 0, which cannot be locked: " in one.waiting_for().everything
    assert "GPU 1, held by " in one.waiting_for().everything
    (locks / f"gpu-{machine.uuids[0]}").unlink()
    got = lease_of(one)
    assert got.names == ["0"]
    got.close()
    os.mkfifo(locks / f"gpu-{machine.uuids[2]}")
    with pytest.raises(SweepError, match=r"(?s)no ordinary file.*have it removed"):
        waiter(allowed=(2, 3), count=2).try_acquire()
    lease.close()


def test_indices_are_those_of_now(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    """A GPU that the driver does not count any more moves the indices of those behind it."""
    lease = lease_of(waiter(allowed=(1,)))
    one, both, last = waiter(allowed=(1,)), waiter(allowed=(0, 1), count=2), waiter(allowed=(1,))
    assert all(map(refused, [one, both, last]))
    gone = machine.gpus.pop(0)
    machine.save()
    lease.close()
    got = lease_of(one)
    assert got.names == ["0"]
    assert got.environment["CUDA_VISIBLE_DEVICES"] == "0"
    got.close()
    assert refused(both)
    lease_of(last).close()  # who needs more than there are by now keeps nobody from the rest
    machine.gpus.insert(0, gone)
    machine.save()
    assert lease_of(both).names == ["0", "1"]


def test_all_who_are_in_the_way_are_named(waiter: Callable[..., Waiter]) -> None:
    leases = [lease_of(waiter(f"train {number}", allowed=(number,))) for number in (0, 1)]
    leases.append(lease_of(waiter("train both", allowed=(2, 3), count=2)))
    one = waiter()
    assert one.try_acquire() is None
    user = evidence.user(os.geteuid())
    lines = one.waiting_for().everything.split("\n    ")
    assert [line.partition(" (pid")[0] for line in lines] == [
        f"GPU 0, held by {user}: train 0",
        f"GPU 1, held by {user}: train 1",
        f"GPU 2, 3, held by {user}: train both",
    ]
    two = waiter(count=2)
    assert two.try_acquire() is None
    assert two.waiting_for().everything.split("\n    ")[3:] == [
        "(2 GPUs are needed)",
        f"its turn behind 1 other ({user})",
    ]
    for lease in leases:
        lease.close()


def test_holders_that_let_in_fewer_are_named(waiter: Callable[..., Waiter]) -> None:
    shared = [lease_of(waiter(f"train {places}", allowed=(0,), per_gpu=places)) for places in (4, 2)]
    one = waiter(allowed=(0,), per_gpu=3)
    assert refused(one)
    text = one.waiting_for().text
    assert text.startswith("GPU 0, shared by 2 already, and no more are let in by ")
    assert ": train 2 (pid" in text
    for lease in shared:
        lease.close()
