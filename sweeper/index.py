"""The per-user index: which sweeps there are, wherever they lie, and which was used last."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sweeper import folders, obstacle, paths, procs
from sweeper.errors import InputError

LIMIT = 1000  # sweeps remembered
LOCKED = 1.0  # seconds that others may take to note theirs


@dataclass(frozen=True, slots=True)
class Entry:
    """A sweep folder and when it was last used, in unix seconds."""

    path: Path
    used: float


def folder() -> Path:
    """Where the index lies."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "sweep"


def _file() -> Path:
    return folder() / "index.json"


def entries() -> list[Entry]:
    """The sweeps of this user that still stand, the one used last first."""
    return [entry for entry in _remembered() if _stands(entry.path)]


def _stands(path: Path) -> bool:
    """Whether a folder is there, or may be: behind a closed one, that cannot be told."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def _remembered() -> list[Entry]:
    data = folders.read_json(_file()) or {}
    found = [
        Entry(Path(path), float(used))
        for path, used in data.items()
        if isinstance(used, (int, float)) and os.path.isabs(path) and "\0" not in path
    ]
    return sorted(found, key=lambda entry: -entry.used)


def is_lost(sweep: paths.SweepDir) -> bool:
    """Whether this very sweep was used before, and its folder is gone."""
    return not _stands(sweep.path) and any(entry.path == sweep.path for entry in _remembered())


def elsewhere(sweep: paths.SweepDir, file: str) -> paths.SweepDir | None:
    """Another sweep of this very file that stands somewhere else: the one used last. What --fresh put aside is none."""
    wanted = os.path.realpath(file)
    for entry in entries():
        if entry.path == sweep.path or re.search(r"\.old-\d+$", entry.path.name):
            continue
        try:
            owner = folders.read_json(paths.SweepDir(entry.path).owner)
            if owner is not None and os.path.realpath(str(owner.get("file"))) == wanted:
                return paths.SweepDir(entry.path)
        except (OSError, ValueError):
            continue  # closed to us, or nothing that we wrote
    return None


def remember(sweep: paths.SweepDir) -> None:
    """Note that this sweep was used now. An index that cannot be written costs only the convenience."""

    def note(known: dict[str, float]) -> None:
        # Later than all others, also where the clock was set back meanwhile.
        known[str(sweep.path)] = max([time.time(), *(used + 0.001 for used in known.values())])

    _change(note)


def forget(sweep: paths.SweepDir) -> None:
    """Note that this sweep is no more."""
    _change(lambda known: known.pop(str(sweep.path), None))


def _change(change: Callable[[dict[str, float]], object]) -> None:
    file = _file()
    try:
        paths.make_folder(file.parent)
        lock = folders.open_lock(file.with_name("index.lock"))
        try:
            folders.take_lock(lock, LOCKED)  # or two at once would each forget the other's
            procs.crashpoint("index locked")
            # One whose runs folder is not there either may lie on a disk that is not mounted yet.
            kept = [one for one in _remembered() if _stands(one.path) or not _stands(one.path.parent)]
            known = {str(one.path): one.used for one in kept[: LIMIT - 1]}
            change(known)
            paths.replace(file, json.dumps(known, indent=0), sync=True)  # after a reboot resume --all reads it
        finally:
            os.close(lock)
    except OSError:
        return


def runs_dir(given: str | None, spec_says: Path | None = None) -> Path:
    """The runs folder: what was typed, else SWEEP_RUNS_DIR, else the file's ``runs_dir``, else ``runs`` here.

    Raises InputError where nothing but blanks was typed.
    """
    if given is not None and not given.strip():
        raise InputError("--runs-dir is empty: name a folder, or leave it out")
    chosen = given or os.environ.get("SWEEP_RUNS_DIR") or spec_says or "runs"
    return Path(os.path.abspath(os.path.expanduser(str(chosen))))


def is_sweep(path: Path) -> bool:
    """Whether a sweep lies there. What is closed to us counts: who opens it is told so (``check_open``)."""
    for name in ("sweep.yaml", "queue.db", "owner.json"):
        try:
            if stat.S_ISREG(os.stat(path / name).st_mode):
                return True
        except PermissionError:
            return True
        except (OSError, ValueError):
            continue
    return False


def find(name: str | None, given: str | None = None) -> paths.SweepDir:
    """The sweep called so: in the runs folder here, else anywhere; without a name the one used last.

    A path to a sweep's folder, or its sweep file's name, is understood too. Raises InputError, naming what there is,
    or who closed it.
    """
    here = runs_dir(given)
    known = entries()
    if name is None:
        local = [entry for entry in known if given is not None and entry.path.parent == here]
        for entry in local or ([] if given is not None else known):
            if is_sweep(entry.path):
                return check_open(paths.SweepDir(entry.path))
        raise InputError("no sweep was started yet" + (f" in {here}" if given else "") + ": sweep FILE starts one")
    found = _called(name, here, [entry.path for entry in known], anywhere=given is None)
    if found is not None:
        return check_open(paths.SweepDir(found))
    lost = next((entry.path for entry in _remembered() if name in (entry.path.name, str(entry.path))), None)
    if lost is not None:
        raise InputError(
            f"the sweep {lost.name} was in {lost}, which was deleted or moved\n"
            f"    where it is now it is found by its path, like sweep status NEW/PLACE/{lost.name}"
        )
    names = list(dict.fromkeys(entry.path.name for entry in known))
    close = get_close_matches(name, names, 1)
    more = f" and {len(names) - 10} more (sweep ls)" if len(names) > 10 else ""
    hint = f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names[:10])}{more}" if names else ""
    raise InputError(f"there is no sweep called {name!r} in {here} or in your index{hint}")


def _called(name: str, here: Path, known: list[Path], *, anywhere: bool) -> Path | None:
    """The folder of the sweep called so; None where there is none."""
    places = [Path(os.path.abspath(name))] if os.sep in name else []
    if os.sep not in name and name not in ("", ".", ".."):
        places = [here / name, *(path for path in known if path.name == name and anywhere)]
    # Behind a runs folder that is closed to us may stand anything: taken only where nothing else is called so.
    found = next((path for path in places if is_sweep(path) and os.path.isdir(path)), None)
    found = found or _launched_from(name, here, known if anywhere else [])
    found = found or next((path for path in places if is_sweep(path)), None)
    return found or (Path(os.path.abspath(name)) if name and is_sweep(Path(name)) else None)


def check_open(sweep: paths.SweepDir) -> paths.SweepDir:
    """The sweep, if its folder can be looked into. Raises InputError that says whose it is."""
    try:
        os.stat(sweep.path / "sweep.yaml")
        os.close(os.open(sweep.path, os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError as error:
        raise InputError(f"the sweep {sweep.name!r} is closed to you: {obstacle.explain(error)}") from error
    except OSError:
        return sweep  # whatever it is, it is told by whoever needs it
    return sweep


def _launched_from(file: str, here: Path, known: Iterable[Path]) -> Path | None:
    """The sweep that was launched from this sweep file."""
    if not file.endswith((".yaml", ".yml")):
        return None
    wanted = os.path.abspath(file)
    local = sorted(here.iterdir()) if os.access(here, os.R_OK | os.X_OK) and here.is_dir() else []
    for path in [*local, *known]:
        try:
            owner = folders.read_json(paths.SweepDir(path).owner)
        except OSError:
            continue
        if owner is not None and os.path.abspath(str(owner.get("file"))) == wanted:
            return path
    return None


def check_host(sweep: paths.SweepDir) -> None:
    """Refuse on another host than the sweep's: its processes, locks and queue are there. Raises InputError."""
    owner = folders.read_json(sweep.owner)
    host = socket.gethostname()
    if owner is not None and owner.get("host") not in (None, host):
        raise InputError(
            f"{sweep.name} runs on host {owner['host']}, and this is {host}: give the command there.\n"
            f"    If that machine is gone for good, remove {sweep.owner} and launch the file again here"
        )


def check_ours(sweep: paths.SweepDir) -> None:
    """Refuse to change what is closed to us, runs on another host, or is another user's, whose processes our signals do
    not reach. Raises InputError."""
    check_open(sweep)
    check_host(sweep)
    try:
        whose = os.stat(sweep.owner).st_uid
    except OSError:
        return  # there is none yet, or whoever opens it is told why not
    if whose != os.geteuid():
        raise InputError(
            f"{sweep.path} belongs to another user ({obstacle.user_name(whose)}), who alone can change it: "
            "sweep status, report and logs\n"
            f"    show it to you ({obstacle.user_name(os.geteuid())}); for runs of your own give another runs folder "
            "(--runs-dir)"
        )
