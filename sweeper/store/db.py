"""The queue: what is wanted (wants.py), and every statement that reads or writes the state of each run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeper import model
from sweeper.model import Outcome, RunRecord
from sweeper.store.rows import COLUMNS, as_json, plain, record_of
from sweeper.store.wants import Wants
from sweeper.store.wish import PAUSE, RUN, STOP, Generation, Wish

__all__ = ["PAUSE", "RUN", "STOP", "Generation", "Store", "Wish"]


class Store(Wants):
    """An open queue. Every method is one transaction unless it runs inside ``with store:``. Raises sqlite3.Error."""

    def counts(self) -> dict[str, int]:
        """How many wanted runs are in each state; states without runs are left out."""
        rows = self.connection.execute("SELECT state, COUNT(*) FROM runs WHERE wanted GROUP BY state")
        counts = {str(state): int(count) for state, count in rows}
        untouched = self.total() - sum(counts.values())
        if untouched > 0:
            counts[model.QUEUED] = counts.get(model.QUEUED, 0) + untouched
        return counts

    def records(self, states: Iterable[str] | None = None, *, gone: bool = True) -> list[RunRecord]:
        """The touched runs by number; ``gone`` says whether those count that are no longer in the file."""
        statement = f"SELECT {COLUMNS} FROM runs"
        conditions, values = [], list(states) if states is not None else []
        if states is not None:
            conditions.append(f"state IN ({', '.join('?' * len(values))})")
        if not gone:
            conditions.append("wanted")
        if conditions:
            statement += " WHERE " + " AND ".join(conditions)
        return [record_of(row, self.runs) for row in self.connection.execute(statement + " ORDER BY number", values)]

    def waiting(self, most: int) -> list[RunRecord]:
        """Up to ``most`` runs that are queued and have a folder: their turn has come, or comes again."""
        rows = self.connection.execute(
            f"SELECT {COLUMNS} FROM runs WHERE wanted AND state = ? ORDER BY number LIMIT ?", (model.QUEUED, most)
        )
        return [record_of(row, self.runs) for row in rows]

    def bad(self, most: int) -> list[RunRecord]:
        """The last ``most`` wanted runs that did not end well, by number."""
        states = [state for state in model.OUTCOMES if state != model.DONE]
        marks = ", ".join("?" * len(states))
        rows = self.connection.execute(
            f"SELECT {COLUMNS} FROM runs WHERE wanted AND state IN ({marks}) ORDER BY ended DESC LIMIT ?",
            (*states, most),
        )
        return sorted((record_of(row, self.runs) for row in rows), key=lambda record: record.number)

    def times(self, most: int = 200) -> list[float]:
        """How long the last runs took that ended well, in seconds."""
        rows = self.connection.execute(
            "SELECT MAX(0, ended - started) FROM runs WHERE wanted AND state = 'done' ORDER BY number DESC LIMIT ?",
            (most,),
        )
        return [float(row[0]) for row in rows if row[0] is not None]

    def touch_all(self, rows: Iterable[tuple[int, str, Mapping[str, Any], Mapping[str, str], str]]) -> None:
        for row in rows:
            self.touch(*row)

    def record(self, number: int) -> RunRecord | None:
        row = self.connection.execute(f"SELECT {COLUMNS} FROM runs WHERE number = ?", (number,)).fetchone()
        return None if row is None else record_of(row, self.runs)

    def touched(self) -> Iterator[tuple[int, str]]:
        """(number, state) of every touched run."""
        yield from self.connection.execute("SELECT number, state FROM runs")

    def touch(self, number: int, key: str, params: Mapping[str, Any], texts: Mapping[str, str], folder: str) -> None:
        """Give a run a row, because its turn has come."""
        self.connection.execute(
            "INSERT OR IGNORE INTO runs (number, key, params, texts, folder, state) VALUES (?, ?, ?, ?, ?, ?)",
            (
                number,
                plain(key),
                as_json(params),
                as_json(texts),
                folder,
                model.QUEUED,
            ),
        )

    def set_state(self, number: int, state: str, note: str = "") -> None:
        self.connection.execute("UPDATE runs SET state = ?, note = ? WHERE number = ?", (state, plain(note), number))

    def set_note(self, number: int, note: str) -> None:
        self.connection.execute("UPDATE runs SET note = ? WHERE number = ?", (plain(note), number))

    def set_started(self, number: int, attempt: int, started: float, gpus: list[str], host: str) -> None:
        self.connection.execute(
            "UPDATE runs SET state = ?, note = '', attempts = ?, started = ?, ended = NULL, gpus = ?, host = ?, "
            "exit_code = NULL, signal = NULL WHERE number = ?",
            (model.RUNNING, attempt, started, json.dumps(gpus), host, number),
        )

    def set_outcome(self, number: int, outcome: Outcome) -> None:
        """Enter an outcome that stands in the run's folder."""
        failed = int(outcome.outcome in (model.FAILED, model.TIMEOUT))
        self.connection.execute(
            # Whoever asked for its stop is the reason, whatever signal carried that out.
            "UPDATE runs SET note = CASE WHEN stop AND ? = 'stopped' THEN 'stopped by its user' ELSE ? END, "
            "state = ?, attempts = ?, exit_code = ?, signal = ?, started = ?, ended = ?, "
            "gpus = ?, host = ?, losses = 0, stop = 0, failures = failures + ?, ooms = ooms + ? WHERE number = ?",
            (
                outcome.outcome,
                plain(outcome.reason),
                outcome.outcome,
                outcome.attempt,
                outcome.exit_code,
                outcome.signal,
                outcome.started,
                outcome.ended,
                json.dumps(outcome.gpus),
                plain(outcome.host),
                failed,
                int(outcome.outcome == model.OUT_OF_MEMORY),
                number,
            ),
        )

    def set_attempts(self, number: int, attempts: int) -> None:
        self.connection.execute("UPDATE runs SET attempts = ? WHERE number = ?", (attempts, number))

    def set_lost(self, number: int, attempts: int, limit: int) -> str:
        """Count a lost attempt: the run is queued again, or has failed after ``limit`` of them. Gives its new state."""
        self.connection.execute(
            "UPDATE runs SET losses = losses + 1, attempts = ?, stop = (stop = 1), "
            "state = CASE WHEN losses + 1 >= ? THEN 'failed' ELSE 'queued' END, "
            "note = CASE WHEN losses + 1 >= ? THEN 'lost ' || (losses + 1) || ' times in a row' ELSE note END "
            "WHERE number = ?",
            (attempts, limit, limit, number),
        )
        return str(self.connection.execute("SELECT state FROM runs WHERE number = ?", (number,)).fetchone()[0])

    def tries(self, number: int) -> tuple[int, int, int]:
        """(attempts, failures, out-of-memory ends) of a run; the last two since it was launched or retried."""
        row = self.connection.execute(
            "SELECT attempts, failures, ooms FROM runs WHERE number = ?", (number,)
        ).fetchone()
        return (0, 0, 0) if row is None else (int(row[0]), int(row[1]), int(row[2]))

    def requeue(self, number: int) -> None:
        """Queue a run again, by itself (a retry, a lost attempt). A stop that was asked for is still to be obeyed."""
        self.connection.execute("UPDATE runs SET state = ?, stop = (stop = 1) WHERE number = ?", (model.QUEUED, number))

    def requeue_all(self, states: Iterable[str], numbers: Iterable[int] | None = None) -> list[int]:
        """Queue again, with a clean count of tries, the wanted runs in these states (of these numbers). Gives them."""
        chosen = tuple(states)
        marks = ", ".join("?" * len(chosen))
        rows = self.connection.execute(f"SELECT number FROM runs WHERE wanted AND state IN ({marks})", chosen)
        only = None if numbers is None else set(numbers)
        found = [int(row[0]) for row in rows if only is None or row[0] in only]
        self.connection.executemany(
            "UPDATE runs SET state = 'queued', note = '', failures = 0, ooms = 0, losses = 0, stop = 0 "
            "WHERE number = ?",
            ((number,) for number in found),
        )
        self.connection.executemany("DELETE FROM marks WHERE number = ?", ((number,) for number in found))
        return found

    def ask_stop(self, numbers: Iterable[int]) -> None:
        """Ask for these runs to be stopped, or not to be started."""
        self.connection.executemany("UPDATE runs SET stop = 1 WHERE number = ?", ((number,) for number in numbers))

    def ask_again(self, *, all_stop: bool, numbers: Iterable[int] | None = None) -> list[int]:
        """Have those that are still being ended by an earlier stop (``all_stop``: of the whole sweep) queued again as
        soon as they have ended. Gives them."""
        rows = self.connection.execute(
            "SELECT number FROM runs WHERE wanted AND state IN (?, ?) AND (stop OR ?)",
            (model.WAITING, model.RUNNING, all_stop),
        )
        only = None if numbers is None else set(numbers)
        found = [int(row[0]) for row in rows if only is None or row[0] in only]
        self.connection.executemany("UPDATE runs SET stop = 2 WHERE number = ?", ((number,) for number in found))
        return found

    def asked_again(self, number: int) -> bool:
        """Whether a run was ordered again after its stop, and the whole sweep was not stopped since."""
        row = self.connection.execute("SELECT stop = 2 FROM runs WHERE number = ?", (number,)).fetchone()
        wish = self.wish()
        return row is not None and bool(row[0]) and wish is not None and wish.want != STOP

    def asked_to_stop(self, number: int) -> bool:
        """Whether a run is to be stopped, or not to be started."""
        row = self.connection.execute("SELECT stop = 1 FROM runs WHERE number = ?", (number,)).fetchone()
        return row is not None and bool(row[0])

    def stops(self) -> list[int]:
        return [int(row[0]) for row in self.connection.execute("SELECT number FROM runs WHERE stop = 1")]

    def set_wanted_rows(self, wanted: Iterable[int]) -> None:
        """Mark which touched runs are in the file; queued ones that are gone from it stay queued but are not wanted."""
        self.connection.execute("CREATE TEMP TABLE IF NOT EXISTS keep (number INTEGER PRIMARY KEY)")
        self.connection.execute("DELETE FROM keep")
        self.connection.executemany("INSERT INTO keep VALUES (?)", ((number,) for number in wanted))
        self.connection.execute(
            "UPDATE runs SET wanted = 1 - wanted WHERE wanted <> (number IN (SELECT number FROM keep))"
        )

    def restore(self, record: RunRecord, failures: int, losses: int) -> None:
        """Enter a run as its folder tells it."""
        self.touch(record.number, record.key, record.params, record.texts, Path(record.folder or "").name)
        self.connection.execute(
            "UPDATE runs SET state = ?, attempts = ?, exit_code = ?, signal = ?, note = ?, started = ?, ended = ?, "
            "gpus = ?, host = ?, failures = ?, losses = ? WHERE number = ?",
            (
                record.state,
                record.attempts,
                record.exit_code,
                record.signal,
                plain(record.note),
                record.started,
                record.ended,
                json.dumps(record.gpus),
                None if record.host is None else plain(record.host),
                failures,
                losses,
                record.number,
            ),
        )
