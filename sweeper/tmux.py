"""tmux: one session a sweep, windows opened and closed by their ids; the only module that knows libtmux.

libtmux's listings raise on one odd character in a title that a training program may set (FACTS), so only its command
runner is used, and only ids and numbers are read back. Whatever a format could expand (names, folders) is escaped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libtmux
from libtmux.exc import LibTmuxException

from sweeper.errors import OverloadError, SweepError

MINIMUM = (3, 0)
SERVER = "default"  # the user's own: also where $TMUX, from which sweep was typed, is another (tmux -L)
_OVERLOAD = tuple(map(os.strerror, (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)))
_ODD = re.compile(r"[^\w=.,+@%/-]+")
INSTALL = (
    "tmux is not installed. Install it (Debian, Ubuntu: sudo apt install tmux), "
    "or run the sweep as a chain in this terminal: sweep FILE --serial --here"
)


@dataclass(frozen=True, slots=True)
class Pane:
    """A window with its one pane, by their ids, which tmux never uses again."""

    window: str
    pane: str


def check() -> None:
    """Raises SweepError, saying how to install it, where there is no tmux or an old one."""
    if shutil.which("tmux") is None:
        raise SweepError(INSTALL)
    words = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", words)
    if found is not None and (int(found.group(1)), int(found.group(2))) < MINIMUM:
        raise SweepError(f"{words.strip()} is too old: sweep needs tmux {MINIMUM[0]}.{MINIMUM[1]} or newer")


def run(*words: str) -> list[str]:
    """Run one tmux command (";" as a word of its own separates several) and give its lines. Raises SweepError."""
    lines, error = _run(*words)
    if error is not None:
        raise error
    return lines


def _run(*words: str) -> tuple[list[str], SweepError | None]:
    """The lines of a tmux command, and what went wrong, if anything. Raises SweepError where tmux cannot be asked."""
    for patience in (0.05, 0.2, 0.5, None):
        try:
            with _no_terminal():
                result = libtmux.Server(socket_name=SERVER).cmd(*words)
        except LibTmuxException as error:
            raise SweepError(INSTALL if shutil.which("tmux") is None else f"tmux: {error}") from error
        except OSError as error:
            raise OverloadError(f"tmux cannot be started: {error.strerror}") from error
        if patience is None or result.returncode == 0 or "server exited" not in " ".join(result.stderr):
            break
        time.sleep(patience)  # the last session closed at this very moment, and its server is on its way out
    lines = [str(line) for line in result.stdout]
    if result.returncode == 0:
        return lines, None
    said = " ".join(result.stderr) or f"exit status {result.returncode}"
    text = f"tmux {words[0]}: {said}"
    return lines, OverloadError(text) if any(word in said for word in _OVERLOAD) else SweepError(text)


@contextlib.contextmanager
def _no_terminal() -> Iterator[None]:
    """tmux refuses even to list its windows in a terminal of a kind that this machine does not know (xterm-kitty)."""
    kind = os.environ.pop("TERM", None)
    try:
        yield
    finally:
        if kind is not None:
            os.environ["TERM"] = kind


def obstacles() -> str:
    """What in the user's tmux.conf may keep a session or a window from standing; '' where nothing is known of."""
    try:
        lines = run("start-server", ";", "show-options", "-s", "exit-unattached", ";", "show-hooks", "-g")
    except SweepError:
        return ""
    found = [line for line in lines if line == "exit-unattached on" or re.search(r"\[\d+\] .*\b(kill|respawn)", line)]
    if not found:
        return ""
    return (
        f"\n    what may be in the way in your tmux.conf: {'; '.join(found)}"
        "\n    take it out, or run the sweep as a chain in this terminal: sweep FILE --serial --here"
    )


def literal(text: str) -> str:
    """``text`` so that a format shows it as it is."""
    return text.replace("#", "##")


def word(text: str) -> str:
    """``text`` as one word of a tmux command line: a final semicolon would end the command."""
    return text[:-1] + "\\;" if text.endswith(";") else text


def title(text: str) -> str:
    """A window's name: short, without anything that tmux, a status line or a listing could stumble over."""
    return literal(_ODD.sub("_", text.replace(" ", ","))[:60].strip("_,") or "run")


def sessions() -> dict[str, str]:
    """The names of this server's sessions, each with the sweep folder that it was made for ('' for others').
    Raises OverloadError."""
    try:
        lines = run("list-sessions", "-F", "#{session_name}\t#{@sweep_dir}")
    except OverloadError:
        raise
    except SweepError:
        return {}
    found = {}
    for line in lines:
        name, _, folder = line.partition("\t")
        found[name] = folder
    return found


def session_of(folder: str) -> str | None:
    """The session that was made for this sweep folder, by the name that it has now."""
    return next((name for name, owner in sessions().items() if owner == folder), None)


def own_session(name: str) -> str:
    """The session that this process runs in, by its id (``$3``), which outlives any renaming; else ``name``."""
    number = os.environ.get("TMUX", "").rpartition(",")[2]
    return f"${number}" if number.isdigit() else name


def _target(session: str) -> str:
    return f"{session}:" if session.startswith("$") else f"={session}:"


def free_name(wanted: str, folder: str) -> tuple[str, bool]:
    """The session's name for this sweep folder, and whether such a session stands: one that somebody else has taken
    gets a suffix."""
    taken = sessions()
    wanted = re.sub(r"[^\w-]", "_", wanted)
    for name, owner in taken.items():
        if owner == folder:
            return name, True
    name, suffix = wanted, 2
    while name in taken:
        name, suffix = f"{wanted}-{suffix}", suffix + 1
    return name, False


