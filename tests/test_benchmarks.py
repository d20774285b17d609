"""The benchmarks: that the smallest form of each runs and says what it should. Their numbers are no test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import idle, relay, size
from benchmarks.bench import Row, gaps, make_job, quantile, table

ROOT = Path(__file__).resolve().parent.parent


def test_gaps_pair_the_kth_end_with_the_start_that_had_to_wait_for_it(tmp_path: Path) -> None:
    file = tmp_path / "stamps"
    file.write_text("s 0\ns 0\ne 1000000000\ns 1500000000\ne 2000000000\ns 2250000000\ne 3000000000\ne 4000000000\n")
    assert gaps(file, 2) == [0.5, 0.25]


def test_the_job_writes_its_start_and_its_end(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    before = job.clock()
    subprocess.run([job.program, tmp_path / "stamps", "30", "ignored"], check=True)
    after = job.clock()
    said = (tmp_path / "stamps").read_text().split()
    assert said[::2] == ["s", "e"]
    start, end = map(int, said[1::2])
    assert before <= start <= end - 30_000_000 <= after


def test_table_marks_missed_goals() -> None:
    lines = table([Row("a", "1 s", "2 s", True), Row("b", "3 s", "2 s", False), Row("peer", "9 s")]).splitlines()
    assert [line.count("|") for line in lines] == [6] * 5
    assert "MISSED" in lines[3]
    assert "met" in lines[2]
    assert "met" not in lines[4].lower()
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0


@pytest.mark.parametrize("name", ["idle", "size", "relay"])
def test_smallest_form_runs(name: str) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", name],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 5
    ours = [row for row in rows if " met " in row or " MISSED " in row]
    assert ours, done.stdout
    assert all(re.search(r"\d", row.split("|")[2]) for row in ours), done.stdout


def test_every_peer_is_named_whether_or_not_it_is_installed() -> None:
    names = " ".join(name for name, _ in (*idle.PARALLEL, *idle.SERIAL)) + " ".join(name for name, _ in relay.TOOLS)
    peers = ("xargs", "task-spooler", "simple_gpu_scheduler", "parallel -j2", "parallel -j1", "Hydra", "submitit")
    for peer in (*peers, "bash loop", "nq", "tee", "script", "pipe-pane"):
        assert peer in names
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for peer in ("task-spooler", "simple_gpu_scheduler", "hydra-joblib-launcher", "submitit", "nq", "parallel"):
        assert peer in readme
    assert callable(size.measure)
