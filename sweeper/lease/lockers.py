"""Who has a lock that no claim explains, by /proc/locks (proc(5)); looking takes nothing and disturbs nobody."""

from __future__ import annotations

import os
from pathlib import Path

from sweeper.lease import evidence, guard, remains
from sweeper.lease.devices import GpuProcess
from sweeper.lease.hold import lock_file

DELETED = "somebody whose file in the folder of the locks was deleted"


def outsider(folder: Path, uuid: str) -> str:
    """Who has locked a GPU's file and says so in no claim, in words that follow "held by"; '' where nobody has."""
    if guard.taken(uuid):
        return DELETED
    found = _lockers(folder / lock_file(uuid))
    if not found:
        return ""
    seen = remains.see(GpuProcess(found[0], None))
    who = f"a process that has ended (pid {found[0]})" if seen is None else evidence.describe(seen)
    return f"{who}, by a lock on {lock_file(uuid)} that is none of sweep's"


def _lockers(path: Path) -> list[int]:
    """The processes that took a flock on this file."""
    try:
        status = path.lstat()
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return [int(words[4]) for words in lines if words[1] == "FLOCK" and words[5] == place and int(words[4]) > 0]
