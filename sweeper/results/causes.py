"""Why one run ended badly, in one line: its last exception, else its signal, else the last thing that it printed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from sweeper import folders, lastwords, metrics, model, paths
from sweeper.model import RunRecord


def find_cause(record: RunRecord) -> str:
    """Why this run ended badly, in one line of plain text. Reads the end of its log."""
    lines = lastwords.lines(_log_end(record))
    if record.state == model.TIMEOUT:
        return record.note or "took longer than its timeout"
    if record.state == model.LOST:
        return record.note or "lost: its processes were killed, or the machine went down"
    exception = lastwords.last_exception(lines)
    if exception:
        return exception
    if record.state == model.OUT_OF_MEMORY and record.note:
        return record.note
    if record.signal is not None:
        return signal_name(record.signal)
    if record.exit_code is not None and record.exit_code > 128:
        return signal_name(record.exit_code - 128)
    said = lastwords.said(lines)
    if said:
        return said
    if record.exit_code is not None:
        return f"exit code {record.exit_code}, and nothing printed"
    return record.note or "ended badly without a word"


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


def _log_end(record: RunRecord) -> bytes:
    """The end of what the run's last attempt printed, as its supervisor read it."""
    if record.folder is None:
        return b""
    run = paths.RunDir(Path(record.folder))
    try:
        outcome = folders.read_outcome(run, record.attempts)
        with open(run.log, "rb", buffering=0) as log:
            if outcome is None:
                return folders.log_end(log.fileno(), 0)
            return folders.log_end(log.fileno(), outcome.log_offset, outcome.log_end)
    except OSError:
        return b""


def last_words(record: RunRecord, count: int) -> list[str]:
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
