"""A sweep's queue, file and folders gathered for the report."""

from __future__ import annotations

import contextlib
from typing import Any

from sweeper import control, errors, grid, model, paths, spec
from sweeper.results import SweepData


def sweep_data(sweep: paths.SweepDir) -> SweepData:
    """A sweep as the report wants it."""
    with contextlib.closing(control.open_sweep(sweep)) as store:
        wish = store.wish()
        now = control.status(sweep, store, unwell=0)
        records = [record for record in store.records() if record.wanted or record.state == model.DONE]
    flight = {record.number: record for record in now.flight}
    records = [flight.get(record.number, record) for record in records]
    said: dict[str, Any] = {}
    if wish is not None:
        try:
            read = spec.read_spec(wish.file, text=sweep.file.read_text(encoding="utf-8"))
        except (errors.SpecError, OSError):
            read = None  # its runs can be reported all the same
        if read is not None:
            said = {
                "repeat": grid.expand(read).repeat,
                "maximize": read.maximize,
                "minimize": read.minimize,
                "patterns": read.metrics,
            }
    return SweepData(
        name=sweep.name,
        folder=sweep.path,
        records=records,
        counts=now.counts,
        parallel=now.parallel,
        file=wish.file if wish is not None else None,
        **said,
    )
