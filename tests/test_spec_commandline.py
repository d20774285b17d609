"""Hostile sweep files given to the command itself: what was meant is run, and nothing else is touched or obeyed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import paths
from tests.conftest import ROOT, SWEEP, Said, say
from tests.fuzz.seeds import HOSTILE

# Sequences that a terminal obeys: a title, a colour, the screen cleared, an answer on the keyboard, and C1.
ESCAPES = "\x1b]0;title\x07 \x1b[31m \x1b[2J \x1b[6n \x9b31m \x7f \x08"
BIDI = "\u202eabc\u2066"
HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
)
MEGABYTES = 700  # of address space, for what must be refused before memory is spent


class Place:
    """A folder with a file that nothing may touch, in which a person gives commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work" / "here"
        self.folder.mkdir(parents=True)
        self.canary = folder / "canary"
        (folder / "work" / "x").write_text("untouched")

    def write(self, text: str, name: str = "s.yaml") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def sweep(self, *typed: str, check: int | None = None, before: tuple[str, ...] = ()) -> Said:
        return say(*typed, check=check, cwd=self.folder, before=before)

    def outside(self) -> list[tuple[str, int, bytes]]:
        """Everything here that no sweep is to write: path, mode, content."""
        found = []
        for top, folders, files in os.walk(self.folder.parent.parent):
            for skip in {"runs", "home"}.intersection(folders):
                folders.remove(skip)
            for name in files:
                path = Path(top, name)
                found.append((str(path), path.stat().st_mode, path.read_bytes()))
        return sorted(found)


@pytest.fixture
def place(private: Path) -> Iterator[Place]:
    made = Place(private)
    yield made
    assert not made.canary.exists(), made.canary.read_text()


def quoted(value: str) -> str:
    """``value`` as YAML in double quotes, without a character that YAML does not take as it is."""
    letters = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return '"' + "".join(letters) + '"'


def values(place: Place) -> list[str]:
    canary = place.canary
    calls = (
        "$(touch %s)",
        "`touch %s`",
        "#(touch %s)",
        "'; touch %s; '",
        '"; touch %s; "',
        "\ntouch %s\n",
        "|touch %s",
    )
    return [value for value in HOSTILE if "\0" not in value] + [call % canary for call in calls] + [ESCAPES, BIDI]


LOOKS = (  # what a person gives afterwards
    ("status", "s"),
    ("logs", "s", "1"),
    ("report", "s"),
    ("report", "s", "--format", "markdown"),
    ("retry", "s"),
)


@pytest.mark.parametrize("how", [("--serial", "--here"), ("--parallel", "4")], ids=["here", "windows"])
def test_values_are_data_from_the_file_to_the_command(place: Place, how: tuple[str, ...]) -> None:
    """Each reaches its run as the very string that it is, and no command, folder, window or screen is made of it."""
    wanted = values(place)
    listed = "".join(f"  - {{value: {quoted(value)}}}\n" for value in wanted)
    command = '\'printf %s {a} >"$SWEEP_RUN_DIR/value"; printf "%s\\n" {a}\''
    place.write(f"command: {command}\ngpus: 0\ngrid:\n {quoted('a')}:\n{listed}")
    before = place.outside()
    place.sweep("s.yaml", *how, check=0)
    folders = sorted((place.folder / "runs" / "s").glob("[0-9]*"))
    got = [(folder / "value").read_bytes().decode() for folder in folders]
    assert got == wanted
    assert all(len(os.fsencode(folder.name)) <= 255 for folder in folders)
    for typed in LOOKS if "--parallel" in how else ():
        assert not HARMFUL.search(place.sweep(*typed, check=0).text), typed
    assert place.outside() == before


def test_a_dry_run_is_what_a_shell_reads(place: Place) -> None:
    wanted = values(place)
    listed = "".join(f"  - {{value: {quoted(value)}}}\n" for value in wanted)
    place.write(f"command: printf '%s\\0'\nargs: '{{value}}'\ngpus: 0\ngrid:\n a:\n{listed}")
    before = place.outside()
    said = place.sweep("s.yaml", "--dry-run", check=0)
    assert not HARMFUL.search(said.text)
    done = subprocess.run(["bash", "-c", said.out], capture_output=True, check=True, cwd=place.folder)
    assert done.stdout.decode().split("\0")[:-1] == wanted
    assert place.outside() == before
    assert not (place.folder / "runs").exists()


