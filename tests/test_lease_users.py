"""Two users of one machine: they wait for each other by name, and can neither remove nor write what is another's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweeper import gpus
from sweeper.lease import claims

if TYPE_CHECKING:
    from lease_processes import Drivers
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin", "lease_processes"]
ROOT = Path(__file__).parent.parent
ALICE, BOB = 60001, 60002


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Where other users may go: pytest closes its own folders to them whenever a session starts."""
    with tempfile.TemporaryDirectory(prefix="sweep-users-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(autouse=True)
def two_users(machine: StandIn, locks: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as two users")
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


CHOOSE = """
import os, sys
from pathlib import Path
from sweeper.errors import SweepError
from sweeper.lease import folder

folder.ADMINISTRATORS, folder.PARENTS = Path(sys.argv[1]), (Path(sys.argv[2]),)
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
try:
    print(folder.choose())
except SweepError as error:
    print(error)
"""


def chosen(administrators: Path, parent: Path, uid: int) -> str:
    """The folder that a user would take, or what he is told."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", CHOOSE, str(administrators), str(parent), str(uid)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o770, 0o777, 0o1770, 0o1777])
def test_an_administrators_folder_is_everybodys_or_an_error(locks: Path, tmp_path: Path, mode: int) -> None:
    """Whoever could not write there took another folder, and stood in another queue."""
    ours = tmp_path / "administrators"
    ours.mkdir()
    ours.chmod(mode)
    said = {uid: chosen(ours, locks, uid) for uid in (0, ALICE)}
    assert said[0] == said[ALICE], "the same for every user"
    if mode == 0o1777:
        assert said[0] == str(ours)
    else:
        assert said[0].startswith(f"{ours}, where GPU locks live, cannot be used: it is not ")
        assert f"(mode {mode:04o}" in said[0]
        assert said[0].endswith(f"\n    Let the administrator mend it: sudo install -d -o root -g root -m 1777 {ours}")
    assert list(locks.iterdir()) == []


def test_an_administrators_folder_behind_a_closed_one_is_an_error(locks: Path, tmp_path: Path) -> None:
    ours = tmp_path / "closed" / "v1"
    ours.mkdir(parents=True)
    ours.chmod(0o1777)
    ours.parent.chmod(0o700)
    said = chosen(ours, locks, ALICE)
    assert "it cannot be looked at (Permission denied)" in said
    assert f"sudo chmod 755 {ours.parent} && " in said
    assert chosen(ours, locks, 0) == str(ours)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("nr_inodes=3,mode=1777", "takes no file: No space left on device.\n    Make room there: df "),
        (
            "ro,mode=1777",
            "cannot be used: its file system is read-only.\n    Let the administrator mount it",
        ),
    ],
)
def test_a_lock_folder_that_takes_no_files_is_told_so(
    machine: StandIn, locks: Path, tmp_path: Path, options: str, told: str
) -> None:
    ours = tmp_path / "full"
    ours.mkdir()
    program = (
        "import sys; from pathlib import Path; from sweeper.lease import Waiter, folder\n"
        "from sweeper.errors import SweepError; from sweeper.model import GpuRequest\n"
        f"folder.ADMINISTRATORS = Path({str(ours)!r})\n"
        "try:\n    [Waiter(GpuRequest(count=1), {}) for _ in range(9)]\nexcept SweepError as error: print(error)"
    )
    script = f'mount -t tmpfs -o {options} none "$1" 2>/dev/null || exit 77; exec "$2" -c "$3"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(ours), sys.executable, program]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if done.returncode in (1, 77, 127) and not done.stdout:
        pytest.skip("a file system cannot be mounted here")
    assert told in done.stdout, done.stderr
