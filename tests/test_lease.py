"""Leases of GPUs: order, sharing, others' processes, crashes, deleted and hostile files."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lease_waiting import lease_of, refused

from sweeper import gpus
from sweeper.errors import InputError, SweepError
from sweeper.lease import Waiter, claims, evidence, folder, guard
from sweeper.lease.hold import Refused
from sweeper.lease.refusals import Refusals
from sweeper.model import GpuRequest

if TYPE_CHECKING:
    from lease_processes import Drivers
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin", "lease_processes"]
GB = 1_000_000_000


def test_a_free_gpu_is_leased_and_told(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    lease = lease_of(waiter(count=2))
    assert lease.names == ["0", "1"]
    assert lease.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert lease.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert [gpu.uuid for gpu in lease.gpus] == machine.uuids[:2]
    with socket.socket() as server:
        server.bind(("127.0.0.1", int(lease.environment["MASTER_PORT"])))
    lease.close()
    lease.close()


def test_mig_instances_beside_whole_gpus_are_all_told_by_uuid(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    instance = f"MIG-{machine.uuids[1][4:]}"
    machine.gpus[1].instances = {instance: (10 * GB, 0)}
    machine.save()
    lease = lease_of(waiter(count=None))
    assert lease.names == [machine.uuids[0], instance, *machine.uuids[2:]]
    lease.close()
    lease = lease_of(waiter(allowed=(0, 2), count=2))
    assert lease.names == ["0", "2"]
    lease.close()


def test_concurrent_runs_have_ports_of_their_own(waiter: Callable[..., Waiter]) -> None:
    leases = [lease_of(waiter()) for _ in range(4)]
    assert len({lease.environment["MASTER_PORT"] for lease in leases}) == 4
    for lease in leases:
        lease.close()


def test_a_port_that_somebody_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(guard, "_PORTS", (taken, taken + 1))
        with pytest.raises(SweepError, match="MASTER_PORT"):
            guard.port()


def test_who_holds_and_who_waits_is_said(waiter: Callable[..., Waiter], locks: Path) -> None:
    lease = lease_of(waiter("python a.py --lr 3", allowed=(1,)))
    second, third = waiter(allowed=(1,)), waiter(allowed=(0, 1), count=2)
    assert refused(second)
    text = second.waiting_for().text
    assert text.startswith("GPU 1, held by ")
    assert f": python a.py --lr 3 (pid {os.getpid()}, for 0:0" in text
    assert refused(third)
    assert third.waiting_for().text.endswith(f"; its turn behind 1 other ({evidence.user(os.geteuid())})")
    lease.close()
    rows = gpus.snapshot(locks)
    assert [row.state for row in rows] == ["free"] * 4
    assert [len(row.queue) for row in rows] == [1, 2, 0, 0]


def test_the_cause_stays_the_same_object_until_it_changes(waiter: Callable[..., Waiter]) -> None:
    lease = lease_of(waiter(allowed=(0,)))
    second = waiter(allowed=(0,))
    refused(second)
    first_text = second.waiting_for()
    refused(second)
    assert second.waiting_for() is first_text
    lease.close()


def test_those_further_back_hear_who_holds_the_gpu_now(
    waiter: Callable[..., Waiter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not woken at once, since it is not their turn, but they do not name one who is gone for long either."""
    monkeypatch.setattr("sweeper.lease.waiter.LATER", 0.5)
    lease = lease_of(waiter("python old.py", allowed=(0,)))
    queue = [waiter(f"python new-{number}.py", allowed=(0,)) for number in range(5)]
    assert all(refused(one) for one in queue)
    last = queue[-1]
    assert "python old.py" in last.waiting_for().text
    assert "its turn behind 4 others" in last.waiting_for().text
    lease.close()
    assert select.select([last], [], [], 0)[0] == [], "nobody that far back is woken by a holder's end"
    lease = lease_of(queue[0])
    assert select.select([last], [], [], 10)[0] == [last]
    assert last.try_acquire() is None
    seconds = last.timeout()
    assert seconds is not None
    assert 0 < seconds <= 0.5
    time.sleep(seconds)
    assert last.try_acquire() is None
    assert "python new-0.py" in last.waiting_for().text
    assert "its turn behind 3 others" in last.waiting_for().text
    lease.close()


