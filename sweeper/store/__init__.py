"""The durable queue: what is wanted, and the state of every run that somebody has touched.

Points that nobody has touched have no row: they are known by the sweep files that were launched (the generations) and
by arithmetic. The run folders are the truth about what happened; this database indexes them and is rebuilt from them
where it is lost or damaged. Numbers are given once, in file order, and never reused.
"""

from sweeper.store.db import Generation, Store, Wish
from sweeper.store.enqueue import SOURCE, Change, enqueue, mark_wanted, source_of
from sweeper.store.opening import open_store, with_store
from sweeper.store.rebuild import reconcile
from sweeper.store.sound import why_not

__all__ = [
    "SOURCE",
    "Change",
    "Generation",
    "Store",
    "Wish",
    "enqueue",
    "mark_wanted",
    "open_store",
    "reconcile",
    "source_of",
    "why_not",
    "with_store",
]
