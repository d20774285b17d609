"""A log says the same in however many pieces it comes, whatever was read before, and whatever its lines are like."""

from __future__ import annotations

import json
import math
import random
import re
import time
from pathlib import Path

import pytest

from sweeper import metrics
from sweeper.metrics import curve, shapes
from tests.fuzz import seeds

LOGS = Path(__file__).parent / "logs"
NAMES = sorted(path.stem for path in LOGS.glob("*.log"))


def told(found: metrics.Metrics) -> str:
    """All that is known, as text: NaN is equal to itself there."""
    return repr([(series, series.points) for series in found.series.values()] + [found.epoch, found.step])


def in_pieces(data: bytes, cuts: list[int], block: int) -> metrics.Reader:
    """A reader that was put away and taken up again at each of the places in ``cuts``."""
    reader = metrics.Reader(block=block)
    for cut in sorted(cuts):
        reader.feed(data[reader.offset + len(reader.pending) : cut])
        written = json.dumps(reader.to_json())
        reader = metrics.Reader.from_json(json.loads(written), block=block)
        reader.feed(data[reader.offset : cut])
    reader.feed(data[reader.offset + len(reader.pending) :])
    return reader


NAN = (
    "Traceback (most recent call last):\n"
    '  File "train.py", line 12, in <module>\n'
    '    raise RuntimeError("loss is NaN")\n'
    "    ~~~~~~~~~~~~~~^^^^^^^\n"
    "RuntimeError: loss is NaN\n"
)
CHAIN = f"{NAN}\nDuring handling of the above exception, another exception occurred:\n\n{NAN}"
RANKS = "".join(f"[rank{n}]: {line}\n" for line in NAN.splitlines() for n in (0, 1))
GROUP = (
    "  + Exception Group Traceback (most recent call last):\n"
    '  |   File "train.py", line 3, in <module>\n'
    "  | ExceptionGroup: loss is NaN (1 sub-exception)\n"
    "  +-+---------------- 1 ----------------\n"
    "    | Traceback (most recent call last):\n"
    '    |     raise ValueError("loss is 7.5")\n'
    "    | ValueError: loss is 7.5\n"
    "    +------------------------------------\n"
)
RED = NAN.replace("RuntimeError: loss is NaN", "\x1b[1;35mRuntimeError\x1b[0m: \x1b[35mloss is NaN\x1b[0m")
BOX = (
    "╭─────────── Traceback (most recent call last) ───────────╮\n"
    '│ ❱ 12   raise RuntimeError("loss is NaN")                │\n'
    "╰─────────────────────────────────────────────────────────╯\n"
    "RuntimeError: loss is NaN\n"
)
TRACEBACKS = {"one": NAN, "chain": CHAIN, "ranks": RANKS, "group": GROUP, "red": RED, "box": BOX}


