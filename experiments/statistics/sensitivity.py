"""What stands in small print beside a verdict, and never replaces it: exact sign flips, shift, Bayes, outperforming."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from experiments.statistics.checks import Array, Scores, differences_of, require_finite, require_share
from experiments.statistics.intervals import MINIMUM_RUNS, Estimate
from experiments.statistics.pairing import mean, pair_by_seed, standard_deviation

_MOST_FLIPPED = 40


@dataclass(frozen=True, kw_only=True)
class Outperforming:
    """Chance that A beats B on the same seed, with what may be said about it."""

    estimate: Estimate
    gamma: float
    decision: str


def sign_flip_p(differences: Array) -> float:
    """Exact two-sided p of the mean under random signs: share of the 2^n sign patterns at least as far from 0.

    Args:
        differences: Paired differences, shape (n,), at most 40 of them; zeros are flipped too.

    Raises:
        ValueError: If there are none or more than 40, or one is not finite.

    Source:
        Fisher 1935, The Design of Experiments, section 21. With n pairs it cannot fall below 2^(1 - n).
    """
    require_finite(differences=differences)
    if differences.size > _MOST_FLIPPED:
        raise ValueError(f"`n <= {_MOST_FLIPPED}` must hold for exact sign flips, but got {differences.size}")
    middle = differences.size // 2
    left, right = _signed_sums(differences[:middle]), np.sort(_signed_sums(differences[middle:]))
    tolerance = 1e-10 * float(np.sum(np.abs(differences)))
    far = abs(math.fsum(differences)) - tolerance
    above = right.size - np.searchsorted(right, far - left, side="left")
    return min(1.0, 2 * float(np.sum(above)) / 2.0**differences.size)  # as many patterns lie as far below


def hodges_lehmann_shift(differences: Array) -> float:
    """Median of the means of all pairs of differences, each with itself too: a shift that outliers hardly move.

    Raises:
        ValueError: If there are no differences, or one is not finite.

    Source:
        Hodges & Lehmann 1963, Ann. Math. Stat. 34:598-611.
    """
    require_finite(differences=differences)
    rows, columns = np.triu_indices(differences.size)
    return float(np.median((differences[rows] + differences[columns]) / 2))


def posterior_shares(differences: Array, *, rope: float = 0.0, correlation: float = 0.0) -> tuple[float, float, float]:
    """Posterior probability of (B better, practically equivalent, A better), from the correlated Bayesian t test.

    mu ~ t_{n-1}(mean(d), sd(d)^2 * (1/n + rho / (1 - rho))), cut at -rope and +rope.

    Args:
        differences: A - B, oriented so that + means A is better, shape (n,), at least 3 of them.
        rope: Half-width of the region of practical equivalence: the margin, same unit.
        correlation: rho; 0 for independent seeds, 1/folds for cross-validation.

    Raises:
        ValueError: If there are fewer than 3 differences, all are equal, or `0 <= correlation < 1` does not hold.

    Source:
        Corani & Benavoli 2015, Mach. Learn. 100:285-304; Benavoli et al. 2017, J. Mach. Learn. Res. 18(77):1-36.
    """
    require_finite(MINIMUM_RUNS, differences=differences)
    if not (0 <= correlation < 1 and rope >= 0):
        raise ValueError(f"`0 <= correlation < 1` and `rope >= 0` must hold, but got {correlation!r} and {rope!r}")
    center, sd, n = mean(differences), standard_deviation(differences), differences.size
    if sd == 0:
        raise ValueError(f"`differences` must vary, but got {center} everywhere: check determinism")
    spread = sd * math.sqrt(1 / n + correlation / (1 - correlation))
    below = float(special.stdtr(n - 1, (-rope - center) / spread))
    above = float(special.stdtr(n - 1, (center - rope) / spread))
    return below, max(0.0, 1 - below - above), above


def probability_of_outperforming(
    first: Scores,
    second: Scores,
    *,
    higher_is_better: bool,
    rng: np.random.Generator,
    gamma: float = 0.75,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Outperforming:
    """Chance that A scores above B on the same seed: mean of 1[d > 0] + 1/2 1[d = 0], bootstrap over pairs.

    Args:
        first: Scores of arm A, seed -> score or one row per seed; score failed runs first.
        second: The same for arm B.
        higher_is_better: False for losses.
        rng: Source of the resampling.
        gamma: Chance that would be a meaningful improvement.
        level: Level of the percentile interval.
        n_resamples: Bootstrap samples of the pairs.

    Returns:
        The estimate; decision "shown and meaningful" if low > 1/2 and high > gamma, "shown but not meaningful" if
        only low > 1/2, else "not shown". With 10 seeds it seldom decides.

    Raises:
        ValueError: If a run failed without a score, or fewer than 3 pairs share a seed.

    Source:
        Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks.
    """
    require_share(gamma=gamma, level=level)
    pairs = pair_by_seed(first, second)
    if pairs.n_failed:
        raise ValueError(f"scores must be finite, but got {pairs.n_failed} not finite; see score_failures")
    differences = differences_of(pairs.first, pairs.second) * (1 if higher_is_better else -1)
    require_finite(MINIMUM_RUNS, differences=differences)
    won = np.sort((np.sign(differences) + 1) / 2)  # (n_pairs,), sorted: the order of the rows must not matter
    resampled = won[rng.integers(won.size, size=(n_resamples, won.size))].mean(axis=1)
    low, high = (float(q) for q in np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2]))
    decision = "not shown" if low <= 0.5 else "shown and meaningful" if high > gamma else "shown but not meaningful"
    estimate = Estimate(
        value=float(np.mean(won)), low=low, high=high, level=level, n=won.size, method="percentile bootstrap over pairs"
    )
    return Outperforming(estimate=estimate, gamma=gamma, decision=decision)


def _signed_sums(values: Array) -> Array:
    """All 2^n sums of the values with either sign."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
