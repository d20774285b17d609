"""Metrics that a run wrote beside its log: metrics.jsonl, and TensorBoard's event files (read without TensorBoard)."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.metrics.curve import Curve
from sweeper.metrics.names import normalise
from sweeper.metrics.summary import Found
from sweeper.metrics.vocabulary import EPOCHS, NEVER, STEP, kind, words

CHUNK = 1 << 22
_DEEP = 3  # folders below the run's that are looked into for event files
_MANY = 64  # event files of one run that are read
_RECORD = struct.Struct("<QI")
_LARGEST = 1 << 26  # bytes of one event: beyond, the file is no event file


class Source:
    """A file that only grows, read from where the last reading ended; {metric: curve}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.curves: dict[str, Curve] = {}
        self.steps: dict[str, str] = {}

    def add(self, name: str, step: float | None, step_name: str, value: float, order: int | None = None) -> None:
        """One value; ``order`` is its place among the values of other files, where there are several."""
        curve = self.curves.setdefault(name, Curve())
        curve.extend([curve.count if order is None else order], None if step is None else [step], [value])
        self.steps[name] = "index" if step is None else step_name

    def found(self) -> dict[str, Found]:
        return {name: Found(curve, self.steps[name]) for name, curve in self.curves.items()}

    def read(self) -> None:
        """Read on. A file that is gone or shorter than it was starts anew; raises OSError for any other trouble."""
        try:
            with open(self.path, "rb") as file:
                if file.seek(0, os.SEEK_END) < self.offset:
                    self.offset, self.curves, self.steps = 0, {}, {}
                file.seek(self.offset)
                self.more(file)
        except FileNotFoundError:
            self.offset, self.curves, self.steps = 0, {}, {}

    def more(self, file: Any) -> None:
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        curves = {name: curve.to_json() for name, curve in self.curves.items()}
        return {"path": str(self.path), "offset": self.offset, "curves": curves, "steps": self.steps}

    def restore(self, data: dict[str, Any]) -> None:
        """Go on from what ``to_json`` wrote; raises KeyError, TypeError or ValueError where that is damaged."""
        self.offset = data["offset"]
        self.curves = {name: Curve.from_json(curve) for name, curve in data["curves"].items()}
        self.steps = data["steps"]


class JsonLines(Source):
    """metrics.jsonl: one JSON object a line; its numbers are metrics, its ``step`` or ``epoch`` their place."""

    def more(self, file: Any) -> None:
        rest = b""
        while data := file.read(CHUNK):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            self.offset += len(whole) + len(newline)
            for line in whole.split(b"\n"):
                self._line(line)

    def _line(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        step: float | None = None
        step_name = "index"
        values: dict[str, float] = {}
        for key, value in _numbers(entry, ""):
            what = kind(key)
            if what == STEP:
                if step is None or step_name == "epoch":
                    step, step_name = value, "epoch" if words(key)[-1] in EPOCHS else "step"
            elif what != NEVER or not key.startswith(("time", "_")):
                values[normalise(key)] = value
        for name, value in values.items():
            self.add(name, step, step_name, value)


def _numbers(entry: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in entry.items():
        name = f"{prefix}_{key}" if prefix else key
        if isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            try:
                yield name, float(value)
            except OverflowError:
                yield name, math.inf if value > 0 else -math.inf
        elif isinstance(value, dict) and len(prefix) < 200:
            yield from _numbers(value, name)


class Events(Source):
    """A TensorBoard event file: records of length, check sum, a protocol buffer ``Event``, check sum.

    Only scalars are taken: ``simple_value`` (PyTorch's SummaryWriter) and float tensors of one element (TensorFlow 2).
    The layout is TensorFlow's record_writer.h and event.proto; check sums are not verified.
    """

    def more(self, file: Any) -> None:
        while len(head := file.read(_RECORD.size)) == _RECORD.size:
            size, _ = _RECORD.unpack(head)
            if size > _LARGEST:
                return
            data = file.read(size + 4)
            if len(data) < size + 4:
                return
            self.offset += _RECORD.size + size + 4
            try:
                self._event(data[:size])
            except (IndexError, struct.error, ValueError, OverflowError):
                continue

    def _event(self, data: bytes) -> None:
        step = order = 0
        summary = b""
        for number, value in _message(data):
            if number == 1 and isinstance(value, bytes):
                order = int(struct.unpack("<d", value)[0] * 1e6)  # the time of day in microseconds
            elif number == 2 and isinstance(value, int):
                step = value
            elif number == 5 and isinstance(value, bytes):
                summary = value
        for number, value in _message(summary):
            if number == 1 and isinstance(value, bytes):
                self._value(step, order, value)

    def _value(self, step: int, order: int, data: bytes) -> None:
        tag, scalar = "", None
        for number, value in _message(data):
            if number == 1 and isinstance(value, bytes):
                tag = value.decode("utf-8", "replace")
            elif number == 2 and isinstance(value, bytes):
                scalar = struct.unpack("<f", value)[0]
            elif number == 8 and isinstance(value, bytes):
                scalar = _tensor(value)
        if tag and scalar is not None and (name := normalise(tag)) and kind(name) != STEP:
            self.add(name, float(step), "step", float(f"{scalar:.7g}"), order)  # as many digits as it had


def _tensor(data: bytes) -> float | None:
    """The one element of a float or double tensor; None for any other."""
    kinds = {1: ("<f", 5), 2: ("<d", 6)}
    dtype = next((value for number, value in _message(data) if number == 1), 0)
    if not isinstance(dtype, int) or dtype not in kinds:
        return None
    layout, own = kinds[dtype]
    for number, value in _message(data):
        if number in (4, own) and isinstance(value, bytes) and len(value) == struct.calcsize(layout):
            return float(struct.unpack(layout, value)[0])
    return None


def _message(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protocol buffer; raises IndexError where it is cut off."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(data):
            raise IndexError(size)
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def event_files(folder: Path) -> list[Path]:
    """The event files in a run's folder and the folders below it, oldest name first."""
    found: list[Path] = []
    level = [folder]
    for _ in range(_DEEP + 1):
        below: list[Path] = []
        for place in level[:_MANY]:
            try:
                entries = list(os.scandir(place))
            except OSError:
                continue  # a folder that went away or is not ours to read holds nothing for us
            found += [Path(entry.path) for entry in entries if ".tfevents." in entry.name]
            below += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        level = sorted(below)
    return sorted(found)[:_MANY]
