"""What ``exclude`` says, from nodes to rules. It compares numbers by worth: 1 is 1.0 there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper.model import canonical
from sweeper.spec.nodes import Mapping, Node, Scalar, Sequence, kind_of, unquoted
from sweeper.spec.reader import Reader

_EXPRESSION = 1000  # characters


@dataclass(frozen=True)
class Rule:
    """One entry of ``exclude``: either ``where``, canonical spellings by name, or an ``expression``."""

    line: int
    column: int
    key: str
    where: dict[str, frozenset[str]] | None = None
    expression: str | None = None


def read_exclude(reader: Reader, node: Node, key: str) -> tuple[Rule, ...]:
    """Rules: mappings (every parameter named equals; a list means any of it) and expressions."""
    items = node.items if isinstance(node, Sequence) else [node]
    rules: list[Rule] = []
    for index, item in enumerate(items):
        place = f"{key}[{index}]" if isinstance(node, Sequence) else key
        if isinstance(item, Mapping) and item.items:
            where = {
                name: frozenset(same(reader.data(value)) for value in _alternatives(entry))
                for name, (_, entry) in item.items.items()
            }
            rules.append(Rule(item.line, item.column, place, where=where))
        elif isinstance(item, Scalar) and isinstance(item.value, str):
            if len(item.value) > _EXPRESSION:
                reader.add(item, place, f"is longer than {_EXPRESSION} characters", "Split it into several entries.")
            else:
                rules.append(Rule(item.line, item.column, place, expression=item.value))
        elif not (isinstance(item, Scalar) and item.value is None and item is node):
            remedy = 'Write {lr: 0.1, hidden: 64} or an expression in quotes, like "lr * batch_size > 10".'
            reader.add(item, place, f"is {kind_of(item)}, neither a mapping nor an expression", remedy)
    return tuple(rules)


def same(value: Any) -> str:
    """The spelling by which ``exclude`` compares: 1 and 1.0 are the same number there."""
    return canonical(int(value) if isinstance(value, float) and value.is_integer() else value)


def _alternatives(node: Node) -> list[Node]:
    if isinstance(node, Sequence):
        return [unquoted(item) for item in node.items]
    return [unquoted(node)]
