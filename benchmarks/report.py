"""How long a report takes: of 1,000 and of 10,000 finished runs, once their metrics have been read.

    python benchmarks/report.py [RUNS...]

Writes run folders of that many runs (50 epochs, two metrics each) into a temporary folder, reports them once, and then
measures whole processes, as a person would start them: interpreter, imports, folders, metrics, table. Goals: 1,000 runs
in 1 s, 10,000 in 4 s.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from fake_sweep import FakeRun, training_log, write_sweep  # noqa: E402

GOALS = {1_000: 1.0, 10_000: 4.0}
REPEATS = 5
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sweeper import results
report = results.collect(results.from_folders(Path(sys.argv[2])))
text = results.render(report, sys.argv[3])
sys.stdout.write(text)
"""


def make(folder: Path, count: int) -> Path:
    rng = random.Random(1)
    logs = [training_log(rng, rng.uniform(0.5, 0.95), 50) for _ in range(200)]
    runs = [
        FakeRun(
            {"lr": rng.choice([0.1, 0.01, 0.001]), "hidden": rng.choice([32, 64]), "seed": number}, rng.choice(logs)
        )
        for number in range(count)
    ]
    for run in runs:
        run.gpus = ["slot"]
    return write_sweep(folder, runs, parallel=8)


def seconds(sweep: Path, form: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, str(HERE.parent), str(sweep), form]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(counts: list[int]) -> int:
    missed = 0
    print(f"{'runs':>7}  {'form':<6} {'first':>8} {'median':>8} {'worst':>8}   goal")
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            sweep = make(Path(folder) / str(count), count)
            first = seconds(sweep, "table")
            for form in ("table", "csv", "json", "html"):
                taken = [seconds(sweep, form) for _ in range(REPEATS)]
                goal = GOALS.get(count) if form != "html" else None
                middle = statistics.median(taken)
                missed += goal is not None and middle > goal
                said = f"{goal:.0f} s {'kept' if middle <= goal else 'MISSED'}" if goal else ""
                print(f"{count:>7}  {form:<6} {first:7.2f}s {middle:7.2f}s {max(taken):7.2f}s   {said}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or list(GOALS)))
