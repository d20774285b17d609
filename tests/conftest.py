"""Fixtures for tests on real processes and a real tmux, each with a server, a home and a runs folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import sweeper
from sweeper import folders, launch, model, paths, procs
from sweeper.store import Store, open_store
from tests import ready

ROOT = Path(sweeper.__file__).parent.parent
SWEEP = (sys.executable, "-m", "sweeper")
# What the command line imports of others, but for what it has for one command alone.
READY = ready.Ready(("fire", "filelock", "libtmux", "sqlite3", "simpleeval", "yaml"), PYTHONPATH=str(ROOT))
TMUX = shutil.which("tmux") or "tmux"  # a test may hide it
PATIENCE = 20.0  # seconds until a condition that does not come true fails its test


def restore_signals() -> None:
    """Give signals that this process was started with ignored the dispositions that Python gives them.

    Whatever a script starts with ``&`` ignores SIGINT and SIGQUIT, under nohup SIGHUP too, and so would all that the
    tests start. It happens at import, so that every worker of xdist does it for itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


restore_signals()
# The same examples at each run; others by `pytest --hypothesis-profile=default`, and without end by tests.fuzz.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def say(
    *typed: str, check: int | None = None, cwd: Path | None = None, before: Sequence[str] = (), **variables: str
) -> Said:
    """``sweep`` as a person types it, without a terminal; ``before`` stands in front of it. No fault may show."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done: ready.Done | subprocess.CompletedProcess[str]
    if not before and READY.takes(env):
        done = READY.run([*SWEEP[1:], *typed], env, cwd)
    else:
        done = subprocess.run(
            [*before, *SWEEP, *typed],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    said = Said(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in said.text, said.text
    assert "fault in sweep itself" not in said.text, said.text
    assert check is None or done.returncode == check, said
    return said


def ordinary() -> list[str]:
    """What stands before a command that is to have no power over permissions, where the tests run as root."""
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> Any:
    """The first true value of ``condition``; fails the test after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what or condition}")
        time.sleep(0.01)


def processes_of(folder: Path) -> list[int]:
    """The living processes whose command line or environment names ``folder``, but for this one and its parents."""
    wanted = os.fsencode(folder)
    found = []
    for pid in procs.everybody():
        if pid in _own() or procs.start_ticks(pid) is None:
            continue
        for name in ("cmdline", "environ"):
            try:
                if wanted in Path(f"/proc/{pid}/{name}").read_bytes():
                    found.append(pid)
                    break
            except OSError:
                continue
    return found


def _own() -> set[int]:
    own, pid = set(), os.getpid()
    while pid > 1:
        own.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return own


def describe(pid: int) -> str:
    try:
        return f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')}"
    except OSError:
        return f"{pid}: gone"


