"""All that a log had of names and numbers -> what a person would call its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sweeper.metrics.curve import Curve, Series
from sweeper.metrics.names import canonical
from sweeper.metrics.vocabulary import SETTING, STRONG, WEAK, split_of, words

Load = Callable[[], list[tuple[float, float]]]
Key = tuple[str, str, str]  # (part of the data by context, label at the start of the line, name)


class Found(NamedTuple):
    """A metric's curve, what its steps are (epoch, step or index), and the part of the data that is known of it
    without being in its name: that of a log which has not spoken of another yet."""

    curve: Curve
    steps: str
    part: str = ""


_MOST_LABELS = 6
ALONE = "?"  # the context of what stood on a line with nothing that is surely about training
OWN = "="  # the context of metrics that the sweep file's own patterns found


def named(
    curves: Mapping[Key, Curve],
    drafts: Mapping[Key, Curve],
    traits: Mapping[Key, Mapping[str, Any]],
    own: Iterable[str] = (),
    *,
    epochs: bool = True,
) -> dict[str, Found]:
    """The metrics among ``curves`` by name. Where one word stands under several parts of the data, they come apart.

    ``own`` are those that the sweep file's patterns found; ``epochs`` says whether the log speaks of epochs (a bar's
    redraws are then drafts of its epoch, and else the training itself).
    """
    groups: dict[str, list[Key]] = {}
    for key in curves:
        if key[0] not in (OWN, ALONE):
            groups.setdefault(key[2], []).append(key)
    for key in curves:
        if key[0] == ALONE and all(other[0] == ALONE for other in groups.get(key[2], ())):
            groups.setdefault(key[2], []).append(key)
    out: dict[str, Found] = {}
    for name, keys in groups.items():
        if not _is_metric(keys, curves, traits):
            continue
        labels = list(dict.fromkeys(key[1] for key in keys))
        if len(labels) > _MOST_LABELS:  # so many are no labels but the beginnings of sentences
            plain = [key for key in keys if not key[1]]
            _split(out, name, plain or keys, curves, drafts, traits, epochs)
            continue
        for label in labels:
            full = f"{label}_{name}" if label and len(labels) > 1 else name
            _split(out, full, [key for key in keys if key[1] == label], curves, drafts, traits, epochs)
    for name in own:
        if (key := (OWN, "", name)) in curves:
            out[name] = Found(curves[key], _step_name(traits.get(key)))
    return out


def _split(
    out: dict[str, Found],
    name: str,
    keys: list[Key],
    curves: Mapping[Key, Curve],
    drafts: Mapping[Key, Curve],
    traits: Mapping[Key, Mapping[str, Any]],
    epochs: bool,
) -> None:
    """Put the curves of one name into ``out``: one a part of the data, or one in all where only one part is known."""
    splits = list(dict.fromkeys(key[0] for key in keys))
    if len(splits) > 1 and set(splits) != {"", "train"} and not any(map(split_of, words(name))):
        for split in splits:
            full = f"{split}_{name}" if split else name
            _split(out, full, [key for key in keys if key[0] == split], curves, drafts, traits, epochs)
        return
    curve = curves[keys[0]]
    if len(keys) > 1:
        curve = curve.copy()
        for key in keys[1:]:
            curve.absorb(curves[key])
    elif curve.count == 1 and (draft := drafts.get(keys[0])) is not None:
        curve = _drawn(draft, curve, epochs)
    part = splits[0] if len(splits) == 1 and splits[0] != ALONE and not any(map(split_of, words(name))) else ""
    _put(out, name, Found(curve, _step_name(traits.get(keys[0])), part))


def _put(out: dict[str, Found], name: str, found: Found) -> None:
    if name in out:
        both = out[name].curve.copy()
        both.absorb(found.curve)
        found = Found(both, found.steps)
    out[name] = found


def _drawn(draft: Curve, final: Curve, epochs: bool) -> Curve:
    """The curve of a training that is one progress bar from end to end: its redraws."""
    curve = draft.copy()
    if not epochs:
        curve.extend([final.last_seq], [final.last_step], [final.last])
        return curve
    curve.points = [*draft.points, *final.points]
    curve.count += 1
    curve.last, curve.last_step, curve.last_seq = final.last, final.last_step, final.last_seq
    curve.distinct += 1
    for name in ("min", "min_step", "max", "max_step"):
        setattr(curve, name, getattr(final, name))
    curve.min_at = curve.max_at = curve.count - 1
    return curve


def _is_metric(keys: list[Key], curves: Mapping[Key, Curve], traits: Mapping[Key, Mapping[str, Any]]) -> bool:
    """A word for a metric always is one; a setting where it changes; another where it keeps company or changes."""
    kind = next((traits[key]["kind"] for key in keys if key in traits and "kind" in traits[key]), WEAK)
    steady = any(traits.get(key, {}).get("steady") for key in keys)
    count = sum(curves[key].count for key in keys)
    changes = len({curves[key].min for key in keys} | {curves[key].max for key in keys}) > 1
    if kind == STRONG:
        return True
    if kind == SETTING:
        placed = any(traits.get(key, {}).get("placed") for key in keys) or "lr" in keys[0][2] or "rate" in keys[0][2]
        return changes and count > 1 and placed
    return (steady and (changes or count == 1)) or (changes and count > 2)


def _step_name(trait: Mapping[str, Any] | None) -> str:
    return str(trait.get("step", "index")) if trait else "index"


def restates(series: Series, params: Mapping[str, Any]) -> bool:
    """Whether a metric is only one of the run's parameters, printed again."""
    if not params or series.min != series.max or series.last != series.min:
        return False
    for param, value in params.items():
        if (
            isinstance(value, (int, float))
            and float(value) == series.last
            and canonical(param) == canonical(series.name)
        ):
            return True
    return False


def as_series(name: str, found: Found, load: Load | None = None) -> Series:
    """What is known of a metric; where its steps do not tell its values apart, they are counted instead."""
    curve, step_name, part = found
    if curve.distinct * 2 <= curve.count:
        last, least, greatest = float(curve.count - 1), float(curve.min_at), float(curve.max_at)
        step_name = "index"
    else:
        last, least, greatest = curve.last_step, curve.min_step, curve.max_step
    return Series(
        name,
        curve.last,
        curve.min,
        curve.max,
        last,
        least,
        greatest,
        curve.count,
        step_name,
        part,
        load or (lambda: points(curve)),
    )


def points(curve: Curve) -> list[tuple[float, float]]:
    """The thinned curve, its last point included."""
    if curve.distinct * 2 <= curve.count:
        every = curve.count / max(1, len(curve.points))
        found = [(float(int(place * every)), value) for place, (_, _, value) in enumerate(curve.points)]
        last = float(curve.count - 1)
    else:
        found = [(step, value) for _, step, value in curve.points]
        last = curve.last_step
    if curve.count and (not found or curve.points[-1][0] != curve.last_seq):
        found.append((last, curve.last))
    return found
