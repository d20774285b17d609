"""How fast logs are read, and how many of the metrics that a person names are found.

    python benchmarks/metrics.py                  MB/s on plain and on typical training logs, on text, and of folding
    python benchmarks/metrics.py FOLDER           the score on a folder with logs_truth.json (logs in it or in logs/),
                                                  a list of {"file": ..., "metrics": {name: {"last": value}}}

A metric counts as found where the report's last value of it is the one that the person read (to nine digits). Names are
compared in two ways. Strictly: the same words, after the usual abbreviations (accuracy = acc, validation = val,
average = avg, ...) and whatever their order. Leniently: one name's words are among the other's, so that ``accuracy``
is found as ``test_accuracy``, and ``returns`` as ``trained_agent_returns``. A log without metrics must yield none.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sweeper import metrics


@dataclass
class Score:
    """Of ``total`` metrics in the truth, how many were found under their own name, and under a name like it."""

    total: int = 0
    strict: int = 0
    lenient: int = 0
    wrong: int = 0  # logs without metrics that yielded some
    misses: tuple[str, ...] = ()


def same(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=1e-9)


def compare(found: metrics.Metrics, truth: dict[str, float]) -> Iterable[tuple[str, bool, bool]]:
    """(name, found strictly, found leniently) for each metric of the truth."""
    for name, value in truth.items():
        wanted = metrics.canonical(name)
        strict = lenient = False
        for series in found.series.values():
            if same(series.last, value):
                got = metrics.canonical(series.name)
                strict = strict or got == wanted
                lenient = lenient or set(got) <= set(wanted) or set(wanted) <= set(got)
        yield name, strict, lenient


def score(folder: Path, only: slice = slice(None)) -> Score:
    """The score on the logs of ``folder``, in the order of their names."""
    truth = json.loads((folder / "logs_truth.json").read_text())
    result = Score()
    misses = []
    for entry in sorted(truth, key=lambda entry: entry["file"])[only]:
        path = next(place for place in (folder / entry["file"], folder / "logs" / entry["file"]) if place.exists())
        found = metrics.parse(path.read_bytes())
        wanted = {name: float(metric["last"]) for name, metric in entry["metrics"].items()}
        if not wanted and found.series:
            result.wrong += 1
            misses.append(f"{entry['file']}: has no metrics, but yields {', '.join(found.series)}")
        for name, strict, lenient in compare(found, wanted):
            result.total += 1
            result.strict += strict
            result.lenient += lenient
            if not strict:
                misses.append(f"{entry['file']}: {name} = {wanted[name]}{' (under another name)' if lenient else ''}")
    result.misses = tuple(misses)
    return result


def training(size: int) -> dict[str, bytes]:
    """Typical training logs of about ``size`` bytes each."""
    chance = random.Random(0)
    some = chance.random

    def fill(line: object) -> bytes:
        out: list[str] = []
        length = number = 0
        while length < size:
            out.append(line(number))  # type: ignore[operator]
            length += len(out[-1])
            number += 1
        return "".join(out).encode()

    return {
        "epoch lines": fill(
            lambda n: (
                f"Epoch [{n}/99999], Train Loss: {some():.4f}, Train Acc: {some():.4f}, "
                f"Val Loss: {some():.4f}, Val Acc: {some():.4f}, lr: 0.001\r\n"
            )
        ),
        "logging": fill(
            lambda n: (
                f"2026-01-09 21:14:{n % 60:02d},{n % 1000:03d} - train - INFO - step {n} loss={some():.5f} "
                f"grad_norm={some() * 10:.3f} lr={some() * 1e-3:.3e} tokens/s=51234\r\n"
            )
        ),
        "batches and epochs": fill(
            lambda n: (
                f"Train Epoch: {n // 50} [{n % 50 * 64}/3200 ({n % 50 * 2}%)]\tLoss: {some():.6f}\r\n"
                if n % 50
                else f"\r\nTest set: Average loss: {some():.4f}, Accuracy: {n % 10000}/10000 ({n % 100}%)\r\n"
            )
        ),
        "dicts": fill(
            lambda n: (
                f"{{'loss': {some():.4f}, 'grad_norm': {some():.6f}, 'learning_rate': {some() * 1e-4:.8e}, "
                f"'epoch': {n / 100:.2f}}}\r\n"
            )
        ),
        "progress bars": fill(
            lambda n: (
                f"\rEpoch {n // 200}: {n % 200 // 2:3d}%|{'█' * (n % 200 // 20):<10}| {n % 200}/200 "
                f"[00:{n % 60:02d}<00:10, {some() * 90:.2f}it/s, loss={some():.4f}, acc={some():.3f}]"
                + ("\r\n" if n % 200 == 199 else "")
            )
        ),
        "CatBoost": fill(
            lambda n: (
                f"{n}:\tlearn: {some():.7f}\ttest: {some():.7f}\tbest: {some():.7f} ({n})\ttotal: {n % 60}m 3s"
                "\tremaining: 2m 10s\r\n"
            )
        ),
    }


_WORDS = (
    "the quick brown fox jumps over a lazy dog while token sample generation text goes on with various words and story",
    "the loss was error at step and test train on score of epoch data model accuracy rate best value",
    "request to server from client handled connection user id session worker finished queue item path",
)


def text(size: int) -> dict[str, bytes]:
    """Logs whose lines are never alike: text as language models write it, and what a server logs."""
    chance = random.Random(2)
    prose, training, served = (words.split() for words in _WORDS)

    def sentence(words: list[str], numbers: int) -> str:
        found = chance.choices(words, k=chance.randint(4, 14))
        for _ in range(numbers):
            number = f"{chance.random() * 100:.3f}" if chance.random() < 0.3 else str(chance.randrange(99_999))
            found.insert(chance.randrange(len(found) + 1), number)
        return " ".join(found)

    def logged() -> str:
        found = [f"2026-01-09 21:14:{chance.randrange(60):02d} [{chance.choice(served)}] INFO"]
        for _ in range(chance.randint(3, 9)):
            word, number = chance.choice(served), chance.randrange(9999)
            found.append(chance.choice((word, f"{word}={number}", f"{word}: {number / 7:.3f},", f"({word} {number})")))
        return " ".join(found)

    kinds = {
        "text with numbers": lambda: sentence(prose, 4),
        "text about training": lambda: sentence(training, 4),
        "a server's log": logged,
    }
    found = {}
    for name, line in kinds.items():
        lines: list[str] = []
        length = 0
        while length < size:
            lines.append(line())
            length += len(lines[-1]) + 1
        found[name] = "\n".join(lines).encode()
    return found


def plain(size: int) -> bytes:
    chance = random.Random(1)
    words = [
        "loading",
        "the",
        "batch",
        "of",
        "worker",
        "data",
        "and",
        "waiting",
        "for",
        "it",
        "to",
        "be",
        "ready",
        "while",
        "nothing",
        "else",
        "goes",
        "on",
        "here",
    ]
    lines = [" ".join(chance.choices(words, k=16)) for _ in range(4000)]
    text = "\r\n".join(lines).encode() + b"\r\n"
    return text * (size // len(text) + 1)


def speed(name: str, data: bytes, work: object) -> None:
    """Print the best of five: others use this machine too."""
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        work(data)  # type: ignore[operator]
        best = min(best, time.perf_counter() - start)
    print(f"{name:40} {len(data) / best / 1e6:8.0f} MB/s")


def main(folders: list[str]) -> None:
    for folder in folders:
        result = score(Path(folder))
        print("\n".join(result.misses))
        print(f"{folder}: {result.total} metrics")
        print(f"  strictly {result.strict} = {result.strict / result.total:.1%}")
        print(f"  leniently {result.lenient} = {result.lenient / result.total:.1%}")
        print(f"  logs without metrics that yield some: {result.wrong}")
        for part, which in (("even", slice(0, None, 2)), ("odd", slice(1, None, 2))):
            half = score(Path(folder), which)
            print(f"  {part} logs by name: {half.strict} and {half.lenient} of {half.total}")
    if not folders:
        size = 20_000_000
        speed("read: lines without a number", plain(size), metrics.parse)
        for name, data in training(size).items():
            speed(f"read: {name}", data, metrics.parse)
        for name, data in text(size // 2).items():
            speed(f"read: {name}", data, metrics.parse)
        speed("fold: lines without a number", plain(size), metrics.fold)
        speed("fold: progress bars", training(size)["progress bars"], metrics.fold)


if __name__ == "__main__":
    main(sys.argv[1:])
