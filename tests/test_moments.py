"""How long ago something was, in texts that are kept: right whenever they are shown."""

from __future__ import annotations

import time

import pytest

from sweeper import moments
from sweeper.lease import Wait
from sweeper.model import WAITING, RunRecord
from sweeper.watch import doing

THEN = 1_700_000_000


@pytest.mark.parametrize(("passed", "shown"), [(7, "0:07"), (100, "1:40"), (8000, "2:13:20"), (-50, "0:00")])
def test_a_kept_text_tells_the_time_as_it_is_now(monkeypatch: pytest.MonkeyPatch, passed: int, shown: str) -> None:
    wait = Wait(f"GPU 1, held by alice: train.py (pid 42, {moments.mark(THEN)}), or for GPU 2", "key")
    monkeypatch.setattr(time, "time", lambda: THEN + passed)
    assert wait.text == f"GPU 1, held by alice: train.py (pid 42, for {shown}), or for GPU 2"
    record = RunRecord(number=3, key="", params={}, state=WAITING, note=wait.note)
    assert doing(record) == wait.text


def test_what_is_printed_once_tells_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert moments.at(f"(pid 42, {moments.mark(THEN)})") == "(pid 42, since Nov 14 22:13)"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_nothing_else_is_touched() -> None:
    text = "since 14:02, since @, since @x, nonsince @5, since @123456789012"
    assert moments.ago(text) == moments.at(text) == moments.without(text) == text
    assert moments.without(f"a {moments.mark(5)} b") == moments.without(f"a {moments.mark(6)} b")


def test_a_window_shows_all_of_it_however_narrow_it_becomes() -> None:
    text = f"run 3 waits for GPU 0, held by alice: {'/a-long-path' * 20} --lr=1e-3 (pid 42, {moments.mark(THEN)}), or 1"
    lines = moments.folded(text).split("\r\n")
    assert max(map(len, lines)) <= 78
    assert "".join("".join(lines).split()) == "".join(moments.at(text).split())
