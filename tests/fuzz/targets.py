"""What is attacked: each target takes bytes, and raises for anything but the errors that are documented."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sweeper import command, control, errors, folders, gpus, grid, metrics, model, moments, paths, spec, tmux
from sweeper.channel import LIMIT, Channel
from sweeper.lease import claims, devices, evidence, roll, turns, words
from sweeper.metrics import curve, folding, shapes
from sweeper.store import open_store

from .bash import Bash

NAME_BYTES = 255  # of a file name, as file systems have it
CONTROLS = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}

BREAKING = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\t", "\n"}


def shown(error: errors.SweepError) -> None:
    """Whatever is wrong is told in text that can be printed, and at bearable length."""
    text = str(error)
    text.encode()
    assert text
    assert len(text) < 200_000, len(text)


# -- sweep files ---------------------------------------------------------------------------------------------------


_WITHOUT_A_LINE = ("is empty", "is missing", "is a binary file")  # there is none to name
_HARMLESS = (".py", ".pyc", ".so")  # what is opened only because a module is imported late


class Watch:
    """Notices whatever opens a file, starts a program or calls another host while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on or not event.startswith(("open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.")):
            return
        if event == "os.listdir" or (event == "open" and str(args[0]).endswith(_HARMLESS)):
            return  # the import system looks around
        self.seen.append(f"{event} {args!r:.200}")

    @contextlib.contextmanager
    def over(self, what: object) -> Iterator[None]:
        """Raises AssertionError where anything was noticed within."""
        self.seen = []
        self.on = True
        try:
            yield
        finally:
            self.on = False
        assert not self.seen, (self.seen, what)


_watch = Watch()


def sweep_file(data: bytes) -> None:
    """What a launch does with a sweep file before it changes anything: it reads it, and that is all."""
    text = data.decode("utf-8", "replace")
    with _watch.over(text):
        try:
            _launch(text)
        except errors.SpecError as error:
            shown(error)
            for problem in error.problems:
                lines = text.count("\n") + text.count("\r") + 2
                known = problem.line is not None and 1 <= problem.line <= lines
                assert known or problem.message in _WITHOUT_A_LINE, problem
        except errors.SweepError as error:
            shown(error)


def _launch(text: str) -> None:
    read = spec.read_spec("/nowhere/fuzz.yaml", text)
    points = grid.expand(read)
    template = command.template(read)
    if template.check(points):
        return
    assert _is_component(read.name), read.name
    assert len(points) <= spec.MAX_POINTS
    lines = command.dry_run(points, template, sweep=read.name)
    keys = set()
    for number, (params, line) in enumerate(islice(zip(points, lines, strict=True), 40), 1):
        folder = paths.folder_name(number, command.texts(params))
        assert _is_component(folder)
        rendered = template.render(params, run=number, run_dir=f"runs/{read.name}/{folder}", sweep=read.name)
        assert line == rendered or ("\n" in template.command and line.startswith("bash -c ")), line
        assert "\n" not in line
        keys.add(template.key(params))
        assert points[number - 1] == params
        assert points.index({name: value.value for name, value in params.items()}) == number - 1
        said = command.describe(params)
        assert not CONTROLS.intersection(said), said
    assert len(keys) == min(40, len(points)), "a point stands there twice"


def _is_component(name: str) -> bool:
    raw = name.encode()
    return 0 < len(raw) <= NAME_BYTES and "/" not in name and "\0" not in name and name not in (".", "..")


# -- values --------------------------------------------------------------------------------------------------------

_PLACES = ("{a}", "x={a}", "--x={a}", "pre{a}post", "{a}{a}", "~{a}", "-{a}", "{a}/{a}", "@{a}")
_bash = Bash()


def values(data: bytes) -> None:
    """A parameter's value reaches the command as the very string that it is, wherever its place stands."""
    if not data:
        return
    place = _PLACES[data[0] % len(_PLACES)]
    value = data[1:2001].decode("utf-8", "replace")
    quoted = json.dumps({"command": f"builtin printf '%s\\0' {place}", "grid": {"a": {"value": value}}})
    text = "".join(c if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in _joined(quoted))
    try:
        points, template = _understood(text)
    except errors.SweepError as error:
        shown(error)
        if "\0" not in value:
            raise AssertionError(f"{value!r} is refused") from error
        return
    (params,) = list(points)
    script = template.render(params, run=1, run_dir="/runs/x", sweep="fuzz")
    assert _bash.words(script) == [place.replace("{a}", value).encode()], script
    (line,) = command.dry_run(points, template, sweep="fuzz")
    assert not CONTROLS.intersection(line), line
    assert _bash.words(line) == [place.replace("{a}", value).encode()], line


