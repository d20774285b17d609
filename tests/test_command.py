"""Commands: places, quoting that bash undoes exactly, keys, dry runs. What is rendered is really run by bash."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.command import Template, describe, dry_run, template, text
from sweeper.errors import SpecError
from sweeper.grid import Points, expand
from sweeper.model import Value
from sweeper.spec import read_spec

HOSTILE = [
    *("a'; touch x #", "$(touch x)", "`touch x`", "#(touch x)", "../../x", "-rf", "", " ", "a b", "a\nb", "\n", "\t"),
    *(
        '"',
        "'",
        "\\",
        "\\'",
        "a\\",
        "$HOME",
        "${HOME}",
        "~",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "{1..3}",
        "{lr}",
        "{{",
        "!",
        "!!",
    ),
    *(
        "&",
        "|",
        ";",
        "<",
        ">",
        "#",
        "a=b",
        "if",
        "time",
        "\x1b[31m",
        "\x7f",
        "\x01",
        "é",
        "\u202e",
        "😀",
        "\u00a0",
        "\r",
    ),
    *("=x", "%s", "--", "x'y'z", "$'a'", "a\r\nb", "\x9b31m", "2", "(", ")", "\x0bx", "\\n", "\\x41", "=ls", "^a^b"),
]


def as_yaml(file: Any) -> str:
    """JSON is YAML, but for characters beyond 16 bits, which JSON escapes as two halves."""
    whole = json.dumps(file, ensure_ascii=False)
    return "".join(c if " " <= c <= "~" or c == "\n" else f"\\U{ord(c):08x}" for c in whole)


def ready(text: str) -> tuple[Points, Template]:
    spec = read_spec("/file.yaml", text)
    return expand(spec), template(spec)


def made(command: str, grid: dict[str, Any], args: str | None = None) -> tuple[Points, Template]:
    """A sweep file of these."""
    file: dict[str, Any] = {"command": command, "grid": {name: {"value": value} for name, value in grid.items()}}
    if args is not None:
        file["args"] = args
    return ready(as_yaml(file))


def render(command: str, grid: dict[str, Any], args: str | None = None) -> str:
    points, found = made(command, grid, args)
    assert found.check(points) == []
    return found.render(points[0], run=7, run_dir="/runs/it's here", sweep="digits")


def words(commands: Sequence[str], folder: Path) -> list[list[str]]:
    """What each command, given to bash, passes on; all of them in one bash, to be quick."""
    script = "\n".join(f"{command}; printf '\\0\\0'" for command in commands)
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/home/nobody", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, timeout=30, check=True
    )
    assert done.stderr == b""
    assert list(folder.iterdir()) == []
    return [part.decode().split("\0") for part in done.stdout.split(b"\0\0\0")[:-1]]


def printed(command: str) -> str:
    """``command`` as words that end with a mark each, so that empty ones are seen."""
    return f"printf '%s|\\0' {command}"


def test_parameters_are_appended_as_args_says() -> None:
    grid = {"lr": 0.1, "name": "a b"}
    assert render("python t.py", grid) == "python t.py --lr=0.1 --name='a b'"
    assert render("python t.py", grid, "{name}={value}") == "python t.py lr=0.1 name='a b'"
    assert render("python t.py", grid, "--{name} {value}") == "python t.py --lr 0.1 --name 'a b'"
    assert render("python t.py", {}) == "python t.py"
    assert render("python {args} | tee x", grid) == "python --lr=0.1 --name='a b' | tee x"
    assert render("python t.py -r {run} {args} {lr}", grid) == "python t.py -r 7 --name='a b' 0.1"
    assert render("t --out {run_dir} --in {sweep}", grid) == (
        "t --out '/runs/it'\"'\"'s here' --in digits --lr=0.1 --name='a b'"
    )


def test_values_are_spelled_as_in_the_file_or_as_python_does() -> None:
    points, found = ready(
        "command: t\ngrid: {a: [1e-5], b: [010], c: [true], d: [null], e: [[[1, x]]], f: [{k: [1], l: null}], "
        "g: ['1e-5']}"
    )
    assert list(dry_run(points, found, sweep="s")) == [
        't --a=1e-5 --b=010 --c=True --d=None --e=\'[[1, "x"]]\' --f=\'{"k": [1], "l": null}\' --g=1e-5'
    ]


def test_what_belongs_to_the_shell_is_left_to_it() -> None:
    command = "X=${HOME} Y=${A:-${B}} echo $(date) {1..3} {a,b} {} { x; } '{{lr}}' {{x}} \\{lr} $$ $# `id` {lr}"
    assert render(command, {"lr": 1}) == command.replace("{{", "{").replace("}}'", "}'").replace(
        "{{x}}", "{x}"
    ).replace("{x}}", "{x}").replace(" {lr}", " 1").replace("'1'", "'{lr}'")


def test_braces_of_awk_and_places_named_like_shell_words() -> None:
    assert render("awk '{{print $1}}' {f}", {"f": "x"}) == "awk '{print $1}' x"
    assert render("awk '{ print $1 }' {f}", {"f": "x"}) == "awk '{ print $1 }' x"


@pytest.mark.parametrize(
    "args", ["--{name}={value}", "{name}={value}", "--{name} {value}", "{value}", "-D{name}:{value}x"]
)
def test_hostile_values_come_back_from_bash(args: str, tmp_path: Path) -> None:
    rendered, expected = [], []
    for value in HOSTILE:
        rendered.append(render("printf '%s|\\0'", {"p": value}, args))
        filled = [part.replace("{name}", "p").replace("{value}", value) + "|" for part in args.split(" ")]
        expected.append(filled)
    assert words(rendered, tmp_path) == expected


@pytest.mark.parametrize(
    "place",
    [
        "{p}",
        "x{p}",
        "{p}x",
        "a={p}",
        "{p}={p}",
        "$(printf %s {p})",
        '"$(printf %s {p})"',
        "'q '{p}' q'",
        "{p};:",
        "$HOME{p}",
    ],
)
def test_hostile_values_come_back_from_places(place: str, tmp_path: Path) -> None:
    chosen = [
        value for value in HOSTILE if "$(" not in place or (value == value.strip() and value and " " not in value)
    ]
    if place.startswith("$("):  # unquoted substitution: bash splits and globs what comes out, as it does anywhere
        chosen = [value for value in chosen if not set(value) & set("*?[\n\t\r\x0b")]
    found = words([render(printed(place), {"p": value}) for value in chosen], tmp_path)
    for value, got in zip(chosen, found, strict=True):
        if place == "{p};:":
            assert got == [f"{value}|"]
            continue
        expected = {'"$(printf %s {p})"': value, "$(printf %s {p})": value, "'q '{p}' q'": f"q {value} q"}
        wanted = expected.get(place, place.replace("$HOME", "/home/nobody").replace("{p}", value))
        assert got == [f"{wanted}|"], value


def test_a_value_is_no_assignment_keyword_or_redirection(tmp_path: Path) -> None:
    for value in ("PATH=/nowhere", "if", "2"):
        rendered = render("printf '%s|\\0' {p}>&1 {p}", {"p": value})
        assert words([rendered], tmp_path) == [[f"{value}|", f"{value}|"]]
    rendered = render("{p} true", {"p": "PATH=/nowhere"})
    done = subprocess.run(["bash", "-c", rendered], capture_output=True, check=False, timeout=10)
    assert done.returncode == 127


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, min_size=1, max_size=20), st.sampled_from(["--{name}={value}", "--{name} {value}"]))
def test_any_text_comes_back_from_bash(tmp_path_factory: pytest.TempPathFactory, chosen: list[str], args: str) -> None:
    folder = tmp_path_factory.mktemp("words")
    points, found = made("printf '%s|\\0'", {f"p{index}": value for index, value in enumerate(chosen)}, args)
    (line,) = dry_run(points, found, sweep="s")
    assert "\n" not in line
    assert line == found.render(points[0], run=1, run_dir="/x", sweep="s")
    separator = "=" if "=" in args else "|\0--"
    expected = [f"--p{index}{separator}{value}|" for index, value in enumerate(chosen)]
    if separator != "=":
        expected = [word for index, value in enumerate(chosen) for word in (f"--p{index}|", f"{value}|")]
    assert words([line], folder) == [expected]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo '{p}'", "inside single quotes"),
        ('echo "{p}"', "inside double quotes"),
        ("echo $'{p}'", "inside single quotes"),
        ("echo `ls {p}`", "inside backticks"),
        ('echo "`ls {p}`"', "inside backticks"),
        ("echo ${X:-{p}}", "inside ${...}"),
        ("echo $(( {p} + 1 ))", "inside arithmetic"),
        ("(( {p} ))", "inside arithmetic"),
        ("true # {p}\necho", "inside a comment"),
        ("cat <<E\n{p}\nE", "here-document"),
        ("bash -c 'x {p}'", "inside single quotes"),
        ('bash -c "x $(y "{p}")"', "inside double quotes"),
        ("\"${x:-'}\" '$(echo {p})'", "inside single quotes"),
        ('echo "$(case a in a) echo "{p}";; esac)"', "after a case"),
        ("python x # comment", "ends in a comment"),
        ("python x \\", "ends with a backslash"),
        ("python x &", "ends with &"),
        ("python x; ", "ends with ;"),
        ("python 'x", "open quote"),
        ("cat <<E\nx\nE", "here-document"),
        ('echo "{args}"', "inside double quotes"),
        ('echo "{run_dir}"', "inside double quotes"),
    ],
)
def test_places_where_no_quoting_is_safe_are_refused(command: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        made(command, {"p": "x"})
    assert message in str(caught.value)
    assert all(problem.line == 1 and problem.remedy for problem in caught.value.problems)


def test_run_and_sweep_may_stand_in_quotes() -> None:
    assert render('echo "run {run} of {sweep}" {p}', {"p": 1}) == 'echo "run 7 of digits" 1'


def test_places_and_parameters_must_meet() -> None:
    points, found = made("t --lr {lrr}", {"lr": 1, "h": 2})
    messages = [(problem.message, problem.remedy) for problem in found.check(points)]
    assert [message for message, _ in messages] == [
        "{lrr} is no parameter",
        "has no place for 'lr'",
        "has no place for 'h'",
    ]
    assert "Did you mean {lr}?" in messages[0][1]
    assert "{lr} where {lrr} stands" in messages[1][1]
    points, found = ready("command: t {m} {args}\ngrid: {o: [{sgd: {m: 1}}, adam]}")
    (problem,) = found.check(points)
    assert "no value in some runs" in problem.message
    with pytest.raises(SpecError, match="neither"):
        made("t", {"p": 1}, "--{nam}={value}")
    with pytest.raises(SpecError, match="inside single quotes"):
        made("t", {"p": 1}, "--{name}='{value}'")


def test_switches_are_passed_by_their_name_or_not_at_all(tmp_path: Path) -> None:
    """As argparse's store_true and BooleanOptionalAction take them, and Hydra's null; read back from bash."""
    grid = "grid: {aug: [true, false], depth: [null, 2], mode: ['true']}"

    def passed(args: str, command: str = "printf '%s|\\0'") -> list[str]:
        points, found = ready(f"command: {json.dumps(command)}\nargs: {args}\n{grid}")
        lines = list(dry_run(points, found, sweep="s"))
        assert lines == [found.render(point, run=0, run_dir="", sweep="s") for point in points]
        assert not any("  " in line or line.endswith(" ") for line in lines)
        return ["".join(said).replace("|", " ").strip() for said in words(lines, tmp_path)]

    rest = "--mode=true"
    assert passed('{true: "--{name}", false: ""}') == [
        f"--aug --depth=None {rest}", f"--aug --depth=2 {rest}", f"--depth=None {rest}", f"--depth=2 {rest}",
    ]  # fmt: skip
    assert passed('{true: "--{name}", false: "--no-{name}", null: ""}') == [
        f"--aug {rest}", f"--aug --depth=2 {rest}", f"--no-aug {rest}", f"--no-aug --depth=2 {rest}",
    ]  # fmt: skip
    assert passed('{default: "{name} {value}", null: "{name}=null"}', "printf '%s|\\0' {args} {aug}")[:2] == [
        "depth=null mode true True", "depth 2 mode true True",
    ]  # fmt: skip
    points, found = ready("command: t\nargs: {true: '--{name}'}\ngrid: {a+b: true, cd: 1}")
    assert list(dry_run(points, found, sweep="s")) == ["t --a+b --cd=1"]
    point = points[0]
    assert template(read_spec("/f", "command: t\nargs: {default: '--{name}={value}'}")).key(point) == (
        template(read_spec("/f", "command: t")).key(point)
    ), "which says no more than the default"
    assert found.key(point) != template(read_spec("/f", "command: t")).key(point)


def test_keys_are_the_identity_of_command_and_parameters() -> None:
    points, found = made("t", {"a": 1, "b": "x"})
    key = found.key(points[0])
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert found.key(dict(reversed(points[0].items()))) == key
    assert found.key({"a": Value(1, "01"), "b": Value("x")}) == key
    others = [{"a": Value(1.0), "b": Value("x")}, {"a": Value("1"), "b": Value("x")}, {"a": Value(1)}, {}]
    assert len({key, *map(found.key, others)}) == 5
    assert found.key({"a": Value("x\0b\0y")}) != found.key({"a": Value("x"), "b": Value("y")})
    assert made("t ", {"a": 1, "b": "x"})[1].key(points[0]) != key
    assert made("t", {"a": 1, "b": "x"}, "{name}={value}")[1].key(points[0]) != key
    # runs of an older version are found again only as long as this stays what it is
    assert made("python t.py", {"lr": 0.1})[1].key({"lr": Value(0.1, "1e-1")}) == "1affa990e334da36"


def test_dry_run_equals_render_and_several_lines_become_one(tmp_path: Path) -> None:
    points, found = ready(
        "command: t {a} {args} -n {sweep}\ngrid: {a: [1, x y], o: [{s: {m: [1, 2]}}, b]}\n"
        "exclude: {a: 1, m: 2}\ninclude: {a: 5}"
    )
    assert list(dry_run(points, found, sweep="s")) == [
        found.render(point, run=0, run_dir="", sweep="s") for point in points
    ]
    assert list(dry_run(points, found, sweep="s"))[-1] == "t 5  -n s"
    points, found = ready("command: |\n  true\n  printf '%s|\\0' {a} {run} {run_dir}\ngrid: {a: [1, 'x\ty']}")
    lines = list(dry_run(points, found, sweep="s"))
    assert words(lines, tmp_path) == [["1|", "1|", "runs/s/0001-a=1|"], ["x\ty|", "2|", "runs/s/0002-a=x_y|"]]
    numbers = ready("command: t {run}\ngrid: {a: [1, 2]}\ninclude: {a: 5}")
    assert list(dry_run(*numbers, sweep="s")) == ["t 1 --a=1", "t 2 --a=2", "t 3 --a=5"]
    lines = list(dry_run(points, found, sweep="s", run_dir=lambda number, params: f"/r/{number} {text(params['a'])}"))
    assert words(lines, tmp_path)[0] == ["1|", "1|", "/r/1 1|"]


def test_describe_is_one_harmless_line() -> None:
    params = {"lr": Value(1e-5, "1e-5"), "x": Value("a\n\x1b[31m"), "l": Value([1, None])}
    assert describe(params) == "lr=1e-5 x=a\\n\\x1b[31m l=[1, null]"


def test_a_dry_run_of_a_million_is_quick() -> None:
    points, found = ready("command: t\ngrid: {a: {range: 100}, b: {range: 100}, c: {range: 20}}")
    begin = time.process_time()
    count = sum(1 for _ in dry_run(points, found, sweep="s"))
    assert count == 200_000
    assert time.process_time() - begin < 2
