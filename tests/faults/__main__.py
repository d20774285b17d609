"""``python -m tests.faults --faults 500 --seed 1``: break sweeps, print a table, exit 1 where an invariant broke."""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests import nvml_standin
from tests.faults import durable


def prepared() -> Path:
    """Start this program again with what must be there from the beginning; gives the stand-in of NVIDIA's library."""
    libraries = os.environ.get("SWEEP_TEST_LIBRARIES")
    if libraries is None:
        libraries = tempfile.mkdtemp(prefix="sweep-faults-lib-")
        nvml_standin.build(Path(libraries))
        os.environ.update(
            SWEEP_TEST_LIBRARIES=libraries,
            LD_PRELOAD=str(durable.build(Path(libraries))),
            SWEEP_TEST_CRASH=os.path.join(tempfile.mkdtemp(prefix="sweep-armed-"), "link"),  # looked for only once
        )
        os.execv(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[1:]])
    library = Path(libraries) / nvml_standin.SONAME
    ctypes.CDLL(str(library))  # loaded under its own name: the next dlopen of that name finds this one
    return library


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="how many faults, at least")
    parser.add_argument("--seed", type=int, default=1, help="the number of the first sweep; its faults follow from it")
    parser.add_argument("--each", type=int, default=12, help="faults in one sweep, about")
    arguments = parser.parse_args()
    library = prepared()
    from tests.faults.harness import Figures, break_things

    began = time.monotonic()

    def watch(figures: Figures) -> None:
        print(
            f"\r{sum(figures.faults.values())} faults, {figures.sweeps} sweeps, {figures.runs} runs, "
            f"{len(figures.violations)} violations, {time.monotonic() - began:.0f} s ",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    figures = break_things(arguments.faults, arguments.seed, library, each=arguments.each, watch=watch)
    for folder in (library.parent, Path(os.environ["SWEEP_TEST_CRASH"]).parent):
        shutil.rmtree(folder)
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
