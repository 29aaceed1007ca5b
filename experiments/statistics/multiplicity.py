"""Several claims at once: Holm, simultaneous levels, an arm against itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from experiments.statistics.checks import Array, as_array, require_open_share
from experiments.statistics.outcome import Verdict


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Confidence levels of the interval that decides on a difference and of the one that decides on equivalence."""

    difference: float
    equivalence: float


def simultaneous_levels(alpha: float = 0.05, *, n_claims: int) -> Levels:
    """Levels 1 - alpha/K and 1 - 2 alpha/K, so that sentence and picture of K claims cannot disagree.

    Raises:
        ValueError: If `n_claims >= 1` or `0 < alpha < 0.5` does not hold.

    Example:
        >>> simultaneous_levels(0.05, n_claims=5)
        Levels(difference=0.99, equivalence=0.98)
    """
    if n_claims < 1:
        raise ValueError(f"`n_claims >= 1` must hold, but got {n_claims!r}")
    require_open_share(twice_alpha=2 * alpha)
    return Levels(difference=1 - alpha / n_claims, equivalence=1 - 2 * alpha / n_claims)


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm-adjusted p-values of one family, in the order given: max over smaller p of (K - rank) * p, at most 1.

    Raises:
        ValueError: If a p-value is not in [0, 1].

    Source:
        Holm 1979, Scand. J. Stat. 6:65-70.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = as_array(p_values, name="p_values")
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"`0 <= p <= 1` must hold, but got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def with_holm(family: Sequence[Verdict]) -> list[Verdict]:
    """Fill in the Holm-adjusted p-values of a family of primary claims; decisions stay those of the intervals.

    Differences and equivalences are two separate families. A claim without p (not assessed, identical) keeps its
    place in the family.

    Raises:
        ValueError: If a verdict was made for another size of family: picture and sentence would disagree.
    """
    sizes = {verdict.n_claims for verdict in family}
    if sizes - {len(family)}:
        raise ValueError(f"`n_claims == len(family)` must hold, but got {sorted(sizes)} for {len(family)} verdicts")
    differences = _adjusted([verdict.p_difference for verdict in family])
    equivalences = _adjusted([verdict.p_equivalence for verdict in family])
    return [
        replace(verdict, p_difference_holm=difference, p_equivalence_holm=equivalence)
        for verdict, difference, equivalence in zip(family, differences, equivalences, strict=True)
    ]


def control_outcome(attempts: Sequence[Verdict]) -> Literal["passed", "repeat", "invalid", "not_assessed"]:
    """What the control of an arm against itself says about the report: one repetition, then it is invalid.

    Any detected difference fails, also one within the margin and one without spread.

    Args:
        attempts: One or two verdicts of the same arm against itself, on disjoint seeds, at alpha = .01;
            their scores are paired by row (arrays), as no seed is shared.

    Raises:
        ValueError: If there are not 1 or 2 attempts, or one was made above alpha = .01: at .05 one good
            report in 20 would be condemned.
    """
    if len(attempts) not in (1, 2):
        raise ValueError(f"`attempts` must hold 1 or 2 verdicts, but got {len(attempts)}")
    if any(attempt.alpha > 0.01 for attempt in attempts):
        raise ValueError(f"`alpha <= 0.01` must hold, but got {[attempt.alpha for attempt in attempts]}")
    last = attempts[-1].id
    if last == "not_assessed":
        return "not_assessed"
    if last in ("equivalent", "inconclusive", "identical"):
        return "passed"
    return "repeat" if len(attempts) == 1 else "invalid"


def _adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]
