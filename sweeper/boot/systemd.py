"""A unit of the user's own systemd."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.boot.asking import home, run, user_name

UNIT = "sweep-resume.service"


def unit_path(env: Mapping[str, str]) -> Path:
    config = env.get("XDG_CONFIG_HOME") or os.path.join(home(env), ".config")
    return Path(config) / "systemd/user" / UNIT


def lingering(env: Mapping[str, str]) -> bool | None:
    """Whether this user's systemd runs without a login; None where logind does not say."""
    done = run(("loginctl", "show-user", str(os.getuid()), "--property=Linger"), env)
    words = done.stdout.strip().partition("=")[2]
    if done.returncode == 0 and words in ("yes", "no"):
        return words == "yes"
    if run(("loginctl", "list-users"), env).returncode != 0:
        return None
    return os.path.exists(f"/var/lib/systemd/linger/{user_name()}")  # logind does not know users who are not there


def notes(env: Mapping[str, str]) -> tuple[str, ...]:
    lingers = lingering(env)
    if lingers:
        return ("Lingering is on: it runs at boot, before anybody logs in.",)
    how = "Lingering is off" if lingers is False else "Whether lingering is on cannot be seen; if not"
    remedy = f"loginctl enable-linger (where refused, the administrator: sudo loginctl enable-linger {user_name()})"
    return (f"{how}: it would run when you log in, not at boot. To change that: {remedy}",)


def is_there(env: Mapping[str, str]) -> bool:
    return run(("systemctl", "--user", "show-environment"), env).returncode == 0


def unit(command: Sequence[str]) -> str:
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


def remove(env: Mapping[str, str]) -> bool:
    unit = unit_path(env)
    wanted = unit.parent / "default.target.wants" / UNIT
    if not (unit.exists() or os.path.lexists(wanted)):
        return False
    run(("systemctl", "--user", "disable", UNIT), env)
    wanted.unlink(missing_ok=True)  # systemctl has done it, where there is one that answers
    unit.unlink(missing_ok=True)
    run(("systemctl", "--user", "daemon-reload"), env)
    return True
