"""What the tally, the folders and the queue must say of a sweep at its end: DESIGN.md's invariants, one check each."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sweeper import folders, model
from tests.conftest import Workshop, describe


@dataclass(frozen=True)
class Entry:
    """A line of the tally."""

    word: str
    run: int
    attempt: int
    pid: int
    ticks: int
    gpus: str


def read(file: Path) -> list[Entry]:
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        word, run, attempt, pid, ticks, gpus = line.split()
        found.append(Entry(word, int(run), int(attempt), int(pid), int(ticks), gpus))
    return found


def note_reset(file: Path) -> None:
    """Attempts that were in flight at a reset may begin again under the same number."""
    with open(file, "a", encoding="ascii") as out:
        out.write("reset 0 0 0 0 -\n")


def expected(run: int, attempt: int, lines: int) -> bytes:
    """Every byte that an attempt prints, as a terminal passes it on."""
    return b"".join(f"{run} {attempt} {number}\r\n".encode() for number in range(lines))


def violations(shop: Workshop, count: int, lines: int, left: list[int]) -> list[str]:
    """Everything that is wrong at the end of a sweep of ``count`` runs; ``left`` are the processes still there."""
    entries = read(shop.folder / "tally")
    found = [f"two attempts at once: {entry}" for entry in entries if entry.word == "overlap"]
    found += [f"a GPU with two holders: {entry}" for entry in entries if entry.word == "shared"]
    ends = {(entry.run, entry.attempt): place for place, entry in enumerate(entries) if entry.word == "end"}
    starts: Counter[tuple[int, int, int]] = Counter()
    resets = 0
    for entry in entries:
        resets += entry.word == "reset"
        if entry.word == "start":
            starts[entry.run, entry.attempt, resets] += 1
    found += [
        f"run {run}: attempt {attempt} was begun {times} times"
        for (run, attempt, _), times in starts.items()
        if times > 1
    ]
    runs = dict(folders.run_folders(shop.sweep))
    for run in range(1, count + 1):
        if run not in runs:
            found.append(f"run {run}: lost, it has no folder")
            continue
        done = [
            number
            for number in range(1, folders.history(runs[run]).attempts + 1)
            if (outcome := folders.read_outcome(runs[run], number)) is not None and outcome.outcome == model.DONE
        ]
        if not done:
            found.append(f"run {run}: not finished")
            continue
        first = done[0]
        if (run, first) not in ends:
            found.append(f"run {run}: recorded as done, but the tally has no end of it")
            continue
        found += [
            f"run {run}: attempt {entry.attempt} was begun though attempt {first} is recorded as done"
            for entry in entries[ends[run, first] :]
            if entry.word == "start" and entry.run == run
        ]
        outcome = folders.read_outcome(runs[run], first)
        assert outcome is not None
        log = runs[run].log.read_bytes()[outcome.log_offset : outcome.log_end]
        if log != expected(run, first, lines):
            found.append(f"run {run}: its log has {len(log)} bytes, {len(expected(run, first, lines))} were printed")
        if folders.is_held(runs[run].lock):
            found.append(f"run {run}: its lock is held")
    found += [f"left over: {describe(pid)}" for pid in left]
    return found + _of_queue(shop, count)


def _of_queue(shop: Workshop, count: int) -> list[str]:
    connection = sqlite3.connect(shop.sweep.db)
    try:
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()
    found = [] if sound == "ok" else [f"the queue is not sound: {sound}"]
    records = {record.number: record for record in shop.ask(lambda store: store.records())}
    if sorted(records) != list(range(1, count + 1)):
        found.append(f"the queue has the runs {sorted(records)}")
    for number, run in folders.run_folders(shop.sweep):
        past = folders.history(run)
        record = records.get(number)
        told = past.outcome.outcome if past.outcome is not None else "nothing"
        if record is None or record.state != told or record.attempts != past.attempts:
            found.append(f"run {number}: the queue says {record}, its folder {told} after {past.attempts} attempts")
        job = folders.read_json(run.job)
        if job is None or job["params"] != (record.params if record else None):
            found.append(f"run {number}: the queue and its folder differ about its parameters: {json.dumps(job)}")
    return found
