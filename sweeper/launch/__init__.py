"""A launch, step by step: read and check everything, then write what is wanted, then wake or start the scheduler."""

from sweeper.launch.carrying import Launched, carry_out, catch_up, environment, hear_of_begun, new_wish
from sweeper.launch.leaving import Gone
from sweeper.launch.place import PUT_ASIDE, check_at_rest, launching, works
from sweeper.launch.planning import Options, Plan, command_lines, plan
from sweeper.launch.preview import preview
from sweeper.launch.reaching import PATIENCE, SilentError, alive, reach, reached, set_going, start, wake, woken
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
