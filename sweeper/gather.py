"""A sweep's queue, file and folders gathered for the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from sweeper import control, errors, folders, grid, model, paths, spec
from sweeper.results import SweepData, from_folders
from sweeper.store import Store, Wish


def sweep_data(sweep: paths.SweepDir) -> SweepData:
    """A sweep as the report wants it: from its queue, or from its folders alone where that is another host's, another
    user's, or cannot be opened. Raises OSError."""
    try:
        wish, now, records = control.look(sweep, lambda store: _asked(sweep, store))
    except errors.SweepError:
        return _from_folders(sweep)
    flight = {record.number: record for record in now.flight}
    file = wish.file if wish is not None else None
    read = _read(sweep, file)
    return SweepData(
        name=sweep.name,
        folder=sweep.path,
        records=[flight.get(record.number, record) for record in records],
        counts=now.counts,
        parallel=now.parallel,
        file=file,
        **_said(read),
    )


def _asked(sweep: paths.SweepDir, store: Store) -> tuple[Wish | None, control.Status, list[model.RunRecord]]:
    records = [record for record in store.records() if record.wanted or record.state == model.DONE]
    return store.wish(), control.status(sweep, store, unwell=0), records


def _from_folders(sweep: paths.SweepDir) -> SweepData:
    owner = folders.read_json(sweep.owner) or {}
    file = str(owner.get("file") or sweep.file)
    read = _read(sweep, file)
    data = from_folders(sweep.path, file=file, **_said(read))
    untouched = 0 if read is None else len(read[1]) - len(data.records)
    return replace(data, counts=Counter(data.counts) + Counter({model.QUEUED: max(0, untouched)}))


def _read(sweep: paths.SweepDir, file: str | None) -> tuple[spec.Spec, grid.Points] | None:
    """The sweep file as last launched; None where it cannot be read: its runs can be reported all the same."""
    try:
        read = spec.read_spec(file or str(sweep.file), text=sweep.file.read_text(encoding="utf-8"))
        return read, grid.expand(read)
    except (errors.SpecError, OSError, UnicodeDecodeError):
        return None


def _said(read: tuple[spec.Spec, grid.Points] | None) -> dict[str, Any]:
    """What the report takes from the sweep file."""
    if read is None:
        return {}
    said, points = read
    return {
        "repeat": points.repeat,
        "maximize": said.maximize,
        "minimize": said.minimize,
        "patterns": said.metrics,
    }
