"""The words before a number: what they name, and how they are tied to it. Pure, and remembered: logs repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sweeper.metrics import patterns
from sweeper.metrics.names import normalise
from sweeper.metrics.vocabulary import (
    LABELS,
    METRIC,
    SPLIT_LABELS,
    STEPS,
    STRONG,
    WEAK,
    kind,
    remembered,
    split_of,
    words,
    words_of,
)

_LONGEST = 200  # characters of words that may name something
_OPENING = "[('\"`*"
_NEAR = 40  # characters before a number in which brackets, quotes and linking words are looked for
_RATE_UNITS = frozenset(("samples", "imgs", "img", "images", "tokens", "it", "examples", "words", "frames"))
# "Accuracy of the network": these do not tell one metric from another.
_GENERIC = words_of("network model classifier net ensemble all set data dataset prediction determination it")


class Gap(NamedTuple):
    """What stands between two numbers."""

    phrase: str  # the words that may name the second
    explicit: str  # the separator; "is" for a linking word; empty for a blank
    bracket: str  # that the number stands in
    unit: str  # in round brackets after the name
    alone: bool  # one word between two cuts: "| loss 0.5 | kl 0.1 |"
    before: tuple[tuple[str, bool], ...]  # what is cut off to the left, and whether it may be a logger's name
    ends: bool  # a separator is the last of it

    @property
    def separated(self) -> bool:
        return self.explicit not in ("", "is", "|")


@remembered
def gap(text: str, barred: bool) -> Gap:
    """What ``text``, which stands before a number, says of it; ``barred``: on a line that begins with a bar ``|``."""
    text = text.rstrip()
    ends = bool(_separator(text))
    text, bracket = _opened(text)
    explicit = _separator(text)
    if explicit:
        text = text[: -len(explicit)].rstrip()
        if (link := _link(text)) and link.strip().lower() in ("is", "was"):
            text = text[: -len(link)].rstrip()
    elif link := _link(text):
        explicit = "is"
        text = text[: -len(link)].rstrip()
    elif barred and text.endswith(("|", "│", "┃")):
        explicit = "|"
        text = text[:-1].rstrip()
    text = text.rstrip("'\"`* ")
    unit = ""
    if text.endswith(")") and (found := patterns.UNIT.search(text[-_NEAR:])):
        unit = found.group(1)
        text = text[: -len(found.group())].rstrip()
    end, cut = 0, ""
    before = []
    for found in patterns.CUT.finditer(text):
        cut = found.group().strip()
        piece = text[end : found.start()]
        # "INFO - train - " is a logger's name, "Training results - " a heading.
        if "-" not in cut or " " in piece.strip():
            before.append((piece, False))
        elif not text[:end].strip():
            before.append((piece, True))
        end = found.end()
    phrase = text[end:].strip(" '\"`*#>%")[-_LONGEST:]
    alone = bool(cut) and cut in "|,;-" and patterns.ONE_WORD(phrase) is not None
    return Gap(phrase, explicit, bracket, unit, alone, tuple(before), ends)


def _separator(text: str) -> str:
    """What ``text`` ends with, if it is one: ``:``, ``=``, ``=>``, ``->``."""
    before = text[:-1] if text.endswith(">") else text
    size = len(before) - len(before.rstrip(":=：＝"))
    if size:
        return text[len(before) - size :]
    return next((arrow for arrow in ("->", "→") if text.endswith(arrow)), "")


def _opened(text: str) -> tuple[str, str]:
    """``text`` without the quotes, calls and brackets that it ends with, and the first of these brackets."""
    bracket = ""
    for _ in range(_NEAR):
        if text[-1:] not in _OPENING or not text:
            break
        if text[-1] == "(" and (call := patterns.CALL.search(text[-_NEAR:-1])):
            text = text[: -1 - len(call.group())].rstrip()
            continue
        if text[-1] in "[(":
            bracket = text[-1]
        text = text[:-1].rstrip()
    return text, bracket


def _link(text: str) -> str:
    found = patterns.LINK.search(text[-_NEAR:])
    return found.group() if found else ""


class Heading(NamedTuple):
    """What words before a cut announce for the rest of the line: ``Test set:``, ``[valid]``, ``Overall:``."""

    split: str = ""
    label: str = ""
    topic: str = ""


@remembered
def heading(piece: str) -> Heading | None:
    parts = words(piece)
    if not parts or len(parts) > 6:
        return None
    splits = {split for part in parts if (split := split_of(part))}
    if len(splits) == 1 and all(split_of(part) or part in SPLIT_LABELS or part in STEPS for part in parts):
        return Heading(splits.pop())
    if all(part in LABELS for part in parts):
        return Heading(label="_".join(parts))
    if len(parts) < 4 and any(part in METRIC for part in parts) and kind(normalise(piece)) == STRONG:
        whole = len(splits) == 1 and all(map(known, parts))
        return Heading(splits.pop() if whole else "", topic=normalise(piece))  # "validation loss | lm loss: 0.5"
    return None


class Stage(NamedTuple):
    """What a phrase says of where in the training we are."""

    parts: tuple[str, ...]
    last: str  # of them
    word: str  # all of them or the last, where it is a word for a step
    strong: bool  # they are a metric's name
    rate: bool  # the number is a rate: ms/batch
    split: str | None  # the first part of the data that they name
    only: bool  # they name nothing else


@remembered
def stage(phrase: str) -> Stage:
    parts = words(phrase)
    joined, last = "_".join(parts), parts[-1] if parts else ""
    rate = "/" in phrase and bool(parts) and (parts[0] in _RATE_UNITS or bool(patterns.UNITS.match(parts[0])))
    splits = [split_of(part) for part in parts]
    return Stage(
        parts,
        last,
        joined if joined in STEPS else last if last in STEPS else "",
        bool(parts) and kind(joined) == STRONG,
        rate,
        next(filter(None, splits), None),
        all(splits),
    )


class Measured(NamedTuple):
    """What a phrase says is measured."""

    head: str  # without the method, and of what it is measured
    parts: tuple[str, ...]  # the words of it
    name: str  # as one name
    kind: str
    split: str | None  # the part of the data that is named after it: "accuracy on the test images"
    label: str  # a method, or of what it is measured, where this tells metrics apart


@remembered
def measured(phrase: str) -> Measured:
    head, tail = _head(phrase)
    split = next((split for word in words(tail) if (split := split_of(word))), None)
    method, head = _method(head)
    parts = words(head)
    name = normalise(head)
    if len(parts) > 1 and parts[-1] == "value" and kind(name.removesuffix("_value")) == STRONG:
        name, parts = name.removesuffix("_value"), parts[:-1]  # "loss value: 0.5"
    own = bool(tail) and not split and kind(normalise(tail)) == WEAK and _GENERIC.isdisjoint(words(tail))
    return Measured(head, parts, name, kind(name), split, normalise(tail if own else method))


def _head(phrase: str) -> tuple[str, str]:
    """What is measured, of what: "Accuracy of the network on the test images" -> ("Accuracy", "the network ...")."""
    phrase = phrase.strip()
    if found := patterns.LEADING.match(phrase):
        phrase = phrase[found.end() :]
    found = patterns.PREPOSITION.search(phrase)
    if found is None:
        return phrase, ""
    head, tail = phrase[: found.start()].strip(), phrase[found.end() :]
    if kind(normalise(head)) != STRONG:
        if kind(normalise(tail)) == STRONG:
            return f"{head} {tail}", ""
        if found.group().strip().lower() == "with":
            return tail, ""
    return head, tail


def _method(head: str) -> tuple[str, str]:
    """ "RF Train accuracy" -> ("RF", "Train accuracy"): a method tells metrics apart and is no part of them."""
    first, _, rest = head.partition(" ")
    if first.isalpha() and first.isupper() and rest:
        parts = words(rest)
        if len(parts) > 1 and split_of(parts[0]) and kind(normalise(first)) == WEAK:
            return first, rest
    return "", head


def is_word(text: str) -> bool:
    """Whether ``Heun 90.58%`` may name a metric, which ``or 90.58%`` does not."""
    return len(text) > 2 and text[0].isupper() and len(words(text)) < 3


def known(part: str) -> bool:
    return part in METRIC or part in LABELS or split_of(part) is not None


def nearest(parts: Sequence[str]) -> str:
    """Of a long phrase, the words next to the number: the metric and what qualifies it."""
    start = len(parts)
    while start > 0 and known(parts[start - 1]):
        start -= 1
    return "_".join(parts[start:] or parts[-2:])
