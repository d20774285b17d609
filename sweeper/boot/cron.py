"""An @reboot line in the user's crontab."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.boot.asking import run, said
from sweeper.errors import SweepError

MARK = "# sweep resume --at-boot"  # ends our line of the crontab; sh takes it for a comment
LINE_BYTES = 990  # Debian's cron refuses a command of more than 998


def line_of(command: Sequence[str], log: Path) -> str:
    """``%`` ends a command in a crontab, even in quotes, unless a backslash stands before it."""
    line = f"cd / && {shlex.join(command)} >>{shlex.quote(str(log))} 2>&1 {MARK}".replace("%", "\\%")
    if len(line.encode()) > LINE_BYTES:
        raise SweepError(f"the paths are too long for a line of a crontab ({len(line)} of {LINE_BYTES} bytes): {line}")
    return f"@reboot {line}"


def crontab(env: Mapping[str, str]) -> list[str]:
    """The lines of this user's crontab. Raises SweepError where he may not have one."""
    done = run(("crontab", "-l"), env)
    if done.returncode == 0:
        return done.stdout.removesuffix("\n").split("\n") if done.stdout else []
    if "no crontab" in done.stderr.lower() or not done.stderr.strip():
        return []
    raise SweepError(f"your crontab cannot be read: {said(done)}")


def foreign_lines(env: Mapping[str, str]) -> list[str]:
    return [line for line in crontab(env) if not line.endswith(MARK)]


def write(lines: Sequence[str], env: Mapping[str, str]) -> bool:
    if list(lines) == crontab(env):
        return False
    done = run(("crontab", "-"), env, given="".join(f"{line}\n" for line in lines))
    if done.returncode != 0:
        raise SweepError(f"your crontab cannot be written: {said(done)}")
    return True


def remove(env: Mapping[str, str]) -> bool:
    if shutil.which("crontab", path=env.get("PATH")) is None:
        return False
    return write(foreign_lines(env), env)
