"""What mattered, what failed and why, where the hours went: the report's reckoning against cases done by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import OOM, FakeRun, digits, write_sweep

from sweeper import model, results
from sweeper.lastwords import last_exception
from sweeper.model import RunRecord
from sweeper.results.causes import printable
from sweeper.results.data import Run, Try
from sweeper.results.distributions import f_tail, incomplete_beta, t_tail
from sweeper.results.effects import effects, noise_share
from sweeper.results.failures import common_to, group_failures, mask
from sweeper.results.hours import clock, count_hours, gaps, union
from sweeper.results.learning import thin
from sweeper.results.numbers import digits_for, mean_std, number, percent, places_for


def run(number: int = 1, state: str = model.DONE, cause: str = "", **params: Any) -> Run:
    return Run(RunRecord(number, f"{number:016x}", params, state=state), {}, (), cause)


# -- distributions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [  # percentage points as printed tables have them
        (t_tail(2.776, 4), 0.05),
        (t_tail(12.706, 1), 0.05),
        (t_tail(2.617, 120), 0.01),
        (f_tail(3.49, 3, 12), 0.05),
        (f_tail(161.45, 1, 1), 0.05),
        (f_tail(4.13, 5, 24), 0.0075),
        (incomplete_beta(2, 3, 0.4), 0.5248),
        (incomplete_beta(0.5, 0.5, 0.5), 0.5),
    ],
)
def test_distributions_agree_with_tables(value: float, expected: float) -> None:
    assert value == pytest.approx(expected, rel=0.02)


# -- effects ------------------------------------------------------------------------------------------------------


def grid(**values: Sequence[Any]) -> list[Run]:
    return [run(n, **dict(zip(values, point, strict=True))) for n, point in enumerate(product(*values.values()), 1)]


def test_shares_of_a_full_grid_are_those_of_the_analysis_of_variance() -> None:
    runs = grid(a=[0, 1], b=[0, 1, 2])
    ys = [10.0 * r.record.params["a"] + r.record.params["b"] for r in runs]
    found = {effect.name: effect for effect in effects(runs, ys, ["a", "b"], "max")}
    total = 6 * 25 + 6 * (2 / 3)  # by hand: variance of 10a is 25, of b is 2/3
    assert found["a"].share == pytest.approx(150 / total)
    assert found["b"].share == pytest.approx(4 / total)
    assert [(level.text, level.mean, level.count) for level in found["a"].levels] == [("0", 1.0, 3), ("1", 11.0, 3)]
    assert found["a"].clear
    assert found["b"].clear  # without noise even the small effect is certain


def test_noise_is_told_from_effects() -> None:
    rng = random.Random(3)
    runs = grid(a=[0, 1, 2], b=[0, 1, 2, 3], c=[0, 1])
    ys = [r.record.params["a"] * 1.0 + rng.gauss(0, 0.3) for r in runs]
    found = {effect.name: effect for effect in effects(runs, ys, ["a", "b", "c"], "max")}
    assert found["a"].clear
    assert found["a"].share > 0.6
    assert not found["b"].clear
    assert not found["c"].clear


def test_a_grid_with_holes_does_not_mislead() -> None:
    runs = [
        r for r in grid(a=[0, 1], b=[0, 1], k=[0, 1, 2, 3]) if not (r.record.params["a"] and r.record.params["b"] == 0)
    ]
    rng = random.Random(5)
    ys = [5.0 * r.record.params["a"] + rng.gauss(0, 0.5) for r in runs]
    found = {effect.name: effect for effect in effects(runs, ys, ["a", "b", "k"], "max")}
    assert found["a"].clear
    assert not found["b"].clear  # it goes along with a, and adds nothing to it
    assert found["b"].share > 0.1


def test_a_random_search_is_binned() -> None:
    rng = random.Random(2)
    runs = [run(n, lr=rng.random(), wd=rng.random()) for n in range(100)]
    ys = [r.record.params["lr"] for r in runs]
    found = {effect.name: effect for effect in effects(runs, ys, ["lr", "wd"], "max")}
    assert found["lr"].binned
    assert len(found["lr"].levels) == 5
    ends = [level.text.split(" to ") for level in found["lr"].levels]
    assert [high for _, high in ends[:-1]] == [f"<{low}" for low, _ in ends[1:]]
    assert not ends[-1][1].startswith("<")
    assert found["lr"].share > 0.9
    assert not found["wd"].clear


@pytest.mark.parametrize(
    "ys", [[1.0, 1.0, 1.0, 1.0], [math.nan] * 4, [1.0, math.inf, math.nan, 2.0], [1e308, -1e308, 1e308, -1e308]]
)
def test_what_has_no_variance_has_no_effects(ys: list[float]) -> None:
    assert effects(grid(a=[0, 1], b=[0, 1]), ys, ["a", "b"], "max") == ()


def test_parameters_that_vary_together_are_each_tested_alone() -> None:
    runs = [run(n, model=m, batch_size=b) for n, (m, b) in enumerate([("cnn", 128), ("vit", 32)] * 5)]
    ys = [0.9 if r.record.params["model"] == "cnn" else 0.5 + 0.001 * r.number for r in runs]
    found = effects(runs, ys, ["model", "batch_size"], "max")
    assert [effect.share for effect in found] == pytest.approx([found[0].share] * 2)
    assert all(effect.clear for effect in found)


def test_the_noise_between_repeats() -> None:
    assert noise_share([[1.0, 3.0], [11.0, 13.0]]) == pytest.approx(4 / 104)
    assert noise_share([[1.0], [2.0]]) is None
    assert noise_share([[1.0, 1.0], [1.0]]) is None


# -- causes -------------------------------------------------------------------------------------------------------

CHAIN = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise my.pkg.Broken("no such key")
my.pkg.Broken: no such key
Note: try --fix
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("Traceback (most recent call last):\n  File 'x'\nValueError: bad shape 3\n", "ValueError: bad shape 3"),
        (CHAIN, "my.pkg.Broken: no such key"),
        (OOM.format(size=2, gpu=0), "torch.OutOfMemoryError: CUDA out of memory."),
        ("[rank1]: Traceback (most recent call last):\n[rank1]: RuntimeError: NCCL\n", "RuntimeError: NCCL"),
        ("Traceback (most recent call last):\n  File 'x'\nKeyboardInterrupt\n", "KeyboardInterrupt"),
        ("Traceback (most recent call last):\n  x\nsocket.timeout: timed out\n", "socket.timeout: timed out"),
        ("epoch 1 Error rate: 3\nloss=1\n", ""),
        ("", ""),
    ],
)
def test_the_last_exception_is_found(log: str, expected: str) -> None:
    found = last_exception(log.splitlines())
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        (FakeRun({"a": 1}, "x\n", state=model.FAILED, exit_code=None, signal=9), "killed by SIGKILL"),
        (FakeRun({"a": 1}, "x\n", state=model.FAILED, exit_code=139), "killed by SIGSEGV"),
        (FakeRun({"a": 1}, "", state=model.FAILED, exit_code=3), "exit code 3, and nothing printed"),
        (
            FakeRun({"a": 1}, "usage\nt.py: error: unrecognized arguments: --x\n", state=model.FAILED, exit_code=2),
            "t.py: error",
        ),
        (FakeRun({"a": 1}, "bash: trian: command not found\n", state=model.FAILED, exit_code=127), "bash: trian"),
        (
            FakeRun({"a": 1}, "all fine\n", state=model.TIMEOUT, exit_code=None, reason="longer than 1:00:00"),
            "longer than",
        ),
        (FakeRun({"a": 1}, "x\n", state=model.LOST), "lost"),
        (FakeRun({"a": 1}, "\x1b[31mValueError: red\x1b[0m\n", state=model.FAILED, exit_code=1), "ValueError: red"),
        (
            FakeRun({"a": 1}, "", state=model.OUT_OF_MEMORY, signal=9, reason="the kernel ran out of memory"),
            "the kernel",
        ),
    ],
)
def test_why_a_run_ended_badly(tmp_path: Path, fake: FakeRun, expected: str) -> None:
    write_sweep(tmp_path / "night", [fake])
    report = results.collect(results.from_folders(tmp_path / "night"))
    assert report.runs[0].cause.startswith(expected)
    assert report.failures[0].count == 1


def test_an_attempt_that_printed_nothing_is_not_blamed_for_the_one_before(tmp_path: Path) -> None:
    fake = FakeRun({"a": 1}, "", state=model.FAILED, exit_code=5, attempts=2)
    write_sweep(tmp_path / "night", [fake])
    report = results.collect(results.from_folders(tmp_path / "night"))
    assert report.runs[0].cause == "exit code 5, and nothing printed"


def test_what_could_steer_a_terminal_is_taken_out() -> None:
    assert printable("a\x1b[2Jb\x07c\u202ed\x9b") == "a�[2Jb�c�d�"


# -- failures -----------------------------------------------------------------------------------------------------


def test_one_cause_reads_as_one() -> None:
    one = "RuntimeError: 3.5 GiB at 0x7f00aa in /home/ann/train.py line 12 of 3f2a9c51-d0b8-4e6f-a7c2-d1e0b9f8a7c6"
    other = "RuntimeError: 12 GiB at 0xdeadbeef in /data/x/y.py line 7 of 00000000-d0b8-4e6f-a7c2-d1e0b9f8a7c6"
    assert mask(one) == mask(other) == "RuntimeError: N at ADDRESS in PATH line N of UUID"
    assert mask("layer conv2 failed") == "layer conv2 failed"


def test_a_night_of_failures_is_told_in_two_lines(tmp_path: Path) -> None:
    write_sweep(tmp_path / "night", digits())
    report = results.collect(results.from_folders(tmp_path / "night"))
    first, second = report.failures
    assert (first.state, first.count) == ("out_of_memory", 12)
    assert [str(common) for common in first.common] == ["hidden=1024 and batch_size=256"]
    assert (second.state, second.count) == ("failed", 5)
    assert [str(common) for common in second.common] == ["lr=3.0 and seed=2"]
    said = "\n".join(results.summary_lines(report))
    assert (
        "mattered: lr explains 99%: mean 0.9592 with 0.1, 0.944 with 0.01, 0.8897 with 0.001, 0.5453 with 3.0" in said
    )
    assert "12 x out of memory: torch.OutOfMemoryError" in said
    assert "all 12 have hidden=1024 and batch_size=256" in said


def failing(params: Sequence[Mapping[str, Any]]) -> list[Run]:
    return [run(100 + n, model.FAILED, "boom", **one) for n, one in enumerate(params)]


def test_what_separates_is_said() -> None:
    well = [run(n, batch_size=64, opt=opt) for n, opt in enumerate(["sgd", "adam"] * 3)]
    bad = failing([{"batch_size": 256, "opt": opt} for opt in ("sgd", "adam", "sgd")])
    assert [str(one) for one in common_to(bad, well)] == ["batch_size=256"]


def test_what_all_runs_share_is_not_said() -> None:
    well = [run(n, data="cifar", seed=n) for n in range(6)]
    assert common_to(failing([{"data": "cifar", "seed": 7}, {"data": "cifar", "seed": 8}]), well) == [] or all(
        "data" not in common.text for common in common_to(failing([{"data": "cifar", "seed": 7}]), well)
    )
    assert common_to(failing([{"data": "cifar"}]), well) == []


def test_a_bound_is_said_where_no_single_value_is_shared() -> None:
    well = [run(n, lr=lr) for n, lr in enumerate([0.01, 0.1, 0.1, 0.01])]
    assert [str(one) for one in common_to(failing([{"lr": 3}, {"lr": 10}]), well)] == ["lr >= 3"]
    assert [str(one) for one in common_to(failing([{"lr": 1e-9}, {"lr": 1e-8}]), well)] == ["lr <= 1e-08"]


def test_what_few_of_the_others_have_is_said_with_their_number() -> None:
    well = [run(n, opt="sgd" if n < 2 else "adam", seed=n % 2) for n in range(20)]
    bad = failing([{"opt": "sgd", "seed": seed} for seed in (0, 1, 0, 1)])
    assert [str(one) for one in common_to(bad, well)] == ["opt=sgd (2 of the 20 that ended well have it too)"]


def test_chance_is_not_called_a_cause() -> None:
    well = [run(n, opt="sgd" if n % 2 else "adam") for n in range(10)]
    assert common_to(failing([{"opt": "sgd"}, {"opt": "sgd"}]), well) == []
    assert common_to(failing([{"opt": "sgd"}]), []) == []


def test_the_example_is_the_quickest_to_try_again() -> None:
    slow, quick = (
        Run(RunRecord(n, str(n), {}, state=model.FAILED, started=0.0, ended=end), {}, (), "boom")
        for n, end in ((1, 90.0), (2, 5.0))
    )
    assert group_failures([slow, quick])[0].example is quick


# -- hours --------------------------------------------------------------------------------------------------------


def attempt(start: float, end: float | None, *gpus: str, waited: float = 0.0, state: str = model.DONE) -> Run:
    one = Try(1, state, start, end, waited, gpus, "box", None)
    return Run(RunRecord(1, "k", {}, state=state), {}, (one,), "")


def test_hours_by_hand() -> None:
    runs = [attempt(0, 100, "0"), attempt(130, 200, "0"), attempt(0, 180, "1"), attempt(210, 300, "0", "1")]
    hours = count_hours(runs)
    assert hours.compute == 100 + 70 + 180 + 90
    assert hours.gpu == 100 + 70 + 180 + 2 * 90
    assert hours.wall == 300
    assert hours.idle == {"box:0": 30 + 10, "box:1": 30}


def test_the_times_of_the_rows_add_up_to_the_hours_of_the_head(tmp_path: Path) -> None:
    runs = [FakeRun({"a": n, "seed": s}, "x=1\n", attempts=1 + n, seconds=3000) for n in (0, 1) for s in (0, 1)]
    write_sweep(tmp_path / "night", runs)
    for repeat, rows in (((), ["50:00", "50:00", "1:40:00", "1:40:00"]), (("seed",), ["1:40:00", "3:20:00"])):
        report = results.collect(results.from_folders(tmp_path / "night", repeat=repeat))
        assert report.hours.compute == 6 * 3000
        assert sum(run.seconds or 0 for run in report.runs) == report.hours.compute
        text = str(results.render(report, sort=["time"])).split("\n\n")[1]
        assert [line.split()[-1] for line in text.splitlines()[2:]] == rows


def test_what_waits_for_others_is_not_idle() -> None:
    hours = count_hours([attempt(0, 100, "0"), attempt(500, 600, "0", waited=390)])
    assert hours.idle == {"box:0": 10}
    assert hours.waited == 390
    assert hours.wall == 600


def test_a_day_between_two_launches_is_neither_wall_nor_idle() -> None:
    hours = count_hours([attempt(0, 100, "0"), attempt(90_000, 90_050, "0")])
    assert hours.wall == 150
    assert hours.idle_total == 0


def test_runs_that_share_a_gpu_and_runs_under_way() -> None:
    hours = count_hours([attempt(0, 100, "0"), attempt(50, None, "0", state=model.RUNNING)], now=130)
    assert hours.idle_total == 0
    assert hours.compute == 180
    assert hours.wall == 130


def test_spans() -> None:
    assert union([(5, 6), (0, 2), (1, 3)]) == [(0, 3), (5, 6)]
    assert union([(0, 1), (2, 3)], bridge=1) == [(0, 3)]
    assert gaps([], []) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.04, "0.0s"), (9.9, "9.9s"), (59.6, "1:00"), (3599.7, "1:00:00"), (90061, "1d 1:01:01")],
)
def test_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


# -- numbers and curves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.98126, "0.9813"),
        (0.033, "0.033"),
        (0.005, "0.005"),
        (1e-5, "1e-05"),
        (12345.678, "12346"),
        (100.0, "100"),
        (0.0, "0"),
        (-0.5, "-0.5"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (None, ""),
        (1e300, "1e+300"),
    ],
)
def test_numbers_as_one_reads_them(value: float | None, text: str) -> None:
    assert number(value) == text


def test_enough_digits_to_tell_values_apart() -> None:
    assert digits_for([0.1, 0.2, 0.3]) == 3
    assert digits_for([0.98761, 0.98762, 0.98763]) == 5
    assert places_for([0.97, 0.95], [0.0031, 0.0052]) == 4
    assert mean_std(0.97214, 0.0031, 4) == ("0.9721", "0.0031")
    assert mean_std(0.97214, math.nan, 4) == ("0.9721", "")
    assert (percent(0.001), percent(0), percent(0.714)) == ("<1%", "0%", "71%")


def test_thinning_keeps_ends_and_spikes() -> None:
    points = [(float(n), 0.0) for n in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[7777] = (7777.0, -99.0)
    kept = thin(points, 100)
    assert len(kept) <= 100
    assert {(0.0, 0.0), (9999.0, 0.0), (4321.0, 99.0), (7777.0, -99.0)} <= set(kept)
    assert list(kept) == sorted(kept)
    assert thin(points[:50], 100) == points[:50]


def test_losses_beyond_all_bounds_break_nothing(tmp_path: Path) -> None:
    values = [1e308, -1e308, 1e308, 1e200, 0.5, 0.6, 1e-320, 0.4]
    runs = [FakeRun({"lr": n // 2, "seed": n % 2}, f"epoch=1 val_loss={v!r}\n") for n, v in enumerate(values)]
    write_sweep(tmp_path / "night", runs)
    report = results.collect(results.from_folders(tmp_path / "night", repeat=("seed",)), minimize="val_loss")
    for form in ("table", "csv", "json", "markdown", "latex", "html"):
        assert results.render(report, form)
    assert results.render(results.collect(results.from_folders(tmp_path / "night")), "table")
