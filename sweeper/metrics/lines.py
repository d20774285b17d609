"""One line of a log -> the metrics on it, and where in the training it says we are; without any context."""

from __future__ import annotations

import re
from collections import Counter

from sweeper.metrics import patterns
from sweeper.metrics.names import normalise
from sweeper.metrics.noise import mask
from sweeper.metrics.patterns import NUMBER
from sweeper.metrics.saying import Line, Pair
from sweeper.metrics.scan import Scan
from sweeper.metrics.vocabulary import (
    EPOCHS,
    LABELS,
    NEVER,
    NO_LABELS,
    SETTING,
    STEP,
    STEPS,
    STRONG,
    WEAK,
    kind,
    split_of,
    words,
)

LONGEST = 20_000  # characters: what is printed on a longer line is a dump


def parse(text: str) -> Line:
    """What ``text``, one line without its newline, says."""
    line = Line()
    if len(text) > LONGEST:
        return line
    if _is_dump(text):
        line.dump = True
        return line
    if (found := patterns.COCO.search(text)) is not None:
        line.pairs.append(Pair(_coco(found), found.span(6), STRONG))
        return line
    if (found := patterns.DARKNET.match(text)) is not None:
        line.step, line.step_word = found.span(1), "iteration"
        named = ((2, "loss", STRONG), (3, "avg_loss", STRONG), (4, "rate", SETTING))
        line.pairs += [Pair(name, found.span(group), what) for group, name, what in named]
        return line
    masked = _joint(line, _counted(line, mask(_last_drawn(text))))
    scan = Scan(line, masked)
    end = 0
    for match in NUMBER.finditer(masked):
        if match.start() >= end:
            end = scan.number(match, end)
    _tell_apart(line, scan.seen)
    if line.pairs and (found := patterns.LABEL.match(masked)) and _is_label(found.group(1)):
        label = normalise(found.group(1))
        for pair in line.pairs:
            if not pair.label and not set(words(label)) <= set(words(pair.name)):
                pair.label = label
    return line


def _is_dump(text: str) -> bool:
    """Whether a line is of a dump of settings or the like."""
    if patterns.DUMP_HEAD.match(text) or ("(" in text and (patterns.DUMP.search(text) or patterns.REPR.search(text))):
        return True
    return len(patterns.NOT_NUMBERS.findall(text, 0, 4000)) > 2


def _coco(found: re.Match[str]) -> str:
    """AP, AP50, AP_small, AR_100: as the COCO challenge calls them."""
    precision, low, high, area, most, _ = found.groups()
    name = "ap" if precision == "Precision" else "ar"
    if not high:
        name += low.partition(".")[2][:2].ljust(2, "0")
    return f"{name}_{area}" if area != "all" else name if name != "ar" else f"ar_{most}"


def _is_label(text: str) -> bool:
    return kind(normalise(text)) == WEAK and not any(
        part in NO_LABELS or part in STEPS or part in LABELS or split_of(part) for part in words(text)
    )


def _blanked(text: str, start: int, end: int) -> str:
    return text[:start] + " " * (end - start) + text[end:]


def _last_drawn(text: str) -> str:
    """Of a bar whose redraws were glued to one line, only the last."""
    bars = [match.start() for match in patterns.BAR.finditer(text)] if text.count("%|") + text.count("=") > 1 else []
    return _blanked(text, bars[0], bars[-1]) if len(bars) > 1 else text


def _counted(line: Line, text: str) -> str:
    """Take "after 8 epochs" and "on the 10000 test images" out of the way."""
    match = patterns.COUNTED.search(text)
    if match is None:
        return text
    head, tail = (match.group(2) or "").lower(), match.group(4).lower().split()
    if head or match.group(1).lower() in ("after", "at"):
        if head == "epoch" or any(word in EPOCHS for word in tail):
            line.epoch = match.span(3)
        elif head or any(word in STEPS for word in tail):
            line.step = match.span(3)
    line.split = next((split for word in tail if (split := split_of(word))), None)
    return _blanked(text, match.start(), match.end())


def _joint(line: Line, text: str) -> str:
    """Several names, then as many numbers; what was understood is blanked out."""
    if "@(" in text and (match := patterns.AT.search(text)) is not None:
        names = [f"{normalise(match.group(1))}_{place.strip()}" for place in match.group(2).split(",")]
    elif patterns.JOINED.search(text) and (match := patterns.JOINT.search(text)) is not None:
        names = [normalise(name) for name in re.split(r"[|/,]", match.group(1))]
    else:
        return text
    last = match.lastindex or 0
    numbers = list(NUMBER.finditer(text, match.start(last), match.end(last)))
    kinds = [kind(name) for name in names]
    if len(numbers) != len(names) or STRONG not in kinds:
        return text
    for name, what, number in zip(names, kinds, numbers, strict=True):
        if what not in (NEVER, STEP):
            line.pairs.append(Pair(name, number.span(), what))
    return _blanked(text, match.start(), match.end())


def _tell_apart(line: Line, seen: dict[int, str | None]) -> None:
    """The same word twice on a line: under train and under val, or only said again."""
    several = len(line.pairs) > 1
    units = Counter(name for name, _ in {(pair.name, pair.unit) for pair in line.pairs}) if several else {}
    for pair in line.pairs:
        if pair.unit and units.get(pair.name, 1) > 1:
            pair.name = f"{pair.name}_{normalise(pair.unit)}"
    times = Counter(pair.name for pair in line.pairs) if several else {}
    said: set[str] = set()
    kept = []
    for place, pair in enumerate(line.pairs):
        own = any(map(split_of, words(pair.name)))
        split = seen.get(place)
        again = pair.name in said
        said.add(pair.name)
        if times.get(pair.name, 1) > 1 and not own and split:
            pair.name = f"{split}_{pair.name}"
        elif again:
            continue  # "value: 2.1 ... Best is trial 0 with value: 1.3"
        elif split and not own and pair.kind == STRONG:
            pair.soft = split
        kept.append(pair)
    line.pairs = kept
