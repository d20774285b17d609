"""What a person does to a sweep that stands: see its status, stop, pause, resume, retry, remove it."""

from sweeper.control.going import pause, remove, resumable, resume, retry
from sweeper.control.seeing import FLIGHT, GOING, UNWELL, Status, open_sweep, status
from sweeper.control.stopping import Stopped, stop

__all__ = [
    "FLIGHT",
    "GOING",
    "UNWELL",
    "Status",
    "Stopped",
    "open_sweep",
    "pause",
    "remove",
    "resumable",
    "resume",
    "retry",
    "status",
    "stop",
]
