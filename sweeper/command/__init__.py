"""A point -> the command for bash: places filled, every value quoted so that it stays the very string."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from sweeper.command.bash import Piece, quote, scan, shell_text
from sweeper.command.syntax import complaint as complaint
from sweeper.errors import Problem, SpecError
from sweeper.grid import Points
from sweeper.model import Value, canonical
from sweeper.paths import folder_name
from sweeper.spec import Spec, nearest
from sweeper.spec.reader import MAX_PROBLEMS

RESERVED = ("args", "run", "run_dir", "sweep")
_CASES = {True: "true", False: "false", None: "null"}
_SAFE = re.compile(r"[\w+=.-]*", re.ASCII)


def text(value: Value) -> str:
    """A value as the command gets it, unquoted: numbers as spelled, True/False/None, lists and mappings as JSON."""
    if value.text is not None:
        return value.text
    if isinstance(value.value, str):
        return value.value
    if isinstance(value.value, (list, dict)):
        return json.dumps(value.value, ensure_ascii=False)
    return repr(value.value)


def texts(params: Mapping[str, Value]) -> dict[str, str]:
    """``text`` of each parameter, for folder names and tables."""
    return {name: text(value) for name, value in params.items()}


def describe(params: Mapping[str, Value]) -> str:
    """``lr=0.1 hidden=64`` on one line, without control characters, for people and terminals."""
    return " ".join(f"{name}={_visible(text(value))}" for name, value in params.items())


def _visible(words: str) -> str:
    return words if words.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)


@dataclass(frozen=True)
class Template:
    """A command with its places found: ``pieces`` of the command, ``appended`` those of the args template, ``cases``
    those of true, false and null where they are appended otherwise: (which, its text, its pieces).

    ``automatic`` says that the parameters follow at the end, as the command has no place for any.
    """

    command: str
    args: str
    pieces: tuple[Piece, ...]
    appended: tuple[Piece, ...]
    automatic: bool
    line: int
    cases: tuple[tuple[str, str, tuple[Piece, ...]], ...] = ()

    @property
    def identity(self) -> str:
        """What a run's key hashes beside its parameters."""
        said: list[object] = [self.command, self.args]
        if self.cases:  # files without them keep the keys that they had before there were any
            said.append({case: text for case, text, _ in self.cases})
        return canonical(said)

    @cached_property
    def _pieces_for(self) -> dict[str, tuple[Piece, ...]]:
        return {case: pieces for case, _, pieces in self.cases}

    @cached_property
    def placed(self) -> frozenset[str]:
        """The parameters (and reserved names) that have a place of their own."""
        return frozenset(piece.place for piece in self.pieces if piece.place)

    def key(self, params: Mapping[str, Value]) -> str:
        """16 hex digits: the identity of a run across launches, whatever the order of its parameters."""
        digest = self._hash.copy()
        for name in sorted(params):
            digest.update(f"\0{name}\0{canonical(params[name].value)}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def _hash(self) -> hashlib.blake2b:
        return hashlib.blake2b(self.identity.encode("utf-8", "surrogatepass"), digest_size=8)

    def check(self, points: Points) -> list[Problem]:
        """Parameters without a place and places without a parameter, with the nearest spelling."""
        problems: list[Problem] = []
        names = set(points.names)
        for place in dict.fromkeys(piece.place for piece in self.pieces if piece.place):
            if place in RESERVED or place in points.always:
                continue
            if len(problems) >= MAX_PROBLEMS:
                break
            if place in names:
                message = f"{{{place}}} has no value in some runs: not every point of the grid has {place!r}"
                remedy = "Put {args} there instead: it holds what a run has and passes nothing for the rest."
            else:
                message = f"{{{place}}} is no parameter"
                meant = nearest(place, [*points.names, *RESERVED])
                remedy = f"Did you mean {{{meant}}}? " if meant else ""
                remedy += f"Write {{{{{place}}}}} if the braces are meant for the shell."
            problems.append(Problem(message, self.line, key="command", remedy=remedy))
        if "args" not in self.placed and not self.automatic:
            for name in points.names:
                if name not in self.placed and len(problems) < MAX_PROBLEMS:
                    strange = [place for place in self.placed if place not in names and place not in RESERVED]
                    meant = nearest(name, strange)
                    remedy = f"Did you mean {{{name}}} where {{{meant}}} stands? " if meant else ""
                    remedy += f"Put {{{name}}} where it belongs, or {{args}} for all that have no place."
                    problems.append(Problem(f"has no place for {name!r}", self.line, key="command", remedy=remedy))
        return problems

    def render(self, params: Mapping[str, Value], *, run: int, run_dir: str, sweep: str) -> str:
        """The command of one run, for ``bash -c``. Every value arrives as the very string that it is."""
        parts = []
        for piece in self.pieces:
            if piece.place is None:
                parts.append(piece.text)
            elif piece.place == "args":
                words = self._words(params)
                parts.append(words if self.automatic else words[1:])
            elif piece.place == "run":
                parts.append(str(run))
            elif piece.place == "run_dir":
                parts.append(quote(run_dir, piece.bare))
            elif piece.place == "sweep":
                parts.append(_sweep_text(sweep, piece))
            else:
                parts.append(quote(text(params[piece.place]), piece.bare))
        return "".join(parts)

    def slots(self, params: Mapping[str, Value]) -> list[tuple[int, str]]:
        """What some of a run's parameters add to which of the pieces; each appended one brings its leading space."""
        found = [
            (index, quote(text(params[piece.place]), piece.bare))
            for index, piece in enumerate(self.pieces)
            if piece.place is not None and piece.place in params
        ]
        words = self._words(params)
        return found + [(index, words) for index, piece in enumerate(self.pieces) if piece.place == "args" and words]

    def _words(self, params: Mapping[str, Value]) -> str:
        """All that have no place of their own, as they are appended, a space before each."""
        said = (self.fragment(name, params[name]) for name in params if name not in self.placed)
        return "".join(f" {words}" for words in said if words)

    def fragment(self, name: str, value: Value) -> str:
        """One parameter as it is appended: ``--lr=0.1``; nothing where ``args`` leaves it out."""
        pieces = self.appended
        if self.cases and (value.value is None or isinstance(value.value, bool)):
            pieces = self._pieces_for.get(_CASES[value.value], pieces)
        return "".join(
            piece.text
            if piece.place is None
            else quote(name, "after")
            if piece.place == "name"
            else quote(text(value), piece.bare)
            for piece in pieces
        )


def template(spec: Spec) -> Template:
    """The command of a sweep file, ready to render. Raises SpecError where a place stands in quotes or the like."""
    problems: list[Problem] = []
    line = spec.lines.get("command")
    command = scan(spec.command, literal=("run", "sweep"))
    args = scan(spec.args, literal=())
    cases = {case: scan(text, literal=()) for case, text in spec.args_for.items()}
    appended = {"args.default" if "args.default" in spec.lines else "args": args}
    appended |= {f"args.{case}": scanned for case, scanned in cases.items()}
    for key, scanned in (("command", command), *appended.items()):
        where = spec.lines.get(key)
        problems += [Problem(fault.message, where, key=key, remedy=fault.remedy) for fault in scanned.faults]
    for key, scanned in appended.items():
        for piece in scanned.pieces:
            if piece.place not in (None, "name", "value"):
                message = f"{{{piece.place}}} is neither {{name}} nor {{value}}"
                problems.append(Problem(message, spec.lines.get(key), key=key, remedy='Like "--{name}={value}".'))
    pieces = command.pieces
    names = any(product.names for product in (*spec.grid, *spec.repeat, *spec.include))
    automatic = names and all(piece.place in (None, "run", "run_dir", "sweep") for piece in pieces)
    if automatic:
        if command.open_end:
            remedy = "Put {args} where the parameters belong."
            problems.append(
                Problem(f"{command.open_end}, so nothing can be appended", line, key="command", remedy=remedy)
            )
        pieces = (*pieces, Piece(place="args"))
    if problems:
        raise SpecError(spec.shown, problems)
    found = tuple((case, spec.args_for[case], scanned.pieces) for case, scanned in sorted(cases.items()))
    return Template(spec.command, spec.args, pieces, args.pieces, automatic, line or 1, found)


def dry_run(
    points: Points,
    template: Template,
    *,
    sweep: str,
    run_dir: Callable[[int, dict[str, Value]], str] | None = None,
) -> Iterator[str]:
    """All commands in order, one a line, ready for a shell; runs are numbered from 1.

    ``run_dir`` gives the folder of a run from its number and parameters, where the command names it.
    """
    several = "\n" in template.command
    if "run_dir" in template.placed:
        for number, params in enumerate(points, 1):
            folder = run_dir(number, params) if run_dir else f"runs/{sweep}/{folder_name(number, texts(params))}"
            yield _line(template.render(params, run=number, run_dir=folder, sweep=sweep), several)
        return
    for line in _combine(points, template, sweep):
        yield _line(line, several)


def _line(command: str, several: bool) -> str:
    return f"bash -c {shell_text(command)}" if several else command


def _combine(points: Points, template: Template, sweep: str) -> Iterator[str]:
    """The same as ``render``, with the text of every option made once."""
    base = [_sweep_text(sweep, piece) if piece.place == "sweep" else piece.text for piece in template.pieces]
    explicit = [
        index for index, piece in enumerate(template.pieces) if piece.place == "args" and not template.automatic
    ]
    numbered = [index for index, piece in enumerate(template.pieces) if piece.place == "run"]
    for number, options in enumerate(chain.from_iterable(points.combinations(template.slots)), 1):
        filled = base.copy()
        for slot in numbered:
            filled[slot] = str(number)
        for option in options:
            for slot, words in option:
                filled[slot] += words
        for slot in explicit:
            filled[slot] = filled[slot][1:]
        yield "".join(filled)


def _sweep_text(sweep: str, piece: Piece) -> str:
    return sweep if _SAFE.fullmatch(sweep) else quote(sweep, piece.bare)
