"""Where GPU locks are kept: whether locks hold there between processes, and for a second user."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from filelock import lock_descriptor

from sweeper.doctor.check import Check, listed
from sweeper.doctor.place import TAKE, other
from sweeper.errors import SweepError
from sweeper.lease import devices, hold
from sweeper.lease import folder as lease_folder

NOBODY = 65534
_OTHER_USER = ': >"$1" && rm "$1" && if command -v flock >/dev/null; then flock -n 9 9<"$2"; else : <"$2"; fi'


def gpu_locks() -> Check:
    """Whether the folder of the GPU locks holds locks, and is open to a second user."""
    name = "GPU locks"
    try:
        folder = lease_folder.choose()
    except SweepError as error:
        return Check(name, "bad", str(error).split("\n")[0], lease_folder.admin_command())
    for gpu in devices.all_gpus(load=False):
        wrong, _, way = hold.fault(folder, gpu.uuid).partition("\n")
        if wrong:
            return Check(name, "bad", f"GPU {gpu.handle}: {wrong}", way.strip())
    ours = folder / f".doctor-{os.getpid()}-{os.urandom(4).hex()}"
    theirs = ours.with_name(f"{ours.name}-other")
    try:
        os.close(os.open(ours, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
        try:
            fault = _try_shared_lock(ours) or _try_second_user(ours, theirs)
        finally:
            ours.unlink()
    except OSError as error:
        fault = str(error)
    if fault:
        return Check(name, "bad", f"{folder} will not do: {fault}", lease_folder.admin_command())
    tried = "tried as a second user too" if os.geteuid() == 0 else "open to every user"
    if folder == lease_folder.ADMINISTRATORS:
        return Check(name, "ok", f"{folder}, made by the administrator; {tried}")
    better = f"Safer, since no cleaner comes there, and one line for the administrator: {lease_folder.admin_command()}"
    if folder.parent.name == "tmp":
        return Check(name, "warn", f"{folder}, which cleaners empty of old files; {tried}", better)
    return Check(name, "ok", f"{folder}; {tried}", better)


def _try_shared_lock(file: Path) -> str:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        lock_descriptor(descriptor, blocking=False)
        return "" if other(TAKE, file) == 3 else "two processes get the same lock"
    finally:
        os.close(descriptor)


def _try_second_user(ours: Path, theirs: Path) -> str:
    """As root, be nobody for a moment: make a file there, and lock ours. Others can only look at the folder's mode."""
    if os.geteuid() != 0:
        mode = stat.S_IMODE(ours.parent.stat().st_mode)
        return "" if mode & 0o1777 == 0o1777 else f"it is not open to every user (mode {mode:04o})"
    done = subprocess.run(
        ["/bin/sh", "-c", _OTHER_USER, "sh", theirs, ours],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode == 0:
        return ""
    theirs.unlink(missing_ok=True)
    return f"a second user cannot use it ({listed(done.stderr.strip().splitlines(), 1) or done.returncode})"
