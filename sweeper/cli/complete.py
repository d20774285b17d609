"""Completion for bash, zsh and fish: the shells ask ``sweep __complete WORDS...``, so that one table serves all."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sweeper.cli.table import LAUNCH, NAMES, SHELLS, Command
from sweeper.errors import InputError

_SCRIPTS = {
    "bash": r"""_sweep() {
    local IFS=$'\n' words=()
    COMPREPLY=()
    while IFS= read -r line; do words+=("$line"); done < <(sweep __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=("${words[@]}")
    if [ ${#COMPREPLY[@]} -eq 1 ] && [ "${COMPREPLY[0]: -1}" != "/" ]; then compopt +o nospace 2>/dev/null; fi
}
complete -o nospace -o filenames -F _sweep sweep
""",
    "zsh": r"""#compdef sweep
_sweep() {
    local -a found
    found=("${(@f)$(sweep __complete "${words[@]:1:$((CURRENT-1))}" 2>/dev/null)}")
    (( ${#found} )) && [[ -n "${found[1]}" ]] && compadd -f -- "${found[@]}"
}
compdef _sweep sweep
""",
    "fish": r"""function __sweep_complete
    set -l words (commandline -opc) (commandline -ct)
    sweep __complete $words[2..-1] 2>/dev/null
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
    before, word = list(words[:-1]), words[-1] if words else ""
    command = NAMES.get(before[0], LAUNCH) if before else None
    if word.startswith("-"):
        known = (command or LAUNCH).flags
        return [f"--{flag.name}" for flag in known if f"--{flag.name}".startswith(word)]
    if command is None:
        return [name for name in NAMES if name.startswith(word)] + _files(word)
    flag = next((flag for flag in command.flags if before and before[-1] == f"--{flag.name}"), None)
    if flag is not None and flag.value:
        return [choice for choice in flag.choices if choice.startswith(word)] or _files(word)
    return _words(command, before[1:], word)


def _words(command: Command, before: Sequence[str], word: str) -> list[str]:
    if command is LAUNCH:
        return _files(word)
    found: list[str] = []
    if "shell" in command.takes:
        found += [shell for shell in SHELLS if shell.startswith(word)]
    if "name" in command.takes:
        found += [name for name in _names() if name.startswith(word)]
    if "runs" in command.takes and before:
        found += [number for number in _runs(before[0]) if number.startswith(word)]
    return found


def _names() -> list[str]:
    from sweeper import index

    local = index.runs_dir(None)
    here = [entry.name for entry in os.scandir(local) if entry.is_dir()] if local.is_dir() else []
    known = [entry.path.name for entry in index.entries()]
    return list(dict.fromkeys([*known, *(name for name in here if not name.startswith("."))]))


def _runs(name: str) -> list[str]:
    from sweeper import folders, index

    return [str(number) for number, _ in sorted(folders.run_folders(index.find(name)), key=lambda pair: pair[0])]


def _files(word: str) -> list[str]:
    """Folders, and YAML files, that begin so."""
    folder, _, start = word.rpartition("/")
    found = []
    try:
        entries = sorted(os.scandir(folder + "/" if folder or word.startswith("/") else "."), key=lambda e: e.name)
    except OSError:
        return []
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start.startswith(".")):
            continue
        path = f"{folder}/{entry.name}" if "/" in word else entry.name
        if entry.is_dir():
            found.append(path + "/")
        elif entry.name.endswith((".yaml", ".yml")):
            found.append(path)
    return found
