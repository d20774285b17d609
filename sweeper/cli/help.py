"""Help texts, made from the table; shown before fire sees anything, since fire would open a pager."""

from __future__ import annotations

from sweeper.cli.table import COMMANDS, LAUNCH, Command
from sweeper.version import VERSION


def overview() -> str:
    """``sweep --help``."""
    lines = [
        f"sweep {VERSION}: run a grid of training commands on this machine, and lose nothing.",
        "",
        "  sweep FILE [--parallel N | --serial]   " + LAUNCH.text,
    ]
    width = max(len(f"{command.name} {command.words}") for command in COMMANDS)
    lines += [f"  sweep {f'{command.name} {command.words}':{width}}  {command.text}" for command in COMMANDS]
    lines += ["", "FILE:"] + [_flag_line(flag.name, flag.short, flag.value, flag.text) for flag in LAUNCH.flags]
    lines += [
        "",
        "NAME is the sweep used last where it is left out. sweep COMMAND --help shows a command's flags.",
        f"For example: {LAUNCH.example}",
    ]
    return "\n".join(lines)


def of(command: Command) -> str:
    """``sweep COMMAND --help``."""
    if command is LAUNCH:
        return overview()
    lines = [f"sweep {command.name} {command.words}".rstrip(), "", f"  {command.text}", ""]
    lines += [_flag_line(flag.name, flag.short, flag.value, flag.text) for flag in command.flags]
    lines += ([""] if command.flags else []) + [f"For example: {command.example}"]
    return "\n".join(lines)


def _flag_line(name: str, short: str, value: str, text: str) -> str:
    shown = (f"-{short}, " if short else "") + f"--{name}" + (f" {value}" if value else "")
    return f"  {shown:26}  {text}"
