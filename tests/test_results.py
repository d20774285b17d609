"""A sweep's folders become a report: what counts, who is best, what repeats, and the table of it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_sweep import COMMIT, START, FakeRun, digits, training_log, write_sweep

from sweeper import model, results
from sweeper.errors import InputError


def lines(*values: float, name: str = "val_acc") -> str:
    return "".join(f"epoch={epoch} {name}={value}\n" for epoch, value in enumerate(values, 1))


def made(tmp_path: Path, runs: Sequence[FakeRun], *, last: bool = False, **settings: Any) -> results.Report:
    write_sweep(tmp_path / "night", runs)
    return results.collect(results.from_folders(tmp_path / "night", **settings), last=last)


def two(tmp_path: Path, **settings: Any) -> results.Report:
    runs = [FakeRun({"lr": 0.1}, lines(0.5, 0.9, 0.8)), FakeRun({"lr": 0.01}, lines(0.4, 0.6, 0.85))]
    return made(tmp_path, runs, **settings)


def test_the_best_over_the_curve_wins_unless_the_last_is_asked_for(tmp_path: Path) -> None:
    report = two(tmp_path)
    assert report.best is not None
    assert (report.best.number, report.value(report.best)) == (1, 0.9)
    again = results.collect(report.sweep, last=True)
    assert again.best is not None
    assert (again.best.number, again.value(again.best)) == (2, 0.85)


def test_an_exact_tie_is_called_one(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": n, "seed": s}, lines(0.9 if n < 3 else 0.8)) for n in (1, 2, 3) for s in (0, 1)]
    said = results.summary_lines(made(tmp_path / "a", runs[::2]))[2]
    assert said.endswith("· a tie of 2 runs: 1 (lr=1), 2 (lr=2)")
    report = made(tmp_path / "b", runs, repeat=("seed",))
    said = results.summary_lines(report)[2]
    assert said.endswith("· a tie of 2 settings: lr=1 (runs 1, 2), lr=2 (runs 3, 4)")
    assert not any("lead of" in line or "smallest tried" in line for line in results.summary_lines(report))
    many = made(tmp_path / "c", [FakeRun({"lr": n}, lines(0.5)) for n in range(9)])
    assert "a tie of 9 runs: 1 (lr=0), 2 (lr=1), 3 (lr=2), 4 (lr=3), and 5 more" in results.summary_lines(many)[2]


def test_the_likeliest_metric_is_picked_and_said(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr}, f"epoch=1 grad_norm=3.5 val_acc={lr}\n") for lr in (0.1, 0.2)]
    report = made(tmp_path, runs)
    assert report.target is not None
    assert (report.target.name, report.target.direction, report.target.chosen) == ("val_acc", "max", "likeliest")
    said = "val_acc (maximum) was picked as the likeliest of 2 metrics; --maximize or --minimize NAME decides otherwise"
    assert any(said in line for line in results.summary_lines(report))


def test_the_only_metric_is_called_that(tmp_path: Path) -> None:
    report = two(tmp_path)
    assert report.target is not None
    assert report.target.chosen == "likeliest"
    said = [line for line in results.summary_lines(report) if "was picked as" in line]
    assert len(said) == 1
    assert "val_acc (maximum) was picked as the only metric in the logs" in said[0]


@pytest.mark.parametrize(("settings", "best"), [({"maximize": "score"}, 2), ({"minimize": "score"}, 1)])
def test_the_sweep_file_says_what_counts(tmp_path: Path, settings: dict[str, str], best: int) -> None:
    runs = [FakeRun({"a": n}, lines(5.5, n, name="score")) for n in (1, 9)]
    report = made(tmp_path, runs, **settings)
    assert report.target is not None
    assert report.target.chosen == "file"
    assert report.ranked[0].number == best
    assert not any("likeliest" in line for line in results.summary_lines(report))


def test_an_unknown_metric_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    report = two(tmp_path)
    with pytest.raises(InputError, match=r"--maximize val_ac: .*did you mean val_acc\?"):
        results.collect(report.sweep, maximize="val_ac")
    with pytest.raises(InputError, match="exclude each other"):
        results.collect(report.sweep, maximize="val_acc", minimize="val_acc")


def test_a_run_that_failed_does_not_win(tmp_path: Path) -> None:
    runs = [
        FakeRun({"lr": 0.1}, lines(0.99), state=model.FAILED, exit_code=1),
        FakeRun({"lr": 0.2}, lines(0.7)),
        FakeRun({"lr": 0.3}, lines(0.8)),
    ]
    report = made(tmp_path, runs)
    assert [run.number for run in report.ranked] == [3, 2, 1]
    assert [run.number for run in report.counted] == [2, 3]


def test_while_nothing_is_done_runs_under_way_count(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr}, lines(lr), state=model.RUNNING) for lr in (0.1, 0.2, 0.3)]
    write_sweep(tmp_path / "night", runs)
    data = results.from_folders(tmp_path / "night")
    assert {record.state for record in data.records} == {model.LOST}  # nobody holds their locks
    assert results.collect(data).best is None
    running = [replace(record, state=model.RUNNING) for record in data.records[:2]]
    report = results.collect(replace(data, records=[*running, data.records[2]], counts={"running": 2, "lost": 1}))
    assert report.best is not None
    assert report.best.number == 2
    said = results.summary_lines(report)
    assert any("run 2, running" in line for line in said)
    assert "unranked: 1 that did not finish, it reached val_acc 0.3 (run 3, lost)" in said


@pytest.mark.parametrize("state", [model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY, model.STOPPED, model.LOST])
def test_what_did_not_end_well_is_shown_and_not_ranked(tmp_path: Path, state: str) -> None:
    """One rule for all of them, wherever they are shown, with repeats and without."""
    runs = [FakeRun({"lr": n, "seed": s}, lines(n / 8)) for n in (1, 2, 3) for s in (0, 1)]
    for run in runs[4:]:
        run.state, run.exit_code = state, 1
    word = "out of memory" if state == model.OUT_OF_MEMORY else state
    for repeat in ((), ("seed",)):
        report = made(tmp_path / str(len(repeat)), runs, repeat=repeat)
        assert [run.number for run in report.counted] == [1, 2, 3, 4]
        assert [run.number for run in report.ranked] == [3, 4, 1, 2, 5, 6]
        assert report.best is not None
        assert report.best.number == 3
        said = f"unranked: 2 that did not finish, the best of them reached val_acc 0.375 (run 5, {word})"
        assert said in results.summary_lines(report)
        assert "0.375" in str(results.render(report)).split("state" if not repeat else " runs ")[1]
        assert "0.375" not in str(results.render(report, "markdown"))
        assert [row["val_acc"] for row in json.loads(results.render(report, "json"))][4:] == [0.375, 0.375]
    nothing = made(tmp_path / "none", runs[4:])
    assert nothing.best is None
    assert nothing.effects == ()
    assert "best: no run with a value is ranked" in results.summary_lines(nothing)


def test_a_run_whose_lock_is_held_is_running(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": 0.1}, lines(0.5)), FakeRun({"lr": 0.2}, lines(0.7), state=model.RUNNING)]
    write_sweep(tmp_path / "night", runs)
    with open(tmp_path / "night" / "0002-lr=0.2" / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = results.collect(results.from_folders(tmp_path / "night", parallel=1))
        assert [run.state for run in report.runs] == [model.DONE, model.RUNNING]
        assert [run.number for run in report.ranked] == [1, 2]
        assert report.best is report.runs[0]  # what has not ended has not won
        assert "unranked: 1 still going on, it reached val_acc 0.7 (run 2, running)" in results.summary_lines(report)
        assert any("sweep attach night" in line for line in results.summary_lines(report))
        for form in results.FORMATS[:5]:
            assert results.render(report, form)
        log = tmp_path / "night" / "0002-lr=0.2" / "log.txt"
        log.write_text(log.read_text() + "epoch=2 val_acc=0.9\n")
        again = results.collect(results.from_folders(tmp_path / "night"))
        assert again.value(again.runs[1]) == 0.9


def test_a_value_that_is_no_number_does_not_win(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": 3}, lines(float("nan"), name="val_loss")), FakeRun({"lr": 1}, lines(0.5, name="val_loss"))]
    report = made(tmp_path, runs, minimize="val_loss")
    assert report.best is not None
    assert report.best.number == 2
    assert len(report.counted) == 1


def test_without_any_metric_the_report_still_stands(tmp_path: Path) -> None:
    report = made(tmp_path, [FakeRun({"lr": 1}, "hello\n"), FakeRun({"lr": 2}, "")])
    text = results.render(report)
    assert isinstance(text, str)
    assert "best:     no metric in any log\n" in text
    assert json.loads(results.render(report, "json"))[1]["lr"] == 2


def test_no_run_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = results.collect(results.from_folders(tmp_path / "empty"))
    for form in ("table", "csv", "json", "markdown", "latex", "html"):
        assert results.render(report, form)
    assert json.loads(results.render(report, "json")) == []
    assert len(results.frame(report)) == 0


def test_only_varying_parameters_are_columns_of_the_table(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr, "data": "cifar"}, lines(lr)) for lr in (0.1, 0.2)]
    report = made(tmp_path, runs)
    assert report.varying == ("lr",)
    text = results.render(report)
    assert "cifar" not in text
    assert re.search(r"^#\s+lr\s+val_acc_best\s+state\s+time$", text, re.MULTILINE)


def test_a_parameter_that_only_some_runs_have_varies(tmp_path: Path) -> None:
    runs = [FakeRun({"opt": "sgd", "momentum": 0.9}, lines(0.5)), FakeRun({"opt": "adam"}, lines(0.6))]
    report = made(tmp_path, runs)
    assert report.varying == ("opt", "momentum")
    assert [row["momentum"] for row in json.loads(results.render(report, "json"))] == [0.9, None]


def test_numbers_are_shown_as_the_sweep_file_spells_them(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": 1e-5}, lines(0.5), texts={"lr": "1e-5"}), FakeRun({"lr": 0.1}, lines(0.6))]
    assert "1e-5 " in results.render(made(tmp_path, runs))


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_the_table_fits_the_terminal_and_the_metric_stays(tmp_path: Path, width: int) -> None:
    runs = [FakeRun({f"parameter_{n}": n * k for n in range(12)}, lines(0.1 * k)) for k in (1, 2, 3)]
    text = results.render(made(tmp_path, runs), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "val_acc_best" in text
    assert "…" not in text.split("no room")[0]
    assert ("no room for" in " ".join(text.split())) == (width < 200)


def test_many_rows_are_cut_and_top_shows_them_all(tmp_path: Path) -> None:
    report = made(tmp_path, [FakeRun({"n": n}, lines(n / 100)) for n in range(60)])
    text = results.render(report)
    assert "20 more rows: --top 0 shows all" in text
    assert "more rows" not in results.render(report, top=0)
    assert len(re.findall(r"^ ?\d+ +\d+ .* done", results.render(report, top=3), re.MULTILINE)) == 3


# -- repeats ------------------------------------------------------------------------------------------------------


def repeated(tmp_path: Path, spread: float) -> results.Report:
    values = {0.1: [0.90, 0.90 + spread, 0.90 - spread], 0.01: [0.89, 0.89 + spread, 0.89 - spread]}
    runs = [FakeRun({"lr": lr, "seed": seed}, lines(value)) for lr in values for seed, value in enumerate(values[lr])]
    return made(tmp_path, runs, repeat=("seed",))


def test_repeats_become_one_row_with_mean_and_deviation(tmp_path: Path) -> None:
    report = repeated(tmp_path, 0.001)
    best = report.configurations[0]
    assert best.mean == pytest.approx(0.9)
    assert best.std == pytest.approx(0.001)
    assert "0.9000 ± 0.0010 (3)" in results.render(report)
    header = next(line for line in str(results.render(report)).splitlines() if "val_acc_best" in line)
    assert header.split() == ["lr", "val_acc_best", "runs", "time"]


def test_flat_formats_have_a_row_per_run_also_with_repeat(tmp_path: Path) -> None:
    report = repeated(tmp_path, 0.001)
    assert len(json.loads(results.render(report, "json"))) == 6
    assert len(str(results.render(report, "csv")).splitlines()) == 7
    assert len(results.frame(report)) == 6


def test_a_lead_within_the_noise_is_warned_of_and_a_clear_one_is_not(tmp_path: Path) -> None:
    noisy = repeated(tmp_path / "a", 0.05)
    assert noisy.lead is not None
    assert noisy.lead.within_noise
    assert any("within the noise" in line for line in results.summary_lines(noisy))
    clear = repeated(tmp_path / "b", 0.001)
    assert clear.lead is not None
    assert not clear.lead.within_noise
    assert not any("within the noise" in line for line in results.summary_lines(clear))


def test_a_configuration_whose_runs_failed_has_a_row_without_a_value(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": 0.1, "seed": s}, lines(0.5)) for s in (0, 1)]
    runs += [FakeRun({"lr": 9.0, "seed": s}, "boom\n", state=model.FAILED, exit_code=1) for s in (0, 1)]
    text = results.render(made(tmp_path, runs, repeat=("seed",)))
    assert re.search(r"9\.0\s+2 failed", str(text))


def test_rows_without_a_value_come_last_in_either_direction(tmp_path: Path) -> None:
    """As ``--sort`` sees it what a row does not show is not there: what failed repeats reached, a loss of infinity."""
    runs = [FakeRun({"lr": lr, "seed": s}, lines(lr)) for lr in (0.1, 0.2, 0.3) for s in (0, 1)]
    for run in runs[:2]:
        run.log = "boom\n"
        run.state, run.exit_code = model.FAILED, 1
    runs += [FakeRun({"lr": 0.4, "seed": s}, lines(float("inf"))) for s in (0, 1)]
    report = made(tmp_path, runs, repeat=("seed",))
    for way in ("val_acc", "-val_acc"):
        for form in ("table", "csv", "json"):
            text = str(results.render(report, form, columns=["lr", "val_acc"], sort=[way]))
            order = re.findall(r'^ *(?:\{"lr": )?(0\.\d)\b', text.split("failed:")[0], re.MULTILINE)
            order = list(dict.fromkeys(order))
            assert sorted(order[:2]) == ["0.2", "0.3"], (way, form)
            assert sorted(order[2:]) == ["0.1", "0.4"], (way, form)
        for form in ("markdown", "latex"):
            assert results.render(report, form, sort=[way])


# -- runs that are gone from the sweep file -----------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [(), ("seed",)])
def test_runs_that_are_gone_are_marked_and_not_ranked(tmp_path: Path, repeat: tuple[str, ...]) -> None:
    runs = [FakeRun({"lr": n, "seed": s}, lines(n / 8)) for n in (1, 2, 3, 4) for s in (0, 1)]
    write_sweep(tmp_path / "night", runs)
    data = results.from_folders(tmp_path / "night", repeat=repeat)
    gone = [replace(record, wanted=record.number <= 6) for record in data.records]
    report = results.collect(replace(data, records=gone, counts={model.DONE: 6}))
    assert len(report.counted) == 6
    assert report.best is not None
    assert report.best.number == 5
    assert {level.text for level in report.effects[0].levels} == {"1", "2", "3"}
    said = results.summary_lines(report)
    assert "gone: 2 more runs are no longer in the sweep file: marked gone below, not ranked" in said
    assert "unranked: 2 gone from the sweep file, the best of them reached val_acc 0.5 (run 7, gone)" in said
    text = str(results.render(report))
    assert len(re.findall("2 gone" if repeat else "done, gone", text.split("gone below")[1])) >= (1 if repeat else 2)
    assert [row["run_state"] for row in json.loads(results.render(report, "json"))] == ["done"] * 8
    only = results.collect(replace(data, records=gone[6:], counts={model.QUEUED: 6}))
    assert only.best is not None
    said = results.summary_lines(only)
    assert any("7, gone" in line or "runs 7, 8, all gone" in line for line in said)
    assert any("ranked, as no other has a value" in line for line in said)


# -- code versions ------------------------------------------------------------------------------------------------


def test_mixed_code_versions_are_pointed_out(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr}, lines(lr), git=git) for lr, git in ((0.1, COMMIT), (0.2, COMMIT), (0.3, "b" * 40))]
    report = made(tmp_path, runs)
    assert report.commits == ((COMMIT, 2), ("b" * 40, 1))
    assert any("2 versions of the code" in line and COMMIT[:8] in line for line in results.summary_lines(report))
    assert not any("versions of the code" in line for line in results.summary_lines(two(tmp_path / "b")))


# -- the summary --------------------------------------------------------------------------------------------------


def test_the_summary_answers_in_the_order_of_the_questions(tmp_path: Path) -> None:
    report = made(tmp_path, digits(), repeat=("seed",))
    said = [line.about for line in results.summary(report)]
    order = [said.index(about) for about in ("night", "time", "best", "mattered", "failed", "next")]
    assert order == sorted(order)
    assert results.morning_line(report) == "55 done, 17 failed (5 failed, 12 out of memory), 0 left of 72"
    assert any(line.command == "sweep logs night 16" for line in results.summary(report))


def test_what_is_left_and_how_long_it_takes(tmp_path: Path) -> None:
    report = two(tmp_path)
    counts = {model.DONE: 2, model.RUNNING: 1, model.QUEUED: 3}
    data = results.SweepData(**{**vars(report.sweep), "counts": counts, "parallel": 2})
    report = results.collect(data)
    assert results.morning_line(report) == "2 done, 0 failed, 4 left (1 running) of 6"
    assert any(line.command == "sweep attach night" and "2:00" in line.text for line in results.summary(report))


def test_left_means_the_same_in_every_line(tmp_path: Path) -> None:
    """What was stopped is not left: the head and what to do next count alike."""
    report = two(tmp_path)
    for counts, head, following in (
        ({model.DONE: 3, model.STOPPED: 1}, "3 done, 0 failed, 1 stopped, 0 left of 4", "nothing runs: 1 stopped"),
        ({model.STOPPED: 1, model.QUEUED: 1}, "0 done, 0 failed, 1 stopped, 1 left of 2", "1 stopped, 1 left"),
        ({model.DONE: 2, model.QUEUED: 2}, "2 done, 0 failed, 2 left of 4", "nothing runs: 2 left"),
    ):
        again = results.collect(results.SweepData(**{**vars(report.sweep), "counts": counts}))
        assert results.morning_line(again) == head
        said = next(line for line in results.summary(again) if line.about == "next")
        assert said.text.endswith(following)
        assert said.command == "sweep resume night"


def test_after_timeouts_a_longer_timeout_is_advised(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": 1}, lines(0.5)), FakeRun({"lr": 2}, lines(0.6), state=model.TIMEOUT, exit_code=None)]
    report = made(tmp_path / "a", runs, file="my file.yaml")
    said = [line for line in results.summary_lines(report) if line.startswith("next")]
    assert said == ["next: raise timeout: in the sweep file for 1 run, then launch it again  ->  sweep 'my file.yaml'"]
    report = made(tmp_path / "b", [*runs, FakeRun({"lr": 3}, "boom\n", state=model.FAILED, exit_code=1)])
    said = [line for line in results.summary_lines(report) if line.startswith("next")]
    assert said[1] == "next: once mended, run the 1 that failed again (and those that timed out)  ->  sweep retry night"


def test_yet_is_said_while_something_runs(tmp_path: Path) -> None:
    report = made(tmp_path, [FakeRun({"lr": 1}, "hello\n")])
    assert "best: no metric in any log" in results.summary_lines(report)
    going = results.collect(replace(report.sweep, counts={model.DONE: 1, model.RUNNING: 1}))
    assert "best: no metric in any log yet" in results.summary_lines(going)


def test_a_name_is_quoted_in_the_commands(tmp_path: Path) -> None:
    write_sweep(tmp_path / "it's $(mine)", [FakeRun({"a": 1}, "x\n", state=model.FAILED, exit_code=1)])
    report = results.collect(results.from_folders(tmp_path / "it's $(mine)"))
    assert any("'it'\"'\"'s $(mine)'" in line.command for line in results.summary(report))


def test_an_edge_of_the_grid_is_named(tmp_path: Path) -> None:
    rng = random.Random(1)
    runs = [
        FakeRun({"lr": lr}, training_log(rng, goal)) for lr, goal in ((1, 0.5), (2, 0.7), (4, 0.9)) for _ in range(3)
    ]
    for place, run in enumerate(runs):
        run.params = {**run.params, "seed": place % 3}
    report = made(tmp_path, runs, repeat=("seed",))
    assert any("lr=4 is the largest tried" in line for line in results.summary_lines(report))
    more = [*runs, FakeRun({"lr": 8, "seed": 0}, "diverged\n", state=model.FAILED, exit_code=1)]
    tried = made(tmp_path / "more", more, repeat=("seed",))
    assert not any("largest tried" in line for line in results.summary_lines(tried))


def test_the_head_is_short(tmp_path: Path) -> None:
    report = made(tmp_path, digits())
    text = results.head(report, width=90)
    assert "67 more rows: sweep report night --top 0 shows all" in text
    assert "1 more row: sweep report night shows all" in results.head(made(tmp_path / "some", digits()[:6]))
    assert "more row" not in results.head(made(tmp_path / "few", digits()[:5]))
    assert text.startswith("night: 55 done")
    assert len(text.splitlines()) < 30


# -- reading ------------------------------------------------------------------------------------------------------


def test_a_second_report_reads_no_log_and_a_changed_log_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.results import reading

    report = two(tmp_path)
    read: list[str] = []
    true = reading.metrics.read

    def spy(run_dir: Any, **how: Any) -> Any:
        read.append(run_dir.path.name)
        return true(run_dir, **how)

    monkeypatch.setattr(reading.metrics, "read", spy)
    again = results.collect(results.from_folders(report.sweep.folder))
    assert read == []
    assert again.runs == report.runs
    log = Path(str(report.runs[1].record.folder)) / "log.txt"
    log.write_text(lines(0.1, 0.95))
    fresh = results.collect(results.from_folders(report.sweep.folder))
    assert read == ["0002-lr=0.01"]
    assert fresh.best is not None
    assert (fresh.best.number, fresh.value(fresh.best)) == (2, 0.95)


def test_other_patterns_are_read_anew(tmp_path: Path) -> None:
    two(tmp_path)
    data = results.from_folders(tmp_path / "night", patterns={"doubled": r"epoch=(\d+)"}, maximize="doubled")
    report = results.collect(data)
    assert report.best is not None
    assert report.value(report.best) == 3


@pytest.mark.parametrize("damage", ["", "{", '{"stamp": 1}', "[]", "\x00\x01"])
def test_a_damaged_cache_costs_only_time(tmp_path: Path, damage: str) -> None:
    report = two(tmp_path)
    cache = report.sweep.folder / ".report.json"
    assert cache.exists()
    cache.write_text(damage)
    assert results.collect(report.sweep).runs == report.runs


def test_entries_of_another_shape_are_read_again(tmp_path: Path) -> None:
    report = two(tmp_path)
    cache = report.sweep.folder / ".report.json"
    data = json.loads(cache.read_text())
    data["runs"] = {name: [entry[0], 5, "x", 3, [1]] for name, entry in data["runs"].items()}
    cache.write_text(json.dumps(data))
    assert results.collect(report.sweep).runs == report.runs


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_to_write_is_reported(tmp_path: Path) -> None:
    write_sweep(tmp_path / "night", [FakeRun({"a": 1}, lines(0.5))])
    (tmp_path / "night").chmod(0o555)
    try:
        assert results.collect(results.from_folders(tmp_path / "night")).best is not None
    finally:
        (tmp_path / "night").chmod(0o755)


def test_a_run_folder_that_vanishes_leaves_the_others(tmp_path: Path) -> None:
    import shutil

    report = two(tmp_path)
    data = results.from_folders(tmp_path / "night")
    (report.sweep.folder / ".report.json").unlink()
    shutil.rmtree(str(report.runs[0].record.folder))
    assert [bool(run.metrics) for run in results.collect(data).runs] == [False, True]


def test_every_attempt_counts_in_the_hours_and_the_last_decides(tmp_path: Path) -> None:
    runs = [FakeRun({"a": 1}, lines(0.5), attempts=3, seconds=100.0, gpus=["0"], started=START + 1000)]
    report = made(tmp_path, runs)
    assert [one.state for one in report.runs[0].tries] == ["failed", "failed", "done"]
    assert report.hours.compute == pytest.approx(300)
    assert report.runs[0].record.attempts == 3


# -- Python -------------------------------------------------------------------------------------------------------


def test_the_frame_has_typed_columns(tmp_path: Path) -> None:
    runs = [
        FakeRun({"lr": 0.1, "n": 1, "flag": True, "net": "cnn", "sizes": [1, 2], "mixed": 1, "maybe": 3}, lines(0.5)),
        FakeRun(
            {"lr": 1, "n": 2, "flag": False, "net": "vit", "sizes": [3], "mixed": "auto", "maybe": None}, lines(0.6)
        ),
    ]
    table = results.frame(made(tmp_path, runs))
    kinds = {name: str(kind) for name, kind in table.dtypes.items()}
    assert kinds["lr"] == "float64"
    assert kinds["n"] == "int64"
    assert kinds["flag"] == "bool"
    assert kinds["maybe"] == "Int64"
    assert kinds["mixed"] == "object"
    assert kinds["val_acc"] == kinds["val_acc_best"] == kinds["run_seconds"] == "float64"
    assert kinds["run_started"] == "datetime64[ns, UTC]"
    assert kinds["run_number"] == "int64"
    assert list(table["sizes"]) == ["[1, 2]", "[3]"]
    assert list(table["run_state"]) == ["done", "done"]
    assert pd.api.types.is_string_dtype(table["net"])
    assert table["run_started"][0].timestamp() == pytest.approx(START + 1.5)


def test_curves_are_in_long_form(tmp_path: Path) -> None:
    report = two(tmp_path)
    table = results.curves(report, "val_acc")
    assert list(table.columns) == ["run_sweep", "run_number", "lr", "metric", "step", "value"]
    assert [tuple(row) for row in table[["run_number", "step", "value"]].itertuples(index=False)] == [
        (1, 1.0, 0.5),
        (1, 2.0, 0.9),
        (1, 3.0, 0.8),
        (2, 1.0, 0.4),
        (2, 2.0, 0.6),
        (2, 3.0, 0.85),
    ]
    with pytest.raises(InputError, match=r"did you mean val_acc\?"):
        results.curves(report, "val_ac")


def test_several_sweeps_in_one_table(tmp_path: Path) -> None:
    write_sweep(tmp_path / "one", [FakeRun({"lr": 0.1}, lines(0.5))])
    write_sweep(tmp_path / "two", [FakeRun({"depth": 3}, lines(0.6, name="val_loss"))])
    both = [results.collect(results.from_folders(tmp_path / name)) for name in ("one", "two")]
    rows = json.loads(results.render(both, "json"))
    assert [(row["run_sweep"], row["lr"], row["depth"]) for row in rows] == [("one", 0.1, None), ("two", None, 3)]
    assert [row["val_loss"] for row in rows] == [None, 0.6]
    assert results.frame(both).shape[0] == 2
    assert str(results.render(both)).count("best: ") == 2


def test_a_metric_of_a_young_run_is_called_as_in_the_runs_that_are_further_on(tmp_path: Path) -> None:
    """Under a heading for the training alone it is the loss, and the training's once there is one of the validation."""
    young = "Epoch 1\nTraining:\n  loss: 0.5\n"
    old = "".join(f"Epoch {n}\nTraining:\n  loss: {1 / n}\nValidation:\n  loss: {2 / n}\n" for n in range(1, 4))
    report = made(tmp_path, [FakeRun({"lr": 0.1}, old), FakeRun({"lr": 0.2}, young)])
    assert [sorted(run.metrics) for run in report.runs] == [["train_loss", "val_loss"], ["train_loss"]]
    curves = results.curves([report], "train_loss")
    assert list(curves[curves.run_number == 2].value) == [0.5]
    alone = made(tmp_path / "alone", [FakeRun({"lr": 0.2}, young)])
    assert [sorted(run.metrics) for run in alone.runs] == [["loss"]]
