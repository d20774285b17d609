"""The grid of a sweep file, from nodes to options: lists, generators, choices, joint keys, includes and excludes.

Decided where the words of the grammar leave room:

- A list's item that is a mapping of one key is a generator (its numbers join the list), ``{value: ...}``, or, if what
  it holds is a mapping, a choice. A mapping of several keys, or of one key with a plain value, is a value.
- Outside lists any mapping but a generator and ``{value: ...}`` is one value.
- ``linspace`` and ``logspace`` give floats (``1.0``), ``range`` whole numbers; all are spelled as short as they can be.
- An entry of ``include`` is not multiplied with ``repeat``. A file with ``include`` and neither grid nor repeat has the
  included points alone.
- ``exclude`` compares numbers by worth (1 is 1.0); everywhere else a value is the same only if its JSON is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sweeper.model import Value, canonical
from sweeper.spec.options import Chain, Generated, Listed, Options, Product
from sweeper.spec.reader import Reader, kind_of, quoted
from sweeper.spec.yaml12 import Mapping, Node, Scalar, Sequence

MAX_POINTS = 10_000_000
RESERVED = ("args", "run", "run_dir", "sweep")
GENERATORS = ("range", "linspace", "logspace")
NAME = re.compile(r"[\w+~@%/.:][\w+~@%/.:-]*")
ONE_POINT = Product(())
_MERGED = 100_000  # options of one list of choices that are kept one by one
_EXPRESSION = 1000


@dataclass(frozen=True)
class Rule:
    """One entry of ``exclude``: either ``where``, canonical spellings by name, or an ``expression``."""

    line: int
    column: int
    key: str
    where: dict[str, frozenset[str]] | None = None
    expression: str | None = None


def read_grid(reader: Reader, node: Node, key: str) -> tuple[Product, ...]:
    """A mapping is one product, a list of mappings their union; null is one empty point."""
    if isinstance(node, Mapping):
        return (_product(reader, node, key),)
    if isinstance(node, Sequence) and node.items:
        return tuple(
            _product(reader, item, f"{key}[{index}]")
            for index, item in enumerate(node.items)
            if _is_mapping(reader, item, f"{key}[{index}]")
        )
    if isinstance(node, Scalar) and node.value is not None:
        reader.add(node, key, f"is {kind_of(node)}", "Write one `name: [values]` a line, or a list of such mappings.")
    return (ONE_POINT,)


def read_include(reader: Reader, node: Node, key: str) -> tuple[Product, ...]:
    """Points to add: a list of mappings, each like a grid."""
    if isinstance(node, Scalar) and node.value is None:
        return ()
    if isinstance(node, Sequence) and not node.items:
        return ()
    return read_grid(reader, node, key)


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
        return [_unquoted(item) for item in node.items]
    return [_unquoted(node)]


def _unquoted(node: Node) -> Node:
    if isinstance(node, Mapping) and list(node.items) == ["value"]:
        return node.items["value"][1]
    return node


def _is_mapping(reader: Reader, node: Node, key: str) -> bool:
    if not isinstance(node, Mapping):
        reader.add(node, key, f"is {kind_of(node)}, not a mapping", "Each entry is a mapping like {lr: [0.1, 0.01]}.")
    return isinstance(node, Mapping)


def _product(reader: Reader, node: Node, key: str) -> Product:
    reader.spend(node)
    axes: list[Options] = []
    owner: dict[str, int] = {}
    if not isinstance(node, Mapping) or not node.items:
        return ONE_POINT
    for text, (word, entry) in node.items.items():
        path = f"{key}.{text}" if len(text) <= 80 else f"{key}.{text[:77]}..."
        names = [name.strip() for name in text.split(",")]
        sound = [check_name(reader, word, path, name) for name in names]
        if not all(sound):
            continue
        axis = _joint(reader, names, entry, path) if len(names) > 1 else _axis(reader, names[0], entry, path)
        if axis is None:
            continue
        clash = [name for name in axis.names if name in owner]
        if clash:
            remedy = "Give it in one place only: a point has one value for each parameter."
            reader.add(word, path, f"sets {clash[0]!r}, which line {owner[clash[0]]} sets already", remedy)
            continue
        owner.update(dict.fromkeys(axis.names, word.line))
        axes.append(axis)
    return Product(axes)


def check_name(reader: Reader, node: Node, key: str, name: str) -> bool:
    """Whether ``name`` can be a parameter's: it becomes part of a flag, a column's name and a place in the command."""
    if name in RESERVED:
        remedy = f"Sweep fills {{{name}}} in itself: call the parameter otherwise, and map it in the command."
        reader.add(node, key, f"{name!r} is a reserved name", remedy)
    elif name.startswith("-") and NAME.fullmatch(name.lstrip("-")):
        bare = name.lstrip("-")
        reader.add(node, key, f"{quoted(name)} begins with a dash", f"Write {bare}: the dashes come from `args`.")
    elif len(name) > 200 or not NAME.fullmatch(name):
        remedy = "Use at most 200 letters, digits and _ . - / + @ : ~ %; a comma joins parameters that vary together."
        reader.add(node, key, f"{quoted(name)} cannot be a parameter's name", remedy)
    else:
        return True
    return False


def _axis(reader: Reader, name: str, node: Node, key: str) -> Options | None:
    """The values of one parameter."""
    if isinstance(node, Mapping):
        return _generator(reader, name, node, key) or Listed([{name: reader.value(node)}])
    if isinstance(node, Scalar):
        return Listed([{name: reader.value(node)}])
    if not node.items:
        reader.add(node, key, "has no values", "Give it at least one, or remove it.")
        return None
    parts: list[Options] = []
    plain: list[dict[str, Value]] = []
    for index, item in enumerate(node.items):
        reader.spend(item)
        place = f"{key}[{index}]"
        special = _item(reader, name, item, place) if isinstance(item, Mapping) else None
        if special is None:
            plain.append({name: reader.value(item)})
            continue
        if plain:
            parts.append(Listed(plain))
            plain = []
        parts.append(special)
    if plain:
        parts.append(Listed(plain))
    if len(parts) == 1:
        return parts[0]
    return _chain(reader, parts, node, key)


def _chain(reader: Reader, parts: list[Options], node: Node, key: str) -> Options | None:
    """Parts may hold the same setting: they are listed one by one, which drops repeated ones."""
    size = sum(part.size for part in parts)
    if size <= _MERGED:
        return Listed(option for part in parts for option in part)
    firsts = [canonical(next(iter(part.at(0).values())).value) for part in parts]
    if len(set(firsts)) < len(firsts) or any(isinstance(part, Generated) for part in parts):
        remedy = "Make the choices different, or the lists shorter."
        reader.add(node, key, f"holds {size:,} settings in parts that may overlap", remedy)
        return None
    return Chain(parts)


def _item(reader: Reader, name: str, node: Mapping, key: str) -> Options | None:
    """A list's item that is a generator, a quoted value or a choice; None if it is a plain mapping."""
    if len(node.items) != 1:
        return None
    generated = _generator(reader, name, node, key)
    if generated is not None:
        return generated
    (word, entry) = next(iter(node.items.values()))
    if isinstance(entry, Mapping):
        choice = word.value if word.plain else word.text
        label = Listed([{name: Value(choice, word.text if type(choice) in (int, float) else None)}])
        inner = _product(reader, entry, f"{key}.{word.text}")
        if name in inner.names:
            remedy = "Name the inner parameter differently, or quote the mapping: {value: {...}}."
            reader.add(entry, key, f"a choice of {name!r} sets {name!r} again", remedy)
            return label
        return Product((label, *inner.axes))
    if isinstance(entry, Scalar) and entry.value is None:
        remedy = f"Write `- {word.text}` for a choice without parameters, {{value: {{...}}}} for a mapping."
        reader.add(node, key, "is a choice without anything after its colon", remedy)
    return None


