"""Rows of the table of runs: read as records, and values as SQLite takes them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.model import RunRecord

COLUMNS = (
    "number, key, params, texts, folder, state, attempts, exit_code, signal, note, started, ended, gpus, host, wanted"
)


def record_of(row: tuple[Any, ...], runs: Path) -> RunRecord:
    """A row of COLUMNS as everybody speaks of runs; ``runs`` is where their folders lie.

    Raises sqlite3.DatabaseError where it holds what nobody wrote.
    """
    try:
        return _record(row, runs)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"malformed content in the row of run {row[0]}") from error


def _record(row: tuple[Any, ...], runs: Path) -> RunRecord:
    (
        number,
        key,
        params,
        texts,
        folder,
        state,
        attempts,
        code,
        signal,
        note,
        started,
        ended,
        gpus,
        host,
        wanted,
    ) = row
    return RunRecord(
        number=number,
        key=key,
        params=json.loads(params),
        texts=json.loads(texts),
        state=state,
        folder=None if folder is None else str(runs / folder),
        attempts=attempts,
        exit_code=code,
        signal=signal,
        note=note,
        started=started,
        ended=ended,
        gpus=json.loads(gpus),
        host=host,
        wanted=bool(wanted),
    )


def plain(text: str) -> str:
    """``text`` as SQLite takes it: names of files may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def as_json(data: Mapping[str, Any]) -> str:
    text = json.dumps(dict(data), ensure_ascii=False)
    return text if plain(text) == text else json.dumps(dict(data))
