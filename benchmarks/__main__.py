"""``python -m benchmarks [--quick] [NAME...]``: every benchmark, and one table of what was found."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import idle, relay, size
from benchmarks.bench import ROOT, Row, machine, table

MEASURES = {"idle": idle.measure, "size": size.measure, "relay": relay.measure}
OTHERS = ("gpus", "metrics", "report")  # programs that print a table of their own


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*MEASURES, *OTHERS))}; default: all")
    parser.add_argument("--quick", action="store_true", help="the smallest form of each, to see that it works")
    typed = parser.parse_args()
    unknown = [name for name in typed.names if name not in (*MEASURES, *OTHERS)]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}")
    wanted = typed.names or [*MEASURES, *OTHERS]
    print(machine(), flush=True)
    rows: list[Row] = []
    for name, measure in MEASURES.items():
        if name in wanted:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            rows += measure(typed.quick)
    if rows:
        print(f"\n{table(rows)}", flush=True)
    failed = [name for name in OTHERS if name in wanted and not _other(name, typed.quick)]
    print(f"\n{machine()}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _other(name: str, quick: bool) -> bool:
    """Run a benchmark that is a program of its own; False where it fails."""
    file = Path(__file__).with_name(f"{name}.py")
    if not file.exists():
        print(f"\n{name}: not here", flush=True)
        return True
    takes_quick = "--quick" in file.read_text(encoding="utf-8")
    if quick and not takes_quick:
        print(f"\n{name}: has no quick form; python benchmarks/{name}.py", flush=True)
        return True
    print(f"\n## {name}\n\n```", flush=True)
    done = subprocess.run([sys.executable, file, *(["--quick"] if quick else [])], cwd=ROOT, check=False)
    print("```", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
