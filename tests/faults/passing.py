"""Every crash point, one after the other: brought about, died at, gone on from. One that does not come is a fault."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sweeper import procs
from tests import nvml_standin
from tests.conftest import processes_of
from tests.faults import tally
from tests.faults.bench import Bench, Figures, house
from tests.faults.points import SCENARIOS, Scenario, Step

COMES = 15.0  # seconds within which a point comes
ALL_DONE = 60.0  # seconds within which a sweep is done when nothing more befalls it
SECONDS = 0.1  # of a run
AHEAD = 8  # runs that are left to do at each point, at least
MORE = 8  # runs that the sweep file gets where they are not


class Pass(Bench):
    """One scenario, from its first launch until its sweep is done."""

    def __init__(self, base: Path, name: str, scenario: Scenario, figures: Figures, library: Path) -> None:
        super().__init__(base, name.replace(" ", "-"), figures, library)
        self.parallel = scenario.parallel
        self.gpus = scenario.gpus
        self.launches = 0
        self.more = True  # whether the sweep gets more runs where few are left
        self.write_file(AHEAD, SECONDS, self.gpus)

    def run(self, steps: Sequence[Step]) -> None:
        for how, point in steps:
            self.step(how, point)
        self.more = False
        self.end(self.begin, time.monotonic() + ALL_DONE)
        self.settle()

    def step(self, how: str, point: str) -> None:
        """Die at this point, and see that it goes on from there."""
        before: dict[str, Callable[[], None]] = {
            "start": self.stand_still, "new gpus": self.forget_gpus, "run": self.go, "end": self.go,
        }  # fmt: skip
        if how in before:
            before[how]()
        self.arm(point)
        pid = 0 if how in ("run", "end") else self.begin()
        if self.comes(pid, point, again=how == "run") and how != "end":
            self.goes_on(point)

    def comes(self, pid: int, point: str, *, again: bool = False) -> bool:
        """Wait for the point; ``pid`` is the process that was begun for it, 0 where there is none. ``again``: the sweep
        may be done before, on a slow machine, and gets more runs then."""
        deadline = time.monotonic() + COMES
        while not self.fired and time.monotonic() < deadline:
            if again and not self.shop.alive() and not self.fired:
                self.reap(self.begin())
            time.sleep(0.001)
        came = self.fired
        if came:
            self.figures.points[point] += 1
            self.figures.faults["a chosen point"] += 1
        else:
            self.disarm()
            self.found.append(f"{point!r} did not come within {COMES:g} s: {self.shop.tell()[-300:]}")
        if pid:
            self.reap(pid)
        return came

    # -- between the points --------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """A launch, by somebody else each time, so that it has something to write down; with more runs if need be."""
        self.launches += 1
        os.environ["SWEEP_TEST_LAUNCH"] = str(self.launches)
        if self.count - self.ended() < AHEAD and self.more:
            self.write_file(self.count + MORE, SECONDS, self.gpus)
        return self.start(self.carry_out)

    def ended(self) -> int:
        return len({entry.run for entry in tally.read(self.folder / "tally") if entry.word == "end"})

    def go(self) -> None:
        """Have the sweep launched, with runs left to do."""
        deadline = time.monotonic() + COMES
        while time.monotonic() < deadline:
            if self.reap(self.begin()) == 0 and self.shop.alive():
                return
        self.found.append(f"it cannot be launched: {self.shop.tell()[-300:]}")

    def stand_still(self) -> None:
        """End the scheduler; what runs goes on."""
        deadline = time.monotonic() + COMES
        while self.shop.alive() and time.monotonic() < deadline:
            self.kill([self.shop.scheduler()])
            time.sleep(0.005)

    def forget_gpus(self) -> None:
        """Have nobody know the locks of the GPUs, and nobody hold them."""
        self.stand_still()
        deadline = time.monotonic() + COMES
        while processes_of(self.shop.sweep.path) and time.monotonic() < deadline:
            time.sleep(0.01)
        nvml_standin.forget(self.machine.uuids)

    def goes_on(self, point: str) -> None:
        """See that a run more is brought to its end, by a launch where there is no scheduler."""
        deadline = time.monotonic() + COMES
        before = self.ended()
        while self.ended() == before or not self.shop.alive():
            if time.monotonic() > deadline:
                self.found.append(f"after {point!r} nothing went on: {self.shop.tell()[-300:]}")
                return
            if not self.shop.alive():
                self.reap(self.begin())
            time.sleep(0.01)


def go_through(name: str, steps: Sequence[Step], library: Path) -> Figures:
    """One scenario, in a process, a house and with a link of its own."""
    from tests.faults.scenarios import KINDS

    figures = Figures()
    links = Path(tempfile.mkdtemp(prefix="sweep-armed-"))
    os.environ["SWEEP_TEST_CRASH"] = procs._CRASH = str(links / "link")
    with house(figures) as base:
        began = time.monotonic()
        KINDS.get(name, Pass)(base, name, SCENARIOS[name], figures, library).run(steps)
        figures.seconds[name] = time.monotonic() - began
    shutil.rmtree(links)
    return figures


def all_points(library: Path, *, part: tuple[int, int] = (0, 1), at_once: int = 2, only: str = "") -> Figures:
    """Every point of every scenario, or the ``part`` (k of n) of them, ``at_once`` scenarios at a time."""
    steps = [(name, step) for name, scenario in SCENARIOS.items() for step in scenario.steps if only in name]
    chosen: dict[str, list[Step]] = {}
    for number, (name, step) in enumerate(steps):
        if number * part[1] // len(steps) == part[0]:  # those that stand together: few scenarios in one part
            chosen.setdefault(name, []).append(step)
    longest = sorted(chosen.items(), key=lambda pair: -len(pair[1]))
    figures = Figures()
    with multiprocessing.get_context("fork").Pool(at_once, maxtasksperchild=1) as pool:
        begun = [pool.apply_async(partial(go_through, name, some, library)) for name, some in longest]
        for one in begun:
            figures.add(one.get())
    return figures
