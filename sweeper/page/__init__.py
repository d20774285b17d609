"""A report's data made into one HTML file that needs nothing else: no network, no other file.

The data goes into the page as JSON that cannot end its own element, and the page's script shows it by ``textContent``
alone. A Content-Security-Policy lets only the page's own script and style run, by their hashes, and forbids every
request; so even a mistake in that could execute nothing that came out of a log.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from sweeper.version import VERSION

_SCRIPTS = (
    "base.js",
    "charts.js",
    "curves.js",
    "parallel.js",
    "panels.js",
    "timeline.js",
    "table.js",
    "glance.js",
    "main.js",
)


def make_page(data: Mapping[str, Any], *, title: str) -> str:
    """The page as text. ``data`` is what ``sweeper.results`` makes of reports; only finite numbers are in it."""
    script = "(() => {\n'use strict';\n" + "\n".join(_part(name) for name in _SCRIPTS) + "\n})();\n"
    style = _part("style.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _part("page.html").format(
        policy=html.escape(policy, quote=True).replace("&#x27;", "'"),
        title=html.escape(title),
        style=style,
        data=as_script(data),
        script=script,
        version=html.escape(VERSION),
    )


def as_script(data: Mapping[str, Any]) -> str:
    """JSON for inside ``<script type="application/json">``: with no ``<``, ``>`` or ``&`` nothing in it is markup.

    Raises ValueError for NaN and infinities, which JSON has not.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
