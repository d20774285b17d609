"""``sweep report``: the report rendered, and put where it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sweeper import index, obstacle
from sweeper.cli.printing import plain, width
from sweeper.errors import InputError, SweepError


def report(
    names: Sequence[str],
    runs_dir: str | None,
    *,
    maximize: str | None,
    minimize: str | None,
    last: bool,
    columns: Sequence[str],
    where: str,
    sort: Sequence[str],
    top: int | None,
    format: str,
    output: str | None,
    show: bool,
) -> int:
    from sweeper import results
    from sweeper.gather import sweep_data

    sweeps = [index.find(name, runs_dir) for name in names] or [index.find(None, runs_dir)]
    reports = [results.collect(sweep_data(sweep), maximize=maximize, minimize=minimize, last=last) for sweep in sweeps]
    if format == "html":
        made = results.render(reports, "html", where=where)
        output = output or str(sweeps[0].path / "report.html")
    else:
        color = output is None and sys.stdout.isatty()
        made = results.render(
            reports, format, columns=columns, where=where, sort=sort, top=top, width=width(), color=color
        )
    if output is None:
        if isinstance(made, bytes):
            if sys.stdout.isatty():
                raise InputError(f"--format {format} is not for a terminal: give --output FILE")
            sys.stdout.buffer.write(made)
        else:
            # A program is given the values as they are, a terminal nothing that it would obey.
            sys.stdout.write(plain(made) if format != "table" and sys.stdout.isatty() else made)
        return 0
    file = Path(output)
    if not file.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {file.parent}")
    try:
        file.write_bytes(made if isinstance(made, bytes) else made.encode("utf-8"))
    except OSError as error:
        raise SweepError(f"the report cannot be written: {obstacle.explain(error, file)}") from error
    print(f"written: {file}", file=sys.stderr)
    if show:
        import webbrowser

        if not webbrowser.open(file.resolve().as_uri()):
            print("no browser could be opened here; copy the file to your own machine", file=sys.stderr)
    return 0