def is_scheduler(pid: int, of: Path | None = None) -> bool:
    """Whether it is the scheduler in a sweep's first window: ``boot.py FOLDERS window SWEEP_DIR``; of this sweep."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[-3:-2] == [b"window"] and (of is None or words[-2] == os.fsencode(of))


def end_all(found: list[int]) -> None:
    """Kill them, and wait until they have let go of everything: a process that is on its way out still holds its locks
    when its command line and environment can no longer be read."""
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(map(over, found)), what=f"the end of {found}")


def over(pid: int) -> bool:
    """Whether it has closed what it had open: gone, or a zombie whose other threads are gone too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return state in "ZX" and len(os.listdir(f"/proc/{pid}/task")) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a home, a state folder and a tmux server of its own; nothing may be left afterwards."""
    sockets = Path(tempfile.mkdtemp(prefix="swt-"))  # short: the path of a socket holds 108 bytes
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("TMUX_TMPDIR", str(sockets))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    for name in [*os.environ]:
        if name.startswith(("SWEEP_", "TMUX_PANE")) or name in ("TMUX", "PYTHONUNBUFFERED"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    end_tmux(sockets)
    left = processes_of(tmp_path)
    procs.signal_all(filter(is_scheduler, left), signal.SIGTERM)  # or it would wait a while for a shutdown to follow
    deadline = time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = processes_of(tmp_path)
    told = [describe(pid) for pid in left]
    end_all(left)
    shutil.rmtree(sockets)
    assert not told, told


def tmux_socket(sockets: Path, uid: int | None = None) -> Path:
    return sockets / f"tmux-{os.getuid() if uid is None else uid}" / "default"


def end_tmux(sockets: Path, uid: int | None = None) -> None:
    """End the private server, by its socket, as the user that it belongs to."""
    command = [TMUX, "-S", str(tmux_socket(sockets, uid)), "kill-server"]
    subprocess.run(command, capture_output=True, check=False, user=uid)


class Workshop:
    """What the tests do to one sweep called ``s``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "s.yaml"
        self.sweep = paths.SweepDir(folder / "runs" / "s")

    # -- doing -------------------------------------------------------------------------------------------------

    def plan(self, text: str | None = None, parallel: int | None = None, **options: Any) -> launch.Plan:
        if text is not None:
            self.file.write_text(text if "gpus:" in text else f"{text.rstrip()}\ngpus: 0\n", encoding="utf-8")
        options.setdefault("serial", parallel is None)
        return launch.plan(str(self.file), launch.Options(parallel=parallel, **options))

    def launch(self, text: str | None = None, parallel: int | None = None, **options: Any) -> launch.Launched:
        return launch.carry_out(self.plan(text, parallel, **options))

    def run(self, text: str | None = None, parallel: int | None = None, **options: Any) -> dict[str, int]:
        """Launch, and wait for the end."""
        self.launch(text, parallel, **options)
        return self.finish()

    def finish(self, seconds: float = 30.0) -> dict[str, int]:
        wait_for(lambda: not self.alive(), seconds, f"the sweep's end; {self.tell()}")
        return self.counts()

    def tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", *words], capture_output=True, text=True, check=False)
        return done.stdout

    # -- looking -----------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        return launch.alive(self.sweep)

    def store(self) -> Store:
        return open_store(self.sweep)

    def ask(self, question: Callable[[Store], Any]) -> Any:
        store = self.store()
        try:
            return question(store)
        finally:
            store.close()

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = self.ask(Store.counts)
        return found

    def state(self, number: int) -> str:
        record = self.ask(lambda store: store.record(number))
        return model.QUEUED if record is None else str(record.state)

    def run_dir(self, number: int) -> paths.RunDir | None:
        return next((run for found, run in folders.run_folders(self.sweep) if found == number), None)

    def attempt(self, number: int) -> model.Attempt | None:
        run = self.run_dir(number)
        return None if run is None else folders.history(run).attempt

    def outcome(self, number: int) -> model.Outcome | None:
        run = self.run_dir(number)
        return None if run is None else folders.history(run).outcome

    def log(self, number: int) -> bytes:
        run = self.run_dir(number)
        return b"" if run is None or not run.log.exists() else run.log.read_bytes()

    def lines(self, name: str = "tally") -> list[str]:
        """The lines of a file that runs append to."""
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def scheduler(self) -> int:
        """The pid of the scheduler: its sweep's folder is the last word of its command line."""
        for pid in procs.pids():
            if is_scheduler(pid, self.sweep.path) and procs.start_ticks(pid):
                above = Path(f"/proc/{procs.parent(pid)}/cmdline").read_bytes()
                if b"tmux" in above.split(b"\0")[0]:
                    return pid
        return 0

    def tell(self) -> str:
        log = self.sweep.log
        return log.read_text() if log.exists() else "no log"


@pytest.fixture
def shop(private: Path) -> Workshop:
    return Workshop(private)


# -- disks -------------------------------------------------------------------------------------------------------------


def memory_disk(place: Path, size: str) -> Iterator[Path]:
    """A small file system of its own, in memory, mounted there; the test is skipped where that cannot be."""
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    made = mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    if made.returncode != 0:
        pytest.skip(f"a disk cannot be mounted here: {made.stderr}")
    yield place
    unmount(place)


@pytest.fixture
def runs_disk(private: Path) -> Iterator[Path]:
    """The runs folder on a disk of 4 MB."""
    yield from memory_disk(private / "runs", "4m")


def unmount(place: Path) -> None:
    """Once nobody uses it any more; where a test has failed, somebody may, and then it is at least out of the way."""
    deadline = time.monotonic() + 10
    while subprocess.run(["umount", place], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            subprocess.run(["umount", "--lazy", place], check=True)
            pytest.fail(f"{place} is still in use")
        time.sleep(0.02)


def mount(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *words], capture_output=True, text=True, check=False)


def remount(place: Path, how: str) -> None:
    """``ro`` or ``rw``; the former waits until nobody has a file open for writing there."""
    wait_for(lambda: mount("-o", f"remount,{how}", str(place)).returncode == 0, 10, f"{place} {how}")
