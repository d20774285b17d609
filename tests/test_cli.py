"""What was typed, read: words, help, completion, and that fire never gets to see what it would misread."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import string
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sweeper import index, paths
from sweeper.cli import complete, help, main, plans, words
from sweeper.cli.table import COMMANDS, LAUNCH, NAMES, Command
from sweeper.errors import InputError

ALL = (LAUNCH, *COMMANDS)
FLAGS = sorted({f"--{flag.name}" for command in ALL for flag in command.flags})
SHELL_WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12)
TYPED = st.one_of(
    st.sampled_from(
        [*FLAGS, *(f"{flag}=" for flag in FLAGS), "--", "-", "", "-f", "-o", "-y", "--help", "\x1f", "7", "9-12"]
    ),
    st.tuples(st.sampled_from(FLAGS), st.sampled_from(["", "=", "x", "=true", "=0", "s"])).map("".join),
    st.sampled_from(["digits", "grid.yaml", "--__class__", "--self", "-1", "__init__", "0x10", "1e3", "a,b", "None"]),
    SHELL_WORDS,
    SHELL_WORDS.map("--".__add__),
)


def refused(command: Command, *typed: str) -> str:
    with pytest.raises(InputError) as caught:
        words.normalise(command, typed)
    return str(caught.value)


# -- which command -------------------------------------------------------------------------------------------------


def test_the_first_word_names_a_command_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").write_text("command: x\n")
    (tmp_path / "statsu").write_text("command: x\n")
    assert words.command_of(["report", "a"]) == (NAMES["report"], ["a"])
    assert words.command_of(["./report"]) == (LAUNCH, ["./report"])
    assert words.command_of(["--serial", "grid.yaml"]) == (LAUNCH, ["--serial", "grid.yaml"])
    assert words.command_of(["statsu"]) == (LAUNCH, ["statsu"])  # there is such a file
    assert words.command_of([]) == (LAUNCH, [])


@pytest.mark.parametrize(
    ("typed", "meant"), [("statsu", "status"), ("lst", "ls"), ("resum", "resume"), ("log", "logs")]
)
def test_what_is_nearly_a_command_is_suggested(typed: str, meant: str) -> None:
    for more in ([], ["digits"], ["--json"]):
        with pytest.raises(InputError, match=f"did you mean sweep {meant}\\?"):
            words.command_of([typed, *more])
    with pytest.raises(InputError, match=f"did you mean {meant}\\?"):
        words.named(typed)


def test_other_programs_words_are_understood_and_a_file_without_its_ending(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hint(*typed: str) -> str:
        with pytest.raises(InputError) as caught:
            words.command_of(typed)
        return str(caught.value)

    assert hint("kill", "lr") == "there is no sweep file and no command 'kill'; did you mean sweep stop?"
    assert "did you mean sweep stop?" in hint("cancel")
    assert "did you mean sweep --version?" in hint("version")
    (place / "lr.yaml").touch()
    assert hint("lr").endswith("; did you mean sweep lr.yaml?")
    sweep = place / "elsewhere" / "lr"
    sweep.mkdir(parents=True)
    index.remember(paths.SweepDir(sweep))
    assert hint("lr").endswith("; did you mean sweep lr.yaml? (or sweep status lr)")
    (place / "lr.yaml").unlink()
    assert hint("lr").endswith("; did you mean sweep status lr?")
    for number in range(12):
        (place / "elsewhere" / f"n{number}").mkdir()
        index.remember(paths.SweepDir(place / "elsewhere" / f"n{number}"))
    with pytest.raises(InputError, match=r"there are: (\w+, ){9}\w+ and \d+ more \(sweep ls\)"):
        index.find("zzzzzz")


def test_a_verb_before_a_file_is_told_to_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").touch()
    with pytest.raises(InputError, match=r"sweep grid\.yaml launches"):
        words.command_of(["run", "grid.yaml", "--serial"])


# -- flags ---------------------------------------------------------------------------------------------------------


def test_flags_are_joined_to_their_values_and_stand_last() -> None:
    assert words.normalise(LAUNCH, ["--serial", "g.yaml"]) == ["g.yaml", "--serial=True"]
    assert words.normalise(LAUNCH, ["--parallel", "4", "g.yaml"]) == ["g.yaml", "--parallel=4"]
    assert words.normalise(LAUNCH, ["g.yaml", "--dry_run"]) == ["g.yaml", "--dry-run=True"]
    assert words.normalise(NAMES["logs"], ["7", "-f"]) == ["7", "--follow=True"]
    assert words.normalise(NAMES["report"], ["--sort", "-lr,x"]) == ["--sort=-lr,x"]
    assert words.normalise(NAMES["report"], ["--where=a == 1"]) == ["--where=a == 1"]
    assert words.normalise(LAUNCH, ["--runs-dir", "a-hold", "x"]) == ["x", "--runs-dir=a-hold"]
    assert words.normalise(LAUNCH, ["--hold=no", "x"]) == ["x", "--hold=False"]


def test_what_no_command_knows_is_refused_with_the_nearest() -> None:
    assert "did you mean --parallel?" in refused(LAUNCH, "g.yaml", "--paralel", "2")
    assert "--parallel wants a value" in refused(LAUNCH, "g.yaml", "--parallel")
    assert "--parallel wants a value" in refused(LAUNCH, "--parallel", "--dry-run", "g.yaml")
    assert "given twice" in refused(LAUNCH, "--parallel", "2", "--parallel=3")
    assert "takes no value" in refused(LAUNCH, "--serial=grid.yaml")
    assert "one sweep file" in refused(LAUNCH, "a.yaml", "b.yaml")
    assert "one word too many" in refused(NAMES["ls"], "x")
    assert "sweep run-one -- echo" in refused(NAMES["run-one"], "echo")
    assert "did you mean json?" in refused(NAMES["report"], "--format", "jsn")
    assert "it can be table" in refused(NAMES["report"], "--format=")
    assert "it takes no flags" in refused(NAMES["schema"], "--json")
    assert "'-x' is no name" in refused(NAMES["status"], "--", "-x")


def test_a_file_after_two_dashes_may_look_like_a_flag() -> None:
    assert words.normalise(LAUNCH, ["--", "--serial"]) == ["./--serial"]


@given(st.sampled_from(ALL), st.lists(TYPED, max_size=6))
@example(NAMES["status"], ["\x1f", "x"])
@example(NAMES["stop"], ["9" * 5000])
@example(NAMES["stop"], ["1-999999999999"])
@example(LAUNCH, ["g.yaml", "--parallel=" + "9" * 5000])
@settings(max_examples=300, deadline=None)
def test_any_words_make_a_plan_or_an_error_for_people(command: Command, typed: list[str]) -> None:
    """And fire, whose own complaints go to standard error, has nothing to complain about."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), contextlib.suppress(InputError):
        clean = words.normalise(command, typed)
        known = {flag.name for flag in command.flags}
        assert all(not word.startswith("-") or word[2:].partition("=")[0] in known for word in clean)
        assert isinstance(plans.plan(command, clean, None), plans.Plan)
    assert said.getvalue() == ""


