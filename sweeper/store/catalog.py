"""Numbers and points: which point of which launched file a number belongs to, and the other way round."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper import model
from sweeper.model import Params
from sweeper.store.db import Generation

if TYPE_CHECKING:
    from sweeper.grid import Points
    from sweeper.spec import Spec


@dataclass
class Era:
    """A generation with its file read again, when it is needed."""

    generation: Generation
    file: str
    _points: Points | None = None

    @property
    def points(self) -> Points:
        if self._points is None:
            from sweeper.grid import expand
            from sweeper.spec import read_spec

            self._points = expand(read_spec(self.file, text=self.generation.source))
        return self._points

    def number(self, params: dict[str, Any]) -> int | None:
        """The number of the run with these parsed parameters, if this generation gave it one."""
        index = self.points.index(params)
        if index is None:
            return None
        picked = self.generation.picked
        if picked is None:
            return self.generation.first + index
        place = bisect_left(picked, index)
        return self.generation.first + place if place < len(picked) and picked[place] == index else None


class Catalog:
    """All generations of a sweep. ``file`` is the user's sweep file, against which relative folders are resolved."""

    def __init__(self, generations: Sequence[Generation], file: str) -> None:
        self.eras = [Era(generation, file) for generation in generations]

    def params(self, number: int) -> Params:
        """The parameters of the run with this number. Raises KeyError where no generation gave it."""
        for era in reversed(self.eras):
            generation = era.generation
            if generation.first <= number < generation.first + generation.count:
                return era.points[generation.index(number)]
        raise KeyError(number)

    def identity(self, number: int) -> str:
        """What the key of this run hashes besides its parameters."""
        for era in self.eras:
            if era.generation.first <= number < era.generation.first + era.generation.count:
                return era.generation.identity
        raise KeyError(number)

    def number(self, identity: str, params: dict[str, Any]) -> int | None:
        for era in reversed(self.eras):
            if era.generation.identity == identity:
                number = era.number(params)
                if number is not None:
                    return number
        return None


def values(params: Params) -> dict[str, Any]:
    """The parsed values alone."""
    return {name: value.value for name, value in params.items()}


def texts(params: Params) -> dict[str, str]:
    """The spellings of those that have one of their own."""
    return {name: value.text for name, value in params.items() if value.text is not None}


def same_grid(one: Spec, other: Spec) -> bool:
    """Whether two files say the same points in the same order, as far as their own words show it."""
    return (one.grid, one.repeat, one.exclude, one.include) == (other.grid, other.repeat, other.exclude, other.include)


def number_array(numbers: Sequence[int] = ()) -> array[int]:
    return array("I", numbers)


def identity_of(params: dict[str, Any]) -> str:
    """The parameters as one comparable word, whatever their order."""
    return model.canonical(params)
