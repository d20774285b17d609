"""``python -m tests.fuzz [TARGET] --seconds N``: coverage-guided, by atheris; a crash keeps its input and exits with 1.

Needs the extra ``fuzz``. The corpus grows under ``build/fuzz/TARGET`` and is taken up again the next time; what crashed
lies in ``build/fuzz/crashes`` and is tried again alone by naming the file: ``python -m tests.fuzz TARGET FILE``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from . import NAMES

PLACE = Path(__file__).parents[2] / "build" / "fuzz"
SECONDS_AN_INPUT = 30  # by the clock, for what hangs; nothing else runs on a quiet machine for so long
CPU_AN_INPUT = 2.0  # seconds: an input has 8 kB at most, and what counts how often is instrumented
MEGABYTES = 2048


def attack(name: str, seconds: int, files: list[str]) -> None:
    """In a process of its own, since libFuzzer ends its process."""
    import atheris

    assert not any(name.startswith("sweeper") for name in sys.modules), "what is imported already is not instrumented"
    with atheris.instrument_imports(include=["sweeper"]):
        from . import seeds, targets

    def attacked(data: bytes) -> None:
        began = time.process_time()
        targets.TARGETS[name](data)
        assert time.process_time() - began < CPU_AN_INPUT, "it takes too long"

    crashes = PLACE / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    words = [f"-artifact_prefix={crashes}/{name}-", f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MEGABYTES}"]
    if files:
        words += files
    else:
        corpus = PLACE / name
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate(seeds.seeds(name)):
            (corpus / f"seed-{number:04d}").write_bytes(seed)
        words += [f"-max_total_time={seconds}", "-max_len=8192", "-print_final_stats=1", "-verbosity=1", str(corpus)]
    atheris.Setup([sys.argv[0], *words], attacked)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=[*NAMES, "all"], default="all")
    parser.add_argument("file", nargs="*", help="inputs to try once")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        attack(given.target, given.seconds, given.file)
    chosen = list(NAMES) if given.target == "all" else [given.target]
    failed = []
    for name in chosen:
        print(f"{name}: {given.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", name, *given.file, f"--seconds={given.seconds}", "--here"]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True, errors="replace"
        )
        tail = done.stderr.splitlines()
        if done.returncode:
            failed.append(name)
            print("\n".join(tail[-60:]))
        else:
            print("\n".join(line for line in tail if line.startswith(("stat::number", "stat::peak", "Executed"))))
    print(f"crashed: {', '.join(failed)}" if failed else "no crash")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
