"""What the README promises is there: commands, flags, keys, and a test for every line of what survives what."""

from __future__ import annotations

import ast
import random
import re
from itertools import product
from pathlib import Path

import pytest
from fake_sweep import FakeRun, training_log, write_sweep

from sweeper import model, results, spec
from sweeper.cli.table import COMMANDS, LAUNCH, Command, Flag

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = (LAUNCH, *COMMANDS)


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {title!r}"
    return found.group(1)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_stands_in_the_readme(command: Command) -> None:
    assert re.search(rf"`sweep {command.name}\b", section("Commands")), f"sweep {command.name} is not described"


def flags() -> list[tuple[str, Flag]]:
    once = {flag.name: (command.name, flag) for command in reversed(ALL) for flag in command.flags}
    return sorted(once.values(), key=lambda pair: pair[1].name)


@pytest.mark.parametrize(("command", "flag"), flags(), ids=lambda value: getattr(value, "name", value))
def test_every_flag_stands_in_the_readme(command: str, flag: Flag) -> None:
    assert re.search(rf"--{flag.name}(?![\w-])", README), f"--{flag.name} of sweep {command} is not described"


@pytest.mark.parametrize("key", spec.KEYS)
def test_every_key_stands_in_the_readme(key: str) -> None:
    cells = [line.split("|")[1] for line in section("The sweep file").splitlines() if line.startswith("|")]
    assert any(f"`{key}`" in cell for cell in cells), f"{key}: has no line in the table of keys"


def test_the_readme_shows_no_flag_that_is_not_there() -> None:
    known = {flag.name for command in ALL for flag in command.flags} | {"help", "version"}
    for line in README.splitlines():
        for said in re.findall(r"`?sweep [^`|]*", line):
            ours = re.split(r" -- |[$;#&]", said)[0]
            for flag in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", ours):
                assert flag in known, f"{line!r} shows --{flag}"


def test_the_sample_of_a_report_is_what_the_report_prints(tmp_path: Path) -> None:
    """Of such a night: 12 runs on two GPUs, one of which failed."""
    chance = random.Random(4)
    goals = {"1e-3": 0.90, "1e-2": 0.955, "0.1": 0.975}
    runs = []
    for lr, hidden, seed in product(goals, (32, 64), (0, 1)):
        goal = goals[lr] + (0.004 if hidden == 64 else 0) + chance.gauss(0, 0.002)
        log = training_log(chance, goal, 20)
        params = {"lr": float(lr), "hidden": hidden, "seed": seed}
        runs.append(FakeRun(params, log, texts={"lr": lr}, seconds=chance.uniform(540, 600), gpus=["slot"]))
    runs[8].state, runs[8].exit_code, runs[8].seconds = model.FAILED, 1, 130
    runs[8].log = (
        "\n".join(runs[8].log.splitlines()[:4]) + "\nTraceback (most recent call last):\n    loss.backward()\n"
        "RuntimeError: CUDA error: an illegal memory access was encountered\n"
    )
    write_sweep(tmp_path / "lr", runs)
    report = results.collect(results.from_folders(tmp_path / "lr", repeat=("seed",)))
    assert str(results.render(report, width=110)).rstrip() in section("What it looks like")


def survivals() -> list[tuple[str, str]]:
    """(what happens, the test that shows it) of each line of the table."""
    rows = [line.strip().strip("|").split("|") for line in section("What survives what").splitlines() if "|" in line]
    rows = [row for row in rows[2:] if len(row) > 1]  # the head and its rule
    return [(row[0].strip(), row[-1].strip()) for row in rows]


def left_out(source: str, test: str) -> bool:
    """Whether a test is not there, or of the long form, or skipped wherever it runs."""
    tree = ast.parse(source)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == test]
    marks = [value for node in found for value in node.decorator_list]
    marks += [node.value for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)]
    never = any(re.search(r"mark\.(long|skip|xfail)\b", ast.unparse(mark)) for mark in marks if not _parameters(mark))
    never |= any(all(map(_is_long, cases)) for mark in marks if (cases := _parameters(mark)))
    never |= any(ast.unparse(line).startswith("pytest.skip(") for node in found for line in node.body)
    return not found or never


def _parameters(mark: ast.expr) -> list[ast.expr]:
    """The cases of ``pytest.mark.parametrize``; none of any other mark, or where they are worked out elsewhere."""
    if not isinstance(mark, ast.Call) or not ast.unparse(mark.func).endswith("mark.parametrize"):
        return []
    return mark.args[1].elts if isinstance(mark.args[1], (ast.List, ast.Tuple)) else []


def _is_long(case: ast.expr) -> bool:
    return bool(re.search(r"marks=.*mark\.(long|skip)\b", ast.unparse(case)))


LEFT_OUT = """
import pytest
@pytest.mark.long
def test_long(): pass
@pytest.mark.skip(reason="")
def test_skipped(): pass
def test_skips(): pytest.skip("now")
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=[pytest.mark.long])])
def test_all_long(x): pass
@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.skipif(sys.platform == "odd", reason="")
def test_one_long(x):
    if x == 2: pytest.skip("that one")
"""


def test_a_test_that_is_left_out_shows_nothing() -> None:
    names = ("test_long", "test_skipped", "test_skips", "test_all_long", "test_none")
    assert all(left_out(LEFT_OUT, name) for name in names)
    assert not left_out(LEFT_OUT, "test_one_long")
    assert left_out(f"pytestmark = pytest.mark.long\n{LEFT_OUT}", "test_one_long")


def test_every_line_of_what_survives_what_is_a_test() -> None:
    assert len(survivals()) > 10
    for what, last in survivals():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", last)
        assert named, f"{what!r} names no test in its last column"
        for file, test in named:
            path = ROOT / file
            assert path.is_file(), f"{what!r}: there is no {file}"
            assert not left_out(path.read_text(encoding="utf-8"), test), (
                f"{what!r}: {file}::{test} is not run each time"
            )
