"""Go on after a reboot by itself: what ``sweep resume --at-boot`` writes, shown first, and taken away again.

A systemd user unit where this user has a systemd of his own, else an @reboot line of his crontab. Both run ``sweep
resume --all``; runs get the environment that their sweep was launched in, so that only ours needs to be set here.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper import paths
from sweeper.errors import SweepError

UNIT = "sweep-resume.service"
MARK = "# sweep resume --at-boot"  # ends our line of the crontab; sh takes it for a comment
LINE_BYTES = 990  # Debian's cron refuses a command of more than 998
SECONDS = 20.0  # that systemctl and crontab may take
KEPT = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "SWEEP_RUNS_DIR", "TMUX_TMPDIR")  # by which sweeps are found


@dataclass(frozen=True)
class BootPlan:
    """What would be written: ``text`` is the whole unit, or the line of the crontab, which has no ``path``.

    ``commands`` are run afterwards; ``notes`` is what else is needed for it to work.
    """

    kind: Literal["systemd", "cron"]
    path: Path | None
    text: str
    commands: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def shown(self) -> str:
        """For people: exactly what will be written where, and what is run."""
        what = "to your crontab, this line" if self.path is None else f"to {self.path}"
        lines = [f"{what}:", *(f"    {line}" for line in self.text.rstrip("\n").split("\n"))]
        if self.commands:
            lines += ["and then:", *(f"    {shlex.join(command)}" for command in self.commands)]
        return "\n".join([*lines, *self.notes])


def plan(argv0: Sequence[str], env: Mapping[str, str]) -> BootPlan:
    """How this machine can be made to run ``argv0 resume --all`` at boot; ``env`` is the caller's environment.

    Raises SweepError where it cannot.
    """
    command = ["/usr/bin/env", *_variables(env), *argv0, "resume", "--all"]
    for word in (*command, str(_state(env))):
        if not word.isprintable():
            raise SweepError(f"{word!r} cannot be written into a unit or a crontab: it holds control characters")
    if _has_systemd(env):
        enable = (("systemctl", "--user", "daemon-reload"), ("systemctl", "--user", "enable", UNIT))
        return BootPlan("systemd", unit_path(env), _unit(command), enable, _lingering_notes(env))
    if shutil.which("crontab", path=env.get("PATH")) is None:
        raise SweepError(
            "there is neither a systemd of yours (systemctl --user) nor a crontab command on this machine.\n"
            "    Type after a reboot: sweep resume --all, or ask the administrator for cron"
        )
    notes = ("Its output goes to " + str(_state(env) / "boot.log") + ".",)
    return BootPlan("cron", None, _cron_line(command, _state(env) / "boot.log"), (), notes)


def install(plan: BootPlan, env: Mapping[str, str]) -> bool:
    """Write what the plan shows; False where it stood there already. Raises SweepError, OSError."""
    if plan.kind == "cron":
        _remove_unit(env)
        _state(env).mkdir(parents=True, exist_ok=True)
        return _write_crontab([*_foreign_lines(env), plan.text], env)
    assert plan.path is not None
    _remove_line(env)
    changed = not plan.path.exists() or plan.path.read_text("utf-8", "replace") != plan.text
    if changed:
        plan.path.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(plan.path, plan.text)
    for command in plan.commands:
        done = _run(command, env)
        if done.returncode != 0:
            raise SweepError(f"{shlex.join(command)} failed: {_said(done)}")
    return changed


def remove(env: Mapping[str, str]) -> list[str]:
    """Take away whatever ``install`` wrote, of either kind; what it was, for people. Raises SweepError, OSError."""
    found = []
    if _remove_unit(env):
        found.append(str(unit_path(env)))
    if _remove_line(env):
        found.append("the @reboot line in your crontab")
    return found


def installed(env: Mapping[str, str]) -> str | None:
    """What does it at the next boot, for people; None where nothing does."""
    if (unit_path(env).parent / "default.target.wants" / UNIT).exists():
        return str(unit_path(env))
    done = _run(("crontab", "-l"), env)
    if done.returncode == 0 and any(line.endswith(MARK) for line in done.stdout.splitlines()):
        return "the @reboot line in your crontab"
    return None


# -- systemd -------------------------------------------------------------------------------------------------------


def unit_path(env: Mapping[str, str]) -> Path:
    config = env.get("XDG_CONFIG_HOME") or os.path.join(_home(env), ".config")
    return Path(config) / "systemd/user" / UNIT


def lingering(env: Mapping[str, str]) -> bool | None:
    """Whether this user's systemd runs without a login; None where logind does not say."""
    done = _run(("loginctl", "show-user", str(os.getuid()), "--property=Linger"), env)
    words = done.stdout.strip().partition("=")[2]
    if done.returncode == 0 and words in ("yes", "no"):
        return words == "yes"
    if _run(("loginctl", "list-users"), env).returncode != 0:
        return None
    return os.path.exists(f"/var/lib/systemd/linger/{user_name()}")  # logind does not know users who are not there


