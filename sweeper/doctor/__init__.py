"""Is this machine set up for an unattended night? Every line is tried, not assumed, and says what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.doctor import locks, login, machine, place, room
from sweeper.doctor.check import Check, plain
from sweeper.errors import SweepError
from sweeper.index import runs_dir as default_runs_dir

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Check", "checks", "table"]


def checks(runs_dir: Path | None) -> list[Check]:
    """Look at everything that an unattended night depends on; about a second. Leaves nothing behind.

    ``runs_dir`` is where runs are kept, None for where they would be kept if a sweep were launched here and now.
    """
    folder = runs_dir if runs_dir is not None else default_runs_dir(None)
    parts: list[tuple[str, Callable[[], Check | list[Check]]]] = [
        ("tmux", login.tmux),
        ("logout", login.logout),
        ("batch job", login.batch_job),
        ("connection", lambda: login.connection(os.environ)),
        ("reboot", lambda: login.reboot(os.environ)),
        ("GPU locks", locks.gpu_locks),
        ("runs folder", lambda: place.runs_folder(folder)),
        ("disk space", lambda: room.disk_space(folder)),
        ("files", lambda: room.inodes(folder)),
        ("temporary files", room.temporary),
        ("GPUs", lambda: machine.gpus(os.environ)),
        ("terminal", lambda: machine.terminal(os.environ)),
        ("Python", machine.python),
        ("open files", machine.open_files),
        ("processes", machine.processes),
        ("inotify", machine.inotify),
    ]
    found: list[Check] = []
    for name, look in parts:
        try:
            result = look()
        except (OSError, SweepError) as error:
            result = Check(name, "bad", f"cannot be looked at: {plain(str(error))}")
        found += [result] if isinstance(result, Check) else result
    return found


def table(checks: Iterable[Check]) -> Table:
    """The checks as a table for the terminal; what is not well brings its remedy along."""
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "bad": "bold red"}
    found = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    found.add_column(no_wrap=True)
    found.add_column(no_wrap=True)
    found.add_column(overflow="fold")
    for check in checks:
        text = Text(plain(check.text))
        if check.remedy:
            text.append("\n" + plain(check.remedy), style="dim" if check.level == "ok" else "cyan")
        found.add_row(Text(check.level, style=colours[check.level]), Text(check.name), text)
    return found
