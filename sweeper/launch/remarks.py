"""What a launch says of itself before it is done: what is allowed, may be meant, and is often a mistake."""

from __future__ import annotations

import contextlib
import os
import re
import shutil

from sweeper import folders, index, paths
from sweeper.grid import Points
from sweeper.spec import Spec

SHOWN = 10  # remarks on the file
# What is run first, where that is plain: variables, an interpreter and its flags, a file; no quotes, $, ~ or globs.
_SCRIPT = re.compile(
    r"\s*(?:[A-Za-z_]\w*=[\w@%+:,./-]*\s+)*"
    r"(?:(?:[\w./-]*/)?(?P<by>python[\d.]*|bash|sh)\s+(?:-[uBOEsIeux]+\s+)*(?P<script>[\w@%+:,./][\w@%+:,./-]*)"
    r"|(?P<itself>\.\.?/[\w@%+:,./-]+))(?=[\s;&|<>]|$)",
    re.ASCII,
)


def doubts(spec: Spec, points: Points) -> list[str]:
    """Remarks on what the file says and may not mean."""
    found = [(note.line, note.message) for note in spec.notes]
    found += [(rule.line, f"{rule.key} leaves out nothing: no point of the grid fits it") for rule in points.idle]
    shown = sorted(found, key=lambda pair: pair[0] or 0)
    more = [f"and {len(shown) - SHOWN} more remarks on the file"] if len(shown) > SHOWN else []
    return [f"{spec.shown}:{line}: {message}" for line, message in shown[:SHOWN]] + more


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


def missing_script(spec: Spec) -> list[str]:
    """A remark where the command plainly begins with a file, as ``python train.py``, that is not where it will run."""
    found = None if spec.before.strip() else _SCRIPT.match(spec.command)
    if found is None:
        return []  # what the shell makes of it is not to be guessed
    script = found["script"] or found["itself"]
    folder = str(spec.workdir or os.getcwd())
    if _is_there(os.path.join(folder, script)) or (found["by"] in ("bash", "sh") and shutil.which(script)):
        return []
    if os.path.isabs(script):
        return [f"{script} is not there, which the command runs"]
    line = spec.lines.get("workdir")
    why = "workdir: says otherwise" if line is None else f"{spec.shown}:{line}: workdir"
    return [f"{script} is not in {folder}, where the runs start ({why})"]


def _is_there(path: str) -> bool:
    """Whether it is, or may be: behind a closed folder, that cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True
