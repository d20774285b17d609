"""The bytes of a log, as they come -> metrics: whole shapes of lines at a time, in memory that does not grow."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweeper.metrics import folding, recipe, tables
from sweeper.metrics.context import Ambient, Point, context_of
from sweeper.metrics.curve import Curve, Metrics
from sweeper.metrics.recipe import Recipe
from sweeper.metrics.summary import ALONE, OWN, Found, Key, as_series, named, restates
from sweeper.metrics.vocabulary import KNOWN_WORDS, STRONG

BATCH = 1 << 20  # bytes that are taken apart at a time
BLOCK = 1 << 14  # bytes that are skipped at a time where they hold no digit
_PENDING = 1 << 20  # bytes of a line that has not ended
_DIGIT = re.compile(rb"[0-9]")
_DIGITS = [b"%d" % digit for digit in range(10)]
_NAMES_OF_NUMBERS = (b"nan", b"NaN", b"NAN", b"inf", b"Inf", b"INF ")
_NAN = re.compile(rb"(?<![A-Za-z])(?:[nN][aA][nN]|[iI][nN][fF])(?![A-Za-z])")
_EPOCH = re.compile(rb"\b[Ee]poch\W{0,4}(\d+)")
_BAR = re.compile(rb"%\||% \[\d|\d+/\d+ (?:\[|\xe2\x94)|\d+it \[|\xe2\x94\x81|\xe2\x94\x80")
_DECIMALS = re.compile(rb"\d+\.\d*(?:[eE][-+]?\d+)?")
_PATIENCE = 3000  # new shapes of line, after which a log without metrics is read with less care
_NAMED = re.compile(
    rb"(?:[^\s\d]|[A-Za-z_@]\d{1,4})[\"')\]}]*\s*(?:[:=]|\xef\xbc\x9a|\xef\xbc\x9d|->|is)>?\s*[\"'\[(]*(?:[a-zA-Z_.]+\d*\()?[-+]?\.?(?:\d|nan|inf)",
    re.I,
)
_SIGNS = re.compile(rb"%\||[|%{\xe3-\xed]|\xe2\x94|^\s*\[?\d+[\]:]")
_BEFORE = re.compile(rb"([A-Za-z\x80-\xff]+)[0-9]*[\s\"')\]}:=|>-]{0,6}(?:is )?[-+]?\.?\d")
_LETTERS = bytes(code if (chr(code).isalpha() and code < 128) or code >= 128 else 32 for code in range(256))
_ENDINGS = (b"loss", b"acc", b"accuracy", b"error", b"err", b"reward", b"score", b"rate")
_DRAFTED = 8  # once so many lines were redrawn, the last states of bars make the curve
_DRAFTS = 200  # redraws of one bar that count towards the curve of a training that is one bar from end to end


class Reader:
    """Feed it a log's bytes; ``metrics()`` may be asked at any time. A line counts once its newline is there."""

    def __init__(self, patterns: Mapping[str, re.Pattern[bytes]] | None = None) -> None:
        self.patterns = dict(patterns or {})
        self.curves: dict[Key, Curve] = {}
        self.traits: dict[Key, dict[str, Any]] = {}
        self.drafts: dict[Key, Curve] = {}
        self.ambient = Ambient()
        self.lines_read = 0
        self.tried = self.fruitful = 0  # lines that were new, and those of them with a metric
        self.redrawn = 0  # lines with redraws so far
        self.pending = b""
        self.lost = False  # within a line so long that its middle was let go
        self.offset = 0  # bytes of the log that are dealt with for good
        self._table: tables.Table | None = None
        self._recent: list[bytes] = []

    @property
    def barren(self) -> bool:
        """Whether the log is mostly text with numbers in it: then unknown words before numbers name no metric."""
        return self.tried > _PATIENCE and self.fruitful * 20 < self.tried

    # -- bytes to lines

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), BATCH):
            self._feed(data[start : start + BATCH] if len(data) > BATCH else data)

    def _feed(self, data: bytes) -> None:
        cut = data.rfind(b"\n")
        if cut < 0:
            self._hold(data)
            return
        head, rest = data[: cut + 1], data[cut + 1 :]
        if self.lost:
            self.offset += len(self.pending)
            self.pending, self.lost = b"", False
            skip = head.find(b"\n") + 1
            self.offset += skip
            head = head[skip:]
        else:
            head, self.pending = self.pending + head, b""
        if head:
            self._take(head)
            self.offset += len(head)
        if rest:
            self._hold(rest)

    def _hold(self, data: bytes) -> None:
        """Keep what is no whole line yet; of a line without end only its redraws are of use."""
        self.pending += data
        if len(self.pending) <= _PENDING:
            return
        cut = self.pending.rfind(b"\r", 0, len(self.pending) - 1)
        if cut > 0 and not self.lost:
            done, self.pending = self.pending[:cut], self.pending[cut:]
            self._take(done + b"\n", ended=False)
            self.offset += len(done)
        else:
            self.offset += len(self.pending)
            self.pending, self.lost = b"", True

    # -- lines to numbers

    def _take(self, data: bytes, *, ended: bool = True) -> None:
        for name, pattern in self.patterns.items():
            self._own(name, pattern, data)
        if self._skip(data, 0) == len(data):
            self._remember(data[-1000:])
            return
        if b"\x1b" in data or b"\x00" in data:
            data = folding.strip_escapes(data)
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
        place, size = 0, len(data)
        while place < size:
            start = self._skip(data, place)
            if start > place:
                self._remember(data[max(place, start - 1000) : start])
            if start >= size:
                break
            stop = data.find(b"\n", start + BATCH // 4)
            stop = size if stop < 0 else stop + 1
            Batch(self, data[start:stop], ended).run()
            place = stop

    def _skip(self, data: bytes, place: int) -> int:
        """The start of the first line from ``place`` on that may hold a number; ``len(data)`` where none does."""
        start = len(data)
        for digit in _DIGITS:  # ten searches by memchr are much quicker than one for a set
            if (other := data.find(digit, place, start)) >= 0:
                start = other
        for word in _NAMES_OF_NUMBERS:
            if (other := data.find(word, place, start)) >= 0:
                start = other
        if start == len(data):
            return start
        return data.rfind(b"\n", place, start) + 1 or place

    def _remember(self, skipped: bytes) -> None:
        """Of lines without numbers, the last few: they may be headings."""
        for line in skipped.split(b"\n")[-6:]:
            if line.strip():
                self.heading(line.rstrip(b"\r").rpartition(b"\r")[2])

    def heading(self, line: bytes, epoch: Callable[[], float | None] | None = None) -> None:
        """A line without numbers: it may open a table, or announce a part of the data."""
        if len(line) < 400:
            text = line.decode("utf-8", "replace")
            self._table = tables.header(text) or (self._table if tables.is_rule(text) else None)
            if split := context_of(text):
                before = epoch() if epoch else None
                self.ambient.heading(split, self.ambient.epoch if before is None else before)

    def _own(self, name: str, pattern: re.Pattern[bytes], data: bytes) -> None:
        values = []
        for match in pattern.finditer(data):
            text = match.group(pattern.groups and 1)
            try:
                values.append(recipe.number(text.strip().rstrip(b"%")))
            except (ValueError, AttributeError):
                continue
        if values:
            self.curves.setdefault((OWN, "", name), Curve()).extend([self.lines_read] * len(values), None, values)

    # -- what is known

    def found(self, *, ended: bool = False) -> tuple[dict[str, Found], Ambient]:
        """The metrics so far and where the training stands, with what the line now being redrawn shows.

        ``ended``: nothing more will come, so the last line counts without its newline.
        """
        reader = self._with_pending(ended)
        ambient = reader.ambient
        found = named(reader.curves, reader.drafts, reader.traits, self.patterns, epochs=ambient.epoch is not None)
        return found, ambient

    def metrics(self, params: Mapping[str, Any] | None = None, *, ended: bool = False) -> Metrics:
        found, ambient = self.found(ended=ended)
        series = {name: as_series(name, curve, steps) for name, (curve, steps) in found.items()}
        kept = {name: one for name, one in series.items() if not restates(one, params or {})}
        return Metrics(kept, ambient.epoch, ambient.epochs_total, ambient.step, ambient.steps_total)

    def to_json(self) -> dict[str, Any]:
        """All that the reader knows, for ``from_json`` to go on from ``offset``."""
        return {
            "curves": [[*key, curve.to_json()] for key, curve in self.curves.items()],
            "drafts": [[*key, curve.to_json()] for key, curve in self.drafts.items()],
            "traits": [[*key, trait] for key, trait in self.traits.items()],
            "ambient": self.ambient.to_json(),
            "table": self._table and [self._table.names, self._table.kinds, self._table.cut, self._table.rows],
            "lines": self.lines_read,
            "redrawn": self.redrawn,
            "offset": self.offset,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], patterns: Mapping[str, re.Pattern[bytes]] | None = None) -> Reader:
        """The reader that wrote ``data``; raises KeyError, TypeError or ValueError where it is damaged."""
        reader = cls(patterns)
        reader.curves = {(a, b, c): Curve.from_json(curve) for a, b, c, curve in data["curves"]}
        reader.drafts = {(a, b, c): Curve.from_json(curve) for a, b, c, curve in data["drafts"]}
        reader.traits = {(a, b, c): trait for a, b, c, trait in data["traits"]}
        reader.ambient = Ambient.from_json(data["ambient"])
        if data["table"]:
            names, kinds, cut, rows = data["table"]
            reader._table = tables.Table(tuple(names), tuple(kinds), cut, rows)
        reader.lines_read = data["lines"]
        reader.redrawn = data["redrawn"]
        reader.offset = data["offset"]
        return reader

    def _with_pending(self, ended: bool) -> Reader:
        """This reader, or a copy that has also read what the line now being redrawn shows."""
        pieces = [piece for piece in self.pending.split(b"\r") if piece.strip()]
        if self.lost or not pieces or not (ended or b"\r" in self.pending):
            return self
        if not ended and len(pieces) > 1 and not self.pending.endswith(b"\r"):
            pieces.pop()  # it may be half of itself
        twin = Reader(self.patterns)
        twin.curves = {key: curve.copy() for key, curve in self.curves.items()}
        twin.drafts = {key: curve.copy() for key, curve in self.drafts.items()}
        twin.traits = {key: dict(trait) for key, trait in self.traits.items()}
        twin.ambient = self.ambient.copy()
        twin.lines_read, twin.redrawn, twin._table = self.lines_read, self.redrawn, self._table
        twin._take(b"\r".join(pieces) + b"\n")
        return twin


