"""What ``canary`` and ``max_failures`` go by: it stands in the queue, so that any scheduler decides as its predecessor.

A launch begins the count anew, and so does going on with what was stopped or paused. A mark is a run's part in it:
a canary went first, and what failed before the count began is forgiven. Whatever a person queues again loses its mark.
"""

from __future__ import annotations

from typing import NamedTuple

from sweeper import model
from sweeper.store.db import Store

BROKEN = (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY)
TRUSTED, TOLD = "canaries back", "failure told"  # flags: the sweep goes at full width; people know that a run failed
_BROKEN = ", ".join(f"'{state}'" for state in BROKEN)
_FAILED = f"wanted AND state IN ({_BROKEN}) AND number NOT IN (SELECT number FROM marks WHERE mark = 'forgiven')"


class Canary(NamedTuple):
    number: int
    state: str
    note: str


def begin(store: Store) -> None:
    """Begin the count anew. Canaries that are in flight stay canaries."""
    flying = f"SELECT number FROM runs WHERE state IN ('{model.WAITING}', '{model.RUNNING}')"
    store.connection.execute(f"DELETE FROM marks WHERE mark <> 'canary' OR number NOT IN ({flying})")
    store.connection.execute(f"INSERT INTO marks SELECT number, 'forgiven' FROM runs WHERE state IN ({_BROKEN})")
    store.connection.execute("DELETE FROM meta WHERE key IN (?, ?)", (TRUSTED, TOLD))


def failures(store: Store) -> int:
    """How many runs have failed for good since the count began."""
    return int(store.connection.execute(f"SELECT COUNT(*) FROM runs WHERE {_FAILED}").fetchone()[0])


def first_failure(store: Store) -> int | None:
    """The number of the one that failed first, if any has failed."""
    order = "ORDER BY COALESCE(ended, started), number LIMIT 1"
    row = store.connection.execute(f"SELECT number FROM runs WHERE {_FAILED} {order}").fetchone()
    return None if row is None else int(row[0])


def last_failure(store: Store) -> tuple[int, str]:
    """The number of the one that failed last, and why."""
    order = "ORDER BY COALESCE(ended, started) DESC, number DESC LIMIT 1"
    number, note = store.connection.execute(f"SELECT number, note FROM runs WHERE {_FAILED} {order}").fetchone()
    return int(number), str(note)


def any_done(store: Store) -> bool:
    """Whether a run has ended well, at whatever time."""
    row = store.connection.execute("SELECT 1 FROM runs WHERE wanted AND state = ? LIMIT 1", (model.DONE,)).fetchone()
    return row is not None


def canaries(store: Store) -> list[Canary]:
    """The runs that went first, but for those that were stopped: they tell nothing, and others go in their place."""
    rows = store.connection.execute(
        "SELECT number, state, note FROM runs JOIN marks USING (number) "
        "WHERE mark = 'canary' AND wanted AND state <> ? ORDER BY number",
        (model.STOPPED,),
    )
    return [Canary(int(row[0]), str(row[1]), str(row[2])) for row in rows]


def mark_canary(store: Store, number: int) -> None:
    store.connection.execute("INSERT OR REPLACE INTO marks VALUES (?, 'canary')", (number,))
