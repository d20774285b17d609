"""The report as a pandas DataFrame, and what pandas does for us: ``--where`` queries."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
# pandas-stubs wants a newer Python than the oldest we support, and for that one mypy takes pandas for Any
import keyword
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sweeper.errors import InputError
from sweeper.results.collecting import Report
from sweeper.results.data import Run
from sweeper.results.rows import OWN, SHORT, TIMES, Names, as_text, column_names, flat_rows
from sweeper.results.target import did_you_mean

# What pandas raises on conditions that Python can read and that make no sense, or that it cannot even cut into words
_NONSENSE = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    tokenize.TokenError,
)
_EXAMPLE = "--where \"lr < 0.1 and state == 'done'\""
_INTEGERS = ("run_number", "run_attempts", "run_exit_code", "run_signal")


def frame(reports: Sequence[Report], runs: Sequence[Run] | None = None) -> pd.DataFrame:
    """One row per run of all ``reports`` (or of ``runs``, where there is one report); the columns are those of rows.py.

    Integers with gaps are ``Int64``, booleans with gaps ``boolean``, times ``datetime64[ns, UTC]``; a parameter that
    has values of several kinds is ``object``.
    """
    names = column_names(reports)
    rows = [row for report in reports for row in flat_rows(report, names, runs)]
    columns = {name: _column(name, [row[name] for row in rows], names) for name in names.order}
    return pd.DataFrame(columns, index=range(len(rows)))


def _column(name: str, values: list[Any], names: Names) -> pd.Series[Any]:
    if name in TIMES:
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), utc=True)).astype("datetime64[ns, UTC]")
    if name in _INTEGERS:
        return pd.Series(values, dtype="int64" if None not in values else "Int64")
    if name == "run_wanted":
        return pd.Series(values, dtype="bool")
    if name in names.last.values() or name in names.best.values() or name == "run_seconds":
        return pd.Series(values, dtype="float64")
    if name in OWN:
        return pd.Series(values, dtype="str")
    return _parameter(values)


def _parameter(values: list[Any]) -> pd.Series[Any]:
    values = [as_text(value) if isinstance(value, (list, dict)) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    gaps = None in values
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if gaps else "bool")
    if kinds == {int}:
        if all(abs(value) < 2**63 for value in values if value is not None):
            return pd.Series(values, dtype="Int64" if gaps else "int64")
    elif kinds and kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    elif kinds == {str}:
        return pd.Series(values, dtype="str")
    return pd.Series(values, dtype="object")


def choose(report: Report, where: str) -> set[int]:
    """The numbers of the runs for which the condition ``where`` holds, in the language of ``DataFrame.query``.

    Our own columns may be named without ``run_`` (``state == 'done'``) where nothing else has that name. Raises
    InputError.
    """
    whole = frame([report])
    for short, own in SHORT.items():
        if short not in whole.columns:
            whole[short] = whole[own]
    if "@" in _unquoted(where) or "__" in where:
        raise InputError(f"--where {where!r}: '@' and '__' have no meaning here; name the columns as they are")
    try:
        hits = whole.query(_quoted(where, [str(name) for name in whole.columns]), engine="python")
    except pd.errors.UndefinedVariableError as error:
        missing = re.search(r"name '(.+?)' is not defined", str(error))
        word = missing.group(1) if missing else str(error)
        known = [name for name in whole.columns if name not in SHORT]
        raise InputError(f"--where {where!r}: there is no column {word}{did_you_mean(word, known)}") from error
    except SyntaxError as error:
        raise InputError(f"--where {where!r}: not a condition ({error.msg}); for example: {_EXAMPLE}") from error
    except NotImplementedError as error:  # pandas names the node of Python's grammar
        raise InputError(f"--where {where!r}: not a condition; for example: {_EXAMPLE}") from error
    except _NONSENSE as error:
        raise InputError(f"--where {where!r}: {str(error).splitlines()[0] if str(error) else error!r}") from error
    if not isinstance(hits, pd.DataFrame):
        raise InputError(f"--where {where!r}: not a condition on runs")
    return {int(number) for number in hits["run_number"]}


_STRINGS = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)""")


def _unquoted(text: str) -> str:
    return "".join(_STRINGS.split(text)[::2])


def _quoted(where: str, columns: Iterable[str]) -> str:
    """``where`` with backticks around column names that Python could not read: ``lambda``, ``optim.lr``."""
    words = {"and", "or", "not", "in", "True", "False", "None"}
    odd = [name for name in columns if not name.isidentifier() or (keyword.iskeyword(name) and name not in words)]
    if not odd:
        return where
    choice = "|".join(re.escape(name) for name in sorted(odd, key=len, reverse=True) if "`" not in name)
    pattern = re.compile(rf"(?<![\w.\-/@])(?:{choice})(?![\w.\-/@])")
    parts = _STRINGS.split(where)
    parts[::2] = [pattern.sub(lambda match: f"`{match.group()}`", part) for part in parts[::2]]
    return "".join(parts)


def to_parquet(table: pd.DataFrame, what: Mapping[str, str]) -> bytes:
    """The table as a Parquet file. Columns of several kinds are written as text. Raises InputError without pyarrow."""
    try:
        import pyarrow  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise InputError("--format parquet needs pyarrow: pip install 'sweep-runner[parquet]'") from error
    table = table.copy()
    for name in table.columns:
        if table[name].dtype == "object":
            table[name] = pd.Series([None if value is None else as_text(value) for value in table[name]], dtype="str")
    table.attrs.update(what)
    return bytes(table.to_parquet(index=False, engine="pyarrow"))