@pytest.mark.parametrize("name", TRACEBACKS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_traceback_holds_no_metric_wherever_it_is_cut(name: str, newline: str) -> None:
    """And what stands before and behind it does, indented or not."""
    text = f"epoch 1 val_acc=0.5\n{TRACEBACKS[name]}epoch 2 val_acc=0.75\n  epoch 3 val_acc=0.25\n"
    data = text.replace("\n", newline).encode()
    for block in (16, 64, 1 << 18):
        for cut in range(0, len(data), 7):
            found = in_pieces(data, [cut], block).metrics(ended=True)
            assert {one: series.count for one, series in found.series.items()} == {"val_acc": 3}, (block, cut)
            assert found.last == {"val_acc": 0.25}


def test_what_only_looks_like_a_traceback_ends_none_of_the_metrics() -> None:
    """One that breaks off (its process was killed) swallows what is indented, and nothing of the next attempt."""
    data = b"loss: 0.5\nTraceback (most recent call last):\n  File 'x', line 1\nepoch 1 loss: 0.25\nloss: 0.125\n"
    assert metrics.parse(data).series["loss"].count == 3
    bar = b"epoch 1 loss=0.5 acc=0.5Traceback (most recent call last):\n  x\nValueError: acc is NaN\n"
    assert metrics.parse(bar).last == {"loss": 0.5, "acc": 0.5}


@pytest.mark.parametrize("name", NAMES)
def test_pieces_do_not_matter(name: str) -> None:
    """Neither where the bytes are cut, nor that the reader is put away in between and its memory of lines is lost."""
    data = (LOGS / f"{name}.log").read_bytes()
    chance = random.Random(name)
    for block in (64, 700, 5000):
        whole = metrics.Reader(block=block)
        whole.feed(data)
        cuts = [chance.randrange(len(data) + 1) for _ in range(12)]
        shapes.forget()
        assert told(in_pieces(data, cuts, block).metrics(ended=True)) == told(whole.metrics(ended=True))


def test_byte_by_byte() -> None:
    data = (LOGS / "torch_tqdm.log").read_bytes()
    reader = metrics.Reader()
    for place in range(len(data)):
        reader.feed(data[place : place + 1])
    assert told(reader.metrics()) == told(metrics.parse(data))


def test_a_line_that_is_too_long_is_let_go_wherever_it_is_cut() -> None:
    data = b"loss: 0.5\n" + b"acc: 0.1 " * 200_000 + b"\nloss: 0.25\n"
    wanted = {"loss": 0.25}
    assert metrics.parse(data).last == wanted
    for cut in (15, 1_000_000, 1_048_586, 1_500_000, len(data) - 5):
        assert in_pieces(data, [cut], 1 << 18).metrics().last == wanted


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"val accuracy: 1\n", b"val accuracy: 87\n"),
        (b"loss1 5.\n", b"loss 15.\n"),
        (b"acc@1 0.5\n", b"acc@15 .5\n"),
        (b"IoU=0.50: AP 0.5\n", b"IoU=0.75: AP 0.25\n"),
        (b"acc at 0.5: 0.7 of 1.0\n", b"acc at 0.75: 0.6 of 2.0\n"),
    ],
)
def test_what_was_read_before_does_not_matter(first: bytes, second: bytes) -> None:
    """Two runs of a report print lines that are alike: neither is read by what the other's said."""
    shapes.forget()
    alone = told(metrics.parse(second))
    shapes.forget()
    metrics.parse(first)
    assert told(metrics.parse(second)) == alone


def test_a_shape_means_what_it_meant_after_the_reader_was_put_away() -> None:
    """A whole number is taken for a metric's where the first one of its kind was 0 or 1: so are those that follow."""
    before = b"Epoch 1\nloss: 0.5\nval accuracy: 0\n"
    after = b"Epoch 2\nloss: 0.25\nval accuracy: 87\n"
    reader = in_pieces(before + after, [len(before)], len(before))
    assert reader.metrics().last == {"loss": 0.25, "val_accuracy": 87}


@pytest.mark.parametrize(
    "lines",
    [
        ["loss=0.5 x" + " 1" * size for size in range(1, 700)],  # one shape, and a build of its own for each
        [f"loss{n} {n % 7} {'1 ' * (n % 50)}x=0.5" for n in range(5000)],
        [f"epoch 1 a{'bcdefghij'[n % 9] * (n // 9 + 1)}=0.5" for n in range(2000)],
        ["epoch 1 loss=1", "validation:", *(line for n in range(4000) for line in ("epoch 1", f"x{'y' * n} = {n}.5"))][
            :6000
        ],
        [f"{'val' if n % 2 else 'x' * 4000 + ' epoch'} {'z' * (n % 300)}" for n in range(500)] + ["loss 0.5"],
        ["epoch | loss | acc", *(f"{n} | 0.5 | 0.{n}" for n in range(20_000))],
        [f"step {n} loss=0.5" if n % 2 else f"w{'ab'[n % 3 % 2] * (n % 997)}=1.5" for n in range(4000)],
        ["{'a': " * 3000 + "1.5"] * 20,
        ["epoch 1 [" + "| 1/2 " * 600] * 100,
    ],
    ids=lambda lines: f"{lines[0][:20]}~{sum(map(len, lines)) // 1000}kB",
)
def test_lines_made_to_hurt(lines: list[str]) -> None:
    """No more than a few seconds for each MB, on a busy machine, and never so deep that Python gives up."""
    data = "\n".join(lines).encode()
    began = time.process_time()
    metrics.parse(data)
    assert time.process_time() - began < 1 + 4 * len(data) / 1e6


