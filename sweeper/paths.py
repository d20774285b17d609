"""Every file name: what lies where in the runs folder, and how a run's folder is named."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeper.procs import crashpoint

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EROFS)  # what has no folders to sync (FUSE, CIFS), or need not
_FOLDER = re.compile(r"^(\d{4,})(?:-.*)?$")
LABEL_BYTES = 80  # of a run folder's label: names stay far below the 255 bytes that file systems allow


@dataclass(frozen=True, slots=True)
class SweepDir:
    """``runs/<sweep>/``."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def file(self) -> Path:
        return self.path / "sweep.yaml"

    @property
    def state(self) -> Path:
        """Where locks and queue lie: here, or on a local disk where this file system cannot have them."""
        return state_folder(self.path)

    @property
    def pointer(self) -> Path:
        """Names ``state`` where it is elsewhere."""
        return self.path / "state-folder"

    @property
    def db(self) -> Path:
        return self.state / "queue.db"

    @property
    def owner(self) -> Path:
        """Which sweep file and which host the folder belongs to."""
        return self.path / "owner.json"

    @property
    def lock(self) -> Path:
        """Held by the scheduler."""
        return self.state / "lock"

    @property
    def launch_lock(self) -> Path:
        """Held by whoever changes what is wanted."""
        return self.state / "launch.lock"

    @property
    def rebuild_lock(self) -> Path:
        """Held by whoever makes queue.db anew."""
        return self.state / "rebuild.lock"

    @property
    def log(self) -> Path:
        return self.path / "scheduler.log"

    @property
    def unsent(self) -> Path:
        """Why the last overnight word failed; not there where it did not."""
        return self.path / "notify-failed.txt"

    @property
    def report_cache(self) -> Path:
        """What reports have read of the runs that ended, so that the next one need not open every folder."""
        return self.path / ".report.json"

    def environment(self, number: int) -> Path:
        return self.path / f"environment-{number}.json"

    def run(self, folder: str) -> RunDir:
        return RunDir(self.path / folder)


@dataclass(frozen=True, slots=True)
class RunDir:
    """``runs/<sweep>/0007-lr=0.01,batch_size=64/``; its supervisor alone writes it once run.json stands."""

    path: Path

    @property
    def job(self) -> Path:
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """Held while anything of the run lives."""
        state = state_folder(self.path.parent)
        return self.path / "lock" if state == self.path.parent else state / f"{self.path.name}.lock"

    @property
    def metrics(self) -> Path:
        """Metrics that the run itself wrote, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def metrics_cache(self) -> Path:
        """What was read out of the log so far, and up to which byte."""
        return self.path / ".metrics.json"

    def attempt(self, number: int) -> Path:
        return self.path / f"attempt-{number}.json"

    def outcome(self, number: int) -> Path:
        return self.path / f"outcome-{number}.json"


@functools.lru_cache(maxsize=1024)
def state_folder(sweep: Path) -> Path:
    """Where the locks and the queue of a sweep lie: its own folder, or the local one that ``state-folder`` names."""
    try:
        named = (sweep / "state-folder").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return sweep
    local = Path(named)
    local.mkdir(mode=0o700, parents=True, exist_ok=True)
    return local


def local_state(sweep: Path) -> Path:
    """A new name for this sweep's locks and queue on a local disk that outlives a reboot. Raises OSError.

    Another one each time: the folder may have had another sweep before, put aside or removed, whose queue that was.
    """
    return own_folder(local_states()) / f"{clean(sweep.name)}-{os.urandom(8).hex()}"


def local_states() -> Path:
    return Path("/var/tmp") / f"sweep-{os.getuid()}"


def clean(text: str) -> str:
    """``text`` as one safe path component or part of one: nothing but letters, digits and ``._=+-``."""
    return _UNSAFE.sub("_", text).strip("._") or "_"


def folder_name(number: int, texts: Mapping[str, str]) -> str:
    """The name of a run's folder, from its number and its parameters' texts: ``0007-lr=0.01,hidden=64``."""
    label = ",".join(f"{clean(name)}={clean(text)}" for name, text in texts.items())
    if len(label) > LABEL_BYTES:
        label = label[: LABEL_BYTES - 1].rstrip(",=") + "~"
    return f"{number:04d}-{label}" if label else f"{number:04d}"


def folder_number(name: str) -> int | None:
    """The number of the run whose folder is called ``name``; None for any other file."""
    match = _FOLDER.match(name)
    return int(match.group(1)) if match else None


def replace(path: Path, text: str, *, mode: int = 0o644, sync: bool = False) -> None:
    """Write ``text`` beside ``path`` and rename it there, so that no reader ever sees half of it.

    With ``sync`` the file and its folder are on disk when this returns. Raises OSError, and then leaves nothing.
    """
    crashpoint(f"before {path.name}")
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # tempfile would cost each supervisor 8 ms of imports
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            left = text.encode("utf-8", "surrogateescape")
            while left:
                left = left[os.write(descriptor, left) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        crashpoint(f"written {path.name}")
        os.replace(beside, path)
        crashpoint(f"renamed {path.name}")
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(path)  # a full disk is told by the write, which names none
        beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_path(path.parent)


def sync_path(path: str | Path, *, dir_fd: int | None = None, missing_ok: bool = False) -> None:
    """Put a file's bytes, or the names in a folder, on disk; ``missing_ok``: if it can be opened. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=dir_fd)
    except OSError:
        if missing_ok:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """``path``, made with those above it where they are missing, so that a reset of the machine leaves it there.

    Every folder on its way that this user may write to is synced: whoever made it may have been killed before that.
    Raises OSError.
    """
    path.mkdir(parents=True, exist_ok=True)
    device = path.stat().st_dev
    for folder in path.absolute().parents:
        if not os.access(folder, os.R_OK | os.W_OK) or folder.stat().st_dev != device:
            return
        sync_path(folder)


def runtime_folder() -> Path:
    """A folder of this user alone on a local disk, for sockets (their paths hold 108 bytes). Made where missing.

    Raises OSError if the one in the temporary folder belongs to somebody else.
    """
    uid = os.getuid()
    # Not /run/user: it is emptied when the user's last login ends, and the sweep goes on (tmux keeps to /tmp as well).
    path = Path("/tmp") / f"sweep-{uid}"
    return own_folder(path)


def own_folder(path: Path) -> Path:
    """``path``, made where missing, as a folder of this user alone. Raises OSError if it is somebody else's."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or not path.is_dir() or path.is_symlink():
        raise OSError(f"{path} is not a folder of yours alone (mode 0700): remove it or have it removed")
    return path


def import_path() -> str:
    """Where an isolated interpreter (-I -S) of ours finds this package and what it stands on, separated by colons."""
    own = str(Path(__file__).resolve().parent.parent)  # an editable install may have it on no path at all
    return os.pathsep.join(dict.fromkeys([own, *(path for path in sys.path if path and os.path.isdir(path))]))
