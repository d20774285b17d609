"""Logs as a terminal would show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper import metrics

LOGS = Path(__file__).parent / "logs"
SHOWN = {
    b"plain\r\nlines\r\n": "plain\nlines\n",
    b"  0%\r 50%\r100%\r\n": "100%\n",
    b"a long line\rshort\r\n": "shortg line\n",
    b"abc\x08\x08XY\n": "aXY\n",
    b"12\x08\x08\x0812\n": "12\n",
    b"\x1b[1;31mred\x1b[0m and \x1b]0;a title\x07plain\n": "red and plain\n",
    b"\x1b[2K\rcleared\x1b[A\n": "cleared\n",
    "ünïcödé ██\rneü\n".encode(): "neücödé ██\n",
    b"\xff\xfe\n": "��\n",
    b"nul\x00 bell\x07\n": "nul bell\n",
    b"tab\tstays\n": "tab\tstays\n",
    b"\r\n\r\n": "\n\n",
    b"double\r\r\n": "double\n",
    b"": "",
    b"no newline": "no newline",
    b"half an escape \x1b[3": "half an escape ",
}


@pytest.mark.parametrize(("data", "shown"), SHOWN.items(), ids=repr)
def test_fold(data: bytes, shown: str) -> None:
    assert metrics.fold(data) == shown


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("name", ["keras", "torch_tqdm", "fastai", "torch_colours", "lightning"])
def test_folder_shows_the_same_in_pieces(name: str, size: int) -> None:
    data = (LOGS / f"{name}.log").read_bytes()
    folder = metrics.Folder()
    shown = b"".join(folder.feed(data[start : start + size]) for start in range(0, len(data), size)) + folder.end()
    assert shown.decode("utf-8", "replace") == metrics.fold(data)


def test_a_bar_without_end_is_held_in_little_memory() -> None:
    folder = metrics.Folder()
    for step in range(50_000):
        assert folder.feed(b"\r%d/50000 [00:01<00:10]" % step) == b""
    assert folder.end().startswith(b"49999/50000")


def test_a_line_without_end_comes_in_pieces() -> None:
    folder = metrics.Folder()
    shown = b"".join(folder.feed(b"x" * 100_000) for _ in range(50)) + folder.end()
    assert shown == b"x" * 5_000_000


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"".join(b"line %d\r\n" % n for n in range(100_000)) + b" 10%\r 20%")
    assert metrics.last_lines(log, 3) == ["line 99998", "line 99999", " 20%"]
    assert metrics.last_lines(log, 0) == []
    log.write_bytes(b"")
    assert metrics.last_lines(log, 5) == []
    log.write_bytes(b"only\n")
    assert metrics.last_lines(log, 5) == ["only"]


def test_last_lines_of_huge_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\n" + b"\rredraw %d" * 0 + b"y" * 3_000_000 + b"\nlast\n")
    assert metrics.last_lines(log, 1) == ["last"]
    assert [len(line) for line in metrics.last_lines(log, 2)] == [3_000_000, 4]


def test_escapes_in_names_do_not_reach_the_reader(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"\x1b[31mloss\x1b[0m: 0.5\x1b]52;c;cm0gLXJm\x07\n")
    assert metrics.last_lines(log, 1) == ["loss: 0.5"]
