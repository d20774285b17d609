"""Tables: a line of column names, then lines of as many cells (fastai, Ultralytics, scikit-learn, CSV, Markdown)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sweeper.metrics import recipe
from sweeper.metrics.names import normalise
from sweeper.metrics.vocabulary import EPOCHS, NEVER, SETTING, STEP, STEPS, STRONG, WEAK, kind, words

_RULE = re.compile(r"^[\s|+=\-_:*~\u2500-\u257f]*$")
_RULE_BYTES = re.compile(rb"^[\s|+=\-_:*~]*$")
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?|[-+]?(?i:nan|inf)")
_OVER = re.compile(r"(\d+)/(\d+)")
_EMPTY = re.compile(r"(?i:none|null|-+|n/a|)")
_AGGREGATES = frozenset(["all", "total", "overall", "average", "avg", "mean"])
_WIDEST = 40
_ROWS_WITH_NAMES = 30  # rows that have a label are metrics of their own; beyond so many it is a listing


@dataclass(eq=False)
class Table:
    """The column names in force, and how cells are told apart (``|``, ``,``, a tab, or blanks)."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    cut: str
    rows: int = 0

    @property
    def restates(self) -> bool:
        """scikit-learn's classification_report repeats what was printed, in two digits."""
        return "support" in self.names

    def row(self, text: str) -> tuple[float | None, str, dict[str, tuple[float, str]]] | None:
        """(step, its name, {metric: (value, what its name says)}) of a row; None if this is none: the table is over."""
        cells = _cells(_without_bars(text), self.cut)
        if not self.cut and len(cells) > len(self.names) and len(wide := _cells(text, "  ")) == len(self.names):
            cells = wide  # labels of several words
        label = ""
        if self.restates and len(cells) in (len(self.names) + 1, len(self.names) + 2, len(self.names) - 1, 3):
            return self._report(cells)
        if len(cells) < len(self.names):
            return None
        if len(cells) > len(self.names) and "%|" not in text:
            return None
        step: float | None = None
        step_name = "index"
        values: dict[str, tuple[float, str]] = {}
        numbers = 0
        for name, what, cell in zip(self.names, self.kinds, cells[: len(self.names)], strict=True):
            over = _OVER.fullmatch(cell)
            plain = _NUMBER.fullmatch(cell)
            if what == STEP and (over or plain):
                numbers += 1
                place = _float(over.group(1) if over else cell)
                if step is None and place is not None and math.isfinite(place):
                    step = place
                    step_name = "epoch" if words(name)[-1] in EPOCHS else "step"
            elif plain:
                numbers += 1
                value = _float(cell)
                if value is not None and (
                    what in (STRONG, SETTING) or (what == WEAK and not cell.lstrip("+-").isdigit())
                ):
                    values[name] = (value, what)
            elif not _EMPTY.fullmatch(cell) and not cell[:1].isdigit() and not label and not numbers:
                label = cell
        if not numbers:
            return None
        self.rows += 1
        if label and normalise(label) not in _AGGREGATES:
            if self.rows > _ROWS_WITH_NAMES or step is not None:
                return step, step_name, {}
            values = {f"{normalise(label)}_{name}": value for name, value in values.items()}
        return step, step_name, values

    def _report(self, cells: list[str]) -> tuple[float | None, str, dict[str, tuple[float, str]]] | None:
        numbers = [cell for cell in cells if _NUMBER.fullmatch(cell)]
        label = "_".join(cell for cell in cells[: len(cells) - len(numbers)])
        if not numbers or (not label and len(numbers) < len(self.names)):
            return None
        name = normalise(label)
        if name == "accuracy":
            pairs = [("accuracy", _float(numbers[0]))]
        elif name in ("macro_avg", "weighted_avg", "micro_avg", "samples_avg"):
            # An accuracy row has fewer.
            pairs = [
                (f"{name}_{column}", _float(cell))
                for column, cell in zip(self.names, numbers, strict=False)
                if column != "support"
            ]
        else:
            pairs = []
        return None, "index", {full: (value, STRONG) for full, value in pairs if value is not None}

    def total(self, line: bytes) -> float | None:
        """Of how many steps, where a row says ``1/3``."""
        found = _OVER.search(line.decode("utf-8", "replace"))
        return _float(found.group(2)) if found else None


def header(text: str) -> Table | None:
    """The table that ``text`` opens, if it is a line of column names: each a word or two, and some known."""
    if len(text) > 600 or not text.strip() or (":" in text and not text.rstrip().endswith("|") and "%|" not in text):
        return None
    if "%|" in text:
        text = _without_bars(text[: text.rfind("%|") + 2].rpartition(":")[0])
    cut = "|" if "|" in text or "│" in text else "\t" if "\t" in text.strip() else "," if "," in text else ""
    cells = _cells(text, cut or "  ")
    if not cut and len(cells) < 2:
        cells = _cells(text, " ")
    if not 2 <= len(cells) <= _WIDEST or any(len(cell) > 30 or _NUMBER.fullmatch(cell) for cell in cells):
        return None
    if any(len(cell.split()) > 3 for cell in cells):
        return None
    names = tuple(_column(cell) for cell in cells)
    kinds = tuple(kind(name) if name else NEVER for name in names)
    strong = sum(what == STRONG for what in kinds)
    if not strong or (
        cut in ("", ",") and strong + sum(what == STEP for what in kinds) + sum(n in STEPS for n in names) < 2
    ):
        return None
    if not cut and len(_cells(text, "  ")) < 2 and not all(what in (STRONG, STEP, NEVER) for what in kinds):
        return None
    if cut == "," and any(" " in cell.strip() for cell in cells):
        return None
    return Table(names, kinds, cut)


def _without_bars(text: str) -> str:
    if "%|" not in text:
        return text
    from sweeper.metrics.noise import mask

    return mask(text)


def _column(cell: str) -> str:
    cell = cell.strip(" :()*#").replace("(", " ")
    name = normalise(cell.split()[-1] if cell.lower().startswith("box ") else cell)
    return {"p": "precision", "r": "recall"}.get(name, name)


def _cells(text: str, cut: str) -> list[str]:
    if cut == "|":
        cells = [cell.strip(" *`") for cell in re.split(r"[|│┃║]", text)]
        if cells and not cells[0]:
            cells = cells[1:]
        if cells and not cells[-1]:
            cells = cells[:-1]
        return cells
    if cut == "  ":
        return re.split(r"\s{2,}", text.strip())
    if cut in (",", "\t"):
        return [cell.strip() for cell in text.strip().split(cut)]
    return text.split()


def is_rule(text: str) -> bool:
    """Whether a line is a rule or empty: it parts a table's header from its rows."""
    return bool(_RULE.match(text))


def is_rule_bytes(line: bytes) -> bool:
    return bool(_RULE_BYTES.match(line))


def _float(cell: str) -> float | None:
    """The number in a cell, None where it only looks like one; a percentage as it stands."""
    return recipe.number(cell.rstrip("%").encode())
