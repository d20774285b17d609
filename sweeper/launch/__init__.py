"""A launch, step by step: read and check everything, then write what is wanted, then wake or start the scheduler.

What reads and checks is imported when it is first asked for (PEP 562): most who come here want to know whether there is
a scheduler, or to wake it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.launch.carrying import Launched, carry_out, catch_up, environment, hear_of_begun, new_wish
    from sweeper.launch.leaving import Gone
    from sweeper.launch.place import PUT_ASIDE, check_at_rest, launching, works
    from sweeper.launch.planning import Options, Plan, command_lines, plan
    from sweeper.launch.previewing import preview
    from sweeper.launch.reaching import (
        PATIENCE,
        SilentError,
        alive,
        pidfd,
        reach,
        reached,
        set_going,
        start,
        wake,
        woken,
    )
    from sweeper.launch.tidying import end_removals, removal

__all__ = [
    "PATIENCE",
    "PUT_ASIDE",
    "Gone",
    "Launched",
    "Options",
    "Plan",
    "SilentError",
    "alive",
    "carry_out",
    "catch_up",
    "check_at_rest",
    "command_lines",
    "end_removals",
    "environment",
    "hear_of_begun",
    "launching",
    "new_wish",
    "pidfd",
    "plan",
    "preview",
    "reach",
    "reached",
    "removal",
    "set_going",
    "start",
    "wake",
    "woken",
    "works",
]

_WHERE = {
    "carrying": "Launched carry_out catch_up environment hear_of_begun new_wish",
    "leaving": "Gone",
    "place": "PUT_ASIDE check_at_rest launching works",
    "planning": "Options Plan command_lines plan",
    "previewing": "preview",
    "reaching": "PATIENCE SilentError alive pidfd reach reached set_going start wake woken",
    "tidying": "end_removals removal",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
