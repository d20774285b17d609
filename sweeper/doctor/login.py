"""What may end a sweep behind its user's back: tmux, the logout, a batch job, the connection, a reboot."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeper import boot
from sweeper.doctor.check import Check, ask
from sweeper.errors import SweepError

MINIMUM = (3, 0)  # of tmux, as sweeper.tmux asks for it
ROOT = Path("/")
# The variables by which batch systems say that one is inside a job.
BATCH = {
    "SLURM_JOB_ID": "Slurm",
    "PBS_JOBID": "PBS",
    "LSB_JOBID": "LSF",
    "OAR_JOB_ID": "OAR",
    "FLUX_JOB_ID": "Flux",
    "SGE_TASK_ID": "Grid Engine",
    "_CONDOR_SLOT": "HTCondor",
}
_BATCH_GROUP = re.compile(r"slurm|pbs|lsf|condor|\bsge\b|\boar\b|flux", re.IGNORECASE)
_CONTAINER_GROUP = re.compile(r"docker|kubepods|containerd|libpod|lxc|machine\.slice|apptainer", re.IGNORECASE)


def tmux() -> Check:
    """Whether there is a tmux, new enough, and able to open a session here and now (on a server of its own)."""
    status, said = ask("tmux", "-V")
    without = "or go without it: sweep FILE --serial --here"
    if status == 127:
        return Check("tmux", "bad", "not installed", f"sudo apt install tmux (or dnf, pacman); {without}")
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < MINIMUM:
        needed = ".".join(map(str, MINIMUM))
        return Check("tmux", "bad", f"{said} is too old", f"sweep needs {needed} or newer; {without}")
    why, _, more = _session_fails().partition("\n")
    if why:
        remedy = "\n".join(line.strip() for line in more.splitlines()) or f"mend that, {without}"
        return Check("tmux", "bad", f"{said} cannot open a session: {why}", remedy)
    return Check("tmux", "ok", f"{said}; a session opens, with your tmux.conf if you have one")


def _session_fails() -> str:
    """Why no session with two windows stands, '' where one does: opened as a launch does it, with the user's tmux.conf,
    but on a server of its own."""
    from sweeper import tmux as server

    with tempfile.TemporaryDirectory(prefix="sweep-doctor-", dir="/tmp") as folder, _variable("TMUX_TMPDIR", folder):
        said = ""
        try:
            first = server.new_session("doctor", folder, ["cat"])
            said = "it closes again at once"
            name = server.session_of(folder)  # a hook may have renamed it
            if name is not None:
                server.spare_hooks(name)
                second = server.new_window(name, "doctor", ["cat"])
                said = "" if server.window_of(first.pane) and server.window_of(second.pane) else said
        except SweepError as error:
            said = said or str(error)
        try:
            return f"{said}{server.obstacles()}" if said and "tmux.conf" not in said else said
        finally:
            ask("tmux", "-L", server.SERVER, "kill-server")


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """A variable of the environment set for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


# -- logout --------------------------------------------------------------------------------------------------------


def logout(root: Path = ROOT) -> list[Check]:
    """Whether systemd-logind ends what a user leaves behind when he logs out."""
    if not (root / "run/systemd/system").is_dir():
        return [Check("logout", "ok", "no systemd-logind here that could end anything at logout")]
    settings = _logind_settings(root)
    lingers = boot.lingering(os.environ)
    checks = [_logout(settings, lingers)]
    if lingers is not None:
        text = "lingering is on: your systemd runs without a login"
        if not lingers:
            text = "lingering is off: only sweep resume --at-boot needs it (loginctl enable-linger)"
        checks.append(Check("lingering", "ok", text))
    return checks


def _logout(settings: Mapping[str, str], lingers: bool | None) -> Check:
    name = boot.user_name()
    kills = settings.get("KillUserProcesses", "no").lower() in ("yes", "true", "1", "on")
    only, spared = settings.get("KillOnlyUsers", "").split(), settings.get("KillExcludeUsers", "root").split()
    if not kills:
        return Check("logout", "ok", "what you leave running goes on when you log out (KillUserProcesses=no)")
    if name in spared or (only and name not in only):
        return Check("logout", "ok", f"KillUserProcesses=yes, but not for {name}")
    group = _systemd_group(_tmux_server() or os.getpid())
    if "/user@" in group and lingers:
        return Check("logout", "ok", "KillUserProcesses=yes, but tmux runs under your lingering systemd, out of reach")
    return Check(
        "logout",
        "bad",
        "systemd-logind ends everything of yours at logout (KillUserProcesses=yes), tmux and sweeps too",
        "Type: loginctl enable-linger; tmux kill-server; systemd-run --user --scope tmux new-session -d\n"
        "or the administrator writes KillUserProcesses=no below [Login] in /etc/systemd/logind.conf",
    )


