"""Many processes wait for the GPUs of a stand-in machine and hold them, some are killed; what happened goes to a log.

Run by test_lease_stress.py: ``lease_stress.py FOLDER PROCESSES SEED [subsets] [stops]``. With ``stops`` some are
stopped as well, and go on a little later. It logs JSON lines with the machine's own clock. Who holds what is tallied
apart from the code under test: a holder locks a file of the tally by an open file description lock, which whatever
inherits the lease inherits too, and a second holder would be refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

from sweeper.lease import Waiter, all_gpus
from sweeper.model import GpuRequest

FOLDER = Path(sys.argv[1])
PROCESSES, SEED = int(sys.argv[2]), int(sys.argv[3])
SUBSETS, STOPS = "subsets" in sys.argv[4:], "stops" in sys.argv[4:]
LOG = os.open(FOLDER / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(what: str, number: int, **data: Any) -> None:
    line = json.dumps({"what": what, "number": number, "at": time.monotonic(), **data})
    os.write(LOG, f"{line}\n".encode())


def tally(names: list[str]) -> list[int]:
    """Lock the tally of these GPUs; a GPU that has a holder already is an error that the log shows."""
    opened = []
    for name in names:
        descriptor = os.open(FOLDER / f"tally-{name}", os.O_RDWR | os.O_CREAT)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        opened.append(descriptor)
    return opened


def hold(number: int, count: int, allowed: tuple[int, ...], seconds: float, heir: float) -> None:
    """One process: wait for ``count`` GPUs, hold them for so long. With ``heir`` a child holds them longer."""
    waiter = Waiter(
        GpuRequest(count=count, allowed=allowed), {"command": f"number {number}", "pid": os.getpid()}, FOLDER / "locks"
    )
    note("queued", number, claim=waiter.claim.name, count=count, pid=os.getpid())
    poller = select.poll()
    poller.register(waiter.fileno(), select.POLLIN)
    while (lease := waiter.try_acquire()) is None:
        pause = waiter.timeout()
        poller.poll(None if pause is None else pause * 1000 + 0.5)
    note("got", number, gpus=lease.names)
    try:
        tally(lease.names)
    except BlockingIOError:
        note("two holders", number, gpus=lease.names)
    waiter.close()
    if heir and os.fork() == 0:
        time.sleep(seconds + heir)
        note("left", number)
        os._exit(0)
    time.sleep(seconds)
    if not heir:
        note("left", number)
    os._exit(0)


def start(number: int, chance: random.Random, gate: list[int]) -> int:
    count = chance.choice([1, 1, 1, 2, 2, 3, 4])
    allowed = tuple(sorted(chance.sample(range(4), chance.randint(count, 4)))) if SUBSETS else (0, 1, 2, 3)
    seconds, heir = chance.uniform(0.005, 0.04), chance.choice([0, 0, 0, 0.02])
    pid = os.fork()
    if pid == 0:
        for descriptor in gate:
            os.close(descriptor)
        try:
            hold(number, count, allowed, seconds, heir)
        finally:
            os._exit(1)
    return pid


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)  # not reaped yet: the pid is still its own


def main() -> None:
    chance = random.Random(SEED)
    all_gpus(load=False)  # the modules are loaded once, before the forks; the driver is asked by each again
    first = Waiter(GpuRequest(count=4), {"command": "the gate"}, FOLDER / "locks")
    gate = first.try_acquire()
    first.close()
    assert gate is not None
    running = {start(number, chance, gate.fds): number for number in range(PROCESSES)}
    while (FOLDER / "log").read_bytes().count(b'"queued"') < PROCESSES:
        assert not os.waitpid(-1, os.WNOHANG)[0], "one could not even queue"
        time.sleep(0.01)
    gate.close()
    killed: set[int] = set()
    stopped: list[int] = []
    while running:
        while len(stopped) > (4 if running.keys() - set(stopped) else 0):
            go_on(stopped.pop(0))
        if STOPS and (pid := chance.choice(sorted(running))) not in stopped:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        time.sleep(chance.uniform(0, 0.05))
        if chance.random() < 0.4 and len(killed) < PROCESSES // 2:  # on a busy machine there is time to kill them all
            pid = chance.choice(sorted(running))
            note("killed", running[pid])
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            note("ended", running.pop(pid), status=status)
            stopped = [one for one in stopped if one != pid]


if __name__ == "__main__":
    main()
