"""YAML 1.2 text -> a tree of nodes that know their line: no tags, no duplicate keys, bounded depth and size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from sweeper.errors import Problem
from sweeper.spec.nodes import MAX_NODES, Mapping, Node, Scalar, Sequence, YamlError, quoted

MAX_DEPTH = 60
MAX_DIGITS = 1000
_ODD_BREAKS = "\x85\u2028\u2029"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("+.inf", "+.Inf", "+.INF", ".inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_TAG = "tag:yaml.org,2002:"
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}


def compose(text: str, problems: list[Problem]) -> Node | None:
    """The root node of the one document in ``text``; None if it holds none.

    Mistakes that leave the rest readable (duplicate keys, tags) are added to ``problems``; others raise YamlError.
    """
    _refuse_odd_breaks(text)
    composer = _Composer(problems)
    try:
        return composer.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise YamlError(_syntax_problem(error)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        message = f"holds a character that YAML does not allow ({error.reason})"
        raise YamlError(
            Problem(message, line, remedy='Write it as an escape in double quotes, like "\\x07".')
        ) from error


def _refuse_odd_breaks(text: str) -> None:
    """Raises YamlError for the characters that end a line in YAML 1.1, and with it to libyaml, but not in YAML 1.2,
    nor in most editors: what looks like the end of a comment's line, say, could be a command."""
    found = [place for place in map(text.find, _ODD_BREAKS) if place >= 0]
    if not found:
        return
    name = f"{ord(text[min(found)]):04x}"
    raise YamlError(
        Problem(
            f"holds the character U+{name.upper()}, which ends a line to some programs and not to others",
            text.count("\n", 0, min(found)) + 1,
            remedy=f'Remove it, or write it as an escape in double quotes: "\\u{name}".',
        )
    )


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    if "nesting depth" in (error.problem or ""):  # libyaml's own limit is met while it looks ahead
        return _too_deep(mark.line + 1, mark.column + 1) if mark else _too_deep()
    message = ", ".join(part for part in (error.context, error.problem) if part)
    remedy = "Check the indentation, the colons and the quotes around this line."
    if "\\t" in message or "tab" in message or "cannot start any token" in message:
        remedy = "Indent with spaces, never with tabs; put quotes around a value that begins with @, ` or %."
    elif "mapping values are not allowed" in message:
        remedy = (
            'A ": " inside a value begins a mapping in YAML: put quotes around the value; a command reads best as\n'
            "    `command: |` with its text indented on the lines below."
        )
    elif "undefined alias" in message:
        remedy = "A plain * begins an alias in YAML: put quotes around the value."
    return Problem(
        f"is not valid YAML: {message}",
        mark.line + 1 if mark else None,
        mark.column + 1 if mark else None,
        remedy=remedy,
    )


def _too_deep(line: int | None = None, column: int | None = None) -> Problem:
    return Problem(f"nests more than {MAX_DEPTH} lists and mappings", line, column, remedy="Flatten it.")


