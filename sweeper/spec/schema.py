"""The JSON Schema of sweep files, for editors."""

from __future__ import annotations

from typing import Any

from sweeper.spec.fields import FIELDS
from sweeper.spec.generators import GENERATORS

GRID_KEYS = {
    "grid": "The parameters and their values: a mapping is their product (the last key fastest), a list of mappings "
    "the union. A value is a list, one value, {range: [0, 3]}, {linspace: [a, b, n]}, {logspace: [a, b, n]} or {value: "
    "...} which quotes; `a,b` are parameters that vary together; a list item {sgd: {momentum: [0, 0.9]}} is a choice.",
    "repeat": "Like grid, and multiplied with it; the report averages over these parameters: {seed: [0, 1, 2]}.",
    "exclude": 'Points to leave out: {lr: 0.1, hidden: 64} or an expression like "lr * batch_size > 10".',
    "include": "Points to add, whatever exclude says; a parameter that an entry leaves out is not passed.",
}


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of a whole sweep file."""
    grid = {"anyOf": [{"$ref": "#/$defs/parameters"}, {"type": "array", "items": {"$ref": "#/$defs/parameters"}}]}
    shapes: dict[str, dict[str, Any]] = {
        "grid": {"anyOf": [*grid["anyOf"], {"type": "null"}]},
        "repeat": {"anyOf": [*grid["anyOf"], {"type": "null"}]},
        "include": {"anyOf": [*grid["anyOf"], {"type": "null"}]},
        "exclude": {
            "anyOf": [
                {"$ref": "#/$defs/exclusion"},
                {"type": "array", "items": {"$ref": "#/$defs/exclusion"}},
                {"type": "null"},
            ]
        },
    }
    properties: dict[str, Any] = {}
    for key, field in FIELDS.items():
        properties[key] = {"description": field.description, **field.schema}
        if key == "command":
            properties |= {name: {"description": text, **shapes[name]} for name, text in GRID_KEYS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sweep file",
        "type": "object",
        "properties": properties,
        "required": ["command"],
        "not": {"required": ["maximize", "minimize"]},
        "additionalProperties": False,
        "$defs": {
            "parameters": {
                "type": "object",
                "propertyNames": {"not": {"enum": ["run", "args", "run_dir", "sweep"]}},
                "additionalProperties": {"$ref": "#/$defs/values"},
            },
            "values": {
                "anyOf": [
                    {"type": ["string", "number", "boolean", "null"]},
                    {"type": "array", "minItems": 1},
                    {"$ref": "#/$defs/generator"},
                    {
                        "type": "object",
                        "not": {"anyOf": [{"required": [word], "maxProperties": 1} for word in GENERATORS]},
                    },
                ]
            },
            "generator": {
                "type": "object",
                "maxProperties": 1,
                "anyOf": [
                    {
                        "required": ["range"],
                        "properties": {
                            "range": {
                                "anyOf": [
                                    {"type": "integer"},
                                    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
                                ]
                            }
                        },
                    },
                    *(
                        {
                            "required": [word],
                            "properties": {
                                word: {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
                            },
                        }
                        for word in ("linspace", "logspace")
                    ),
                ],
            },
            "exclusion": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "object", "minProperties": 1}]},
        },
    }
