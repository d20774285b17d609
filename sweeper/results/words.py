"""The five answers in words: did the night go well, what is best, what mattered, what failed and why, what next."""

from __future__ import annotations

import math
import shlex

from sweeper import model
from sweeper.results.advice import what_next
from sweeper.results.collecting import Configuration, Report
from sweeper.results.data import ENDED_BADLY, Run
from sweeper.results.effects import Effect
from sweeper.results.hours import clock
from sweeper.results.lines import BAD, GOOD, SETTINGS, STATES, WARN, Line, clean, settings, shorten
from sweeper.results.numbers import mean_std, number, percent

EFFECTS, LEVELS = 4, 5  # parameters that get a line of their own, and values that are named in it
TIED = 4  # runs that are named where they tie for best


def summary(report: Report) -> list[Line]:
    """Every line of the summary, in the order of the five questions; all text is printable, on one line each."""
    lines = [*_night(report), *_best(report), *_mattered(report), *_failed(report), *what_next(report)]
    return [Line(one.about, clean(one.text), one.tone, clean(one.command)) for one in lines]


def morning_line(report: Report) -> str:
    """How many are done, failed and left: ``10 done, 2 failed, 0 left of 12``. Left is what is still to be run or runs;
    what was stopped is not, and counts by itself, here and in every other line."""
    counts = report.sweep.counts
    parts = [f"{counts.get(model.DONE, 0)} done"]
    bad = {state: counts.get(state, 0) for state in ENDED_BADLY if counts.get(state)}
    failed = sum(bad.values())
    detail = ", ".join(f"{count} {STATES.get(state, state)}" for state, count in bad.items())
    parts.append(f"{failed} failed" + (f" ({detail})" if bad and set(bad) != {model.FAILED} else ""))
    if counts.get(model.STOPPED):
        parts.append(f"{counts[model.STOPPED]} stopped")
    left = sum(counts.get(state, 0) for state in model.UNFINISHED)
    running = counts.get(model.RUNNING, 0)
    parts.append(f"{left} left" + (f" ({running} running)" if running else ""))
    return f"{', '.join(parts)} of {sum(counts.values())}"


def _night(report: Report) -> list[Line]:
    counts = report.sweep.counts
    bad = sum(counts.get(state, 0) for state in ENDED_BADLY)
    left = sum(counts.get(state, 0) for state in (*model.UNFINISHED, model.STOPPED))
    tone = BAD if bad else WARN if left else GOOD
    lines = [Line(report.sweep.name, morning_line(report), tone)]
    hours = report.hours
    if hours.wall:
        text = f"{_hours(hours.compute)} of computing in {_hours(hours.wall)} on the wall"
        if hours.idle:
            text += f" · {len(hours.idle)} GPU{'s' * (len(hours.idle) > 1)} idle {clock(hours.idle_total)} between runs"
        if hours.waited > 1:
            text += f" · waited {clock(hours.waited)} for GPUs that others held"
        lines.append(Line("time", text))
    if len(report.commits) > 1:
        versions = ", ".join(f"{commit[:8]} ({count})" for commit, count in report.commits[:4])
        more = " ..." if len(report.commits) > 4 else ""
        text = f"the runs come from {len(report.commits)} versions of the code (git): {versions}{more}"
        lines.append(Line("code", text, WARN))
    gone = sum(1 for run in report.runs if not run.record.wanted)
    if gone:
        what = "1 more run is" if gone == 1 else f"{gone} more runs are"
        rank = "not ranked" if report.best is None or report.best.record.wanted else "ranked, as no other has a value"
        lines.append(Line("gone", f"{what} no longer in the sweep file: marked gone below, {rank}"))
    return lines


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else clock(seconds)


def _best(report: Report) -> list[Line]:
    target, best = report.target, report.best
    if target is None:
        seen = sum(1 for run in report.runs if run.metrics)
        what = "no metric that tells which run is better" if seen else f"no metric in any log{_yet(report)}"
        if not seen:
            return [Line("best", what, WARN)]
        names = ", ".join(report.metric_names[:6])
        return [Line("best", f"{what} (found: {names}); name one with --maximize or --minimize", WARN)]
    how = "last value" if report.last else "best over the curve"
    if best is None:
        seen = any(not math.isnan(report.value(run)) for run in report.runs)
        none = "no run with a value is ranked" if seen else f"no run has {target.name}"
        return [Line("best", f"{none}{_yet(report)}", WARN), *_unranked(report, target.name)]
    lines = []
    if len(report.leaders) > 1:
        text = number(report.value(best), report.digits)
        if report.repeat:
            text = value_text(report, report.configurations[0])
        lines.append(Line("best", f"{target.name} {text} ({how}) · {_tie(report)}", GOOD))
    elif report.repeat:
        winner = report.configurations[0]
        lines.append(
            Line("best", f"{target.name} {value_text(report, winner)} ({how}) · {label(report, winner)}", GOOD)
        )
    else:
        value = number(report.value(best), report.digits)
        text = f"{target.name} {value} ({how}) · {_named(best)} · {_label(report, best)}".rstrip(" ·")
        lines.append(Line("best", text, GOOD))
    lines += _unranked(report, target.name)
    if target.chosen == "likeliest":
        many = len(report.metric_names)
        text = f"{target.name} ({target.direction}imum) was picked as "
        text += f"the likeliest of {many} metrics" if many > 1 else "the only metric in the logs"
        lines.append(Line("metric", f"{text}; --maximize or --minimize NAME decides otherwise"))
    lead = report.lead
    if lead is not None and lead.within_noise and len(report.leaders) == 1:
        ahead = f"its lead of {lead.ahead:.2g} over the next is within the noise of the repeats"
        lines.append(Line("caution", f"{ahead} (standard error {lead.noise:.2g})", WARN))
    return lines