@pytest.mark.parametrize(
    "value", ["1.10", "1e3", "a,b", "0x10", "None", "True", "[1]", "{'a': 1}", "1_000", "-x", "a=b", ""]
)
def test_values_stay_as_they_were_typed(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.cli import reporting

    seen: list[object] = []
    monkeypatch.setattr(reporting, "report", lambda names, *_, where, **__: seen.append((names, where)) or 0)
    name = value if not value.startswith("-") else "x"
    assert (
        plans.plan(NAMES["report"], words.normalise(NAMES["report"], [name, f"--where={value}"]), None).carry_out() == 0
    )
    assert seen == [((name,), value)]


# -- values --------------------------------------------------------------------------------------------------------


@given(SHELL_WORDS)
@example("9" * 5000)
def test_numbers_are_numbers_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 0 <= words.number("top", text) <= words.MOST


@given(st.lists(st.one_of(SHELL_WORDS, st.from_regex(r"[0-9]{1,3}(-[0-9]{1,3})?", fullmatch=True)), max_size=4))
def test_runs_are_numbers_in_order_and_once(typed: list[str]) -> None:
    try:
        name, runs = words.name_and_runs(typed)
    except InputError:
        return
    assert len(set(runs)) == len(runs)
    assert all(run >= 0 for run in runs)
    assert name is None or name == typed[0]


def test_runs_and_ranges() -> None:
    assert words.name_and_runs(["digits", "7", "9-12", "10"]) == ("digits", [7, 9, 10, 11, 12])
    assert words.name_and_runs(["7"]) == (None, [7])
    assert words.name_and_runs([]) == (None, [])
    for wrong in (["d", "x"], ["d", "5-3"], ["d", "1-9999999"], ["d", "9" * 30], ["d", "1-"], ["d", "٣"]):
        with pytest.raises(InputError):
            words.name_and_runs(wrong)
    assert words.one([3]) == 3
    assert words.one([]) is None
    with pytest.raises(InputError, match="one run at a time"):
        words.one([1, 2])


def test_lists_and_gpus() -> None:
    assert words.listing("a, b,,c") == ("a", "b", "c")
    assert words.indices("gpus-allowed", "0,2") == (0, 2)
    assert words.gpu_count("all") == "all"
    assert words.gpu_count("2") == 2
    for wrong in ("", "x", "0;2"):
        with pytest.raises(InputError, match="--gpus-allowed"):
            words.indices("gpus-allowed", wrong)
    with pytest.raises(InputError, match="is a UUID: CUDA_VISIBLE_DEVICES=MIG-1a"):
        words.indices("gpus-allowed", "0,MIG-1a")


# -- table and help ------------------------------------------------------------------------------------------------


def test_every_command_is_bound_and_takes_the_flags_of_the_table() -> None:
    functions = plans._functions(None)
    assert set(functions) == {command.name for command in ALL}
    for command in ALL:
        code = functions[command.name].__code__
        keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        assert {name.replace("_", "-") for name in keyword} == {flag.name for flag in command.flags}, command.name


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_help_shows_every_flag_and_an_example(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    text = help.of(command)
    assert command.text in text
    assert command.example in text
    assert all(f"--{flag.name}" in text and flag.text in text for flag in command.flags)
    assert all(len(flag.short) <= 1 for flag in command.flags)
    typed = ["--help"] if command is LAUNCH else [command.name, "--help"]
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 0
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_examples_are_understood(command: Command) -> None:
    typed = command.example.removeprefix('eval "$(').removesuffix(')"').split(" > ")[0]
    first, *rest = shlex.split(typed)
    assert first == "sweep"
    after = rest[rest.index("--") + 1 :] if "--" in rest else None
    own = rest[: rest.index("--")] if "--" in rest else rest
    found, more = words.command_of(["./" + own[0], *own[1:]]) if command is LAUNCH else words.command_of(own)
    assert found is command
    assert isinstance(plans.plan(found, words.normalise(found, more), after), plans.Plan)


@pytest.mark.parametrize("typed", [["--version"], ["--version", "x"]])
def test_version(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(typed)
    assert capsys.readouterr().out.startswith("sweep ")


def test_elsewhere_than_linux_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    assert ended.value.code == 2
    assert "needs Linux" in capsys.readouterr().err


def test_a_fault_of_ours_leaves_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    unexpected = sys.modules[main.__module__]._unexpected
    try:
        raise ZeroDivisionError("\x1b[31mred")
    except ZeroDivisionError as error:
        unexpected(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert said.count("\n") == 1
    (crash,) = (tmp_path / "sweep").iterdir()
    assert str(crash) in said
    assert "ZeroDivisionError" in crash.read_text()


# -- completion ----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SWEEP_RUNS_DIR", raising=False)
    for name in ("digits", "deep"):
        run = tmp_path / "runs" / name / "0007-x=1"
        run.mkdir(parents=True)
        (run.parent / "sweep.yaml").touch()
    (tmp_path / "runs" / "no-sweep").mkdir()
    (tmp_path / "grid.yaml").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "sub dir" / "a grid.yml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["sta"], ["status"]),
        (["gri"], ["grid.yaml"]),
        (["sub"], ["sub dir/"]),
        (["sub dir/"], ["sub dir/a grid.yml"]),
        (["status", "d"], ["deep", "digits"]),
        (["status", "digits", ""], []),
        (["status", "--j"], ["--json"]),
        (["grid.yaml", "--par"], ["--parallel"]),
        (["grid.yaml", ""], []),
        (["--parallel", "4", "gri"], ["grid.yaml"]),
        (["grid.yaml", "--parallel", ""], []),
        (["logs", "digits", ""], ["7"]),
        (["logs", "--raw", "digits", ""], ["7"]),
        (["stop", "digits", "7", ""], []),
        (["report", "--format", "j"], ["json"]),
        (["report", "--format=j"], ["--format=json"]),
        (["report", "--format", "=", "j"], ["json"]),
        (["report", "--format", "="], ["table", "csv", "json", "markdown", "latex", "parquet", "html"]),
        (["report", "--runs-dir", "ru"], ["runs/"]),
        (["report", "-o", "no"], ["notes.txt"]),
        (["report", "digits", "de"], ["deep"]),
        (["completion", "z"], ["zsh"]),
        (["run-one", "--", "pyth"], []),
        (["logs", "nothing", ""], []),
        (["--nonsense=", ""], ["grid.yaml", "runs/", "sub dir/"]),
    ],
)
def test_candidates(place: Path, typed: list[str], found: list[str]) -> None:
    try:
        given = complete.candidates(typed)
    except InputError:
        given = []
    assert sorted(given) == sorted(found)


@given(st.lists(TYPED, max_size=5))
@settings(max_examples=100, deadline=None)
def test_completion_never_fails_but_for_an_unknown_name(typed: list[str]) -> None:
    try:
        assert all("\n" not in candidate for candidate in complete.candidates(["status", *typed]))
    except InputError:
        return


def test_candidates_stand_on_lines_of_their_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "two\nlines.yaml").touch()
    for typed, out in ((["sta"], "status\n"), (["nothing-so"], ""), (["two"], "")):
        with pytest.raises(SystemExit):
            main(["__complete", *typed])
        assert capsys.readouterr().out == out


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["schema"])
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_words_of_an_error_reach_no_terminal_as_commands(capsys: pytest.CaptureFixture[str]) -> None:
    odd = "x\x1b]0;title\x07" + "".join(map(chr, range(1, 32))) + "\x9b" + string.ascii_letters
    with pytest.raises(SystemExit) as ended:
        main([odd])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(char.isprintable() or char == "\n" for char in said)
