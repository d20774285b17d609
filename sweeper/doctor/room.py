"""Room for the night: free space against the pace of the logs, files that can still be made, the temporary folder."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sweeper import folders, paths
from sweeper.doctor.check import Check, size
from sweeper.doctor.place import standing

RECENT = 600.0  # seconds since its last word in which a log counts as growing
MOST = 5000  # run folders that are looked at
NIGHT = 16 * 3600.0  # seconds


def disk_space(path: Path) -> Check:
    """Free space, against the pace at which the logs of the runs going on there grow."""
    status = os.statvfs(standing(path))
    free, whole = status.f_bavail * status.f_frsize, max(1, status.f_blocks * status.f_frsize)
    pace, growing = _growth(path)
    text = f"{size(free)} of {size(whole)} free ({100 * free / whole:.0f} %)"
    if growing:
        text += f"; {growing} logs grow by {size(pace * 3600)} an hour"
    remedy = "Make room, or keep the runs on another disk (runs_dir); sweep rm removes an old sweep."
    if free < 500_000_000 or (pace > 0 and free / pace < 3600):
        return Check("disk space", "bad", text, remedy)
    if free < 5_000_000_000 or (pace > 0 and free / pace < NIGHT):
        return Check("disk space", "warn", text, remedy)
    return Check("disk space", "ok", text)


def _growth(path: Path) -> tuple[float, int]:
    """Bytes a second that the logs of the runs at work grow by, and how many these are."""
    pace, growing, now = 0.0, 0, time.time()
    for run in islice(_runs(path), MOST):
        try:
            status = run.log.stat()
        except OSError:
            continue
        if now - status.st_mtime > RECENT:
            continue
        attempt = folders.history(run).attempt
        if attempt is not None and status.st_size > attempt.log_offset:
            pace += (status.st_size - attempt.log_offset) / max(1.0, status.st_mtime - attempt.started)
            growing += 1
    return pace, growing


def _runs(path: Path) -> Iterator[paths.RunDir]:
    try:
        sweeps = [Path(entry.path) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for sweep in sweeps:
        for _, run in folders.run_folders(paths.SweepDir(sweep)):
            yield run


def inodes(path: Path) -> list[Check]:
    """Whether the file system can hold more files; some count none (Btrfs), and then there is nothing to say."""
    status = os.statvfs(standing(path))
    if status.f_files == 0:
        return []
    text = f"{status.f_favail:,} more can be made; a run makes about six"
    if status.f_favail < 1000:
        return [Check("files", "bad", text, "Remove files that are not needed (df -i shows where they are).")]
    if status.f_favail < 50_000:
        return [Check("files", "warn", text, "Remove files that are not needed (df -i shows where they are).")]
    return [Check("files", "ok", text)]


def temporary() -> Check:
    """/tmp holds tmux's socket; programs keep what they like there."""
    status = os.statvfs("/tmp")
    free = status.f_bavail * status.f_frsize
    text = f"/tmp: {size(free)} free"
    with tempfile.TemporaryFile(dir="/tmp") as file:
        file.write(b"tried")
    if free < 100_000_000:
        return Check("temporary files", "warn", text, "Make room there: tmux and many training programs need some.")
    return Check("temporary files", "ok", text)
