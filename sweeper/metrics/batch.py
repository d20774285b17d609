"""Some lines of a log: told apart by shape, so that the numbers of a shape can be read all at once."""

from __future__ import annotations

import re

from sweeper.metrics import bars, glance, recipe, tables
from sweeper.metrics.columns import Columns, Job
from sweeper.metrics.context import context_of
from sweeper.metrics.recipe import Recipe
from sweeper.metrics.state import State

_DRAFTED = 8  # once so many lines were redrawn, the last states of bars make the curve
_EPOCH = re.compile(rb"\b[Ee]poch\W{0,4}(\d+)")
_BLOCK = 12  # lines
_RECENT = 50  # lines that are remembered from one reading to the next
_LONG = 400  # bytes
_SHAPES = 2000  # of lines without a word for a metric, of which it is known whether they stand in such a block
# In a block of names and values may stand: a heading, a rule, a value that is no metric; but not what heads settings.
_BESIDE = re.compile(
    rb"(?i)(?!.*(?:config|param|setting|option|arg|environment|system|version))"
    rb"(?:[^:=]{1,60}:\s*$|[^:=]{1,60}[:=]\s*\S{1,20}\s?\S{0,20}\s*$|[-=_*~\s]+$)"
)
_DIGIT = re.compile(rb"[0-9]")
_NAN = re.compile(rb"(?<![A-Za-z])(?:[nN][aA][nN]|[iI][nN][fF])(?![A-Za-z])")


