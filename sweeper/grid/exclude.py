"""What ``exclude`` matches: each rule is tried once per combination of only the axes that it mentions."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import simpleeval

from sweeper.errors import Problem, SpecError
from sweeper.spec import Product, Rule, Spec, nearest
from sweeper.spec.options import Option, Options
from sweeper.spec.reader import MAX_PROBLEMS
from sweeper.spec.rules import same

_BITS = 10_000  # of a power's or product's result
_NODES: tuple[type[ast.AST], ...] = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Compare, ast.Eq, ast.NotEq),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.Call, ast.Name, ast.Load),
    *(ast.Constant, ast.List, ast.Tuple, ast.Subscript, ast.IfExp),
)
_DEPTH = 40


class Matcher(Protocol):
    """A rule, ready to be tried on products."""

    def mask(self, product: Product) -> bytes | None:
        """A byte for each point, 1 where the rule matches; None where it matches none."""


class WhereMatcher:
    """A mapping: every parameter that it names has one of the values given."""

    def __init__(self, where: dict[str, frozenset[str]]) -> None:
        self.where = where

    def mask(self, product: Product) -> bytes | None:
        if not self.where.keys() <= product.known:
            return None
        mask, size = b"\1", 1
        for axis in reversed(product.axes):
            named = [name for name in self.where if name in axis.names]
            if named:
                zeros = bytes(size)
                mask = b"".join(mask if self._fits(option, named) else zeros for option in axis)
            else:
                mask *= axis.size
            size *= axis.size
        return mask

    def _fits(self, option: Option, names: list[str]) -> bool:
        return all(name in option and same(option[name].value) in self.where[name] for name in names)


class ExpressionMatcher:
    """An expression of simpleeval's; it matches no point that lacks a parameter it names."""

    def __init__(self, rule: Rule, file: str, tree: ast.Expression, names: frozenset[str]) -> None:
        self.rule, self.file, self.tree, self.names = rule, file, tree.body, names
        self.evaluator = simpleeval.EvalWithCompoundTypes(operators=_OPERATORS, functions=dict(_FUNCTIONS), names={})

    def mask(self, product: Product) -> bytes | None:
        if not self.names <= product.known:
            return None
        axes: list[Options] = []
        repeats = [1]  # how often each point of the axes mentioned stands there, by the axes between and after them
        for axis in product.axes:
            if self.names.isdisjoint(axis.names):
                repeats[-1] *= axis.size
            else:
                axes.append(axis)
                repeats.append(1)
        return self._masked(axes, repeats[1:], {}) * repeats[0]

    def _masked(self, axes: list[Options], repeats: list[int], values: dict[str, Any]) -> bytes:
        """The mask of the product of ``axes``, with the parameters of the axes before them given."""
        if not axes:
            return bytes((self._matches(values),))
        parts = []
        for option in axes[0]:
            given = {name: option[name].value for name in option if name in self.names}
            parts.append(self._masked(axes[1:], repeats[1:], {**values, **given}) * repeats[0])
        return b"".join(parts)

    def _matches(self, values: dict[str, Any]) -> bool:
        if len(values) < len(self.names):
            return False
        self.evaluator.names = values
        try:
            return bool(self.evaluator.eval(self.rule.expression, previously_parsed=self.tree))
        except (simpleeval.InvalidExpression, ArithmeticError, LookupError, TypeError, ValueError) as error:
            given = ", ".join(f"{name}={str(value)[:40]!s}" for name, value in sorted(values.items()))
            remedy = "Guard it (`lr is not None and lr > 1`), or use the mapping form."
            raise _error(self.rule, self.file, f"fails for {given}: {error}", remedy) from error


