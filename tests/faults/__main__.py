"""``python -m tests.faults --faults 500 --seed 1``: break sweeps, print a table, exit 1 where an invariant broke."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="how many faults, at least")
    parser.add_argument("--seed", type=int, default=1, help="the number of the first sweep; its faults follow from it")
    parser.add_argument("--each", type=int, default=12, help="faults in one sweep, about")
    arguments = parser.parse_args()
    # Before the product is imported: it looks only once.
    os.environ["SWEEP_TEST_CRASH"] = os.path.join(tempfile.mkdtemp(prefix="sweep-armed-"), "link")
    from tests.faults.harness import Figures, break_things

    began = time.monotonic()

    def watch(figures: Figures) -> None:
        print(
            f"\r{sum(figures.faults.values())} faults, {figures.sweeps} sweeps, {figures.runs} runs, "
            f"{len(figures.violations)} violations, {time.monotonic() - began:.0f} s ",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    figures = break_things(arguments.faults, arguments.seed, each=arguments.each, watch=watch)
    print(file=sys.stderr)
    for name, count in figures.faults.most_common():
        print(f"{count:6}  {name}")
    print(
        f"{sum(figures.faults.values()):6}  faults in all ({sum(figures.missed.values())} more found nothing to break)"
    )
    print(f"{figures.sweeps:6}  sweeps, launched again until done")
    print(f"{figures.runs:6}  runs, begun {figures.begun} times: {figures.begun - figures.runs} repeated in flight")
    for text, count in figures.refused.most_common():
        print(f"{count:6}  launches refused: {text}")
    print(f"{len(figures.violations):6}  violations")
    for text in figures.violations:
        print(text)
    if figures.violations:
        seed = figures.violations[0].split()[1].rstrip(":")
        print(f"again: python -m tests.faults --faults 1 --seed {seed}")
    return 1 if figures.violations else 0


sys.exit(main())
