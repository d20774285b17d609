"""How parameters are appended to the command: ``args``, one text for every value, or some by the value."""

from __future__ import annotations

from sweeper.spec.nodes import Mapping, Node, quoted
from sweeper.spec.reader import Reader, nearest
from sweeper.spec.values import string

DEFAULT = "--{name}={value}"
CASES = ("default", "true", "false", "null")


def read_arguments(reader: Reader, node: Node, key: str) -> dict[str, str] | None:
    """How parameters are appended, by case: one text is for every value, a mapping has texts of their own for some."""
    if not isinstance(node, Mapping):
        text = _argument(reader, node, key, needs_value=True)
        return None if text is None else {"default": text}
    found: dict[str, str] = {}
    for case, (place, entry) in node.items.items():
        if case not in CASES:
            meant = nearest(case, CASES)
            remedy = f"Did you mean {meant}?" if meant else f"The cases are {', '.join(CASES)}."
            reader.add(place, f"{key}.{case[:80]}", f"unknown case {quoted(case)}", remedy)
            continue
        text = _argument(reader, entry, f"{key}.{case}", needs_value=case == "default")
        if text is not None:
            found[case] = text
    return found


def _argument(reader: Reader, node: Node, key: str, *, needs_value: bool) -> str | None:
    text = string(reader, node, key)
    if text is None:
        return None
    if needs_value and "{value}" not in text.replace("{{", "").replace("}}", ""):
        remedy = 'Like "--{name}={value}", "{name}={value}" or "--{name} {value}".'
        reader.add(node, key, f"{quoted(text)} has no place for the value", remedy)
        return None
    if "\n" in text:
        reader.add(node, key, f"{quoted(text)} is of several lines", "Write it on one line.")
        return None
    return text


def split_arguments(read: str | dict[str, str], root: Mapping, lines: dict[str, int]) -> tuple[str, dict[str, str]]:
    """What was read as the text for every value, and those for some, whose lines are added to ``lines``."""
    if isinstance(read, str):
        return read, {}
    cases = dict(read)
    node = root.items["args"][1]
    if isinstance(node, Mapping):
        lines.update((f"args.{case}", place.line) for case, (place, _) in node.items.items())
    return cases.pop("default", DEFAULT), cases
