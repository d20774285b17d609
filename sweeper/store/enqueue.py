"""A launch: make what is wanted equal to the sweep file, keeping every finished run and every number given."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper import model, obstacle, paths
from sweeper.errors import InputError, SweepError
from sweeper.store import catalog, counting
from sweeper.store.catalog import Catalog
from sweeper.store.db import STOP, Store, Wish

if TYPE_CHECKING:
    from sweeper.command import Template
    from sweeper.grid import Points
    from sweeper.spec import Spec

SOURCE = "source"  # the flag that holds the text of the sweep file as last launched
AGAIN = (model.FAILED, model.TIMEOUT, model.OUT_OF_MEMORY, model.STOPPED, model.LOST)


@dataclass(frozen=True, slots=True)
class Change:
    """What a launch changed: runs in all, new ones, finished ones kept, gone from the file, queued again."""

    total: int
    new: int
    kept: int
    gone: int
    again: int


class _Rest:
    """The touched runs that no generation tells of (their database was lost): by identity and parameters."""

    def __init__(self, store: Store, known: Catalog, template: Template) -> None:
        self._touched: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        spans = [(era.generation.first, era.generation.first + era.generation.count) for era in known.eras]
        for record in store.records():
            if not any(first <= record.number < end for first, end in spans):
                self._touched[record.key, catalog.identity_of(record.params)] = record.number, record.params
        self._template = template

    def __bool__(self) -> bool:
        return bool(self._touched)

    def in_order(self, points: Points) -> bool:
        """Whether they have the numbers that a first launch of these points gives."""
        for (key, _), (number, params) in self._touched.items():
            index = points.index(params)
            if index is None or index + 1 != number or self._template.key(points[index]) != key:
                return False
        return True

    def number(self, params: model.Params) -> int | None:
        found = self._touched.get((self._template.key(params), catalog.identity_of(catalog.values(params))))
        return None if found is None else found[0]


def enqueue(
    store: Store, spec: Spec, points: Points, template: Template, wish: Wish, *, again: Sequence[str] = AGAIN
) -> Change:
    """Make the file true in one transaction. The caller holds the launch lock. Runs in the states ``again`` are queued
    again.

    Raises InputError if an edited command would repeat finished runs; then nothing has changed.
    """
    store.synced()
    with store:
        generations = store.generations()
        known = Catalog(generations, spec.file)
        rest = _Rest(store, known, template)
        queued = store.counts().get(model.QUEUED, 0)
        if rest or not _unchanged(known, spec, template):
            _refuse_repeats(store, points, template)
            _renumber(store, known, rest, spec, points, template)
            mark_wanted(store)
        new = sum(generation.count for generation in store.generations()[len(generations) :])
        left = store.counts().get(model.QUEUED, 0)
        requeued = store.requeue_all(again)
        if model.STOPPED in again:
            before = store.wish()
            requeued += store.ask_again(all_stop=before is not None and before.want == STOP)
        counting.begin(store)
        store.set_wish(wish)
        store.set_flag(SOURCE, spec.source)
        done = store.counts().get(model.DONE, 0)
        return Change(total=store.total(), new=new, kept=done, gone=max(0, queued + new - left), again=len(requeued))


def _unchanged(known: Catalog, spec: Spec, template: Template) -> bool:
    if not known.eras or known.eras[-1].generation.identity != template.identity:
        return False
    from sweeper.spec import read_spec

    last = known.eras[-1].generation
    return last.source == spec.source or catalog.same_grid(read_spec(spec.file, text=last.source), spec)


def _refuse_repeats(store: Store, points: Points, template: Template) -> None:
    """Refuse if finished runs of another command stand at points that the file wants."""
    repeated = [
        record.number
        for record in store.records([model.DONE], gone=False)
        if points.index(record.params) is not None and record.key != _key_at(points, template, record)
    ]
    if repeated:
        raise InputError(
            f"the command was edited, and {len(repeated)} finished "
            f"{'run' if len(repeated) == 1 else 'runs'} would be run again with the new one.\n"
            "    sweep FILE --fresh moves the old results aside (nothing is deleted) and starts anew;\n"
            "    a `name:` of its own in the file keeps both; undo the edit to go on as before"
        )


def _key_at(points: Points, template: Template, record: model.RunRecord) -> str:
    index = points.index(record.params)
    assert index is not None
    return template.key(points[index])


def _renumber(store: Store, known: Catalog, rest: _Rest, spec: Spec, points: Points, template: Template) -> None:
    """Give every point its number: the one it has, or the next."""
    first = store.next_number()
    count = len(points)
    if not known.eras and rest and rest.in_order(points):
        first = 1  # a rebuilt database: every run gets the number that it had
        store.add_generation(template.identity, spec.source, first, count, None)
        store.set_wanted(first, count, None)
        return
    if not any(era.generation.identity == template.identity for era in known.eras) and not rest:
        store.add_generation(template.identity, spec.source, first, count, None)
        store.set_wanted(first, count, None)
        return
    numbers, picked = array("I"), array("I")
    for index, params in enumerate(points):
        number = known.number(template.identity, catalog.values(params))
        if number is None and rest:
            number = rest.number(params)
        if number is None:
            number = first + len(picked)
            picked.append(index)
        numbers.append(number)
    # Also where nothing is new: the last generation must be this file's, or the next launch would compare with another.
    store.add_generation(template.identity, spec.source, first, len(picked), picked)
    store.set_wanted(0, count, numbers)


def source_of(store: Store, sweep: paths.SweepDir) -> str:
    """The text of the sweep file as last launched. Raises SweepError where it is lost."""
    # From the same transaction as the wish: sweep.yaml, written a moment later, is for people and for a rebuild.
    text = store.flag(SOURCE)
    if text:
        return text
    try:
        return sweep.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = obstacle.explain(error, sweep.file) if isinstance(error, OSError) else f"{sweep.file}: {error}"
        raise SweepError(f"the sweep file as last launched cannot be read: {why}\n    launch it again") from error


def mark_wanted(store: Store) -> None:
    """Tell each touched run whether it is in the file."""
    wanted = store.wanted()
    if isinstance(wanted, range):
        touched = [number for number, _ in store.touched() if number in wanted]
        store.set_wanted_rows(touched)
        return
    there = set(wanted)
    store.set_wanted_rows([number for number, _ in store.touched() if number in there])