def matchers(spec: Spec, products: Sequence[Product]) -> list[Matcher]:
    """All rules of ``exclude``. Raises SpecError with every mistake in them."""
    known = frozenset(name for product in products for name in product.known)
    found: list[Matcher] = []
    problems: list[Problem] = []
    for rule in spec.exclude:
        if len(problems) >= MAX_PROBLEMS:
            break
        try:
            if rule.where is not None:
                _check_names(rule, spec.shown, rule.where, known)
                found.append(WhereMatcher(rule.where))
            else:
                tree, names = _parse(rule, spec.shown, known)
                _check_names(rule, spec.shown, names, known)
                found.append(ExpressionMatcher(rule, spec.shown, tree, names))
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(spec.shown, problems)
    return found


def _error(rule: Rule, file: str, message: str, remedy: str = "") -> SpecError:
    return SpecError(file, [Problem(message, rule.line, rule.column, rule.key, remedy)])


def _check_names(rule: Rule, file: str, names: Any, known: frozenset[str]) -> None:
    problems = []
    for name in names:
        if name not in known:
            meant = nearest(name, [*known, *_FUNCTIONS])
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            listed = f"The parameters are {', '.join(sorted(known)[:20])}{more}."
            remedy = f"Did you mean {meant}?" if meant else listed
            problems.append(
                Problem(f"no point has a parameter {name[:60]!r}", rule.line, rule.column, rule.key, remedy)
            )
    if problems:
        raise SpecError(file, problems)


class _Dotted(ast.NodeTransformer):
    """``model.lr`` is one name here: a parameter may be called so, and attributes are never read."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        parts = [node.attr]
        inner: ast.expr = node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise SyntaxError("it reads an attribute")
        return ast.copy_location(ast.Name(".".join([inner.id, *reversed(parts)]), ast.Load()), node)


def _parse(rule: Rule, file: str, known: frozenset[str]) -> tuple[ast.Expression, frozenset[str]]:
    text = (rule.expression or "").strip()
    remedy = "Comparisons, and/or/not, arithmetic, in [...], and " + ", ".join(_FUNCTIONS) + "."
    try:
        tree = _Dotted().visit(ast.parse(text, mode="eval"))
        ast.fix_missing_locations(tree)
        _check_depth(tree)
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _error(rule, file, f"{text[:60]!r} is not an expression: {reason}", remedy) from error
    except (RecursionError, MemoryError) as error:
        raise _error(rule, file, "is nested too deeply", remedy) from error
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = set()
    for node in ast.walk(tree):
        if not isinstance(node, _NODES) or (isinstance(node, ast.Call) and node.keywords):
            raise _error(rule, file, f"{type(node).__name__} is not allowed in an expression", remedy)
        if isinstance(node, ast.Name) and id(node) not in functions:
            names.add(node.id)
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            raise _error(rule, file, f"calls {ast.unparse(node.func)[:60]}, which is no function here", remedy)
    return tree, frozenset(names)


def _check_depth(tree: ast.AST) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _number(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{type(value).__name__} is no number")
    return value


def _power(a: Any, b: Any) -> Any:
    _number(a), _number(b)
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * abs(b) > _BITS:
        raise ValueError("the power is too large")
    return a**b


def _round(number: Any, digits: int = 0) -> Any:
    return round(_number(number), max(-300, min(300, digits)) if digits else None)


def _between(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Arithmetic of numbers alone: with strings, * and % make as much text as one asks for."""
    return lambda a, b: function(_number(a), _number(b))


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    kind: function
    for kind, function in simpleeval.DEFAULT_OPERATORS.items()
    if kind in _NODES and kind not in (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
} | {
    ast.Add: _between(lambda a, b: a + b),
    ast.Sub: _between(lambda a, b: a - b),
    ast.Mult: _between(lambda a, b: a * b),
    ast.Div: _between(lambda a, b: a / b),
    ast.FloorDiv: _between(lambda a, b: a // b),
    ast.Mod: _between(lambda a, b: a % b),
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "len": len,
    "round": _round,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "sqrt": math.sqrt,
    "exp": math.exp,
}