def test_the_waiter_is_woken_when_the_holder_goes(waiter: Callable[..., Waiter]) -> None:
    lease = lease_of(waiter(count=None))
    second = waiter()
    second.try_acquire()
    assert select.select([second], [], [], 0)[0] == []
    lease.close()
    assert select.select([second], [], [], 10)[0] == [second]
    lease_of(second).close()


def test_two_gpus_are_not_starved_by_those_that_want_one(waiter: Callable[..., Waiter]) -> None:
    leases = [lease_of(waiter()) for _ in range(4)]
    large, small = waiter(count=2), waiter()
    leases.pop().close()
    assert refused(large)
    assert refused(small)
    leases.pop().close()
    assert refused(small)
    both = lease_of(large)
    assert len(both.gpus) == 2
    assert refused(small)
    both.close()
    lease_of(small).close()
    for lease in leases:
        lease.close()


def test_nobody_keeps_a_gpu_that_he_may_not_take(waiter: Callable[..., Waiter]) -> None:
    lease = lease_of(waiter(allowed=(0,)))
    first, second = waiter(allowed=(0, 1), count=2), waiter(allowed=(1, 2))
    assert refused(first)
    other = lease_of(second)
    assert other.names == ["2"]
    other.close()
    lease.close()


def test_whoever_leaves_the_queue_lets_the_next_go(waiter: Callable[..., Waiter]) -> None:
    lease = lease_of(waiter(allowed=(0,)))
    first, second = waiter(allowed=(0, 1), count=2), waiter(allowed=(1,))
    assert refused(first)
    assert refused(second)
    first.close()
    assert select.select([second], [], [], 10)[0] == [second]
    lease_of(second).close()
    lease.close()


def test_sharing_runs_share_and_never_beside_one_alone(waiter: Callable[..., Waiter]) -> None:
    shared = [lease_of(waiter(allowed=(0,), per_gpu=2)) for _ in range(2)]
    third, alone = waiter(allowed=(0,), per_gpu=2), waiter(allowed=(0,))
    assert refused(third)
    assert "shared by 2 already" in third.waiting_for().text
    third.close()
    assert refused(alone)
    shared.pop().close()
    assert refused(alone)
    late = waiter(allowed=(0,), per_gpu=2)
    assert refused(late), "it would come before one that waits to be alone"
    shared.pop().close()
    whole = lease_of(alone)
    assert refused(late)
    whole.close()
    lease_of(late).close()


def test_the_smaller_of_two_numbers_of_sharers_counts(waiter: Callable[..., Waiter]) -> None:
    shared = [lease_of(waiter(allowed=(0,), per_gpu=2)), lease_of(waiter(allowed=(0,), per_gpu=4))]
    assert refused(waiter(allowed=(0,), per_gpu=4))
    for lease in shared:
        lease.close()