def _logind_settings(root: Path) -> dict[str, str]:
    """What logind says that it does, else what its files say."""
    names = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
    status, said = ask("loginctl", "show-session", *(f"--property={name}" for name in names))
    if status == 0 and "KillUserProcesses=" in said:
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    found: dict[str, str] = {}
    files = [root / "usr/lib/systemd/logind.conf", root / "etc/systemd/logind.conf"]
    dropped: dict[str, Path] = {}
    for folder in ("usr/lib", "usr/local/lib", "run", "etc"):  # of two of one name, the later folder's counts
        dropped |= {file.name: file for file in (root / folder / "systemd/logind.conf.d").glob("*.conf")}
    for file in [*files, *(dropped[name] for name in sorted(dropped))]:
        for line in _lines(file):
            key, equals, value = line.partition("=")
            if equals and key.strip() in names:
                found[key.strip()] = value.strip()
    return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _tmux_server() -> int | None:
    """The pid of the user's own tmux server, where one runs."""
    status, said = ask("tmux", "display-message", "-p", "#{pid}")
    return int(said) if status == 0 and said.isdigit() else None


def _groups(pid: int, root: Path = ROOT) -> list[str]:
    """The control groups of a process, as paths."""
    return [line.split(":", 2)[2] for line in _lines(root / f"proc/{pid}/cgroup") if line.count(":") >= 2]


def _systemd_group(pid: int) -> str:
    return next((group for group in _groups(pid) if group.startswith("/user.slice")), "")


# -- batch jobs and containers -------------------------------------------------------------------------------------


def batch_job(root: Path = ROOT) -> Check:
    """Whether this shell, or the tmux server, lives inside a batch job or a container and ends with it."""
    for variable, system in BATCH.items():
        value = os.environ.get(variable, "")
        if value and value != "undefined":  # which is what Grid Engine sets outside array jobs
            return _inside(f"{system} job {value}")
    server = _tmux_server()
    for what, pid in (("this shell", os.getpid()), ("your tmux server", server)):
        for group in _groups(pid, root) if pid else []:
            if _BATCH_GROUP.search(group):
                return _inside(f"a batch job ({what} is in its control group {group})")
    contained = [group for group in _groups(os.getpid(), root) if _CONTAINER_GROUP.search(group)]
    if contained or (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return Check("batch job", "ok", "none, but this is a container: everything in it ends when it is stopped")
    return Check("batch job", "ok", "none: nothing ends with one")


def _inside(what: str) -> Check:
    return Check(
        "batch job",
        "warn",
        f"inside {what}: its end is the end of every process started here, tmux too",
        "Make the job as long as the sweep and run it in the job's script: sweep FILE --serial --here\n"
        "What the job's end cut short is queued again when the file is launched in the next one.",
    )


# -- the connection ------------------------------------------------------------------------------------------------


def connection(env: Mapping[str, str], root: Path = ROOT) -> Check:
    """Whether an idle SSH connection is kept alive. A dropped one harms no sweep, but it is a nuisance."""
    if not env.get("SSH_CONNECTION"):
        return Check("connection", "ok", "this is no SSH session")
    files = [*sorted((root / "etc/ssh/sshd_config.d").glob("*.conf")), root / "etc/ssh/sshd_config"]
    lines = [line for file in files for line in _lines(file)]
    matches = (re.match(r"\s*ClientAliveInterval[\s=]+(\d+)", line, re.IGNORECASE) for line in lines)
    seconds = next((int(found[1]) for found in matches if found), 0)  # of several lines sshd takes the first
    if seconds:
        return Check("connection", "ok", f"SSH, kept alive by the server (ClientAliveInterval {seconds})")
    keeps = "the server does not keep" if lines else "it cannot be seen whether the server keeps"
    return Check(
        "connection",
        "warn",
        f"SSH, and {keeps} idle connections alive; a dropped one harms no sweep, only your view of it",
        f"On your own computer write into ~/.ssh/config:\n    Host {socket.gethostname()}\n"
        "        ServerAliveInterval 60\n        ServerAliveCountMax 5\n"
        "or the administrator writes ClientAliveInterval 60 into /etc/ssh/sshd_config here",
    )


def reboot(env: Mapping[str, str]) -> Check:
    """Whether sweeps go on by themselves after one."""
    how = boot.installed(env)
    if how is not None:
        return Check("reboot", "ok", f"sweeps go on by themselves, by {how}")
    return Check("reboot", "ok", "sweep resume --all goes on after one; sweep resume --at-boot has it done by itself")
