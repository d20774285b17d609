"""The tree that a sweep file is read into: nodes that know their line, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sweeper.errors import Problem

MAX_NODES = 1_000_000


@dataclass(slots=True)
class Scalar:
    """``value`` by YAML 1.2's core schema; ``text`` as it stands in the file; ``plain`` if it has no quotes."""

    line: int
    column: int
    value: Any
    text: str
    plain: bool


@dataclass(slots=True)
class Sequence:
    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    height: int = 1


@dataclass(slots=True)
class Mapping:
    """Its items in file order, ``<<`` merged in; keys are their texts."""

    line: int
    column: int
    items: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)
    height: int = 1


Node: TypeAlias = "Scalar | Sequence | Mapping"


class YamlError(Exception):
    """What stops the reading of the file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def quoted(word: str) -> str:
    """The user's own word as a message shows it: one line, no control characters, not too long."""
    return repr(word if len(word) <= 60 else word[:57] + "...")


def kind_of(node: Node) -> str:
    """What a node is, in the words of a message."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "empty"
    return {bool: "a boolean", int: "a number", float: "a number"}.get(type(node.value), "a string")


def unquoted(node: Node) -> Node:
    """What ``{value: ...}`` quotes; any other node as it is."""
    if isinstance(node, Mapping) and list(node.items) == ["value"]:
        return node.items["value"][1]
    return node


def plain_value(node: Node, budget: list[int]) -> Any:
    """``node`` as Python data. ``budget`` holds how many nodes may still be copied out of aliases, and shrinks.

    Raises YamlError when it is used up: a few lines of aliases can stand for 10^9 values.
    """
    budget[0] -= 1
    if budget[0] < 0:
        remedy = "Its aliases (*name) multiply each other: write out what is really meant."
        message = f"stands for more than {MAX_NODES:,} values"
        raise YamlError(Problem(message, node.line, node.column, remedy=remedy))
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain_value(item, budget) for item in node.items]
    return {name: plain_value(item, budget) for name, (_, item) in node.items.items()}
