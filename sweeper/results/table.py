"""The report on a terminal: the summary and the table, never wider than the screen."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeper import model
from sweeper.results.collecting import Report
from sweeper.results.lines import BAD, GOOD, WARN, Line, clean
from sweeper.results.selecting import Choice
from sweeper.results.sheet import Cell, Column, Sheet, configuration_sheet, run_sheet
from sweeper.results.words import summary

ROWS = 40  # shown where nobody says --top: the answers above must not scroll away
HEAD_ROWS = 5
LONGEST_CELL = 28
TITLE = 16  # columns that a title may take where its cells are narrower
DROPPED = 5  # columns named that found no room
_PADDED = re.compile(r" *[\w.+-]+ *", re.ASCII)  # a number with blanks around it
_DECIMAL = re.compile(r"-?\d+(\.\d+)")
LABEL = 9  # columns for the first word of a line
BETWEEN = 3  # blanks between two columns
_TONES = {GOOD: "bold green", BAD: "bold red", WARN: "yellow"}
_STATES = {
    model.DONE: "green",
    model.RUNNING: "cyan",
    model.WAITING: "cyan",
    model.QUEUED: "dim",
    model.STOPPED: "yellow",
}


def draw(
    report: Report, choice: Choice, *, width: int = 100, color: bool = False, rows: int = ROWS, more: str = "--top 0"
) -> str:
    """The answers and the table as text for a terminal of ``width`` columns, with ANSI colours where ``color``.

    ``more`` is what to type to see the rows beyond ``rows``.
    """
    console = _console(width, color)
    lines = summary(report)
    before = [line for line in lines if line.about not in ("mattered", "failed", "next")]
    night, rest = before[0], before[1:]  # the first begins with the sweep's name, however long that is
    console.print(Text.assemble((f"{night.about}: ", _TONES.get(night.tone, "bold")), night.text), overflow="fold")
    _print_lines(console, rest)
    if report.runs:
        make = configuration_sheet if report.repeat else run_sheet
        _print_sheet(console, make(report, choice, limit=rows), width, more)
    _print_lines(console, lines[len(before) :])
    return _text(console)


def draw_head(report: Report, *, width: int = 100, color: bool = False) -> str:
    """The short form for the end of a sweep: the summary, and the best few."""
    more = f"sweep report {clean(shlex.quote(report.sweep.name))}" + (" --top 0" if len(report.runs) > ROWS else "")
    return draw(report, Choice(), width=width, color=color, rows=HEAD_ROWS, more=more)


def _console(width: int, color: bool) -> Console:
    return Console(
        file=io.StringIO(),
        width=max(20, width),
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _print_lines(console: Console, lines: Sequence[Line]) -> None:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, min_width=LABEL)
    grid.add_column(overflow="fold")
    for line in lines:
        label, text = Text(f"{line.about}:", style=_TONES.get(line.tone, "bold")), Text(line.text)
        if line.command:  # never broken over two lines where it fits on one: it is there to be copied
            room = console.width - LABEL - 1 - cell_len(line.text) - cell_len(line.command)
            text.append("  " if room > 2 else "\n")
            text.append(line.command, style="bold cyan")
        grid.add_row(label, text)
    console.print(grid)


def _print_sheet(console: Console, sheet: Sheet, width: int, more: str) -> None:
    if not sheet.states:
        console.print(Text("no run fits", style="yellow"))
        return
    kept, dropped = fit([_aligned(column) if column.aligned else column for column in sheet.columns], width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", padding=(0, 1))
    for column in kept:
        table.add_column(
            Text("\n".join(title_lines(column)), justify="right" if column.right else "left"),
            justify="right" if column.right and not column.aligned else "left",
            no_wrap=True,
            overflow="ellipsis",
            style="bold" if column.counts else None,
        )
    for row, state in enumerate(sheet.states):
        cells = []
        for column in kept:
            state_style = _STATES.get(state, "red") if column.title in ("state", "runs") else ""
            cells.append(Text(_cell(str(column.cells[row])), style=state_style))
        table.add_row(*cells)
    console.print()
    console.print(table)
    notes = []
    if sheet.left_out:
        notes.append(f"{sheet.left_out} more row{'s' * (sheet.left_out > 1)}: {more} shows all")
    if dropped:
        names = ", ".join(_cell(column.title) for column in dropped[:DROPPED])
        others = f" and {len(dropped) - DROPPED} more" if len(dropped) > DROPPED else ""
        notes.append(f"no room for {names}{others}: --columns chooses, --format csv has all")
    for note in notes:
        console.print(Text(note, style="dim"), overflow="fold")
    console.print()


def _aligned(column: Column) -> Column:
    """The column with blanks around its numbers (rich would take those at the end away from what it sets right)."""
    tails = [len(match[1]) if (match := _DECIMAL.fullmatch(cell.text)) else 0 for cell in column.cells]
    texts = [
        cell.text + " " * (max(tails) - tail) if tail or cell.text.isdigit() else cell.text
        for cell, tail in zip(column.cells, tails, strict=True)
    ]
    room = max(map(cell_len, [*title_lines(column), *texts]), default=0)
    return replace(column, cells=[Cell(text.rjust(room)) for text in texts])


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """The columns that fit into ``width``, in their order, and those that do not; the lowest ranks are kept."""
    kept: set[int] = set()
    used = 0
    for place in sorted(range(len(columns)), key=lambda place: (columns[place].rank, place)):
        need = _width(columns[place]) + BETWEEN
        if used + need - BETWEEN <= width or not kept:
            kept.add(place)
            used += need
    return (
        [column for place, column in enumerate(columns) if place in kept],
        [column for place, column in enumerate(columns) if place not in kept],
    )


def _width(column: Column) -> int:
    return max(map(cell_len, [*title_lines(column), *(_cell(str(cell)) for cell in column.cells)]))


def title_lines(column: Column) -> list[str]:
    """A column's title, a long one (``model.encoder.dropout``) on several lines so that the column stays narrow."""
    room = max(TITLE, *(cell_len(_cell(str(cell))) for cell in column.cells), 0)
    lines = [""]
    for part in re.split(r"(?<=[._/:-])(?=[^._/:-])", clean(column.title)):
        while cell_len(part) > room:
            lines.append(set_cell_size(part, room).rstrip())
            part = part[len(lines[-1]) :]
        if lines[-1] and cell_len(lines[-1]) + cell_len(part) > room:
            lines.append(part)
        else:
            lines[-1] += part
    return [line for line in lines if line] or [""]


def _cell(text: str) -> str:
    text = text if _PADDED.fullmatch(text) else clean(text)
    return text if cell_len(text) <= LONGEST_CELL else set_cell_size(text, LONGEST_CELL - 1) + "…"
