"""Every key of a sweep file except the grid: how it is read, what it means, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sweeper import paths
from sweeper.errors import InputError
from sweeper.spec.reader import Reader, kind_of, parse_duration, parse_size, quoted
from sweeper.spec.yaml12 import Mapping, Node, Scalar, Sequence

Read = Callable[[Reader, Node, str], Any | None]  # None where a mistake was reported
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN = ("SWEEP_RUN_DIR", "SWEEP_NAME", "SWEEP_RUN", "SWEEP_ATTEMPT", "SWEEP_PARAMS")
_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?[wdhms])+)$"},
    ]
}
_SIZE = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMGTkmgt]?[iI]?[bB])?$"},
    ]
}


@dataclass(frozen=True)
class Field:
    """A key: what it means, its schema, how its node is read; ``default`` where it is not given."""

    description: str
    schema: dict[str, Any]
    read: Read
    default: Any = None


def string(reader: Reader, node: Node, key: str) -> str | None:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    reader.add(node, key, f"must be a string and is {kind_of(node)}", "Put quotes around it." if _plain(node) else "")
    return None


def word(reader: Reader, node: Node, key: str) -> str | None:
    """A nonempty string of one line without control characters."""
    text = string(reader, node, key)
    if text is not None and (not text.strip() or not text.isprintable()):
        reader.add(node, key, "must be one line of printable text", "Give it a value, or remove the key.")
        return None
    return text


def script(reader: Reader, node: Node, key: str) -> str | None:
    text = string(reader, node, key)
    return None if text is None else text.strip("\n")


def command(reader: Reader, node: Node, key: str) -> str | None:
    if isinstance(node, Sequence):
        reader.add(node, key, "is a list", "Write the command as one line for bash: command: python train.py")
        return None
    text = script(reader, node, key)
    if text is not None and not text.strip():
        reader.add(node, key, "is empty", "Write what is to be run: command: python train.py")
        return None
    return text


def name(reader: Reader, node: Node, key: str) -> str | None:
    text = node.text if isinstance(node, Scalar) and node.value is not None else string(reader, node, key)
    if text is None:
        return None
    fits = usable_name(text)
    if text != fits:
        rule = "It becomes a folder and a tmux session: at most 60 letters, digits and _ + - =."
        remedy = f"Write name: {fits}. {rule}"
        reader.add(node, key, f"{quoted(text)} cannot be the name of a sweep", remedy)
        return None
    return text


def usable_name(text: str) -> str:
    """``text`` as the name of a folder and of a tmux session, which may hold no dots or colons."""
    return paths.clean(text).replace(".", "-")[:60].strip("_").lstrip("-=+") or "sweep"


def boolean(reader: Reader, node: Node, key: str) -> bool | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    reader.add(node, key, f"must be true or false and is {_shown(node)}", "YAML 1.2 knows true and false only.")
    return None


def count(least: int, most: int = 1_000_000) -> Read:
    def read(reader: Reader, node: Node, key: str) -> int | None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        reader.add(node, key, f"must be a whole number from {least} to {most:,} and is {_shown(node)}")
        return None

    return read


def gpus(reader: Reader, node: Node, key: str) -> int | str | None:
    if isinstance(node, Scalar) and node.value == "all":
        return "all"
    if isinstance(node, Sequence):
        reader.add(
            node, key, "is a list; gpus is how many a run needs", "Write gpus: 1; which ones is gpus_allowed: [0, 2]."
        )
        return None
    result: int | None = count(0, 1024)(reader, node, key)
    return result


def indices(reader: Reader, node: Node, key: str) -> tuple[int, ...] | None:
    items = node.items if isinstance(node, Sequence) else [node]
    read = count(0, 1023)
    found = [read(reader, item, f"{key}[{index}]") for index, item in enumerate(items)]
    if not found:
        reader.add(node, key, "allows no GPU", "List the indices that may be used, or write gpus: 0 for none.")
    if not found or None in found:
        return None
    return tuple(dict.fromkeys(index for index in found if index is not None))


def duration(reader: Reader, node: Node, key: str) -> float | None:
    seconds: float | None = _by(parse_duration, reader, node, key)
    return seconds


def positive(reader: Reader, node: Node, key: str) -> float | None:
    seconds = duration(reader, node, key)
    if seconds == 0:
        reader.add(node, key, "must be more than 0", "Remove the key where no limit is wanted.")
    return seconds or None


def size(reader: Reader, node: Node, key: str) -> int | None:
    size_in_bytes: int | None = _by(parse_size, reader, node, key)
    return size_in_bytes


def _by(parse: Callable[[str], Any], reader: Reader, node: Node, key: str) -> Any:
    if not isinstance(node, Scalar) or node.value is None or isinstance(node.value, bool):
        node_text = _shown(node)
    else:
        try:
            return parse(node.text)
        except InputError as error:
            reader.add(node, key, str(error))
            return None
    reader.add(node, key, f"is {node_text}", "Durations are like 2h, 90m, 45s; sizes like 8GB, 500MB.")
    return None


def env(reader: Reader, node: Node, key: str) -> dict[str, str] | None:
    if not isinstance(node, Mapping):
        if isinstance(node, Scalar) and node.value is None:
            return {}
        reader.add(node, key, f"must be a mapping and is {kind_of(node)}", "Write env: {OMP_NUM_THREADS: 2}")
        return None
    found: dict[str, str] = {}
    for variable, (place, entry) in node.items.items():
        path = f"{key}.{variable[:80]}"
        if not _ENV_NAME.fullmatch(variable):
            reader.add(place, path, f"{quoted(variable)} cannot be a variable's name", "Use letters, digits and _.")
        elif variable in _OWN:
            reader.add(place, path, "is set by sweep itself", "Remove it, or give your variable another name.")
        elif not isinstance(entry, Scalar) or (entry.value is None and entry.plain):
            reader.add(entry, path, f"must be text and is {kind_of(entry)}", 'Write "" for an empty variable.')
        else:
            found[variable] = entry.text
    return found


def metrics(reader: Reader, node: Node, key: str) -> dict[str, str] | None:
    if not isinstance(node, Mapping):
        reader.add(node, key, f"must be a mapping and is {kind_of(node)}", "Write metrics: {val_acc: 'acc=([0-9.]+)'}")
        return None
    found: dict[str, str] = {}
    for metric, (_, entry) in node.items.items():
        path = f"{key}.{metric[:80]}"
        pattern = string(reader, entry, path)
        if pattern is None:
            continue
        try:
            if len(pattern) > 2000:
                raise ValueError("longer than 2000 characters")
            groups = re.compile(pattern).groups
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            reader.add(
                entry, path, f"is not a regular expression: {error}", "Python's syntax; put it in single quotes."
            )
            continue
        if groups < 1:
            reader.add(
                entry, path, "has no group that catches the number", "Put parentheses around it: 'acc=([0-9.]+)'"
            )
            continue
        found[metric] = pattern
    return found


def notify(reader: Reader, node: Node, key: str) -> str | None:
    text = string(reader, node, key)
    if text is None:
        return None
    if not text.strip():
        reader.add(node, key, "is empty", "Write a shell command or an https URL, or remove it.")
        return None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        try:
            url = urlsplit(text)
            local = url.hostname in ("localhost", "127.0.0.1", "::1")
            _ = url.port
        except ValueError as error:
            reader.add(node, key, f"is not a URL: {error}")
            return None
        if not url.hostname or not text.isprintable() or " " in text:
            reader.add(node, key, "is not a whole URL", "Write https://host/path.")
            return None
        if url.scheme.lower() != "https" and not (url.scheme.lower() == "http" and local):
            reader.add(node, key, f"{quoted(text)} is not an https URL", "Use https; http is for localhost only.")
            return None
    return text


def arguments(reader: Reader, node: Node, key: str) -> str | None:
    text = string(reader, node, key)
    if text is None:
        return None
    if "\n" in text or "{value}" not in text.replace("{{", "").replace("}}", ""):
        remedy = 'Like "--{name}={value}", "{name}={value}" or "--{name} {value}".'
        reader.add(node, key, f"{quoted(text)} has no place for the value", remedy)
        return None
    return text


def _plain(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is not None


def _shown(node: Node) -> str:
    return quoted(node.text) if isinstance(node, Scalar) and node.value is not None else kind_of(node)


def _integer(least: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least}


_STRING = {"type": "string"}
_TEXT = {"type": "string", "minLength": 1}

FIELDS: dict[str, Field] = {
    "name": Field(
        "The sweep's name: its folder under runs/ and its tmux session. Default: the file's stem.", _TEXT, name
    ),
    "command": Field(
        "What each run does, in bash. Parameters are appended as `args` says, or put where {name} stands; {args}, "
        "{run}, {run_dir} and {sweep} are replaced too, {{ and }} stand for braces.",
        _TEXT,
        command,
    ),
    "args": Field(
        'How a parameter is appended: "--{name}={value}" by default, "{name}={value}" for Hydra, "--{name} {value}".',
        {"type": "string", "pattern": r"\{value\}"},
        arguments,
        "--{name}={value}",
    ),
    "workdir": Field("The folder to run in, relative to the sweep file. Default: where sweep was typed.", _TEXT, word),
    "env": Field(
        "Environment variables of the runs.",
        {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}},
        env,
        {},
    ),
    "before": Field("Bash lines before the command, in the same shell: conda, modules.", _STRING, script, ""),
    "timeout": Field("A run is ended after so long: 2h, 90m, 1h30m, 45s, or seconds.", _DURATION, positive),
    "grace": Field("Seconds between TERM and KILL when a run is ended. Default: 10.", _DURATION, duration, 10.0),
    "retries": Field("How often a failed run is tried again. Default: 0.", _integer(0), count(0, 1000), 0),
    "gpus": Field(
        "GPUs that each run takes: a number, or all. Default: 1 where the machine has GPUs.",
        {"anyOf": [_integer(0), {"const": "all"}]},
        gpus,
    ),
    "gpus_allowed": Field(
        "Indices of the GPUs that may be used. Default: all.",
        {"anyOf": [_integer(0), {"type": "array", "items": _integer(0), "minItems": 1}]},
        indices,
    ),
    "per_gpu": Field("Runs that share one GPU. Default: 1.", _integer(1), count(1, 1000), 1),
    "gpu_memory": Field("Start a run only where so much GPU memory is free: 8GB.", _SIZE, size, 0),
    "busy_above": Field(
        "A GPU with more memory than this in use by others is not free. Default: 500MB.", _SIZE, size, 500_000_000
    ),
    "ignore_others": Field(
        "Use GPUs on which others compute, too. Default: false.", {"type": "boolean"}, boolean, False
    ),
    "keep_free": Field("GPUs of the machine that are left to others. Default: 0.", _integer(0), count(0, 1024), 0),
    "hold": Field("A serial chain keeps its GPUs between runs. Default: false.", {"type": "boolean"}, boolean, False),
    "retries_oom": Field(
        "Further tries, alone on a GPU, for a run out of memory. Default: 0.", _integer(0), count(0, 1000), 0
    ),
    "maximize": Field("The metric by which the report ranks, more is better.", _TEXT, word),
    "minimize": Field("The metric by which the report ranks, less is better.", _TEXT, word),
    "metrics": Field(
        "Metrics by regular expression (the first group is the number), beside those found by themselves.",
        {"type": "object", "additionalProperties": _TEXT},
        metrics,
        {},
    ),
    "notify": Field(
        "A shell command, or an https URL, told when the sweep finishes, first fails or stalls.", _TEXT, notify
    ),
    "stall": Field("A run that prints nothing for so long counts as stalled: 30m.", _DURATION, positive),
    "canary": Field(
        "So many runs go first, alone; if all of them fail, the sweep stops. Default: 0.", _integer(0), count(0), 0
    ),
    "max_failures": Field("The sweep stops after so many failed runs.", _integer(1), count(1)),
    "runs_dir": Field(
        "Where runs/<name> is made, relative to the sweep file. Default: ./runs where sweep is typed.", _TEXT, word
    ),
}
