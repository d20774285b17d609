"""Learning curves: the long form for Python, and thinned ones for the page."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
# pandas-stubs wants a newer Python than the oldest we support, and for that one mypy takes pandas for Any
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import metrics, paths
from sweeper.errors import InputError
from sweeper.results.collecting import Report
from sweeper.results.data import Run
from sweeper.results.target import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Points = Sequence[tuple[float, float]]


def read_curves(report: Report, run: Run) -> Mapping[str, metrics.Series]:
    """Every metric's curve of one run; none where its folder is gone."""
    if run.record.folder is None:
        return {}
    run_dir = paths.RunDir(Path(run.record.folder))
    try:
        series = metrics.read(run_dir, params=run.record.params, patterns=report.sweep.patterns).series
    except OSError:  # deleted or forbidden meanwhile: the other runs are shown
        return {}
    return {run.renamed.get(name, name): one for name, one in series.items()}


def curves(reports: Sequence[Report], *names: str) -> pd.DataFrame:
    """The long form: one row per point of each run's curve of the metrics ``names`` (all of them where none is given).

    Columns: ``run_sweep``, ``run_number``, the parameters, ``metric``, ``step`` and ``value`` (a parameter of such a
    name is ``param.NAME``). Raises InputError for a metric that no run has.
    """
    import pandas as pd

    from sweeper.results.rows import as_text

    known = list(dict.fromkeys(name for report in reports for name in report.metric_names))
    for name in names:
        if name not in known:
            raise InputError(f"{name}: no run has such a metric{did_you_mean(name, known)}")
    own = ("run_sweep", "run_number", "metric", "step", "value")
    params = list(dict.fromkeys(name for report in reports for name in report.params))
    columns = {name: f"param.{name}" if name in own else name for name in params}
    rows = [
        {
            "run_sweep": report.sweep.name,
            "run_number": run.number,
            **{columns[key]: as_text(v) if isinstance(v, (list, dict)) else v for key, v in run.record.params.items()},
            "metric": name,
            "step": float(step),
            "value": float(value),
        }
        for report, run, name, points in _points(reports, names)
        for step, value in points
    ]
    order = ["run_sweep", "run_number", *columns.values(), "metric", "step", "value"]
    table = pd.DataFrame(rows, columns=order)
    return table.astype({"step": "float64", "value": "float64"})


def _points(reports: Sequence[Report], names: Sequence[str]) -> Iterator[tuple[Report, Run, str, Points]]:
    for report in reports:
        for run in report.runs:
            series = read_curves(report, run)
            for name in names or series:
                if name in series:
                    yield report, run, name, series[name].points


def thin(points: Points, most: int) -> Points:
    """At most ``most`` points of a curve, first, last, and of each stretch its lowest and highest, so that no spike
    is lost (min-max decimation)."""
    if len(points) <= most or most < 4:
        return points if len(points) <= most else [points[0], points[-1]]
    inner = points[1:-1]
    buckets = (most - 2) // 2
    kept = [points[0]]
    for place in range(buckets):
        part = inner[len(inner) * place // buckets : len(inner) * (place + 1) // buckets]
        if part:
            low = min(part, key=lambda point: point[1])
            high = max(part, key=lambda point: point[1])
            kept += sorted({low, high})
    return [*kept, points[-1]]
