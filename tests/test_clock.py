"""A clock that is set back while a sweep runs: timeouts, durations, order and times do not notice.

No test may set the machine's clock, and a time namespace shifts only the monotonic ones. So every process of the sweep
has a stand-in for the C library's clock in front of it, by LD_PRELOAD, which adds the seconds that a file says.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sweeper import folders, index, paths
from tests.conftest import Workshop, say, wait_for

STAND_IN = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    char text[32] = "";
    const char *name = getenv("CLOCK_SHIFT");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return strtol(text, NULL, 10);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
"""
DAY = 86_400
# Run 1 ends well, run 2 takes longer than it may, run 3 fails at its first attempt and ends well at its second.
TEXT = """
command: |
  echo begun {x} >> tally
  case {x} in 2) sleep 1000 ;; esac
  while ! test -e go; do sleep 0.02; done
  test {x} != 3 -o $SWEEP_ATTEMPT != 1
grid: {x: [1, 2, 3]}
timeout: 6s
gpus: 0
"""


@pytest.fixture
def clock(private: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says by how many seconds the clock of all that is started from now on is off."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no compiler for the stand-in of the clock")
    source, library, file = private / "clock.c", private / "clock.so", private / "shift"
    source.write_text(STAND_IN)
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    file.write_text("0")
    monkeypatch.setenv("CLOCK_SHIFT", str(file))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    file.write_text("100000")
    said = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout
    assert 99_000 < int(said) - time.time() < 101_000, "the stand-in does not work"
    file.write_text("0")
    return file


def set_back(clock: Path, seconds: int) -> None:
    beside = clock.with_name("shift.new")
    beside.write_text(str(-seconds))
    beside.replace(clock)


def spans(shop: Workshop) -> list[float]:
    """How long every attempt took, by its outcome."""
    found = []
    for _, run in folders.run_folders(shop.sweep):
        for file in run.path.glob("outcome-*.json"):
            outcome = json.loads(file.read_text())
            found.append(outcome["ended"] - outcome["started"])
    return found


def test_a_clock_that_is_set_back_while_it_runs_is_harmless(shop: Workshop, clock: Path) -> None:
    shop.launch(TEXT, 3)
    wait_for(lambda: len(shop.lines()) == 3 and shop.counts().get("running") == 3)
    set_back(clock, DAY)
    said = say("status", "s", check=0).out
    assert "3 running" in said
    assert set(re.findall(r"\d+:\d\d(?::\d\d)?", said.partition("\n")[2])) <= {"0:00"}, said
    assert "1 d" not in said
    begun = time.monotonic()
    (shop.folder / "go").touch()
    wait_for(lambda: shop.counts().get("done") == 1)
    left = re.search(r"about (\S+) left", say("status", "s").out)
    assert left is None or len(left[1]) <= len("0:00"), left
    assert shop.finish() == {"done": 1, "timeout": 1, "failed": 1}
    assert time.monotonic() - begun < 30, "the timeout came in its time"
    assert all(0 <= span < 30 for span in spans(shop)), spans(shop)
    timed_out = shop.outcome(2)
    assert timed_out is not None
    assert 5.9 < timed_out.ended - timed_out.started < 30

    assert shop.run(TEXT.replace("timeout: 6s", "timeout: 3s"), 3) == {"done": 2, "timeout": 1}
    first, second = (json.loads((run_dir(shop, 3).attempt(number)).read_text()) for number in (1, 2))
    assert second["started"] < first["started"] - DAY / 2, "the clock was set back indeed"
    outcome = shop.outcome(3)
    assert outcome is not None
    assert (outcome.attempt, outcome.outcome) == (2, "done"), "the highest number decides, whatever the clock said"
    assert all(0 <= span < 30 for span in spans(shop)), spans(shop)
    report = say("report", "s", check=0).out
    assert "2 done, 1 failed (1 timeout)" in report
    hours = re.search(r"time: +(\S+) of computing in (\S+) on the wall", report)
    assert hours is not None
    assert all(re.fullmatch(r"\d+\.\ds|0:[0-5]\d", part) for part in hours.groups()), hours.groups()
    assert "-" not in "".join(hours.groups())


def run_dir(shop: Workshop, number: int) -> paths.RunDir:
    found = shop.run_dir(number)
    assert found is not None
    return found


def test_the_sweep_used_last_is_that_also_after_the_clock_was_set_back(shop: Workshop, clock: Path) -> None:
    shop.run("command: echo one\n")
    other = shop.folder / "other.yaml"
    other.write_text("command: echo two\ngpus: 0\n")
    set_back(clock, DAY)
    say("other.yaml", "--serial", check=0)
    assert index.entries()[0].path.name == "other"
    assert say("status").out.startswith("other: ")
