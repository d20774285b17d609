"""What is wanted of the whole sweep, as the queue holds it: the wish, remembered words, and the numbers of its runs."""

from __future__ import annotations

import json
import sqlite3
from array import array
from dataclasses import asdict

from sweeper.store.file import Database
from sweeper.store.wish import PAUSE, RUN, STOP, Generation, Wish, pack, unpack


class Wants(Database):
    """The part of the queue that says what is wanted; ``Store`` has the runs as well."""

    def wish(self) -> Wish | None:
        row = self.connection.execute("SELECT value FROM meta WHERE key = 'wish'").fetchone()
        if row is None:
            return None
        try:
            data = json.loads(row[0])
            wish = Wish(**{name: data[name] for name in Wish.__dataclass_fields__ if name in data})
            if wish.want not in (RUN, PAUSE, STOP) or not isinstance(wish.options, dict):
                raise ValueError(wish.want)
            return wish
        except (ValueError, TypeError) as error:
            raise sqlite3.DatabaseError("malformed wish") from error

    def set_wish(self, wish: Wish) -> None:
        self._set("wish", json.dumps(asdict(wish)))

    def flag(self, key: str) -> str | None:
        """A remembered word, like the reason why the scheduler stopped by itself."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_flag(self, key: str, value: str) -> None:
        self._set(key, value)

    def _set(self, key: str, value: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def generations(self) -> list[Generation]:
        rows = self.connection.execute("SELECT id, identity, source, first, count, picked FROM generation ORDER BY id")
        return [Generation(row[0], row[1], row[2], row[3], row[4], unpack(row[5])) for row in rows]

    def add_generation(self, identity: str, source: str, first: int, count: int, picked: array[int] | None) -> None:
        self.connection.execute(
            "INSERT INTO generation (identity, source, first, count, picked) VALUES (?, ?, ?, ?, ?)",
            (identity, source, first, count, pack(picked)),
        )

    def set_wanted(self, first: int, count: int, numbers: array[int] | None) -> None:
        """The numbers of the wanted runs in file order: these, or ``count`` of them from ``first`` on."""
        self.connection.execute("INSERT OR REPLACE INTO wanted VALUES (1, ?, ?, ?)", (first, count, pack(numbers)))

    def wanted(self) -> array[int] | range:
        row = self.connection.execute("SELECT first, count, numbers FROM wanted").fetchone()
        if row is None:
            return range(0)
        numbers = unpack(row[2])
        return range(row[0], row[0] + row[1]) if numbers is None else numbers

    def total(self) -> int:
        row = self.connection.execute("SELECT count FROM wanted").fetchone()
        return 0 if row is None else int(row[0])

    def next_number(self) -> int:
        """The lowest number that was never given."""
        given = self.connection.execute("SELECT MAX(first + count) FROM generation").fetchone()[0] or 1
        touched = self.connection.execute("SELECT MAX(number) + 1 FROM runs").fetchone()[0] or 1
        return int(max(given, touched))
