"""The fuzz targets without their fuzzer: seeds, hypothesis, and what must not take long. See tests/fuzz."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper import folders, metrics, paths
from sweeper.channel import Channel
from sweeper.errors import SweepError
from sweeper.metrics import recipe
from sweeper.store import open_store
from tests.fuzz import NAMES, seeds, targets

SECONDS = 5.0  # for any one input of 100 kB, on a busy machine
WORDS = st.sampled_from([*seeds.HOSTILE, "loss", "=", ": ", "0.5", "\n", "\r", "{", "}", "[", "]", '"', ",", "command"])


def test_every_target_has_its_name() -> None:
    assert tuple(targets.TARGETS) == NAMES


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds(name: str) -> None:
    for seed in seeds.seeds(name):
        targets.TARGETS[name](seed)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_nothing_takes_long(name: str) -> None:
    for text in seeds.long_ones(name):
        began = time.process_time()
        targets.TARGETS[name](text)
        assert time.process_time() - began < SECONDS, text[:60]


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=12).map(lambda words: "".join(words).encode())))
def test_anything(name: str, data: bytes) -> None:
    targets.TARGETS[name](data)


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_seeds(name: str, data: st.DataObject) -> None:
    """A seed with a piece taken out, put twice, or replaced."""
    seed = data.draw(st.sampled_from(sorted(set(seeds.seeds(name)), key=len)[:300]))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(len(seed), start + 50)))
    middle = data.draw(st.one_of(st.just(b""), st.just(seed[start:end] * 2), st.binary(max_size=8)))
    targets.TARGETS[name](seed[:start] + middle + seed[end:])


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (extra: fuzz)")
def test_the_fuzzer_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "packets", "--seconds", "2"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- what they found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"\x1b\x00[31mred", b"\x1b\x1b\x1b[31m", b"\x1b", b"\x1b\x07]0;t", "\x9b31m".encode()]
)
def test_no_escape_is_put_together_by_folding(data: bytes) -> None:
    shown = metrics.fold(data + b"\n")
    assert not any(character in shown for character in "\x1b\x00\x07\x9b"), shown


@pytest.mark.parametrize("begin", [b"\x1b]", b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX"])
def test_a_title_without_end_hides_no_other_line(begin: bytes) -> None:
    assert metrics.fold(begin + b"title\nloss=0.3\n").splitlines() == ["", "loss=0.3"]


def test_digits_of_every_script_are_numbers() -> None:
    assert metrics.parse("epoch \u07c3 loss=0.\u0665\nEpoch \u07c3/\u07c4 loss: 0.5\n".encode()) is not None
    assert recipe.number("\u07c3,5".encode()) == 3.5


@pytest.mark.parametrize("packet", [b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b"{}", b'{"kind": 1}', b"[]"])
def test_a_packet_that_is_none_of_ours_ends_the_talk(packet: bytes) -> None:
    ours, theirs = Channel.pair()
    theirs.sock.send(packet)
    with pytest.raises(EOFError):
        ours.receive()
    ours.close()
    theirs.close()


def test_a_folder_named_like_a_run_with_a_giant_number_costs_nothing(tmp_path: Path) -> None:
    with targets._sweep({"run.json": b"{}"}) as sweep:
        giant = sweep.run("9999999999999-x")
        giant.path.mkdir()
        giant.job.write_text('{"number": 9999999999999}')
        copy = sweep.run("0002-copy")
        copy.path.mkdir()
        copy.job.write_text((sweep.run("0001-lr=0.1").job).read_text())
        store = open_store(sweep)
        assert store.next_number() <= 3
        store.close()


def test_files_of_other_types_are_no_files_of_a_run(tmp_path: Path) -> None:
    run = paths.RunDir(tmp_path)
    for text in ('{"outcome": "done", "attempt": "1"}', "[]", "{", "", '{"number": 1}', '{"outcome": ["done"]}'):
        for file in (run.job, run.attempt(1), run.outcome(1)):
            file.write_text(text)
        past = folders.history(run)
        assert (past.attempts, past.attempt, past.outcome) == (1, None, None)
        assert folders.read_job(run) is None


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    place.mkdir()
    (place / "sweep.yaml").write_text(targets.SWEEP)
    try:
        open_store(paths.SweepDir(place)).close()
    except SweepError as error:
        str(error).encode()
