"""Bars that are drawn over several lines in place, as Rich's are: each epoch is one point of the curve."""

from __future__ import annotations

from sweeper import metrics

UP = b"\r\x1b[2K\x1b[1A\x1b[2K"


def picture(epoch: int, loss: float, below: int) -> bytes:
    return b"Epoch %d/2 \xe2\x94\x81\xe2\x94\x81 36/36 0:00:23 1.5it/s loss: %.3f\r\nValidation %d/9 2.0it/s" % (
        epoch,
        loss,
        below,
    )


def test_pictures_drawn_over_two_lines_are_one_point_an_epoch() -> None:
    drawn = UP.join(picture(epoch, 3.0 - epoch, below) for epoch in range(3) for below in range(9))
    series = metrics.parse(b"start\r\n" + drawn + b"\r\nend\r\n").series["loss"]
    assert series.count == 3
    assert [value for _, value in series.points] == [3.0, 2.0, 1.0]


def test_going_up_further_than_there_are_lines_is_no_trouble() -> None:
    assert metrics.parse(b"\x1b[9A\x1b[1Aloss: 1.5\r\n\x1b[99999Aloss: 0.5\r\n").series["loss"].last == 0.5


def test_what_only_looks_like_a_number_beside_others_is_none() -> None:
    log = b"".join(b"epoch %d | loss 2.3e+0%d | ppl 1.8e+04\n" % (n, n) for n in range(3)) + b"epoch 3 | loss 2.3e+ 4\n"
    assert metrics.parse(log).series["loss"].count >= 3


def test_a_step_of_a_table_may_be_a_percentage() -> None:
    series = metrics.parse(b"| step | loss |\n|------|------|\n| 1 | 0.3 |\n| 50% | 0.2 |\n").series["loss"]
    assert series.last == 0.2