def new_session(name: str, folder: str, argv: Sequence[str]) -> Pane:
    """A detached session whose first window runs ``argv``, whatever the user's tmux.conf says. Raises SweepError."""
    lines, error = _run(
        "new-session", "-d", "-s", literal(name), "-n", "sweep", "-x", "200", "-y", "50",
        "-P", "-F", "#{session_id} #{window_id} #{pane_id}", *map(word, argv),
        *_settle(f"={name}:", folder),
    )  # fmt: skip
    if not lines:
        raise error or SweepError("tmux new-session: it said nothing")
    session, window, pane = lines[0].split()
    if error is not None:
        try:
            run(*_settle(f"{session}:", folder)[1:])  # a hook of the user's has renamed it meanwhile
        except SweepError:
            raise SweepError(f"the tmux session of {name} closed again at once ({error}){obstacles()}") from error
    return Pane(window, pane)


def _settle(target: str, folder: str) -> list[str]:
    """Commands that make a new session ours. They come in the same breath: some end with their last client."""
    return [
        ";", "set-option", "-t", target, "destroy-unattached", "off",
        ";", "set-option", "-t", target, "@sweep_dir", word(folder),
        ";", "set-option", "-t", target, "status-left-length", "40",  # or its name is cut to 10 characters
        ";", "set-option", "-w", "-t", target, "remain-on-exit", "off",
    ]  # fmt: skip


def spare_hooks(session: str) -> None:
    """In our session no hook of the user's closes, splits or renames each new window."""
    for hook in ("after-new-window", "window-linked"):
        _quietly("set-hook", "-t", _target(session), hook, "")


def new_window(session: str, name: str, argv: Sequence[str], *, front: bool = False) -> Pane:
    """A window at the end of a session, behind the others unless ``front``. Raises SweepError."""
    place = [] if front else ["-d"]
    lines = run(
        "new-window",
        *place,
        "-t",
        _target(session),
        "-n",
        name,
        "-P",
        "-F",
        "#{window_id} #{pane_id}",
        *map(word, argv),
    )
    return _pane(lines)


def _pane(lines: Sequence[str]) -> Pane:
    window, pane = lines[0].split()
    return Pane(window, pane)


def rename(pane: Pane, text: str) -> None:
    _quietly("rename-window", "-t", pane.window, title(text))


def keep(pane: Pane) -> None:
    """Let the window stay, with what it shows, when its process has ended."""
    option = ("set-option", "-w", "-t", pane.window)
    _quietly(*option, "remain-on-exit", "on", ";", "set-hook", "-w", "-t", pane.window, "pane-died", "")
    # tmux's own word in the last row (since 3.3) would scroll the output out of every smaller terminal.
    _quietly(*option, "remain-on-exit-format", "")


def close(pane: Pane) -> None:
    _quietly("kill-window", "-t", pane.window)


def close_session(folder: str) -> str | None:
    """Close the session that was made for this sweep folder, with the windows that failed runs have left in it.

    One in which anything still lives (a shell that its user has opened there) stays. Gives the name of one closed.
    """
    try:
        for patience in (0.1, 0.2, 0.4, 0.0):
            name = session_of(folder)
            left = panes(name) if name is not None else {}
            if name is not None and left and all(left.values()):
                run("kill-session", "-t", f"={name}")
                return name
            if not left:
                return None
            time.sleep(patience)  # a scheduler that is done has let go of its lock a moment before its window closes
    except SweepError:
        return None
    return None


def _quietly(*words: str) -> None:
    """Run a command on a window that may be gone by now, which is no fault."""
    try:
        run(*words)
    except SweepError:
        return


def panes(session: str) -> dict[str, bool]:
    """The pane ids of a session, each with whether its process has ended; empty where the session is gone.
    Raises OverloadError."""
    try:
        lines = run("list-panes", "-s", "-t", _target(session), "-F", "#{pane_id} #{pane_dead}")
    except OverloadError:
        raise
    except SweepError:
        return {}
    return {line.split()[0]: line.split()[1] == "1" for line in lines if line}


def window_of(pane: str) -> Pane | None:
    """The window that a pane is in; None where it is gone. Raises OverloadError."""
    try:
        lines = run("display-message", "-p", "-t", pane, "#{window_id} #{pane_id}")
    except OverloadError:
        raise
    except SweepError:
        return None
    return _pane(lines) if lines and lines[0].strip() else None


def attach(session: str, pane: str | None) -> None:
    """Become tmux, attached to the session (and its window with that pane). Returns never. Raises SweepError."""
    if pane is not None:
        _quietly("select-window", "-t", pane)
    inside = os.environ.get("TMUX", "").partition(",")[0]
    here = bool(inside) and os.path.realpath(inside) == os.path.realpath(_socket())
    if not here:
        os.environ.pop("TMUX", None)  # in another server's window ours is shown inside of it
    try:
        os.execvp("tmux", ["tmux", "-L", SERVER, "switch-client" if here else "attach-session", "-t", f"={session}"])
    except OSError as error:
        raise SweepError(INSTALL) from error


def _socket() -> str:
    """Where the user's own server listens (tmux(1), -L)."""
    return os.path.join(os.environ.get("TMUX_TMPDIR") or "/tmp", f"tmux-{os.getuid()}", SERVER)


def pane_of(session: str, pid: int) -> str | None:
    """The pane whose process is ``pid``."""
    try:
        lines = run("list-panes", "-s", "-t", _target(session), "-F", "#{pane_id} #{pane_pid}")
    except SweepError:
        return None
    return next((line.split()[0] for line in lines if line.split()[1:] == [str(pid)]), None)
