"""The version of the package, and of what it writes to disk."""

VERSION = "0.1.0"
FORMAT = 1  # of run.json, attempt-N.json and outcome-N.json; raised when an older release could misread them