@pytest.mark.parametrize("name", ["#(touch x)", "-rf", "'; touch x #", "a\nb", "..", "x" * 240, ESCAPES], ids=ascii)
def test_a_file_may_be_called_anything(place: Place, name: str) -> None:
    """The sweep gets a harmless name of it, which a person is told."""
    file = f"{name}.yaml"
    place.write("command: pwd\ngpus: 0\n", file)
    before = place.outside()
    said = place.sweep(f"./{file}", "--serial", check=0)
    (made,) = (place.folder / "runs").iterdir()
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_+=-]*", made.name)
    assert said.out.startswith(f"{made.name}: 1 run")
    assert not HARMFUL.search(said.text)
    assert place.outside() == before


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("../../x", False),
        ("-rf", True),
        ("a b", True),
        ("a\nb", True),
        ("$(touch x)", True),
        ("#(touch x)", True),
        (ESCAPES, True),
        ("x" * 300, True),
        ("", True),
    ],
    ids=ascii,
)
def test_a_parameter_may_not_be_called_anything(place: Place, name: str, refused: bool) -> None:
    place.write(f"command: echo\ngpus: 0\ngrid:\n  {quoted(name)}: [1, 2]\n")
    before = place.outside()
    said = place.sweep("s.yaml", "--serial", check=2 if refused else 0)
    assert not HARMFUL.search(said.text), said
    assert place.outside() == before
    if refused:
        assert said.err.startswith("sweep: s.yaml:4: ")
        assert not (place.folder / "runs").exists()
    else:
        assert len(list((place.folder / "runs" / "s").glob("[0-9]*"))) == 2


