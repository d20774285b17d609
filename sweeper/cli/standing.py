"""``sweep status``: how a sweep is, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sweeper import index, model, moments, paths

if TYPE_CHECKING:
    from sweeper import control

UNWELL = 1000  # runs that did not end well, at most, that are put together


def status(name: str | None, runs_dir: str | None, *, as_json: bool) -> int:
    from sweeper import control

    sweep = index.find(name, runs_dir)
    now, times = control.look(sweep, lambda store: (control.status(sweep, store, unwell=UNWELL), store.times()))
    if as_json:
        print(json.dumps(data(now), ensure_ascii=False, indent=2))
        return 0
    print(text(now, times))
    return 0


def data(now: control.Status) -> dict[str, Any]:
    def run(record: model.RunRecord) -> dict[str, Any]:
        fields = ("number", "state", "params", "note", "folder", "attempts", "started", "ended", "gpus", "exit_code")
        return {field: getattr(record, field) for field in fields} | {"note": moments.at(record.note)}

    return {
        "name": now.sweep.name,
        "folder": str(now.sweep.path),
        "state": now.state,
        "why": now.why,
        "total": now.total,
        "counts": now.counts,
        "parallel": now.parallel,
        "session": now.session,
        "waiting_for": moments.at(now.waits),
        "note": now.note,
        "notify_failed": _unsent(now.sweep),
        "in_flight": [run(record) for record in now.flight],
        "not_well": [run(record) for record in now.unwell],
    }


def text(now: control.Status, times: list[float]) -> str:
    from sweeper import control, watch
    from sweeper.watch import unwell

    left = watch.time_left(now, times)
    how = "one after another" if now.parallel is None else f"{now.parallel} at a time"
    lines = [f"{now.sweep.name}: {watch.headline(watch.Frame(now, left))}"]
    state = f"{now.state}, " if now.state in ("running", "finished") else ""  # or the first line has it
    lines.append(f"  {state}{how}" + (f", tmux session {now.session}" if now.session else "") + f", {now.sweep.path}")
    if now.waits:
        lines.append(f"  waiting for {watch.printable(moments.ago(now.waits))}")
    rows: list[tuple[str, ...]] = []
    for record in now.flight:
        *before, what = watch.cells(record)
        state = record.state if record.state not in control.FLIGHT else ""
        rows.append((*before, state, what))
    lines += _columns(rows)
    lines += [f"  {line}" for line in unwell.lines(now.unwell)]
    if now.unwell_count > len(now.unwell):
        lines.append(f"  and {now.unwell_count - len(now.unwell)} more that did not end well")
    if now.unwell:
        lines.append(f"sweep logs {now.sweep.name} {now.unwell[-1].number} shows the log of the last one")
    failed = sum(now.counts.get(state, 0) for state in control.UNWELL if state != model.STOPPED)
    if failed and now.state in ("finished", "stopped"):
        lines.append(f"sweep retry {now.sweep.name} runs what did not end well again")
    left = now.left + now.counts.get(model.STOPPED, 0)
    if now.state in ("stopped", "paused", "interrupted") and left:
        lines.append(f"sweep resume {now.sweep.name} goes on with the {left} that {'is' if left == 1 else 'are'} left")
    if now.note:
        lines.append(f"  {watch.printable(now.note)}")
    if unsent := _unsent(now.sweep):
        lines.append(f"  notify did not work: {watch.printable(unsent)}")
    return "\n".join(lines)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """One below the other; a column that is empty in all of them is left out."""
    filled = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in filled]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*filled, strict=True)]


def _unsent(sweep: paths.SweepDir) -> str:
    """Why the last overnight word failed, '' where it did not or there was none."""
    try:
        with open(sweep.unsent, encoding="utf-8", errors="replace") as file:
            return file.readline(2000).strip()
    except OSError:
        return ""
