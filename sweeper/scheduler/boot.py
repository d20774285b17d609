"""Start of a scheduler in a window of its own, isolated from the tmux server's environment: boot.py FOLDERS ..."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.paths import SweepDir


def main() -> None:
    """``boot.py FOLDERS window|watch SWEEP_DIR``: what runs in the session's first window."""
    sys.path[:0] = sys.argv[1].split(os.pathsep)
    from sweeper import errors, obstacle, paths

    sweep = paths.SweepDir(Path(sys.argv[3]))
    if sys.argv[2] == "watch":
        from sweeper import watch

        watch.in_window(sweep)
        return
    import sqlite3

    from sweeper.scheduler.place import GoneError
    from sweeper.scheduler.serve import serve, summary
    from sweeper.store import why_not

    try:
        counts = serve(sweep, table=True)
    except GoneError as gone:
        print(f"sweep: {gone}", flush=True)
        if gone.deleted:
            _keep_window()  # there is no log any more that could tell
        sys.exit(1)
    except (errors.SweepError, OSError, sqlite3.Error) as error:
        why = why_not(sweep.db, error) if isinstance(error, sqlite3.Error) else str(error)
        why = obstacle.explain(error) if isinstance(error, OSError) else why
        print(f"sweep: {why}", flush=True)
        _note(sweep, why)
        sys.exit(1)
    except BaseException:
        _note(sweep, traceback.format_exc())
        raise
    print(f"\r\n{sweep.name}: {summary(counts)}\r\nsweep report {sweep.name} shows what came out", flush=True)


def _keep_window() -> None:
    from sweeper import tmux

    pane = tmux.window_of(os.environ.get("TMUX_PANE", ""))
    if pane is not None:
        tmux.keep(pane)


def _note(sweep: SweepDir, text: str) -> None:
    """For whoever looks why the window is gone."""
    try:
        with open(sweep.log, "a", encoding="utf-8", errors="replace") as file:
            file.write(text.rstrip() + "\n")
    except OSError:
        return  # its folder is gone, or full


if __name__ == "__main__":
    main()