class _Composer:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.anchors: dict[str, Node | None] = {}
        self.merged = 0

    def document(self, events: Iterator[Any]) -> Node | None:
        """Builds without recursion: hostile files nest deep."""
        root: Node | None = None
        documents = 0
        open_nodes: list[tuple[Sequence | Mapping, list[Node], str | None]] = []
        for event in events:
            node: Node | None = None
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    where = Problem(
                        "a second YAML document begins here",
                        _position(event)[0],
                        remedy="A sweep file is one document: remove the --- line, or give each its own file.",
                    )
                    raise YamlError(where)
            elif isinstance(event, yaml.ScalarEvent):
                node = self._scalar(event)
                if event.anchor:
                    self.anchors[event.anchor] = node
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(event)
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                kind = Sequence if isinstance(event, yaml.SequenceStartEvent) else Mapping
                opened = kind(*_position(event))
                self._check_collection_tag(event, "seq" if kind is Sequence else "map")
                open_nodes.append((opened, [], event.anchor))
                if event.anchor:
                    self.anchors[event.anchor] = None
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                node, children, anchor = open_nodes.pop()
                node.height = 1 + max((child.height for child in children if not isinstance(child, Scalar)), default=0)
                if isinstance(node, Sequence):
                    node.items = children
                elif isinstance(node, Mapping):
                    self._fill(node, children)
                if anchor:
                    self.anchors[anchor] = node
            if len(open_nodes) + (0 if node is None or isinstance(node, Scalar) else node.height) > MAX_DEPTH:
                raise YamlError(_too_deep(*_position(event)))
            if node is not None:
                if open_nodes:
                    open_nodes[-1][1].append(node)
                else:
                    root = node
        if isinstance(root, Scalar) and root.value is None and root.plain and not root.text:
            return None
        return root

    def _add(self, node: Any, message: str, remedy: str) -> None:
        self.problems.append(Problem(message, node.line, node.column, remedy=remedy))

    def _alias(self, event: Any) -> Node:
        line, column = _position(event)
        if event.anchor not in self.anchors:
            remedy = "A plain * begins an alias in YAML: put quotes around the value."
            raise YamlError(
                Problem(f"the alias {quoted('*' + event.anchor)} has no anchor before it", line, column, remedy=remedy)
            )
        node = self.anchors[event.anchor]
        if node is None:
            message = f"the alias {quoted('*' + event.anchor)} stands inside what it names"
            raise YamlError(Problem(message, line, column, remedy="A value cannot hold itself: write it out."))
        return node

    def _check_collection_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            place = Scalar(*_position(event), None, "", True)
            self._add(
                place, f"the tag {_tag_name(event.tag)} is not allowed", "Sweep files hold plain data: remove the tag."
            )

    def _scalar(self, event: Any) -> Scalar:
        line, column = _position(event)
        text, tag = event.value, event.tag
        plain = event.style is None or event.style == ""
        node = Scalar(line, column, text, text, plain)
        if any("\ud800" <= character <= "\udfff" for character in text):
            node.value = node.text = "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)
            self._add(node, "holds half of a surrogate pair, which is no character", "Write the whole character.")
        elif "\0" in text:
            node.value = node.text = text.replace("\0", "")
            self._add(node, "holds a NUL character, which no argument of a command can hold", "Remove the \\0.")
        elif tag is None and plain:
            node.value = self._resolve(node)
        elif tag not in (None, "!", _TAG + "str"):
            value = self._resolve(node)
            name = tag[len(_TAG) :] if tag.startswith(_TAG) else ""
            if type(value) in _KINDS.get(name, ()):
                node.value, node.plain = (float(value) if name == "float" else value), True
            else:
                self._add(
                    node,
                    f"the tag {_tag_name(tag)} is not allowed here",
                    "Sweep files hold plain data: remove the tag.",
                )
        return node

    def _resolve(self, node: Scalar) -> Any:
        text = node.text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text) or _BASED.fullmatch(text):
            if len(text) > MAX_DIGITS:
                self._add(
                    node, f"is a number of more than {MAX_DIGITS} digits", "Put quotes around it to make it a string."
                )
                return 0
            return int(text, 0) if text[1:2] in ("o", "x") else int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _fill(self, node: Mapping, children: list[Node]) -> None:
        merged: list[Node] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._add(key, "a list or mapping cannot be a key", "Keys are plain words; put quotes around odd ones.")
            elif key.plain and key.text == "<<":
                merged.extend(value.items if isinstance(value, Sequence) else [value])
            elif key.text in node.items:
                first = node.items[key.text][0].line
                self._add(
                    key,
                    f"the key {quoted(key.text)} stands here twice (first in line {first})",
                    "Remove one of the two.",
                )
            else:
                node.items[key.text] = (key, value)
        for source in merged:
            if not isinstance(source, Mapping):
                self._add(source, "<< takes a mapping or a list of mappings", "Name one with an alias: <<: *name")
                continue
            self.merged += len(source.items)
            if self.merged > MAX_NODES:
                raise YamlError(Problem(f"merges more than {MAX_NODES:,} keys with <<", source.line, source.column))
            for name, item in source.items.items():
                node.items.setdefault(name, item)


def _position(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _tag_name(tag: str) -> str:
    name = "!!" + tag[len(_TAG) :] if tag.startswith(_TAG) else tag
    return name if len(name) <= 60 and name.isprintable() else quoted(name)
