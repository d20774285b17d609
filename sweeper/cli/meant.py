"""What was meant by a word that is neither a command nor a sweep file."""

from __future__ import annotations

import os
from difflib import get_close_matches

from sweeper.cli.table import NAMES

_OTHERS = {
    **dict.fromkeys(("kill", "cancel", "abort", "end", "terminate", "halt"), "sweep stop"),
    **dict.fromkeys(("list", "sweeps"), "sweep ls"),
    **dict.fromkeys(("delete", "remove", "del", "clean"), "sweep rm"),
    **dict.fromkeys(("continue", "unpause"), "sweep resume"),
    **dict.fromkeys(("rerun", "restart", "again"), "sweep retry"),
    **dict.fromkeys(("ps", "top", "show", "info", "state", "queue", "watch"), "sweep status"),
    **dict.fromkeys(("results", "best", "summary"), "sweep report"),
    **dict.fromkeys(("log", "tail", "cat"), "sweep logs"),
    **dict.fromkeys(("check",), "sweep doctor"),
    **dict.fromkeys(("version",), "sweep --version"),
    **dict.fromkeys(("run", "launch", "start", "submit"), "sweep FILE"),
}  # as other programs call it


def instead(word: str) -> str:
    """``; did you mean sweep stop?``, or '' where nothing is near."""
    found = _file(word)
    name = f"sweep status {word}" if _is_known(word) else ""
    if found and name:
        return f"; did you mean sweep {found}? (or {name})"
    close = nearest_command(word)
    meant = f"sweep {found}" if found else name or _OTHERS.get(word) or (f"sweep {close}" if close else "")
    return f"; did you mean {meant}?" if meant else ""


def nearest_command(word: str) -> str:
    """The command that is spelled nearly so, or ''."""
    return next(iter(get_close_matches(word, NAMES, 1)), "")


def _file(word: str) -> str:
    """The sweep file whose ending was left out, or ''."""
    return next((f"{word}{end}" for end in (".yaml", ".yml") if os.path.isfile(f"{word}{end}")), "")


def _is_known(word: str) -> bool:
    from sweeper import index

    return any(entry.path.name == word for entry in index.entries())
