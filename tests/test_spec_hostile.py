"""Hostile sweep files: whatever they hold, a Spec or an error for the user, in bounded time."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.command import dry_run, template
from sweeper.errors import InputError, SpecError
from sweeper.grid import expand
from sweeper.spec import KEYS, read_spec
from sweeper.spec.generators import GENERATORS

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
)


def try_whole(text: str) -> None:
    """Everything that a launch does with a file before it starts anything."""
    try:
        spec = read_spec("/file.yaml", text)
        points = expand(spec)
        found = template(spec)
        found.check(points)
        for point, line in zip(points, dry_run(points, found, sweep=spec.name), strict=False):
            assert "\n" not in line
            assert points.index({name: value.value for name, value in point.items()}) is not None
            found.key(point)
            break
    except InputError as error:
        str(error).encode()  # it can be shown


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS + "command: x\ngrid: {p: *m}\n",
        "command: x\ngrid:\n  " + LAUGHS.replace("\n", "\n  ") + "\n",
        "command: x\nexclude: {p: *m}\n" + LAUGHS,
        "l0: &l0 [{c: {q: 1}}]\n"
        + "".join(f"l{n}: &l{n} [{{c: {{q{n}: *l{n - 1}}}}}, {{d: {{q{n}: *l{n - 1}}}}}]\n" for n in range(1, 50))
        + "command: x\ngrid: {p: *l49}\n",
        "a0: &a0 [1]\n"
        + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000))
        + "command: x\ngrid: {p: *a4999}\n",
        "m0: &m0 {"
        + ", ".join(f"k{n}: 1" for n in range(5000))
        + "}\n"
        + "command: x\ngrid:\n  <<: ["
        + "*m0, " * 5000
        + "]\n",
        "command: x\ngrid: " + "[" * 100_000,
        "command: x\ngrid: " + "{a: " * 100_000,
        "command: x\ngrid: " + "[" * 1000 + "]" * 1000,
        "\n".join(" " * n + "a:" for n in range(1500)),
        "- " * 100_000,
        "? " * 100_000,
        "command: x\n" + "".join(f"k{n}: 1\n" for n in range(20_000)),
        "command: " + "{a} " * 5000 + "\ngrid: {b: 1}\n",
        "command: "
        + "".join(f"{{a{n}}} " for n in range(2000))
        + "\ngrid:\n"
        + "".join(f"  b{n}: 1\n" for n in range(5000)),
        "command: " + "'{a}'" * 5000 + "\ngrid: {a: 1}\n",
        "command: " + "$(" * 50_000 + "\ngrid: {a: 1}\n",
        "command: x\nexclude: [" + ", ".join(f"x{n} > 1" for n in range(5000)) + "]\ngrid: {a: 1}\n",
        "command: x\ngrid: {a: [" + "1, " * 50_000 + "]}\n",
        "command: x\ngrid: {a: {range: [0, 9000000]}}\n",
        "command: x\ngrid: {a: [{c: {m: {range: [0, 9000000]}}}, {c: {m: [1]}}]}\n",
        "command: x\ngrid: [" + "{a: [1, 2]}, " * 5_000 + "]\n",
        "command: x\ngrid: {a: [&x [*x]]}\n",
        "command: x\ngrid: {a: " + "9" * 100_000 + "}\n",
        "command: x\ngrid: {a: {range: [0, " + "9" * 900 + "]}}\n",
        "command: x\ngrid: {a: {logspace: [1e-300, 1e300, 7]}}\n",
        "command: x\ngrid: {a: {linspace: [-1e300, 1e300, 7]}}\n",
        "command: x\nmetrics: {a: '" + "(" * 1900 + "'}\n",
        "command: x\ntimeout: " + "9" * 5000 + "h\n",
        "command: x\nbusy_above: " + "9" * 25 + "TB\n",
        "%TAG ! tag:x,2000:\n---\ncommand: !x y\n",
        '"\\ud800": 1\ncommand: "\\ud800"\n',
        "\ufeff\ufeffcommand: x\n",
        "\x85\u2028command: x",
    ],
    ids=lambda text: text[:30].encode("unicode_escape").decode() + f"~{len(text)}",
)
def test_files_made_to_hurt(text: str) -> None:
    begin = time.process_time()
    tracemalloc.start(1)
    try:
        try_whole(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 10
    assert peak < 200_000_000


def test_a_billion_laughs_are_refused_by_line() -> None:
    with pytest.raises(SpecError, match=r"more than 1,000,000 values|unknown key"):
        read_spec("/file.yaml", LAUGHS + "command: x\ngrid: {p: *m}\n")


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*KEYS, *GENERATORS, "value"]),
)
names = st.one_of(st.sampled_from([*KEYS, *GENERATORS, "value", "a,b", "a", "b", "<<"]), st.text(max_size=5))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, trees, max_size=5))
def test_any_tree(tree: dict[str, Any]) -> None:
    try_whole(json.dumps({"command": "x", **tree}))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    try_whole(text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("{}'\"`$()<#\\ \n;&|=ab.-:*[]!?,"), max_size=40))
def test_any_command(command: str) -> None:
    try_whole(json.dumps({"command": command, "grid": {"a": ["x", "y\nz"], "b": [1]}}))


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab0 1.<>=+-*/%()[],'\"andornotinifelse_"), max_size=40))
def test_any_expression(expression: str) -> None:
    try_whole(json.dumps({"command": "x", "grid": {"a": ["x", 2], "b": [1, None]}, "exclude": [expression]}))


@settings(max_examples=200, deadline=None)
@given(trees)
def test_any_grid(tree: Any) -> None:
    try_whole(json.dumps({"command": "x", "grid": {"p": tree, "a,b": tree}}))
    try_whole(json.dumps({"command": "x", "grid": tree, "include": tree}))
