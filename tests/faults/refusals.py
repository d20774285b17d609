"""What a launch may say right after a kill instead of carrying itself out; everything else is a fault."""

from __future__ import annotations

import re

# Each says what it is about; the pattern is of the whole text, in which the sweep's folder is left out.
ALLOWED = {
    # It was killed at its beginning, and a launch waits for it to answer.
    "the scheduler did not start": r"the scheduler of s did not start\n    /runs/s/scheduler\.log says: .*",
    # The tmux server, or the window that it had just opened, was killed while it was asked for the next.
    "tmux went meanwhile": (
        r"tmux [a-z-]+: .*(no server running|server exited|lost server|can't find (session|window|pane)).*"
        r"|the tmux session of \S+ closed again at once.*"
    ),
}


def judge(text: str) -> str | None:
    """The name of a legitimate refusal; None for any other text, and for whatever has a traceback in it."""
    if "Traceback" in text:
        return None
    return next((kind for kind, pattern in ALLOWED.items() if re.fullmatch(pattern, text, re.DOTALL)), None)
