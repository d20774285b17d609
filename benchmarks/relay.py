"""100 MB of output through a logger between a program and its terminal: what is lost, and the CPU that it costs.

The program prints in a tmux window and stays afterwards, so that what the logger has used can be read to the
nanosecond while it still lives. tmux itself draws all of it in every case and is not counted, but for pipe-pane, which
is tmux's own: there what its server used more than without a log is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import MissingError, Place, Row, cpu, place, processes, run_alone, wait_for

_LINE = "epoch 12  step {:09d}  loss 0.3141592  val_acc 0.9265  lr 1.0e-03  12.3 it/s  eta 0:01:23\n"


@dataclass(frozen=True, slots=True)
class Found:
    """What one logger did: seconds until the log was whole, its CPU seconds, and bytes lost (or invented)."""

    seconds: float
    cpu: float
    lost: int


def measure(quick: bool) -> list[Row]:
    """Quick: 5 MB once; else 100 MB, three times each."""
    megas, rounds = (5, 1) if quick else (100, 3)
    found: dict[str, list[Found]] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        plain = 0.0
        for name, tool in TOOLS:
            with place() as at:
                data = at.path / "data"
                _write(data, megas * 1_000_000)
                try:
                    one = tool(at, data, plain)
                except MissingError as error:
                    missing[name] = str(error)
                    continue
            if tool is straight:
                plain = one.cpu
            found.setdefault(name, []).append(one)
    size = megas * 1_000_000
    return [_row(name, size, found.get(name, []), missing.get(name)) for name, _ in TOOLS]


def _write(file: Path, size: int) -> None:
    with open(file, "w", encoding="ascii") as out:
        for number in range(size // len(_LINE.format(0))):
            out.write(_LINE.format(number))


def _row(name: str, size: int, found: list[Found], missing: str | None) -> Row:
    what = f"{size // 1_000_000} MB of output: {name}"
    if missing is not None:
        return Row(what, "-", note=missing)
    each = statistics.median(one.cpu for one in found) / size * 1e9
    seconds = statistics.median(one.seconds for one in found)
    lost = max(abs(one.lost) for one in found)
    if name == PLAIN:
        return Row(what, f"{seconds:.1f} s", note=f"for comparison; tmux's own work is {each:.0f} ns/byte")
    note = f"{lost:,} bytes lost, {seconds:.1f} s"
    if name == OURS:
        return Row(what, f"{each:.1f} ns/byte", "15 ns/byte, 0 lost", each <= 15 and lost == 0, note)
    return Row(what, f"{each:.1f} ns/byte", note=note)


def _lost(data: Path, log: Path) -> int:
    """Bytes of ``data`` that did not reach the log, and bytes there that nobody printed; terminals make \\n \\r\\n."""
    said = log.read_bytes().replace(b"\r\n", b"\n")
    if said.startswith(b"Script started"):  # script(1) says so itself
        said = said.partition(b"\n")[2]
    want = data.read_bytes()
    if hashlib.sha256(said).digest() == hashlib.sha256(want).digest():
        return 0
    return max(1, abs(len(want) - len(said)))


def _whole(log: Path, data: Path, *, terminal: bool = True) -> Callable[[], bool]:
    """Whether the log has come to its end: it holds all, or has not grown for a while."""
    size = data.stat().st_size
    lines = size // len(_LINE.format(0)) if terminal else 0  # a terminal puts a \\r before each \\n
    last = [0, time.monotonic()]

    def whole() -> bool:
        now = log.stat().st_size if log.exists() else 0
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return now >= size + lines or (now > 0 and time.monotonic() - last[1] > 3.0)

    return whole


def _pane(at: Place, *words: str) -> int:
    """Run a command in a window of a server of its own; gives the pid of the pane's process."""
    if shutil.which("tmux") is None:
        raise MissingError("not installed: apt install tmux")
    at.run("tmux", "new-session", "-d", "-s", "pane", "-x", "200", "-y", "50", *words)
    return int(at.run("tmux", "list-panes", "-t", "pane", "-F", "#{pane_pid}"))


def _server(at: Place) -> int:
    return int(at.run("tmux", "display-message", "-p", "#{pid}"))


