"""What came of the faults, as text."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable

from tests.faults.bench import Figures

MANY = 200  # random faults after which a point that was never hit is worth a line


def watching(began: float) -> Callable[[Figures], None]:
    def watch(figures: Figures) -> None:
        print(
            f"\r{sum(figures.faults.values())} faults, {figures.sweeps} sweeps, {figures.runs} runs, "
            f"{len(figures.violations)} violations, {time.monotonic() - began:.0f} s ",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    return watch


def told(figures: Figures, expected: Iterable[str], seconds: float) -> str:
    """The table; ``expected`` are the points of which it is said where nobody died at them."""
    lines = [f"{count:6}  {name}" for name, count in figures.faults.most_common()]
    all_faults, missed = sum(figures.faults.values()), sum(figures.missed.values())
    lines.append(f"{all_faults:6}  faults in all ({missed} more found nothing to break)")
    lines.append(f"{figures.sweeps:6}  sweeps, launched again until done")
    lines.append(f"{figures.runs:6}  runs, begun {figures.begun} times")
    lines += [f"{count:6}  launches refused: {text}" for text, count in figures.refused.most_common()]
    hits = figures.points
    lines.append(f"{len(hits):6}  points at which a process died: " + _listed(f"{hits[name]} {name}" for name in hits))
    never = [name for name in expected if name not in hits]
    if never:
        lines.append(f"{len(never):6}  points never hit: " + _listed(never))
    slow = sorted(figures.seconds.items(), key=lambda pair: -pair[1])
    lines += [f"{took:6.1f}  s {name}" for name, took in slow]
    lines.append(f"{len(figures.violations):6}  violations in {seconds:.0f} s")
    lines += figures.violations
    seed = re.match(r"s(\d+): ", figures.violations[0]) if figures.violations else None
    if seed is not None:
        lines.append(f"again: python -m tests.faults --faults 1 --seed {seed.group(1)}")
    return "\n".join(lines)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