TOO_MUCH = {
    "a billion laughs": (LAUGHS + "command: x\ngrid: {p: *m}\n", r"s\.yaml:\d+: "),
    "lists nested deep": ("command: x\ngrid: {a: " + "[" * 100_000 + "]" * 100_000 + "}\n", r"s\.yaml:2: .*nests"),
    "mappings nested deep": ("command: x\ngrid: " + "{a: " * 100_000 + "1" + "}" * 100_000, r"s\.yaml:2: .*nests"),
    "an expression nested deep": (
        "command: x\ngrid: {a: [1, 2]}\nexclude: ['" + "(" * 400 + "a" + ")" * 400 + "']\n",
        r"s\.yaml:3: exclude\[0\]",
    ),
    "a power": ("command: x\ngrid: {a: [1, 2]}\nexclude: ['9**9**9**9 > a']\n", r"s\.yaml:3: .*too large"),
    "10^12 points": (
        "command: x\ngrid: {a: {range: 1000000}, b: {range: 1000000}}\n",
        r"s\.yaml:2: grid: makes 1,000,000,000,000 runs",
    ),
    "10^3000 points": (
        "command: x\ngrid:\n" + "".join(f"  p{n}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n" for n in range(3000)),
        r"s\.yaml:2: grid: makes about 10\^3000 runs",
    ),
    "a union times a union": (
        "command: x\ngrid:\n" + "- {a: 1}\n" * 4000 + "repeat:\n" + "- {b: 1}\n" * 4000,
        r"s\.yaml:2: grid: makes 16,000,000 runs",
    ),
    "10^7 points one by one": (
        "command: x\ngrid:\n" + "- {a: {range: 10000}}\n" * 999,
        r"s\.yaml:2: grid: makes 9,990,000 runs in 999 small mappings",
    ),
    "a range of 10^12": ("command: x\ngrid: {a: {range: 1000000000000}}\n", r"s\.yaml:2: .*1,000,000,000,000"),
    "repeated 10^12 times": ("command: x\nrepeat: {s: {range: 1000000}, t: {range: 1000000}}\n", r"1,000,000,000,000"),
    "a giant number": ("command: x\ngrid: {a: [" + "9" * 100_000 + "]}\n", r"s\.yaml:2: .*more than 1000 digits"),
    "a NUL": ('command: x\ngrid: {a: ["x\\0y"]}\n', r"s\.yaml:2: .*NUL"),
    "a tag that calls": ("command: !!python/object/apply:os.system ['touch x']\n", r"s\.yaml:1: .*tag"),
    "a name outside": ("name: ../../x\ncommand: x\n", r"s\.yaml:1: name: '\.\./\.\./x' cannot be the name"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_is_refused_by_line_before_memory_is_spent(place: Place, what: str) -> None:
    text, says = TOO_MUCH[what]
    place.write(text)
    before = place.outside()
    began = time.monotonic()
    said = place.sweep("s.yaml", "--serial", "--here", check=2, before=("prlimit", f"--as={MEGABYTES * 2**20}", "--"))
    assert time.monotonic() - began < 30
    assert re.search(says, said.err), said.err[:500]
    assert said.err.startswith("sweep: s.yaml")
    assert len(said.err) < 20_000
    assert not HARMFUL.search(said.text)
    assert place.outside() == before
    assert not (place.folder / "runs").exists()


def test_ten_thousand_parameters_are_run(place: Place) -> None:
    """More than one argument of a program may hold, 128 kB."""
    names = [f"{'p' * 20}{number}" for number in range(10_000)]
    place.write("command: 'bash count.sh'\ngpus: 0\ngrid:\n" + "".join(f"  {name}: 1\n" for name in names))
    place.write('echo count=$#; printf "%s\\n" "$@" >"$SWEEP_RUN_DIR/words"\n', "count.sh")
    place.sweep("s.yaml", "--serial", "--here", check=0)
    (run,) = (paths.RunDir(folder) for folder in (place.folder / "runs" / "s").glob("[0-9]*"))
    assert (run.path / "words").read_text().split() == [f"--{name}=1" for name in names]
    assert len(os.fsencode(run.path.name)) <= 255
    said = place.sweep("status", "s", check=0)
    assert len(said.out) < 5000
    assert json.loads(run.job.read_text())["texts"][names[-1]] == "1"


def on_a_terminal(place: Place, *typed: str) -> bytes:
    """What a command writes to a terminal of its own."""
    child, master = pty.fork()
    if child == 0:
        os.chdir(place.folder)
        os.execvpe(SWEEP[0], [*SWEEP, *typed], {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"})
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: it is gone
            break
        if not piece:
            break
        written += piece
    os.close(master)
    os.waitpid(child, 0)
    return written


def test_nothing_of_a_file_a_log_or_a_name_is_obeyed_by_the_terminal(place: Place) -> None:
    """The table, the report and the log are drawn with escape sequences of ours, and none of theirs."""
    evil = "\x1b]0;OWNED\x07\x1b[6n\x1b[31;47mOWNED\x9b5n\x1bPOWNED\x1b\\"
    print_it = 'printf "loss=0.5 %s_acc=0.25\\n%s\\nTraceback: %s Error\\n" {a} {a} {a}; exit 3'
    place.write(f"command: {json.dumps(print_it)}\ngpus: 0\ngrid: {{a: [{quoted(evil)}, {quoted(BIDI + evil)}]}}\n")
    for typed in (
        ("s.yaml", "--parallel", "2"),
        ("status", "s"),
        ("logs", "s", "1"),
        ("report", "s"),
        ("report", "s", "--columns", "a,loss"),
        ("s.yaml", "--dry-run"),
        ("status", evil),
        (evil,),
        (f"./{evil}.yaml",),
        ("s.yaml", f"--{evil}"),
        ("report", "s", "--where", evil),
        ("report", "s", "--columns", evil),
    ):
        written = on_a_terminal(place, *typed).decode("utf-8", "replace")
        assert written
        for sequence in ("\x1b]0;", "\x1b[6n", "\x1b[31;47m", "\x9b", "\x1bP", "\x07", "\u202e", "\u2066"):
            assert sequence not in written, (typed, written)