def _joint(reader: Reader, names: list[str], node: Node, key: str) -> Options | None:
    """Parameters that vary together: rows of as many values."""
    example = "Write [[cnn, 128], [vit, 32]]: one value for each of " + ", ".join(names[:8]) + "."
    if len(set(names)) < len(names):
        reader.add(node, key, "names one parameter twice", "Name each once.")
        return None
    if not isinstance(node, Sequence) or not node.items:
        reader.add(node, key, f"needs a list of rows and is {kind_of(node)}", example)
        return None
    rows: list[dict[str, Value]] = []
    for index, row in enumerate(node.items):
        if not isinstance(row, Sequence) or len(row.items) != len(names):
            have = f"has {len(row.items)} values" if isinstance(row, Sequence) else f"is {kind_of(row)}"
            reader.add(row, f"{key}[{index}]", f"{have} for {len(names)} parameters", example)
        else:
            cells = zip(names, row.items, strict=True)
            rows.append({name: reader.value(_unquoted(cell)) for name, cell in cells})
    return Listed(rows) if rows else None


def _generator(reader: Reader, name: str, node: Mapping, key: str) -> Options | None:
    """``{range: ...}`` and its like, ``{value: ...}``; None for any other mapping."""
    if len(node.items) != 1:
        return None
    (kind, (word, entry)) = next(iter(node.items.items()))
    if kind == "value":
        return Listed([{name: reader.value(entry)}])
    if kind not in GENERATORS:
        return None
    empty = Listed([{name: Value(None)}])  # stands in for it after a mistake has been reported
    numbers = _numbers(entry if isinstance(entry, Sequence) else Sequence(entry.line, entry.column, [entry]))
    quote = "Write {value: {...}} if a mapping is meant."
    try:
        if numbers is None:
            raise ValueError("takes plain numbers")
        return _range(name, numbers) if kind == "range" else _space(name, kind, numbers)
    except ValueError as error:
        example = {"range": "range: [0, 10] or [0, 10, 2]", "linspace": "linspace: [0, 1, 5]"}
        remedy = f"Like {{{example.get(kind, 'logspace: [1e-4, 1e-1, 4]')}}}. {quote}"
        reader.add(word, f"{key}.{kind}", str(error), remedy)
        return empty


