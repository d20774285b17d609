"""A sweep's runs and metrics made into a report: table, DataFrame, other programs' files, and the answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import InputError
from sweeper.results.collecting import Report, collect
from sweeper.results.data import Run, SweepData, from_folders
from sweeper.results.formats import flat_runs, to_csv, to_json, to_latex, to_markdown
from sweeper.results.selecting import Choice, narrowed
from sweeper.results.target import Target, did_you_mean
from sweeper.results.words import morning_line, summary

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FORMATS",
    "Choice",
    "Report",
    "Run",
    "SweepData",
    "Target",
    "collect",
    "curves",
    "flat_runs",
    "frame",
    "from_folders",
    "head",
    "morning_line",
    "render",
    "summary",
    "summary_lines",
]

FORMATS = ("table", "csv", "json", "markdown", "latex", "parquet", "html")


def render(
    reports: Report | Sequence[Report],
    format: str = "table",
    *,
    columns: Sequence[str] = (),
    where: str = "",
    sort: Sequence[str] = (),
    top: int | None = None,
    width: int = 100,
    color: bool = False,
) -> str | bytes:
    """One or several sweeps' reports in one of FORMATS; Parquet is bytes, everything else text that ends in a newline.

    ``columns`` and ``sort`` name columns (ours may lack their ``run_``); ``sort`` is ascending, and descending for
    ``-NAME``. ``where`` is a condition as ``DataFrame.query`` has it; ``top`` keeps so many rows (0: all; None: all,
    and on a terminal the first 40). The page (``html``) filters and sorts by itself: of these it takes ``where`` alone.
    Raises InputError for what is unknown or malformed.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format}: there is no such format{did_you_mean(format, FORMATS)}")
    if top is not None and top < 0:
        raise InputError(f"--top {top}: give a number of rows, or 0 for all")
    many = [reports] if isinstance(reports, Report) else list(reports)
    choice = Choice(where, tuple(sort), top or 0, tuple(columns))
    if format == "csv":
        return to_csv(many, choice)
    if format == "json":
        return to_json(many, choice)
    if format == "markdown":
        return "\n".join(to_markdown(one, choice) for one in many)
    if format == "latex":
        return "\n".join(to_latex(one, choice) for one in many)
    if format == "parquet":
        return _parquet(many, choice)
    if format == "html":
        return _page(many, choice)
    from sweeper.results.table import ROWS, draw

    rows = ROWS if top is None else 0
    return "\n".join(draw(one, choice, width=width, color=color, rows=rows) for one in many)


def _page(reports: Sequence[Report], choice: Choice) -> str:
    from sweeper.page import make_page
    from sweeper.results.payload import payload

    shown = [narrowed(one, choice.where) for one in reports]
    return make_page(payload(shown), title=", ".join(one.sweep.name for one in reports) + " · sweep report")


def _parquet(reports: Sequence[Report], choice: Choice) -> bytes:
    import pandas as pd

    from sweeper.results import frames
    from sweeper.results.formats import resolve_any

    numbers = [(one.sweep.name, run.number) for one in reports for run in flat_runs(one, choice)]
    table = frames.frame(reports)
    index = pd.MultiIndex.from_frame(table[["run_sweep", "run_number"]])
    table = table.set_axis(index).loc[numbers].reset_index(drop=True)
    if choice.columns:
        table = table[[resolve_any(reports, word) for word in choice.columns]]
    return frames.to_parquet(table, {"sweeps": ", ".join(one.sweep.name for one in reports)})


def head(report: Report, *, width: int = 100, color: bool = False) -> str:
    """The short form that is shown when a sweep ends: the answers and the best few runs, as text for a terminal."""
    from sweeper.results.table import draw_head

    return draw_head(report, width=width, color=color)


def summary_lines(report: Report) -> list[str]:
    """The answers as plain lines: the morning line first, what to type next last."""
    return [str(line) for line in summary(report)]


def frame(reports: Report | Sequence[Report]) -> pd.DataFrame:
    """One row per run, by number; columns and types as ``sweeper.results.rows`` documents them."""
    from sweeper.results import frames

    return frames.frame([reports] if isinstance(reports, Report) else list(reports))


def curves(reports: Report | Sequence[Report], *metrics: str) -> pd.DataFrame:
    """The learning curves of ``metrics`` in long form: one row per point, with the run's parameters beside it."""
    from sweeper.results import learning

    return learning.curves([reports] if isinstance(reports, Report) else list(reports), *metrics)


def open_folder(path: str | Path) -> SweepData:
    """A sweep from its folder alone. Raises InputError where there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; `sweep ls` lists your sweeps")
    return from_folders(folder)
