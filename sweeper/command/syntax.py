"""Whether bash can read a command at all, asked of bash itself, which carries out nothing of it."""

from __future__ import annotations

import os
import re
import subprocess

SECONDS = 5.0
_CHANGES = re.compile(r"\b(?:shopt|alias)\b")  # what only carrying it out tells: it changes how the rest is read


def complaint(text: str) -> str:
    """What bash finds wrong with ``text``, '' where nothing is or it cannot be asked."""
    if _CHANGES.search(text):
        return ""
    environment = {**os.environ, "LC_ALL": "C"}
    environment.pop("BASH_ENV", None)  # which it would carry out first
    try:
        done = subprocess.run(
            ["bash", "--norc", "-n"],
            input=text.encode("utf-8", "surrogateescape"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").splitlines() or ["it says nothing"]
    return re.sub(r"^bash: (?:-c: )?(?:line \d+: )?", "", said[0])[:200]
