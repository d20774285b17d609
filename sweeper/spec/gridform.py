"""The grid of a sweep file, from nodes to options: lists, choices, joint keys and includes.

Decided where the words of the grammar leave room:

- A list's item that is a mapping of one key is a generator (its numbers join the list), ``{value: ...}``, or, if what
  it holds is a mapping, a choice. A mapping of several keys, or of one key with a plain value, is a value.
- Outside lists any mapping but a generator and ``{value: ...}`` is one value.
- An entry of ``include`` is not multiplied with ``repeat``. A file with ``include`` and neither grid nor repeat has the
  included points alone.
"""

from __future__ import annotations

import re

from sweeper.model import Value, canonical
from sweeper.spec.generators import generated
from sweeper.spec.nodes import Mapping, Node, Scalar, Sequence, kind_of, quoted, unquoted
from sweeper.spec.options import Chain, Generated, Listed, Options, Product
from sweeper.spec.reader import Reader

RESERVED = ("args", "run", "run_dir", "sweep")
NAME = re.compile(r"[\w+~@%/.:][\w+~@%/.:-]*")
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_SEVERAL = re.compile(rf"{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER})+")
_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
ONE_POINT = Product(())
_MERGED = 100_000  # options of one list of choices that are kept one by one


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
        return generated(reader, name, node, key) or Listed([{name: reader.value(node)}])
    if isinstance(node, Scalar):
        _doubt(reader, name, node, key)
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
            _doubt(reader, name, item, place)
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


def _doubt(reader: Reader, name: str, node: Node, key: str) -> None:
    """Note what may not be meant: several numbers that are one string, and nothing that is a value."""
    if not isinstance(node, Scalar) or not node.plain:
        return
    if not node.text:
        where = "a dash" if key.endswith("]") else "its colon"
        reader.note(node, key, f"{name} has nothing after {where}, which is the value null (None)")
    elif isinstance(node.value, str) and _SEVERAL.fullmatch(node.text):
        numbers = re.split(r"\s*,\s*|\s+", node.text)
        many = _COUNTS.get(len(numbers), str(len(numbers)))
        written = f"[{', '.join(numbers[:5])}{', ...' if len(numbers) > 5 else ''}]"
        message = f"{name} is one value, {quoted(node.text)}: write {written} for {many}, or quotes if one is meant"
        reader.note(node, key, message)


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
    numbers = generated(reader, name, node, key)
    if numbers is not None:
        return numbers
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
            rows.append({name: reader.value(unquoted(cell)) for name, cell in cells})
    return Listed(rows) if rows else None
