"""Moments in a text that is kept: written as unix seconds, so that whoever shows it says how long ago that is by now.

Others' commands may stand in such a text: what looks like a mark there is shown as a moment, and does nothing else.
"""

from __future__ import annotations

import re
import time

_MARK = re.compile(r"\bsince @(\d{1,11})\b")


def mark(when: float) -> str:
    """``when`` (unix seconds) as it stands in a text that is kept."""
    return f"since @{max(0.0, when):.0f}"


def ago(text: str) -> str:
    """``text`` for a screen that is drawn again and again: ``for 2:13:05``."""
    now = time.time()
    return _MARK.sub(lambda found: f"for {duration(now - int(found[1]))}", text)


def at(text: str) -> str:
    """``text`` for where it stays as it is printed: ``since Nov 21 06:05``."""
    return _MARK.sub(lambda found: f"since {_day_and_time(int(found[1]))}", text)


def folded(text: str) -> str:
    """``text`` in lines that fit into any terminal: tmux scrolls the beginning of a longer one away where a window that
    was opened wider is looked at."""
    import textwrap  # only those who wait need it

    return "\r\n".join(textwrap.wrap(at(text), 78, subsequent_indent="    ", break_on_hyphens=False))


def without(text: str) -> str:
    """``text`` with its moments left out: equal while nothing else has changed."""
    return _MARK.sub("", text)


def duration(seconds: float) -> str:
    """``2:13:05``; ``0:12`` below an hour."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _day_and_time(when: int) -> str:
    return time.strftime("%b %d %H:%M", time.localtime(when))