def _understood(text: str) -> tuple[grid.Points, command.Template]:
    read = spec.read_spec("/nowhere/fuzz.yaml", text)
    return grid.expand(read), command.template(read)


def _joined(text: str) -> str:
    """JSON escapes a character beyond 16 bits as two halves, which YAML reads as two."""
    return json.dumps(json.loads(text), ensure_ascii=False)


# -- commands ------------------------------------------------------------------------------------------------------

# Pieces of which commands are made: all that begins or ends a quotation, a substitution, a comment, a here-document.
_PIECES = (
    "{a}", "{args}", "{b}", " ", " ", "'", '"', "\\", "`", "$", "$'", '$"', "$(", ")", "(", "${x-", "${x:-", "${#",
    "}", "{", "{{", "}}", "$((", "((", "))", "[[ ", " ]]", "#", " #", "\n", ";", ";;", "&", "&&", "|", "||", "<<",
    "<<<", "<<-", "<(", "E", "E\n", "case x in ", "esac", "x=", "$x", '"$x"', "!", "*", "~", "=", "1", ",", "..",
    "x", ":", " fi", "if :;then ", "for x in ", ";do ", ";done", "builtin printf '%s\\0' ", "x() {", "\t", "\r",
    "%", "-", "/", "@",
)  # fmt: skip
_CALLS = (
    "$(hit)", "`hit`", ";hit;", "\nhit\n", "';hit;'", '";hit;"', ")hit;(", "}hit;{", "E\nhit\n", "$((x[$(hit)]))",
    "|hit", "&hit&", "x[$(hit)]", "\\", "'", '"', "${x-$(hit)}", "{hit,}", "$'\\nhit\\n'", " hit ", "#", "!hit",
    "=", "a",
)  # fmt: skip


def commands(data: bytes) -> None:
    """Wherever a place stands in a command, either it is refused or nothing that is in the value is executed.

    The value calls ``hit``, which says so; the commands are made of pieces that cannot call it by themselves.
    """
    wanted, _, chosen = data[:200].partition(b"\xff")
    text = "".join(_PIECES[byte % len(_PIECES)] for byte in wanted)
    value = "".join(_CALLS[byte % len(_CALLS)] for byte in chosen[:8]) or "$(hit)"
    if "{a}" not in text and "{args}" not in text:
        text += "{a}"
    file = json.dumps({"command": text, "grid": {"a": {"value": value}, "b": {"value": "b"}}})
    try:
        points, template = _understood(file)
    except errors.SweepError as error:
        shown(error)
        return
    if template.check(points):
        return
    (params,) = list(points)
    script = template.render(params, run=1, run_dir="/runs/x", sweep="fuzz")
    assert not _bash.hits(script), (text, value, script)


# -- names ---------------------------------------------------------------------------------------------------------


def names(data: bytes) -> None:
    """Folder names and window titles are harmless whatever the parameters are called."""
    left, _, right = data.decode("utf-8", "surrogateescape").partition("=")
    number = 1 + len(data) * 7919
    component = paths.clean(left)
    assert _is_component(component) or len(component) > NAME_BYTES
    assert component.isascii()
    folder = paths.folder_name(number, {left: right, right: left})
    assert _is_component(folder)
    assert folder.isascii()
    assert paths.folder_number(folder) == number
    title = tmux.title(f"{number} {left}")
    assert not CONTROLS.intersection(title)
    assert "#" not in title.replace("##", "")
    assert not set(title) & set("'\"`$\\;{}\n")
    assert title.encode()
    assert tmux.word(left) != ";"
    assert tmux.literal(left).count("#") == 2 * left.count("#")


# -- logs ----------------------------------------------------------------------------------------------------------


_LONGEST_NAME = 300  # characters of a metric's name
_SPELLED = re.compile(rb"nan|inf", re.IGNORECASE)


