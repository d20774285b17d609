"""Who the user is, where his things lie, and what other programs answer."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 20.0  # that systemctl and crontab may take


def user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def home(env: Mapping[str, str]) -> str:
    return env.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


def state(env: Mapping[str, str]) -> Path:
    return Path(env.get("XDG_STATE_HOME") or os.path.join(home(env), ".local/state")) / "sweep"


def run(
    command: Sequence[str], env: Mapping[str, str], *, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The command's end and its output; one that is missing or hangs ends like one that fails."""
    try:
        return subprocess.run(
            command,
            env=dict(env),
            cwd="/",
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def said(done: subprocess.CompletedProcess[str]) -> str:
    words = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return words[-1] if words else f"exit status {done.returncode}"
