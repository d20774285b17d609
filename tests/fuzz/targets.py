"""What is attacked: each target takes bytes, and raises for anything but the errors that are documented."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sweeper import command, control, errors, folders, gpus, grid, metrics, model, moments, paths, spec, tmux
from sweeper.channel import LIMIT, Channel
from sweeper.lease import claims, devices, evidence, turns, words
from sweeper.metrics import folding
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


def sweep_file(data: bytes) -> None:
    """What a launch does with a sweep file before it changes anything."""
    text = data.decode("utf-8", "replace")
    try:
        read = spec.read_spec("/nowhere/fuzz.yaml", text)
        points = grid.expand(read)
        template = command.template(read)
        if template.check(points):
            return
        assert len(points) <= spec.MAX_POINTS
        for number, params in enumerate(islice(points, 3), 1):
            texts = command.texts(params)
            folder = paths.folder_name(number, texts)
            assert _is_component(folder)
            template.render(params, run=number, run_dir=f"/runs/{folder}", sweep=read.name)
            template.key(params)
            line = command.describe(params)
            assert not CONTROLS.intersection(line), line
        assert _is_component(read.name), read.name
    except errors.SweepError as error:
        shown(error)


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
        read = spec.read_spec("/nowhere/fuzz.yaml", text)
        points = grid.expand(read)
        template = command.template(read)
    except errors.SweepError as error:
        shown(error)
        if "\0" not in value:
            raise AssertionError(f"{value!r} is refused") from error
        return
    (params,) = list(points)
    script = template.render(params, run=1, run_dir="/runs/x", sweep="fuzz")
    assert _bash.words(script) == [place.replace("{a}", value).encode()], script


def _joined(text: str) -> str:
    """JSON escapes a character beyond 16 bits as two halves, which YAML reads as two."""
    return json.dumps(json.loads(text), ensure_ascii=False)


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


def logs(data: bytes) -> None:
    """Any log has metrics, and a picture of what a terminal would show; in whatever pieces it arrives."""
    found = metrics.parse(data, params={"lr": 0.1})
    for name in found.series:
        assert not CONTROLS.intersection(name), name
    picture = folding.fold(data)
    assert not BREAKING.intersection(picture)
    folder = folding.Folder()
    cut = len(data) // 2
    pieces = folder.feed(data[:cut]) + folder.feed(data[cut:]) + folder.end()
    if len(data) < 60_000:
        assert pieces.decode("utf-8", "replace") == picture


# -- holder notes --------------------------------------------------------------------------------------------------

_GPU = devices.Gpu(0, "GPU-0", "Stand-in", "nvidia", 40_000_000_000, 5_000_000)
_OWN = claims.Claim(claims.WAITING, os.getpid(), 0, "boot", 1, ("GPU-0",), name="claim-b", uid=os.getuid(), live=True)


def holders(data: bytes) -> None:
    """What another user wrote into the shared folder: taken for no more than words."""
    fields = claims.parse(data)
    if fields is None:
        return
    claim = claims.Claim(**fields, name="claim-a", uid=65534, live=True)
    wait = words.wait(_OWN, [claim, _OWN], {"GPU-0": [claim]}, None, {"GPU-0": _GPU})
    told = [words.holder(claim), wait.text, wait.lasting, *moments.folded(wait.note).split("\r\n")]
    uses = evidence.look([_GPU], [claim])
    words.wait(_OWN, [claim, _OWN], {}, uses, {"GPU-0": _GPU})
    turns.plan([claim, _OWN], {}, ["GPU-0"], turns.anything)
    turns.before(_OWN, [claim, _OWN])
    row = gpus._row(_GPU, uses["GPU-0"], [claim])
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
    target.__name__: target for target in (sweep_file, values, names, logs, holders, packets, run_files)
}
