"""The report as CSV, JSON, Markdown, LaTeX and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from sweeper.results.causes import printable
from sweeper.results.collecting import Report
from sweeper.results.data import Run
from sweeper.results.rows import as_text, column_names, flat_rows, plain
from sweeper.results.selecting import Choice, chosen_runs, resolve
from sweeper.results.sheet import Sheet, configuration_sheet, run_sheet


def _flat(reports: Sequence[Report], choice: Choice) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and the rows of all reports, by number of the run, or in the order that was asked for."""
    names = column_names(reports)
    order = names.order
    if choice.columns:
        order = [resolve_any(reports, word) for word in choice.columns]
    rows = [row for report in reports for row in flat_rows(report, names, flat_runs(report, choice))]
    return order, rows


def flat_runs(report: Report, choice: Choice) -> list[Run]:
    runs = chosen_runs(report, choice)
    return runs if choice.ordered else sorted(runs, key=lambda run: run.number)


def resolve_any(reports: Sequence[Report], word: str) -> str:
    known = column_names(reports).order
    return word if word in known else resolve(reports[0], word, "--columns")


def to_csv(reports: Sequence[Report], choice: Choice) -> str:
    """Comma-separated values (RFC 4180, but lines end in a newline alone), one header line; null is an empty field."""
    order, rows = _flat(reports, choice)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(order)
    writer.writerows([as_text(row[name]) for name in order] for row in rows)
    return out.getvalue()


def to_json(reports: Sequence[Report], choice: Choice) -> str:
    """A JSON array (RFC 8259) of flat objects; NaN and infinities are null, lists and mappings stay what they are."""
    order, rows = _flat(reports, choice)
    lines = [json.dumps({name: plain(row[name]) for name in order}, ensure_ascii=False) for row in rows]
    return "[\n  " + ",\n  ".join(lines) + "\n]\n" if lines else "[]\n"


def paper_sheet(report: Report, choice: Choice) -> Sheet:
    return (configuration_sheet if report.repeat else run_sheet)(report, choice, paper=True)


def to_markdown(report: Report, choice: Choice) -> str:
    """A pipe table (GitHub's dialect) of the runs that count, best first or as sorted, the best value bold."""
    sheet = paper_sheet(report, choice)
    header = "| " + " | ".join(_markdown(column.title) for column in sheet.columns) + " |"
    rule = "| " + " | ".join("---:" if column.right else ":---" for column in sheet.columns) + " |"
    lines = [header, rule]
    for row in range(len(sheet.states)):
        texts = []
        for column in sheet.columns:
            text = _markdown(str(column.cells[row]))
            texts.append(f"**{text}**" if row in sheet.best and column.counts and text else text)
        lines.append("| " + " | ".join(texts) + " |")
    note = _left_out(sheet)
    return "\n".join(lines) + "\n" + (f"\n<!-- {note} -->\n" if note else "")


def _left_out(sheet: Sheet) -> str:
    return f"{sheet.left_out} left out: not ranked, or without a value" if sheet.left_out else ""


def _markdown(text: str) -> str:
    text = " ".join(printable(text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$!])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "-": "-",
}


def to_latex(report: Report, choice: Choice) -> str:
    """A ``table`` with booktabs rules, the best value bold; wants ``\\usepackage{booktabs}`` and nothing else."""
    sheet = paper_sheet(report, choice)
    spec = "".join("r" if column.right else "l" for column in sheet.columns)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_caption(report)}}}",
        f"  \\label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', report.sweep.name)}}}",
        f"  \\begin{{tabular}}{{{spec}}}",
        r"    \toprule",
        "    " + " & ".join(_latex(column.title) for column in sheet.columns) + r" \\",
        r"    \midrule",
    ]
    for row in range(len(sheet.states)):
        texts = []
        for column in sheet.columns:
            cell = column.cells[row]
            bold = row in sheet.best and column.counts
            texts.append(_latex_cell(cell.text, cell.spread, bold))
        lines.append("    " + " & ".join(texts) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    note = _left_out(sheet)
    return "\n".join(lines) + "\n" + (f"% {note}\n" if note else "")


def _caption(report: Report) -> str:
    if report.target is None:
        return _latex(f"Results of {report.sweep.name}.")
    which = "last value" if report.last else "best value over training"
    text = f"Results of {report.sweep.name}: {report.target.name}, {which}"
    if report.repeat:
        text += f", mean and standard deviation over {', '.join(report.repeat)}"
    return _latex(text + ".")


def _latex_cell(text: str, spread: str, bold: bool) -> str:
    number = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:e([+-]?\d+))?", text)
    if number is None:
        return rf"\textbf{{{_latex(text)}}}" if bold and text else _latex(text)
    body = number[1] + (rf" \times 10^{{{int(number[2])}}}" if number[2] else "")
    if spread:
        other = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:e([+-]?\d+))?", spread)
        if other:
            body += r" \pm " + other[1] + (rf" \times 10^{{{int(other[2])}}}" if other[2] else "")
    return rf"$\mathbf{{{body}}}$" if bold else f"${body}$"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(printable(text).split()))
