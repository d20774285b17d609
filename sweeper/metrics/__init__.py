"""A run's log -> its metrics, with no code and no configuration; and a log as a terminal would show it."""

from sweeper.metrics.curve import Metrics, Series
from sweeper.metrics.folding import Folder, fold, last_lines
from sweeper.metrics.names import canonical, direction, likeliest, normalise
from sweeper.metrics.reader import Reader
from sweeper.metrics.store import parse, read, tail

__all__ = [
    "Folder",
    "Metrics",
    "Reader",
    "Series",
    "canonical",
    "direction",
    "fold",
    "last_lines",
    "likeliest",
    "normalise",
    "parse",
    "read",
    "tail",
]
