"""What a launch says of itself before it is done: what is allowed, may be meant, and is often a mistake."""

from __future__ import annotations

import contextlib
import os

from sweeper import folders, index, paths
from sweeper.spec import Spec


def second_place(sweep: paths.SweepDir, spec: Spec) -> list[str]:
    """A remark where this very file is about to become a sweep in another runs folder than before: the runs folder and
    the folder in which commands run both depend on where one types."""
    if index.is_sweep(sweep.path):
        return []  # it was told of when that one began
    other = index.elsewhere(sweep, spec.file)
    if other is None:
        return []
    told = (
        f"this file was launched from {_typed_in(other)} before, and lies in {other.path}; this is a second sweep of it"
    )
    if spec.workdir is None:
        told += f", and its commands run in the folder where you are now, {os.getcwd()} (workdir: says otherwise)"
    return [told]


def _typed_in(sweep: paths.SweepDir) -> str:
    """The folder in which it was launched last."""
    where = None
    with contextlib.suppress(OSError):
        numbers = [int(file.stem.rpartition("-")[2]) for file in sweep.path.glob("environment-*[0-9].json")]
        where = (folders.read_json(sweep.environment(max(numbers))) or {}).get("cwd") if numbers else None
    return where if isinstance(where, str) else str(sweep.path.parent.parent)