def _tie(report: Report) -> str:
    """``a tie of 2 runs: 1 (lr=0.1), 4 (lr=0.2)``."""
    leaders = report.leaders
    names = [name for name in report.varying if name not in report.repeat]
    told = []
    for runs in leaders[:TIED]:
        said = settings(runs[0], names)
        if report.repeat:
            told.append(f"{said} (runs {', '.join(str(run.number) for run in runs[:SETTINGS])})".strip())
        else:
            which = _named(runs[0]).removeprefix("run ")
            told.append(f"{which} ({said})" if said else which)
    more = f", and {len(leaders) - TIED} more" if len(leaders) > TIED else ""
    return f"a tie of {len(leaders)} {'settings' if report.repeat else 'runs'}: {', '.join(told)}{more}"


def _yet(report: Report) -> str:
    return " yet" if any(report.sweep.counts.get(state) for state in (model.RUNNING, model.WAITING)) else ""


def _named(run: Run) -> str:
    """``run 7``, and its state where it is not what one expects of the best."""
    state = [] if run.state == model.DONE else [STATES.get(run.state, run.state)]
    return ", ".join([f"run {run.number}", *state, *([] if run.record.wanted else ["gone"])])


def _unranked(report: Report, metric: str) -> list[Line]:
    """Of the runs that are not ranked those kinds of which one has a better value than the best that is."""
    kinds: dict[str, list[Run]] = {}
    for run in report.ranked:
        if not math.isnan(report.value(run)) and not report.is_ranked(run):
            kind = "still going on" if run.state in model.UNFINISHED else "that did not finish"
            kinds.setdefault(kind if run.record.wanted else "gone from the sweep file", []).append(run)
    lines = []
    for kind, runs in kinds.items():
        if report.better(runs[0]):
            which = "it" if len(runs) == 1 else "the best of them"
            value = number(report.value(runs[0]), report.digits)
            text = f"{len(runs)} {kind}, {which} reached {metric} {value} ({_named(runs[0])})"
            lines.append(Line("unranked", text, WARN))
    return lines


def value_text(report: Report, configuration: Configuration) -> str:
    """``0.942 ± 0.003 (3)``."""
    mean, std = mean_std(configuration.mean, configuration.std, report.places)
    count = len(configuration.values)
    return f"{mean} ± {std} ({count})" if std else f"{mean} ({count})"


def label(report: Report, configuration: Configuration) -> str:
    kept = [name for name in report.varying if name not in report.repeat]
    told = settings(configuration.first, kept)
    numbers = ", ".join(str(run.number) for run in configuration.runs[:6])
    gone = "" if any(run.record.wanted for run in configuration.runs) else ", all gone"
    return f"{told} · runs {numbers}{', ...' if len(configuration.runs) > 6 else ''}{gone}".lstrip(" ·")


def _label(report: Report, run: Run) -> str:
    return settings(run, report.varying)


def _mattered(report: Report) -> list[Line]:
    if not report.effects:
        return []
    clear = [effect for effect in report.effects if effect.clear]
    doubtful = [effect.name for effect in report.effects if not effect.clear]
    lines = [
        Line("mattered", f"{one.name} explains {percent(one.share)}: {_means(report, one)}") for one in clear[:EFFECTS]
    ]
    rest = [f"{one.name} {percent(one.share)}" for one in clear[EFFECTS : 3 * EFFECTS]]
    if doubtful:
        names = ", ".join(doubtful[:6]) + (", ..." if len(doubtful) > 6 else "")
        rest.append(f"{names}: no clear effect, it may be chance")
    if report.noise is not None:
        rest.append(f"between repeats {percent(report.noise)}")
    return [*lines, *([Line("mattered", "; ".join(rest))] if rest else [])]


def _means(report: Report, effect: Effect) -> str:
    """The metric's mean by value, best first: ``0.959 with 0.1, 0.944 with 0.01``."""
    best_first = sorted(
        effect.levels, key=lambda level: level.mean, reverse=bool(report.target and report.target.direction == "max")
    )
    shown = best_first if len(best_first) <= LEVELS else [*best_first[: LEVELS - 1], best_first[-1]]
    texts = [f"{number(level.mean, effect.digits)} with {shorten(level.text, 24)}" for level in shown]
    if len(best_first) > LEVELS:
        texts.insert(-1, "...")
    return f"mean {', '.join(texts)}"


def _failed(report: Report) -> list[Line]:
    lines = []
    for failure in report.failures[:5]:
        name = STATES.get(failure.state, failure.state)
        cause = shorten(clean(failure.cause), 100)
        what = [*([] if failure.state == model.FAILED and cause else [name]), *([cause] if cause else [])]
        text = f"{failure.count} x {': '.join(what)}"
        if failure.common:
            who = f"all {failure.count}" if failure.count > 1 else "it"
            text += f" · {who} ha{'ve' if failure.count > 1 else 's'} {' and '.join(map(str, failure.common))}"
        command = f"sweep logs {shlex.quote(report.sweep.name)} {failure.example.number}"
        lines.append(Line("failed", text, BAD, command))
    rest = report.failures[5:]
    if rest:
        lines.append(Line("failed", f"and {sum(one.count for one in rest)} more of {len(rest)} other causes", BAD))
    return lines
