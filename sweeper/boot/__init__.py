"""Go on after a reboot by itself: what ``sweep resume --at-boot`` writes, shown first, and taken away again.

A systemd user unit where this user has a systemd of his own, else an @reboot line of his crontab. Both run ``sweep
resume --all``; runs get the environment that their sweep was launched in, so that only ours needs to be set here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper import paths
from sweeper.boot import cron, systemd
from sweeper.boot.asking import run, said, state, user_name
from sweeper.boot.systemd import UNIT, lingering, unit_path
from sweeper.errors import SweepError

__all__ = [
    "UNIT",
    "BootPlan",
    "command",
    "install",
    "installed",
    "lingering",
    "plan",
    "remove",
    "unit_path",
    "user_name",
]

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


def command(env: Mapping[str, str]) -> list[str]:
    """This very program, ``python -m sweeper``, as it starts from any folder: where its interpreter does not find it by
    itself (it was typed in a clone, say), with the variable by which it does."""
    ours = Path(__file__).resolve().parents[2]
    bare = {name: value for name, value in env.items() if name != "PYTHONPATH"}
    found = run((sys.executable, "-c", "import sweeper; print(sweeper.__file__)"), bare).stdout.strip()
    if found and Path(found).resolve().parents[1] == ours:
        return [sys.executable, "-m", "sweeper"]
    others = [os.path.abspath(folder) for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return [f"PYTHONPATH={os.pathsep.join(dict.fromkeys([str(ours), *others]))}", sys.executable, "-m", "sweeper"]


def plan(argv0: Sequence[str], env: Mapping[str, str]) -> BootPlan:
    """How this machine can be made to run ``argv0 resume --all`` at boot; ``env`` is the caller's environment, and
    variables may stand before the program in ``argv0``.

    Raises SweepError where it cannot.
    """
    words = ["/usr/bin/env", *_variables(env), *argv0, "resume", "--all"]
    for word in (*words, str(state(env))):
        if not word.isprintable():
            raise SweepError(f"{word!r} cannot be written into a unit or a crontab: it holds control characters")
    if systemd.is_there(env):
        enable = (("systemctl", "--user", "daemon-reload"), ("systemctl", "--user", "enable", UNIT))
        return BootPlan("systemd", unit_path(env), systemd.unit(words), enable, systemd.notes(env))
    if shutil.which("crontab", path=env.get("PATH")) is None:
        raise SweepError(
            "there is neither a systemd of yours (systemctl --user) nor a crontab command on this machine.\n"
            "    Type after a reboot: sweep resume --all, or ask the administrator for cron"
        )
    notes = ("Its output goes to " + str(state(env) / "boot.log") + ".",)
    return BootPlan("cron", None, cron.line_of(words, state(env) / "boot.log"), (), notes)


def install(plan: BootPlan, env: Mapping[str, str]) -> bool:
    """Write what the plan shows; False where it stood there already. Raises SweepError, OSError."""
    if plan.kind == "cron":
        systemd.remove(env)
        state(env).mkdir(parents=True, exist_ok=True)
        return cron.write([*cron.foreign_lines(env), plan.text], env)
    assert plan.path is not None
    cron.remove(env)
    changed = not plan.path.exists() or plan.path.read_text("utf-8", "replace") != plan.text
    if changed:
        plan.path.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(plan.path, plan.text)
    for words in plan.commands:
        done = run(words, env)
        if done.returncode != 0:
            raise SweepError(f"{shlex.join(words)} failed: {said(done)}")
    return changed


def remove(env: Mapping[str, str]) -> list[str]:
    """Take away whatever ``install`` wrote, of either kind; what it was, for people. Raises SweepError, OSError."""
    found = []
    if systemd.remove(env):
        found.append(str(unit_path(env)))
    if cron.remove(env):
        found.append("the @reboot line in your crontab")
    return found


def installed(env: Mapping[str, str]) -> str | None:
    """What does it at the next boot, for people; None where nothing does."""
    if (unit_path(env).parent / "default.target.wants" / UNIT).exists():
        return str(unit_path(env))
    done = run(("crontab", "-l"), env)
    if done.returncode == 0 and any(line.endswith(cron.MARK) for line in done.stdout.splitlines()):
        return "the @reboot line in your crontab"
    return None


def _variables(env: Mapping[str, str]) -> list[str]:
    """What differs from the bare environment at boot: where tmux and bash are found, and the sweeps."""
    found = [shutil.which(name, path=env.get("PATH")) for name in ("tmux", "bash")]
    folders = [os.path.dirname(os.path.abspath(path)) for path in found if path]
    folders = list(dict.fromkeys([*folders, "/usr/local/bin", "/usr/bin", "/bin"]))
    return [f"PATH={':'.join(folders)}", *(f"{name}={env[name]}" for name in KEPT if env.get(name))]
