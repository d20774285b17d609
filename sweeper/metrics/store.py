"""A run's folder -> its metrics: the log, metrics.jsonl and event files, each byte read once and then remembered."""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper import folders, paths
from sweeper.errors import InputError
from sweeper.metrics.curve import Metrics, Series
from sweeper.metrics.reader import Reader
from sweeper.metrics.sources import CHUNK, Events, JsonLines, Source, event_files
from sweeper.metrics.summary import Found, as_series, points, restates

VERSION = 6  # of the cache and of what is understood of a log: raise it whenever either changes
_HEAD = 1024  # bytes at the log's start, and before the place reached, by which it is known again
_DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
Points = list[tuple[float, float]]


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
    """The metrics of a whole log's bytes; its last line counts even without a newline. Raises InputError."""
    reader = Reader(compile_patterns(patterns or {}))
    for piece in [data] if isinstance(data, bytes) else data:
        reader.feed(piece)
    return reader.metrics(params, ended=True)


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
    """All metrics of a run: out of metrics.jsonl, its log, and TensorBoard event files; the first to have a name wins.

    All attempts count, as one curve: an attempt goes on from the checkpoint of the last. ``params`` are the run's own
    parameters, which its log may restate; ``patterns`` the sweep file's ``metrics:``. What was read is kept in
    ``run_dir.metrics_cache``, where that folder can be written. Raises InputError for a pattern that is no regex, and
    OSError for a log that cannot be read; a run without a log has no metrics.
    """
    mark = json.dumps([VERSION, dict(patterns or {})])
    cache = _Cache.load(run_dir, mark)
    if cache is None or not cache.current():
        compiled = compile_patterns(patterns or {})
        cache = _read_on(run_dir, mark, compiled, cache)
    series = cache.series()
    kept = {name: one for name, one in series.items() if not restates(one, params or {})}
    return Metrics(kept, *cache.head["progress"])


class _Cache:
    """``.metrics.json``: a line with the summary, which a report needs, and a line with all the rest.

    The points of curves are read from it when they are asked for.
    """

    def __init__(self, run_dir: paths.RunDir, head: dict[str, Any], state: dict[str, Any] | None) -> None:
        self.run_dir = run_dir
        self.head = head
        self._state = state
        self._curves: dict[str, Points] | None = None

    @classmethod
    def load(cls, run_dir: paths.RunDir, mark: str) -> _Cache | None:
        """The cache as it was left; None where there is none, or none that can be used."""
        try:
            with open(run_dir.metrics_cache, "rb") as file:
                head = json.loads(file.readline())
            if head["mark"] != mark or not isinstance(head["series"], list):
                return None
            for row in head["series"]:
                Series(*row)
            if len(head["progress"]) != 4 or not isinstance(head["files"], list) or "open" not in head:
                return None
        except (OSError, *_DAMAGED):
            return None
        return cls(run_dir, head, None)

    def current(self) -> bool:
        """Whether nothing has changed since it was written."""
        if self.head["open"]:
            return False
        if self.head["files"] != _stamps(self.run_dir, [path for path, *_ in self.head["files"][2:]]):
            return False
        return bool(self.head["files"][0][1]) or not event_files(self.run_dir.path)

    def state(self) -> dict[str, Any]:
        """All that was known; raises OSError, or one of _DAMAGED."""
        if self._state is None:
            with open(self.run_dir.metrics_cache, "rb") as file:
                if json.loads(file.readline())["mark"] != self.head["mark"]:
                    raise ValueError("the cache is another one by now")
                self._state = json.loads(file.readline())
        return self._state

    def series(self) -> dict[str, Series]:
        return {row[0]: Series(*(*row, self._loader(row[0]))) for row in self.head["series"]}

    def _loader(self, name: str) -> Callable[[], Points]:
        return lambda: self._points(name)

    def _points(self, name: str) -> Points:
        if self._curves is None:
            try:
                curves = self.state()["points"]
                self._curves = {key: [(step, value) for step, value in curve] for key, curve in curves.items()}
            except (OSError, *_DAMAGED):
                fresh = _read_on(self.run_dir, self.head["mark"], compile_patterns(self.head["patterns"]), None)
                self._curves = {key: [(s, v) for s, v in curve] for key, curve in fresh.state()["points"].items()}
        return self._curves.get(name, [])


