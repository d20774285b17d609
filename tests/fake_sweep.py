"""A sweep's folder as supervisors would have written it, though nothing ran: for the report's tests and benchmark.

Everything comes from a seeded generator: the same arguments write the same bytes.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from sweeper import model, paths
from sweeper.model import Attempt, GpuRequest, Job, Outcome

START = 1_750_000_000.0
COMMIT = "3f2a9c51d0b84e6fa7c2d1e0b9f8a7c6d5e4f3a2"


@dataclass
class FakeRun:
    """What one run did. ``log`` is what its last attempt printed; ``state`` one of model.STATES."""

    params: dict[str, Any]
    log: str = ""
    state: str = model.DONE
    seconds: float = 60.0
    gpus: list[str] = field(default_factory=list)  # ["slot"]: the number of the slot that it gets
    started: float | None = None
    exit_code: int | None = 0
    signal: int | None = None
    reason: str = ""
    git: str | None = COMMIT
    waited: float = 0.0
    attempts: int = 1
    texts: dict[str, str] = field(default_factory=dict)


def write_sweep(folder: Path, runs: Sequence[FakeRun], *, parallel: int = 2) -> Path:
    """Write the folders of ``runs``; return the sweep's. Runs without ``started`` follow each other in their slots."""
    folder.mkdir(parents=True, exist_ok=True)
    free = [START] * parallel
    for number, run in enumerate(runs, 1):
        slot = min(range(parallel), key=lambda place: free[place])
        started = free[slot] + 1.5 + run.waited if run.started is None else run.started
        free[slot] = started + run.seconds
        if run.gpus == ["slot"]:
            run.gpus = [str(slot)]
        write_run(folder, number, run, started)
    return folder


def write_run(sweep: Path, number: int, run: FakeRun, started: float) -> None:
    texts = {name: run.texts.get(name, _text(value)) for name, value in run.params.items()}
    run_dir = paths.RunDir(sweep / paths.folder_name(number, texts))
    run_dir.path.mkdir(parents=True)
    job = Job(
        sweep=sweep.name,
        number=number,
        key=f"{number:016x}",
        params=run.params,
        texts=run.texts,
        command="python train.py",
        before="",
        workdir=str(sweep),
        environment="environment-1.json",
        env={},
        timeout=None,
        grace=10.0,
        gpus=GpuRequest(),
    )
    run_dir.job.write_text(json.dumps(job.to_json()))
    run_dir.lock.touch()
    if run.state == model.QUEUED:
        return
    earlier = "".join(f"attempt {place} died\n" for place in range(1, run.attempts))
    run_dir.log.write_text(earlier + run.log, encoding="utf-8", errors="surrogateescape")
    size = run_dir.log.stat().st_size
    for attempt in range(1, run.attempts + 1):
        last = attempt == run.attempts
        begin = started - (run.attempts - attempt) * (run.seconds + 5)
        offset = len(earlier.encode()) if last else 0
        made = Attempt(attempt, 4242, 1, "box", "boot", run.gpus, offset, begin, run.waited if last else 0.0, run.git)
        run_dir.attempt(attempt).write_text(json.dumps(made.to_json()))
        if last and run.state in (model.RUNNING, model.WAITING, model.LOST):
            continue
        ended = begin + run.seconds
        outcome = Outcome(
            outcome=run.state if last else model.FAILED,
            attempt=attempt,
            exit_code=run.exit_code if last else 1,
            signal=run.signal if last else None,
            reason=run.reason if last else "exit code 1",
            started=begin,
            ended=ended,
            gpus=run.gpus,
            host="box",
            log_offset=offset,
            log_end=size if last else offset,
        )
        run_dir.outcome(attempt).write_text(json.dumps(outcome.to_json()))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def curve(rng: random.Random, goal: float, epochs: int, speed: float = 0.25) -> Iterator[tuple[int, float, float]]:
    """Epoch, loss and accuracy of a training that tends towards accuracy ``goal``."""
    for epoch in range(1, epochs + 1):
        accuracy = goal * (1 - math.exp(-speed * epoch)) + rng.gauss(0, 0.004)
        yield epoch, max(0.01, 2.2 * math.exp(-speed * epoch) + (1 - goal) + rng.gauss(0, 0.02)), min(1.0, accuracy)


def training_log(rng: random.Random, goal: float, epochs: int = 20) -> str:
    lines = [f"epoch={e} train_loss={loss:.4f} val_acc={acc:.4f}" for e, loss, acc in curve(rng, goal, epochs)]
    return "\n".join(lines) + "\n"


OOM = """Traceback (most recent call last):
  File "/home/ann/train.py", line 88, in <module>
    loss.backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {size}.00 GiB. GPU {gpu} has a total capacity of 23.64 GiB
"""
SHAPE = """Traceback (most recent call last):
  File "/home/ann/train.py", line 41, in <module>
    y = layer(x)
RuntimeError: mat1 and mat2 shapes cannot be multiplied ({size}x512 and 256x10)
"""


def digits(
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    goal: Callable[[Mapping[str, Any]], float] | None = None,
    epochs: int = 20,
    seed: int = 7,
    gpus: int = 2,
) -> list[FakeRun]:
    """A night: a grid in which lr matters most, large batches of wide nets run out of memory, and lr=3 diverges."""
    rng = random.Random(seed)
    grid = grid or {
        "lr": [0.001, 0.01, 0.1, 3.0],
        "hidden": [64, 256, 1024],
        "batch_size": [64, 256],
        "seed": [0, 1, 2],
    }
    made = []
    for number, values in enumerate(product(*grid.values())):
        params = dict(zip(grid, values, strict=True))
        gpu = ["slot"] if gpus else []
        top = goal(params) if goal else _goal(params)
        run = FakeRun(params, gpus=gpu, seconds=rng.uniform(200, 500))
        log = training_log(rng, top + rng.gauss(0, 0.006), epochs)
        if params.get("batch_size") == 256 and params.get("hidden") == 1024:
            run.state, run.exit_code, run.seconds = model.OUT_OF_MEMORY, 1, rng.uniform(5, 9)
            run.log = (
                log[: len(log) // 8].rsplit("\n", 1)[0]
                + "\n"
                + OOM.format(size=rng.randint(2, 9), gpu=number % max(1, gpus))
            )
            run.reason = "CUDA out of memory"
        elif params.get("lr") == 3.0 and params.get("seed") == 2:
            run.state, run.exit_code, run.seconds = model.FAILED, 1, rng.uniform(20, 40)
            run.log = log[: len(log) // 4].rsplit("\n", 1)[0] + "\n" + SHAPE.format(size=params.get("batch_size", 64))
            run.reason = "exit code 1"
        else:
            run.log = log
        made.append(run)
    return made


def _goal(params: Mapping[str, Any]) -> float:
    lr = {0.001: 0.90, 0.01: 0.955, 0.1: 0.97, 3.0: 0.55}.get(params.get("lr", 0.1), 0.9)
    width = {64: -0.02, 256: 0.0, 1024: 0.004}.get(params.get("hidden", 256), 0.0)
    return lr + width
