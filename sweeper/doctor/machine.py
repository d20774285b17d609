"""The machine itself: GPUs and who is on them, the terminal, Python, and the limits that the kernel sets."""

from __future__ import annotations

import ctypes
import errno
import locale
import os
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from sweeper import moments, procs
from sweeper.doctor.check import Check, ask, listed, size
from sweeper.lease import devices, evidence, remains
from sweeper.version import VERSION

ROOT = Path("/")
SHOWN = 16  # GPUs that get a line of their own
FILES = 1024  # open files that are surely enough


def gpus(env: Mapping[str, str], root: Path = ROOT) -> list[Check]:
    """The driver, each GPU, and the processes on it."""
    found = devices.machine()
    driver = _driver(root)
    if not found.gpus:
        reason = f" ({found.reason})" if found.reason else ""
        if driver or (root / "dev/nvidiactl").exists():
            remedy = "nvidia-smi should say why; a reboot or the administrator mends a driver that was just updated."
            return [
                Check("GPUs", "bad", f"there is a driver ({driver or '/dev/nvidiactl'}) but no GPU{reason}", remedy)
            ]
        return [Check("GPUs", "ok", f"none here: runs go without, and gpus: in a sweep file is refused{reason}")]
    checks = [Check("GPUs", "ok", f"{len(found.gpus)}" + (f", driver {driver}" if driver else ""))]
    if found.reason:
        checks.append(Check("GPUs", "warn", f"some do not answer: {found.reason}", "See what nvidia-smi says of them."))
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if name in env:
            text = f"{name}={env[name]} is set here: sweeps use no other GPU than these"
            checks.append(Check("GPUs", "warn", text, f"To use all of them: unset {name}"))
    checks += [_gpu(gpu) for gpu in found.gpus[:SHOWN]]
    if len(found.gpus) > SHOWN:
        checks.append(Check("GPUs", "ok", f"and {len(found.gpus) - SHOWN} more: sweep gpus shows them all"))
    return checks


def _gpu(gpu: devices.Gpu) -> Check:
    who = [moments.at(evidence.describe(_seen(process))) for process in gpu.processes]
    use = listed(who) if who else "nobody on it"
    text = f"{gpu.name}: {size(gpu.memory_used)} of {size(gpu.memory_total)} in use; {use}"
    return Check(f"GPU {gpu.handle}", "ok", text)


def _seen(process: devices.GpuProcess) -> remains.Seen:
    ticks = procs.start_ticks(process.pid)
    return remains.Seen(process.pid, process.memory, remains.status(process.pid)[0], -1 if ticks is None else ticks)


def _driver(root: Path) -> str:
    """The version of NVIDIA's kernel module, or that of AMD's; '' where neither is loaded."""
    try:
        words = (root / "proc/driver/nvidia/version").read_text("utf-8", "replace").split()
    except OSError:
        return "amdgpu" if (root / "sys/module/amdgpu").is_dir() else ""
    return next((word for word in words if word[0].isdigit() and "." in word), "of NVIDIA")


# -- terminal and Python -------------------------------------------------------------------------------------------


def terminal(env: Mapping[str, str]) -> list[Check]:
    """Whether this machine knows the terminal, and speaks UTF-8 with it."""
    name = env.get("TERM", "")
    if name in ("", "dumb", "unknown"):
        shown = Check("terminal", "warn", f"TERM={name or 'not set'}: no live table", "export TERM=xterm-256color")
    elif not _known(name):
        text = f"TERM={name} is unknown on this machine: tmux will not attach"
        shown = Check("terminal", "warn", text, "export TERM=xterm-256color")
    else:
        shown = Check("terminal", "ok", f"TERM={name}")
    status, said = ask("locale", "charmap")
    coding = said.splitlines()[-1] if status == 0 and said else locale.getpreferredencoding(False)
    if coding.upper().replace("-", "") == "UTF8":
        return [shown, Check("locale", "ok", coding)]
    text = f"{coding}: bars and names with accents come out wrong, in tmux too"
    return [shown, Check("locale", "warn", text, "export LANG=C.UTF-8 (in ~/.profile, before tmux starts)")]


def _known(name: str) -> bool:
    """By terminfo, through tput, whose exit status 3 says that there is no such terminal."""
    return ask("tput", f"-T{name}", "longname")[0] != 3


def python() -> Check:
    text = f"sweep {VERSION}, Python {platform.python_version()} ({sys.executable}), Linux {platform.release()}"
    if not hasattr(os, "pidfd_open") or not _pidfd_works():
        return Check("Python", "bad", f"{text}: no pidfd_open(2)", "Sweep needs Linux 5.4 or newer.")
    return Check("Python", "ok", text)


def _pidfd_works() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


# -- limits --------------------------------------------------------------------------------------------------------


def open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)} a process (at most {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < FILES:
        return Check("open files", "warn", text, f"ulimit -n {FILES}: data loaders with many workers need as many")
    return Check("open files", "ok", text)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def processes(root: Path = ROOT) -> Check:
    """How many more processes this user, and his control group, may start."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    room = [] if soft == resource.RLIM_INFINITY else [soft - _own_threads()]
    group = _pids_group(root)
    if group is not None:
        room.append(group)
    if not room:
        return Check("processes", "ok", "as many as the machine bears")
    text = f"{max(0, min(room)):,} more may be started"
    if min(room) < 200:
        return Check("processes", "warn", text, "ulimit -u, or TasksMax= of your slice: the administrator raises them")
    return Check("processes", "ok", text)


def _own_threads() -> int:
    """What RLIMIT_NPROC counts: every thread of this user."""
    total, uid = 0, os.getuid()
    for pid in procs.pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid:
                total += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:  # it has ended
            continue
    return total


def _pids_group(root: Path) -> int | None:
    """What the pids controller leaves, in this control group or one above it (version 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    path = next((Path(line[3:]) for line in lines if line.startswith("0::/")), None)
    room: list[int] = []
    for folder in (path, *path.parents) if path is not None else ():
        place = root / "sys/fs/cgroup" / str(folder).lstrip("/")
        try:
            most = (place / "pids.max").read_text("ascii").strip()
            now = int((place / "pids.current").read_text("ascii"))
        except (OSError, ValueError):
            continue
        if most.isdigit():
            room.append(int(most) - now)
    return min(room, default=None)


def inotify() -> Check:
    """Whether this user may watch files: those who wait for a GPU are woken by it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor >= 0:
        os.close(descriptor)
        return Check("inotify", "ok", "works; who waits for a GPU is woken at once")
    code = ctypes.get_errno()
    why = "all of your instances are in use" if code == errno.EMFILE else os.strerror(code)
    remedy = "The administrator: sudo sysctl fs.inotify.max_user_instances=1024"
    return Check("inotify", "warn", f"{why}: who waits for a GPU looks again every few seconds instead", remedy)
