"""What the scheduler tells people, and the rules that stop a sweep before a night is burned."""

from __future__ import annotations

import re
import time
from typing import Any

from sweeper import model, paths
from sweeper.model import Outcome
from sweeper.spec import Spec
from sweeper.store import Store

_MASK = re.compile(r"0x[0-9a-fA-F]+|\d+")
LOG_LIMIT = 5_000_000  # bytes of scheduler.log, after which it begins anew (one older one is kept)


class Word:
    """The scheduler's voice. ``since`` is when this scheduler began, in unix seconds."""

    def __init__(self, sweep: paths.SweepDir, store: Store) -> None:
        self.sweep = sweep
        self.store = store
        self.failures = 0
        self.told_failure = False
        self._canaries: dict[int, str] = {}

    def log(self, text: str) -> None:
        """Append a line to scheduler.log; a full disk is no reason to stop scheduling. A folder without its lock is
        being deleted, and gets no new file."""
        if not self.sweep.lock.exists():
            return
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n"
        try:
            if self.sweep.log.exists() and self.sweep.log.stat().st_size > LOG_LIMIT:
                self.sweep.log.replace(self.sweep.log.with_suffix(".log.1"))
            with open(self.sweep.log, "a", encoding="utf-8", errors="replace") as file:
                file.write(line)
        except OSError:
            return

    # -- rules -------------------------------------------------------------------------------------------------

    def allowance(self, spec: Spec, capacity: int, unsure: int) -> int:
        """How many runs may be in flight: while canaries are out, only they; of ``unsure`` it is not known yet how they
        ended."""
        if not spec.canary or self._proved(spec):
            return capacity
        return max(0, min(capacity, spec.canary - len(self._canaries) - unsure))

    def _proved(self, spec: Spec) -> bool:
        """Whether enough runs have ended to trust the sweep."""
        counts = self.store.counts()
        ended = sum(counts.get(state, 0) for state in model.OUTCOMES)
        return counts.get(model.DONE, 0) > 0 or ended >= spec.canary

    def ended(self, spec: Spec, number: int, outcome: Outcome) -> str:
        """Hear of a run's final outcome; give the reason where the whole sweep must stop now, else ''."""
        if outcome.outcome == model.DONE:
            return ""
        if outcome.outcome == model.STOPPED:
            return ""
        self.failures += 1
        self.log(f"run {number}: {outcome.outcome}, {outcome.reason}")
        if not self.told_failure:
            self.told_failure = True
            self.tell(spec, "failure", run=number, outcome=outcome.outcome, reason=outcome.reason)
        if spec.canary and self.store.counts().get(model.DONE, 0) == 0:
            self._canaries[number] = _MASK.sub("#", f"{outcome.outcome}: {outcome.reason}")
            if len(self._canaries) >= spec.canary and len(set(self._canaries.values())) == 1:
                what = "the first run" if spec.canary == 1 else f"all of the first {spec.canary} runs"
                return f"canary: {what} failed{' the same way' if spec.canary > 1 else ''}: {outcome.reason}"
        if spec.max_failures is not None and self.failures >= spec.max_failures:
            return f"max_failures: {self.failures} runs did not end well; the last, run {number}: {outcome.reason}"
        return ""

    # -- notifications -----------------------------------------------------------------------------------------

    def stalled(self, spec: Spec, number: int, seconds: float) -> None:
        self.log(f"run {number} has printed nothing for {seconds:.0f} s")
        self.tell(spec, "stall", run=number, seconds=round(seconds))

    def finished(self, spec: Spec, why: str) -> None:
        self.tell(spec, "finish", reason=why)

    def tell(self, spec: Spec, event: str, **fields: Any) -> None:
        """Send the overnight word, by a process of its own, so that it holds nothing up."""
        if spec.notify is None:
            return
        from sweeper import notify

        counts = self.store.counts()
        failed = sum(counts.get(state, 0) for state in (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY))
        left = sum(counts.get(state, 0) for state in model.UNFINISHED)
        payload = {"name": self.sweep.name, "done": counts.get(model.DONE, 0), "failed": failed, "left": left, **fields}
        notify.start(spec.notify, event, payload, self.sweep.log)
