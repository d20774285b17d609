"""Makes ``sweep-VERSION/``: a small sweep of the current version, which every later one must load.

``python tests/data/make_old.py FOLDER``, once a version whose files differ, from the repository's root. The runs are
real; afterwards what names this machine (folders, host, environment) is replaced by what names none, also in the
database, which is kept as SQL.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROJECT = "/home/user/project"
HOST = "gpu-server"
SWEEP = """\
command: >-
  : seed {seed}; echo epoch {x} loss=0.{x}; case {x} in 2) echo 'ValueError: bad lr'; exit 3;; 3) sleep 60;;
  4) echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1;; 5|6) touch "$SWEEP_RUN_DIR/began"; sleep 60;; esac
grid:
  x: [1, 2, 3, 4, 5, 6, 7, 8]
repeat: {seed: 0}
minimize: loss
timeout: 5s
gpus: 0
"""


def sweep(project: Path, *typed: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(project),
        "XDG_STATE_HOME": str(project / "state"),
        "TMUX_TMPDIR": str(project),
        "LANG": "C.UTF-8",
    }
    subprocess.run([sys.executable, "-m", "sweeper", *typed], cwd=project, env=environment, check=False)


def wait(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit("it took too long")
        time.sleep(0.02)


def make(target: Path) -> None:
    project = Path(tempfile.mkdtemp(prefix="swo-"))
    file = project / "old.yaml"
    runs = project / "runs" / "old"
    try:
        # Run 3 times out; run 5 is stopped by its user; run 6 loses its supervisor, and the sweep its scheduler.
        file.write_text(SWEEP)
        sweep(project, "old.yaml", "--parallel", "1", "--detach")
        folder = {n: runs / f"000{n}-x={n},seed=0" for n in range(1, 9)}
        wait(lambda: (folder[5] / "began").exists())
        sweep(project, "stop", "old", "5")
        wait(lambda: (folder[6] / "began").exists() and (folder[6] / "attempt-1.json").exists())
        sockets = project / f"tmux-{os.getuid()}" / "default"
        said = subprocess.run(
            ["tmux", "-S", sockets, "list-panes", "-a", "-F", "#{pid} #{pane_pid}"], capture_output=True, text=True
        ).stdout
        supervisor = json.loads((folder[6] / "attempt-1.json").read_text())["pid"]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # nobody sees another go
            for pid in {int(word) for word in said.split()} | {supervisor}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(1.0)
        with contextlib.closing(sqlite3.connect(runs / "queue.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            dump = "\n".join(database.iterdump()) + "\n"
        if target.exists():
            shutil.rmtree(target)
        target.mkdir(parents=True)
        keep(runs, target, lambda text: neutral(text, project))
        (target / "queue.sql").write_text(neutral(dump, project))
    finally:
        shutil.rmtree(project)


def keep(runs: Path, target: Path, changed: object) -> None:
    for path in sorted(runs.rglob("*")):
        place = target / path.relative_to(runs)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif path.name.startswith("environment-"):
            data = json.loads(path.read_text())
            data["variables"] = {"PATH": "/usr/bin:/bin", "HOME": "/home/user", "LANG": "C.UTF-8"}
            place.write_text(changed(json.dumps(data, indent=0)))  # type: ignore[operator]
        elif path.name not in ("lock", "launch.lock", "rebuild.lock", "began") and not path.name.startswith(
            ("queue.db", ".")
        ):
            place.write_text(changed(path.read_text()))  # type: ignore[operator]


def neutral(text: str, project: Path) -> str:
    for mine, general in ((str(project), PROJECT), (socket.gethostname(), HOST), (str(ROOT), "/opt/sweep")):
        text = text.replace(mine, general)
    assert sys.prefix not in text, "this machine's Python is in it"
    return text


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
