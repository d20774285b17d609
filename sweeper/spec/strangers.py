"""What to write in place of a key that a sweep file does not have: the flags of the command line, W&B's keys."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.spec.nodes import Node, Scalar
from sweeper.spec.reader import nearest

_TYPED = {
    "parallel": "--parallel N",
    "serial": "--serial",
    "detach": "--detach",
    "fresh": "--fresh",
    "here": "--here",
    "dry_run": "--dry-run",
}
_OTHERS = {
    "method": "Leave it out: every point of the grid is run.",
    "parameters": "Write grid: {lr: [1e-3, 1e-2], hidden: 32}: values stand in a list, without `values:`.",
    "metric": "Write maximize: NAME or minimize: NAME.",
    "early_terminate": "Leave it out, or end the runs yourself: sweep stop NAME RUN.",
    "run_cap": "Leave it out, and make the grid smaller.",
    **dict.fromkeys(("project", "entity", "description"), "Leave it out; the sweep's own name is `name:`."),
    **dict.fromkeys(("seeds", "seed"), "Write repeat: {seed: [0, 1, 2]}."),
    **dict.fromkeys(
        ("jobs", "workers", "n_jobs", "concurrency", "max_parallel"), "It is typed: sweep FILE --parallel N"
    ),
}
_GRIDLIKE = ("parameters", "params", "hyperparameters", "search_space")


def remedy(key: str, node: Node, known: Iterable[str]) -> str:
    """The way out for the unknown ``key`` that has the value ``node``."""
    keys = tuple(known)
    if key in _OTHERS:
        return _OTHERS[key]
    if key in ("program", "script"):
        script = node.text if isinstance(node, Scalar) and isinstance(node.value, str) else "train.py"
        return f"Write command: python {script[:200]}"
    if key in _GRIDLIKE:
        return _OTHERS["parameters"]
    meant = nearest(key, (*keys, *_TYPED))
    if meant in _TYPED:
        value = node.text if meant == "parallel" and isinstance(node, Scalar) and isinstance(node.value, int) else "N"
        return f"It is typed, not written: sweep FILE {_TYPED[meant].replace('N', value)}"
    return f"Did you mean {meant}?" if meant else f"The keys are {', '.join(keys)}."


def may_be_grid(key: str) -> bool:
    """Whether the parameters may stand under this unknown key."""
    return key in _GRIDLIKE or key in ("seed", "seeds") or nearest(key, ("grid", "repeat", "include")) is not None
