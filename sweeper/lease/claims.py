"""Claims: one file for each who waits for GPUs or holds them, written by its owner alone, alive while it is locked.

A claim is written and locked beside, then renamed into the folder: whoever sees it sees all of it, and one that is
found unlocked is over for good. Its name begins with the time since boot, so that names sort in order of arrival. The
run inherits the descriptor, and the kernel unlocks with the last of them. Nobody writes another's file; a reader takes
nothing in it for granted but the file's owner. Readers probe with a shared lock, which disturbs nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from sweeper import procs
from sweeper.errors import SweepError

SIZE = 4096  # bytes of a claim: one write of the same length each time is never seen torn
LARGE = 16384  # of one that names very many MIG instances
_MANY = 24  # UUIDs that surely fit, together with those that are held
WAITING, HOLDING = "waiting", "holding"
NAME = re.compile(r"^claim-(\d{20})-[0-9a-f]{8}$")
_BESIDE = re.compile(r"^\.claim-\d{20}-[0-9a-f]{8}$")
_HALF = 60.0  # seconds after which a claim that is still half made never will be
_COMMAND = 300  # characters of a command that others are shown
MOST = 2**60  # bytes, and ticks: more than there ever are, and far from what an integer of the kernel's holds
# What each number of a claim may be: anybody may have written it.
_RANGES = {
    "pid": (1, 2**22),  # the kernel's PID_MAX_LIMIT
    "ticks": (0, MOST),
    "count": (1, 4096),
    "run": (0, 2**31),
    "per_gpu": (1, 16),
    "memory": (0, MOST),
    "busy_above": (0, MOST),
    "keep_free": (0, 4096),
    "began": (0, MOST),
    "released": (0, MOST),
}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim's file says. Sizes are in bytes, ``since`` in unix seconds; ``began`` and ``released`` are clock
    ticks since boot like those in /proc/PID/stat (0: not yet). ``gpus`` and ``allowed`` are UUIDs. The last four are
    not in the file: its name, its owner, whether it is locked, and its place in the order of arrival."""

    state: str
    pid: int
    ticks: int
    boot: str
    count: int
    allowed: tuple[str, ...]
    sweep: str = ""
    run: int = 0
    command: str = ""
    per_gpu: int = 1
    memory: int = 0
    busy_above: int = 0
    ignore_others: bool = False
    keep_free: int = 0
    gpus: tuple[str, ...] = ()
    since: float = 0.0
    began: int = 0
    released: int = 0
    wake: str = ""
    name: str = ""
    uid: int = -1
    live: bool = False

    @property
    def sharing(self) -> bool:
        return self.per_gpu > 1


_WRITTEN = tuple(item for item in fields(Claim) if item.name not in ("name", "uid", "live"))


def ticks_now() -> int:
    """The time since boot in clock ticks, as the kernel stamps processes with it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def unix_time(ticks: int) -> float:
    """Unix time of a moment given in clock ticks since boot."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def plain(text: str, limit: int = _COMMAND) -> str:
    """``text`` as one line that is safe on a terminal: no control, format or direction characters, and not too long."""
    if len(text) <= limit and text.isprintable():
        return text
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def create(folder: Path, claim: Claim, name: str | None = None) -> tuple[int, str]:
    """Put a claim into the folder; give its descriptor, locked, and its name. Raises OSError, SweepError."""
    if name is None:
        name = f"claim-{time.clock_gettime_ns(time.CLOCK_BOOTTIME):020d}-{os.urandom(4).hex()}"
    beside = folder / f".{name}"
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:  # what a kill leaves of this is removed by sweep_up
        os.fchmod(descriptor, 0o644)  # whatever the umask: the others must read who waits
        procs.crashpoint("claim made")
        if not lock_descriptor(descriptor, blocking=False):
            raise OSError(f"{beside} was locked by somebody else the moment it was made")
        procs.crashpoint("claim locked")
        write(descriptor, claim)
        procs.crashpoint("claim written")
        os.rename(beside, folder / name)
        procs.crashpoint("claim renamed")
    except BaseException:
        os.close(descriptor)
        beside.unlink(missing_ok=True)
        raise
    return descriptor, name


def write(descriptor: int, claim: Claim) -> None:
    """Say something new in one's own claim. Raises OSError, SweepError."""
    data = {item.name: getattr(claim, item.name) for item in _WRITTEN}
    data["command"] = plain(claim.command)
    size = SIZE if len(claim.allowed) <= _MANY else LARGE
    text = json.dumps(data).encode()
    if len(text) > size:
        data["command"] = data["sweep"] = ""
        text = json.dumps(data).encode()
    if len(text) > size:
        raise OSError(f"a claim on {len(claim.allowed)} GPUs does not fit into {size} bytes: allow fewer")
    if parse(text) is None:
        raise SweepError(f"a claim that nobody could read: {text.decode()}")
    os.pwrite(descriptor, text.ljust(size), 0)


def read_all(folder: Path, over: dict[str, Claim] | None = None) -> list[Claim]:
    """Every claim in the folder, in order of arrival, those that are over too. Raises OSError where it is unreadable.

    ``over`` remembers, between calls, those that are over and so will never change.
    """
    known = {} if over is None else over
    found = []
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = sorted(name for name in os.listdir(place) if name.startswith("claim-") and NAME.match(name))
        for name in names:
            claim = known.get(name) or _read(place, name)
            if claim is not None:
                found.append(claim)
    finally:
        os.close(place)
    if over is not None:
        over.clear()
        over.update({claim.name: claim for claim in found if not claim.live})
    return found


def held(folder: Path, name: str) -> bool:
    """Whether the claim of that name is still locked."""
    try:
        descriptor = os.open(folder / name, _READ)
    except OSError:
        return False
    try:
        return not _unlocked(descriptor)
    finally:
        os.close(descriptor)


def sweep_up(folder: Path) -> None:
    """Remove this user's claims that a kill left half made, a minute ago or earlier."""
    for name in os.listdir(folder):
        if _BESIDE.match(name):
            path = folder / name
            try:
                status = path.lstat()
                if status.st_uid == os.geteuid() and status.st_mtime < time.time() - _HALF and not held(folder, name):
                    path.unlink()
            except OSError:
                continue  # somebody was quicker


def _read(place: int, name: str) -> Claim | None:
    try:
        descriptor = os.open(name, _READ, dir_fd=place)
    except OSError as error:  # gone meanwhile, a link, or not for us to read
        if error.errno in procs.EXHAUSTED:
            raise
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size not in (SIZE, LARGE):
            return None
        live = not _unlocked(descriptor)
        data = parse(os.pread(descriptor, status.st_size, 0).rstrip())
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if data is None:
        return None
    since = min(data["since"], status.st_ctime)  # nothing can be said to be later than it was written
    return Claim(**{**data, "since": since}, name=name, uid=status.st_uid, live=live)


def _unlocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@lru_cache(maxsize=256)  # the same few claims are read over and over while they wait
def parse(text: bytes) -> Mapping[str, Any] | None:
    """The fields in a claim's text; None where it is not one. Anybody may have written it."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, Mapping):
        return None
    taken: dict[str, Any] = {}
    for item in _WRITTEN:
        value = data.get(item.name)
        if str(item.type).startswith("tuple"):
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                return None
            value = tuple(value)
        elif item.type == "float":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
                return None
        elif item.type == "int":
            least, most = _RANGES[item.name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                return None
        elif type(value).__name__ != item.type:
            return None
        taken[item.name] = plain(str(value)) if item.type == "str" else value
    return taken if taken["state"] in (WAITING, HOLDING) else None
