"""What to do next: go on, run again, look further out, repeat more often."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Sequence

from sweeper import model
from sweeper.results.collecting import Report
from sweeper.results.hours import clock
from sweeper.results.lines import PLAIN, WARN, Line


def time_left(report: Report) -> float | None:
    """Seconds until all is done, by the median run so far and how many go at once; None where nobody can say."""
    counts = report.sweep.counts
    left = sum(counts.get(state, 0) for state in model.UNFINISHED)
    known = [run.seconds for run in report.runs if run.state == model.DONE and run.seconds is not None]
    at_once = report.sweep.parallel or counts.get(model.RUNNING, 0)
    if not left or not known or not at_once:
        return None
    return math.ceil(left / at_once) * statistics.median(known)


def what_next(report: Report) -> list[Line]:
    counts = Counter(report.sweep.counts)
    name = shlex.quote(report.sweep.name)
    busy = counts[model.RUNNING] + counts[model.WAITING]
    lines = []
    if busy:
        left = time_left(report)
        about = f"about {clock(left)} left" if left else "still going"
        lines.append(Line("next", about, PLAIN, f"sweep attach {name}"))
    elif counts[model.QUEUED] or counts[model.STOPPED]:
        waits = [(counts[model.STOPPED], "stopped"), (counts[model.QUEUED], "left")]
        text = ", ".join(f"{count} {word}" for count, word in waits if count)
        lines.append(Line("next", f"nothing runs: {text}", WARN, f"sweep resume {name}"))
    late = sum(one.count for one in report.failures if one.state == model.TIMEOUT)
    failed = sum(one.count for one in report.failures) - late
    if late and not busy:
        launch = f"sweep {shlex.quote(report.sweep.file)}" if report.sweep.file else ""
        them = "1 run" if late == 1 else f"{late} runs"
        lines.append(Line("next", f"raise timeout: in the sweep file for {them}, then launch it again", PLAIN, launch))
    if failed and not busy:
        others = " (and those that timed out)" if late else ""
        text = f"once mended, run the {failed} that failed again{others}"
        lines.append(Line("next", text, PLAIN, f"sweep retry {name}"))
    lines += _advice(report)
    if not lines:
        lines.append(Line("next", "all is done; the page has the pictures", PLAIN, f"sweep report {name} --open"))
    return lines


def _advice(report: Report) -> Sequence[Line]:
    """What the next sweep should try: further out where the best lies on an edge, more repeats where noise decides."""
    lines = []
    if report.lead is not None and report.lead.within_noise:
        lines.append(Line("next", f"more values of {', '.join(report.repeat)} would tell the best ones apart"))
    if report.best is None or report.target is None:
        return lines
    for effect in report.effects:
        if not effect.clear or effect.binned or len(effect.levels) < 3:
            continue
        value = report.best.record.params.get(effect.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        text = report.best.text(effect.name)
        if any(one[0].record.params.get(effect.name) != value for one in report.leaders):
            continue  # a tie of several values
        means = [level.mean if report.target.direction == "max" else -level.mean for level in effect.levels]
        tried = [x for run in report.runs if isinstance(x := run.record.params.get(effect.name), (int, float))]
        if text == effect.levels[-1].text and means[-1] == max(means) and value == max(tried):
            lines.append(Line("next", f"{effect.name}={text} is the largest tried, and the best: try larger ones"))
        elif text == effect.levels[0].text and means[0] == max(means) and value == min(tried):
            lines.append(Line("next", f"{effect.name}={text} is the smallest tried, and the best: try smaller ones"))
    return lines[:3]
