"""Rank statistics. Rows are tasks with averaged seeds, or blocks of doses; never task x seed rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from experiments.statistics.checks import Array, differences_of, require_open_share, without_noise


@dataclass(frozen=True, kw_only=True)
class Friedman:
    """Friedman's test. `p` belongs to Iman and Davenport's F, the one to use."""

    n_tasks: int
    n_methods: int
    mean_ranks: tuple[float, ...]
    chi_square: float
    p_chi_square: float
    f_statistic: float
    p: float


@dataclass(frozen=True, kw_only=True)
class SignedRank:
    """Wilcoxon's signed ranks: sums of the ranks where the first is larger and where it is smaller."""

    rank_sum_plus: float
    rank_sum_minus: float
    p: float

    @property
    def statistic(self) -> float:
        """The smaller of the two rank sums, T in Demsar 2006."""
        return min(self.rank_sum_plus, self.rank_sum_minus)


def ranks_of(scores: Array, *, higher_is_better: bool) -> Array:
    """Rank methods within each task, 1 for the best, ties shared, diverged last.

    Args:
        scores: Seed-averaged scores, shape (n_tasks, n_methods); NaN where a method diverged.
        higher_is_better: False for losses and times.

    Returns:
        Mid-ranks, shape (n_tasks, n_methods). Scores equal but for float noise are tied.

    Raises:
        ValueError: If `scores` is not 2-D with at least 2 methods.
    """
    turned = -oriented(scores, higher_is_better=higher_is_better)
    return np.asarray(scipy.stats.rankdata(turned, axis=1), dtype=np.float64)


