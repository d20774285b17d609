"""One sweep after the other, with a fault every moment, launched again until it is done, and then held to its tally."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sweeper import control, errors, folders, index, launch, model, procs
from sweeper.lease import nvidia
from tests import nvml_standin
from tests.conftest import Workshop, end_tmux, processes_of
from tests.faults import tally
from tests.faults.durable import Disk

WORK = Path(__file__).with_name("work.py")
LINES = 20
PATIENCE = 120.0  # seconds for one sweep, with all of its faults
# Where the product may be told to die (procs.crashpoint); the beginnings of the points' names.
POINTS = (
    "before environment-", "written environment-", "renamed environment-", "before commit", "committed",
    "before sweep.yaml", "written sweep.yaml", "renamed sweep.yaml", "before owner.json", "renamed owner.json",
    "before standby", "standby opened", "before run.json", "written run.json", "renamed run.json",
    "before fork", "forked", "before go", "gone", "before lock", "locked",
    "before attempt-", "written attempt-", "renamed attempt-", "released",
    "claim made", "claim locked", "claim written", "claim renamed", "gpu locked", "guard bound", "lease told",
    "lease ended", "gpus let go",
    "before ended", "before log sync", "before outcome-", "written outcome-", "renamed outcome-", "before unlock",
)  # fmt: skip


@dataclass
class Figures:
    """What came of it. ``recoveries`` are seconds from a launch to the first run begun after it."""

    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    runs: int = 0
    begun: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Breaker:
    """Breaks one sweep. ``armed`` is the link that SWEEP_TEST_CRASH named when the product was imported.

    ``library`` is the stand-in of NVIDIA's, loaded in this process: each sweep has a machine of two GPUs of its own.
    """

    def __init__(self, base: Path, seed: int, figures: Figures, armed: Path, library: Path) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.figures = figures
        self.armed = armed
        self.folder = base / f"s{seed}"
        self.folder.mkdir()
        self.disk = Disk(self.folder, ("runs", "state"), base / f"kept{seed}")
        self.machine = nvml_standin.StandIn(library, self.folder / "gpus.txt", 2)
        os.environ.update(self.disk.environment(), XDG_STATE_HOME=str(self.folder / "state"))
        os.environ.update(self.machine.environment())
        nvidia.stop()  # what was known of the last sweep's GPUs
        self.shop = Workshop(self.folder)
        self.parallel = self.random.choice([None, 1, 2, 3])
        self.gpus = self.random.choice(["gpus: 0", "gpus: 1", "gpus: 1", "gpus: 2", "gpus: 1\nhold: true"])
        self.count = self.random.randint(4, 12)
        self.returned = False  # a launch, since the last reset
        self.resume = False
        self.found: list[str] = []
        self.children: list[int] = []
        self.did: list[str] = []

    # -- a sweep from its first launch to its end ------------------------------------------------------------------

    def run(self, faults: int) -> None:
        """Inject ``faults`` faults while the sweep is launched again and again, then let it end, and check it."""
        work = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(WORK))} {shlex.quote(str(self.folder / 'tally'))}"
        self.shop.file.write_text(
            f"command: {work} {LINES} {self.random.choice([0.05, 0.2, 0.5])} {{x}}\n"
            f"grid: {{x: {{range: [0, {self.count}]}}}}\n{self.gpus}\ngrace: 1s\nworkdir: .\n"
        )
        deadline = time.monotonic() + PATIENCE
        os.chdir(self.folder)
        while faults > 0 and not self._done():
            self._launch()
            for _ in range(self.random.choice([1, 1, 2])):
                time.sleep(self.random.choice([0.0, self.random.random() * 0.15, self.random.random() * 0.8]))
                faults -= self._break()
            if time.monotonic() > deadline:
                break
        self._disarm()
        launched = False  # once more in any case: the queue hears of what ended without a scheduler
        while not (launched and self._done()) and time.monotonic() < deadline:
            if not self.shop.alive():
                self._launch(wait=True)
                launched = True
                self.resume = False
            time.sleep(0.05)
        self._settle()

    def _done(self) -> bool:
        return [self.shop.outcome(number) for number in range(1, self.count + 1)].count(None) == 0 and all(
            outcome is not None and outcome.outcome == model.DONE
            for outcome in map(self.shop.outcome, range(1, self.count + 1))
        )

    def _launch(self, *, wait: bool = False) -> None:
        """Launch in a process of its own, which may be killed as well."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if self.resume:
                    control.resume(self.shop.sweep)
                else:
                    launch.carry_out(self.shop.plan(None, self.parallel, runs_dir=str(self.folder / "runs")))
                status = 0
            except errors.SweepError as error:
                (self.folder / "refused").write_text(str(error))
            except OSError as error:
                (self.folder / "refused").write_text(repr(error))
            finally:
                os._exit(status)
        self.children.append(pid)
        if wait or self.random.random() < 0.7:
            self._reap(pid)

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        self.children.remove(pid)
        refusal = self.folder / "refused"
        self.returned |= status == 0
        if os.waitstatus_to_exitcode(status) == 1:
            text = refusal.read_text().splitlines()[0] if refusal.exists() else "no word"
            self.figures.refused[text.replace(f"s{self.seed}", "s")[:100]] += 1

    def _settle(self) -> None:
        """Let everything of the sweep end, and look at what it left."""
        for pid in [*self.children]:
            self._reap(pid)
        deadline = time.monotonic() + 10
        while self.shop.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        stuck = self.shop.alive()
        end_tmux(Path(os.environ["TMUX_TMPDIR"]))
        left = processes_of(self.folder)
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = processes_of(self.folder)
        found = self.found + tally.violations(self.shop, self.count, LINES, left)
        if stuck:
            found.append(f"the scheduler did not end: {self.shop.tell()[-500:]}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.figures.sweeps += 1
        self.figures.runs += self.count
        self.figures.begun += sum(entry.word == "start" for entry in tally.read(self.folder / "tally"))
        self.figures.violations += [f"seed {self.seed}: {text}" for text in found]
        nvml_standin.forget(self.machine.uuids)
        if not found:
            shutil.rmtree(self.folder)
            shutil.rmtree(self.disk.kept)
            self.disk.boot.unlink()
        else:
            (self.folder / "faults").write_text("\n".join(self.did) + "\n")

    # -- faults ----------------------------------------------------------------------------------------------------

    def _break(self) -> int:
        """Inject one fault; gives how many it were (0 where there was nothing to break)."""
        ways: dict[str, tuple[int, Callable[[], bool]]] = {
            "a chosen moment": (12, self._arm),
            "scheduler": (4, lambda: self._kill([self.shop.scheduler()])),
            "supervisor": (4, lambda: self._kill(self._some(self._supervisors()))),
            "command": (2, lambda: self._kill(self._some(self._commands()))),
            "shell": (1, lambda: self._kill(self._some(self._shells()))),
            "standby": (2, lambda: self._kill(self._some(self._standbys()))),
            "launcher": (2, lambda: self._kill(self.children)),
            "window": (3, self._close_window),
            "tmux server": (2, lambda: self._kill(self._server())),
            "everything": (3, lambda: self._kill(self._everything())),
            "the machine reset": (3, self._reset),
            "scheduler and supervisors": (2, lambda: self._kill([self.shop.scheduler(), *self._supervisors()])),
            "the queue deleted": (1, self._delete_queue),
        }
        name = self.random.choices([*ways], [weight for weight, _ in ways.values()])[0]
        happened = ways[name][1]()
        (self.figures.faults if happened else self.figures.missed)[name] += 1
        self.did.append(f"{time.time():.3f} {name}{'' if happened else ' (nothing there)'}")
        return int(happened)

    def _kill(self, pids: list[int]) -> bool:
        happened = False
        for pid in pids:
            if pid > 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    happened = True
        return happened

    def _everything(self) -> list[int]:
        return [*processes_of(self.folder), *self._server(), *self.children]

    def _reset(self) -> bool:
        """End everything at once, and leave of the disk what was synced: what had been recorded must be there."""
        deadline = time.monotonic() + 10
        while (pids := [pid for pid in self._everything() if procs.start_ticks(pid)]) and time.monotonic() < deadline:
            self._kill(pids)
        for pid in [*self.children]:
            self._reap(pid)
        recorded = {}
        for number, run in folders.run_folders(self.shop.sweep):
            synced = self.disk.synced(run.path)
            recorded.update({(number, name): data for name, data in synced.items() if name.startswith("outcome-")})
        launched = self.returned
        self.disk.reset()
        tally.note_reset(self.folder / "tally")
        there = dict(folders.run_folders(self.shop.sweep))
        for (number, name), data in recorded.items():
            kept = there[number].path / name if number in there else None
            if kept is None or not kept.exists() or kept.read_bytes() != data:
                self.found.append(f"run {number}: {name} was recorded, and a reset took it")
            elif folders.read_job(there[number]) is None:
                self.found.append(f"run {number}: recorded, and a reset took its run.json")
        if launched:
            if [entry.path for entry in index.entries()] != [self.shop.sweep.path]:
                self.found.append("the sweep was launched, and a reset made it unknown")
            elif self.shop.sweep.file.read_bytes() != self.shop.file.read_bytes():
                self.found.append("the sweep was launched, and a reset took its file")
        self.returned = False
        self.resume = launched and self.random.random() < 0.5
        return True

    def _some(self, pids: list[int]) -> list[int]:
        return [self.random.choice(pids)] if pids else []

    def _supervisors(self) -> list[int]:
        found = []
        for _, run in folders.run_folders(self.shop.sweep):
            attempt = folders.history(run).attempt
            if attempt is not None and procs.alive(attempt.pid, attempt.start_ticks):
                found.append(attempt.pid)
        return found

    def _standbys(self) -> list[int]:
        running = self._supervisors()
        return [
            pid for pid in processes_of(self.shop.sweep.path) if pid not in running and pid != self.shop.scheduler()
        ]

    def _commands(self) -> list[int]:
        entries = tally.read(self.folder / "tally")
        return [entry.pid for entry in entries if entry.word == "start" and procs.alive(entry.pid, entry.ticks)]

    def _shells(self) -> list[int]:
        return [pid for supervisor in self._supervisors() for pid in procs.descendants(supervisor)[:1]]

    def _server(self) -> list[int]:
        text = self.shop.tmux("display-message", "-p", "#{pid}").strip()
        return [int(text)] if text.isdigit() else []

    def _close_window(self) -> bool:
        windows = self.shop.tmux("list-windows", "-a", "-F", "#{window_id}").split()
        if not windows:
            return False
        self.shop.tmux("kill-window", "-t", self.random.choice(windows))
        return True

    def _delete_queue(self) -> bool:
        there = self.shop.sweep.db.exists()
        self.shop.sweep.db.unlink(missing_ok=True)
        return there

    def _arm(self) -> bool:
        """Have the next process that comes to a chosen point die there; and sometimes everything else with it."""
        self._disarm()
        point = self.random.choice(POINTS)
        self.armed.symlink_to(point)
        self.did.append(f"{time.time():.3f} armed {point}")
        deadline = time.monotonic() + 0.6
        if not self.shop.alive():
            self._launch()
        while self.armed.is_symlink() and time.monotonic() < deadline:
            time.sleep(0.001)
        if self.armed.is_symlink():
            self._disarm()
            return False
        if self.random.random() < 0.25:
            self._kill(self._everything())
        return True

    def _disarm(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.armed.unlink()


def break_things(
    faults: int, seed: int, library: Path, *, each: int = 12, watch: Callable[[Figures], None] | None = None
) -> Figures:
    """At least ``faults`` faults in sweeps numbered from ``seed`` on, about ``each`` in one."""
    figures = Figures()
    base = Path(tempfile.mkdtemp(prefix="sweep-faults-"))
    sockets = Path(tempfile.mkdtemp(prefix="swf-"))
    kept = dict(os.environ)
    here = os.getcwd()
    try:
        os.environ.update(TMUX_TMPDIR=str(sockets), HOME=str(base))
        for name in ("TMUX", "CUDA_VISIBLE_DEVICES", "SWEEP_LEASE"):
            os.environ.pop(name, None)
        while sum(figures.faults.values()) < faults:
            Breaker(base, seed, figures, Path(os.environ["SWEEP_TEST_CRASH"]), library).run(each)
            seed += 1
            if watch is not None:
                watch(figures)
    finally:
        os.chdir(here)
        end_tmux(sockets)
        os.environ.clear()
        os.environ.update(kept)
        shutil.rmtree(sockets)
        if not figures.violations:
            shutil.rmtree(base, ignore_errors=True)
    return figures
