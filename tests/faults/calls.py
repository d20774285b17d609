"""A sweep for one N after the other, in which whoever makes the Nth call that changes something dies there (calls.c).

It needs no list of moments. Which call is the Nth differs a little from sweep to sweep, as the processes take turns;
many N cover what is near each other all the same.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.bench import Bench, Figures, house
from tests.faults.durable import compiled

SOURCE = Path(__file__).with_name("calls.c")
FORMAT = "ii56s"
ENOUGH = 2**30  # calls that no sweep makes
PATIENCE = 60.0  # seconds for one sweep
WAYS: tuple[tuple[int | None, str], ...] = (
    (2, "gpus: 0"), (None, "gpus: 0"), (2, "gpus: 1"), (None, "gpus: 1\nhold: true"),
)  # fmt: skip


def build(folder: Path) -> Path:
    """Compile what is preloaded, and make the file that its processes share. Raises OSError, CalledProcessError."""
    (folder / "calls").write_bytes(bytes(struct.calcsize(FORMAT)))
    return compiled(SOURCE, folder / "libcalls.so")


class Count:
    """The counter that all processes share."""

    def __init__(self) -> None:
        with open(os.environ["FAULTS_CALLS"], "r+b") as file:
            self._place = mmap.mmap(file.fileno(), 0)

    def begin(self, calls: int) -> None:
        struct.pack_into(FORMAT, self._place, 0, calls, os.getpid(), b"")

    @property
    def left(self) -> int:
        return int(struct.unpack_from(FORMAT, self._place)[0])

    @property
    def where(self) -> str:
        return struct.unpack_from(FORMAT, self._place)[2].rstrip(b"\0").decode()


class Counted(Bench):
    """Two runs, from the first launch on, with one death at the ``number``th call."""

    def run(self, way: tuple[int | None, str], number: int, count: Count) -> int:
        """Give how many calls were made, as far as they were counted."""
        self.parallel, gpus = way
        self.write_file(2, 0.02, gpus)
        count.begin(number)
        self.note(f"{way}, dies at call {number}")
        deadline = time.monotonic() + PATIENCE
        self.end(lambda: self.start(self.carry_out), deadline)
        left, where = count.left, count.where
        count.begin(0)
        if where:
            self.figures.points[where] += 1
            self.note(f"died {where}")
        self.settle()
        return number - left


def each_call(
    seed: int, every: int, most: int, *, watch: Callable[[Figures], None] | None = None, library: Path
) -> Figures:
    """In each of WAYS: the calls numbered ``seed``, ``seed + every`` and so on, until a sweep makes fewer; no more than
    ``most`` sweeps in all."""
    figures, count = Figures(), Count()
    with house(figures) as base:
        for index, way in enumerate(WAYS):
            all_calls = Counted(base, f"way{index}", figures, library).run(way, ENOUGH, count)
            for number in range(1 + seed % every, all_calls + 1, every):
                if figures.sweeps >= most:
                    return figures
                Counted(base, f"way{index}-call{number}", figures, library).run(way, number, count)
                died = sum(figures.points.values()) > sum(figures.faults.values())
                (figures.faults if died else figures.missed)["a call that changes something"] += 1
                if watch is not None:
                    watch(figures)
    return figures
