"""How the value of each key is read from its node: as plain data, or reported as a mistake."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from sweeper import paths
from sweeper.errors import InputError
from sweeper.spec.nodes import Mapping, Node, Scalar, Sequence, kind_of, quoted
from sweeper.spec.reader import Reader, parse_duration, parse_size, too_small

Read = Callable[[Reader, Node, str], Any | None]  # None where a mistake was reported
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN = ("SWEEP_RUN_DIR", "SWEEP_NAME", "SWEEP_RUN", "SWEEP_ATTEMPT", "SWEEP_PARAMS")


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
    """Bytes of a GPU's memory."""
    size_in_bytes: int | None = _by(parse_size, reader, node, key)
    if size_in_bytes is not None and too_small(size_in_bytes):
        text = node.text if isinstance(node, Scalar) else ""
        remedy = f"Write {text}GB or {text}MB." if text.isdigit() else "Write it like 8GB or 500MB."
        reader.add(node, key, f"is only {size_in_bytes:,} bytes", remedy)
        return None
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
    elif re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s;&|<>()$`]+", text) and shutil.which(text) is None:
        remedy = "Write https://host/path, or a command, like: mail -s sweep me@example.org"
        reader.add(node, key, f"{quoted(text)} is neither a command nor an https URL", remedy)
        return None
    return text


def _plain(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is not None


def _shown(node: Node) -> str:
    return quoted(node.text) if isinstance(node, Scalar) and node.value is not None else kind_of(node)
