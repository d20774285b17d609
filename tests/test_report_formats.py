"""CSV, JSON, Markdown, LaTeX and Parquet; and --where, --sort, --columns: what is asked for comes out, cleanly."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import FakeRun, write_sweep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper import model, results
from sweeper.errors import InputError
from sweeper.results.formats import _latex, _markdown

HOSTILE = [
    "a'; touch x #",
    'quote"comma,semi;',
    "line\nbreak",
    "#(date) $(date) `date`",
    "../../x",
    "-rf",
    "<script>alert(1)</script>",
    "\x1b[31mred\x07",
    "über 模型 🙂",
    "\u202eevil",
    "|pipe|",
    "100% & $5_a^b~{c}\\end{table}",
]


def log(**values: float) -> str:
    return " ".join(["epoch=1", *(f"{name}={value}" for name, value in values.items())]) + "\n"


def made(tmp_path: Path, runs: Sequence[FakeRun], **how: Any) -> results.Report:
    write_sweep(tmp_path / "night", runs)
    return results.collect(results.from_folders(tmp_path / "night", **how))


@pytest.fixture
def report(tmp_path: Path) -> results.Report:
    runs = [
        FakeRun({"lr": 0.1, "net": "cnn", "lambda": 1}, log(val_acc=0.9, val_loss=0.3), seconds=30),
        FakeRun({"lr": 0.01, "net": "vit", "lambda": 2}, log(val_acc=0.8, val_loss=0.4), seconds=10),
        FakeRun({"lr": 0.001, "net": "cnn", "lambda": 3}, log(val_acc=0.7, val_loss=0.2), seconds=20),
        FakeRun({"lr": 3.0, "net": "mlp", "lambda": 4}, "boom\n", state=model.FAILED, exit_code=1),
    ]
    return made(tmp_path, runs)


def csv_rows(report: results.Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(str(results.render(report, "csv")))))


def numbers(text: str | bytes) -> list[int]:
    return [row["run_number"] for row in json.loads(text)]


# -- flat rows ----------------------------------------------------------------------------------------------------


def test_json_is_an_array_of_flat_rows(report: results.Report) -> None:
    rows = json.loads(results.render(report, "json"))
    assert [row["run_number"] for row in rows] == [1, 2, 3, 4]
    first = rows[0]
    assert (first["lr"], first["net"], first["lambda"]) == (0.1, "cnn", 1)
    assert (first["val_acc"], first["val_acc_best"], first["val_loss_best"]) == (0.9, 0.9, 0.3)
    assert first["run_state"] == "done"
    assert first["run_started"].endswith("Z")
    assert rows[3]["val_acc"] is None
    assert rows[3]["run_cause"] == "boom"
    assert all(list(row) == list(first) for row in rows)


def test_csv_is_read_back_as_the_same_rows(report: results.Report) -> None:
    rows = csv_rows(report)
    flat = json.loads(results.render(report, "json"))
    assert [row["run_state"] for row in rows] == ["done", "done", "done", "failed"]
    assert [float(row["lr"]) for row in rows] == [row["lr"] for row in flat]
    assert rows[3]["val_acc"] == ""


def test_a_metric_and_a_parameter_of_one_name(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr}, f"epoch=1 lr={lr} val_acc=0.5\nepoch=2 lr={lr / 2} val_acc=0.6\n") for lr in (0.1, 0.2)]
    rows = json.loads(results.render(made(tmp_path, runs), "json"))
    assert [row["lr"] for row in rows] == [0.1, 0.2]
    assert [row["metric.lr"] for row in rows] == [0.05, 0.1]


def test_names_like_ours_are_kept_apart(tmp_path: Path) -> None:
    runs = [FakeRun({"run_state": n, "val_acc_best": n * 2}, log(val_acc=0.5)) for n in (1, 2)]
    rows = json.loads(results.render(made(tmp_path, runs), "json"))
    assert [row["param.run_state"] for row in rows] == [1, 2]
    assert [row["run_state"] for row in rows] == ["done", "done"]
    assert [row["val_acc_best"] for row in rows] == [2, 4]
    assert [row["metric.val_acc_best"] for row in rows] == [0.5, 0.5]


def test_values_that_are_no_numbers_are_null(tmp_path: Path) -> None:
    runs = [FakeRun({"a": 1}, "epoch=1 val_loss=0.5\nepoch=2 val_loss=nan\n"), FakeRun({"a": 2}, log(val_loss=0.4))]
    report = made(tmp_path, runs)
    text = str(results.render(report, "json"))
    row = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))[0]
    assert row["val_loss"] is None
    assert row["val_loss_best"] == 0.5
    assert math.isnan(results.frame(report)["val_loss"][0])
    assert csv_rows(report)[0]["val_loss"] == ""


def test_lists_and_mappings_keep_their_shape_in_json(tmp_path: Path) -> None:
    runs = [
        FakeRun({"sizes": [64, 64], "opt": {"name": "sgd"}}, log(val_acc=0.5)),
        FakeRun({"sizes": [1], "opt": {}}, ""),
    ]
    report = made(tmp_path, runs)
    assert json.loads(results.render(report, "json"))[0]["sizes"] == [64, 64]
    assert csv_rows(report)[0]["opt"] == '{"name": "sgd"}'


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_come_out_whole_and_reach_no_terminal(tmp_path: Path, value: str) -> None:
    runs = [
        FakeRun({"p": value}, log(val_acc=0.5)),
        FakeRun({"p": "plain"}, f"{value}\n", state=model.FAILED, exit_code=1),
    ]
    report = made(tmp_path, runs)
    assert json.loads(results.render(report, "json"))[0]["p"] == value
    assert csv_rows(report)[0]["p"] == value
    for form in ("table", "markdown", "latex"):
        text = str(results.render(report, form))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    table = str(results.render(report, "markdown"))
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in table.splitlines()[:3])


# -- for papers ---------------------------------------------------------------------------------------------------


def test_markdown_is_a_table_of_the_runs_that_count(report: results.Report) -> None:
    lines = str(results.render(report, "markdown")).splitlines()
    assert lines[0] == "| lr | net | lambda | val\\_acc\\_best | val\\_loss\\_best |"
    assert lines[1] == "| ---: | :--- | ---: | ---: | ---: |"
    assert lines[2] == "| 0.1 | cnn | 1 | **0.9** | 0.3 |"
    assert len(lines) == 7
    assert lines[-1] == "<!-- 1 left out: not ranked, or without a value -->"


def test_latex_is_ready_to_paste(report: results.Report) -> None:
    text = str(results.render(report, "latex"))
    assert r"\usepackage{booktabs}" in text
    assert r"$0.1$ & cnn & $1$ & $\mathbf{0.9}$ & $0.3$ \\" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert r"val\_acc\_best" in text


@pytest.mark.parametrize("sort", ["lr", "-lr", "val_acc", "-val_acc", "net"])
@pytest.mark.parametrize(("way", "best"), [("maximize", "0.9"), ("minimize", "0.7")])
def test_the_best_is_bold_wherever_it_stands(tmp_path: Path, sort: str, way: str, best: str) -> None:
    runs = [
        FakeRun({"lr": lr, "net": net}, log(val_acc=value))
        for lr, net, value in [(1, "b", 0.8), (2, "a", 0.9), (3, "c", 0.7), (4, "d", 0.85)]
    ]
    report = made(tmp_path, runs, **{way: "val_acc"})
    assert re.findall(r"\*\*(.+?)\*\*", str(results.render(report, "markdown", sort=[sort]))) == [best]
    assert re.findall(r"\\mathbf{(.+?)}", str(results.render(report, "latex", sort=[sort]))) == [best]


def test_of_what_is_shown_the_best_is_bold_and_all_that_tie(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr}, log(val_acc=value)) for lr, value in [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.8)]]
    text = str(results.render(made(tmp_path, runs), "markdown", sort=["lr"], where="lr > 1"))
    assert [line for line in text.splitlines() if "**" in line] == ["| 2 | **0.8** |", "| 4 | **0.8** |"]


def test_of_configurations_the_best_mean_is_bold(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": lr, "seed": s}, log(val_acc=lr + s / 100)) for lr in (0.1, 0.3, 0.2) for s in range(3)]
    text = str(results.render(made(tmp_path, runs, repeat=("seed",)), "markdown", sort=["lr"]))
    assert ["**" in line for line in text.splitlines()[2:]] == [False, False, True]
    assert "| 0.3 | **0.310 ± 0.010 (3)** |" in text


def test_latex_has_mean_and_deviation(tmp_path: Path) -> None:
    runs = [FakeRun({"lr": 0.1, "seed": s}, log(val_acc=0.9 + s / 100)) for s in range(3)]
    runs += [FakeRun({"lr": 0.2, "seed": s}, log(val_acc=0.5 + s / 100)) for s in range(3)]
    text = str(results.render(made(tmp_path, runs, repeat=("seed",)), "latex"))
    assert r"$0.1$ & $\mathbf{0.910 \pm 0.010}$ \\" in text
    assert "mean and standard deviation over seed" in text


@given(st.text())
def test_latex_escapes_all_that_is_special(text: str) -> None:
    escaped = _latex(text)
    bare = re.sub(r"\\(?:[{}$&#%_]|text[a-z]+\{\})", "", escaped)
    assert not set(bare) & set("\\{}$&#%_^~")
    assert "\n" not in escaped


@given(st.text())
def test_markdown_cells_hold_no_markup(text: str) -> None:
    escaped = _markdown(text)
    assert not set(re.sub(r"\\.", "", escaped)) & set("|`*_{}[]<>")
    assert "\n" not in escaped


# -- parquet ------------------------------------------------------------------------------------------------------


def test_parquet_without_its_library_says_how_to_get_it(
    report: results.Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match="pip install"):
        results.render(report, "parquet")


def test_parquet_is_read_back(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pandas as pd

    runs = [FakeRun({"lr": 0.1, "mixed": 1}, log(val_acc=0.5)), FakeRun({"lr": 0.2, "mixed": "auto"}, log(val_acc=0.6))]
    data = results.render(made(tmp_path, runs), "parquet")
    assert isinstance(data, bytes)
    table = pd.read_parquet(io.BytesIO(data))
    assert list(table["val_acc"]) == [0.5, 0.6]
    assert list(table["mixed"]) == ["1", "auto"]


# -- choosing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("lr < 0.1 and state == 'done'", [2, 3]),
        ("net == 'cnn'", [1, 3]),
        ("val_acc > 0.75", [1, 2]),
        ("run_state != 'done'", [4]),
        ("net in ['vit', 'mlp']", [2, 4]),
        ("net.str.startswith('c')", [1, 3]),
        ("lambda >= 3", [3, 4]),
        ("`lambda` == 1", [1]),
        ("run == 2", [2]),
        ("time < 25", [2, 3]),
        ("cause == 'boom'", [4]),
        ("not (lr > 0.05)", [2, 3]),
        ("lr > 100", []),
    ],
)
def test_where_keeps_the_runs_for_which_it_holds(report: results.Report, where: str, expected: list[int]) -> None:
    assert numbers(results.render(report, "json", where=where)) == expected
    assert isinstance(results.render(report, where=where), str)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lrr < 0.1", "did you mean lr"),
        ("lr <", "not a condition"),
        ("lr", "--where"),
        ("import os", "not a condition"),
        ("net < 3", "--where"),
        ("lr == @x", "no meaning"),
        ("lr.__class__ == 1", "no meaning"),
        ("lr = 3", "--where"),
        ("state == done", "no column done"),
        ("1 +", "--where"),
        ("net.foo()", "--where"),
        ("'", "--where"),
        ("lr[", "--where"),
    ],
)
def test_a_condition_that_makes_no_sense_is_an_error(report: results.Report, where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        results.render(report, "json", where=where)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="lr<>=.0'\"`()[]&|~ and_or@,+-*/%\\\n", max_size=12))
def test_no_condition_ends_in_a_traceback(report: results.Report, where: str) -> None:
    with contextlib.suppress(InputError):  # nothing else may come
        results.render(report, "json", where=where)


@pytest.mark.parametrize("name", ["optim.lr", "weight-decay", "a b", "class", "1st", "naïve", "x/y"])
def test_odd_names_work_in_conditions(tmp_path: Path, name: str) -> None:
    report = made(tmp_path, [FakeRun({name: value}, log(val_acc=0.5)) for value in (1, 2, 3)])
    assert numbers(results.render(report, "json", where=f"{name} > 1 and state == 'done'")) == [2, 3]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (["lr"], [3, 2, 1, 4]),
        (["-lr"], [4, 1, 2, 3]),
        (["val_acc"], [3, 2, 1, 4]),  # ascending, although high is good
        (["-val_acc"], [1, 2, 3, 4]),
        (["-val_acc_best"], [1, 2, 3, 4]),
        (["val_loss"], [3, 1, 2, 4]),
        (["-val_loss"], [2, 1, 3, 4]),
        (["net", "-val_acc"], [1, 3, 4, 2]),
        (["net", "lr"], [3, 1, 4, 2]),
        (["time"], [2, 3, 1, 4]),
        (["run_ended"], [2, 1, 3, 4]),
    ],
)
def test_sort(report: results.Report, sort: list[str], expected: list[int]) -> None:
    assert numbers(results.render(report, "json", sort=sort)) == expected


def test_top_keeps_the_best_in_every_format(report: results.Report) -> None:
    assert numbers(results.render(report, "json", top=2)) == [1, 2]
    assert len(str(results.render(report, "csv", top=1)).splitlines()) == 2
    assert numbers(results.render(report, "json", top=1, sort=["lr"])) == [3]
    with pytest.raises(InputError, match="--top -1"):
        results.render(report, top=-1)


def test_columns_are_those_that_were_named(report: results.Report) -> None:
    assert str(results.render(report, "csv", columns=["net", "state"])).splitlines()[:2] == [
        "net,run_state",
        "cnn,done",
    ]
    text = str(results.render(report, columns=["val_loss", "net", "folder"]))
    assert re.search(r"val_loss\s+net\s+folder", text)
    with pytest.raises(InputError, match=r"--columns nett: .*did you mean net\?"):
        results.render(report, columns=["nett"])
    with pytest.raises(InputError, match=r"--sort nett: .*did you mean net\?"):
        results.render(report, sort=["nett"])


def test_an_unknown_format_is_an_error(report: results.Report) -> None:
    with pytest.raises(InputError, match=r"did you mean json\?"):
        results.render(report, "jsn")


def test_colours_only_where_they_are_wanted(report: results.Report) -> None:
    assert "\x1b[" not in str(results.render(report))
    assert "\x1b[" in str(results.render(report, color=True))
