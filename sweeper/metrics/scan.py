"""The numbers of a line from left to right: what the words before each make of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sweeper.metrics import patterns
from sweeper.metrics.names import normalise
from sweeper.metrics.patterns import OF, SEPARATOR
from sweeper.metrics.vocabulary import (
    AVERAGES,
    EPOCHS,
    INNER,
    LABELS,
    METRIC,
    NEVER,
    PLURALS,
    SETTING,
    SPLIT_LABELS,
    STEP,
    STEPS,
    STRONG,
    WEAK,
    kind,
    split_of,
    words,
)

Span = tuple[int, int]


@dataclass
class Pair:
    """A name and where its number stands; ``total`` is the m of n/m.

    ``label`` and ``soft`` tell metrics apart that share a name: the first is what the line begins with
    (``Heun T=5 acc 0.9``), the second the part of the data that the line names for another metric
    (``train loss: 0.5 acc: 0.9``).
    """

    name: str
    span: Span
    kind: str
    total: Span | None = None
    label: str = ""
    soft: str = ""
    unit: str = ""  # in brackets after the name: tells "acc(real): 1 acc(fake): 0.5" apart


@dataclass
class Line:
    """What one line says, without context. Spans are places of numbers in it."""

    pairs: list[Pair] = field(default_factory=list)
    epoch: Span | None = None
    epochs_total: Span | None = None
    step: Span | None = None
    steps_total: Span | None = None
    inner: bool = False  # the step counts within the epoch
    split: str | None = None
    step_word: str = "step"
    dump: bool = False
    back: bool = False  # a row of a table of names and values: it holds for the rows above it too

    @property
    def marks(self) -> bool:
        return self.epoch is not None or self.step is not None


@dataclass
class _Named:
    """The words before a number, and how they are tied to it."""

    phrase: str
    explicit: str  # the separator; "is" for a linking word; empty for a blank
    bracket: str  # that the number stands in
    unit: str  # in round brackets after the name
    alone: bool = False  # one word between two cuts: "| loss 0.5 | kl 0.1 |"

    @property
    def separated(self) -> bool:
        return self.explicit not in ("", "is", "|")


class Scan:
    """Goes over the numbers of a line from left to right, and remembers what the words between them said."""

    def __init__(self, line: Line, text: str) -> None:
        self.line = line
        self.text = text
        self.split: str | None = None  # the part of the data that a heading on the line names, till the next
        self.label = ""
        self.topic = ""  # the metric that a heading on the line names, for "accuracy: (train=0.9, test=0.8)"
        self.last_split: str | None = None
        self.seen: dict[int, str | None] = {}  # pair -> the part of the data last named before it
        self.keys: list[str | None] = []  # of the nested dicts that are open; None: settings
        self.first = True
        self.carried = ""  # words and a number that are the name of the next: "Accuracy on digit 0: 0.94"

    def number(self, match: re.Match[str], previous: int) -> int:
        """Take in one number; returns the place up to which the line is dealt with."""
        start, end = match.span()
        gap = self.text[previous:start]
        if "{" in gap or "}" in gap:
            self._braces(gap)
        named = self._named(gap)
        if None in self.keys:
            return end
        if self.carried and not named.phrase and named.separated:
            named.phrase = self.carried
        self.carried = ""
        after = self.text[end : end + 32]
        named.alone = named.alone and patterns.NEXT.match(after) is not None
        done = self._step(named, gap, match, after)
        self.first = False
        if done is not None:
            return done
        ratio = patterns.RATIO.match(after)
        if ratio is None and (patterns.ATTACHED.match(after) or patterns.UNITS.match(after) or after.startswith("/")):
            rest = patterns.REST.match(after)
            return end + (rest.end() if rest else 0)
        index = patterns.INDEX.match(after) and match.group().isdigit() and len(match.group()) < 4
        if index and not named.explicit and kind(normalise(named.phrase)) == STRONG:
            self.carried = f"{named.phrase} {match.group()}"
            return end
        if after.startswith(":") and gap.endswith("#"):
            self._qualifier(named.phrase)  # "Test net output #0: accuracy"
        if named.bracket == "[" and not after.lstrip().startswith("]"):
            return end
        if not named.phrase or (named.bracket == "(" and not named.explicit):
            return end
        self._pair(named, match, ratio, after)
        return end + ratio.end() if ratio else end

    def _braces(self, gap: str) -> None:
        for place, letter in enumerate(gap):
            if letter == "{":
                key = patterns.KEY.search(gap[:place])
                setting = patterns.CONFIG_KEY.search(gap[:place])
                self.keys.append(None if setting else key.group(1) if key else "")
                self.split = split_of(words(key.group(1))[0]) if key and words(key.group(1)) else None
            elif letter == "}" and self.keys:
                self.keys.pop()
                self.split = None

    def _named(self, gap: str) -> _Named:
        text = gap.rstrip()
        bracket = ""
        while text and text[-1] in "[('\"`*":
            if text[-1] == "(" and (call := patterns.CALL.search(text[:-1])):
                text = text[: call.start()].rstrip()
                continue
            if text[-1] in "[(":
                bracket = text[-1]
            text = text[:-1].rstrip()
        explicit = ""
        if found := SEPARATOR.search(text):
            explicit = found.group().strip()
            text = text[: found.start()].rstrip()
            if (link := patterns.LINK.search(text)) and link.group().strip().lower() in ("is", "was"):
                text = text[: link.start()].rstrip()
        elif found := patterns.LINK.search(text):
            explicit = "is"
            text = text[: found.start()].rstrip()
        elif text.endswith(("|", "│", "┃")) and self.text.lstrip()[:1] in "|│┃":
            explicit = "|"
            text = text[:-1].rstrip()
        text = text.rstrip("'\"`* ")
        unit = ""
        if found := patterns.UNIT.search(text):
            unit = found.group(1)
            text = text[: found.start()].rstrip()
        end, before = 0, ""
        for cut in patterns.CUT.finditer(text):
            before = cut.group().strip()
            piece = text[end : cut.start()]
            # "INFO - train - " is a logger's name, "Training results - " a heading.
            if "-" not in cut.group() or " " in piece.strip() or (self.first and not text[:end].strip()):
                self._qualifier(piece)
            end = cut.end()
        phrase = text[end:].strip(" '\"`*#>%")
        return _Named(
            phrase, explicit, bracket, unit, bool(before) and before in "|,;-" and patterns.ONE_WORD(phrase) is not None
        )

    def _qualifier(self, piece: str) -> None:
        """Words before a cut: ``Test set:``, ``[valid]``, ``Overall:``."""
        parts = words(piece)
        if not parts or len(parts) > 6:
            return
        splits = {split for part in parts if (split := split_of(part))}
        if len(splits) == 1 and all(split_of(part) or part in SPLIT_LABELS or part in STEPS for part in parts):
            self.split = self.last_split = splits.pop()
            self.label = ""
        elif all(part in LABELS for part in parts):
            self.label = "_".join(parts)
        elif len(parts) < 4 and any(part in METRIC for part in parts) and kind(normalise(piece)) == STRONG:
            self.topic = normalise(piece)
            if len(splits) == 1 and all(map(_known, parts)):
                self.split = self.last_split = splits.pop()  # "validation loss | lm loss: 0.5"

    def _step(self, named: _Named, gap: str, match: re.Match[str], after: str) -> int | None:
        """Take in a number that says where we are; None if it does not."""
        line = self.line
        span, value = match.span(), match.group()
        parts = words(named.phrase)
        joined, last = "_".join(parts), parts[-1] if parts else ""
        whole = value.isdigit()
        separated = SEPARATOR.search(gap.rstrip()) is not None
        if parts and kind(joined) == STRONG and not (whole and separated and patterns.AFTER_STEP.match(after)):
            return None
        word = joined if joined in STEPS else last if last in STEPS else ""
        if "/" in named.phrase and parts[:1] and (parts[0] in _RATE_UNITS or patterns.UNITS.match(parts[0])):
            return span[1]  # ms/batch
        if not word and whole and (found := patterns.AFTER_STEP.match(after)):
            if separated:
                return span[1]
            word = found.group(1).lower().lstrip("个")
        if not word and whole and self.first:
            head = gap.strip()
            if head in ("[", "(") and after[:1] in ("]", ")") and after[1:2] != "[":
                word = "round"
            elif not head and after.startswith(":") and not after[1:2].isdigit():
                word = "iteration"
        total = OF.match(after) if whole else None
        if not word:
            counted = whole and ((total and "/" in total.group()) or gap.strip() == "][")
            if counted and all(map(split_of, parts)):
                if parts:
                    self.split = self.last_split = split_of(parts[-1])  # "Train: [300/300]"
                return self._inner(span, total)
            return None
        if word in PLURALS and total is None and separated:
            return span[1]  # "epochs: 90" says how many there will be
        if named.explicit == "|":
            if last not in ("timesteps", "timestep", "step", "epoch", "iteration"):
                return span[1]
            line.back = True
        if split := next((split for part in parts if (split := split_of(part))), None):
            self.split = self.last_split = split
        total_span = (span[1] + total.start(1), span[1] + total.end(1)) if total else None
        if word in EPOCHS or last in EPOCHS:
            if line.epoch is None:
                line.epoch, line.epochs_total = span, total_span
        elif value.lstrip("+").replace(".", "", 1).replace("e+", "", 1).isdigit() and (line.step is None or line.inner):
            line.step, line.steps_total, line.step_word = span, total_span, word
            line.inner = last in INNER and len(parts) <= 1
        return span[1] + (total.end() if total else 0)

    def _inner(self, span: Span, total: re.Match[str] | None) -> int:
        """``42/94`` of a progress bar, ``[50/1000]`` after an epoch."""
        line = self.line
        if line.step is None:
            line.step, line.inner = span, True
            line.steps_total = (span[1] + total.start(1), span[1] + total.end(1)) if total else None
        return span[1] + (total.end() if total else 0)

    def _pair(self, named: _Named, match: re.Match[str], ratio: re.Match[str] | None, after: str) -> None:
        """Take in a number that has a name, if the name may be a metric's."""
        percent = after.lstrip().startswith("%")
        whole = patterns.WHOLE.fullmatch(match.group()) is not None and not percent and not ratio
        head, tail = _head(named.phrase)
        tail_split = next((split for word in words(tail) if (split := split_of(word))), None)
        method, head = _method(head)
        parts = words(head)
        if not parts or len(parts) > 9 or len(head) > 70:
            return
        name, unit = normalise(head), named.unit
        if parts[-1] == "value" and len(parts) > 1 and kind(name.removesuffix("_value")) == STRONG:
            name, parts = name.removesuffix("_value"), parts[:-1]  # "loss value: 0.5"
        what = kind(name)
        if unit and what == STRONG and _AVERAGED.issuperset(words(unit)):
            name = f"{name}_{normalise(unit)}"  # "F1 (macro)"
        if self.topic and what != STRONG and all(map(split_of, parts)):
            name, what = f"{normalise(head)}_{self.topic}", STRONG
            parts = words(name)
        elif what == STRONG:
            self.topic = ""
        if unit and what != STRONG and named.explicit and kind(normalise(unit)) == STRONG:
            name, what, parts, unit = normalise(unit), STRONG, words(unit), ""
        if what in (NEVER, STEP) or (unit and (kind(unit) == NEVER or patterns.UNITS.match(unit))):
            return
        if what != STRONG:
            if len(parts) > (8 if " " not in head else 4):
                return
            if not (named.separated or named.explicit == "|" or named.alone) and not (percent and _is_word(head)):
                return
            if named.explicit == "is" or (whole and what != SETTING):
                return
        else:
            if not named.separated and named.explicit != "|":
                if len(parts) > 2 and not all(map(_known, parts)):
                    name = _nearest(parts)
                if not named.explicit and (whole or patterns.FROM.search(named.phrase)):
                    return
            counted = named.explicit == "|" or not _COUNTS.isdisjoint(parts)
            if whole and not counted and match.group() not in ("0", "1", "100"):
                return  # "precision: 16" is a setting; but rewards may be whole
        label = (
            method if tail_split or not tail or kind(normalise(tail)) != WEAK or _GENERIC & set(words(tail)) else tail
        )
        name = self._qualified(name, parts, tail_split or (split_of(unit.lower()) if unit else None))
        span = match.span()
        total: Span | None = None
        if ratio and ratio.group(2) is not None:
            span = (span[1] + ratio.start(2), span[1] + ratio.end(2))
        elif ratio:
            if what != STRONG:
                return
            total = (span[1] + ratio.start(1), span[1] + ratio.end(1))
        self.seen[len(self.line.pairs)] = self.last_split
        if len(name) == 1 and unit:
            name, unit = f"{name}_{normalise(unit)}", ""  # D(x)
        self.line.pairs.append(Pair(name, span, what, total, normalise(label), unit=unit))

    def _qualified(self, name: str, parts: list[str], split: str | None) -> str:
        if own := next((found for part in parts if (found := split_of(part))), None):
            self.last_split = own
        elif split:
            return f"{split}_{name}"
        elif self.split:
            for average in AVERAGES:
                name = name.removeprefix(average)
            return f"{self.split}_{name}"
        elif self.label:
            return f"{self.label}_{name}"
        return name


