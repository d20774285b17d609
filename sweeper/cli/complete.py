"""Completion for bash, zsh and fish: the shells ask ``sweep __complete WORDS...``, so that one table serves all."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sweeper.cli.table import LAUNCH, NAMES, SHELLS, Command
from sweeper.errors import InputError

_SCRIPTS = {
    "bash": r"""_sweep() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do COMPREPLY+=("$line"); done \
        < <(sweep __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ ${#COMPREPLY[@]} -eq 1 ] && [ "${COMPREPLY[0]: -1}" != "/" ]; then compopt +o nospace 2>/dev/null; fi
}
complete -o nospace -o filenames -F _sweep sweep
""",
    "zsh": r"""#compdef sweep
_sweep() {
    local -a found folders
    found=("${(@f)$(sweep __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    folders=("${(@M)found:#*/}")
    found=("${(@)found:#*/}")
    found=("${(@)found:#}")
    (( ${#found} )) && compadd -- "${found[@]}"
    (( ${#folders} )) && compadd -f -S '' -- "${folders[@]}"
}
if [ "${funcstack[1]}" = "_sweep" ]; then _sweep "$@"; else compdef _sweep sweep; fi
""",
    "fish": r"""function __sweep_complete
    set -l words (commandline -opc)
    set -e words[1]
    sweep __complete $words (commandline -ct) 2>/dev/null
end
complete -c sweep -f -a '(__sweep_complete)'
""",
}


def script(shell: str) -> str:
    """The completion script of a shell. Raises InputError for one that we do not know."""
    if shell not in _SCRIPTS:
        raise InputError(f"completion for {shell!r} is not there: it knows {', '.join(SHELLS)}")
    return _SCRIPTS[shell]


def candidates(words: Sequence[str]) -> list[str]:
    """What may stand in the place of the last of ``words`` (those after ``sweep``)."""
    before, word = _joined(words)
    command = NAMES.get(before[0], LAUNCH) if before else None
    if before and command is not None and command.name == "run-one" and "--" in before:
        return []
    name, equals, begun = word.partition("=")
    if name.startswith("--") and equals:  # one word in zsh and fish; bash breaks it up
        return [f"{name}={value}" for value in _values(command or LAUNCH, name, begun)]
    if word.startswith("-"):
        known = (command or LAUNCH).flags
        return [f"--{flag.name}" for flag in known if f"--{flag.name}".startswith(word)]
    if command is None:
        return [name for name in NAMES if name.startswith(word)] + _files(word)
    if _wants(command, before[-1]):
        return _values(command, before[-1], word)
    return _words(command, _plain(command, before if command is LAUNCH else before[1:]), word)


def _joined(words: Sequence[str]) -> tuple[list[str], str]:
    """The words before the last, and the last; bash makes three of ``--format=j``."""
    before, word = list(words[:-1]), words[-1] if words else ""
    if word == "=":
        word = ""
    elif before and before[-1] == "=":
        before.pop()
    return before, word


def _wants(command: Command, word: str) -> bool:
    """Whether ``word`` is a flag whose value comes next."""
    return any(flag.value and word in (f"--{flag.name}", f"-{flag.short}") for flag in command.flags)


def _values(command: Command, name: str, begun: str) -> list[str]:
    flag = next((flag for flag in command.flags if name in (f"--{flag.name}", f"-{flag.short}")), None)
    if flag is None or not flag.value:
        return []
    if flag.choices:
        return [choice for choice in flag.choices if choice.startswith(begun)]
    return _files(begun, yaml=False) if flag.value in ("FOLDER", "FILE") else []


def _plain(command: Command, before: Sequence[str]) -> list[str]:
    """The words so far that are no flags, nor their values."""
    found: list[str] = []
    value = False
    for word in before:
        if not value and not word.startswith("-"):
            found.append(word)
        value = not value and _wants(command, word)
    return found


def _words(command: Command, plain: Sequence[str], word: str) -> list[str]:
    if command.most is not None and len(plain) >= command.most:
        return []
    if command is LAUNCH:
        return _files(word)
    found: list[str] = []
    if "shell" in command.takes:
        found += [shell for shell in SHELLS if shell.startswith(word)]
    if "name" in command.takes and (not plain or "runs" not in command.takes):
        found += [name for name in _names() if name.startswith(word)]
    if "runs" in command.takes and plain:
        found += [number for number in _runs(plain[0]) if number.startswith(word) and number not in plain]
    return found


def _names() -> list[str]:
    from sweeper import index

    local = index.runs_dir(None)
    there = sorted(local.iterdir()) if local.is_dir() else []
    here = [path.name for path in there if not path.name.startswith(".") and index.is_sweep(path)]
    known = [entry.path.name for entry in index.entries()]
    return list(dict.fromkeys([*known, *here]))


def _runs(name: str) -> list[str]:
    from sweeper import folders, index

    return [str(number) for number, _ in sorted(folders.run_folders(index.find(name)), key=lambda pair: pair[0])]


def _files(word: str, *, yaml: bool = True) -> list[str]:
    """Folders that begin so, and YAML files (or all)."""
    folder, _, start = word.rpartition("/")
    found = []
    try:
        entries = sorted(os.scandir(folder + "/" if folder or word.startswith("/") else "."), key=lambda e: e.name)
    except OSError:
        return []
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start.startswith(".")):
            continue
        if not entry.name.isprintable():
            continue  # a line each, and words for a shell
        path = f"{folder}/{entry.name}" if "/" in word else entry.name
        if entry.is_dir():
            found.append(path + "/")
        elif not yaml or entry.name.endswith((".yaml", ".yml")):
            found.append(path)
    return found
