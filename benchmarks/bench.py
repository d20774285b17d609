"""What the benchmarks share: rows of one table, a place of their own to measure in, a job that tells its times."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The job says when it starts and ends, in nanoseconds of one clock, with nothing of an interpreter's start in between.
_JOB_C = """
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static void say(int file, char what) {
    struct timespec now;
    char line[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int size = snprintf(line, sizeof line, "%c %lld\\n", what, now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(file, line, size) != size) exit(1);
}
int main(int count, char **words) {
    if (count < 3) return 2;
    int file = open(words[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) return 1;
    say(file, 's');
    usleep(atoi(words[2]) * 1000);
    say(file, 'e');
    return 0;
}
"""
_JOB_BASH = """#!/bin/bash
exec 7>>"$1"
echo "s ${EPOCHREALTIME/[.,]/}000" >&7
sleep "$(( $2 / 1000 )).$(printf %03d $(( $2 % 1000 )))"
echo "e ${EPOCHREALTIME/[.,]/}000" >&7
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. ``met`` says whether the goal was met; None where there is none (peers, references)."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None
    note: str = ""


class MissingError(Exception):
    """A peer is not installed; the message says how it would be."""


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    cells = [("", "measured", "goal", "", "")]
    cells += [
        (row.what, row.measured, row.goal, {True: "met", False: "MISSED", None: ""}[row.met], row.note) for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine() -> str:
    """Where it was measured, and how busy that machine was."""
    load = os.getloadavg()
    words = [f"{os.cpu_count()} cores", platform.platform(terse=True), f"Python {platform.python_version()}"]
    return ", ".join(words) + f", load {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}"


def run_alone(measure: Callable[[bool], list[Row]], text: str) -> None:
    """The command line of one benchmark: ``--quick``, and its table."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--quick", action="store_true", help="the smallest form, to see that it works")
    quick = parser.parse_args().quick
    print(machine(), flush=True)
    print(table(measure(quick)))


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def resident(pid: int, field: str = "VmRSS") -> int:
    """Resident memory of a process in bytes (VmHWM: at its peak). Raises FileNotFoundError."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, as the kernel's scheduler counts them (in nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def processes(word: str) -> dict[int, str]:
    """The processes whose command line holds ``word``, with their command lines."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if word in line:
                    found[int(entry)] = line
    return found


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120.0, every: float = 0.01) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


class Place:
    """A folder to measure in, with a tmux server, an index and runs of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        (path / "tmux").mkdir()
        gone = ("TMUX", "TMUX_PANE", "SWEEP_RUNS_DIR")
        self.env = {name: value for name, value in os.environ.items() if name not in gone}
        self.env |= {
            "TMUX_TMPDIR": str(path / "tmux"),
            "XDG_STATE_HOME": str(path / "state"),
            "PYTHONPATH": str(ROOT),
            "HOME": str(path),  # no ~/.tmux.conf, no ~/.parallel
        }

    def popen(self, *words: str | Path, **more: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(list(map(str, words)), cwd=self.path, env=self.env, **more)  # type: ignore[call-overload,no-any-return]

    def run(self, *words: str | Path, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end and give its output. Raises RuntimeError with what it said if it fails."""
        done = subprocess.run(
            list(map(str, words)),
            cwd=self.path,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            **({"stdin": subprocess.DEVNULL} if text is None else {"input": text}),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return str(done.stdout)

    def sweep(self, *words: str | Path) -> str:
        return self.run(*sweep_command(), *words)

    def file(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        return path

    def scheduler(self, name: str) -> int:
        """The pid of the scheduler of a sweep here; 0 where there is none."""
        mark = f"window {self.runs / name}"
        return next((pid for pid, line in processes(mark).items() if "new-session" not in line), 0)

    def end(self, name: str) -> None:
        """Stop a sweep and see it end."""
        self.sweep("stop", name)
        wait_for(lambda: not self.scheduler(name), f"the end of {name}", 30)

    def close(self) -> None:
        if shutil.which("tmux"):
            subprocess.run(["tmux", "kill-server"], env=self.env, capture_output=True, check=False)
        deadline = time.monotonic() + 1
        while (left := processes(str(self.path))) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:  # script(1) outlives its terminal
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not processes(str(self.path)), f"the end of what runs in {self.path}", 30, 0.05)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A new place, and no trace of it afterwards."""
    path = Path(tempfile.mkdtemp(prefix="sweep-bench-"))  # a short path: sockets allow 108 bytes
    made = Place(path)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(path)


def sweep_command() -> list[str]:
    return [sys.executable, "-m", "sweeper"]


@dataclass(frozen=True, slots=True)
class Job:
    """The program ``PROGRAM FILE MILLISECONDS ...``, what it is made of, and its clock in nanoseconds."""

    program: Path
    made: str
    clock: Callable[[], int]


def make_job(folder: Path) -> Job:
    """Compiled where there is a compiler; else a bash script, whose start would cost every tool the same."""
    program = folder / "job"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is not None:
        source = folder / "job.c"
        source.write_text(_JOB_C, encoding="ascii")
        subprocess.run([compiler, "-O2", "-static", "-o", program, source], check=True)
        return Job(program, "compiled", time.monotonic_ns)
    program.write_text(_JOB_BASH, encoding="ascii")
    program.chmod(0o755)
    return Job(program, "a bash script, as there is no C compiler", time.time_ns)


def stamps(file: Path) -> tuple[list[int], list[int]]:
    """The starts and the ends that jobs wrote, in order, in nanoseconds."""
    starts: list[int] = []
    ends: list[int] = []
    if file.exists():
        for line in file.read_text(encoding="ascii").splitlines():
            (starts if line[0] == "s" else ends).append(int(line[2:]))
    return sorted(starts), sorted(ends)


def gaps(file: Path, slots: int) -> list[float]:
    """Idle seconds of the slots: the k-th run to end makes room for the k-th run that had to wait for room."""
    starts, ends = stamps(file)
    return [(start - end) / 1e9 for end, start in zip(ends, starts[slots:], strict=False)]
