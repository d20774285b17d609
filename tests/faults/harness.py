"""One sweep after the other, with a fault every moment, launched again until it is done, and then held to its tally."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from sweeper import control, folders, index, procs
from tests.conftest import processes_of
from tests.faults import tally
from tests.faults.bench import Bench, Figures, house
from tests.faults.points import SWEEP

PATIENCE = 120.0  # seconds for one sweep, with all of its faults
MOMENT = 0.6  # seconds in which a chosen moment may come


class Breaker(Bench):
    """Breaks one sweep; what is chosen follows from ``seed``."""

    def __init__(self, base: Path, seed: int, figures: Figures, library: Path) -> None:
        super().__init__(base, f"s{seed}", figures, library)
        self.random = random.Random(seed)
        self.parallel = self.random.choice([None, 1, 2, 3])
        self.gpus = self.random.choice(["gpus: 0", "gpus: 1", "gpus: 1", "gpus: 2", "gpus: 1\nhold: true"])
        self.runs = self.random.randint(4, 12)
        self.resume = False

    # -- a sweep from its first launch to its end ------------------------------------------------------------------

    def run(self, faults: int) -> None:
        """Inject ``faults`` faults while the sweep is launched again and again, then let it end, and check it."""
        self.write_file(self.runs, self.random.choice([0.05, 0.2, 0.5]), self.gpus)
        deadline = time.monotonic() + PATIENCE
        while faults > 0 and not self.done():
            self._launch()
            for _ in range(self.random.choice([1, 1, 2])):
                time.sleep(self.random.choice([0.0, self.random.random() * 0.15, self.random.random() * 0.8]))
                faults -= self._break()
            if time.monotonic() > deadline:
                break
        self.end(self._begin, deadline)
        self.settle()

    def _begin(self) -> int:
        resume, self.resume = self.resume, False
        return self.start((lambda: control.resume(self.shop.sweep)) if resume else self.carry_out)

    def _launch(self) -> None:
        """Launch in a process of its own, which may be killed as well."""
        resume = self.resume
        pid = self._begin()
        self.resume = resume
        if self.random.random() < 0.7:
            self.reap(pid)

    # -- faults ----------------------------------------------------------------------------------------------------

    def _break(self) -> int:
        """Inject one fault; gives how many it were (0 where there was nothing to break)."""
        ways: dict[str, tuple[int, Callable[[], bool]]] = {
            "a chosen moment": (12, self._arm),
            "scheduler": (4, lambda: self.kill([self.shop.scheduler()])),
            "supervisor": (4, lambda: self.kill(self._some(self.supervisors()))),
            "command": (2, lambda: self.kill(self._some(self._commands()))),
            "shell": (1, lambda: self.kill(self._some(self._shells()))),
            "standby": (2, lambda: self.kill(self._some(self._standbys()))),
            "launcher": (2, lambda: self.kill(self.children)),
            "window": (3, self._close_window),
            "tmux server": (2, lambda: self.kill(self._server())),
            "everything": (3, lambda: self.kill(self._everything())),
            "the machine reset": (3, self._reset),
            "scheduler and supervisors": (2, lambda: self.kill([self.shop.scheduler(), *self.supervisors()])),
            "the queue deleted": (1, self._delete_queue),
        }
        name = self.random.choices([*ways], [weight for weight, _ in ways.values()])[0]
        happened = ways[name][1]()
        (self.figures.faults if happened else self.figures.missed)[name] += 1
        self.note(f"{name}{'' if happened else ' (nothing there)'}")
        return int(happened)

    def _everything(self) -> list[int]:
        return [*processes_of(self.folder), *self._server(), *self.children]

    def _reset(self) -> bool:
        """End everything at once, and leave of the disk what was synced: what had been recorded must be there."""
        deadline = time.monotonic() + 10
        while (pids := [pid for pid in self._everything() if procs.start_ticks(pid)]) and time.monotonic() < deadline:
            self.kill(pids)
        for pid in [*self.children]:
            self.reap(pid)
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

    def _standbys(self) -> list[int]:
        running = self.supervisors()
        return [
            pid for pid in processes_of(self.shop.sweep.path) if pid not in running and pid != self.shop.scheduler()
        ]

    def _commands(self) -> list[int]:
        entries = tally.read(self.folder / "tally")
        return [entry.pid for entry in entries if entry.word == "start" and procs.alive(entry.pid, entry.ticks)]

    def _shells(self) -> list[int]:
        return [pid for supervisor in self.supervisors() for pid in procs.descendants(supervisor)[:1]]

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
        point = self.random.choice(SWEEP)
        self.arm(point)
        deadline = time.monotonic() + MOMENT
        if not self.shop.alive():
            self._launch()
        while not self.fired and time.monotonic() < deadline:
            time.sleep(0.001)
        if not self.fired:
            self.disarm()
            return False
        self.figures.points[point] += 1
        if self.random.random() < 0.25:
            self.kill(self._everything())
        return True


def break_things(
    faults: int, seed: int, library: Path, *, each: int = 12, watch: Callable[[Figures], None] | None = None
) -> Figures:
    """At least ``faults`` faults in sweeps numbered from ``seed`` on, about ``each`` in one."""
    figures = Figures()
    with house(figures) as base:
        while sum(figures.faults.values()) < faults:
            Breaker(base, seed, figures, library).run(each)
            seed += 1
            if watch is not None:
                watch(figures)
    return figures