def logs(data: bytes) -> None:
    """Any log has metrics, and a picture of what a terminal would show; in whatever pieces it arrives."""
    chance = random.Random(zlib.crc32(data))
    found = metrics.parse(data, params={"lr": 0.1})
    for name, series in found.series.items():
        assert name
        assert not CONTROLS.intersection(name), name
        assert len(name) <= _LONGEST_NAME, name
        _check(series, data)
    for value in (found.epoch, found.epochs_total, found.step, found.steps_total):
        assert value is None or math.isfinite(value), value
    chance.choice((_read_in_any_order, _read_in_pieces, _folded_in_pieces))(data, chance)


def _read_in_any_order(data: bytes, chance: random.Random) -> None:
    warm = _told(metrics.parse(data))
    shapes.forget()
    assert _told(metrics.parse(data)) == warm, "what was read before matters"


def _read_in_pieces(data: bytes, chance: random.Random) -> None:
    whole = metrics.Reader(block=chance.choice((40, 300, 2000)))
    whole.feed(data)
    pieces = metrics.Reader(block=whole.block)
    for cut in sorted(chance.randrange(len(data) + 1) for _ in range(3)):
        pieces.feed(data[pieces.offset + len(pieces.pending) : cut])
        pieces = metrics.Reader.from_json(json.loads(json.dumps(pieces.to_json())), block=whole.block)
        shapes.forget()
        pieces.feed(data[pieces.offset : cut])
    pieces.feed(data[pieces.offset + len(pieces.pending) :])
    ended = chance.random() < 0.5
    assert _told(pieces.metrics(ended=ended)) == _told(whole.metrics(ended=ended)), "where it was cut matters"


def _folded_in_pieces(data: bytes, chance: random.Random) -> None:
    picture = folding.fold(data)
    assert not BREAKING.intersection(picture)
    folder = folding.Folder()
    shown, place = b"", 0
    for cut in sorted(chance.randrange(len(data) + 1) for _ in range(4)):
        shown += folder.feed(data[place:cut])
        place = cut
    shown += folder.feed(data[place:]) + folder.end()
    if len(data) < 60_000:
        assert shown.decode("utf-8", "replace") == picture


def _check(series: metrics.Series, data: bytes) -> None:
    """What is known of a metric fits together, and its numbers are those of the log."""
    points = series.points
    assert series.count > 0
    assert 0 < len(points) <= curve.POINTS + 1, len(points)
    values = [value for _, value in points] + [series.last, series.min, series.max]
    assert all(map(math.isfinite, values)) or _SPELLED.search(folding.strip_escapes(data)), (
        series,
        "no such number stands there",
    )
    steps = [step for step, _ in points] + [series.last_step]
    assert all(map(math.isfinite, steps)), (series, steps)
    assert repr(points[-1][1]) == repr(series.last), series
    assert series.last != series.last or series.min <= series.last <= series.max, series


def _told(found: metrics.Metrics) -> str:
    """All that is known, as text: NaN is equal to itself there."""
    progress = [found.epoch, found.epochs_total, found.step, found.steps_total]
    return repr([[(series, series.points) for series in found.series.values()], progress])


# -- holder notes --------------------------------------------------------------------------------------------------

_GPU = devices.Gpu(0, "GPU-0", "Stand-in", "nvidia", 40_000_000_000, 5_000_000)
_OWN = claims.Claim(claims.WAITING, os.getpid(), 0, "boot", 1, ("GPU-0",), name="claim-b", uid=os.getuid(), live=True)


def holders(data: bytes) -> None:
    """What another user wrote into the shared folder: taken for no more than words."""
    fields = claims.parse(data)
    if fields is None:
        return
    claim = claims.Claim(**fields, name="claim-a", uid=65534, live=True)
    now = roll.Roll([claim, _OWN], _OWN.name)
    goes = now.goes
    wait = words.wait(_OWN, [claim, _OWN], now.hindered, {"GPU-0": [claim]}, {}, None, {"GPU-0": _GPU})
    told = [words.holder(claim), wait.text, wait.lasting, *moments.folded(wait.note).split("\r\n")]
    uses = evidence.look([_GPU], [claim])
    words.wait(_OWN, [claim, _OWN], now.hindered, {}, {"GPU-0": "it is no file"}, uses, {"GPU-0": _GPU})
    turns.plan([claim, _OWN], {}, ["GPU-0"], turns.anything, goes)
    turns.before(_OWN, [claim, _OWN])
    row = gpus._row(_GPU, uses["GPU-0"], now, Path("/nonexistent"))
    told += [gpus._held_by(one) for one in row.holders] + [gpus._who(one) for one in row.queue]
    for line in told:
        assert not CONTROLS.intersection(line), line
        line.encode()
        assert len(line) < 5000
    json.dumps([str(one) for one in row.holders])


