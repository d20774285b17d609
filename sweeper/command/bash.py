"""Bash text: where places stand in it, and how a string is quoted so that bash reads that very string.

A value is quoted for plain words. Inside quotes, here-documents, arithmetic, comments and the like the same quotes
would protect nothing, so a place there is a fault and not a guess.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

_PLACE = re.compile(r"\{([\w+~@%/.:][\w+~@%/.:-]*)\}")
_WORD = re.compile(r"[\w@%+:,./-]+", re.ASCII)
_KEYWORDS = frozenset(
    {"if", "then", "elif", "else", "fi", "time", "for", "in", "until", "while", "do", "done", "case", "esac"}
    | {"coproc", "select", "function"}
)
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}


@dataclass(frozen=True)
class Piece:
    """Literal ``text``, or the ``place`` of a value; ``bare`` says when quotes may be left out there.

    ``word``: it is a word of its own; ``after``: what follows an ``=``; ``never``: text touches it.
    """

    text: str = ""
    place: str | None = None
    bare: str = "word"


@dataclass(frozen=True)
class Fault:
    message: str
    remedy: str


@dataclass
class Scanned:
    """``open_end`` says why nothing can be appended, where that is so."""

    pieces: tuple[Piece, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    open_end: str = ""


def shell_text(words: str) -> str:
    """``words`` as one word of bash on one line; control characters as escapes, harmless to a terminal."""
    if words.isprintable():
        return shlex.quote(words)
    escaped = (
        _ESCAPES.get(c) or (c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode())) for c in words
    )
    return "$'" + "".join(escaped) + "'"


def quote(words: str, bare: str) -> str:
    """``words`` as bash text, with quotes wherever the place or the words ask for them."""
    if bare == "never" or (bare == "word" and ("=" in words or words in _KEYWORDS)):
        return shell_text(words) if not words.isprintable() else "'" + words.replace("'", "'\"'\"'") + "'"
    return shell_text(words)


_WHERE = {
    "'": "inside single quotes",
    '"': "inside double quotes",
    "`": "inside backticks",
    "#": "inside a comment",
    "${": "inside ${...}",
    "((": "inside arithmetic",
    "<<": "inside or after a here-document",
    "case": "after a case in $(...)",
}
_REMEDY = {
    "'": "Take {%s} out of the quotes, which may end before it: it is quoted by itself, as in 'exp '{%s}.",
    '"': 'Take {%s} out of the quotes, which may end before it: it is quoted by itself, as in "$HOME/"{%s}.',
    "`": "Write $(...) instead of backticks.",
    "#": "Remove it from the comment; a # inside a word needs quotes.",
    "${": "Put it in a variable first: X={%s}; echo ${X}.",
    "((": "Put it in a variable first, and mind that bash evaluates what is in it.",
    "<<": "Put it in a variable before the here-document (X={%s}), and write $X in it.",
    "case": 'Put it in a variable first: X={%s}; then use "$X".',
}


def scan(command: str, *, literal: tuple[str, ...]) -> Scanned:
    """Find the places of ``command``. Those named in ``literal`` hold no special character and may stand anywhere."""
    return _Scanner(command, literal).scan()


class _Scanner:
    def __init__(self, command: str, literal: tuple[str, ...]) -> None:
        self.command = command
        self.literal = literal
        self.stack: list[str] = []  # of: ' " ` # ${ (( and ( for $(...), <(...) and subshells
        self.sticky = ""  # << or case: from there on the scan cannot be sure
        self.pieces: list[Piece] = []
        self.faults: list[Fault] = []
        self.text: list[str] = []

    def scan(self) -> Scanned:
        index = 0
        while index < len(self.command):
            index = self._step(index)
        self._flush()
        end = ""
        stripped = self.command.rstrip(" \t\n")
        if self.stack and self.stack[-1] == "#":
            end = "the command ends in a comment"
        elif self.stack:
            names = {"(": "an open parenthesis", "${": "an open ${", "((": "open arithmetic"}
            end = f"the command ends with {names.get(self.stack[-1], 'an open quote ' + self.stack[-1])}"
        elif self.sticky == "<<":
            end = "the command holds a here-document"
        elif (len(stripped) - len(stripped.rstrip("\\"))) % 2:
            end = "the command ends with a backslash"
        elif stripped.endswith((";", "&", "|")):
            end = f"the command ends with {stripped[-1]}"
        return Scanned(tuple(self.pieces), self.faults, end)

    def _flush(self) -> None:
        if self.text:
            self.pieces.append(Piece("".join(self.text)))
            self.text = []

    def _copy(self, index: int, length: int) -> int:
        self.text.append(self.command[index : index + length])
        return index + length

    def _step(self, index: int) -> int:
        command, top = self.command, self.stack[-1] if self.stack else ""
        char, two = command[index], command[index : index + 2]
        if char == "\\" and top not in ("'", "#"):
            return self._copy(index, 2)
        if char == "{" or two == "}}":
            return self._brace(index, top)
        if char == "$" and top not in ("'", "$'", "#"):
            return self._dollar(index)
        if top in ("'", "$'"):
            if char == "'":
                self.stack.pop()
        elif top == "#":
            if char == "\n":
                self.stack.pop()
        elif top == '"':
            if char == '"':
                self.stack.pop()
            elif char == "`":
                self._backtick()
        elif top == "${":
            if char == "}":
                self.stack.pop()
            elif char == '"' or (char == "'" and not self._in_quotes()):
                self.stack.append(char)
            elif char == "`":
                self._backtick()
        else:
            return self._plain(index, char, two, top)
        return self._copy(index, 1)

    def _backtick(self) -> None:
        """Opens or closes; everything up to the matching one counts as inside."""
        if "`" in self.stack:
            while self.stack.pop() != "`":
                pass
        else:
            self.stack.append("`")

    def _in_quotes(self) -> bool:
        """Whether a single quote is an ordinary character: inside "${...}"."""
        inner = self.stack[len(self.stack) - self.stack[::-1].index("(") :] if "(" in self.stack else self.stack
        return '"' in inner

    def _plain(self, index: int, char: str, two: str, top: str) -> int:
        command = self.command
        before = command[index - 1] if index else " "
        if char in "'\"":
            self.stack.append(char)
        elif char == "`":
            self._backtick()
        elif char == "#" and before in " \t\n;&|()":
            self.stack.append("#")
        elif two == "((":
            self.stack.append("((")
            return self._copy(index, 2)
        elif char == "(":
            self.stack.append("(")
        elif char == ")" and top == "((":
            self.stack.pop()
            return self._copy(index, 2 if two == "))" else 1)
        elif char == ")" and top == "(":
            self.stack.pop()
        elif command.startswith("<<<", index):
            return self._copy(index, 3)
        elif two == "<<" and top != "((":
            self.sticky = "<<"
        elif self.stack and not self.sticky and re.compile(r"\bcase\b").match(command, index):
            self.sticky = "case"
        return self._copy(index, 1)

    def _dollar(self, index: int) -> int:
        rest = self.command[index + 1 : index + 4]
        if rest.startswith("{{"):
            return self._copy(index, 1)
        if rest.startswith("{"):
            self.stack.append("${")
            return self._copy(index, 2)
        if rest.startswith("(("):
            self.stack.append("((")
            return self._copy(index, 3)
        if rest.startswith("("):
            self.stack.append("(")
            return self._copy(index, 2)
        if rest.startswith("'") and (self.stack[-1] if self.stack else "") != '"':
            self.stack.append("$'")
            return self._copy(index, 2)
        return self._copy(index, 2 if rest[:1] in ("$", "#", "?", "!") else 1)

    def _brace(self, index: int, top: str) -> int:
        command = self.command
        if top == "${":
            place = _PLACE.match(command, index)
            if place and command[index - 1] != "$":
                self._fault(place[1], "${")
            if command[index] == "}":  # the end of this ${...}, whatever follows
                self.stack.pop()
                return self._copy(index, 1)
            self.stack.append("${")
            return self._copy(index, 1)
        two = command[index : index + 2]
        if two in ("{{", "}}"):
            self.text.append(two[0])
            return index + 2
        place = _PLACE.match(command, index)
        if not place or ".." in place[1]:
            return self._copy(index, 1)
        self._place(place[1], index, place.end(), top)
        return place.end()

    def _place(self, name: str, start: int, end: int, top: str) -> None:
        if name not in self.literal:
            inside = next((kind for kind in reversed(self.stack) if kind != "("), "") if top != "(" else ""
            if "`" in self.stack:
                inside = "`"
            elif "((" in self.stack:
                inside = "(("
            inside = self.sticky or inside
            if inside:
                self._fault(name, "'" if inside == "$'" else inside)
        before = self.command[start - 1] if start else " "
        after = self.command[end] if end < len(self.command) else " "
        closed = after in " \t\n;)"
        bare = "never" if not closed else "word" if before in " \t\n" else "after" if before == "=" else "never"
        self._flush()
        self.pieces.append(Piece(place=name, bare=bare))

    def _fault(self, name: str, inside: str) -> None:
        remedy = _REMEDY[inside].replace("%s", name)
        self.faults.append(Fault(f"{{{name}}} stands {_WHERE[inside]}, where no quoting is safe", remedy))
