"""What a person does to a sweep that stands: see its status, stop, pause, resume, retry, remove it."""

from sweeper.control.going import left_alone, pause, remove, resumable, resume, retry
from sweeper.control.seeing import FLIGHT, GOING, UNWELL, Status, change, look, status
from sweeper.control.stopping import Stopped, its_runs, stop

__all__ = [
    "FLIGHT",
    "GOING",
    "UNWELL",
    "Status",
    "Stopped",
    "change",
    "its_runs",
    "left_alone",
    "look",
    "pause",
    "remove",
    "resumable",
    "resume",
    "retry",
    "status",
    "stop",
]
