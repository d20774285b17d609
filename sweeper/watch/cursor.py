"""The cursor, which the live table hides, shown again to whoever ends or stops it by a signal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"


@dataclass
class Cursor:
    """``was_away`` says that Ctrl-Z had given the terminal back to the shell since somebody looked."""

    was_away: bool = False


@contextlib.contextmanager
def given_back() -> Iterator[Cursor]:
    """The live table hides the cursor; whoever ends or stops this process by a signal finds it shown again."""
    cursor = Cursor()

    def away(number: int, _: FrameType | None) -> None:
        _to_terminal(SHOW + "\n")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, away)  # it was Ctrl-Z, and now somebody has typed fg
        _to_terminal(HIDE)
        cursor.was_away = True

    leave = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
    before = {number: signal.getsignal(number) for number in leave if signal.getsignal(number) == signal.SIG_DFL}
    for number in before:
        signal.signal(number, away)
    try:
        yield cursor
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _to_terminal(text: str) -> None:
    """Where the terminal takes nothing (Ctrl-S) or has gone, nobody misses it."""
    with contextlib.suppress(ValueError, OSError):
        if select.select([], [1], [], 0)[1]:
            os.write(1, text.encode())
