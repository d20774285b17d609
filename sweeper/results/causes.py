"""Why one run ended badly, in one line: its last exception, else its signal, else the last thing that it printed."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from sweeper import folders, metrics, model, paths
from sweeper.model import RunRecord

TAIL_LINES = 60
_LONGEST = 300

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


def find_cause(record: RunRecord) -> str:
    """Why this run ended badly, in one line of plain text. Reads the end of its log."""
    lines = last_words(record)
    if record.state == model.TIMEOUT:
        return record.note or "took longer than its timeout"
    if record.state == model.LOST:
        return record.note or "lost: its processes were killed, or the machine went down"
    exception = last_exception(lines)
    if exception:
        return exception
    if record.state == model.OUT_OF_MEMORY and record.note:
        return record.note
    if record.signal is not None:
        return signal_name(record.signal)
    if record.exit_code is not None and record.exit_code > 128:
        return signal_name(record.exit_code - 128)
    said = next((line.strip() for line in reversed(lines) if _SAYS_WHY.search(line)), "")
    if not said and lines:
        said = lines[-1].strip()
    if said:
        return said[:_LONGEST]
    if record.exit_code is not None:
        return f"exit code {record.exit_code}, and nothing printed"
    return record.note or "ended badly without a word"


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
    return found[:_LONGEST]


def signal_name(number: int) -> str:
    """``killed by SIGKILL``, with a word on where such a signal usually comes from."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    usual = {
        "SIGKILL": " (by hand, or by the kernel for want of memory)",
        "SIGSEGV": " (segmentation fault)",
        "SIGABRT": " (aborted: an assertion in native code)",
        "SIGBUS": " (bus error: often a full /dev/shm)",
    }
    return f"killed by {name}{usual.get(name, '')}"


def last_words(record: RunRecord, count: int = TAIL_LINES) -> list[str]:
    """The last lines that the run's last attempt printed, as a terminal would have shown them, escape codes gone."""
    if record.folder is None:
        return []
    run = paths.RunDir(Path(record.folder))
    try:
        outcome = folders.read_outcome(run, record.attempts)
        if outcome is not None and outcome.log_end <= outcome.log_offset:
            return []  # it printed nothing: what stands in the log is of the attempt before
        lines = metrics.last_lines(run.log, count)
    except OSError:
        return []
    return [printable(line) for line in lines if line.strip()]


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` with everything taken out that could move a terminal's cursor, colour it, or turn its letters round."""
    return _CONTROL.sub("\ufffd", text)
