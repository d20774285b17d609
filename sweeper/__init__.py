"""sweep: hyperparameter sweeps on shared GPU servers; one file, tmux windows, GPU locks, nothing lost.

``report`` and ``curves`` give what came out as pandas tables, for notebooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper import version

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from sweeper.results import Report

__version__ = version.VERSION
__all__ = ["__version__", "curves", "report"]


def report(
    *names: str,
    runs_dir: str | None = None,
    maximize: str | None = None,
    minimize: str | None = None,
    last: bool = False,
) -> pd.DataFrame:
    """One row per run of these sweeps (without a name: of the one used last).

    Parameters and last metric values stand under their own names, ``NAME_best`` beside them, and what is ours begins
    with ``run_``. Raises errors.InputError for a sweep that there is not.
    """
    from sweeper import results

    return results.frame(_reports(names, runs_dir, maximize=maximize, minimize=minimize, last=last))


def curves(name: str | None = None, *metrics: str, runs_dir: str | None = None) -> pd.DataFrame:
    """The learning curves of a sweep in long form: one row per point. Raises errors.InputError."""
    from sweeper import results

    return results.curves(_reports(() if name is None else (name,), runs_dir), *metrics)


def _reports(names: tuple[str, ...], runs_dir: str | None, **how: Any) -> list[Report]:
    from sweeper import index, results
    from sweeper.gather import sweep_data

    sweeps = [index.find(name, runs_dir) for name in names] or [index.find(None, runs_dir)]
    return [results.collect(sweep_data(sweep), **how) for sweep in sweeps]
