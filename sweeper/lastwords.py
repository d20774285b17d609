"""What the last lines of a log say of a run's end; the supervisor's reason and the report's cause are this one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
LINES = 60  # that are looked at, blank ones not counted
LONGEST = 300  # characters

# ``torch.cuda.OutOfMemoryError: CUDA out of memory`` stands at the start of its line, after a rank's prefix at most
_EXCEPTION = re.compile(
    r"^(?:\[?(?:rank|Rank)\s*\d+\]?:?\s*)?"
    r"(?P<text>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure|Fault|Timeout)(?::\s.*)?)$"
)
_TRACEBACK = re.compile(r"^(?:\[?(?:rank|Rank)\s*\d+\]?:?\s*)?Traceback \(most recent call last\):")
_ENDS_TRACEBACK = re.compile(r"^(?P<text>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::\s.*)?)$")  # there any class may stand
_SAYS_WHY = re.compile(
    r"\b(?:error|fatal|failed|failure|segmentation fault|core dumped|killed|aborted|out of memory|cannot|can't|"
    r"not found|no such|permission denied|unrecognized|invalid|panic|assert)",
    re.IGNORECASE,
)


def lines(tail: bytes) -> list[str]:
    """The last lines of a log's end that say something, without what a terminal would obey."""
    text = _ESCAPE.sub("", tail.decode("utf-8", "replace").replace("\r", "\n"))
    plain = ("".join(char for char in line if char.isprintable() or char == "\t") for line in text.split("\n"))
    return [line for line in plain if line.strip()][-LINES:]


def said(lines: Sequence[str]) -> str:
    """The one of these lines, the last of a log, that says best why it ended: an exception, else the last that names
    something wrong, else the last; "" where there is none."""
    exception = last_exception(lines)
    if exception:
        return exception
    bare = [line.strip() for line in lines if line.strip()]
    wrong = next((line for line in reversed(bare) if _SAYS_WHY.search(line)), "")
    return (wrong or (bare[-1] if bare else ""))[:LONGEST]


def last_exception(lines: Sequence[str]) -> str:
    """The last line that an uncaught exception ends with: ``ValueError: bad shape``; "" where there is none.

    Of a chain of exceptions this is the one that ended the program. Notes and hints that libraries print below it are
    passed over.
    """
    inside = False
    found = ""
    for line in lines:
        bare = line.rstrip()
        if _TRACEBACK.match(bare):
            inside = True
            continue
        match = _EXCEPTION.match(bare) or (_ENDS_TRACEBACK.match(bare) if inside else None)
        if match:
            found = match["text"]
            inside = False
    return found[:LONGEST]