def oriented(scores: Array, *, higher_is_better: bool) -> Array:
    """Return scores of which higher is better, float noise gone, diverged ones at minus infinity.

    Raises:
        ValueError: If `scores` is not (n_tasks, n_methods) with at least 2 methods.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"`scores` must be (n_tasks, n_methods >= 2), but got shape {scores.shape}")
    finite = np.isfinite(scores)
    tidy = without_noise(scores, magnitude=float(np.max(np.abs(scores[finite]), initial=0.0)))
    return np.where(finite, tidy if higher_is_better else -tidy, -np.inf)


def friedman(mean_ranks: Sequence[float] | Array, *, n_tasks: int) -> Friedman:
    """Friedman's test from mean ranks, with Iman and Davenport's F.

    chi2 = 12 m / (k (k + 1)) * (sum R_j^2 - k (k + 1)^2 / 4), without correction for ties;
    F = (m - 1) chi2 / (m (k - 1) - chi2) ~ F(k - 1, (k - 1)(m - 1)).

    Args:
        mean_ranks: Mean rank of each of k methods, from `ranks_of(...).mean(axis=0)`.
        n_tasks: m; tasks, never task x seed rows, which raise false alarms to 84 % (measured).

    Raises:
        ValueError: If `k >= 2` and `m >= 2` do not hold, or the ranks do not add up to k (k + 1) / 2.

    Source:
        Demsar 2006, J. Mach. Learn. Res. 7:1-30, section 3.2.2; Iman & Davenport 1980.
    """
    ranks = np.asarray(mean_ranks, dtype=np.float64)
    m, k = n_tasks, ranks.size
    if k < 2 or m < 2 or abs(math.fsum(ranks) - k * (k + 1) / 2) > 0.01:
        raise ValueError(f"`k >= 2`, `m >= 2` and ranks that sum to k (k + 1) / 2 must hold, but got {ranks}, m = {m}")
    chi_square = max(0.0, 12 * m / (k * (k + 1)) * (math.fsum(ranks**2) - k * (k + 1) ** 2 / 4))
    rest = m * (k - 1) - chi_square
    all_agree = rest <= 1e-9 * m * k
    f_statistic = math.inf if all_agree else (m - 1) * chi_square / rest
    beyond = float(scipy.stats.f.sf(f_statistic, k - 1, (k - 1) * (m - 1)))
    p = math.factorial(k) ** float(1 - m) if all_agree else beyond
    return Friedman(
        n_tasks=m,
        n_methods=k,
        mean_ranks=tuple(float(rank) for rank in ranks),
        chi_square=chi_square,
        p_chi_square=float(scipy.stats.chi2.sf(chi_square, k - 1)),
        f_statistic=f_statistic,
        p=p,
    )


def signed_rank(first: Array, second: Array, *, method: Literal["exact", "asymptotic"] = "exact") -> SignedRank:
    """Wilcoxon's signed-rank test over tasks; not a test of the mean, so not for seeds.

    Zeros are split evenly between both sums and ties share ranks, after float noise is taken off the differences.

    Args:
        first: Seed-averaged scores, one per task, shape (n_tasks,).
        second: The same for the other method.
        method: "exact" counts sign patterns given the observed ranks, ties included; "asymptotic" is the normal
            limit that Demsar uses. Never chosen by n.

    Raises:
        ValueError: If shapes differ or there is no task.

    Source:
        Wilcoxon 1945; treatment of zeros as in Demsar 2006, section 3.1.3 (scipy: `zero_method="zsplit"`).
    """
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ValueError(f"`first` and `second` must be 1-D of one length, but got {first.shape} and {second.shape}")
    differences = _differences_with_diverged(first, second)
    ranks = scipy.stats.rankdata(np.abs(differences))
    half_of_zeros = float(np.sum(ranks[differences == 0])) / 2
    plus = float(np.sum(ranks[differences > 0])) + half_of_zeros
    minus = float(np.sum(ranks[differences < 0])) + half_of_zeros
    if np.all(differences == 0):
        p = 1.0
    elif method == "exact":
        p = _exact_signed_rank_p(ranks[differences != 0], smaller=min(plus, minus) - half_of_zeros)
    else:
        p = 2 * float(scipy.special.ndtr(-abs(plus - minus) / math.sqrt(math.fsum(ranks**2))))
    return SignedRank(rank_sum_plus=plus, rank_sum_minus=minus, p=p)


def nemenyi_critical_difference(n_methods: int, *, n_tasks: int, alpha: float = 0.05) -> float:
    """Difference of mean ranks that Nemenyi's test needs: q_alpha / sqrt(2) * sqrt(k (k + 1) / (6 m)).

    Raises:
        ValueError: If `n_methods >= 2` and `n_tasks >= 1` do not hold, or alpha is not in (0, 1).

    Source:
        Demsar 2006, section 3.2.2, with the exact studentized range. An option only: it depends on the pool of methods.
    """
    require_open_share(alpha=alpha)
    quantile = float(scipy.stats.studentized_range.ppf(1 - alpha, n_methods, np.inf)) / math.sqrt(2)
    return quantile * rank_difference_error(n_methods, n_tasks=n_tasks)


def rank_difference_error(n_methods: int, *, n_tasks: int) -> float:
    """Standard error of a difference of two mean ranks if all methods are alike: sqrt(k (k + 1) / (6 m)).

    Raises:
        ValueError: If `n_methods >= 2` and `n_tasks >= 1` do not hold.
    """
    if n_methods < 2 or n_tasks < 1:
        raise ValueError(f"`n_methods >= 2` and `n_tasks >= 1` must hold, but got {n_methods} and {n_tasks}")
    return math.sqrt(n_methods * (n_methods + 1) / (6 * n_tasks))


def page_trend(scores: Array, *, method: Literal["exact", "asymptotic"] = "exact") -> tuple[float, float]:
    """Page's L and its p that scores rise from the first dose to the last; a trend declared beforehand.

    Args:
        scores: Shape (n_seeds, n_doses), every seed run at every dose; negate them to test for a fall.
        method: "exact" counts permutations, ties set aside: up to 8 doses; "asymptotic" is the normal limit.

    Raises:
        ValueError: If there are fewer than 2 seeds or 3 doses, or a value is not finite.

    Source:
        Page 1963, J. Am. Stat. Assoc. 58:216-230.
    """
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 3 or not np.isfinite(scores).all():
        raise ValueError(f"`scores` must be finite, (n_seeds >= 2, n_doses >= 3), but got shape {scores.shape}")
    tidy = without_noise(scores, magnitude=float(np.max(np.abs(scores))))
    result = scipy.stats.page_trend_test(tidy, method=method)
    return float(result.statistic), float(result.pvalue)


def _differences_with_diverged(first: Array, second: Array) -> Array:
    both = np.isfinite(first) & np.isfinite(second)
    differences = np.zeros(first.shape)
    differences[both] = differences_of(first[both], second[both])
    differences[np.isfinite(first) & ~both] = np.inf
    differences[np.isfinite(second) & ~both] = -np.inf
    return differences


def _exact_signed_rank_p(ranks: Array, *, smaller: float) -> float:
    """Share of the sign patterns whose positive rank sum is at most `smaller`, twice; doubled ranks are whole."""
    doubled = np.round(2 * ranks).astype(np.int64)
    counts = np.zeros(int(doubled.sum()) + 1)
    counts[0] = 1.0
    for rank in doubled:
        shifted = np.concatenate([np.zeros(rank), counts[: counts.size - rank]])
        counts = (counts + shifted) / 2
    return min(1.0, 2 * float(np.sum(counts[: round(2 * smaller) + 1])))
