"""From argv to an exit code: help and versions first, then words -> plan by fire, then the plan carried out.

Every command only returns a plan; ``main`` carries it out after fire has consumed every word, since fire calls first
and rejects afterwards. Errors become text and exit codes here and nowhere else: 0 all well, 1 some runs did not end
well, 2 the input is wrong and nothing was changed, 75 a GPU is held and --no-wait was given.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Sequence
from types import TracebackType

from sweeper import obstacle
from sweeper.cli import complete, help, plans, words
from sweeper.cli.printing import plain
from sweeper.errors import InputError, SweepError
from sweeper.version import VERSION

INTERRUPTED = 130  # what shells make of a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> None:
    """The command ``sweep``. Exits with the code that says how it went."""
    sys.excepthook = _unexpected
    _open_streams()
    if argv is None and sys.getfilesystemencoding() != "utf-8":
        _begin_again_in_utf8()
    code = _guarded(list(sys.argv[1:] if argv is None else argv))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        _drop_output()
        _tell(f"the output could not be written: {error.strerror}")
        code = code or 1
    sys.exit(code)


def _guarded(typed: list[str]) -> int:
    try:
        return _main(typed)
    except SweepError as error:
        _tell(str(error))
        return error.exit_code
    except BrokenPipeError:
        _drop_output()
        return 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except sqlite3.Error as error:
        _tell(f"the queue cannot be used: {error}; sweep doctor looks for the cause")
        return 1
    except OSError as error:
        _tell(obstacle.explain(error))
        return 1


def _main(typed: list[str]) -> int:
    if sys.platform != "linux":
        raise InputError(f"sweep needs Linux (its locks, terminals and processes); this is {sys.platform}")
    if typed and typed[0] == "__complete":
        for candidate in complete.candidates(typed[1:]):
            print(candidate)
        return 0
    own, after = _split(typed)
    if not own or own == ["help"]:
        print(help.overview())
        return 0
    if own[0] == "--version":
        print(f"sweep {VERSION}")
        return 0
    if own[0] == "help":
        print(help.of(words.named(own[1])))
        return 0
    command, rest = words.command_of(own)
    if words.asks_for_help(rest):
        print(help.of(command))
        return 0
    return plans.plan(command, words.normalise(command, rest), after).carry_out()


def _split(typed: list[str]) -> tuple[list[str], list[str] | None]:
    """``run-one --gpus 1 -- COMMAND``: what is ours and what is the command; fire would drop the latter."""
    if typed and typed[0] == "run-one" and "--" in typed:
        place = typed.index("--")
        return typed[:place], typed[place + 1 :]
    return typed, None


# -- streams -------------------------------------------------------------------------------------------------------


def _open_streams() -> None:
    """Standard streams that are there, whatever the shell closed, and that take every character there is.

    A closed one is opened on nothing, or the next file that is opened (the queue, say) would be printed into.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number: this one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False, encoding="utf-8")
    codecs.register_error("sweep", _as_it_came)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sweep")


def _begin_again_in_utf8() -> None:
    """Become the same command in Python's UTF-8 mode: sweep files are UTF-8, and so must commands and paths be."""
    code = "import os, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); from sweeper.cli import main; main()"
    os.execv(
        sys.executable, [sys.executable, "-X", "utf8", "-c", code, os.pathsep.join(map(str, sys.path)), *sys.argv[1:]]
    )


def _as_it_came(error: UnicodeError) -> tuple[bytes | str, int]:
    """Bytes of file names that are no text are written as they are; what the terminal's alphabet lacks, as ``?``."""
    assert isinstance(error, UnicodeEncodeError)
    piece = error.object[error.start : error.end]
    return b"".join(bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else b"?" for c in piece), error.end


def _drop_output() -> None:
    """Nobody takes our output any more: let the interpreter find nothing to complain about on its way out."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"sweep: {plain(text)}", file=sys.stderr, flush=True)


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A fault of ours: the traceback goes into a file, the user gets one line."""
    folder = os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "sweep")
    path = os.path.join(folder, f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    text = "".join(traceback.format_exception(kind, error, trace))
    try:
        os.makedirs(folder, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"sweep {VERSION}, {sys.version}\n{sys.argv}\n{text}")
        where = f"the details are in {path}"
    except OSError:
        frames = traceback.extract_tb(trace)
        where = f"at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "nowhere"
    _tell(f"a fault in sweep itself ({kind.__name__}: {error}); {where}")
