"""``python -m tests.faults``: break sweeps, print a table, exit 1 where an invariant broke.

``--faults N --seed S`` at random; ``--points`` at every crash point, one after the other; ``--calls`` at the Nth system
call that changes anything, for one N after the other.
"""

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
from tests.faults import calls, durable


def prepared() -> Path:
    """Start this program again with what must be there from the beginning; gives the stand-in of NVIDIA's library."""
    libraries = os.environ.get("SWEEP_TEST_LIBRARIES")
    if libraries is None:
        libraries = tempfile.mkdtemp(prefix="sweep-faults-lib-")
        nvml_standin.build(Path(libraries))
        os.environ.update(
            SWEEP_TEST_LIBRARIES=libraries,
            LD_PRELOAD=f"{calls.build(Path(libraries))}:{durable.build(Path(libraries))}",
            FAULTS_CALLS=os.path.join(libraries, "calls"),
            SWEEP_TEST_CRASH=os.path.join(tempfile.mkdtemp(prefix="sweep-armed-"), "link"),  # looked for only once
        )
        os.execv(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[1:]])
    library = Path(libraries) / nvml_standin.SONAME
    ctypes.CDLL(str(library))  # loaded under its own name: the next dlopen of that name finds this one
    return library


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=500, help="how many faults, at least")
    parser.add_argument("--seed", type=int, default=1, help="the number of the first sweep; its faults follow from it")
    parser.add_argument("--each", type=int, default=12, help="faults in one sweep, about")
    parser.add_argument("--points", action="store_true", help="every crash point, instead of faults at random")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="of the points, one of N parts")
    parser.add_argument("--only", default="", metavar="WORDS", help="of the scenarios, those with these words in them")
    parser.add_argument("--at-once", type=int, default=2, help="scenarios at a time")
    parser.add_argument("--calls", action="store_true", help="every Nth call, instead of faults at random")
    parser.add_argument("--every", type=int, default=20, help="of the calls, every so manieth, from --seed on")
    parser.add_argument("--sweeps", type=int, default=100_000, help="with --calls: no more than so many sweeps")
    arguments = parser.parse_args()
    library = prepared()
    from tests.faults import harness, passing, points, telling

    began = time.monotonic()
    if arguments.points:
        k, n = map(int, arguments.part.split("/"))
        figures = passing.all_points(library, part=(k - 1, n), at_once=arguments.at_once, only=arguments.only)
        expected: tuple[str, ...] = () if n > 1 or arguments.only else points.ALL
    elif arguments.calls:
        watch = telling.watching(began)
        figures = calls.each_call(arguments.seed, arguments.every, arguments.sweeps, watch=watch, library=library)
        expected = ()
    else:
        figures = harness.break_things(
            arguments.faults, arguments.seed, library, each=arguments.each, watch=telling.watching(began)
        )
        expected = points.SWEEP if arguments.faults >= telling.MANY else ()
    for folder in (library.parent, Path(os.environ["SWEEP_TEST_CRASH"]).parent):
        shutil.rmtree(folder)
    print(telling.told(figures, expected, time.monotonic() - began))
    return 1 if figures.violations else 0


sys.exit(main())
