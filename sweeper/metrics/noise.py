"""What looks like numbers or names on a line and is neither: times, versions, paths, bars. It is blanked out."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_CLOCK = re.compile(r"\d:\d\d").search
_NOT_ASCII = re.compile(r"[^\x00-\x7f]").search
# Each kind, and what a line must have for it to be there at all: a text, and where that tells too little a quick look.
_KINDS: tuple[tuple[str, Callable[[str], object] | None, str], ...] = (
    ("]", re.compile(r"[IWEFD]\d\d\d\d\s").search, r"\b[IWEFD]\d{4}\s\d\d:\d\d:\d\d\.\d+\s+\d+\s[^\s\]]+\]"),  # glog
    (
        "",
        re.compile(r"\d\d\d\d[-/.]\d").search,
        r"\d{4}[-/.]\d\d?[-/.]\d\d?(?:[T_\s]\d\d?[:-]\d\d(?:[:-]\d\d)?)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?",
    ),
    ("/", _CLOCK, r"\b\d\d/\d\d\s\d\d:\d\d:\d\d\b"),  # 01/31 10:00:00
    (
        "",
        re.compile(r"\d[-/](?:\d|[A-Z])").search,
        r"\b\d\d?[-/](?:\d\d?|[A-Z][a-z]{2})[-/]\d{2,4}\b",  # 21/10/2024
    ),
    (":", _CLOCK, r"\b(?:\d+\s?(?:d|days?),?\s+)?\d+:\d\d(?::\d\d)?(?:[.,]\d+)?\b(?!:)"),  # 0:12, 1:02:03.5
    (
        "",
        re.compile(r"INFO|DEBUG|WARN|ERROR|CRITICAL|Level\s").search,
        r"\b(?:INFO|DEBUG|WARNING|WARN|ERROR|CRITICAL|Level\s\d+)\b(?:[:|])?(?:root:)?",  # logging
    ),
    (
        ":",
        re.compile(r"\.(?:py|cc|cpp|cu|h|rs|go):").search,
        r"[\w.<>/-]*\w\.(?:py|cc|cpp|cu|h|rs|go):\d+(?:\])?",  # train.py:148]
    ),
    ("://", None, r"(?:https?|file|s3|gs|tcp)://\S+"),
    ("/", re.compile(r"/[\w.@~+-]+/").search, r"(?<![\w.])(?:~|\.{1,2})?/[\w.@~+-]+/[^\s,;:'\")\]]*"),  # /a/path
    (".", re.compile(r"\d\.\d+\.\d").search, r"\b\d+\.\d+\.\d+[\w.+-]*"),  # 1.2.3
    ("0x", None, r"\b0x[0-9a-fA-F]+"),
    ("", re.compile(r"±|\+/-|\+-|\\pm").search, r"(?:±|\+/-|\+-|\\pm)\s*[\d.]+(?:[eE][-+]?\d+)?%?"),  # after a mean
    ("%|", None, r"\b\d+(?:\.\d+)?%\|[^|]*\|"),  # 45%|####      |
    ("", _NOT_ASCII, r"[\u2500-\u257f\u2580-\u259f\u2800-\u28ff]{2,}"),  # bars drawn in blocks
    ("[", None, r"\[[=>.\s\#-]*[=>\#][=>.\s\#-]*\]"),  # [====>....]
    ("(", None, r"\((?=[^()\d]*[A-Za-z]\s*=?\s+\d)[^()\d]*\d+[^()\d]{0,12}\)(?=\s*[:=])"),  # Reward (last 50):
    ("", _NOT_ASCII, r"[\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]+"),  # pictures
)
_TOP = re.compile(r"\b([Tt]op)[ -](?=\d)")
_STOP = re.compile(r"\.\s")
_SHORT = re.compile(r"\b(Avg|avg|Val|val|Acc|acc|Std|std|Tr|Err|err)\.(?=\s)")


@functools.lru_cache(maxsize=512)
def _pattern(kinds: tuple[int, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(_KINDS[place][2] for place in kinds)) if kinds else None


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def mask(text: str) -> str:
    """``text`` with times, versions, paths and progress bars blanked out, of the same length."""
    kinds = []
    for place, (part, look, _) in enumerate(_KINDS):
        if part in text and (look is None or look(text)):
            kinds.append(place)
    noise = _pattern(tuple(kinds))
    if noise is not None:
        text = noise.sub(_blank, text)
    if "op" in text:
        text = _TOP.sub(r"\1_", text)
    return _SHORT.sub(r"\1_", text) if _STOP.search(text) else text
