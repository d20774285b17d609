"""One line of a log -> the metrics on it, and where in the training it says we are; without any context."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sweeper.metrics.names import normalise
from sweeper.metrics.vocabulary import (
    EPOCHS,
    INNER,
    METRIC,
    NEVER,
    SETTING,
    STEP,
    STEPS,
    STRONG,
    WEAK,
    kind,
    split_of,
    words,
)

Span = tuple[int, int]
LONGEST = 20_000  # characters: what is printed on a longer line is a dump

NUMBER = re.compile(
    r"(?<![\w@.])(?<![\w)]-)(?<!\w\+)[-+]?"
    r"(?:(?:(?:[1-9]\d{0,2}(?:,\d{3})+(?![\d])|0,\d+(?!\.)|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)\b)"
)
# What looks like numbers or names and is neither; blanked out so that places on the line stay what they are.
_NOISE = re.compile(
    r"""
    \d{4}[-/.]\d\d?[-/.]\d\d?(?:[T_\s]\d\d?[:-]\d\d(?:[:-]\d\d)?)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?   # 2024-10-21 17:41:22.687
    | \b\d\d?[-/](?:\d\d?|[A-Z][a-z]{2})[-/]\d{2,4}\b                               # 21/10/2024
    | \b(?:\d+\s?(?:d|days?),?\s+)?\d+:\d\d(?::\d\d)?(?:[.,]\d+)?\b(?!:)            # 0:12, 1:02:03.5
    | \b[IWEFD]\d{4}\s(?=\s)                                                        # glog: I0725 after its time is gone
    | \b(?:INFO|DEBUG|WARNING|WARN|ERROR|CRITICAL|Level\s\d+)\b(?:[:|])?(?:root:)?  # logging
    | [\w.<>/-]*\w\.(?:py|cc|cpp|cu|h|rs|go):\d+(?:\])?                             # train.py:148]
    | (?:https?|file|s3|gs|tcp)://\S+
    | (?<![\w.])(?:~|\.{1,2})?/[\w.@~+-]+/[^\s,;:'")\]]*                            # /a/path
    | \b\d+\.\d+\.\d+[\w.+-]*                                                       # 1.2.3
    | \b0x[0-9a-fA-F]+
    | (?:±|\+/-|\+-|\\pm)\s*[\d.]+(?:[eE][-+]?\d+)?%?                               # the spread after a mean
    | \b\d+(?:\.\d+)?%\|[^|]*\|                                                     # 45%|####      |
    | [\u2500-\u257f\u2580-\u259f\u2800-\u28ff]{2,}                                 # bars drawn in blocks
    | \[[=>.\s\#-]*[=>\#][=>.\s\#-]*\]                                              # [====>....]
    """,
    re.VERBOSE,
)
_COUNTED = re.compile(  # "train loss after 8 epochs: 0.1", "Accuracy of the network on the 10000 test images: 98 %"
    r"\b(?:after|on|over|at|for|of|in|from|across)\s+(?:the\s+)?(?:first\s+|last\s+|all\s+)?(?:epoch\s+|step\s+)?"
    r"(\d[\d,]*)((?:\s+[^\W\d][\w-]*){0,3}?)(?=\s*(?:[:=]|is\b|was\b))",
    re.IGNORECASE,
)
_TOP = re.compile(r"\b([Tt]op)[ -](?=\d)")
_SEP = re.compile(r"(?:[:=：＝]+>?|->|→)\s*$")
_LINK = re.compile(r"\b(?:is|was|of|to|reached|equals)\s*[:=]?\s*$", re.IGNORECASE)
_CALL = re.compile(r"(?:\btensor|\barray|\bfloat\d*|\bnp\.\w+|\bnumpy\.\w+|\bArray|\bDeviceArray|\bTensor)$")
_CUT = re.compile(
    r"[,;|(){}\[\]<>│┃║•·!?。，；、\t\n&]|\s[-–—*/]+\s|\s{2,}|(?<=\S)[:=：＝]+(?=\s|$)|[-=*#~_]{2,}|[.…](?=\s|$)|(?<=\W)-(?=\s)|"
    r"(?<=\w)[:=](?=[^\W\d])"
)
_PAREN = re.compile(r"\(([^()]{1,24})\)$")
_UNIT_AFTER = re.compile(
    r"\s?(?:[smhd]|ms|us|µs|ns|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|it/s|s/it|[kKMGT]i?B?|B|bytes|[Hh]z|fps|FPS|px|W|"
    r"(?:\w+/(?:s|sec|second|step|it|batch|epoch|min|h|hour))|params|parameters|samples|examples|images|tokens|steps/s|files)\b(?![=:])"
)
_ATTACHED = re.compile(r"[^\W\d]|[@#]|\.\d|-\d|:\d")
_RATIO = re.compile(r"\s?/\s?(\d+(?:\.\d+)?)(?![\w.])(?:\s*\(\s*([-+]?\d+(?:\.\d+)?)\s*%\s*\))?")
_OF = re.compile(r"\s*(?:/|\bof\b|\bout of\b|\bsur\b|\bvon\b|\bde\b|\bиз\b)\s*(\d[\d,]*)(?![\w.]*\d)")
_AFTER_STEP = re.compile(
    r"\s*(?:st|nd|rd|th)?\s*(epochs?|steps?|iterations?|iters?|updates?|轮|个?epoch|回合|步|エポック|에포크)\b", re.I
)
_ORDINAL_CJK = re.compile(r"第\s*$")
_DUMP = re.compile(
    r"\b(?:Namespace|Config(?:uration)?|Arguments|Args|HParams|Hparams|Params|dict|OmegaConf|Box|AttrDict|EasyDict|CfgNode)\(|"
    r"^\W*(?:\w+\s){0,2}(?:args|arguments|config|configuration|hparams|hyper[- ]?param\w*|params|parameters|settings|options|flags)\s*[:=({\[]",
    re.IGNORECASE,
)
_NOT_NUMBERS = re.compile(r"['\"]?[:=]\s*(?:None|null|True|False|true|false|['\"](?![-+.\d]))")
_CONFIG_KEY = re.compile(
    r"['\"]?\w*(?:config|params|hparams|args|hyperparameters|settings|options|kwargs)\w*['\"]?\s*[:=]\s*$", re.I
)
_REPR = re.compile(r"\b[A-Z]\w*\((?:[a-z_]\w*=|$)")
_LABELS = frozenset(
    ["overall", "final", "best", "total", "average", "avg", "mean", "cv", "oof", "holdout", "global", "ema"]
)
SPLIT_LABELS = frozenset(
    [
        "set",
        "results",
        "result",
        "data",
        "dataset",
        "metrics",
        "metric",
        "split",
        "phase",
        "stats",
        "statistics",
        "epoch",
        "step",
        "summary",
        "performance",
        "evaluation",
        "scores",
        "score",
        "mode",
        "stage",
        "report",
        "on",
        "the",
        "in",
        "iter",
    ]
)


@dataclass
class Pair:
    """A name and where its number stands; ``total`` is the m of n/m; ``label`` is what the line begins with.

    The label tells metrics apart that share a name: ``Heun T=5 acc 0.9``, ``Euler T=5 acc 0.8``.
    """

    name: str
    span: Span
    kind: str
    total: Span | None = None
    label: str = ""


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

    @property
    def marks(self) -> bool:
        return self.epoch is not None or self.step is not None


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def mask(text: str) -> str:
    """``text`` with times, versions, paths and progress bars blanked out, of the same length."""
    return _TOP.sub(r"\1_", _NOISE.sub(_blank, text))


def parse(text: str) -> Line:
    """What ``text``, one line without its newline, says."""
    line = Line()
    if len(text) > LONGEST:
        return line
    if _DUMP.search(text) or _REPR.search(text) or len(_NOT_NUMBERS.findall(text, 0, 4000)) >= 3:
        line.dump = True
        return line
    masked = _counted(line, mask(text))
    if "|" in text or "," in text or "/" in text:
        masked = _joint(line, masked)
    scan = _Scan(line, masked)
    end = 0
    for match in NUMBER.finditer(masked):
        if match.start() < end:
            continue
        end = scan.number(match, end)
    _tell_apart(line, scan.seen)
    if line.pairs and (found := _LABEL.match(masked)) and _is_label(found.group(1)):
        label = normalise(found.group(1))
        for pair in line.pairs:
            pair.label = label if not set(words(label)) <= set(words(pair.name)) else ""
    return line


_LABEL = re.compile(r"\W*([^\W\d][\w-]*(?:\s[^\W\d][\w-]*)?)(?::\s+(?=[^\W\d])|\s+[A-Za-z]\w*=\s*\d|\]\s)")
_NO_LABELS = frozenset(
    """wandb info debug warning error root main rank worker stdout stderr log logger output trainer runner engine process
    result results metrics summary final best new current saving saved model train_model""".split()  # noqa: SIM905
)


def _is_label(text: str) -> bool:
    parts = words(text)
    return kind(normalise(text)) == WEAK and not any(
        part in _NO_LABELS or part in STEPS or part in _LABELS or split_of(part) for part in parts
    )


def _counted(line: Line, text: str) -> str:
    match = _COUNTED.search(text)
    if match is None:
        return text
    tail = match.group(2).lower().split()
    if any(word in STEPS for word in tail) or "epoch " in match.group().lower():
        line.epoch = match.span(1)
    splits = [split for word in tail if (split := split_of(word))]
    line.split = splits[0] if splits else None
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]


class _Scan:
    """Goes over the numbers of a line from left to right, and remembers what the words between them said."""

    def __init__(self, line: Line, text: str) -> None:
        self.line = line
        self.text = text
        self.split: str | None = None
        self.label = ""
        self.seen: dict[int, str | None] = {}  # place of a pair -> the part of the data last named before it
        self.last_split: str | None = None
        self.skip = 0  # depth of a nested dict of settings
        self.keys: list[bool] = []
        self.first = True

    def number(self, match: re.Match[str], previous: int) -> int:
        """Take in one number; returns the place up to which the line is dealt with."""
        start, end = match.span()
        gap = self.text[previous:start]
        first, self.first = self.first, False
        if "{" in gap or "}" in gap:
            self._braces(gap)
        phrase, explicit, bracket, unit = self._phrase(gap)
        if self.keys and any(self.keys):
            return end
        after = self.text[end : end + 24]
        if (done := self._step(phrase, gap, match, after, first)) is not None:
            return done
        ratio = _RATIO.match(after)
        if ratio is None and (_ATTACHED.match(after) or _UNIT_AFTER.match(after) or after.startswith("/")):
            self._words(phrase)
            return end
        if bracket == "[" and not after.lstrip().startswith("]"):
            return end
        if not phrase or (bracket == "(" and not explicit):
            return end
        stop = end + ratio.end() if ratio else end
        self._pair(phrase, explicit, match, ratio, unit, after)
        return stop

    def _braces(self, gap: str) -> None:
        for place, letter in enumerate(gap):
            if letter == "{":
                self.keys.append(bool(_CONFIG_KEY.search(gap[:place])))
            elif letter == "}" and self.keys:
                self.keys.pop()

    def _phrase(self, gap: str) -> tuple[str, str, str, str]:
        """The words that name the number after ``gap``: (name, separator, bracket around the number, unit)."""
        text = gap.rstrip()
        bracket = ""
        while text and text[-1] in "[('\"`*":
            if text[-1] in "[(":
                if text[-1] == "(" and (call := _CALL.search(text[:-1])):
                    text = text[: call.start()].rstrip()
                    continue
                bracket = text[-1]
            text = text[:-1].rstrip()
        explicit = ""
        if found := _SEP.search(text):
            explicit = found.group().strip()
            text = text[: found.start()].rstrip()
        elif found := _LINK.search(text):
            explicit = "is"
            text = text[: found.start()].rstrip()
        elif text.endswith(("|", "│", "┃")) and self.text.lstrip()[:1] in "|│┃":
            explicit = "|"
            text = text[:-1].rstrip()
        if explicit and (found := _LINK.search(text)) and found.group().strip().lower() in ("is", "was"):
            text = text[: found.start()].rstrip()
        text = text.rstrip("'\"`* ")
        unit = ""
        if found := _PAREN.search(text):
            unit = found.group(1)
            text = text[: found.start()].rstrip()
        pieces = _CUT.split(text)
        for place, piece in enumerate(pieces[:-1]):
            self._qualifier(piece, pieces[place + 1 :])
        return pieces[-1].strip(" '\"`*#>"), explicit, bracket, unit

    def _qualifier(self, piece: str, rest: list[str]) -> None:
        """Words before a cut: ``Test set:``, ``[valid]``, ``Overall:``."""
        parts = words(piece)
        if not parts or len(parts) > 6:
            return
        splits = {split for part in parts if (split := split_of(part))}
        if len(splits) == 1 and all(split_of(part) or part in SPLIT_LABELS or part in STEPS for part in parts):
            self.split = self.last_split = splits.pop()
            self.label = ""
        elif all(part in _LABELS for part in parts):
            self.label = "_".join(parts)

    def _words(self, phrase: str) -> None:
        """A number that is no metric: its words do not qualify what follows."""

    def _step(self, phrase: str, gap: str, match: re.Match[str], after: str, first: bool) -> int | None:
        line = self.line
        span = match.span()
        value = match.group()
        parts = words(phrase)
        last = parts[-1] if parts else ""
        joined = "_".join(parts)
        word = joined if joined in STEPS else last if last in STEPS else ""
        whole = value.isdigit()
        if word and kind(joined) == STRONG:
            return None
        if not word and whole and (found := _AFTER_STEP.match(after)):
            if _SEP.search(gap.rstrip()):
                return span[1]
            word = found.group(1).lower().lstrip("个")
        if not word and whole and first:
            head = gap.strip()
            if head in ("[", "(") and after[:1] in "])" and not after[1:2] == "[":
                word = "round"
            elif not head and after.startswith(":") and not after[1:2].isdigit():
                word = "iteration"
        total = _OF.match(after) if whole else None
        if not word:
            bar = total is not None and (not parts or gap.rstrip().endswith(("[", ":", "|")) or not gap.strip())
            if bar and not parts:
                return self._inner(span, total)
            if whole and not parts and gap.strip() in ("][", "]["):
                return self._inner(span, total)
            return None
        if kind(word) != STEP and word not in STEPS and word != "round":
            return None
        if any(split_of(part) for part in parts):
            self.split = self.last_split = next(split for part in parts if (split := split_of(part)))
        end = span[1] + (total.end() if total else 0)
        epoch = word in EPOCHS or last in EPOCHS
        total_span = (span[1] + total.start(1), span[1] + total.end(1)) if total else None
        if epoch:
            if line.epoch is None:
                line.epoch, line.epochs_total = span, total_span
        elif whole or value.replace(".", "", 1).isdigit():
            if line.step is None or line.inner:
                line.step, line.steps_total = span, total_span
                line.inner = last in INNER and word not in ("global_step",) and len(parts) <= 1
                line.step_word = word
        return end

    def _inner(self, span: Span, total: re.Match[str] | None) -> int:
        line = self.line
        if line.step is None:
            line.step, line.inner = span, True
            line.steps_total = (span[1] + total.start(1), span[1] + total.end(1)) if total else None
        return span[1] + (total.end() if total else 0)

    def _pair(
        self, phrase: str, explicit: str, match: re.Match[str], ratio: re.Match[str] | None, unit: str, after: str
    ) -> None:
        value = match.group()
        whole = value.lstrip("+-").replace(",", "").isdigit() and not after.lstrip().startswith("%")
        names = [phrase]
        for name in names:
            self._one(name, explicit, match.span(), whole, value, ratio, unit, after)

    def _one(
        self,
        phrase: str,
        explicit: str,
        span: Span,
        whole: bool,
        value: str,
        ratio: re.Match[str] | None,
        unit: str,
        after: str,
    ) -> None:
        head, tail_split = _head(phrase)
        parts = words(head)
        if not parts or len(parts) > 9 or len(head) > 70:
            return
        name = normalise(head)
        what = kind(name)
        if what in (NEVER, STEP):
            return
        if unit and (kind(unit) == NEVER or _UNIT_AFTER.match(unit)):
            return
        strong = what == STRONG
        if explicit in ("", "is", "->", "→") and not strong:
            percent = after.lstrip().startswith("%")
            if explicit or not percent or len(parts) > 2:
                return
        if not strong and len(parts) > 4:
            return
        if explicit == "" and strong:
            if len(parts) > 4 and not all(map(_known, parts)):
                name = _nearest(parts)
            if whole and not ratio:
                return
        if whole and not ratio and (what != STRONG or parts[-1] in ("error", "errors", "precision", "err", "map")):
            if what != SETTING and not (what == STRONG and value in ("0", "1", "100")):
                return
        split = tail_split or (split_of(unit.lower()) if unit else None)
        splits = [found for part in parts if (found := split_of(part))]
        if splits:
            self.last_split = splits[0]
        elif split:
            name = f"{split}_{name}"
        elif self.split:
            for average in ("average_", "avg_", "mean_"):
                name = name.removeprefix(average)
            name = f"{self.split}_{name}"
        elif self.label:
            name = f"{self.label}_{name}"
        total: Span | None = None
        if ratio:
            if ratio.group(2) is not None:
                base = span[1]
                span = (base + ratio.start(2), base + ratio.end(2))
            elif strong:
                total = (span[1] + ratio.start(1), span[1] + ratio.end(1))
            else:
                return
        self.seen[len(self.line.pairs)] = self.last_split
        self.line.pairs.append(Pair(name, span, what, total))


def _known(part: str) -> bool:
    return part in METRIC or split_of(part) is not None


def _nearest(parts: list[str]) -> str:
    """Of a long phrase, the words next to the number: the metric and what qualifies it."""
    return "_".join(parts[-2:]) if len(parts) > 1 and _known(parts[-2]) else parts[-1]


_PREPOSITION = re.compile(
    r"\s(?:of|on|after|at|for|over|in|from|with|across|using|against|between|sur|auf|bei)\s", re.IGNORECASE
)


def _head(phrase: str) -> tuple[str, str | None]:
    """ "Accuracy of the network on the test images" -> ("Accuracy", "test")."""
    phrase = phrase.strip()
    found = _PREPOSITION.search(phrase)
    if found is None:
        return phrase, None
    head, tail = phrase[: found.start()].strip(), phrase[found.end() :]
    split = next((split for word in words(tail) if (split := split_of(word))), None)
    if kind(normalise(head)) != STRONG and kind(normalise(tail)) == STRONG:
        return f"{head} {tail}", None
    return head, split


_JOINT = re.compile(  # "acc|logloss = 0.78|0.47", "loss, acc: 0.3, 0.9"
    r"(?<![\w|/,])((?:[^\W\d][\w-]{0,30}\s?[|/,]\s?)+[^\W\d][\w-]{0,30})[)\]]?\s*[:=]\s*[\[(]?\s*"
    r"((?:[-+]?[\d.]+(?:[eE][-+]?\d+)?%?\s?[|/,]\s?)+[-+]?[\d.]+(?:[eE][-+]?\d+)?)"
)


def _joint(line: Line, text: str) -> str:
    """Several names, then as many numbers; what was understood is blanked out."""
    match = _JOINT.search(text)
    if match is None:
        return text
    names = [normalise(name) for name in re.split(r"[|/,]", match.group(1))]
    numbers = list(NUMBER.finditer(text, match.start(2), match.end(2)))
    kinds = [kind(name) for name in names]
    if len(numbers) != len(names) or STRONG not in kinds:
        return text
    for name, what, number in zip(names, kinds, numbers):
        if what not in (NEVER, STEP):
            line.pairs.append(Pair(name, number.span(), what))
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]


def _tell_apart(line: Line, seen: dict[int, str | None]) -> None:
    """The same word twice on a line: under train and under val."""
    names = [pair.name for pair in line.pairs]
    for place, pair in enumerate(line.pairs):
        if names.count(pair.name) > 1 and (split := seen.get(place)) and not any(map(split_of, words(pair.name))):
            pair.name = f"{split}_{pair.name}"


__all__ = ["SETTING", "STRONG", "WEAK", "Line", "Pair", "Span", "mask", "parse"]
