"""Numbers as a person reads them: as many digits as tell the values apart, no more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def digits_for(values: Iterable[float]) -> int:
    """How many significant digits a column of ``values`` needs so that its distinct values look distinct: 3 to 6."""
    finite = sorted({value for value in values if math.isfinite(value)})
    for digits in (3, 4, 5):
        if len({f"{value:.{digits}g}" for value in finite}) >= 0.9 * len(finite):
            return digits
    return 6 if finite else 3


def number(value: float | None, digits: int = 4) -> str:
    """``0.9812``, ``0.033``, ``1.2e-05``, ``1234.5``: up to so many significant digits, and no zeros that only fill up.

    "nan" and "inf" as they are, "" for None. Integers keep all their digits.
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    if 1e-4 <= abs(value) < 10**digits:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if decimals else text
    if abs(value) < 1e7 and abs(value) >= 1:
        return f"{value:.0f}"
    size, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{size.rstrip('0').rstrip('.') if '.' in size else size}e{power}"


def total(values: Iterable[float]) -> float:
    """Their exact sum; infinite or NaN where it is beyond what a float holds (losses that diverged reach that)."""
    known = list(values)
    try:
        return math.fsum(known)
    except (OverflowError, ValueError):
        return sum(known)


def squares(values: Iterable[float], mean: float) -> float:
    """The sum of squared distances from ``mean``; infinite beyond what a float holds (``**`` would raise)."""
    return total((value - mean) * (value - mean) for value in values)


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """The mean (NaN of nothing) and the sample standard deviation (NaN of fewer than two)."""
    if not values:
        return math.nan, math.nan
    mean = total(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, math.sqrt(squares(values, mean) / (len(values) - 1))


def places_for(means: Iterable[float], stds: Iterable[float]) -> int | None:
    """How many decimals a column of means with standard deviations needs: two digits of the usual deviation.

    None where the numbers are so small or large that they are written with an exponent, and where nothing deviates.
    """
    sizes = sorted(abs(mean) for mean in means if math.isfinite(mean) and mean)
    spreads = sorted(std for std in stds if math.isfinite(std) and std > 0)
    if sizes and (sizes[-1] >= 1e7 or sizes[-1] < 1e-3):
        return None
    if not spreads:
        return None
    return min(8, max(0, 1 - math.floor(math.log10(spreads[len(spreads) // 2]))))


def mean_std(mean: float, std: float, places: int | None) -> tuple[str, str]:
    """A mean and its standard deviation with so many decimals; the latter is "" where there is none."""
    if places is None or not math.isfinite(mean):
        return number(mean, 4), number(std, 2) if math.isfinite(std) else ""
    return f"{mean:.{places}f}", f"{std:.{places}f}" if math.isfinite(std) else ""


def percent(share: float) -> str:
    """``71%``; ``<1%`` for what is there but small."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"