def _stamps(run_dir: paths.RunDir, events: Iterable[str]) -> list[list[Any]]:
    """By what it is seen that a file has changed: [path, size, inode, time]."""
    stamps: list[list[Any]] = []
    for path in (str(run_dir.log), str(run_dir.metrics), *events):
        try:
            status = os.stat(path)
            stamps.append([path, status.st_size, status.st_ino, status.st_mtime_ns])
        except OSError:
            stamps.append([path, 0, 0, 0])
    return stamps


def _read_on(
    run_dir: paths.RunDir, mark: str, patterns: Mapping[str, re.Pattern[bytes]], cache: _Cache | None
) -> _Cache:
    """Read what is new, and keep it where the folder allows."""
    files = event_files(run_dir.path)
    stamps = _stamps(run_dir, map(str, files))  # before reading: what is written meanwhile is seen the next time
    sources: list[Source] = [JsonLines(run_dir.metrics), *map(Events, files)]
    reader = Reader(patterns)
    log_mark = ""
    if cache is not None:
        try:
            state = cache.state()
            old = {data["path"]: data for data in state["sources"]}
            reader = Reader.from_json(state["reader"], patterns)
            log_mark = state["log_mark"]
            for source in sources:
                if str(source.path) in old:
                    source.restore(old[str(source.path)])
        except (OSError, *_DAMAGED):
            reader, sources = Reader(patterns), [JsonLines(run_dir.metrics), *map(Events, files)]
    reader, log_mark = _read_log(run_dir.log, reader, log_mark)
    for source in sources:
        source.read()
    ended = reader.unfinished and _ended(run_dir)
    found, ambient = reader.found(ended=ended)
    found = _together(found, sources)
    rows = [_row(as_series(name, one)) for name, one in found.items()]
    progress = [ambient.epoch, ambient.epochs_total, ambient.step, ambient.steps_total]
    texts = {name: pattern.pattern.decode() for name, pattern in patterns.items()}
    head: dict[str, Any] = {"mark": mark, "files": stamps, "series": rows, "progress": progress, "patterns": texts}
    head["open"] = reader.unfinished and not ended  # what the last line says can change without a byte more
    state = {
        "points": {name: points(one.curve) for name, one in found.items()},
        "reader": reader.to_json(),
        "log_mark": log_mark,
        "sources": [source.to_json() for source in sources],
    }
    with contextlib.suppress(OSError):  # another user's sweep, or a full disk: then it is read again the next time
        paths.replace(run_dir.metrics_cache, json.dumps(head) + "\n" + json.dumps(state) + "\n")
    return _Cache(run_dir, head, state)


def _row(series: Series) -> list[Any]:
    return [
        series.name,
        series.last,
        series.min,
        series.max,
        series.last_step,
        series.min_step,
        series.max_step,
        series.count,
        series.step_name,
        series.part,
    ]


def _together(found: dict[str, Found], sources: Iterable[Source]) -> dict[str, Found]:
    """metrics.jsonl wins over the log, and the log over event files; several of these make one curve."""
    events: dict[str, Found] = {}
    for source in sources:
        for name, one in source.found().items():
            if isinstance(source, JsonLines):
                found[name] = one
            elif name in events:
                both = events[name].curve.copy()
                both.absorb(one.curve)
                events[name] = one._replace(curve=both)
            else:
                events[name] = one
    return {**found, **{name: one for name, one in events.items() if name not in found}}


def _read_log(path: Path, reader: Reader, mark: str) -> tuple[Reader, str]:
    """Go on reading the log where ``reader`` stopped, or from its start if it is no longer the same log."""
    try:
        with open(path, "rb") as file:
            if reader.offset and _log_mark(file, reader.offset) != mark:
                reader = Reader(reader.patterns)
            file.seek(reader.offset)
            while data := file.read(CHUNK):
                reader.feed(data)
            return reader, _log_mark(file, reader.offset)
    except FileNotFoundError:
        return Reader(reader.patterns), ""


def _log_mark(file: Any, offset: int) -> str:
    """By what a log is known again: its first bytes, and the last ones that were read."""
    file.seek(0)
    head = file.read(min(_HEAD, offset))
    file.seek(max(0, offset - _HEAD))
    last = file.read(min(_HEAD, offset))
    if len(head) + len(last) < 2 * min(_HEAD, offset):
        return "shorter"
    return f"{zlib.crc32(head):08x}{zlib.crc32(last):08x}"


def _ended(run_dir: paths.RunDir) -> bool:
    """Whether the run's last attempt has its outcome, so that its log will not grow."""
    history = folders.history(run_dir)
    return history.attempt is None or history.outcome is not None
