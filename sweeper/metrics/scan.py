"""The numbers of a line from left to right: what the words before each make of it."""

from __future__ import annotations

import re

from sweeper.metrics import patterns, phrases
from sweeper.metrics.names import normalise
from sweeper.metrics.phrases import Gap
from sweeper.metrics.saying import Line, Pair, Span
from sweeper.metrics.vocabulary import (
    AVERAGES,
    EPOCHS,
    INNER,
    NEVER,
    PLURALS,
    SETTING,
    STEP,
    STRONG,
    kind,
    split_of,
    words,
)

_AFTER = 32  # characters after a number that are looked at
_KEY = 100  # characters before a brace
_NOTHING = frozenset(",;|)]}%")  # after a number: it has neither a unit nor anything attached
_BACK = frozenset(("timesteps", "timestep", "step", "epoch", "iteration"))
_COUNTS = frozenset(
    ("reward", "rewards", "rew", "return", "returns", "score", "scores", "length", "len", "fitness", "loss")
)
_AVERAGED = frozenset(
    ("micro", "macro", "weighted", "avg", "average", "mean", "median", "samples", "overall", "std", "max", "min")
)


class Scan:
    """Goes over the numbers of a line from left to right, and remembers what the words between them said."""

    def __init__(self, line: Line, text: str) -> None:
        self.line = line
        self.text = text
        self.barred = text.lstrip()[:1] in ("|", "│", "┃")
        self.split: str | None = None  # the part of the data that a heading on the line names, till the next
        self.label = ""
        self.topic = ""  # the metric that a heading on the line names, for "accuracy: (train=0.9, test=0.8)"
        self.last_split: str | None = None
        self.seen: dict[int, str | None] = {}  # pair -> the part of the data last named before it
        self.open = 0  # nested dicts that are open
        self.settings = 0  # which of them is of settings; 0: none
        self.first = True
        self.carried = ""  # words and a number that are the name of the next: "Accuracy on digit 0: 0.94"

    def number(self, match: re.Match[str], previous: int) -> int:
        """Take in one number; returns the place up to which the line is dealt with."""
        start, end = match.span()
        text = self.text[previous:start]
        if "{" in text or "}" in text:
            self._braces(text)
        gap = phrases.gap(text, self.barred)
        for piece, logger in gap.before:
            if not logger or self.first:
                self._heading(piece)
        if self.settings:
            return end
        phrase = self.carried if self.carried and not gap.phrase and gap.separated else gap.phrase
        self.carried = ""
        after = self.text[end : end + _AFTER]
        done = self._step(gap, phrase, text, match, after)
        self.first = False
        if done is not None:
            return done
        ratio = patterns.RATIO.match(after) if "/" in after[:2] else None
        if ratio is None and after and after[0] not in _NOTHING and _attached(after):
            rest = patterns.REST.match(after)
            return end + (rest.end() if rest else 0)
        if not gap.explicit and _is_index(match.group(), after) and kind(normalise(phrase)) == STRONG:
            self.carried = f"{phrase} {match.group()}"
            return end
        if after.startswith(":") and text.endswith("#"):
            self._heading(phrase)  # "Test net output #0: accuracy"
        if gap.bracket == "[" and not after.lstrip().startswith("]"):
            return end
        if not phrase or (gap.bracket == "(" and not gap.explicit):
            return end
        self._pair(gap, phrase, match, ratio, after)
        return end + ratio.end() if ratio else end

    def _braces(self, text: str) -> None:
        for brace in patterns.BRACE.finditer(text):
            if brace.group() == "{":
                key = _key(text[max(0, brace.start() - _KEY) : brace.start()])
                self.open += 1
                if not self.settings and patterns.CONFIG_KEY.search(key):
                    self.settings = self.open
                named = words(key)
                self.split = split_of(named[0]) if named else None
            elif self.open:
                if self.settings == self.open:
                    self.settings = 0
                self.open -= 1
                self.split = None

    def _heading(self, piece: str) -> None:
        """Words before a cut, which may hold for the rest of the line."""
        found = phrases.heading(piece)
        if found is None:
            return
        if found.split:
            self.split = self.last_split = found.split
        if found.topic:
            self.topic = found.topic
        else:
            self.label = found.label

    def _step(self, gap: Gap, phrase: str, text: str, match: re.Match[str], after: str) -> int | None:
        """Take in a number that says where we are; None if it does not."""
        line = self.line
        span, value = match.span(), match.group()
        said = phrases.stage(phrase)
        word, last = said.word, said.last
        whole = value.isdigit()
        lead = after.lstrip()[:1] if whole else ""
        named = patterns.AFTER_STEP.match(after) if lead.isalpha() else None
        if said.strong and not (named and gap.ends):
            return None
        if said.rate:
            return span[1]  # ms/batch
        if not word and named:
            if gap.ends:
                return span[1]
            word = named.group(1).lower().lstrip("个")
        if not word and whole and self.first:
            head = text.strip()
            if head in ("[", "(") and after[:1] in ("]", ")") and after[1:2] != "[":
                word = "round"
            elif not head and after.startswith(":") and not after[1:2].isdigit():
                word = "iteration"
        total = patterns.OF.match(after) if lead and lead in "/osvdи" else None
        if not word:
            counted = whole and ((total and "/" in total.group()) or text.strip() == "][")
            if counted and said.only:
                if said.parts:
                    self.split = self.last_split = split_of(last)  # "Train: [300/300]"
                return self._inner(span, total)
            return None
        if word in PLURALS and total is None and gap.ends:
            return span[1]  # "epochs: 90" says how many there will be
        if gap.explicit == "|":
            if last not in _BACK:
                return span[1]
            line.back = True
        if said.split:
            self.split = self.last_split = said.split
        total_span = _total(span, total)
        if word in EPOCHS or last in EPOCHS:
            if line.epoch is None and not value[-1].isalpha():
                line.epoch, line.epochs_total = span, total_span
        elif value.lstrip("+").replace(".", "", 1).replace("e+", "", 1).isdigit() and (line.step is None or line.inner):
            line.step, line.steps_total, line.step_word = span, total_span, word
            line.inner = last in INNER and len(said.parts) <= 1
        return span[1] + (total.end() if total else 0)

    def _inner(self, span: Span, total: re.Match[str] | None) -> int:
        """``42/94`` of a progress bar, ``[50/1000]`` after an epoch."""
        line = self.line
        if line.step is None:
            line.step, line.inner = span, True
            line.steps_total = _total(span, total)
        return span[1] + (total.end() if total else 0)

    def _pair(self, gap: Gap, phrase: str, match: re.Match[str], ratio: re.Match[str] | None, after: str) -> None:
        """Take in a number that has a name, if the name may be a metric's."""
        head, parts, name, what, tail_split, label = phrases.measured(phrase)
        if not parts or len(parts) > 9 or len(head) > 70:
            return
        percent = after.lstrip().startswith("%")
        whole = patterns.WHOLE.fullmatch(match.group()) is not None and not percent and not ratio
        unit = gap.unit
        if unit and what == STRONG and _AVERAGED.issuperset(words(unit)):
            name = f"{name}_{normalise(unit)}"  # "F1 (macro)"
        if self.topic and what != STRONG and all(map(split_of, parts)):
            name, what = f"{normalise(head)}_{self.topic}", STRONG
            parts = words(name)
        elif what == STRONG:
            self.topic = ""
        if unit and what != STRONG and gap.explicit and kind(normalise(unit)) == STRONG:
            name, what, parts, unit = normalise(unit), STRONG, words(unit), ""
        if what in (NEVER, STEP) or (unit and (kind(unit) == NEVER or patterns.UNITS.match(unit))):
            return
        if what != STRONG:
            if len(parts) > (8 if " " not in head else 4):
                return
            alone = gap.alone and patterns.NEXT.match(after) is not None
            if not (gap.separated or gap.explicit == "|" or alone) and not (percent and phrases.is_word(head)):
                return
            if gap.explicit == "is" or (whole and what != SETTING):
                return
        else:
            if not gap.separated and gap.explicit != "|":
                if len(parts) > 2 and not all(map(phrases.known, parts)):
                    name = phrases.nearest(parts)
                if not gap.explicit and (whole or patterns.FROM.search(phrase)):
                    return
            counted = gap.explicit == "|" or not _COUNTS.isdisjoint(parts)
            if whole and not counted and match.group() not in ("0", "1", "100"):
                return  # "precision: 16" is a setting; but rewards may be whole
        name = self._qualified(name, parts, tail_split or (split_of(unit.lower()) if unit else None))
        span = match.span()
        total: Span | None = None
        if ratio and ratio.group(2) is not None:
            span = (span[1] + ratio.start(2), span[1] + ratio.end(2))
        elif ratio:
            if what != STRONG:
                return
            total = _total(span, ratio)
        self.seen[len(self.line.pairs)] = self.last_split
        if len(name) == 1 and unit:
            name, unit = f"{name}_{normalise(unit)}", ""  # D(x)
        self.line.pairs.append(Pair(name, span, what, total, label, unit=unit))

    def _qualified(self, name: str, parts: tuple[str, ...], split: str | None) -> str:
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


def _key(before: str) -> str:
    """The key whose value a brace is: ``'train': {``."""
    before = before.rstrip()
    if not before.endswith((":", "=")):
        return ""
    before = before[:-1].rstrip()
    backwards = (before[:-1] if before.endswith(("'", '"')) else before)[::-1]
    found = patterns.KEY.match(backwards)
    return found.group()[::-1] if found else ""


def _attached(after: str) -> bool:
    """Whether a number has a unit, or is but the beginning of something else."""
    return bool(patterns.ATTACHED.match(after) or patterns.UNITS.match(after)) or after[0] == "/"


def _is_index(value: str, after: str) -> bool:
    return value.isdigit() and len(value) < 4 and patterns.INDEX.match(after) is not None


def _total(span: Span, found: re.Match[str] | None) -> Span | None:
    """Where the m of n/m stands, which was found behind the n at ``span``."""
    return (span[1] + found.start(1), span[1] + found.end(1)) if found else None
