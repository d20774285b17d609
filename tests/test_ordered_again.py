"""A stop that is followed soon by another order: what is still being ended runs again, and is not forgotten."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import pytest

from sweeper import control, model
from tests.conftest import Workshop, wait_for

# A command that ends some time after it was told to, as one that writes a checkpoint does: here, when it may.
TEXT = """
command: |
  if [ $SWEEP_ATTEMPT = 1 ]; then
    trap 'echo told $SWEEP_RUN >> tally; while ! [ -e may_end ]; do sleep 0.02; done; exit 1' TERM
  fi
  : {x}; echo begun $SWEEP_RUN $SWEEP_ATTEMPT >> tally
  if [ $SWEEP_ATTEMPT = 1 ]; then
    while ! [ -e may_end ]; do sleep 0.02; done
  fi
grid: {x: [1, 2, 3]}
gpus: 0
grace: 60s
"""


def told(shop: Workshop, count: int) -> None:
    wait_for(lambda: sum(line.startswith("told") for line in shop.lines()) == count)


def resume(shop: Workshop, parallel: int | None) -> None:
    assert control.resume(shop.sweep)


def relaunch(shop: Workshop, parallel: int | None) -> None:
    shop.launch(None, parallel)


def retry(shop: Workshop, parallel: int | None) -> None:
    assert 1 in control.retry(shop.sweep)


def retry_one(shop: Workshop, parallel: int | None) -> None:
    assert control.retry(shop.sweep, [1]) == [1]


@pytest.mark.parametrize(
    ("order", "parallel", "scheduler"),
    [(order, 2, "lives") for order in (resume, relaunch, retry, retry_one)]
    + [(resume, None, "lives"), (relaunch, None, "was killed"), (resume, 2, "was killed")]
    + [(order, 2, "was killed before it wrote what it did") for order in (resume, relaunch, retry)],
)
def test_a_stop_and_an_order_at_once(
    shop: Workshop, parallel: int | None, scheduler: str, order: Callable[[Workshop, int | None], None]
) -> None:
    shop.launch(TEXT, parallel)
    flying = parallel or 1
    wait_for(lambda: sum(line.startswith("begun") for line in shop.lines()) == flying)
    if scheduler != "lives":
        os.kill(wait_for(shop.scheduler), signal.SIGKILL)
        wait_for(lambda: not shop.alive())
    if scheduler == "was killed before it wrote what it did":
        with contextlib.closing(shop.store()) as store:
            for number in range(1, flying + 1):
                store.set_state(number, model.QUEUED)
                store.set_attempts(number, 0)
    control.stop(shop.sweep)
    told(shop, flying)
    order(shop, parallel)
    (shop.folder / "may_end").touch()
    counts = shop.finish()
    assert counts == {"done": 3} if order is not retry_one or flying == 1 else counts["done"] >= 2
    assert [line for line in shop.lines() if line.startswith("begun 1")] == ["begun 1 1", "begun 1 2"]


def test_one_run_stopped_and_tried_again_at_once(shop: Workshop) -> None:
    shop.launch(TEXT, 2)
    wait_for(lambda: sum(line.startswith("begun") for line in shop.lines()) == 2)
    control.stop(shop.sweep, [1])
    told(shop, 1)
    assert control.retry(shop.sweep, [1]) == [1]
    (shop.folder / "may_end").touch()
    wait_for(lambda: "begun 1 2" in shop.lines())
    control.stop(shop.sweep)
    shop.finish()
    assert shop.state(1) == model.DONE or shop.state(1) == model.STOPPED


def test_a_stop_after_that_order_counts(shop: Workshop) -> None:
    shop.launch(TEXT, 2)
    wait_for(lambda: sum(line.startswith("begun") for line in shop.lines()) == 2)
    control.stop(shop.sweep)
    told(shop, 2)
    control.resume(shop.sweep)
    control.stop(shop.sweep)
    (shop.folder / "may_end").touch()
    assert shop.finish() == {"stopped": 2, "queued": 1}
    assert shop.run(None, 2) == {"done": 3}
