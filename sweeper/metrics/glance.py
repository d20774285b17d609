"""A quick look at a line of bytes: may it matter? Most of a log of free text is told apart here and never parsed."""

from __future__ import annotations

import re

from sweeper.metrics.vocabulary import KNOWN_WORDS

_NAMED = re.compile(
    rb"(?:[^\s\d]|[A-Za-z_@]\d{1,4})[\"')\]}]{0,5}\s*(?:[:=]|\xef\xbc\x9a|\xef\xbc\x9d|->|is)>?\s*(?:[\xe2\xf0][\x80-\xbf]{2,3}\s*)*[\"'\[(]*(?:[a-zA-Z_.]+\d*\()?[-+]?\.?(?:\d|nan|inf)",
    re.I,
)
_SHORT = re.compile(rb"\b[FfRr][1-9]\b")
_SIGNS = re.compile(rb"%\||[|%{\xe3-\xed]|\xe2\x94|^\s*\[?\d+[\]:]")
_BEFORE = re.compile(
    rb"(?<![A-Za-z\x80-\xff])([A-Za-z\x80-\xff]+)(?![A-Za-z\x80-\xff])[0-9]*[\s\"')\]}:=|>-]{0,6}(?:is )?[-+]?\.?\d"
)
_LETTERS = bytes(code if (chr(code).isalpha() and code < 128) or code >= 128 else 32 for code in range(256))
_ENDINGS = (b"loss", b"acc", b"accuracy", b"error", b"err", b"reward", b"score", b"rate")
_ENDING = re.compile(rb"(?:%s)(?: |$)" % b"|".join(_ENDINGS))


def may_matter(line: bytes, barren: bool, crowded: bool = False) -> bool:
    """Whether a line may name a metric, a step or a part of the data; quick, and wrong only in saying yes.

    In a ``barren`` log only what stands right before a number counts, or a word for a metric beside a colon or an
    ``=``; in a ``crowded`` one only the latter.
    """
    if crowded and not (b":" in line or b"=" in line or b" is " in line or b"->" in line or b"\xef\xbc" in line):
        return False  # _NAMED cannot be found: most of a text is done with here
    strict = barren or crowded
    if not strict and (_NAMED.search(line) or _SIGNS.search(line)):
        return True
    letters = line.lower().translate(_LETTERS)
    if KNOWN_WORDS.isdisjoint(letters.split()) and not _ENDING.search(letters) and not _SHORT.search(line):
        return False
    if not strict or _NAMED.search(line):
        return True
    if crowded:
        return False
    words = [word.lower() for word in _BEFORE.findall(line)]
    return not KNOWN_WORDS.isdisjoint(words) or any(word.endswith(_ENDINGS) for word in words)
