"""The line of runs still to do: those queued again first, then the untouched ones in file order, at constant cost."""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sweeper import command, folders, model, paths
from sweeper.errors import InputError
from sweeper.model import GpuRequest, Job
from sweeper.spec import Spec, read_spec
from sweeper.store import SOURCE, Store, Wish, mark_wanted
from sweeper.store.catalog import Catalog, texts, values


class Line:
    """What to run next. ``load`` reads the queue again after a launch, a stop or a retry."""

    def __init__(self, store: Store, sweep: paths.SweepDir) -> None:
        self.store = store
        self.sweep = sweep
        self.wish: Wish = Wish(file="")
        self.spec: Spec
        self.settings: tuple[object, ...] = ()  # what a run that is made now is made of
        self._again: list[int] = []
        self._untouched: Iterator[int] = iter(())
        self._front: deque[int] = deque()
        self._catalog: Catalog

    def load(self, busy: Sequence[int]) -> None:
        """Read the wish, the file and the queue anew; ``busy`` are the runs in somebody's hands. Raises InputError."""
        wish = self.store.wish()
        if wish is None:
            raise InputError(f"{self.sweep.path} was never launched: sweep FILE launches it")
        self.wish = wish
        generations = self.store.generations()
        if not generations:
            raise InputError(f"the queue in {self.sweep.path} was rebuilt: launch its sweep file again to go on")
        # From the same transaction as the wish: sweep.yaml, written a moment later, is for people and for a rebuild.
        text = self.store.flag(SOURCE) or self.sweep.file.read_text(encoding="utf-8")
        self.spec = read_spec(wish.file, text=text)
        self.settings = (text, wish.environment, wish.options)
        self.template = command.template(self.spec)
        self._catalog = Catalog(generations, wish.file)
        mark_wanted(self.store)  # a run may have been given its row just when the file was changed
        taken = set(busy)
        wanted = self.store.wanted()
        touched = bytearray(self.store.next_number() // 8 + 1)
        for number, _ in self.store.touched():
            touched[number >> 3] |= 1 << (number & 7)
        queued = [record.number for record in self.store.records([model.QUEUED], gone=False)]
        self._again = [number for number in queued if number not in taken]
        heapq.heapify(self._again)
        self._untouched = (number for number in wanted if not touched[number >> 3] >> (number & 7) & 1)
        self._taken = taken
        self._front = deque()

    def next(self) -> int | None:
        """The number of the next run, which then is in the caller's hands; None when none is left."""
        if self._again:
            return heapq.heappop(self._again)
        if self._front:
            return self._front.popleft()
        return next((number for number in self._untouched if number not in self._taken), None)

    def take(self, numbers: Container[int]) -> int | None:
        """The same for the first of these that was queued again."""
        number = min((number for number in self._again if number in numbers), default=None)
        if number is not None:
            self.drop([number])
        return number

    def put_back(self, number: int) -> None:
        """Queue a run again, before those that nobody has touched."""
        heapq.heappush(self._again, number)

    def drop(self, numbers: Sequence[int]) -> None:
        self._again = [number for number in self._again if number not in set(numbers)]
        heapq.heapify(self._again)

    @property
    def empty(self) -> bool:
        return not self.at_least(1)

    def at_least(self, count: int) -> bool:
        """Whether so many runs are still in the line; looks ahead just as far as that."""
        while len(self._again) + len(self._front) < count:
            number = next((number for number in self._untouched if number not in self._taken), None)
            if number is None:
                return False
            self._front.append(number)
        return True

    # -- the run's folder --------------------------------------------------------------------------------------

    def make(self, number: int) -> paths.RunDir:
        """Make the run's folder and run.json, and its row: its turn has come. Raises OSError."""
        record = self.store.record(number)
        if record is not None and record.folder is not None:
            run = paths.RunDir(Path(record.folder))
            params = {name: model.Value(value, record.texts.get(name)) for name, value in record.params.items()}
            key = record.key
        else:
            params = dict(self._catalog.params(number))
            key = self.template.key(params)
            run = self.sweep.run(paths.folder_name(number, command.texts(params)))
        job = Job(
            sweep=self.sweep.name,
            number=number,
            key=key,
            params=values(params),
            texts=texts(params),
            command=self.template.render(params, run=number, run_dir=str(run.path), sweep=self.sweep.name),
            before=self.spec.before,
            workdir=str(self.spec.workdir or self.wish.options.get("cwd") or Path(self.wish.file).parent),
            environment=self.sweep.environment(self.wish.environment).name,
            env=dict(self.spec.env),
            timeout=self.spec.timeout,
            grace=self.spec.grace,
            gpus=self.request(number),
            stall=self.spec.stall,
        )
        if record is None:
            self.store.touch(number, key, job.params, job.texts, run.path.name)
        run.path.mkdir(exist_ok=True)
        paths.replace(run.job, json.dumps(job.to_json(), ensure_ascii=False))
        return run

    def request(self, number: int) -> GpuRequest:
        """What the run asks for; after it ran out of memory: a GPU alone, with more free than it had."""
        asked = self.wish.options.get("gpu")
        request = GpuRequest() if asked is None else GpuRequest.from_json(asked)
        _, _, ooms = self.store.tries(number)
        if not ooms or request.count == 0:
            return request
        record = self.store.record(number)
        last = (
            None
            if record is None or record.folder is None
            else folders.history(paths.RunDir(Path(record.folder))).attempt
        )
        return replace(request, per_gpu=1, more_than=(last.gpu_free or 0) if last is not None else 0)

    def title(self, number: int) -> str:
        """What the run's window is called."""
        record = self.store.record(number)
        return f"{number} {record.label}" if record is not None else str(number)
