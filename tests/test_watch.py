"""The live table and status: how long it takes yet, what fits the screen, what did not end well in few lines."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from sweeper import control, launch, model, moments, paths, watch
from sweeper.cli import standing
from sweeper.model import RunRecord
from sweeper.watch import unwell
from tests.conftest import Workshop, wait_for


def run(number: int, state: str = model.RUNNING, **fields: object) -> RunRecord:
    label = {"lr": number / 10, "note": "a word that is " + "long " * 12}
    return RunRecord(number=number, key=str(number), params=label, texts={}, state=state, **fields)  # type: ignore[arg-type]


def status(flight: list[RunRecord], left: int, parallel: int | None) -> control.Status:
    counts = {model.RUNNING: len(flight), model.QUEUED: left - len(flight), model.DONE: 4}
    return control.Status(
        sweep=paths.SweepDir(Path("/nowhere/s")),
        state="running",
        why="",
        counts=counts,
        total=4 + left,
        parallel=parallel,
        session="sweep-s",
        flight=flight,
        unwell=[],
    )


@pytest.mark.parametrize(
    ("elapsed", "left", "parallel", "takes"),
    [
        ([2.0], 1, 3, 28.0),  # one that runs is not helped by free slots
        ([0.0, 0.0, 10.0], 3, 3, 30.0),
        ([10.0, 20.0], 4, 2, 50.0),  # 10 s: one more, then another 30; 20 s: one more
        ([10.0, 20.0], 3, 2, 40.0),
        ([0.0], 4, None, 120.0),
        ([], 7, 4, 60.0),
        ([0.0] * 4, 1_000_000, 4, 7_500_000.0),
        ([50.0], 1, 1, 5.0),  # longer than any before: nobody knows
        ([0.0] * 4, 5, 2, 60.0),  # the number was made smaller while they ran
    ],
)
def test_what_is_left_takes_as_long_as_its_longest_slot(
    elapsed: list[float], left: int, parallel: int | None, takes: float
) -> None:
    now = time.time()
    flight = [run(number, started=now - one) for number, one in enumerate(elapsed, 1)]
    found = watch.time_left(status(flight, left, parallel), [30.0] * 8)
    assert found == pytest.approx(takes, abs=0.5)


def test_runs_of_other_lengths() -> None:
    flight = [run(1, started=time.time() - 20)]
    assert watch.time_left(status(flight, 1, 2), [10.0, 30.0, 50.0]) == pytest.approx(20.0, abs=0.5)
    assert watch.time_left(status(flight, 1, 2), []) is None


@pytest.mark.parametrize(("width", "height"), [(60, 20), (100, 30), (40, 12)])
def test_the_live_table_fits_the_screen_whoever_waits_for_whom(width: int, height: int) -> None:
    wait = f"GPU 0, held by alice: python train.py --lr 3 (pid 4242, {moments.mark(time.time() - 90)}) " * 3
    flight = [run(number, started=time.time()) for number in range(1, 9)]
    flight += [run(number, model.WAITING, note=wait) for number in range(9, 13)]
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    shown = watch.fitting(watch.Frame(status(flight, 20, 8), 5.0), "Ctrl-C leaves it running", console)
    lines = console.render_lines(shown)
    assert len(lines) < height
    text = "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)
    assert text.endswith("Ctrl-C leaves it running")
    assert " more\n" in text


def test_the_headline_says_first_what_goes_on() -> None:
    frame = watch.Frame(status([run(1), run(2)], 5, 2), 41.0)
    assert watch.headline(frame) == "4 of 9 done · 2 running · 3 queued · about 0:41 left"


def test_each_running_run_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=60, height=40)
    flight = [run(number, started=time.time()) for number in range(1, 6)]
    frame = watch.Frame(status(flight, 9, 5), None)
    lines = console.render_lines(watch.picture(frame, [watch.cells(record) for record in flight]))
    assert len(lines) <= 2 + 5


def test_what_ended_alike_is_put_together() -> None:
    missing = [run(number, model.FAILED, note="exit status 2: no such file") for number in (1, 2, 3, 4, 7)]
    alone = [run(5, model.STOPPED, note="stopped by its user"), run(6, model.TIMEOUT, note="")]
    assert [line.partition(" · ")[0] for line in unwell.lines([*missing, *alone])] == [
        "5 runs failed: exit status 2: no such file: 1-4, 7",
        "run 5 stopped by its user",
        "run 6 timeout",
    ]
    assert unwell.lines(alone)[0].startswith("run 5 stopped by its user · lr=0.5 note=")
    assert unwell.numbers(range(1, 100, 2)).endswith(", 23 and 38 more")
    many = [run(number, model.FAILED, note=f"reason {number}") for number in range(40)]
    assert unwell.lines(many)[-1] == "and 30 more, in 30 other ways"


def test_status_says_what_can_be_done_and_stands_in_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = status([run(3, started=time.time()), run(12, started=time.time())], 5, 2)
    lines = standing.text(now, []).splitlines()
    assert lines[2].startswith("  3   lr=0.3")
    assert lines[3].startswith("  12  lr=1.2")
    first, second = (re.search(r"0:\d\d", line) for line in lines[2:4])
    assert first is not None
    assert second is not None
    assert first.start() == second.start()


def test_a_terminal_that_waits_ends_with_the_sweep(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However seldom it looks: the scheduler's end wakes it."""
    shop.launch("command: 'while [ ! -e go ]; do sleep 0.02; done'\ngpus: 0\n", 1)
    wait_for(lambda: shop.counts().get("running") == 1)
    monkeypatch.setattr(watch, "TICK", 600.0)
    begun, look_for = threading.Event(), launch.pidfd

    def looked_for(sweep: paths.SweepDir) -> int | None:
        pidfd = look_for(sweep)
        begun.set()
        return pidfd

    monkeypatch.setattr(launch, "pidfd", looked_for)
    found: list[watch.Frame] = []
    watching = threading.Thread(target=lambda: found.append(watch.until_end(shop.sweep, hint="")), daemon=True)
    watching.start()
    assert begun.wait(20)
    (shop.folder / "go").touch()
    watching.join(20)
    assert [frame.status.state for frame in found] == ["finished"]
    assert found[0].status.counts == {"done": 1}