def test_memory_counts_what_was_promised(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    machine.gpus[0].total, machine.gpus[0].used = 40 * GB, 0
    machine.save()
    asked = {"allowed": (0,), "per_gpu": 4, "memory": 15 * GB}
    first, second = lease_of(waiter(**asked)), lease_of(waiter(**asked))
    third = waiter(**asked)
    assert refused(third)
    assert third.waiting_for().text.startswith("GPU 0, where 10.0 GB are free and 15.0 GB are asked for")
    machine.occupy(0, os.getpid(), 15 * GB)  # allocated now: no longer promised, and not counted twice
    assert refused(third)
    second.close()
    lease_of(third).close()
    first.close()
    machine.vacate(0, os.getpid())


def test_what_can_never_be_had_is_refused_at_once(waiter: Callable[..., Waiter]) -> None:
    for asked, words in [
        ({"count": 5}, "only 4 may be used here"),
        ({"allowed": (0, 9)}, r"there is no GPU 9 here\n    Choose from those of this machine: 0, 1, 2, 3\."),
        ({"memory": 99 * GB}, "can never be free"),
        ({"count": 4, "keep_free": 1}, "this machine has 4 GPUs"),
        ({"per_gpu": 0}, "per_gpu"),
    ]:
        with pytest.raises(InputError, match=words):
            waiter(**asked)


def test_keep_free_leaves_gpus_to_others(waiter: Callable[..., Waiter]) -> None:
    lease = lease_of(waiter(count=2))
    polite = waiter(count=1, keep_free=2)
    assert refused(polite)
    assert "keep_free leaves 2 to others" in polite.waiting_for().text
    behind = waiter(count=1, keep_free=2)
    assert refused(behind)
    assert behind.waiting_for().text.startswith("more free GPUs: keep_free leaves 2 to others; its turn behind 1 other")
    behind.close()
    other = lease_of(waiter(count=2))  # those two are for others, though the polite one came before
    assert refused(polite)
    assert "(3 must be free: keep_free leaves 2 to others)" in polite.waiting_for().text
    other.close()
    lease.close()
    lease_of(polite).close()


def test_a_foreign_process_is_waited_for_by_name(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        for index in range(4):
            machine.occupy(index, stranger.pid, 11 * GB)
        one = waiter()
        assert refused(one)
        text = one.waiting_for().text
        assert f"process {stranger.pid} 'sleep 600' (11.0 GB, for 0:" in text
        assert text.startswith("GPU 0, busy with ")
        assert [row.state for row in gpus.snapshot(one.folder)] == ["busy"] * 4
        lease_of(waiter(ignore_others=True, allowed=(3,))).close()
        seconds = one.timeout()
        assert seconds is not None
        assert seconds <= 5
        machine.vacate(2, stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()
    # The driver still shows it on the others, but it does not exist any more: its end woke us.
    assert select.select([one], [], [], 10)[0] == [one]
    lease_of(one).close()


def test_a_little_memory_does_not_make_a_gpu_busy(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    machine.occupy(0, 1, 300_000_000)
    lease = lease_of(waiter(allowed=(0,)))
    lease.close()
    assert refused(waiter(allowed=(0,), busy_above=100_000_000))


def test_memory_that_no_process_accounts_for_is_somebodys(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    machine.gpus[0].used = 9 * GB
    machine.save()
    one = waiter(allowed=(0,))
    assert refused(one)
    assert "does not name (9.0 GB)" in one.waiting_for().text


def test_a_gpu_that_vanishes_is_not_given(waiter: Callable[..., Waiter], machine: StandIn) -> None:
    lease = lease_of(waiter(allowed=(0, 1), count=2))
    one = waiter(allowed=(0, 1))
    assert refused(one)
    machine.gpus[0].lost = True
    machine.save()
    lease.close()
    got = lease_of(one)
    assert got.names == ["1"]
    last = waiter(allowed=(1,))
    machine.gpus[1].lost = True
    machine.save()
    got.close()
    assert refused(last)
    assert last.waiting_for().text == "GPU 1, which the driver no longer shows"


def test_a_waiter_outlives_a_restart_of_the_driver(driver: Drivers, machine: StandIn) -> None:
    holder = driver(request={"count": 4})
    holder.hear("got")
    one = driver()
    one.hear("waiting")
    machine.init = 9
    machine.generation = 1
    machine.save()
    holder.release()
    one.hear("waiting", containing="the driver")
    machine.init = 0
    machine.save()
    one.hear("got")


def test_killed_holder_frees_and_waiters_are_served_in_order(driver: Drivers, machine: StandIn) -> None:
    holder = driver(request={"count": 4})
    holder.hear("got")
    queue = []
    for _ in range(3):
        queue.append(driver(request={"count": 3}))
        queue[-1].hear("waiting")
    holder.kill()
    queue[0].hear("got")
    queue[1].kill()
    assert queue[2].silent(0.2)
    queue[0].release()
    queue[2].hear("got")


def test_what_inherited_the_lease_keeps_it_after_kill_9(driver: Drivers, machine: StandIn) -> None:
    holder = driver(request={"count": 4}, child="inherits", command="python tr\x1b[31main.py")
    child = holder.hear("got")["child"]
    one = driver()
    one.hear("waiting", containing=f"(pid {holder.pid}, for ")
    holder.kill()
    assert one.silent(0.3)
    late = driver()
    left = f"(pid {holder.pid} has ended, and of what it started pid {child} holds on, for "
    late.hear("waiting", containing=left)
    assert gpus.snapshot(driver.folder)[0].holders[0].process == left[1:].removesuffix(", for ")
    os.kill(child, signal.SIGKILL)
    one.hear("got")


def test_a_process_that_closed_its_descriptor_keeps_the_gpu(
    driver: Drivers, waiter: Callable[..., Waiter], machine: StandIn
) -> None:
    holder = driver(request={"count": 1, "allowed": (0,)}, child="closes")
    child = holder.hear("got")["child"]
    holder.kill()
    early = waiter(allowed=(0,))
    assert refused(early), "it has not reached the GPU yet, but its environment names the lease"
    early.close()
    machine.occupy(0, child, 50_000_000)  # below busy_above: that is for strangers
    for asked in ({}, {"ignore_others": True}):
        one = waiter(allowed=(0,), **asked)
        assert refused(one)
        assert f"process {child} 'sleep 600'" in one.waiting_for().text
        assert "left from a run of" in one.waiting_for().text
        one.close()
    one = waiter(allowed=(0,))
    assert refused(one)
    os.kill(child, signal.SIGKILL)
    assert select.select([one], [], [], 10)[0] == [one]
    lease_of(one).close()


def test_deleted_while_held_is_not_given_twice(driver: Drivers, waiter: Callable[..., Waiter], locks: Path) -> None:
    holder = driver(request={"count": 4})
    holder.hear("got")
    one = waiter()
    assert refused(one)
    for path in locks.iterdir():
        path.unlink()
    assert refused(one)
    assert (locks / one.claim.name).exists(), "it took its place again"
    assert "held by somebody" in one.waiting_for().text
    assert [(row.state, row.holders) for row in gpus.snapshot(locks)] == [("held", [])] * 4
    holder.release()
    lease_of(one).close()


def test_a_shared_gpu_deleted_while_held_is_not_given_alone(waiter: Callable[..., Waiter], locks: Path) -> None:
    lease = lease_of(waiter(allowed=(0,), per_gpu=2))
    for path in locks.iterdir():
        path.unlink()
    one = waiter(allowed=(0,))
    assert refused(one)
    lease.close()
    lease_of(one).close()


def test_a_refusal_that_runs_out_while_one_looks_is_not_slept_over() -> None:
    refusals, claim = Refusals(), claims.Claim(claims.WAITING, 1, 1, "boot", 1, ("x",))
    refusals.begin()
    refusals.note(Refused("x", ""))
    refusals.begin()
    assert refusals.standing(claim, {}) == {"x": ""}
    while time.monotonic() <= refusals.next():
        time.sleep(0.001)
    assert refusals.next() < time.monotonic(), "it is to be tried at once"
    assert refusals.standing(claim, {}) == {}
    assert refusals.next() == float("inf")


def test_another_folder_of_locks_does_not_give_it_twice(
    waiter: Callable[..., Waiter], machine: StandIn, tmp_path: Path
) -> None:
    lease = lease_of(waiter(allowed=(0,)))
    (tmp_path / "other").mkdir()
    one = Waiter(GpuRequest(count=1, allowed=(0,)), {}, tmp_path / "other")
    assert refused(one)
    one.close()
    lease.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json".ljust(claims.SIZE),
        b"[" * claims.SIZE,
        b'{"state": "holding"}'.ljust(claims.SIZE),
        b"9" * (claims.SIZE + 1),
        json.dumps({"state": "waiting", "count": -1, "pid": "x", "allowed": 3}).encode().ljust(claims.SIZE),
    ],
)
def test_malformed_claims_are_passed_over(waiter: Callable[..., Waiter], locks: Path, content: bytes) -> None:
    path = locks / f"claim-{1:020d}-00000000"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    lease_of(waiter(count=None)).close()
    assert [row.state for row in gpus.snapshot(locks)] == ["free"] * 4
    os.close(descriptor)


@pytest.mark.parametrize(
    ("field", "number"),
    [(field, number) for field in claims._RANGES for number in (-1, 2**40, 2**62, 2**63 - 1)]
    + [("pid", 0), ("count", 0), ("per_gpu", 0), ("per_gpu", 17), ("since", -1.0), ("since", 1e12)],
)
def test_a_claim_of_impossible_numbers_disturbs_nobody(
    waiter: Callable[..., Waiter], machine: StandIn, locks: Path, field: str, number: float
) -> None:
    lease = lease_of(waiter(count=None))
    forged = {**dataclasses.asdict(lease.claim), "state": "waiting", "gpus": [], field: number}
    path = locks / f"claim-{1:020d}-00000000"
    path.write_bytes(json.dumps(forged).encode().ljust(claims.SIZE))
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    one = waiter()
    assert refused(one)
    assert one.waiting_for().text
    gpus.gpus_table(gpus.snapshot(locks))
    lease.close()
    if any(claim.name == path.name for claim in claims.read_all(locks)):
        assert (field, number) in {(field, 2**40) for field in ("ticks", "memory", "busy_above", "began", "released")}
    else:
        lease_of(one).close()
    os.close(descriptor)


def test_a_claim_that_can_never_be_met_is_in_no_queue(waiter: Callable[..., Waiter], locks: Path) -> None:
    lease = lease_of(waiter(count=4))
    one = waiter()
    hostile, _ = claims.create(locks, dataclasses.replace(one.claim, count=4096), f"claim-{1:020d}-00000000")
    assert refused(one)
    assert "behind" not in one.waiting_for().text
    assert [[each.count for each in row.queue] for row in gpus.snapshot(locks)] == [[1]] * 4
    os.close(hostile)
    lease.close()


def test_a_claim_cannot_say_that_it_is_from_later_than_it_was_written(tmp_path: Path) -> None:
    claim = claims.Claim(claims.WAITING, 1, 1, "b", 1, ("x",), since=9e9)
    descriptor, _ = claims.create(tmp_path, claim)
    assert abs(claims.read_all(tmp_path)[0].since - time.time()) < 60
    os.close(descriptor)


def test_numbers_beyond_all_measure_still_make_a_claim(waiter: Callable[..., Waiter], locks: Path) -> None:
    lease_of(waiter(busy_above=10**30)).close()
    with pytest.raises(SweepError, match="nobody could read"):
        claims.create(locks, claims.Claim(claims.WAITING, 0, 1, "b", 1, ("x",)))


@pytest.mark.parametrize(("number", "size"), [(8, claims.SIZE), (24, claims.SIZE), (112, claims.LARGE)])
def test_claims_on_many_gpus_are_read_whole(tmp_path: Path, number: int, size: int) -> None:
    uuids = tuple(f"MIG-{index:08d}-0000-0000-0000-000000000000" for index in range(number))
    claim = claims.Claim(
        claims.HOLDING, 1, 1, "b" * 36, number, uuids, sweep="s" * 200, command="é" * 9999, gpus=uuids, wake="0" * 16
    )
    descriptor, name = claims.create(tmp_path, claim)
    (found,) = claims.read_all(tmp_path)
    assert (found.name, found.live, found.gpus, found.allowed) == (name, True, uuids, uuids)
    assert (tmp_path / name).stat().st_size == size
    os.close(descriptor)
    assert not claims.read_all(tmp_path)[0].live


def test_links_and_pipes_in_the_folder(waiter: Callable[..., Waiter], machine: StandIn, locks: Path) -> None:
    mine = locks.parent / "mine"
    mine.write_text("precious")
    (locks / f"claim-{1:020d}-00000000").symlink_to(mine)
    os.mkfifo(locks / f"claim-{2:020d}-00000000")
    os.mkfifo(locks / f"gpu-{machine.uuids[0]}")
    (locks / f"gpu-{machine.uuids[1]}").symlink_to(mine)
    lease_of(waiter(allowed=(2, 3), count=2)).close()
    with pytest.raises(SweepError, match=r"(?s)no ordinary file.*have it removed"):
        waiter(allowed=(0,)).try_acquire()
    with pytest.raises(SweepError, match="have it removed"):
        waiter(allowed=(1,)).try_acquire()
    assert mine.read_text() == "precious"


def test_no_control_character_of_anothers_claim_reaches_the_screen(waiter: Callable[..., Waiter], locks: Path) -> None:
    lease = lease_of(waiter("train \x1b]0;evil\x07 \u202e\n\r --x", count=None))
    one = waiter()
    assert refused(one)
    text = one.waiting_for().text + json.dumps(gpus.gpus_json(locks), ensure_ascii=False)
    assert text.isprintable()
    assert "train ]0;evil --x" in text
    lease.close()


def test_finished_runs_leave_nothing_behind(waiter: Callable[..., Waiter], locks: Path) -> None:
    for _ in range(3):
        lease_of(waiter()).close()
    left = [path.name for path in locks.iterdir() if not path.name.startswith("gpu-")]
    assert len(left) == 1, "the last one's, since this process does not adopt what it starts"


def test_a_gpu_is_told_by_the_number_that_it_has_when_it_is_given(
    waiter: Callable[..., Waiter], machine: StandIn
) -> None:
    """Another one vanished from the driver's count while it waited."""
    first = lease_of(waiter(allowed=(1,)))
    second = waiter(allowed=(1,))
    assert refused(second)
    del machine.gpus[0]
    machine.save()
    first.close()
    lease = lease_of(second)
    assert lease.names == ["0"]
    assert lease.environment["CUDA_VISIBLE_DEVICES"] == "0"
    lease.close()


def test_a_command_with_a_lease_waits_for_no_other(
    waiter: Callable[..., Waiter], machine: StandIn, locks: Path
) -> None:
    """It would wait for itself; or two of them, each for what the other has."""
    lease = lease_of(waiter(allowed=(0,)))
    for allowed in ((0,), (1,)):
        with pytest.raises(InputError, match=rf"\(pid {os.getpid()}\) holds a GPU until it ends"):
            Waiter(
                GpuRequest(count=1, allowed=allowed),
                {},
                locks,
                {**os.environ, **lease.environment, "CUDA_VISIBLE_DEVICES": "0,1"},
            )
    inside = {**os.environ, **lease.environment}
    lease.close()
    Waiter(GpuRequest(count=1), {}, locks, inside).close()


def test_the_umask_shuts_nobody_out(driver: Drivers, machine: StandIn, locks: Path) -> None:
    driver(umask=0o077).hear("got")
    assert {path.stat().st_mode & 0o777 for path in locks.iterdir()} == {0o644}


def test_waiting_costs_no_wakeups(waiter: Callable[..., Waiter]) -> None:
    lease = lease_of(waiter(count=None))
    queue = [waiter() for _ in range(5)]
    for one in queue:
        one.try_acquire()
    for place, one in enumerate(queue):
        seconds = one.timeout()
        assert seconds is not None
        # Those who would have to watch the holders if the two first were stopped see now and then whether they are.
        assert seconds > (4 if 0 < place < 4 else 30)
    assert select.select(queue, [], [], 0.2)[0] == []
    lease.close()
    woken = select.select(queue, [], [], 10)[0]
    assert 1 <= len(woken) <= 2, "only those whose turn may have come"


def test_without_inotify_the_first_look_again_twice_a_second(
    waiter: Callable[..., Waiter], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.lease.wake import Wake

    monkeypatch.setattr(Wake, "_start", lambda self: False)
    lease = lease_of(waiter(count=None))
    one = waiter()
    assert refused(one)
    seconds = one.timeout()
    assert seconds is not None
    assert seconds <= 0.5
    lease.close()
    lease_of(one).close()


def test_the_folder_is_one_for_all_and_safe() -> None:
    chosen = folder.choose()
    assert folder.fault(chosen) is None
    status = chosen.stat()
    assert status.st_mode & 0o1777 == 0o1777
    assert chosen == folder.choose()
    assert folder.admin_command() == "sudo install -d -o root -g root -m 1777 /var/lib/sweep-locks/v1"


def test_a_folder_that_somebody_else_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make the parent folder root's")
    parent = tmp_path / "lock"
    parent.mkdir()
    parent.chmod(0o1777)
    monkeypatch.setattr(folder, "ADMINISTRATORS", tmp_path / "none")
    monkeypatch.setattr(folder, "PARENTS", (parent,))
    (parent / folder.NAME).symlink_to(tmp_path)
    with pytest.raises(SweepError, match=r"(?s)symbolic link.*sudo install"):
        folder.choose()
    (parent / folder.NAME).unlink()
    (parent / folder.NAME).write_text("")
    with pytest.raises(SweepError, match="no folder"):
        folder.choose()
    (parent / folder.NAME).unlink()
    assert folder.choose() == parent / folder.NAME


def test_importing_the_lease_does_not_import_the_driver() -> None:
    heavy = ("pynvml", "rich", "pandas")
    code = f"import sys, sweeper.lease, sweeper.gpus; print([name for name in {heavy} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_who_leaves_while_nothing_can_be_read_is_out_of_the_queue(
    waiter: Callable[..., Waiter], locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = lease_of(waiter(count=4))
    second, third = waiter(count=1), waiter(count=1)
    assert second.try_acquire() is None

    def nothing() -> object:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(second, "_read", nothing)
    second.close()
    assert third.try_acquire() is None
    assert second.claim.name not in [claim.name for claim in claims.read_all(locks) if claim.live]
    lease.close()