# -- packets -------------------------------------------------------------------------------------------------------


def packets(data: bytes) -> None:
    """Whatever arrives at a socket is a message with a kind, or the end of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    receiver = Channel(ours)
    try:
        theirs.send(data[:LIMIT])
        message = receiver.receive()
    except EOFError:
        return
    finally:
        receiver.close()
        theirs.close()
    assert message is not None
    assert isinstance(message["kind"], str)


# -- the files of a run --------------------------------------------------------------------------------------------

JOB: dict[str, Any] = model.Job(
    "fuzz", 1, "0123456789abcdef", {"lr": 0.1}, {"lr": "0.1"}, "true", "", "/", "environment-1.json", {}, None, 10.0,
    model.GpuRequest(),
).to_json()  # fmt: skip
ATTEMPT: dict[str, Any] = model.Attempt(1, 4_194_305, 1, "host", "boot", ["0"], 0, 1000.0).to_json()
OUTCOME: dict[str, Any] = model.Outcome("done", 1, 0, None, "", 1000.0, 1001.0, ["0"], "host", 0, 0).to_json()
ENVIRONMENT: dict[str, Any] = {"variables": {}, "umask": 18, "cwd": "/", "file": "/nowhere/fuzz.yaml", "parallel": 1,
                               "options": {"gpu": model.GpuRequest().to_json(), "hold": False}}  # fmt: skip
FILES = {"run.json": JOB, "attempt-1.json": ATTEMPT, "outcome-1.json": OUTCOME, "environment-1.json": ENVIRONMENT}
SWEEP = "command: 'true'\ngrid: {lr: [0.1, 0.2]}\n"


def run_files(data: bytes) -> None:
    """A queue is rebuilt from whatever lies in the folders, and a status given of it."""
    if not data:
        return
    contents = {name: json.dumps(content).encode() for name, content in FILES.items()}
    name = list(FILES)[data[0] & 3]
    if data[0] & 4:
        contents[name] = data[1:]
    elif len(data) > 1:
        fields = list(FILES[name])
        try:
            value = json.loads(data[2:])
        except (ValueError, RecursionError):
            return
        contents[name] = json.dumps({**FILES[name], fields[data[1] % len(fields)]: value}).encode()
    with _sweep(contents) as sweep:
        run = sweep.run("0001-lr=0.1")
        past = folders.history(run)
        assert past.attempts in (0, 1)
        folders.read_job(run)
        try:
            store = open_store(sweep)
        except errors.SweepError as error:
            shown(error)
            return
        with contextlib.closing(store):
            now = control.status(sweep, store)
            wish = store.wish()
            if wish is not None:
                model.GpuRequest.from_json(wish.options.get("gpu") or {})
                assert wish.parallel is None or wish.parallel > 0
            assert store.next_number() < 10**9
            for record in store.records():
                assert record.label is not None
                json.dumps([record.note, record.gpus, record.host, record.started, record.ended])
            assert sum(now.counts.values()) <= 3


@contextlib.contextmanager
def _sweep(contents: dict[str, bytes]) -> Iterator[paths.SweepDir]:
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = Path(tempfile.mkdtemp(prefix="sweep-fuzz-", dir=base))
    try:
        run = path / "0001-lr=0.1"
        run.mkdir()
        (path / "sweep.yaml").write_text(SWEEP)
        for name, content in contents.items():
            ((path if name.startswith("environment") else run) / name).write_bytes(content)
        yield paths.SweepDir(path)
    finally:
        paths.state_folder.cache_clear()
        shutil.rmtree(path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (sweep_file, values, commands, names, logs, holders, packets, run_files)
}
