"""What was typed, checked against the table before anything is done, and made unmistakable for fire.

fire calls a function before it rejects a bad flag, guesses types, and lets a switch swallow the next word (FACTS). So
every flag is joined to its value here, unknown ones are refused with the nearest known one, and values stay strings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from sweeper.cli.meant import instead, nearest_command
from sweeper.cli.table import LAUNCH, NAMES, Command, Flag
from sweeper.errors import InputError

SEPARATOR = "\x1f"  # fire's own separator, out of the way of a plain "-"
MOST = 10**9  # no number that is typed is larger


def command_of(words: Sequence[str]) -> tuple[Command, list[str]]:
    """Which command was typed, and its words: the first word names a command, or a sweep file is launched.

    A file that is called like a command is reached as ``./report``. Raises InputError for what is neither file nor
    command, but nearly a command.
    """
    if words and words[0] in NAMES:
        return NAMES[words[0]], list(words[1:])
    first = words[0] if words else ""
    if first and not first.startswith("-") and not os.path.lexists(first):
        if len(words) > 1 and not words[1].startswith("-") and os.path.isfile(words[1]):
            raise InputError(f"there is no command {first!r}: sweep {words[1]} launches that sweep file")
        hint = instead(first)
        if hint:
            raise InputError(f"there is no sweep file and no command {first!r}{hint}")
    return LAUNCH, list(words)


def named(name: str) -> Command:
    """The command of this name. Raises InputError."""
    if name in NAMES:
        return NAMES[name]
    close = nearest_command(name)
    raise InputError(
        f"there is no command {name!r}; " + (f"did you mean {close}?" if close else f"there are: {', '.join(NAMES)}")
    )


def asks_for_help(words: Sequence[str]) -> bool:
    before = words[: words.index("--")] if "--" in words else words
    return "--help" in before or "-h" in before


def normalise(command: Command, words: Sequence[str]) -> list[str]:
    """The words with each flag as ``--name=value``, so that fire can misread none of them.

    Raises InputError for whatever the command does not know.
    """
    flags = {flag.name: flag for flag in command.flags}
    shorts = {f"-{flag.short}": flag.name for flag in command.flags if flag.short}
    joined: dict[str, str] = {}
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            plain += rest
            break
        word = f"--{shorts[word]}" if word in shorts else word
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, given, value = word[2:].partition("=")
        flag = flags.get(name.replace("_", "-")) if word.startswith("--") else None
        if flag is None:
            raise InputError(_unknown(command, word.partition("=")[0]))
        if flag.name in joined:
            raise InputError(f"--{flag.name} was given twice")
        if flag.value and not given:
            if not rest or _is_flag(rest[0], flags):
                raise InputError(f"--{flag.name} wants a value: --{flag.name} {flag.value}")
            value = rest.pop(0)
        joined[flag.name] = _value(flag, value) if flag.value else _switch(flag, value) if given else "True"
    if command.most is not None and len(plain) > command.most:
        usage = f"sweep {'' if command is LAUNCH else command.name + ' '}{command.words}".rstrip()
        raise InputError(f"{plain[command.most]!r} is one word too many: {usage}" + _remark(command, plain))
    return [*(_plain(command, word) for word in plain), *(f"--{name}={value}" for name, value in joined.items())]


def _is_flag(word: str, flags: Mapping[str, Flag]) -> bool:
    return word.startswith("--") and word[2:].partition("=")[0].replace("_", "-") in flags


def _plain(command: Command, word: str) -> str:
    """A word that is no flag, so that fire takes it for none. Raises InputError."""
    if not word.startswith("-") and word != SEPARATOR:
        return word
    if command is LAUNCH and word != "-":
        return f"./{word}"
    raise InputError(f"{word!r} is no {' and no '.join(command.takes) or 'word that this command takes'}")


def _remark(command: Command, plain: Sequence[str]) -> str:
    if command.name == "run-one":
        return f"\n    the command stands behind two dashes: sweep run-one -- {' '.join(plain)}"
    return "\n    one sweep file is launched at a time" if command is LAUNCH else ""


def _value(flag: Flag, value: str) -> str:
    if flag.choices and value not in flag.choices:
        close = get_close_matches(value, flag.choices, 1)
        hint = f"did you mean {close[0]}?" if close else f"it can be {', '.join(flag.choices)}"
        raise InputError(f"--{flag.name} {value}: {hint}")
    return value


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
    close = get_close_matches(word, known, 1, 0.6)
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
    if found > MOST:
        raise InputError(f"--{flag} {value}: that is too many")
    return found


def gpu_count(text: str | None) -> int | str | None:
    """The value of --gpus: a number, or the word all. Raises InputError."""
    return text if text is None or text == "all" else number("gpus", text)


def gpu_memory(text: str) -> int:
    """The value of --gpu-memory in bytes. Raises InputError."""
    from sweeper.spec import parse_size, too_small

    try:
        found = parse_size(text)
    except InputError as error:
        raise InputError(f"--gpu-memory {error}") from None
    if too_small(found):
        raise InputError(f"--gpu-memory {text}: that is only {found:,} bytes; write it like 8GB or 500MB")
    return found


def listing(value: str | None) -> tuple[str, ...]:
    """``a,b`` as a tuple; nothing as an empty one."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def indices(flag: str, value: str | None) -> tuple[int, ...] | None:
    """``0,2`` as numbers. Raises InputError."""
    if value is None:
        return None
    parts = listing(value)
    named = next((part for part in parts if part.startswith(("GPU-", "MIG-"))), None)
    if named is not None:
        raise InputError(
            f"--{flag} takes indices, like --{flag} 0,2 (sweep gpus shows them); "
            f"{named[:80]!r} is a UUID: CUDA_VISIBLE_DEVICES={named[:80]} before sweep limits it to that one"
        )
    found = tuple(number(flag, part) for part in parts)
    if not found:
        raise InputError(f"--{flag}: give indices, like --{flag} 0,2")
    return found


def name_and_runs(words: Sequence[str]) -> tuple[str | None, list[int]]:
    """``digits 7 9-12`` as the name and the runs; a first word that is no number is the name. Raises InputError."""
    rest = list(words)
    name = rest.pop(0) if rest and not _is_runs(rest[0]) else None
    runs: dict[int, None] = {}
    for word in rest:
        if not _is_runs(word):
            raise InputError(f"{word!r} is no run: runs are given by number, like 7 or 9-12")
        first, dash, last = word.partition("-")
        if max(len(first), len(last)) > len(str(MOST)):
            raise InputError(f"there is no run {word[:40]}: that number is too large")
        begin, end = int(first), int(last if dash else first)
        if end < begin:
            raise InputError(f"{word}: the range is empty")
        if end - begin > 1_000_000:
            raise InputError(f"{word}: the range is too large")
        runs.update(dict.fromkeys(range(begin, end + 1)))
    return name, list(runs)


def one(runs: Sequence[int]) -> int | None:
    """The run, where one may be named. Raises InputError for several."""
    if len(runs) > 1:
        raise InputError("one run at a time here (a sweep whose name is a number is given by its folder: runs/2024)")
    return runs[0] if runs else None


def _is_runs(word: str) -> bool:
    first, dash, last = word.partition("-")
    return first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))