def _lingering_notes(env: Mapping[str, str]) -> tuple[str, ...]:
    lingers = lingering(env)
    if lingers:
        return ("Lingering is on: it runs at boot, before anybody logs in.",)
    how = "Lingering is off" if lingers is False else "Whether lingering is on cannot be seen; if not"
    remedy = f"loginctl enable-linger (where refused, the administrator: sudo loginctl enable-linger {user_name()})"
    return (f"{how}: it would run when you log in, not at boot. To change that: {remedy}",)


def _has_systemd(env: Mapping[str, str]) -> bool:
    return _run(("systemctl", "--user", "show-environment"), env).returncode == 0


def _unit(command: Sequence[str]) -> str:
    # A oneshot that remains keeps the tmux server that it started, and stopping the unit must not end the sweeps.
    return "\n".join(
        [
            "[Unit]",
            "Description=Go on with the sweeps that a reboot interrupted (sweep resume --at-boot)",
            "",
            "[Service]",
            "Type=oneshot",
            "RemainAfterExit=yes",
            "KillMode=process",
            "WorkingDirectory=/",  # at home, a folder called sweeper would be imported in place of ours
            "ExecStart=" + " ".join(_systemd_word(word) for word in command),
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def _systemd_word(word: str) -> str:
    """A word of ExecStart (systemd.service(5), COMMAND LINES): quotes, specifiers and variables are all escaped."""
    for char, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(char, escaped)
    return f'"{word}"'


def _remove_unit(env: Mapping[str, str]) -> bool:
    unit = unit_path(env)
    wanted = unit.parent / "default.target.wants" / UNIT
    if not (unit.exists() or os.path.lexists(wanted)):
        return False
    _run(("systemctl", "--user", "disable", UNIT), env)
    wanted.unlink(missing_ok=True)  # systemctl has done it, where there is one that answers
    unit.unlink(missing_ok=True)
    _run(("systemctl", "--user", "daemon-reload"), env)
    return True


# -- cron ----------------------------------------------------------------------------------------------------------


def _cron_line(command: Sequence[str], log: Path) -> str:
    """``%`` ends a command in a crontab, even in quotes, unless a backslash stands before it."""
    line = f"cd / && {shlex.join(command)} >>{shlex.quote(str(log))} 2>&1 {MARK}".replace("%", "\\%")
    if len(line.encode()) > LINE_BYTES:
        raise SweepError(f"the paths are too long for a line of a crontab ({len(line)} of {LINE_BYTES} bytes): {line}")
    return f"@reboot {line}"


def _crontab(env: Mapping[str, str]) -> list[str]:
    """The lines of this user's crontab. Raises SweepError where he may not have one."""
    done = _run(("crontab", "-l"), env)
    if done.returncode == 0:
        return done.stdout.removesuffix("\n").split("\n") if done.stdout else []
    if "no crontab" in done.stderr.lower() or not done.stderr.strip():
        return []
    raise SweepError(f"your crontab cannot be read: {_said(done)}")


def _foreign_lines(env: Mapping[str, str]) -> list[str]:
    return [line for line in _crontab(env) if not line.endswith(MARK)]


def _write_crontab(lines: Sequence[str], env: Mapping[str, str]) -> bool:
    if list(lines) == _crontab(env):
        return False
    done = _run(("crontab", "-"), env, given="".join(f"{line}\n" for line in lines))
    if done.returncode != 0:
        raise SweepError(f"your crontab cannot be written: {_said(done)}")
    return True


def _remove_line(env: Mapping[str, str]) -> bool:
    if shutil.which("crontab", path=env.get("PATH")) is None:
        return False
    return _write_crontab(_foreign_lines(env), env)


# -- both ----------------------------------------------------------------------------------------------------------


def user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _home(env: Mapping[str, str]) -> str:
    return env.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


def _state(env: Mapping[str, str]) -> Path:
    return Path(env.get("XDG_STATE_HOME") or os.path.join(_home(env), ".local/state")) / "sweep"


def _variables(env: Mapping[str, str]) -> list[str]:
    """What differs from the bare environment at boot: where tmux and bash are found, and the sweeps."""
    found = [shutil.which(name, path=env.get("PATH")) for name in ("tmux", "bash")]
    folders = [os.path.dirname(os.path.abspath(path)) for path in found if path]
    folders = list(dict.fromkeys([*folders, "/usr/local/bin", "/usr/bin", "/bin"]))
    return [f"PATH={':'.join(folders)}", *(f"{name}={env[name]}" for name in KEPT if env.get(name))]


def _run(
    command: Sequence[str], env: Mapping[str, str], *, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The command's end and its output; one that is missing or hangs ends like one that fails."""
    try:
        return subprocess.run(
            command,
            env=dict(env),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    words = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return words[-1] if words else f"exit status {done.returncode}"
