"""The grid: every form of it, in order, lazily, and refused by number."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import SpecError
from sweeper.grid import Points, expand
from sweeper.spec import read_spec


def points_of(body: str) -> Points:
    return expand(read_spec("/file.yaml", f"command: x\n{body}"))


def plain(points: Points) -> list[dict[str, Any]]:
    return [{name: value.value for name, value in point.items()} for point in points]


def check(points: Points) -> None:
    """What must hold of all points: the ways to reach them agree."""
    listed = list(points)
    assert len(listed) == len(points)
    assert [points[index] for index in range(len(points))] == listed
    assert [points.index(point) for point in plain(points)] == list(range(len(points)))


def test_product_with_the_last_key_fastest() -> None:
    points = points_of("grid: {a: [1, 2], b: [x, y]}\nrepeat: {seed: [0, 1]}")
    assert [tuple(point.values()) for point in plain(points)] == list(itertools.product([1, 2], "xy", [0, 1]))
    assert (points.names, points.repeat, points.varying) == (("a", "b", "seed"), ("seed",), ("a", "b", "seed"))
    assert points.describe() == "2 a x 2 b x 2 seed"
    assert points.index({"b": "x", "a": 2, "seed": 1}) == 5
    assert points.index({"a": 2.0, "b": "x", "seed": 1}) is None
    assert points.index({"a": 2}) is None
    check(points)


def test_values_of_every_kind() -> None:
    points = points_of("grid: {a: [1, 1.0, x, true, null, [1, 2], {k: 1, l: 2}, {value: {sgd: {m: 1}}}], b: {k: 1}}")
    assert [point["a"] for point in plain(points)] == [
        *(1, 1.0, "x", True, None, [1, 2], {"k": 1, "l": 2}, {"sgd": {"m": 1}})
    ]
    assert plain(points)[0]["b"] == {"k": 1}
    check(points)


def test_choices_bring_their_own_parameters() -> None:
    points = points_of(
        "grid:\n  opt:\n  - sgd: {m: [0, 0.9], inner: [{x: {y: [1, 2]}}]}\n  - adam\n  - rms: {}\n  b: [1]"
    )
    assert [point for point in plain(points) if point["opt"] != "sgd"] == [
        {"opt": "adam", "b": 1},
        {"opt": "rms", "b": 1},
    ]
    assert plain(points)[1] == {"opt": "sgd", "m": 0, "inner": "x", "y": 2, "b": 1}
    assert len(points) == 6
    assert points.always == {"opt", "b"}
    assert points.varying == ("opt", "m", "inner", "y")
    check(points)


def test_joint_parameters_and_unions() -> None:
    points = points_of("grid:\n- {'a, b': [[1, x], [2, y]], c: [0, 1]}\n- {a: 9}\n- {b: x, c: [0, 5], a: [1]}")
    assert len(points) == 6
    assert points.duplicates == 1
    assert plain(points)[-1] == {"b": "x", "c": 5, "a": 1}
    assert points.always == {"a"}
    check(points)


def test_a_point_that_stands_twice_is_kept_once() -> None:
    points = points_of("grid: {a: [0.1, 1e-1, 2], b: [x]}")
    assert [point["a"] for point in plain(points)] == [0.1, 2]
    assert points.duplicates == 1
    assert points[0]["a"].text == "0.1"
    many = points_of("grid:\n" + "".join(f"- {{a: {number % 700}, b: [1, 2]}}\n" for number in range(1000)))
    assert (len(many), many.duplicates) == (1400, 600)
    check(many)


@pytest.mark.parametrize(
    ("generator", "texts"),
    [
        ("range: 3", ["0", "1", "2"]),
        ("range: [0, 10, 3]", ["0", "3", "6", "9"]),
        ("range: [3, 0, -1]", ["3", "2", "1"]),
        ("linspace: [0.1, 0.5, 5]", ["0.1", "0.2", "0.3", "0.4", "0.5"]),
        ("linspace: [0, 1, 4]", ["0.0", "0.3333333333333333", "0.6666666666666666", "1.0"]),
        ("linspace: [1, 0, 3]", ["1.0", "0.5", "0.0"]),
        ("logspace: [1e-4, 1e-1, 4]", ["0.0001", "0.001", "0.01", "0.1"]),
        ("logspace: [1e-6, 1e-5, 2]", ["1e-6", "1e-5"]),
        ("logspace: [1, 1000, 4]", ["1.0", "10.0", "100.0", "1000.0"]),
        ("logspace: [3e-1, 3e-5, 5]", ["0.3", "0.03", "0.003", "0.0003", "3e-5"]),
    ],
)
def test_generators_spell_their_numbers_well(generator: str, texts: list[str]) -> None:
    points = points_of(f"grid: {{a: {{{generator}}}}}")
    assert [point["a"].text for point in points] == texts
    assert [point["a"].value for point in points] == [float(text) for text in texts]
    check(points)


def test_a_generator_among_values() -> None:
    points = points_of("grid: {a: [{range: [0, 3]}, 10, 1]}")
    assert [point["a"] for point in plain(points)] == [0, 1, 2, 10]
    check(points)


def test_exclude_by_mapping_and_expression() -> None:
    body = "grid: {lr: [0.1, 0.5], h: [32, 64, 128], model.depth: [1, 2]}\nexclude:\n"
    points = points_of(body + "- {lr: 0.1, h: [32, 64]}\n- lr * h > 40\n- model.depth == 2 and h in [32]\n")
    expected = [
        {"lr": lr, "h": h, "model.depth": depth}
        for lr, h, depth in itertools.product([0.1, 0.5], [32, 64, 128], [1, 2])
        if not ((lr == 0.1 and h in (32, 64)) or lr * h > 40 or (depth == 2 and h == 32))
    ]
    assert plain(points) == expected
    assert points.describe() == f"2 lr x 3 h x 2 model.depth - {12 - len(expected)} excluded"
    check(points)


def test_exclude_knows_that_1_is_1_point_0() -> None:
    assert len(points_of("grid: {a: {linspace: [0, 1, 3]}}\nexclude: {a: 1}")) == 2


def test_an_expression_does_not_match_a_point_without_its_parameter() -> None:
    points = points_of("grid: {opt: [{sgd: {m: [0, 0.9]}}, adam], lr: [1, 2]}\nexclude: m < 0.5 and lr > 1")
    assert len(points) == 5
    assert points.index({"opt": "adam", "lr": 2}) is not None
    check(points)


def test_include_adds_whatever_exclude_says() -> None:
    points = points_of(
        "grid: {a: [1, 2], b: [1, 2]}\nexclude: a == 1\ninclude:\n- {a: 1, b: [1, 2, 3]}\n- {a: 2, b: 2}\n- {a: 7}"
    )
    assert plain(points)[2:] == [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 7}]
    assert points.duplicates == 1
    assert points.describe() == "2 a x 2 b - 2 excluded + 4 included"
    check(points)


def test_no_grid_is_one_run_and_a_file_of_includes_is_those() -> None:
    assert plain(points_of("")) == plain(points_of("grid: {}")) == plain(points_of("grid:")) == [{}]
    assert plain(points_of("repeat: {seed: [0, 1]}")) == [{"seed": 0}, {"seed": 1}]
    assert plain(points_of("include: [{a: 1}, {a: 2}]")) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ("'lrr > 1'", "no point has a parameter 'lrr'"),
        ("{lrr: 1}", "no point has a parameter 'lrr'"),
        ("'lr >'", "is not an expression"),
        ("'lr.__class__'", "no point has a parameter 'lr.__class__'"),
        ("'().__class__ == 1'", "attribute"),
        ("'[x for x in [1]]'", "not allowed"),
        ("'(lambda: 1)()'", "no function here"),
        ("'lr == (lambda: 1)'", "not allowed"),
        ("'open(1)'", "calls open"),
        ("'__import__(1)'", "calls __import__"),
        ("'lr ** 9 ** 9 ** 9 > 1'", "too large"),
        ("'round(5, -1000000000) > lr'", None),
        ("'\"a\" * 1000000000 == lr'", "no number"),
        ("'\"%99999999d\" % 1 == lr'", "no number"),
        ("'lr < \"a\"'", "fails for lr=1"),
        ("'1 / (lr - 1) > 0'", "division by zero"),
        ("'" + "(" * 400 + "lr" + ")" * 400 + "'", "nested"),
        ("'" + "-" * 900 + "lr'", "nested"),
        ("'" + "lr and " * 500 + "lr'", "longer than"),
        ("'lr; 1'", "is not an expression"),
        ("'f\"{lr}\"'", "not allowed"),
        ("'lr := 1'", "is not an expression"),
        ("'log(lr - 1) > 0'", "fails"),
        ("'exp(lr * 1000) > 0'", "fails"),
        ("'lr > 0'", "leaves none"),
    ],
)
def test_hostile_and_mistaken_expressions(exclude: str, message: str | None) -> None:
    begin = time.process_time()
    if message is None:
        assert len(points_of(f"grid: {{lr: [1, 2]}}\nexclude: {exclude}")) == 2
    else:
        with pytest.raises(SpecError) as caught:
            points_of(f"grid: {{lr: [1, 2]}}\nexclude: {exclude}")
        assert message in str(caught.value)
        assert all(problem.line == 3 for problem in caught.value.problems)
    assert time.process_time() - begin < 2


def test_too_many_points_are_refused_by_number() -> None:
    grid = "\n".join(f"  p{number}: {{range: [0, 1000]}}" for number in range(4))
    with pytest.raises(SpecError, match="makes 1,000,000,000,000 runs"):
        points_of(f"grid:\n{grid}")
    grid = "\n".join(f"  p{number}: [1, 2]" for number in range(10_000))
    with pytest.raises(SpecError, match=r"about 10\^3010 runs"):
        points_of(f"grid:\n{grid}")


def test_ten_thousand_parameters() -> None:
    grid = "\n".join(f"  p{number}: [{number}]" for number in range(10_000))
    points = points_of(f"grid:\n{grid}\n  last: [1, 2]\nexclude: p5000 > 1 and last == 2")
    assert len(points) == 1
    assert len(points[0]) == 10_001
    check(points)


def test_a_million_points_cost_what_the_grid_costs() -> None:
    begin = time.process_time()
    points = points_of("grid: {a: {range: 100}, b: {range: 100}, c: {range: 100}}")
    assert len(points) == 1_000_000
    assert points.index({"a": 99, "b": 0, "c": 7}) == 990_007
    assert {name: value.value for name, value in points[990_007].items()} == {"a": 99, "b": 0, "c": 7}
    assert time.process_time() - begin < 0.5
    points = points_of("grid: {a: {range: 100}, b: {range: 100}, c: {range: 100}}\nexclude: ['a > 97', {b: 3, c: 4}]")
    assert len(points) == 98 * (10_000 - 1)
    assert time.process_time() - begin < 3


values = st.one_of(st.integers(-5, 5), st.sampled_from(["x", "y", None, True, 0.5]))
grids = st.dictionaries(st.sampled_from("abcd"), st.lists(values, min_size=1, max_size=3), max_size=4)


def dumped(value: Any) -> str:
    import json

    return json.dumps(value)


@given(
    st.lists(grids, min_size=1, max_size=4),
    st.lists(st.dictionaries(st.sampled_from("abcd"), values, min_size=1), max_size=2),
)
def test_unions_and_excludes_equal_the_plain_enumeration(
    union: list[dict[str, Any]], exclude: list[dict[str, Any]]
) -> None:
    names = {name for grid in union for name in grid}
    exclude = [rule for rule in exclude if rule.keys() <= names]
    expected: dict[str, dict[str, Any]] = {}
    for grid in union:
        for combination in itertools.product(*grid.values()):
            point = dict(zip(grid, combination, strict=True))
            hit = any(all(n in point and dumped(point[n]) == dumped(v) for n, v in rule.items()) for rule in exclude)
            if not hit:
                expected.setdefault(str(sorted((name, dumped(value)) for name, value in point.items())), point)
    body = f"grid: {dumped(union)}\nexclude: {dumped(exclude)}"
    if not expected:
        with pytest.raises(SpecError, match="leaves none"):
            points_of(body)
        return
    points = points_of(body)
    assert plain(points) == list(expected.values())
    check(points)