_RATE_UNITS = frozenset(("samples", "imgs", "img", "images", "tokens", "it", "examples", "words", "frames"))
_COUNTS = frozenset(
    ("reward", "rewards", "rew", "return", "returns", "score", "scores", "length", "len", "fitness", "loss")
)


_AVERAGED = frozenset(
    ("micro", "macro", "weighted", "avg", "average", "mean", "median", "samples", "overall", "std", "max", "min")
)


def _method(head: str) -> tuple[str, str]:
    """ "RF Train accuracy" -> ("RF", "Train accuracy"): a method tells metrics apart and is no part of them."""
    first, _, rest = head.partition(" ")
    parts = words(rest)
    if first.isalpha() and first.isupper() and len(parts) > 1 and split_of(parts[0]) and kind(normalise(first)) == WEAK:
        return first, rest
    return "", head


def _is_word(text: str) -> bool:
    """Whether ``Heun 90.58%`` may name a metric, which ``or 90.58%`` does not."""
    return len(text) > 2 and text[0].isupper() and len(words(text)) < 3


# "Accuracy of the network": these do not tell one metric from another.
_GENERIC = frozenset(
    (
        "network",
        "model",
        "classifier",
        "net",
        "ensemble",
        "all",
        "set",
        "data",
        "dataset",
        "prediction",
        "determination",
        "it",
    )
)


def _known(part: str) -> bool:
    return part in METRIC or part in LABELS or split_of(part) is not None


def _nearest(parts: list[str]) -> str:
    """Of a long phrase, the words next to the number: the metric and what qualifies it."""
    start = len(parts)
    while start > 0 and _known(parts[start - 1]):
        start -= 1
    return "_".join(parts[start:] or parts[-2:])


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
