"""The sweep file: YAML -> Spec, or an error that names every mistake with its line."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sweeper.errors import InputError, Problem, SpecError
from sweeper.spec import strangers
from sweeper.spec.arguments import split_arguments
from sweeper.spec.fields import FIELDS
from sweeper.spec.generators import MAX_POINTS
from sweeper.spec.gridform import ONE_POINT, check_name, read_grid, read_include
from sweeper.spec.nodes import Mapping, YamlError, kind_of, quoted
from sweeper.spec.options import Product
from sweeper.spec.reader import MAX_PROBLEMS, Reader, in_order, nearest, parse_duration, parse_size, too_small
from sweeper.spec.rules import Rule, read_exclude
from sweeper.spec.schema import GRID_KEYS, schema
from sweeper.spec.values import usable_name
from sweeper.spec.yaml12 import compose

__all__ = [
    "MAX_POINTS",
    "Draft",
    "Product",
    "Rule",
    "Spec",
    "check_name",
    "in_order",
    "nearest",
    "parse_duration",
    "parse_size",
    "read_draft",
    "read_spec",
    "schema",
    "too_small",
]

MAX_BYTES = 4_000_000
NAME_SHOWN = 300  # characters of a name that cannot be read; whoever typed it knows the rest
_SCRIPTS = {".py": ("Python", "python"), ".sh": ("shell", "bash")}
KEYS = (*FIELDS, *GRID_KEYS)


@dataclass(frozen=True)
class Spec:
    """What a sweep file says. Paths are absolute, times in seconds, sizes in bytes; None means not given.

    ``file`` is the absolute path, ``shown`` the one that was given, which errors name, and ``source`` the text it was
    read from; ``grid``, ``repeat``, ``exclude`` and
    ``include`` are for grid.expand. ``args_for`` holds what ``args`` says of the values true, false and null, where
    they are appended otherwise than the rest. ``notify`` is a shell command unless it begins with ``https://`` or ``http://``.
    """

    file: str
    shown: str
    source: str
    name: str
    command: str
    grid: tuple[Product, ...]
    repeat: tuple[Product, ...]
    exclude: tuple[Rule, ...]
    include: tuple[Product, ...]
    args: str
    args_for: dict[str, str]
    workdir: Path | None
    env: dict[str, str]
    before: str
    timeout: float | None
    grace: float
    retries: int
    gpus: int | Literal["all"] | None
    gpus_allowed: tuple[int, ...] | None
    per_gpu: int
    gpu_memory: int
    busy_above: int
    ignore_others: bool
    keep_free: int
    hold: bool
    retries_oom: int
    maximize: str | None
    minimize: str | None
    metrics: dict[str, str]
    notify: str | None
    stall: float | None
    canary: int
    max_failures: int | None
    runs_dir: Path | None
    lines: dict[str, int]
    """In which line each key stands that was given."""
    notes: tuple[Problem, ...] = ()
    """What is allowed and often a mistake."""


@dataclass(frozen=True)
class Draft:
    """A file that was read, mistakes and all. ``spec`` has the default of what could not be read, and is None where
    nothing could; ``doubtful`` are the keys that may not be what was meant, so that what follows from them may not be
    held against the file."""

    spec: Spec | None
    problems: tuple[Problem, ...]
    doubtful: frozenset[str]


def read_spec(path: str | Path, text: str | None = None) -> Spec:
    """The sweep file at ``path``; ``text`` is its content where that is known already (then nothing is read).

    Raises SpecError with all mistakes that can be found at once, InputError where there is no file to read.
    """
    draft = read_draft(path, text)
    if draft.spec is None or draft.problems:
        raise SpecError(str(path), in_order(draft.problems))
    return draft.spec


def read_draft(path: str | Path, text: str | None = None) -> Draft:
    """The same for whoever looks for further mistakes. Raises InputError where there is no file to read."""
    file = Path(os.path.abspath(os.path.expanduser(path)))
    source = _read(file, str(path)) if text is None else text
    reader = Reader()
    try:
        root = compose(source, reader.problems)
        if root is None:
            raise YamlError(Problem("is empty", remedy="Begin with `command: python train.py` and a `grid:`."))
        if not isinstance(root, Mapping):
            message = f"holds {kind_of(root)} instead of keys with values"
            raise YamlError(Problem(message, root.line, root.column, remedy="Begin with `command: python train.py`."))
        unsure = bool(reader.problems)  # of YAML itself: what it makes of the file may not be what was meant
        found = _fields(reader, root, file)
    except YamlError as error:
        return Draft(None, (*reader.problems, error.problem), frozenset(KEYS))
    spec = Spec(file=str(file), shown=str(path), source=source, notes=tuple(reader.notes), **found)
    doubtful = set(KEYS) if unsure else {re.split(r"[.\[]", problem.key, maxsplit=1)[0] for problem in reader.problems}
    if any(strangers.may_be_grid(key) for key in root.items if key not in KEYS):
        doubtful |= set(GRID_KEYS)
    return Draft(spec, tuple(reader.problems), frozenset(doubtful))


def _read(file: Path, shown: str) -> str:
    if len(shown) > NAME_SHOWN:
        shown = f"{shown[: NAME_SHOWN // 2]}...{shown[-NAME_SHOWN // 2 :]}"
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{shown} is a folder\n    Name the sweep file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                f"{shown} is not a regular file\n    Write the sweep file to disk: sweep reads it by name."
            )
        if file.suffix in _SCRIPTS:
            kind, by = _SCRIPTS[file.suffix]
            raise InputError(f"{shown} is a {kind} script: write a sweep file whose command is {by} {shown}")
        if status.st_size > MAX_BYTES:
            raise InputError(f"{shown} is {status.st_size:,} bytes long; a sweep file holds at most {MAX_BYTES:,}")
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{shown}: there is no such file{_similar(file, shown)}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{shown} cannot be read: {reason}") from error
    try:
        source = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        remedy = "Save it as UTF-8; a sweep file is plain text."
        raise SpecError(shown, [Problem("is not UTF-8 text", line, remedy=remedy)]) from error
    if "\0" in source:
        remedy = "Name a YAML file, like sweeps/digits.yaml."
        raise SpecError(shown, [Problem("is a binary file", remedy=remedy)])
    return source


def _similar(file: Path, shown: str) -> str:
    """The file beside it that is called nearly so, spelled as this one was."""
    try:
        entries = [Path(entry.name) for entry in os.scandir(file.parent) if entry.name.endswith((".yaml", ".yml"))]
    except OSError:
        return f"\n    The folder {file.parent} cannot be read either."
    names = {entry.stem: entry.name for entry in entries}  # by stem: the ending makes any two alike
    meant = nearest(file.stem if file.suffix in (".yaml", ".yml") else file.name, names)
    return f"\n    Did you mean {os.path.join(os.path.dirname(shown), names[meant])}?" if meant else ""


def _fields(reader: Reader, root: Mapping, file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {key: field.default for key, field in FIELDS.items()}
    found |= {"grid": (ONE_POINT,), "repeat": (ONE_POINT,), "exclude": (), "include": ()}
    lines: dict[str, int] = {}
    readers = {"grid": read_grid, "repeat": read_grid, "exclude": read_exclude, "include": read_include}
    for key, (word, node) in root.items.items():
        if key not in KEYS:
            remedy = strangers.remedy(key, node, KEYS) if len(reader.problems) < MAX_PROBLEMS else ""
            reader.add(word, "", f"unknown key {quoted(key)}", remedy)
            continue
        lines[key] = word.line
        value = readers[key](reader, node, key) if key in readers else FIELDS[key].read(reader, node, key)
        if value is not None:
            found[key] = value
    if found["include"] and "repeat" not in lines and found["grid"] == (ONE_POINT,):
        found["grid"] = ()  # a file of included points alone: the empty point is not one of them
    if "command" not in root.items:
        reader.add(None, "command", "is missing", "Write what each run does: command: python train.py")
    if "maximize" in lines and "minimize" in lines:
        reader.add(root.items["minimize"][0], "minimize", "stands beside maximize", "Keep the one that counts.")
    found["args"], found["args_for"] = split_arguments(found["args"], root, lines)
    _check_overlaps(reader, found, root)
    _check_gpus(reader, found, root)
    if found["name"] is None:
        found["name"] = usable_name(file.stem)
    for key in ("workdir", "runs_dir"):
        if found[key] is not None:
            found[key] = Path(os.path.abspath(file.parent / os.path.expanduser(found[key])))
    if found["workdir"] is not None and not found["workdir"].is_dir():
        message = f"there is no folder {found['workdir']}"
        reader.add(root.items["workdir"][1], "workdir", message, f"It is taken relative to {file.parent}.")
    return {**found, "lines": lines}


def _check_overlaps(reader: Reader, found: dict[str, Any], root: Mapping) -> None:
    grid = {name for product in found["grid"] for name in product.names}
    repeat = {name for product in found["repeat"] for name in product.names}
    for name in sorted(grid & repeat):
        reader.add(root.items["repeat"][0], "repeat", f"{name!r} stands in grid too", "Keep it in one of the two.")


def _check_gpus(reader: Reader, found: dict[str, Any], root: Mapping) -> None:
    allowed, wanted = found["gpus_allowed"], found["gpus"]
    if allowed is not None and isinstance(wanted, int) and wanted > len(allowed):
        message = f"asks for {wanted} GPUs of the {len(allowed)} in gpus_allowed"
        reader.add(root.items["gpus"][1], "gpus", message, "No run could ever start: allow more or ask for fewer.")
    if "CUDA_VISIBLE_DEVICES" in found["env"] and wanted != 0:
        message = "CUDA_VISIBLE_DEVICES is set by sweep, to the GPUs that a run holds"
        reader.add(root.items["env"][0], "env", message, "Use gpus_allowed: [0, 2] instead, or gpus: 0 beside it.")