class Batch:
    """Some lines: told apart by shape, then read shape by shape."""

    def __init__(self, reader: Reader, data: bytes, ended: bool) -> None:
        self.reader = reader
        self.lines = data.split(b"\n")
        if not self.lines[-1]:
            self.lines.pop()
        self.is_draft: set[int] = set()
        self.is_piece: set[int] = set()  # states of a redrawn line but the one that stands in the end
        if b"\r" in data:
            self._redraws(ended)
        self.rows: dict[tuple[Any, ...], dict[bytes, list[int]]] = {}
        self.draft_rows: dict[tuple[str, bytes], list[int]] = {}
        self.base = reader.lines_read
        self.steps: list[Point] = []  # from which line on which step holds
        self.found: dict[Key, list[tuple[list[int], list[float] | None, list[float], str]]] = {}
        self.found_drafts: dict[Key, list[tuple[list[int], list[float] | None, list[float], str]]] = {}
        self.last_rule = 0
        self.skip: list[int] = []  # lines of shapes that say nothing
        self.noted = -1  # the line that last said where we are

    def _redraws(self, ended: bool) -> None:
        """Of a redrawn line, each bar's last state is a line of its own, and a few of the earlier ones are drafts."""
        reader = self.reader
        out: list[bytes] = []
        for line in self.lines:
            if b"\r" not in line:
                out.append(line)
                continue
            pieces = [piece for piece in line.split(b"\r") if piece and not piece.isspace()]
            if not pieces:
                continue
            finals = _finals(pieces)
            if not ended and finals[-1] == len(pieces) - 1 and _bar(pieces[-1]) is not None:
                finals.pop()
            reader.redrawn += 1
            if len(finals) < len(pieces) and reader.redrawn <= _DRAFTED:
                last = set(finals)
                drafts = [place for place in range(len(pieces)) if place not in last]
                kept = set(drafts[:: max(1, -(-len(drafts) // _DRAFTS))])
                shown = sorted(last | kept)
            else:
                kept, shown = set(), finals
            for place in shown:
                if place in kept:
                    self.is_draft.add(len(out))
                elif place + 1 < len(pieces):
                    self.is_piece.add(len(out))
                out.append(pieces[place])
        self.lines = out

    def run(self) -> None:
        reader = self.reader
        ambient = reader.ambient
        known = self._bucket()
        strip = recipe.SHAPELESS
        drafts = self.is_draft
        for place, line in enumerate(self.lines):
            shape = line.translate(None, strip)
            rows = known.get(shape)
            if rows is None:
                if self._special(place, line, shape, known):
                    known = self._bucket()
            elif drafts and place in drafts:
                self._draft(place, shape)
            else:
                rows.append(place)
        self._read_all()
        self.steps.sort(key=_place)
        if self.steps:
            ambient.start = self.steps[-1]._replace(place=-1)
        reader.lines_read += len(self.lines)

    def _bucket(self) -> dict[bytes, list[int]]:
        context = (self.reader.ambient.split, self.reader._table)
        return self.rows.setdefault(context, {})

    def _special(self, place: int, line: bytes, shape: bytes, known: dict[bytes, list[int]]) -> bool:
        """A line of a shape that is new in this context, or that changes the context; True if it changed."""
        reader = self.reader
        if len(shape) == len(line) or (not _DIGIT.search(line) and not _NAN.search(line)):
            if not line.strip():
                known[shape] = self.skip
                return False
            if not _DIGIT.search(line) and not _NAN.search(line):
                if place in self.is_piece or place in self.is_draft:
                    return False
                before = (reader.ambient.split, reader._table)
                reader.heading(line, lambda: self._epoch_before(place))
                if tables.is_rule_bytes(line):
                    self.last_rule = place
                return before != (reader.ambient.split, reader._table)
        if reader._table is None and not reader.ambient.dump_depth and place not in self.is_draft:
            if not _may_matter(line, reader.barren):
                reader.tried += 1
                return False
            reader.tried += 1
        made = recipe.of(shape, line)
        reader.fruitful += bool(made.fields)
        if reader.ambient.in_dump(line, made.dump):
            return False
        if reader._table is not None:
            return self._in_table(place, line, shape, made)
        return self._plain(place, line, shape, made, known)

    def _plain(self, place: int, line: bytes, shape: bytes, made: Recipe, known: dict[bytes, list[int]]) -> bool:
        ambient = self.reader.ambient
        if b"%|" in line and place not in self.is_draft and (table := tables.header(line.decode("utf-8", "replace"))):
            self.reader._table = table
            return True
        if made.fields and not made.dump:
            if place in self.is_draft:
                self._draft(place, shape)
                return False
            if made.epoch and ambient.lapses:
                if (epoch := self._epoch_of(made, line)) is not None and ambient.lapse(epoch):
                    self._bucket().setdefault(shape, []).append(place)
                    return True
                self._read_rows(made, [place], ambient.split)
                return False
            known[shape] = [place]
            return False
        if made.marks:
            before = ambient.split
            self._mark(place, line, made)
            return before != ambient.split
        if len(line) < 200 and not made.dump:
            before = ambient.split
            table = tables.header(line.decode("utf-8", "replace"))
            if table is not None:
                self.reader._table = table
                return True
            if split := context_of(line.decode("utf-8", "replace")):
                ambient.heading(split, self._epoch_before(place))
            if before != ambient.split:
                return True
        if made is recipe.NOTHING and len(known) < recipe.FORGET:
            known[shape] = self.skip
        return False

    @staticmethod
    def _epoch_of(made: Recipe, line: bytes) -> float | None:
        rows = made.numbers([line])
        return recipe.number(rows[0][made.epoch - 1]) if rows else None

    def _epoch_before(self, place: int) -> float | None:
        """The epoch that the last lines before ``place`` name."""
        for line in reversed(self.lines[max(0, place - 50) : place]):
            if found := _EPOCH.search(line):
                return float(found.group(1))
        return None

    def _mark(self, place: int, line: bytes, made: Recipe) -> None:
        """A line that only says where we are: it holds for the lines after it."""
        rows = made.numbers([line])
        if rows is None:
            made = recipe.build(line)
            rows = made.numbers([line]) if made.marks else None
        if rows is None:
            return
        ambient = self.reader.ambient
        self.noted = place
        self.steps.append(ambient.mark(made, rows[0], self.last_rule if made.back else place))
        if place not in self.is_draft:
            ambient.heading(context_of(line.decode("utf-8", "replace")), ambient.epoch, marker=True)

    def _in_table(self, place: int, line: bytes, shape: bytes, made: Recipe) -> bool:
        table = self.reader._table
        assert table is not None
        if place in self.is_draft:
            return False
        row = table.row(line.decode("utf-8", "replace"))
        if row is None and place in self.is_piece:
            return self._plain(place, line, shape, made, self._bucket())
        if row is None:
            self.reader._table = None
            known = self._bucket()
            if (rows := known.get(shape)) is not None:
                rows.append(place)
            else:
                self._plain(place, line, shape, made, known)
            return True
        step, step_name, values = row
        ambient = self.reader.ambient
        if step is None:
            holds = self._holding([place])[0]
            steps, name = ([holds.value], holds.name) if holds.name else (None, "index")
        else:
            steps, name = [step], step_name
            ambient.reached(step, step_name, table.total(line))
        for metric, (value, kind) in values.items():
            if table.restates and self._restated(metric, value):
                continue
            key = (ambient.split, "", metric)
            self.found.setdefault(key, []).append(([place], steps, [value], name))
            self._trait(key, kind, True)
        return False

    def _restated(self, metric: str, value: float) -> bool:
        """Whether ``value`` is only the last value of that metric, rounded."""
        self._settle()
        curves = self.reader.curves
        keys = {(self.reader.ambient.split, "", metric), ("", "", metric)}
        return any(round(curves[key].last, 2) == value for key in keys if key in curves)

    def _settle(self) -> None:
        self._read_all()
        self._pour(self.found, self.reader.curves)

    def _draft(self, place: int, shape: bytes) -> None:
        self.draft_rows.setdefault((self.reader.ambient.split, shape), []).append(place)

    # -- numbers to curves

    def _read_all(self) -> None:
        for (split, shape), places in self.draft_rows.items():
            made = recipe.of(shape, self.lines[places[0]])
            if made.fields:
                self._read_rows(made, places, split, drafts=True)
        self.draft_rows.clear()
        jobs: list[tuple[int, Recipe, list[int], str]] = []
        for (split, _), shapes in self.rows.items():
            for shape, places in shapes.items():
                if places and places is not self.skip:
                    made = recipe.of(shape, self.lines[places[0]])
                    # Lines that say where we are come first: those that do not say it stand where the last one did.
                    turn = 2 if not made.marks else 1 if made.inner and not made.epoch else 0
                    if made.fields:
                        jobs.append((turn, made, places[:], split))
                    places.clear()
        for turn in sorted({job[0] for job in jobs}):
            needed = sorted(place for other, _, places, _ in jobs if other > turn for place in places)
            before = len(self.steps)
            for _, made, places, split in [job for job in jobs if job[0] == turn]:
                self._read_rows(made, places, split, needed=needed)
            if len(self.steps) > before:
                self.steps.sort(key=_place)
        self._pour(self.found, self.reader.curves)
        self._pour(self.found_drafts, self.reader.drafts)

    def _pour(
        self,
        found: dict[Key, list[tuple[list[int], list[float] | None, list[float], str]]],
        curves: dict[Key, Curve],
    ) -> None:
        """Append what was found to the curves, in the order of the log."""
        base = self.base
        order = sorted(found, key=lambda key: found[key][0][0][0])
        for key in order:
            parts = found[key]
            curve = curves.get(key)
            if curve is None:
                curve = curves[key] = Curve()
            if len(parts) > 1:
                stepped = all(part[1] is not None for part in parts)
                merged = sorted(
                    (place, steps[at] if steps is not None and stepped else 0.0, values[at])
                    for places, steps, values, _ in parts
                    for at, place in enumerate(places)
                )
                places = [item[0] for item in merged]
                steps = [item[1] for item in merged] if stepped else None
                values = [item[2] for item in merged]
            else:
                places, steps, values, _ = parts[0]
            trait = self.reader.traits.setdefault(key, {})
            if steps is not None:
                trait["step"] = parts[-1][3]
            curve.extend([base + place for place in places], steps, values)
        found.clear()

    def _read_rows(
        self, made: Recipe, places: list[int], split: str, *, drafts: bool = False, needed: Sequence[int] = ()
    ) -> None:
        """All lines of one shape at once."""
        rows = made.numbers([self.lines[place] for place in places])
        if rows is None:
            self._one_by_one(made, places, split, drafts, needed)
            return
        columns = list(zip(*rows, strict=True))
        steps, name = self._steps(made, columns, places)
        if made.marks and not drafts:
            self._tell(made, columns, places, steps, name, needed)
        found = self.found_drafts if drafts else self.found
        for field in made.fields:
            values = _floats(columns[field.group - 1])
            if field.total:
                totals = _floats(columns[field.total - 1])
                values = [value / total if total else math.nan for value, total in zip(values, totals, strict=True)]
            part = made.split or field.soft or split
            if field.kind != STRONG and not made.steady:
                part = ALONE
            key = (part, field.label, field.name)
            found.setdefault(key, []).append((places[:], steps, values, name))
            if not drafts:
                self._trait(key, field.kind, made.steady)

    def _one_by_one(self, made: Recipe, places: list[int], split: str, drafts: bool, needed: Sequence[int]) -> None:
        """Lines that share a shape with others but not their build."""
        for place in places:
            line = self.lines[place]
            own = made if made.numbers([line]) else recipe.build(line)
            if own.fields and own.numbers([line]):
                self._read_rows(own, [place], split, drafts=drafts, needed=needed)

    def _trait(self, key: Key, kind: str, steady: bool) -> None:
        trait = self.reader.traits.get(key)
        if trait is None:
            self.reader.traits[key] = {"kind": kind, "steady": steady}
        elif "kind" not in trait:
            trait.update(kind=kind, steady=steady)
        elif steady:
            trait["steady"] = True

    def _steps(self, made: Recipe, columns: list[Any], places: list[int]) -> tuple[list[float] | None, str]:
        """Where in the training the lines at ``places`` stand: by their own word, else by that of a line before them."""
        ambient = self.reader.ambient
        if made.marks and not (made.inner and not made.epoch):
            self._note(made, columns, places[-1])
            return ambient.values(made, columns, ())
        holds = self._holding(places)
        if made.marks:
            self._note(made, columns, places[-1])
            return ambient.values(made, columns, [point.epoch for point in holds])
        if not holds[0].name:
            return None, "index"
        return [point.value for point in holds], holds[0].name

    def _tell(
        self,
        made: Recipe,
        columns: list[Any],
        places: list[int],
        steps: list[float] | None,
        name: str,
        needed: Sequence[int],
    ) -> None:
        """Let the lines at ``needed``, and those of the next batch, know where the training stands."""
        if len(needed) * 4 < len(places):
            which = sorted({bisect.bisect_left(places, place) - 1 for place in needed} | {len(places) - 1})
            which = [at for at in which if at >= 0]
        else:
            which = list(range(len(places)))
        epochs: list[float | None]
        if made.epoch:
            epochs = [recipe.number(columns[made.epoch - 1][at]) for at in which]
        elif made.inner:
            epochs = [point.epoch for point in self._holding([places[at] for at in which])]
        else:
            epochs = [None] * len(which)
        for at, epoch in zip(which, epochs, strict=True):
            if steps is None:
                self.steps.append(Point(places[at], epoch or 0.0, "" if epoch is None else "epoch", epoch))
            else:
                self.steps.append(Point(places[at], steps[at], name, epoch))

    def _note(self, made: Recipe, columns: list[Any], place: int) -> None:
        """Where the last of these lines says we are, unless a later line has said it."""
        if place >= self.noted:
            self.noted = place
            self.reader.ambient.note(made, [columns[group - 1][-1] if group else None for group in made.marks_at])

    def _holding(self, places: list[int]) -> list[Point]:
        """For each line the last mark before it."""
        point = self.reader.ambient.start
        if not self.steps:
            return [point] * len(places)
        holds = []
        at = 0
        for place in places:
            while at < len(self.steps) and self.steps[at].place <= place:
                point = self.steps[at]
                at += 1
            holds.append(point)
        return holds


def _may_matter(line: bytes, barren: bool) -> bool:
    """Whether a line may name a metric, a step or a part of the data; quick, and wrong only in saying yes."""
    if barren:
        words = [word.lower() for word in _BEFORE.findall(line)]
    elif _NAMED.search(line) or _SIGNS.search(line):
        return True
    else:
        words = line.lower().translate(_LETTERS).split()
    return not KNOWN_WORDS.isdisjoint(words) or any(word.endswith(_ENDINGS) for word in words)


def _bar(piece: bytes) -> bytes | None:
    """What tells a bar's states from another bar's: what stands before it, but for the bar's own numbers."""
    found = _BAR.search(piece)
    return _DECIMALS.sub(b"", piece[: found.start()]).rstrip(b" 0123456789") if found else None


def _finals(pieces: list[bytes]) -> list[int]:
    """Which states of a redrawn line are the last of their bar; what is no bar was meant to be read as it is."""
    finals = []
    before: bytes | None = b""
    fast_before: bytes | None = None
    for place, piece in enumerate(pieces):
        at = piece.find(b"%|")
        fast = piece[:at].rstrip(b" 0123456789") if at >= 0 else None
        if fast is not None and fast == fast_before:
            continue
        fast_before = fast
        bar = _bar(piece)
        if place and (before is None or (bar is not None and bar != before)):
            finals.append(place - 1)
        before = bar
    return [*finals, len(pieces) - 1]


def _place(point: Point) -> int:
    return point.place


def _floats(texts: Any) -> list[float]:
    try:
        return list(map(float, texts))
    except ValueError:
        return [recipe.number(text) for text in texts]
