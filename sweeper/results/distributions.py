"""The two distributions that a report needs, without SciPy: Student's t and F, by the incomplete beta function."""

from __future__ import annotations

import math

_TINY = 1e-300


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b).

    Evaluated by its continued fraction (DLMF 8.17.22) with Lentz's method as modified by Thompson and Barnett (1986).
    """
    if not 0.0 < x < 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction of the mirrored function converges faster
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1.0 / _safe(1.0 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, 300):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _safe(1.0 + term * d)
            c = _safe(1.0 + term / c)
            step = c * d
            total *= step
        if abs(step - 1.0) < 1e-12:
            break
    return front * total


def _safe(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def t_tail(t: float, degrees: float) -> float:
    """P(|T| >= t) of Student's t with so many degrees of freedom."""
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def f_tail(f: float, above: float, below: float) -> float:
    """P(F >= f) of the F distribution with ``above`` and ``below`` degrees of freedom."""
    if f <= 0:
        return 1.0
    return incomplete_beta(below / 2, above / 2, below / (below + above * f))
