"""The scenarios of ``--points`` whose points come in a way of their own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sweeper import control, index, paths
from sweeper.gather import sweep_data
from sweeper.launch import place
from sweeper.lease import folder
from sweeper.model import GpuRequest
from sweeper.results import reading
from sweeper.runone import run_one
from sweeper.scheduler.word import LOG_LIMIT
from tests.conftest import processes_of
from tests.faults.passing import ALL_DONE, COMES, SECONDS, Pass
from tests.faults.points import Step


class Spoiled(Pass):
    """What a new scheduler finds is not as the last one left it: no queue, a damaged one, a log that is full."""

    def step(self, how: str, point: str) -> None:
        self.go()
        self.stand_still()
        if how == "queue deleted":
            self.shop.sweep.db.unlink()
        elif how == "queue damaged":
            self.shop.sweep.db.write_bytes(b"no database" * 1000)
        else:
            with open(self.shop.sweep.log, "a", encoding="ascii") as log:
                log.write("-" * LOG_LIMIT + "\n")
        self.arm(point)
        if self.comes(self.begin(), point):
            self.goes_on(point)


class Finished(Pass):
    """A sweep that is done before anything befalls it."""

    def run(self, steps: Sequence[Step]) -> None:
        self.write_file(2, SECONDS, self.gpus)
        self.more = False
        self.finish()
        super().run(steps)

    def finish(self) -> None:
        self.end(self.begin, time.monotonic() + ALL_DONE)
        self.rest()

    def rest(self) -> None:
        """Wait until nothing of it runs any more."""
        deadline = time.monotonic() + COMES
        while (self.shop.alive() or processes_of(self.shop.sweep.path)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def put_tally_aside(self, point: str) -> None:
        """It is of runs that begin anew now."""
        if (self.folder / "tally").exists():
            (self.folder / "tally").rename(self.folder / f"tally-{point.replace(' ', '-')}")

    def results(self, sweep: Path) -> dict[str, bytes]:
        """What nobody may take away: outcomes and logs, by their place in the sweep's folder."""
        found = [*sweep.glob("*/outcome-*.json"), *sweep.glob("*/log.txt")]
        return {str(path.relative_to(sweep)): path.read_bytes() for path in found}


class Fresh(Finished):
    """``--fresh``: the old results are there under one name or the other, and whole."""

    def step(self, how: str, point: str) -> None:
        self.rest()
        sweep = self.shop.sweep.path
        before = set(sweep.parent.glob("*.old-*"))
        results = self.results(sweep)
        self.arm(point)
        came = self.comes(self.start(lambda: self.carry_out(fresh=True)), point)
        self.put_tally_aside(point)
        if came:
            self.reap(self.start(lambda: self.carry_out(fresh=True)))
        aside = set(sweep.parent.glob("*.old-*")) - before
        if [self.results(path) for path in aside] != [results]:
            self.found.append(f"after {point!r} the old results are not in one folder, and whole: {aside}")
        self.finish()


class Removed(Finished):
    """``sweep rm``: what is not removed yet is whole, and what is removed leaves nothing behind."""

    def step(self, how: str, point: str) -> None:
        sweep = self.shop.sweep
        results = self.results(sweep.path)
        self.arm(point)
        self.comes(self.start(lambda: control.remove(sweep)), point)
        if index.is_sweep(sweep.path):
            if self.results(sweep.path) != results:
                self.found.append(f"after {point!r} what stands is not whole")
            self.reap(self.start(lambda: control.remove(sweep)))
        self.put_tally_aside(point)
        self.finish()
        if left := [path.name for path in sweep.path.parent.iterdir() if path.name != sweep.path.name]:
            self.found.append(f"after {point!r}, and another launch, there is still {left}")


class Elsewhere(Pass):
    """On a runs folder on which locks do not work: they move to another disk."""

    def carry_out(self, *, fresh: bool = False) -> None:
        place.works = lambda folder: False  # in the process that launches
        super().carry_out(fresh=fresh)

    def start(self, doing: Callable[[], object]) -> int:
        paths.state_folder.cache_clear()
        return super().start(doing)

    def reap(self, pid: int) -> int:
        status = super().reap(pid)
        paths.state_folder.cache_clear()
        return status

    def close(self) -> None:
        states = {paths.SweepDir(sweep).state for sweep in self.shop.sweep.path.parent.iterdir()}
        super().close()
        for state in states:
            if state.exists() and self.folder not in state.parents:
                shutil.rmtree(state)


class NoLocks(Elsewhere):
    """The sweep knows where its locks are, from the first launch that comes through."""

    def step(self, how: str, point: str) -> None:
        self.arm(point)
        self.comes(self.begin(), point)


class FreshElsewhere(Elsewhere, Fresh):
    """``--fresh`` there: what was put aside keeps its queue."""


class RemovedElsewhere(Elsewhere, Removed):
    """``sweep rm`` there: the queue is removed too."""


class Report(Finished):
    """What reports keep of the logs is read again where its writer was killed."""

    def step(self, how: str, point: str) -> None:
        def report() -> None:
            reading.read_runs(sweep_data(self.shop.sweep))

        for kept in [self.shop.sweep.report_cache, *self.shop.sweep.path.glob("*/.metrics.json")]:
            kept.unlink(missing_ok=True)
        self.arm(point)
        self.comes(self.start(report), point)
        self.reap(self.start(report))


class LockFolder(Pass):
    """The folder of the GPU locks: never one that is closed to other users."""

    def run(self, steps: Sequence[Step]) -> None:
        for _, point in steps:
            made = self.folder / point.replace(" ", "-") / folder.NAME
            made.parent.mkdir()

            def make(path: Path = made) -> None:
                folder._make(path)

            self.arm(point)
            self.comes(self.start(make), point)
            self.reap(self.start(make))
            if made.stat().st_mode & 0o7777 != 0o1777:
                self.found.append(f"after {point!r} the lock folder has mode {made.stat().st_mode:o}")
        self.close()


class RunOne(Pass):
    """``sweep run-one``: its command runs once at most, to its end, and the GPU is free afterwards."""

    def run(self, steps: Sequence[Step]) -> None:
        for _, point in steps:
            tally = self.folder / f"tally-{point.replace(' ', '-')}"
            command = ["bash", "-c", f"echo start >> '{tally}'; sleep 0.1; echo end >> '{tally}'"]
            self.arm(point)
            self.comes(self.start(lambda: run_one(command, GpuRequest(count=1), same_command=True)), point)  # noqa: B023
            deadline = time.monotonic() + COMES
            while processes_of(self.folder) and time.monotonic() < deadline:
                time.sleep(0.01)
            lines = tally.read_text().split() if tally.exists() else []
            if lines not in ([], ["start", "end"]):
                self.found.append(f"after {point!r} the command's own tally says {lines}")
            self.reap(self.start(lambda: run_one(["true"], GpuRequest(count=2), no_wait=True)))
        self.close()


KINDS: dict[str, type[Pass]] = {
    "queue deleted": Spoiled,
    "log full": Spoiled,
    "fresh": Fresh,
    "removed": Removed,
    "no locks": NoLocks,
    "fresh, no locks": FreshElsewhere,
    "removed, no locks": RemovedElsewhere,
    "report": Report,
    "lock folder": LockFolder,
    "run-one": RunOne,
}
