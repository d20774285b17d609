"""The modules keep to their order: imports run downward, and each heavy library has one importer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeper

ROOT = Path(sweeper.__file__).parent

# From the bottom up; the modules of one line may not import each other, but for those of one package.
ORDER = (
    ("version",),
    ("errors", "lastwords", "model", "moments", "obstacle", "procs", "oom"),
    ("paths",),
    ("folders", "channel"),
    ("spec",),
    ("grid",),
    ("command",),
    ("lease", "tmux", "metrics", "notify"),
    ("gpus", "store"),
    ("supervisor", "index"),
    ("scheduler",),
    ("launch",),
    ("control", "runone"),
    ("watch", "boot"),
    ("page",),
    ("results",),
    ("gather", "doctor"),
    ("cli",),
    ("__main__", "__init__"),
)
# Downward in what they do, upward in what they are: each exception with its reason.
EXCEPTIONS = {("scheduler", "watch")}  # the table is a process of its own, started by the same few lines
OWNERS = {
    "libtmux": {"tmux"},
    "pandas": {"results", "__init__"},  # there for the type of what sweeper.report() gives
    "numpy": {"results"},
    "fire": {"cli"},
    "rich": {"watch", "cli", "results", "doctor", "gpus"},
    "yaml": {"spec"},
    "simpleeval": {"grid"},
    "pynvml": {"lease"},
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def top(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


RANK = {name: rank for rank, line in enumerate(ORDER) for name in line}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path: Path) -> None:
    own = top(path)
    assert own in RANK, f"{own} has no place in ORDER"
    for line, name in imported(path):
        words = name.split(".")
        if words[0] != "sweeper" or len(words) < 2 or words[1] not in RANK:
            continue
        other = words[1]
        assert other == own or RANK[other] < RANK[own] or (own, other) in EXCEPTIONS, (
            f"{path}:{line}: {own} may not import {other}, which stands higher or beside it"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_has_its_importer(path: Path) -> None:
    for line, name in imported(path):
        library = name.split(".")[0]
        if library in OWNERS:
            assert top(path) in OWNERS[library], f"{path}:{line}: only {sorted(OWNERS[library])} may import {library}"


def test_statements_stand_in_the_store_alone() -> None:
    for path in modules():
        if top(path) in ("store", "doctor"):  # doctor tries whether SQLite works, on a file of its own
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = node.value.split(None, 1)
                assert not words or words[0] not in {"SELECT", "INSERT", "UPDATE", "DELETE", "PRAGMA"}, (
                    f"{path}:{node.lineno}: SQL outside of the store"
                )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text, f"{path} has no docstring"