def _numbers(node: Sequence) -> list[Decimal] | None:
    """Exactly as they are spelled."""
    numbers = []
    for item in node.items:
        number = item.value if isinstance(item, Scalar) and item.plain else None
        if isinstance(number, bool) or not isinstance(number, (int, float)) or abs(number) in (float("inf"),):
            return None
        if number != number or abs(number) > 1e300:
            return None
        exact = Decimal(number) if isinstance(number, int) else Decimal(repr(number))
        numbers.append(exact)
    return numbers


def _range(name: str, numbers: Iterable[Decimal]) -> Options:
    bounds = list(numbers)
    if not 1 <= len(bounds) <= 3:
        raise ValueError("takes one to three numbers: [start, end] or [start, end, step]")
    start, end = (Decimal(0), bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    step = bounds[2] if len(bounds) == 3 else Decimal(1)
    if not step:
        raise ValueError("cannot have a step of 0")
    if any(number != number.to_integral_value() for number in (start, end, step)):
        raise ValueError("takes whole numbers, as Python's does; linspace is for fractions")
    first, last, stride = int(start), int(end), int(step)
    count = max(-(-(last - first) // stride), 0)
    if not count:
        raise ValueError(f"is empty: from {first} to {last} by {stride} there is nothing (the end is excluded)")
    _check_count(count)
    return Generated(name, "range", Decimal(first), Decimal(first + stride * (count - 1)), count, True)


def _space(name: str, kind: str, numbers: list[Decimal]) -> Options:
    if len(numbers) != 3:
        raise ValueError("takes three numbers: [first, last, how many]")
    first, last, many = numbers
    if many != many.to_integral_value() or many < 1:
        raise ValueError(f"needs a whole number of values, at least 1, and not {many}")
    count = int(many)
    _check_count(count)
    if kind == "logspace" and (first <= 0 or last <= 0):
        raise ValueError("takes positive numbers: its ends are the values themselves, not exponents")
    if count == 1 and first != last:
        raise ValueError(f"of one value cannot hold both {first} and {last}")
    return Generated(name, kind, first, last, count, False)


def _check_count(count: int) -> None:
    if count > MAX_POINTS:
        raise ValueError(f"makes {count:,} values; a sweep holds at most {MAX_POINTS:,} runs")
