"""What a launch would do to a sweep that stands: the very steps of one, on a copy of its queue in memory."""

from __future__ import annotations

import contextlib
import sqlite3

from sweeper import index, paths
from sweeper.errors import SweepError
from sweeper.launch.carrying import catch_up
from sweeper.launch.leaving import Gone, enter
from sweeper.launch.planning import Plan
from sweeper.launch.reaching import alive
from sweeper.store import Change, Store, Wish, copy


def preview(plan: Plan) -> tuple[Change, Gone] | None:
    """What would change; None where there is no such sweep, or its queue cannot be read now. Changes nothing.

    Raises InputError where a launch would be refused.
    """
    sweep = plan.sweep
    if not index.is_sweep(sweep.path) or not sweep.db.exists():
        return None
    try:
        with contextlib.closing(Store(sweep.db, runs=sweep.path, memory=copy.snapshot(sweep.db))) as store:
            return _entered(store, plan, sweep)
    except (sqlite3.Error, OSError):
        return None
    except SweepError as error:
        if error.exit_code == SweepError.exit_code:
            return None
        raise


def _entered(store: Store, plan: Plan, sweep: paths.SweepDir) -> tuple[Change, Gone]:
    if not alive(sweep):
        catch_up(store, sweep)
    return enter(store, plan, store.wish() or Wish(file=plan.spec.file))
