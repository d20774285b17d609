"""The sweep file: what it may say, and what every mistake in it is called."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sweeper.command import template
from sweeper.errors import InputError, SpecError
from sweeper.grid import expand
from sweeper.spec import KEYS, Spec, parse_duration, parse_size, read_spec, schema
from sweeper.spec.nodes import plain_value
from sweeper.spec.yaml12 import compose

EVERY_KEY = """\
name: digits
command: python train.py
grid:
  lr: [1e-3, 0.1]
  steps: {range: [0, 3]}
  decay: {logspace: [1e-4, 1e-1, 4]}
  model,batch_size: [[cnn, 128], [vit, 32]]
  optimizer: [{sgd: {momentum: [0, 0.9]}}, adam]
  layers: {value: {range: [1, 2]}}
repeat: {seed: [0, 1, 2]}
exclude: [{lr: 0.1, model: cnn}, "lr * batch_size > 10"]
include: [{lr: 0.5}]
args: "--{name}={value}"
workdir: .
env: {OMP_NUM_THREADS: 2}
before: source activate
timeout: 2h
grace: 20s
retries: 1
gpus: 2
gpus_allowed: [0, 2]
per_gpu: 2
gpu_memory: 8GB
busy_above: 1GiB
ignore_others: true
keep_free: 1
hold: false
retries_oom: 2
maximize: val_acc
metrics: {val_acc: 'acc=([0-9.]+)'}
notify: https://example.org/hook
stall: 30m
canary: 1
max_failures: 5
runs_dir: out
"""


def spec_of(text: str, folder: Path = Path("/")) -> Spec:
    return read_spec(folder / "file.yaml", text)


def problems_of(text: str) -> list[tuple[int | None, str, str, str]]:
    with pytest.raises(SpecError) as caught:
        spec_of(text)
    return [(problem.line, problem.key, problem.message, problem.remedy) for problem in caught.value.problems]


def grid_values(yaml_text: str) -> list[Any]:
    spec = spec_of(f"command: x\ngrid:\n  a: {yaml_text}\n")
    return [(point["a"].value, point["a"].text) for point in expand(spec)]


def test_every_key_is_read(tmp_path: Path) -> None:
    file = tmp_path / "digits.yaml"
    file.write_text(EVERY_KEY)
    spec = read_spec(file)
    assert spec.file == str(file)
    assert spec.source == EVERY_KEY
    assert (spec.name, spec.command, spec.before) == ("digits", "python train.py", "source activate")
    assert (spec.timeout, spec.grace, spec.stall) == (7200.0, 20.0, 1800.0)
    assert (spec.gpus, spec.gpus_allowed, spec.gpu_memory, spec.busy_above) == (2, (0, 2), 8 * 10**9, 2**30)
    assert (spec.workdir, spec.runs_dir) == (tmp_path, tmp_path / "out")
    assert spec.env == {"OMP_NUM_THREADS": "2"}
    assert set(spec.lines) == set(KEYS) - {"minimize"}


def test_defaults() -> None:
    spec = read_spec("/some/where/my grid.v2.yaml", "command: x")
    assert spec.name == "my_grid-v2"
    assert (spec.args, spec.grace, spec.busy_above, spec.per_gpu) == ("--{name}={value}", 10.0, 500_000_000, 1)
    assert (spec.gpus, spec.workdir, spec.timeout, spec.max_failures) == (None, None, None, None)
    assert [dict(point) for point in expand(spec)] == [{}]


def test_schema_has_every_key_and_judges_as_the_reader_does() -> None:
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    own = {field.name for field in dataclasses.fields(Spec)} - {"file", "shown", "source", "lines", "args_for", "notes"}
    assert set(document["properties"]) == own == set(KEYS)
    assert all(entry["description"] for entry in document["properties"].values())
    check = jsonschema.Draft202012Validator(document)
    root = compose(EVERY_KEY, [])
    assert root is not None
    every = plain_value(root, [1000])
    check.validate(every)
    for key in own:
        typo = {name if name != key else name + "x": value for name, value in every.items()}
        assert key == "minimize" or not check.is_valid(typo), key
    assert not check.is_valid({**every, "minimize": "loss"})
    assert not check.is_valid({**every, "retries": "many"})
    assert check.is_valid({**every, "args": {"default": "{name}={value}", "true": "--{name}", "false": ""}})
    assert not check.is_valid({**every, "args": {"default": "{name}"}})
    assert not check.is_valid({**every, "args": {"True": "--{name}"}})
    assert not check.is_valid({**every, "grid": {"lr": {"linspace": [0, 1]}}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("on", "on"),
        ("yes", "yes"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("~", None),
        ("'1e-3'", "1e-3"),
        ("!!str 1e-3", "1e-3"),
        ("=", "="),
    ],
)
def test_yaml_1_2(text: str, value: Any) -> None:
    found = grid_values(f"[{text}]")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    assert found == [(value, text if number else None)]
    assert type(found[0][0]) is type(value)


def test_infinity_is_spelled_as_python_reads_it() -> None:
    assert [text for _, text in grid_values("[.inf, -.inf, .nan]")] == ["inf", "-inf", "nan"]


def test_keys_are_strings_whatever_they_look_like() -> None:
    spec = spec_of("command: x\ngrid:\n  on: [1]\n  010: [2]\n")
    assert list(expand(spec)[0]) == ["on", "010"]


def test_all_mistakes_at_once_with_line_key_and_remedy() -> None:
    found = problems_of(
        "comand: x\n"
        "grid:\n"
        "  lr: []\n"
        "  lr: [1]\n"
        "  a,b: [[1, 2], [3]]\n"
        "  run: [1]\n"
        "  n: {linspace: [0, 1]}\n"
        "  --wd: [1]\n"
        "timeout: soon\n"
        "retries: -1\n"
        "maximize: a\n"
        "minimize: b\n"
        "hold: on\n"
    )
    lines = {(line, key) for line, key, _, _ in found}
    assert lines >= {
        (1, ""),
        (4, ""),
        (3, "grid.lr"),
        (5, "grid.a,b[1]"),
        (6, "grid.run"),
        (7, "grid.n.linspace"),
        (8, "grid.--wd"),
        (9, "timeout"),
        (10, "retries"),
        (12, "minimize"),
        (13, "hold"),
        (None, "command"),
    }
    assert any("Did you mean command?" in remedy for _, _, _, remedy in found)
    assert any("twice (first in line 3)" in message for _, _, message, _ in found)


def test_the_text_of_an_error_names_file_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("command: x\nretrys: 2\n")
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    assert str(caught.value) == f"{file}:2: unknown key 'retrys'\n    Did you mean retries?"


def test_a_duplicate_key_is_found_before_merging() -> None:
    spec = spec_of("command: x\ngrid:\n  - &base {lr: [1, 2], b: [3]}\n  - {<<: *base, lr: [5]}\n")
    assert [{name: value.value for name, value in point.items()} for point in expand(spec)] == [
        {"lr": 1, "b": 3},
        {"lr": 2, "b": 3},
        {"lr": 5, "b": 3},
    ]
    (problem,) = problems_of("command: x\ngrid: {lr: 1, lr: 1}\n")
    assert problem[0] == 2
    assert "'lr' stands here twice" in problem[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "holds a list"),
        ("just words", "holds a string"),
        ("command: x\n---\ncommand: y\n", "second YAML document"),
        ("command: x\n\tgrid: 1\n", "not valid YAML"),
        ("command: [unclosed\n", "not valid YAML"),
        ("command: *nobody\n", "alias"),
        ("command: !!python/object/apply:os.system ['touch x']\n", "the tag !!python/object/apply:os.system"),
        ("command: !own x\n", "the tag !own"),
        ("command: x\ngrid: {? [a, b] : 1}\n", "cannot be a key"),
        ("command: x\ngrid: {a: &a [*a]}\n", "inside what it names"),
        ('command: x\ngrid: {a: "b\\0c"}\n', "NUL"),
        ("command: x\ngrid: {a: " + "9" * 5000 + "}\n", "digits"),
        ("command: x\ngrid: {a: 0x" + "f" * 5000 + "}\n", "digits"),
        ("command: x\ngrid: {a: \x07}\n", "character"),
        ("command: x # it ends here\u2028grid: {a: 1}\n", "U+2028, which ends a line to some"),
        ("command: x\ngrid: {a: 'b\x85'}\n", "U+0085"),
        ("command: ''\n", "is empty"),
        ("command: [python, x]\n", "is a list"),
        ("command: x\ngrid: 5\n", "is a number"),
        ("command: x\ngrid: {a: [{sgd: }]}\n", "without anything after its colon"),
        ("command: x\ngrid: {a: [{sgd: {a: 1}}, 2]}\n", "sets 'a' again"),
        ("command: x\ngrid: {m: 1, a: [{sgd: {m: 1}}]}\n", "'m', which line 2 sets already"),
        ("command: x\ngrid: {a: 1}\nrepeat: {a: [1]}\n", "stands in grid too"),
        ("command: x\ngrid: {'a b': 1}\n", "cannot be a parameter's name"),
        ("command: x\ngrid: {a: {range: [0, 0.5]}}\n", "whole numbers"),
        ("command: x\ngrid: {a: {range: [5, 0]}}\n", "is empty"),
        ("command: x\ngrid: {a: {range: [0, 1000000000000]}}\n", "1,000,000,000,000 values"),
        ("command: x\ngrid: {a: {linspace: [0, 1, 1e12]}}\n", "values"),
        ("command: x\ngrid: {a: {linspace: [1, 1, 5]}}\n", "too close"),
        ("command: x\ngrid: {a: {logspace: [0, 1, 5]}}\n", "positive"),
        ("command: x\nworkdir: /no/such/folder\n", "no folder"),
        ("command: x\nenv: {A-B: 1}\n", "variable's name"),
        ("command: x\nenv: {SWEEP_RUN_DIR: 1}\n", "set by sweep itself"),
        ("command: x\nenv: {CUDA_VISIBLE_DEVICES: 1}\n", "CUDA_VISIBLE_DEVICES"),
        ("command: x\nmetrics: {a: '('}\n", "not a regular expression"),
        ("command: x\nmetrics: {a: 'acc'}\n", "no group"),
        ("command: x\nnotify: http://example.org/x\n", "not an https URL"),
        ("command: x\nnotify: mailto:me@example.org\n", "neither a command nor an https URL"),
        ("command: x\nargs: '--{name}'\n", "no place for the value"),
        ('command: x\nargs: {null: "a\\nb"}\n', "of several lines"),
        ("command: x\ngpus: [0, 1]\n", "how many a run needs"),
        ("command: x\ngpus: 3\ngpus_allowed: [0, 1]\n", "asks for 3 GPUs of the 2"),
        ("command: x\nname: ../../x\n", "cannot be the name"),
        ("command: x\nname: a.b\n", "cannot be the name"),
        ("command: x\ntimeout: 0\n", "more than 0"),
        ("command: x\nexclude: [3]\n", "neither a mapping nor an expression"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    assert any(message in found for _, _, found, _ in problems_of(text))


def test_a_colon_in_a_command_is_answered_with_a_block() -> None:
    ((line, _, message, remedy),) = problems_of("grid: {a: 1}\ncommand: python train.py --note lr: high\n")
    assert (line, "mapping values" in message) == (2, True)
    assert "`command: |`" in remedy


def test_keys_of_the_command_line_and_of_other_programs_are_answered_with_what_to_write() -> None:
    text = (
        "paralel: 2\nmethod: grid\nprogram: fit.py\nparameters: {lr: {values: [1]}}\nmetric: {name: x}\nserial: true\n"
    )
    remedies = [remedy for line, _, _, remedy in problems_of(text) if line]
    assert remedies[0] == "It is typed, not written: sweep FILE --parallel 2"
    assert remedies[1] == "Leave it out: every point of the grid is run."
    assert remedies[2] == "Write command: python fit.py"
    assert remedies[3].startswith("Write grid: {lr: [1e-3, 1e-2]")
    assert remedies[4] == "Write maximize: NAME or minimize: NAME."
    assert remedies[5] == "It is typed, not written: sweep FILE --serial"


def test_mistakes_in_a_mapping_of_args_have_their_own_line() -> None:
    found = problems_of("command: x\nargs:\n  default: '--{name}'\n  true: [x]\n  False: x\n  null: '--{name}'\n")
    assert [(line, key) for line, key, _, _ in found] == [(3, "args.default"), (4, "args.true"), (5, "args.False")]
    assert "no place for the value" in found[0][2]
    assert found[2][3] == "Did you mean false?"
    for text, message in (
        ("{nam}", "{nam} is neither {name} nor {value}"),
        ("'{value}'", "{value} stands inside single"),
    ):
        with pytest.raises(SpecError, match=re.escape(f":5: args.true: {message}")):
            template(spec_of(f"command: x\ngrid: {{a: 1}}\nargs:\n  default: '--{{value}}'\n  true: \"{text}\"\n"))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits.yaml").write_text("command: x")
    with pytest.raises(InputError, match=r"no such file\n.*Did you mean .*digits.yaml"):
        read_spec(tmp_path / "digit.yaml")
    for shown, meant in (("digit.yaml", "digits.yaml"), ("./dgits.yml", "./digits.yaml"), ("digits", "digits.yaml")):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError) as caught:
            read_spec(shown)
        assert str(caught.value) == f"{shown}: there is no such file\n    Did you mean {meant}?"
    with pytest.raises(InputError, match=r"no such file$"):
        read_spec(tmp_path / "nosuch.yaml")
    (tmp_path / "train.py").write_text("print(1)")
    with pytest.raises(InputError, match=r"is a Python script: write a sweep file whose command is python .*train\.py"):
        read_spec(tmp_path / "train.py")
    with pytest.raises(InputError, match="is a folder"):
        read_spec(tmp_path)
    with pytest.raises(InputError, match="not a regular file"):
        read_spec("/dev/zero")
    (tmp_path / "latin.yaml").write_bytes("command: x\n# é\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin\.yaml:2: is not UTF-8"):
        read_spec(tmp_path / "latin.yaml")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0\0")
    with pytest.raises(SpecError, match="binary"):
        read_spec(tmp_path / "binary")
    (tmp_path / "big").write_bytes(b"#" * 5_000_000)
    with pytest.raises(InputError, match="bytes long"):
        read_spec(tmp_path / "big")
    with pytest.raises(InputError, match="cannot be read"):
        read_spec(tmp_path / "digits.yaml" / "x")
    with pytest.raises(InputError, match="cannot be read"):
        read_spec("a\0b")
    (tmp_path / "bom.yaml").write_bytes("\ufeffcommand: x\r\n".encode())
    assert read_spec(tmp_path / "bom.yaml").command == "x"


def test_durations_and_sizes() -> None:
    assert [parse_duration(t) for t in ("2h", "90m", "1h30m", "45s", "2d", "10", "0.5", 7)] == [
        *(7200, 5400, 5400, 45, 172800, 10, 0.5, 7)
    ]
    assert [parse_size(t) for t in ("8GB", "500MB", "8GiB", "1.5 kB", 12)] == [8 * 10**9, 5 * 10**8, 2**33, 1500, 12]
    for wrong in ("", "2x", "h", "-5", "nan", "inf", "1h 30", "9" * 400, True):
        with pytest.raises(InputError, match="not a duration"):
            parse_duration(wrong)
    for wrong in ("", "8XB", "-1", "8 G B", "1e9", True):
        with pytest.raises(InputError, match="not a size"):
            parse_size(wrong)
