"""A run's folder -> its metrics: the log, metrics.jsonl and event files, each byte read once and then remembered."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper import paths
from sweeper.errors import InputError
from sweeper.metrics.curve import Metrics
from sweeper.metrics.reader import Reader

CHUNK = 1 << 22


def compile_patterns(patterns: Mapping[str, str]) -> dict[str, re.Pattern[bytes]]:
    """The sweep file's own ``metrics:`` as patterns over bytes. Raises InputError for one that is no regex."""
    compiled = {}
    for name, text in patterns.items():
        try:
            compiled[name] = re.compile(text.encode(), re.MULTILINE)
        except re.error as error:
            raise InputError(
                f"metrics: {name}: {text!r} is no regular expression: {error}\n"
                f"    Write Python's syntax, with the number in round brackets: {name}: 'acc=([0-9.]+)'"
            ) from None
    return compiled


def parse(
    data: bytes | Iterable[bytes], *, params: Mapping[str, Any] | None = None, patterns: Mapping[str, str] | None = None
) -> Metrics:
    """The metrics of a whole log's bytes; its last line counts even without a newline."""
    reader = Reader(compile_patterns(patterns or {}))
    for piece in [data] if isinstance(data, bytes) else data:
        reader.feed(piece)
    if reader.pending and not reader.lost:
        reader.feed(b"\n")
    return reader.metrics(params)


def tail(path: Path, size: int = 16384, *, params: Mapping[str, Any] | None = None) -> Metrics:
    """The metrics of the last ``size`` bytes of a log, for a live table; raises OSError."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, end - size))
        data = file.read(size)
    if start:
        cut = min(place for place in (data.find(b"\n"), data.find(b"\r"), len(data)) if place >= 0)
        data = data[cut + 1 :]
    reader = Reader()
    reader.feed(data)
    return reader.metrics(params)


def read(
    run_dir: paths.RunDir, *, params: Mapping[str, Any] | None = None, patterns: Mapping[str, str] | None = None
) -> Metrics:
    """All metrics of a run, over all its attempts: an attempt continues where the last one left its checkpoint.

    Raises InputError for a pattern that is no regular expression. A run without a log has no metrics.
    """
    reader = Reader(compile_patterns(patterns or {}))
    try:
        with open(run_dir.log, "rb") as file:
            while data := file.read(CHUNK):
                reader.feed(data)
    except FileNotFoundError:
        pass
    return reader.metrics(params)
