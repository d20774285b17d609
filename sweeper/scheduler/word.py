"""What the scheduler tells people, and the rules that stop a sweep before a night is burned."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sweeper import model, paths, procs
from sweeper.spec import Spec
from sweeper.store import Store, counting

_MASK = re.compile(r"0x[0-9a-fA-F]+|\d+")
LOG_LIMIT = 5_000_000  # bytes of scheduler.log, after which it begins anew (one older one is kept)


@dataclass(frozen=True)
class Canaries:
    """``out`` are not back yet; ``room`` says how many more may go."""

    out: set[int]
    room: int


class Word:
    """The scheduler's voice."""

    def __init__(self, sweep: paths.SweepDir, store: Store) -> None:
        self.sweep = sweep
        self.store = store

    def log(self, text: str) -> None:
        """Append a line to scheduler.log; a full disk is no reason to stop scheduling. A folder without its lock is
        being deleted, and gets no new file."""
        if not self.sweep.lock.exists():
            return
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n"
        try:
            if self.sweep.log.exists() and self.sweep.log.stat().st_size > LOG_LIMIT:
                procs.crashpoint("before log rotation")
                self.sweep.log.replace(self.sweep.log.with_suffix(".log.1"))
                procs.crashpoint("log rotated")
            with open(self.sweep.log, "a", encoding="utf-8", errors="replace") as file:
                file.write(line)
        except OSError:
            return

    # -- rules: each is judged by what the queue holds, so that the next scheduler would judge the same --------------

    def canaries(self, spec: Spec) -> Canaries | None:
        """The canaries that must be back before the rest may go; None where it may."""
        if not spec.canary or self.store.flag(counting.TRUSTED):
            return None
        back = self._back()
        if counting.any_done(self.store) or (len(back) >= spec.canary and len(_ways(back)) > 1):
            self.store.set_flag(counting.TRUSTED, "1")  # also when one of them is queued again later
            return None
        out = {one.number for one in counting.canaries(self.store) if one.state not in counting.BROKEN}
        return Canaries(out, max(0, spec.canary - len(out) - len(back)))

    def sends(self, number: int) -> None:
        """A run goes while not all canaries are back: it is one of them."""
        counting.mark_canary(self.store, number)

    def _back(self) -> list[counting.Canary]:
        return [one for one in counting.canaries(self.store) if one.state in counting.BROKEN]

    def verdict(self, spec: Spec) -> str:
        """The reason where the whole sweep must stop now, else ''."""
        if self.canaries(spec) is not None:
            back = self._back()
            if len(back) >= spec.canary:
                runs = f"run {back[0].number}" if len(back) == 1 else f"all of the first {len(back)} runs"
                same = ", which went first, failed" if len(back) == 1 else " failed the same way"
                return f"canary: {runs}{same}: {back[-1].note}"
        if spec.max_failures is not None and (failures := counting.failures(self.store)) >= spec.max_failures:
            number, why = counting.last_failure(self.store)
            return f"max_failures: {failures} runs did not end well; the last, run {number}: {why}"
        return ""

    def limited(self, spec: Spec, ended: int) -> bool:
        """Whether the sweep must stop if so many more have failed."""
        return spec.max_failures is not None and counting.failures(self.store) + ended >= spec.max_failures

    def failed(self, number: int) -> None:
        """Note that a run has failed for good."""
        record = self.store.record(number)
        if record is not None:
            self.log(f"run {number}: {record.state}, {record.note}")

    def tell_of_the_first(self, spec: Spec) -> None:
        """Tell people of the first run that has failed for good, once."""
        if self.store.flag(counting.TOLD) is not None or (number := counting.first_failure(self.store)) is None:
            return
        record = self.store.record(number)
        if record is not None:
            self.store.set_flag(counting.TOLD, "1")
            self.tell(spec, "failure", run=number, outcome=record.state, reason=record.note)

    # -- notifications -----------------------------------------------------------------------------------------

    def stalled(self, spec: Spec, number: int, seconds: float, held: str) -> None:
        """Nothing came of a run for so long; ``held`` says what keeps its output from its log, if anything."""
        self.log(f"run {number} has printed nothing for {seconds:.0f} s" + (f": {held}" if held else ""))
        self.tell(spec, "stall", run=number, seconds=round(seconds), reason=held)

    def finished(self, spec: Spec, why: str) -> None:
        self.tell(spec, "finish", reason=why)

    def tell(self, spec: Spec, event: str, **fields: Any) -> None:
        """Send the overnight word, by a process of its own, so that it holds nothing up."""
        if spec.notify is None:
            return
        from sweeper import notify

        counts = self.store.counts()
        failed = sum(counts.get(state, 0) for state in counting.BROKEN)
        left = sum(counts.get(state, 0) for state in model.UNFINISHED)
        payload = {"name": self.sweep.name, "done": counts.get(model.DONE, 0), "failed": failed, "left": left, **fields}
        notify.start(spec.notify, event, payload, self.sweep.log)


def _ways(back: Iterable[counting.Canary]) -> set[str]:
    """The different ways in which they failed."""
    return {_MASK.sub("#", f"{one.state}: {one.note}") for one in back}
