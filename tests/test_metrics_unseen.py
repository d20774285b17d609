"""What logs of other makers taught: each rule on an excerpt made up for it, and what must yield nothing."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import metrics


def last(text: str) -> dict[str, float]:
    return metrics.parse(textwrap.dedent(text).encode()).last


def excerpts() -> Iterator[tuple[str, str, dict[str, float]]]:
    """(what it is an example of, its lines, the metrics in it) of each excerpt in logs/excerpts.txt."""
    text = (Path(__file__).parent / "logs" / "excerpts.txt").read_text(encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        what, _, rest = part.partition("\n")
        lines, _, wanted = rest.rpartition("\n= ")
        pairs = [] if wanted.strip() == "nothing" else [pair.rsplit(" ", 1) for pair in wanted.split(",")]
        yield what, lines + "\n", {name.strip(): float(value) for name, value in pairs}


EXCERPTS = {what: (text, wanted) for what, text, wanted in excerpts()}


@pytest.mark.parametrize("what", EXCERPTS)
def test_excerpt(what: str) -> None:
    text, wanted = EXCERPTS[what]
    found = last(text)
    assert {name: found.get(name) for name in wanted} == wanted
    assert wanted or not found


def test_a_bar_does_not_hide_the_epoch_before_it() -> None:
    """A line that counts something else takes nothing from what an earlier line said of the epoch."""
    found = metrics.parse(b"Epoch 2/2 40/40 loss: 0.5\nTesting 9/9 0:00:00\n")
    assert (found.epoch, found.epochs_total) == (2, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [("hits@10", "hits_10"), ("mean absolute error", "mae"), ("mAP_50", "map50"), ("f1_score", "f1")],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert metrics.canonical(one) == metrics.canonical(other)


@pytest.mark.parametrize("what", ["a block beneath an epoch", "a block beneath scores goes on past a heading"])
def test_a_block_may_be_cut_anywhere(what: str) -> None:
    """What was said in the part that was read before counts when the rest is read."""
    data = EXCERPTS[what][0].encode()
    whole = metrics.parse(data).last
    for block in range(1, len(data)):
        reader = metrics.Reader(block=block)
        reader.feed(data)
        reader = metrics.Reader.from_json(json.loads(json.dumps(reader.to_json())), block=block)
        reader.feed(data[reader.offset :])
        assert reader.metrics().last == whole
