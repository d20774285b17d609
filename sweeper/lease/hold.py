"""Holding GPUs: the locks that give them to one run, and the lease that a run inherits.

A GPU is held by a lock on its file (exclusive for a whole GPU, shared for one of several runs, who take a numbered
place each), by its guard (guard.py), and by the claim that names it. Whoever takes it must find all of them free. All
are descriptors: the kernel gives them back with the last process that inherited them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import lock_descriptor

from sweeper import procs
from sweeper.errors import SweepError
from sweeper.lease import claims, evidence, guard
from sweeper.lease.claims import Claim
from sweeper.lease.devices import Gpu
from sweeper.lease.folder import unwritable
from sweeper.model import MAX_SHARE
from sweeper.paths import clean

PR_GET_CHILD_SUBREAPER = 37
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass
class Taken:
    """The locks on one or more GPUs. Closing gives them back, as far as no other process has inherited them."""

    fds: list[int]

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


@dataclass(frozen=True)
class Refused:
    """The GPU that could not be taken: somebody has it, or ``why`` says what is wrong with its lock."""

    uuid: str
    why: str = ""


def take(folder: Path, uuids: Sequence[str], per_gpu: int) -> Taken | Refused:
    """Take all of these GPUs, or none and say which one is in the way. Raises OSError."""
    taken = Taken([])
    done = False
    try:
        for uuid in sorted(uuids):  # everybody in the same order
            try:
                got = _take_whole(folder, uuid, taken) if per_gpu == 1 else _take_place(folder, uuid, per_gpu, taken)
            except SweepError as error:
                return Refused(uuid, str(error))
            if not got:
                return Refused(uuid)
        done = True
        return taken
    finally:
        if not done:
            taken.close()


def _take_whole(folder: Path, uuid: str, taken: Taken) -> bool:
    if not _lock(folder / lock_file(uuid), taken, shared=False):
        return False
    return _guard(guard.gpu(uuid), taken) and not guard.shared(uuid)


def _take_place(folder: Path, uuid: str, per_gpu: int, taken: Taken) -> bool:
    if not _lock(folder / lock_file(uuid), taken, shared=True):
        return False
    for slot in range(min(per_gpu, MAX_SHARE)):
        if _lock(folder / lock_file(uuid, slot), taken, shared=False) and _guard(guard.gpu(uuid, slot), taken):
            return not guard.whole(uuid)
    return False


def _guard(what: str, taken: Taken) -> bool:
    kept = guard.hold(what)
    if kept is not None:
        taken.fds.append(kept)
        procs.crashpoint("guard bound")
    return kept is not None


def _lock(path: Path, taken: Taken, *, shared: bool) -> bool:
    """Lock a file that is still the one of that name when it is locked."""
    for _ in range(10):
        descriptor = _open(path)
        try:
            if not (_lock_shared(descriptor) if shared else lock_descriptor(descriptor, blocking=False)):
                return False
            if _same(descriptor, path):
                taken.fds.append(descriptor)
                descriptor = -1
                procs.crashpoint("gpu locked")
                return True
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    raise SweepError(f"{path}, the lock of a GPU, is deleted again and again; find out by whom, or see `sweep doctor`")


def _lock_shared(descriptor: int) -> bool:
    """The shared form of the very lock that filelock takes."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    """Open a lock file for reading, which is all that flock wants; make it where it is missing.

    It is made beside with its mode and then linked, never opened with O_CREAT: fs.protected_regular refuses that for
    another's file in a sticky folder, and the umask would shut the others out.
    """
    for _ in range(10):
        try:
            descriptor = os.open(path, _READ)
        except FileNotFoundError:
            _make(path)
            continue
        except OSError as error:
            raise SweepError(_not_ours(path, error.strerror or "?")) from error
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise SweepError(_not_ours(path, "it is no ordinary file"))
    raise SweepError(f"{path}, the lock of a GPU, is deleted again and again; find out by whom, or see `sweep doctor`")


def _make(path: Path) -> None:
    beside = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        descriptor = os.open(beside, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        os.fchmod(descriptor, 0o644)
        procs.crashpoint("gpu file made")
        os.link(beside, path)
        procs.crashpoint("gpu file linked")
    except FileExistsError:
        return  # somebody was quicker
    finally:
        os.close(descriptor)
        beside.unlink(missing_ok=True)


def fault(folder: Path, uuid: str) -> str:
    """What is wrong with the file of a GPU's lock, and what to do; '' where nothing is, or where there is none yet."""
    path = folder / lock_file(uuid)
    try:
        if os.path.lexists(path):
            os.close(_open(path))
    except SweepError as error:
        return str(error)
    return ""


def _not_ours(path: Path, why: str) -> str:
    owner = "somebody"
    try:
        status = path.lstat()
        owner = evidence.user(status.st_uid)
        why = "it is a symbolic link" if stat.S_ISLNK(status.st_mode) else why
    except OSError:
        pass
    return f"{path}, the lock of a GPU, cannot be opened: {why}.\n    It was put there by {owner}: have it removed"


def _same(descriptor: int, path: Path) -> bool:
    ours = os.fstat(descriptor)
    try:
        theirs = path.lstat()
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def lock_file(uuid: str, slot: int | None = None) -> str:
    return f"gpu-{clean(uuid)}" if slot is None else f"gpu-{clean(uuid)}.{slot}"


class Lease:
    """GPUs held for one run. ``fds`` are the descriptors that everything the run starts must inherit."""

    def __init__(self, folder: Path, gpus: Sequence[Gpu], claim: Claim, descriptor: int, taken: Taken) -> None:
        self.gpus = list(gpus)
        self.claim = claim
        self.port, self._port = guard.port()
        self._folder = folder
        self._descriptor = descriptor
        self._taken = taken

    @property
    def names(self) -> list[str]:
        """What the run is told: indices; where MIG instances are among them, UUIDs alone, since CUDA does not say that
        it reads a mixed list."""
        mig = any(gpu.mig for gpu in self.gpus)
        return [gpu.uuid if mig else gpu.handle for gpu in self.gpus]

    @property
    def fds(self) -> list[int]:
        return [*self._taken.fds, self._port, self._descriptor]

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that tell the run which GPUs are its own."""
        names = ",".join(self.names)
        variables = {
            "CUDA_VISIBLE_DEVICES": names,
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "MASTER_PORT": str(self.port),
            "SWEEP_LEASE": self.claim.name,
        }
        if any(gpu.vendor == "amd" for gpu in self.gpus):
            variables["HIP_VISIBLE_DEVICES"] = names
            # An inherited one would number them anew.
            variables["ROCR_VISIBLE_DEVICES"] = ",".join(map(str, range(max(gpu.index for gpu in self.gpus) + 1)))
        return variables

    def close(self) -> None:
        """Give the GPUs back; they stay held as long as something that inherited ``fds`` lives. Twice does nothing."""
        if self._descriptor < 0:
            return
        path = self._folder / self.claim.name
        try:
            if _nothing_left():
                path.unlink(missing_ok=True)
            else:
                claims.write(self._descriptor, replace(self.claim, released=claims.ticks_now()))
            procs.crashpoint("lease ended")
        finally:
            self._taken.close()
            procs.crashpoint("gpus let go")
            os.close(self._port)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)  # last: its closing is what wakes those who wait


def _nothing_left() -> bool:
    """Whether this process adopts the orphans of all that it started, and has no child left."""
    subreaper = ctypes.c_int(0)
    if ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(subreaper), 0, 0, 0) != 0 or not subreaper.value:
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False
