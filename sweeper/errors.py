"""The few exceptions that a person can meet; only the command line turns them into text and exit codes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


class SweepError(Exception):
    """Something that the user should read: what happened, where, what to do next.

    ``str(error)`` is the whole text, of one or several lines. ``exit_code`` is what the command line exits with.
    """

    exit_code = 1


class InputError(SweepError):
    """The user's input is wrong; nothing was started and nothing was changed."""

    exit_code = 2


class OverloadError(SweepError):
    """The machine has no process, memory or descriptor to spare for now; it says nothing else about what was asked."""


class BusyError(SweepError):
    """A GPU or a lock is held by somebody else and the user asked not to wait (``EX_TEMPFAIL`` of sysexits.h)."""

    exit_code = 75


@dataclass(frozen=True)
class Problem:
    """One mistake in a sweep file.

    ``line`` and ``column`` count from 1; ``key`` is the path of keys, like ``grid.lr``; ``remedy`` is the way out.
    """

    message: str
    line: int | None = None
    column: int | None = None
    key: str = ""
    remedy: str = ""


class SpecError(InputError):
    """A sweep file with mistakes in it, all of those that could be found at once."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        lines = []
        for problem in self.problems:
            where = self.file if problem.line is None else f"{self.file}:{problem.line}"
            key = f" {problem.key}:" if problem.key else ""
            remedy = f"\n    {problem.remedy}" if problem.remedy else ""
            lines.append(f"{where}:{key} {problem.message}{remedy}")
        return lines


class RequestError(InputError):
    """GPUs that are asked for and can never be had; ``problem`` names the key of the sweep file that asks too much.

    Whoever knows where it was written says so: in a file (SpecError), or on the command line (``typed``).
    """

    def __init__(self, key: str, message: str, remedy: str) -> None:
        self.problem = Problem(message, key=key, remedy=remedy)
        super().__init__(f"{key}: {message}\n    {remedy}")

    def typed(self) -> InputError:
        """The same in the words of the command line: ``--gpus 0`` for ``gpus: 0``."""
        problem = self.problem
        text = _KEYS.sub(lambda found: f"--{_flag(found[1])} ", f"{problem.message}\n    {problem.remedy}")
        return InputError(f"--{_flag(problem.key)}: {text}")


_KEYS = re.compile(r"\b(gpus_allowed|gpus|gpu_memory|per_gpu|keep_free): ")


def _flag(key: str) -> str:
    return key.replace("_", "-")
