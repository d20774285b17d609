"""Real users of one machine for tests: each with a uid, a home and a tmux server of its own, and the whole program.

Another user often cannot start what the tests run on (a Python below /root, a checkout that is closed to others). So
the program and what it needs to launch are copied to where everybody may read, and a Python is looked for that others
may start, of the same version, so that what is compiled in those packages fits.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nvml_standin
import pytest

import sweeper
from sweeper import channel
from tests.conftest import describe, end_all, end_tmux, processes_of, wait_for

NEEDED = ("filelock", "fire", "libtmux", "pynvml", "rich", "simpleeval", "termcolor", "yaml")
PERHAPS = ("_yaml", "typing_extensions")
FIRST_UID = 60100  # useradd gives none above 60000; every worker of xdist has ten
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Person:
    """A user who can do what a user does; ``folder`` is its home, and where it types."""

    uid: int
    folder: Path
    python: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the program calls one whom the machine knows no name of."""
        return f"user {self.uid}"

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            umask=0o077,
            env=self.environment,
            cwd=self.folder,
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )

    def run(self, *words: str) -> str:
        """What a command prints; fails the test where it fails."""
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (words, out, err)
        return out

    def sweep(self, *words: str) -> str:
        return self.run(self.python, "-m", "sweeper", *words)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sweep("status", name, "--json"))
        return found

    def scheduler(self, name: str) -> int:
        """The pid of the scheduler that began last."""
        log = (self.folder / "runs" / name / "scheduler.log").read_text()
        return int(log.rpartition(" begins")[0].rpartition(" scheduler ")[2])

    def windows(self) -> list[tuple[str, str]]:
        """Every window of this user's sweeps: its session, and what it shows, each line whole."""
        shown = []
        for line in self.run("tmux", "list-panes", "-a", "-F", "#{pane_id} #{session_name}").splitlines():
            pane, _, session = line.partition(" ")
            done = self.start("tmux", "capture-pane", "-p", "-J", "-t", pane)
            shown.append((session, done.communicate(timeout=60)[0]))  # nothing where it was closed meanwhile
        return shown


class Town:
    """A machine of two GPUs, its users, and a folder that all may enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        if not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
            pytest.skip(f"{folder.parent} is closed to other users here")
        if shutil.which("tmux", path=PATH) is None:
            pytest.skip(f"there is no tmux in {PATH}, where every user finds it")
        self.packages = folder / "packages"
        self.python = _python(FIRST_UID)
        _copy(self.packages, self.python)
        library = nvml_standin.build(folder)
        library.chmod(0o755)
        self.machine = nvml_standin.StandIn(library, folder / "gpus.txt", 2)
        self.machine.file.chmod(0o644)
        self.people: list[Person] = []
        self._first = FIRST_UID + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])

    def person(self) -> Person:
        uid = self._first + len(self.people)
        home = self.folder / str(uid)
        sockets = home / "tmux"
        for path in (home, sockets):
            path.mkdir(mode=0o700)
            os.chown(path, uid, uid)
        one = Person(uid, home, self.python)
        one.environment = {
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "TMUX_TMPDIR": str(sockets),
            "PATH": PATH,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "PYTHONPATH": str(self.packages),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.machine.environment(),
        }
        self.people.append(one)
        return one

    def close(self) -> list[str]:
        """End everything; give what had not ended by itself once the tmux servers were gone."""
        for one in self.people:
            end_tmux(one.folder / "tmux", one.uid)
        left: list[int] = []
        try:
            wait_for(lambda: not processes_of(self.folder))
        except pytest.fail.Exception:
            left = processes_of(self.folder)
        told = [describe(pid) for pid in left]
        end_all(left)
        nvml_standin.forget(self.machine.uuids)
        for one in self.people:
            _remove_sockets(one)
        shutil.rmtree(self.folder)
        return told


def _python(uid: int) -> str:
    """A Python of this version that another user may start; skips the test where there is none."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import ctypes, sqlite3, sys; print('%d.%d' % sys.version_info[:2])"
    places = [sys.executable, os.path.realpath(sys.executable), shutil.which(f"python{version}", path=PATH)]
    for place in filter(None, places):
        try:
            done = subprocess.run(
                [place, "-I", "-c", code], user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, text=True
            )
        except OSError:  # it lies in a folder that is closed to others
            continue
        if done.stdout.strip() == version:
            return place
    pytest.skip(
        f"there is no Python {version} here that another user may start: {sys.executable} lies in a closed folder"
    )


def _copy(target: Path, python: str) -> None:
    """The program, and what it needs to launch, where everybody may read it."""
    target.mkdir()
    for name in (*NEEDED, *PERHAPS):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            assert name in PERHAPS, name
            continue
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, target / name)
        else:
            shutil.copy2(origin, target)
    shutil.copytree(Path(sweeper.__file__).parent, target / "sweeper")
    subprocess.run([python, "-m", "compileall", "-q", "-j", "2", str(target)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)


def _remove_sockets(one: Person) -> None:
    """What this user's schedulers that were killed left in the folder of their sockets."""
    folder = Path("/tmp") / f"sweep-{one.uid}"
    for sweep in (one.folder / "runs").glob("*/owner.json"):
        (folder / channel.address(sweep.parent).name).unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:
        return  # other tests' are in it, or it was never made


@pytest.fixture
def town() -> Iterator[Town]:
    """A machine with two GPUs and real users; nothing of them may be left afterwards."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as several users")
    folder = Path(tempfile.mkdtemp(prefix="swp-"))  # short: the path of a socket holds 108 bytes
    town = None
    told: list[str] = []
    try:
        town = Town(folder)
        yield town
    finally:
        if town is not None:
            told = town.close()
        else:
            shutil.rmtree(folder)
    assert not told, told
