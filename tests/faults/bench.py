"""One sweep on the bench: launched, again and again, in processes that may be killed, and held to its tally."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeper import errors, folders, launch, model, procs
from sweeper.lease import nvidia
from tests import nvml_standin
from tests.conftest import Workshop, end_tmux, processes_of
from tests.faults import refusals, tally
from tests.faults.durable import Disk

WORK = Path(__file__).with_name("work.py")
LINES = 20
ENDS = 10.0  # seconds within which a scheduler with nothing left to do has ended, and all that was started


@dataclass
class Figures:
    """What came of it. ``points`` are the crash points (or calls) at which a process died."""

    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)  # of each scenario
    sweeps: int = 0
    runs: int = 0
    begun: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        for name in ("faults", "missed", "points", "refused"):
            getattr(self, name).update(getattr(other, name))
        self.seconds |= other.seconds
        self.sweeps += other.sweeps
        self.runs += other.runs
        self.begun += other.begun
        self.violations += other.violations


class Bench:
    """One sweep, with a machine of two GPUs of its own; ``library`` is the loaded stand-in of NVIDIA's.

    ``name`` is its folder's, and stands before its violations; ``armed`` is the link that SWEEP_TEST_CRASH names.
    """

    def __init__(self, base: Path, name: str, figures: Figures, library: Path) -> None:
        self.name = name
        self.figures = figures
        self.armed = Path(os.environ["SWEEP_TEST_CRASH"])
        self.folder = base / name
        self.folder.mkdir()
        self.disk = Disk(self.folder, ("runs", "state"), base / f"kept-{name}")
        self.machine = nvml_standin.StandIn(library, self.folder / "gpus.txt", 2)
        os.environ.update(self.disk.environment(), XDG_STATE_HOME=str(self.folder / "state"))
        os.environ.update(self.machine.environment())
        nvidia.stop()  # what was known of the last sweep's GPUs
        os.chdir(self.folder)
        self.shop = Workshop(self.folder)
        self.parallel: int | None = None
        self.count = 0
        self.returned = False  # a launch, since the last reset
        self.found: list[str] = []
        self.children: list[int] = []
        self.did: list[str] = []

    def note(self, text: str) -> None:
        self.did.append(f"{time.time():.3f} {text}")

    def write_file(self, count: int, seconds: float, gpus: str) -> None:
        """The sweep file: ``count`` runs of so many seconds; ``gpus`` are lines of it."""
        self.count = count
        work = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(WORK))} {shlex.quote(str(self.folder / 'tally'))}"
        self.shop.file.write_text(
            f"command: {work} {LINES} {seconds} {{x}}\n"
            f"grid: {{x: {{range: [0, {count}]}}}}\n{gpus}\ngrace: 1s\nworkdir: .\n"
        )

    # -- launches ------------------------------------------------------------------------------------------------------

    def carry_out(self, *, fresh: bool = False) -> None:
        launch.carry_out(self.shop.plan(None, self.parallel, runs_dir=str(self.folder / "runs"), fresh=fresh))

    def start(self, doing: Callable[[], object]) -> int:
        """Do it in a process of its own, which may be killed; gives its pid, for ``reap``."""
        pid = os.fork()
        if pid == 0:
            status = 1
            refusal = self.folder / f"refused-{os.getpid()}"
            try:
                doing()
                status = 0
            except errors.SweepError as error:
                refusal.write_text(str(error))
            except BaseException:  # noqa: BLE001 - whatever it is, it is told as a fault of the product
                refusal.write_text(traceback.format_exc())
            finally:
                os._exit(status)
        self.children.append(pid)
        return pid

    def reap(self, pid: int) -> int:
        """Wait for it, and judge what it refused; gives how it ended, as waitstatus_to_exitcode does."""
        _, status = os.waitpid(pid, 0)
        self.children.remove(pid)
        refusal = self.folder / f"refused-{pid}"
        self.returned |= status == 0
        if os.waitstatus_to_exitcode(status) == 1:
            text = refusal.read_text() if refusal.exists() else "no word"
            text = text.replace(str(self.folder), "")
            kind = refusals.judge(text)
            self.figures.refused[kind or text.splitlines()[0][:100]] += 1
            if kind is None:
                self.found.append(f"a launch was refused for no good reason: {text}")
        return os.waitstatus_to_exitcode(status)

    # -- its end -------------------------------------------------------------------------------------------------------

    def done(self) -> bool:
        found = [self.shop.outcome(number) for number in range(1, self.count + 1)]
        return all(outcome is not None and outcome.outcome == model.DONE for outcome in found)

    def end(self, begin: Callable[[], int], deadline: float) -> None:
        """Launch until all is done; once in any case, for the queue hears so of what ended without a scheduler."""
        self.disarm()
        launched = False
        while not (launched and self.done()) and time.monotonic() < deadline:
            if not self.shop.alive():
                self.reap(begin())
                launched = True
            time.sleep(0.02)

    def settle(self) -> None:
        """Let everything of the sweep end, and look at what it left."""
        for pid in [*self.children]:
            self.reap(pid)
        deadline = time.monotonic() + ENDS
        while self.shop.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.shop.alive():
            self.found.append(f"the scheduler did not end: {self.shop.tell()[-500:]}")
        end_tmux(Path(os.environ["TMUX_TMPDIR"]))
        left = processes_of(self.folder)
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = processes_of(self.folder)
        self.found += tally.violations(self.shop, self.count, LINES, left)
        if "Traceback" in self.shop.tell():
            self.found.append(f"a traceback in the scheduler's log: {self.shop.tell()[-2000:]}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.figures.sweeps += 1
        self.figures.runs += self.count
        self.figures.begun += sum(entry.word == "start" for entry in tally.read(self.folder / "tally"))
        self.close()

    def close(self) -> None:
        """Count what was found; keep the folder, with what was done, where that is something."""
        self.figures.violations += [f"{self.name}: {text}" for text in self.found]
        nvml_standin.forget(self.machine.uuids)
        if not self.found:
            shutil.rmtree(self.folder)
            shutil.rmtree(self.disk.kept)
            self.disk.boot.unlink()
        else:
            (self.folder / "faults").write_text("\n".join(self.did) + "\n")

    # -- faults --------------------------------------------------------------------------------------------------------

    def arm(self, point: str) -> None:
        """Have the next process that comes to a point of such a name die there."""
        self.disarm()
        self.armed.symlink_to(point)
        self.note(f"armed {point}")

    def disarm(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.armed.unlink()

    @property
    def fired(self) -> bool:
        return not self.armed.is_symlink()

    def kill(self, pids: list[int]) -> bool:
        happened = False
        for pid in pids:
            if pid > 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    happened = True
        return happened

    def supervisors(self) -> list[int]:
        found = []
        for _, run in folders.run_folders(self.shop.sweep):
            attempt = folders.history(run).attempt
            if attempt is not None and procs.alive(attempt.pid, attempt.start_ticks):
                found.append(attempt.pid)
        return found


@contextlib.contextmanager
def house(figures: Figures) -> Iterator[Path]:
    """A folder for sweeps, with a home and a tmux server of its own; it is kept where something was found."""
    base = Path(tempfile.mkdtemp(prefix="sweep-faults-"))
    sockets = Path(tempfile.mkdtemp(prefix="swf-"))
    kept, here = dict(os.environ), os.getcwd()
    try:
        os.environ.update(TMUX_TMPDIR=str(sockets), HOME=str(base))
        for name in ("TMUX", "CUDA_VISIBLE_DEVICES", "SWEEP_LEASE"):
            os.environ.pop(name, None)
        yield base
    finally:
        os.chdir(here)
        end_tmux(sockets)
        os.environ.clear()
        os.environ.update(kept)
        shutil.rmtree(sockets)
        if not figures.violations:
            shutil.rmtree(base, ignore_errors=True)