def test_no_line_takes_more_than_its_length() -> None:
    """Two of 20 kB each of what a pattern may run along: in time that grows with the square, a second and more."""
    for unit in (*seeds.UNITS, *seeds.WORDS):
        line = unit * (19_900 // len(unit))
        data = line + b" loss=1\nloss=2 " + line + b"\n"
        began = time.process_time()
        metrics.parse(data)
        metrics.fold(data)
        assert time.process_time() - began < 0.4, unit


LIKE_NUMBERS = [
    "loss: 8.4e+14\nloss: 8.4e+ 4\n",
    "Accuracy: 0/0\n",
    "loss: 1e999\nloss: -1e999\n",
    "epoch nan loss: 0.5\n",
    "| epoch | loss |\n| 1 | 1,2,3 |\n| nan | 0.5 |\n",
    "step " + "9" * 400 + " loss: 0.5\n",
    "loss: " + "9" * 400 + "\n",
    "epoch 1e400/5 loss 0.25\nacc: 0.5\n",
]


@pytest.mark.parametrize("text", LIKE_NUMBERS, ids=lambda text: text[:20])
def test_what_is_no_number_makes_none(text: str) -> None:
    """NaN and infinity are the log's own words, never what became of something else; and a step is never one."""
    found = metrics.parse(text.encode())
    assert not re.search("loss.*nan", text)
    for series in found.series.values():
        assert all(math.isfinite(step) and math.isfinite(value) for step, value in series.points)
    assert all(value is None or math.isfinite(value) for value in (found.epoch, found.epochs_total, found.step))


def test_infinity_and_nan_that_stand_there_are_read() -> None:
    found = metrics.parse(b"epoch 1 loss: inf\nepoch 2 loss: nan\nepoch 3 loss: -Infinity\n").series["loss"]
    assert (found.min, found.max, found.last, found.count) == (-math.inf, math.inf, -math.inf, 3)


def test_in_text_that_speaks_of_training_the_last_word_is_heard() -> None:
    """Thousands of lines that are never alike, as a language model writes them, and a result at their end."""
    chance = random.Random(0)
    words = ["the", "loss", "was", "error", "at", "step", "test", "train", "on", "score", "epoch", "model", "accuracy"]
    lines = [" ".join(chance.choices([*words, "12", "0.5", "7"], k=14)) for _ in range(8000)]
    data = "\n".join([*lines, "Test accuracy: 0.875", "final F1 = 0.625"]).encode()
    found = metrics.parse(data)
    assert (found.last["test_accuracy"], found.last["final_f1"]) == (0.875, 0.625)


def test_metrics_of_any_name_are_read_on_in_a_log_that_became_mostly_text() -> None:
    chance = random.Random(0)
    words = ["request", "to", "server", "from", "client", "user", "worker", "queue", "item", "cache", "miss", "hit"]
    lines = []
    for number in range(20_000):
        lines.append(f"{' '.join(chance.choices(words, k=8))}={chance.randrange(99)} {chance.choice(words)}")
        if number % 10 == 0:
            lines.append(f"quux={number}.5")
    assert metrics.parse("\n".join(lines).encode()).last["quux"] == 19990.5


def test_of_two_values_on_one_line_the_later_is_the_last_of_the_curve_too() -> None:
    one, other = curve.Curve(), curve.Curve()
    one.extend([3], None, [2.0])
    other.extend([3], None, [1.0])
    one.absorb(other)
    assert (one.last, one.points[-1][2]) == (1.0, 1.0)
