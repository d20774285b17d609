"""What was typed, checked against the table before anything is done, and made unmistakable for fire.

fire calls a function before it rejects a bad flag, guesses types, and lets a switch swallow the next word (FACTS). So
every flag is joined to its value here, unknown ones are refused with the nearest known one, and values stay strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from sweeper.cli.table import LAUNCH, NAMES, Command, Flag
from sweeper.errors import InputError


def command_of(words: Sequence[str]) -> tuple[Command, list[str]]:
    """Which command was typed, and its words: the first word names a command, or a sweep file is launched.

    A file that is called like a command is reached as ``./report``.
    """
    if words and words[0] in NAMES:
        return NAMES[words[0]], list(words[1:])
    return LAUNCH, list(words)


def normalise(command: Command, words: Sequence[str]) -> list[str]:
    """The words with each flag as ``--name=value``. Raises InputError for whatever the command does not know."""
    flags = {flag.name: flag for flag in command.flags}
    shorts = {flag.short: flag for flag in command.flags if flag.short}
    joined: list[str] = []
    plain: list[str] = []
    seen: set[str] = set()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            plain += rest
            break
        if len(word) == 2 and word[0] == "-" and word[1] in shorts:
            word = f"--{shorts[word[1]].name}"
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, given, value = word[2:].partition("=")
        flag = flags.get(name.replace("_", "-")) if word.startswith("--") else None
        if flag is None:
            raise InputError(_unknown(command, word.partition("=")[0]))
        if flag.name in seen:
            raise InputError(f"--{flag.name} was given twice")
        seen.add(flag.name)
        if not flag.value:
            joined.append(f"--{flag.name}={_switch(flag, value) if given else 'True'}")
            continue
        if not given:
            if not rest or rest[0].split("=")[0][2:] in flags:
                raise InputError(f"--{flag.name} wants a value: --{flag.name} {flag.value}")
            value = rest.pop(0)
        joined.append(f"--{flag.name}={value}")
    if command.most is not None and len(plain) > command.most:
        usage = f"sweep {'' if command is LAUNCH else command.name + ' '}{command.words}".rstrip()
        raise InputError(f"{plain[command.most]!r} is one word too many: {usage}" + _after_file(command, plain))
    return [*plain, *joined]


def _after_file(command: Command, plain: Sequence[str]) -> str:
    if command is not LAUNCH:
        return ""
    close = get_close_matches(plain[0], NAMES, 1)
    return f"\n    did you mean sweep {close[0]}?" if close else "\n    one sweep file is launched at a time"


def _switch(flag: Flag, value: str) -> str:
    low = value.lower()
    if low in ("true", "yes", "1"):
        return "True"
    if low in ("false", "no", "0"):
        return "False"
    raise InputError(f"--{flag.name}={value}: this flag takes no value (or true, false)")


def _unknown(command: Command, word: str) -> str:
    known = [f"--{flag.name}" for flag in command.flags]
    where = "sweep FILE" if command is LAUNCH else f"sweep {command.name}"
    close = get_close_matches(word, known, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"it knows {', '.join(known)}" if known else "it takes no flags"
    return f"{where} knows no flag {word}; {hint}"


def number(flag: str, value: str, *, least: int = 0) -> int:
    """A flag's value as a whole number. Raises InputError."""
    try:
        found = int(value)
    except ValueError:
        raise InputError(f"--{flag} {value}: give a whole number") from None
    if found < least:
        raise InputError(f"--{flag} {value}: give {least} or more")
    return found


def listing(value: str | None) -> tuple[str, ...]:
    """``a,b`` as a tuple; nothing as an empty one."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def indices(flag: str, value: str | None) -> tuple[int, ...] | None:
    """``0,2`` as numbers. Raises InputError."""
    if value is None:
        return None
    found = tuple(number(flag, part) for part in listing(value))
    if not found:
        raise InputError(f"--{flag}: give indices, like --{flag} 0,2")
    return found


def name_and_runs(words: Sequence[str]) -> tuple[str | None, list[int]]:
    """``digits 7 9-12`` as the name and the runs; a first word that is no number is the name. Raises InputError."""
    rest = list(words)
    name = rest.pop(0) if rest and not _is_runs(rest[0]) else None
    runs: list[int] = []
    for word in rest:
        if not _is_runs(word):
            raise InputError(f"{word!r} is no run: runs are given by number, like 7 or 9-12")
        first, _, last = word.partition("-")
        if last and int(last) < int(first):
            raise InputError(f"{word}: the range is empty")
        if last and int(last) - int(first) > 1_000_000:
            raise InputError(f"{word}: the range is too large")
        runs += range(int(first), int(last or first) + 1)
    return name, list(dict.fromkeys(runs))


def _is_runs(word: str) -> bool:
    first, dash, last = word.partition("-")
    return first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))
