"""The per-user index: which sweeps there are, wherever they lie, and which was used last."""

from __future__ import annotations

import json
import os
import pwd
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sweeper import folders, paths
from sweeper.errors import InputError

LIMIT = 1000  # sweeps remembered
LOCKED = 1.0  # seconds that others may take to note theirs


@dataclass(frozen=True, slots=True)
class Entry:
    """A sweep folder and when it was last used, in unix seconds."""

    path: Path
    used: float


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "sweep" / "index.json"


def entries() -> list[Entry]:
    """The sweeps of this user that still stand, the one used last first."""
    return [entry for entry in _remembered() if os.path.isdir(entry.path)]


def _remembered() -> list[Entry]:
    data = folders.read_json(_file()) or {}
    found = [
        Entry(Path(path), float(used))
        for path, used in data.items()
        if isinstance(used, (int, float)) and os.path.isabs(path) and "\0" not in path
    ]
    return sorted(found, key=lambda entry: -entry.used)


def remember(sweep: paths.SweepDir) -> None:
    """Note that this sweep was used now. An index that cannot be written costs only the convenience."""
    file = _file()
    try:
        paths.make_folder(file.parent)
        lock = folders.open_lock(file.with_name("index.lock"))
        try:
            folders.take_lock(lock, LOCKED)  # or two at once would each forget the other's
            # One whose runs folder is not there either may lie on a disk that is not mounted yet.
            kept = [one for one in _remembered() if one.path.is_dir() or not one.path.parent.is_dir()]
            known = {str(one.path): one.used for one in kept[: LIMIT - 1]}
            known[str(sweep.path)] = time.time()
            paths.replace(file, json.dumps(known, indent=0), sync=True)  # after a reboot resume --all reads it
        finally:
            os.close(lock)
    except OSError:
        return


def runs_dir(given: str | None, spec_says: Path | None = None) -> Path:
    """The runs folder: what was typed, else SWEEP_RUNS_DIR, else the file's ``runs_dir``, else ``runs`` here."""
    chosen = given or os.environ.get("SWEEP_RUNS_DIR") or spec_says or "runs"
    return Path(os.path.abspath(os.path.expanduser(str(chosen))))


def is_sweep(path: Path) -> bool:
    return any(os.path.isfile(path / name) for name in ("sweep.yaml", "queue.db", "owner.json"))


def find(name: str | None, given: str | None = None) -> paths.SweepDir:
    """The sweep called so: in the runs folder here, else anywhere; without a name the one used last.

    A path to a sweep's folder, or its sweep file's name, is understood too. Raises InputError, naming what there is.
    """
    here = runs_dir(given)
    known = entries()
    if name is None:
        local = [entry for entry in known if given is not None and entry.path.parent == here]
        for entry in local or ([] if given is not None else known):
            if is_sweep(entry.path):
                return paths.SweepDir(entry.path)
        raise InputError("no sweep was started yet" + (f" in {here}" if given else "") + ": sweep FILE starts one")
    if os.sep in name and is_sweep(Path(name)):
        return paths.SweepDir(Path(os.path.abspath(name)))
    if os.sep not in name and name not in ("", ".", "..") and is_sweep(here / name):
        return paths.SweepDir(here / name)
    matching = [entry.path for entry in known if entry.path.name == name and is_sweep(entry.path)]
    if matching and given is None:
        return paths.SweepDir(matching[0])
    launched = _launched_from(name, here, [entry.path for entry in known] if given is None else [])
    if launched is not None:
        return paths.SweepDir(launched)
    if is_sweep(Path(name)):
        return paths.SweepDir(Path(os.path.abspath(name)))
    names = list(dict.fromkeys(entry.path.name for entry in known))
    close = get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]}?" if close else (f"; there are: {', '.join(names[:10])}" if names else "")
    raise InputError(f"there is no sweep called {name!r} in {here} or in your index{hint}")


def _launched_from(file: str, here: Path, known: Iterable[Path]) -> Path | None:
    """The sweep that was launched from this sweep file."""
    if not file.endswith((".yaml", ".yml")):
        return None
    wanted = os.path.abspath(file)
    local = sorted(here.iterdir()) if os.access(here, os.R_OK | os.X_OK) and here.is_dir() else []
    for path in [*local, *known]:
        owner = folders.read_json(paths.SweepDir(path).owner) if is_sweep(path) else None
        if owner is not None and os.path.abspath(str(owner.get("file"))) == wanted:
            return path
    return None


def check_host(sweep: paths.SweepDir) -> None:
    """Refuse on another host than the sweep's: its processes, locks and queue are there; and to another user, whose
    signals and socket do not reach them. Raises InputError."""
    owner = folders.read_json(sweep.owner)
    host = socket.gethostname()
    if owner is not None and owner.get("host") not in (None, host):
        raise InputError(
            f"{sweep.name} runs on host {owner['host']}, and this is {host}: give the command there.\n"
            f"    If that machine is gone for good, remove {sweep.owner} and launch the file again here"
        )
    whose = sweep.owner.stat().st_uid if owner is not None else os.geteuid()
    if whose != os.geteuid():
        raise InputError(
            f"{sweep.path} belongs to another user ({_user(whose)}): sweep report {sweep.path} reads it, "
            "and a runs folder of your own (--runs-dir) is for your own runs"
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
