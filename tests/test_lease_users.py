"""Two users of one machine: they wait for each other by name, and can neither remove nor write what is another's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweeper import gpus
from sweeper.lease import claims

if TYPE_CHECKING:
    from lease_processes import Drivers
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin", "lease_processes"]
ALICE, BOB = 60001, 60002


@pytest.fixture(autouse=True)
def two_users(machine: StandIn, locks: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as two users")
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o755)
    machine.file.chmod(0o644)
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in locks.parents):
        pytest.skip("the folder of temporary files is closed to other users here")


def test_each_waits_for_the_other_by_name(driver: Drivers, locks: Path) -> None:
    alice = driver(uid=ALICE, umask=0o077, request={"count": 4}, command="python train.py --lr 3")
    alice.hear("got")
    bob = driver(uid=BOB, umask=0o077, request={"count": 2})
    said = bob.hear("waiting")["text"]
    assert f"GPU 0, held by user {ALICE}: python train.py --lr 3 (pid {alice.pid}, for 0:" in said
    again = driver(uid=ALICE)
    assert again.hear("waiting")["text"].endswith(f"its turn behind 1 other (user {BOB})")
    rows = gpus.snapshot(locks)
    assert [[holder.user for holder in row.holders] for row in rows] == [[f"user {ALICE}"]] * 4
    assert [holder.user for holder in rows[0].queue] == [f"user {BOB}", f"user {ALICE}"]
    alice.kill()
    assert bob.hear("got")["names"] == ["0", "1"]
    assert again.hear("got")["names"] == ["2"]
    bob.release()
    bob.hear("released")


def test_what_a_killed_user_left_stops_nobody_and_is_his_to_remove(driver: Drivers, locks: Path) -> None:
    alice = driver(uid=ALICE)
    alice.hear("got")
    alice.kill()
    bob = driver(uid=BOB, request={"count": 4})
    bob.hear("got")
    assert {claim.uid for claim in claims.read_all(locks)} == {ALICE, BOB}, "nobody removes another's file"
    bob.release()
    bob.hear("released")
    driver(uid=ALICE, request={"count": 4}).hear("got")
    assert [claim.uid for claim in claims.read_all(locks) if not claim.live] == [BOB]


def test_no_file_is_open_to_anothers_writing(driver: Drivers, locks: Path) -> None:
    driver(uid=ALICE, umask=0).hear("got")
    for path in locks.iterdir():
        assert path.stat().st_uid == ALICE
        assert path.stat().st_mode & 0o022 == 0


def test_a_stranger_cannot_pass_for_another(driver: Drivers, locks: Path) -> None:
    """A claim's user is its file's owner, whatever the file says."""
    bob = driver(uid=BOB, request={"count": 4}, command=f"held by user {ALICE}: \x1b[2J")
    bob.hear("got")
    one = driver(uid=ALICE)
    said = one.hear("waiting")["text"]
    assert said.startswith(f"GPU 0, held by user {BOB}: ")
    assert said.isprintable()


def test_a_lock_file_that_somebody_closed_is_a_clear_message(driver: Drivers, machine: StandIn, locks: Path) -> None:
    path = locks / f"gpu-{machine.uuids[0]}"
    path.touch()
    os.chown(path, ALICE, ALICE)
    path.chmod(0o600)
    bob = driver(uid=BOB, request={"allowed": (0,)})
    bob.hear("queued")
    assert bob.process.wait(timeout=20) == 1
