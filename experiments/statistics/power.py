"""How many seeds a claim needs, from the exact power of the two t tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from experiments.statistics.checks import Array, require_open_share, require_positive

MOST_PAIRS = 1_000_000
"""Where a search for enough pairs ends: nobody trains that many, and the density of their spread is but rounding."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def tost_power(
    *,
    standard_error: float,
    degrees_of_freedom: float,
    margin: float,
    true_difference: float = 0.0,
    alpha: float = 0.05,
) -> float:
    """Exact probability that two one-sided t tests show equivalence.

    power = int_0^{(m/se)/t} [Phi((m - delta)/se - t u) - Phi((-m - delta)/se + t u)] * 2 nu u f_chi2(nu u^2; nu) du,
    with t = t_{1-alpha, nu}.

    Args:
        standard_error: True standard error of the mean difference, unit of the metric: sd / sqrt(n) for n pairs,
            sd * sqrt(2 / n) for two independent groups of n.
        degrees_of_freedom: n - 1 for pairs, 2 n - 2 for two groups.
        margin: Equivalence margin m, same unit.
        true_difference: delta, same unit.
        alpha: Level of each one-sided test.

    Raises:
        ValueError: If a standard error, margin or df is not positive, or alpha is not in (0, 1).

    Source:
        Phillips 1990, J. Pharmacokinet. Biopharm. 18:137-144; agrees with PASS (tests, R4).
    """
    require_positive(standard_error=standard_error, degrees_of_freedom=degrees_of_freedom, margin=margin)
    require_open_share(alpha=alpha)
    critical = float(special.stdtrit(degrees_of_freedom, 1 - alpha))
    upper, lower = (margin - true_difference) / standard_error, (-margin - true_difference) / standard_error

    def accepted(spread: Array) -> Array:
        return np.asarray(special.ndtr(upper - critical * spread) - special.ndtr(lower + critical * spread))

    return _mean_over_spread(accepted, degrees_of_freedom, limit=margin / standard_error / critical)


def equivalence_power(
    n_pairs: int, *, margin: float, sd: float, true_difference: float = 0.0, alpha: float = 0.05
) -> float:
    """Exact power of the paired TOST with `n_pairs` whose differences have standard deviation `sd`.

    Args:
        n_pairs: At least 2.
        margin: Equivalence margin, unit of the metric.
        sd: True standard deviation of the paired differences, same unit.
        true_difference: True mean difference, same unit.
        alpha: Level of each one-sided test.

    Raises:
        ValueError: As `tost_power`.
    """
    return tost_power(
        standard_error=sd / math.sqrt(n_pairs),
        degrees_of_freedom=n_pairs - 1,
        margin=margin,
        true_difference=true_difference,
        alpha=alpha,
    )


def pairs_for_equivalence(
    *, margin: float, sd: float, true_difference: float = 0.0, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Fewest pairs (at least 3, at most MOST_PAIRS) that show equivalence with probability `power`.

    Args:
        margin: Equivalence margin, unit of the metric; from the task's config, never from the observed spread.
        sd: Standard deviation of the paired differences, same unit; a pilot of 5 seeds may estimate it.
        true_difference: Assumed true difference, same unit.
        power: Wanted probability.
        alpha: Level; divide it by the number of claims.

    Raises:
        ValueError: If `|true_difference| < margin` does not hold, or an argument is out of range.
    """
    require_positive(margin=margin, sd=sd)
    require_open_share(power=power, alpha=alpha)
    if not abs(true_difference) < margin:
        raise ValueError(f"`|true_difference| < margin` must hold, but got {true_difference!r} and {margin!r}")

    def reached(n_pairs: int) -> bool:
        return equivalence_power(n_pairs, margin=margin, sd=sd, true_difference=true_difference, alpha=alpha) >= power

    return _fewest(reached)


def pairs_for_difference(*, difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Fewest pairs (at least 3, at most MOST_PAIRS) whose t test shows a true difference with probability `power`.

    power = P(|T| > t_{1-alpha/2, n-1}), T noncentral t with n - 1 degrees of freedom and noncentrality
    difference * sqrt(n) / sd.

    Args:
        difference: True mean difference, unit of the metric, not 0.
        sd: Standard deviation of the paired differences, same unit; a pilot of a few seeds may estimate it.
        power: Wanted probability.
        alpha: Level; divide it by the number of claims.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 2.3.
    """
    require_positive(sd=sd, difference=abs(difference))
    require_open_share(power=power, alpha=alpha)

    def reached(n_pairs: int) -> bool:
        df, shift = n_pairs - 1, abs(difference) * math.sqrt(n_pairs) / sd
        critical = float(special.stdtrit(df, 1 - alpha / 2))
        missed = float(special.nctdtr(df, shift, critical)) - float(special.nctdtr(df, shift, -critical))
        return not missed > 1 - power  # far beyond any doubt, scipy has no number

    return _fewest(reached)


def _mean_over_spread(function: Callable[[Array], Array], degrees_of_freedom: float, *, limit: float) -> float:
    """Mean of `function` of u = observed sd / true sd, over u <= limit; u^2 is chi-square over its df."""
    width = 1 / math.sqrt(2 * degrees_of_freedom)  # about the sd of u; beyond 9 of them the density is below 1e-16
    low, high = max(0.0, 1 - 9 * width), min(limit, 1 + 9 * width)
    if not high > low:
        return 0.0
    spread = (high - low) / 2 * (_NODES + 1) + low
    half = degrees_of_freedom / 2
    log_density = (
        math.log(2) + half * math.log(half) - math.lgamma(half) + (2 * half - 1) * np.log(spread) - half * spread**2
    )
    total = np.sum(_WEIGHTS * function(spread) * np.exp(log_density)) * (high - low) / 2
    return max(0.0, min(1.0, float(total)))


def _fewest(reached: Callable[[int], bool]) -> int:
    """Smallest n >= 3 that satisfies a condition which stays true once it is true."""
    low, high = 2, 3
    while not reached(high):
        low, high = high, 2 * high
        if low >= MOST_PAIRS:
            return MOST_PAIRS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
