"""Every key of a sweep file except the grid: what it means, its JSON Schema, how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper.model import MAX_SHARE
from sweeper.spec import arguments, values

_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?[wdhms])+)$"},
    ]
}
_SIZE = {
    "anyOf": [
        {"const": 0},
        {"type": "integer", "minimum": 1_000_000},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMGTkmgt]?[iI]?[bB])?$"},
    ]
}


@dataclass(frozen=True)
class Field:
    """A key: what it means, its schema, how its node is read; ``default`` where it is not given."""

    description: str
    schema: dict[str, Any]
    read: values.Read
    default: Any = None


def _integer(least: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least}


_STRING = {"type": "string"}
_TEXT = {"type": "string", "minLength": 1}
_ARGUMENT = {"type": "string", "pattern": r"\{value\}"}

FIELDS: dict[str, Field] = {
    "name": Field(
        "The sweep's name: its folder under runs/ and its tmux session. Default: the file's stem.", _TEXT, values.name
    ),
    "command": Field(
        "What each run does, in bash. Parameters are appended as `args` says, or put where {name} stands; {args}, "
        "{run}, {run_dir} and {sweep} are replaced too, {{ and }} stand for braces.",
        _TEXT,
        values.command,
    ),
    "args": Field(
        'How a parameter is appended: "--{name}={value}" by default, "{name}={value}" for Hydra, "--{name} {value}". '
        'A mapping has texts of their own for true, false and null: {true: "--{name}", false: ""} for switches.',
        {
            "anyOf": [
                _ARGUMENT,
                {
                    "type": "object",
                    "properties": {"default": _ARGUMENT, "true": _STRING, "false": _STRING, "null": _STRING},
                    "additionalProperties": False,
                },
            ]
        },
        arguments.read_arguments,
        arguments.DEFAULT,
    ),
    "workdir": Field(
        "The folder to run in, relative to the sweep file. Default: where sweep was typed.", _TEXT, values.word
    ),
    "env": Field(
        "Environment variables of the runs.",
        {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}},
        values.env,
        {},
    ),
    "before": Field("Bash lines before the command, in the same shell: conda, modules.", _STRING, values.script, ""),
    "timeout": Field("A run is ended after so long: 2h, 90m, 1h30m, 45s, or seconds.", _DURATION, values.positive),
    "grace": Field("Seconds between TERM and KILL when a run is ended. Default: 10.", _DURATION, values.duration, 10.0),
    "retries": Field("How often a failed run is tried again. Default: 0.", _integer(0), values.count(0, 1000), 0),
    "gpus": Field(
        "GPUs that each run takes: a number, or all. Default: 1 where the machine has GPUs.",
        {"anyOf": [_integer(0), {"const": "all"}]},
        values.gpus,
    ),
    "gpus_allowed": Field(
        "Indices of the GPUs that may be used. Default: all.",
        {"anyOf": [_integer(0), {"type": "array", "items": _integer(0), "minItems": 1}]},
        values.indices,
    ),
    "per_gpu": Field(
        "Runs that share one GPU. Default: 1.", {**_integer(1), "maximum": MAX_SHARE}, values.count(1, MAX_SHARE), 1
    ),
    "gpu_memory": Field("Start a run only where so much GPU memory is free: 8GB.", _SIZE, values.size, 0),
    "busy_above": Field(
        "A GPU with more memory than this in use by others is not free. Default: 500MB.",
        _SIZE,
        values.size,
        500_000_000,
    ),
    "ignore_others": Field(
        "Use GPUs on which others compute, too. Default: false.", {"type": "boolean"}, values.boolean, False
    ),
    "keep_free": Field(
        "GPUs of the machine that are left to others. Default: 0.", _integer(0), values.count(0, 1024), 0
    ),
    "hold": Field(
        "A serial chain keeps its GPUs between runs. Default: false.", {"type": "boolean"}, values.boolean, False
    ),
    "retries_oom": Field(
        "Further tries, alone on a GPU, for a run out of memory. Default: 0.", _integer(0), values.count(0, 1000), 0
    ),
    "maximize": Field("The metric by which the report ranks, more is better.", _TEXT, values.word),
    "minimize": Field("The metric by which the report ranks, less is better.", _TEXT, values.word),
    "metrics": Field(
        "Metrics by regular expression (the first group is the number), beside those found by themselves.",
        {"type": "object", "additionalProperties": _TEXT},
        values.metrics,
        {},
    ),
    "notify": Field(
        "A shell command, or an https URL, told when the sweep finishes, first fails or stalls.", _TEXT, values.notify
    ),
    "stall": Field("A run that prints nothing for so long counts as stalled: 30m.", _DURATION, values.positive),
    "canary": Field(
        "So many runs go first, alone; if all of them fail, the sweep stops. Default: 0.",
        _integer(0),
        values.count(0),
        0,
    ),
    "max_failures": Field("The sweep stops after so many failed runs.", _integer(1), values.count(1)),
    "runs_dir": Field(
        "Where runs/<name> is made, relative to the sweep file. Default: ./runs where sweep is typed.",
        _TEXT,
        values.word,
    ),
}