class Batch:
    """Some lines: told apart by shape, then read shape by shape."""

    def __init__(self, state: State, data: bytes, ended: bool) -> None:
        self.state = state
        self.lines = data.split(b"\n")
        if not self.lines[-1]:
            self.lines.pop()
        self.is_draft: set[int] = set()
        self.is_piece: set[int] = set()  # states of a redrawn line but the one that stands in the end
        if b"\r" in data:
            self._redraws(ended)
        self.columns = Columns(state, self.lines)
        self.standing = self.columns.standing
        self.rows: dict[tuple[str, tables.Table | None], dict[bytes, list[int]]] = {}
        self.draft_rows: dict[tuple[str, bytes], list[int]] = {}
        self.last_rule = 0
        self.skip: list[int] = []  # lines of shapes that say nothing

    def _redraws(self, ended: bool) -> None:
        """Of a redrawn line, each bar's last state is a line of its own, and a few of the earlier ones are drafts."""
        out: list[bytes] = []
        for line in self.lines:
            if b"\r" not in line:
                out.append(line)
                continue
            states = bars.states(line, ended, self.state.redrawn < _DRAFTED)
            self.state.redrawn += bool(states)
            for picture, role in states:
                if role == bars.DRAFT:
                    self.is_draft.add(len(out))
                elif role == bars.PIECE:
                    self.is_piece.add(len(out))
                out.append(picture)
        self.lines = out

    def run(self) -> None:
        state = self.state
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
        self._read()
        self.standing.end()
        state.shapes.passing.clear()
        state.lines += len(self.lines)
        state.recent = [line[:_LONG] for line in self._lines_before(len(self.lines), _RECENT)]

    def _bucket(self) -> dict[bytes, list[int]]:
        return self.rows.setdefault(self.state.context, {})

    def _read(self) -> None:
        """Read all lines that were put aside by their shapes."""
        jobs = []
        for (split, _), shapes in self.rows.items():
            for shape, places in shapes.items():
                if places and places is not self.skip:
                    made = self.state.shapes.of(shape, self.lines[places[0]])
                    if made.fields:
                        jobs.append(Job(made, places[:], split, self.state.company.get(shape, False)))
                    places.clear()
        drafts = []
        for (split, shape), places in self.draft_rows.items():
            made = self.state.shapes.of(shape, self.lines[places[0]])
            if made.fields:
                drafts.append(Job(made, places, split))
        self.draft_rows = {}
        self.columns.read(jobs, drafts)

    def _special(self, place: int, line: bytes, shape: bytes, known: dict[bytes, list[int]]) -> bool:
        """A line of a shape that is new in this context, or that changes the context; True if it changed."""
        state = self.state
        if len(shape) == len(line) or (not _DIGIT.search(line) and not _NAN.search(line)):
            if not line.strip():
                known[shape] = self.skip
                return False
            if not _DIGIT.search(line) and not _NAN.search(line):
                if place in self.is_piece or place in self.is_draft:
                    return False
                before = state.context
                state.heading(line, lambda: self._epoch_before(place))
                if tables.is_rule_bytes(line):
                    self.last_rule = place
                return before != state.context
        new = shape not in state.shapes.kept
        if new and state.table is None and not state.ambient.dump_depth and place not in self.is_draft:
            state.tried += 1
            if not glance.may_matter(line, state.barren, state.crowded):
                return False
        made = state.shapes.of(shape, line)
        state.fruitful += new and made.steady
        undecided = shape not in state.company and len(state.company) < _SHAPES
        if undecided and made.fields and not made.steady and not made.dump:
            state.company[shape] = self._in_company(place)
        if state.ambient.in_dump(line, made.dump):
            return False
        if state.table is not None:
            return self._in_table(place, line, shape, made)
        return self._plain(place, line, shape, made, known)

    def _lines_before(self, place: int, most: int) -> list[bytes]:
        lines = self.lines[max(0, place - most) : place]
        return (self.state.recent + lines)[-most:] if len(lines) < most else lines

    def _in_company(self, place: int) -> bool:
        """Whether a line stands in a block of names and values whose head is surely about training."""
        gaps = 0
        for line in reversed(self._lines_before(place, _BLOCK)):
            shape = line.translate(None, recipe.SHAPELESS)
            made = self.state.shapes.of(shape, line) if len(line) < _LONG else recipe.DUMP
            if made.dump or made.steady:
                return not made.dump
            if made.fields and self.state.company.get(shape):
                return True
            gaps += not line.strip()
            if gaps > 1 or not (made.fields or not line.strip() or _BESIDE.match(line)):
                return False
        return False

    def _plain(self, place: int, line: bytes, shape: bytes, made: Recipe, known: dict[bytes, list[int]]) -> bool:
        ambient = self.state.ambient
        if b"%|" in line and place not in self.is_draft and (table := tables.header(line.decode("utf-8", "replace"))):
            self.state.table = table
            return True
        if made.fields and not made.dump:
            if place in self.is_draft:
                self._draft(place, shape)
                return False
            if made.epoch and ambient.lapses:
                if (epoch := self._epoch_of(made, line)) is not None and ambient.lapse(epoch):
                    self._bucket().setdefault(shape, []).append(place)
                    return True
                known[shape] = [place]
                self._read()
                del known[shape]
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
                self.state.table = table
                return True
            if split := context_of(line.decode("utf-8", "replace")):
                ambient.heading(split, self._epoch_before(place))
            if before != ambient.split:
                return True
        if made is recipe.NOTHING:
            known[shape] = self.skip
        return False

    @staticmethod
    def _epoch_of(made: Recipe, line: bytes) -> float | None:
        rows = made.numbers([line])
        columns, _ = recipe.columns(rows or [])
        return columns[made.epoch - 1][0] if columns else None

    def _epoch_before(self, place: int) -> float | None:
        """The epoch that the last lines before ``place`` name."""
        for line in reversed(self._lines_before(place, _RECENT)):
            if found := _EPOCH.search(line):
                return float(found.group(1))
        return None

    def _mark(self, place: int, line: bytes, made: Recipe) -> None:
        """A line that only says where we are: it holds for the lines after it."""
        rows = made.numbers([line])
        if rows is None:
            made = recipe.build(line)
            rows = made.numbers([line]) if made.marks else None
        columns, _ = recipe.columns(rows or [])
        if not columns:
            return
        ambient = self.state.ambient
        self.standing.noting(made, place)
        self.standing.mark(ambient.mark(made, columns, self.last_rule if made.back else place))
        if place not in self.is_draft:
            ambient.heading(context_of(line.decode("utf-8", "replace")), ambient.epoch, marker=True)

    def _in_table(self, place: int, line: bytes, shape: bytes, made: Recipe) -> bool:
        table = self.state.table
        assert table is not None
        if place in self.is_draft:
            return False
        row = table.row(line.decode("utf-8", "replace"))
        if row is None and place in self.is_piece:
            return self._plain(place, line, shape, made, self._bucket())
        if row is None:
            self.state.table = None
            known = self._bucket()
            if (rows := known.get(shape)) is not None:
                rows.append(place)
            else:
                self._plain(place, line, shape, made, known)
            return True
        step, step_name, values = row
        ambient = self.state.ambient
        if step is None:
            holds = self.standing.holding([place])[0]
            step, step_name = (holds.value, holds.name) if holds.name else (None, "index")
        else:
            ambient.reached(step, step_name, table.total(line))
        for metric, (value, kind) in values.items():
            if not (table.restates and self._restated(metric, value)):
                self.columns.add((ambient.split, "", metric), place, step, step_name, value, kind)
        return False

    def _restated(self, metric: str, value: float) -> bool:
        """Whether ``value`` is only the last value of that metric, rounded."""
        self._read()
        curves = self.state.curves
        keys = {(self.state.ambient.split, "", metric), ("", "", metric)}
        return any(round(curves[key].last, 2) == value for key in keys if key in curves)

    def _draft(self, place: int, shape: bytes) -> None:
        self.draft_rows.setdefault((self.state.ambient.split, shape), []).append(place)