def _quiet(pid: int) -> float:
    """The CPU of a process once it has come to rest."""
    before = -1.0
    while (now := cpu(pid)) != before:
        before = now
        time.sleep(0.2)
    return now


# -- the loggers -----------------------------------------------------------------------------------------------------


def straight(at: Place, data: Path, plain: float) -> Found:
    """No log at all: what tmux needs to draw it."""
    go = at.path / "go"
    done = at.path / "done"
    _pane(at, "bash", "-c", f"until [ -e {go} ]; do sleep 0.05; done; cat {data}; touch {done}; sleep 1000")
    server = _server(at)
    before = _quiet(server)
    go.touch()
    began = time.monotonic()
    wait_for(done.exists, "the output")
    took = time.monotonic() - began
    return Found(took, _quiet(server) - before, 0)


def sweep(at: Place, data: Path, plain: float) -> Found:
    if shutil.which("tmux") is None:
        raise MissingError("not installed: apt install tmux")
    go = at.path / "go"
    file = at.file("relay.yaml", f"command: until [ -e {go} ]; do sleep 0.05; done; cat {data}; sleep 1000\ngpus: 0\n")
    at.sweep(file, "--parallel", "1", "--detach")
    wait_for(lambda: bool(list((at.runs / "relay").glob("*/attempt-1.json"))), "the run")
    run = next((at.runs / "relay").glob("*/attempt-1.json")).parent
    supervisor = int(json.loads((run / "attempt-1.json").read_text(encoding="utf-8"))["pid"])
    found = _measured(data, run / "log.txt", go, supervisor)
    at.end("relay")
    return found


def _measured(data: Path, log: Path, go: Path, pid: int, *, terminal: bool = True) -> Found:
    before = _quiet(pid)
    whole = _whole(log, data, terminal=terminal)
    go.touch()
    began = time.monotonic()
    wait_for(whole, "the log")
    took = time.monotonic() - began
    return Found(took, _quiet(pid) - before, _lost(data, log))


def tee(at: Place, data: Path, plain: float) -> Found:
    go, log = at.path / "go", at.path / "log"
    _pane(at, "bash", "-c", f"(until [ -e {go} ]; do sleep 0.05; done; cat {data}; sleep 1000) | tee {log}")
    wait_for(log.exists, "tee")
    pid = next(pid for pid, line in processes(str(log)).items() if line.startswith("tee "))
    return _measured(data, log, go, pid, terminal=False)


def script(at: Place, data: Path, plain: float) -> Found:
    program = shutil.which("script")
    if program is None:
        raise MissingError("not installed: apt install bsdutils (util-linux)")
    go, log = at.path / "go", at.path / "log"
    inner = f"until [ -e {go} ]; do sleep 0.05; done; cat {data}; sleep 1000"
    pid = _pane(at, program, "-q", "-f", "-c", inner, str(log))
    wait_for(log.exists, "script")
    return _measured(data, log, go, pid)


def pipe_pane(at: Place, data: Path, plain: float) -> Found:
    go, log = at.path / "go", at.path / "log"
    _pane(at, "bash", "-c", f"until [ -e {go} ]; do sleep 0.05; done; cat {data}; sleep 1000")
    at.run("tmux", "pipe-pane", "-t", "pane", f"exec cat > {log}")
    wait_for(log.exists, "pipe-pane")
    server = _server(at)
    pid = next(
        pid for pid, line in processes("cat").items() if line == "cat " and Path(f"/proc/{pid}/fd/1").resolve() == log
    )
    before = _quiet(pid), _quiet(server)
    whole = _whole(log, data)
    go.touch()
    began = time.monotonic()
    wait_for(whole, "the log")
    took = time.monotonic() - began
    more = max(0.0, _quiet(server) - before[1] - plain)
    return Found(took, _quiet(pid) - before[0] + more, _lost(data, log))


OURS = "sweep's supervisor"
PLAIN = "straight to a tmux pane, no log"
TOOLS: tuple[tuple[str, Callable[[Place, Path, float], Found]], ...] = (
    (PLAIN, straight),
    (OURS, sweep),
    ("tee", tee),
    ("script(1)", script),
    ("tmux pipe-pane", pipe_pane),
)


if __name__ == "__main__":
    run_alone(measure, __doc__ or "")
