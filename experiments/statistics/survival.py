"""Time to target, where some runs never get there: those are censored at the budget, never dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from experiments.statistics.checks import Array, require_finite, require_open_share, require_positive
from experiments.statistics.intervals import Estimate


@dataclass(frozen=True)
class TargetTimes:
    """When each run of one arm reached the target; `reached` is False where the budget ended first.

    Raises:
        ValueError: If shapes differ, there is no run, or a time is negative or not finite.
    """

    times: Array  # (n_runs,), seconds or steps
    reached: npt.NDArray[np.bool_]  # (n_runs,)

    def __post_init__(self) -> None:
        require_finite(times=self.times)
        if self.times.ndim != 1 or self.reached.shape != self.times.shape or np.min(self.times) < 0:
            raise ValueError(
                "`times` and `reached` must be 1-D of one length, times >= 0, "
                f"but got {self.times.shape} and {self.reached.shape}, least time {np.min(self.times)}"
            )


@dataclass(frozen=True, kw_only=True)
class SurvivalCurve:
    """Share of runs that have not reached the target yet, stepping down at each time of `times`."""

    times: Array  # (n_steps,), times at which a run reached the target
    survival: Array  # (n_steps,), value from this time on
    low: Array
    high: Array
    n_at_risk: Array
    n_reached: Array
    median: float | None
    """First time by which half of the runs got there, or None if they did not."""
    level: float


def time_to_target(
    times: Array, scores: Array, *, target: float, higher_is_better: bool, budget: float
) -> tuple[float, bool]:
    """Time of the first evaluation at the target that the next evaluation confirms; else the budget, not reached.

    Args:
        times: Times of the evaluations, rising, shape (n_evaluations,); compile time included.
        scores: Metric at those times, same shape; NaN never counts as reached.
        target: From the task's config, never from the runs that are compared.
        higher_is_better: False for losses.
        budget: Common limit of all runs, same unit as `times`.

    Returns:
        (time, reached): the truth lies between the previous evaluation and this time; evaluate equally often.

    Raises:
        ValueError: If shapes differ, times do not rise, or `budget > 0` does not hold.
    """
    require_positive(budget=budget)
    if times.shape != scores.shape or times.ndim != 1 or np.any(np.diff(times) <= 0):
        raise ValueError(f"`times` must rise and match `scores`, but got {times.shape} and {scores.shape}")
    good = (scores >= target) if higher_is_better else (scores <= target)
    confirmed = np.flatnonzero(good[:-1] & good[1:] & (times[:-1] <= budget))
    return (float(times[confirmed[0]]), True) if confirmed.size else (budget, False)


def kaplan_meier(runs: TargetTimes, *, level: float = 0.95) -> SurvivalCurve:
    """Share of runs still on their way: S(t) = prod (1 - d_i / n_i), with a log-log band at each time.

    Source:
        Kaplan & Meier 1958, J. Am. Stat. Assoc. 53:457-481; variance by Greenwood 1926.
    """
    require_open_share(level=level)
    times, at_risk, reached = _table(runs)
    survival: Array = np.cumprod(1 - reached / at_risk, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(reached / (at_risk * (at_risk - reached)))  # of log S
        spread = float(scipy.special.ndtri((1 + level) / 2)) * np.sqrt(variance) / np.abs(np.log(survival))
        low, high = survival ** np.exp(spread), survival ** np.exp(-spread)
    defined = (survival > 0) & (survival < 1)
    half = np.flatnonzero(survival <= 0.5 + 1e-12)
    return SurvivalCurve(
        times=times,
        survival=survival,
        low=np.where(defined, low, survival),
        high=np.where(defined, high, survival),
        n_at_risk=at_risk,
        n_reached=reached,
        median=float(times[half[0]]) if half.size else None,
        level=level,
    )


def log_rank(first: TargetTimes, second: TargetTimes) -> tuple[float, float] | None:
    """Log-rank chi-square with 1 df and its p; None if no run of either arm reached the target.

    Source:
        Mantel 1966, Cancer Chemother. Rep. 50:163-170, as in `scipy.stats.logrank`.
    """
    if not (first.reached.any() or second.reached.any()):
        return None
    left, right = (scipy.stats.CensoredData.right_censored(arm.times, ~arm.reached) for arm in (first, second))
    result = scipy.stats.logrank(left, right)
    return float(result.statistic) ** 2, float(result.pvalue)


def restricted_mean(runs: TargetTimes, *, horizon: float, level: float = 0.95) -> Estimate:
    """Mean time to target within `horizon`: mu = int_0^tau S.

    Var(mu) = sum_i (int_{t_i}^tau S)^2 d_i / (n_i (n_i - d_i)).

    Args:
        runs: Times of one arm.
        horizon: tau, the common budget, same unit.
        level: Level of the normal interval.

    Raises:
        ValueError: If the horizon lies beyond what was observed while runs were still on their way.

    Source:
        Royston & Parmar 2013, BMC Med. Res. Methodol. 13:152.
    """
    value, error = _restricted_mean_and_error(runs, horizon=horizon)
    return _normal_estimate(value, error=error, level=level, n=runs.times.size)


def restricted_mean_difference(
    first: TargetTimes, second: TargetTimes, *, horizon: float, level: float = 0.95
) -> Estimate:
    """Difference first - second of the restricted mean times; positive: the first arm takes longer.

    Args:
        first: Times of one arm.
        second: Times of the other, same unit, other runs.
        horizon: tau, the common budget, same unit.
        level: Level of the normal interval.

    Raises:
        ValueError: As `restricted_mean`.
    """
    (left, left_error), (right, right_error) = (
        _restricted_mean_and_error(arm, horizon=horizon) for arm in (first, second)
    )
    n_runs = first.times.size + second.times.size
    return _normal_estimate(left - right, error=math.hypot(left_error, right_error), level=level, n=n_runs)


def median_best(studies: Sequence[Sequence[float]]) -> float:
    """Median over studies of the best time in each, where a miss is infinite and takes part.

    Raises:
        ValueError: If there is no study, or one without a trial.

    Source:
        Dahl et al. 2023, Benchmarking Neural Network Training Algorithms (AlgoPerf), external tuning ruleset.
    """
    if not studies or not all(len(study) for study in studies):
        raise ValueError(f"`studies` must hold at least 1 trial each, but got {[len(study) for study in studies]}")
    best = sorted(min(study) for study in studies)
    middle = len(best) // 2
    return best[middle] if len(best) % 2 else (best[middle - 1] + best[middle]) / 2


def time_ratios(times: Array) -> Array:
    """Ratio of each method's time to the fastest one of the task; infinite where it never got there.

    Args:
        times: Times to target, shape (n_methods, n_tasks); infinite where not reached.

    Raises:
        ValueError: If a time is NaN or not positive.
    """
    if times.ndim != 2 or not np.all(times > 0):
        raise ValueError(f"`times` must be (n_methods, n_tasks), all > 0, but got shape {times.shape}")
    best = times.min(axis=0)
    return np.where(np.isinf(times), np.inf, times / np.where(np.isinf(best), 1.0, best))


def dolan_more_profile(times: Array, *, ratios: Array) -> Array:
    """Share of tasks that each method solves within `ratio` times the fastest: (n_methods, n_ratios).

    Raises:
        ValueError: As `time_ratios`.

    Source:
        Dolan & More 2002, Math. Program. 91:201-213.
    """
    within = time_ratios(times)[:, :, np.newaxis] <= ratios
    return np.asarray(within.mean(axis=1), dtype=np.float64)


def algoperf_scores(times: Array, *, largest_ratio: float = 4.0) -> Array:
    """Area under each method's Dolan-More profile from 1 to r_max: sum_w max(0, r_max - r_w) / (n (r_max - 1)).

    Args:
        times: Times to target, shape (n_methods, n_tasks); infinite where not reached.
        largest_ratio: r_max.

    Returns:
        Scores in [0, 1], shape (n_methods,), exact where the reference code sums 100 trapezoids.

    Raises:
        ValueError: If `largest_ratio > 1` does not hold, or as `time_ratios`.

    Source:
        Dahl et al. 2023, Benchmarking Neural Network Training Algorithms (AlgoPerf).
    """
    require_positive(largest_ratio_minus_1=largest_ratio - 1)
    shortfall = np.maximum(0.0, largest_ratio - time_ratios(times))
    return np.asarray(shortfall.mean(axis=1) / (largest_ratio - 1), dtype=np.float64)


def _table(runs: TargetTimes) -> tuple[Array, Array, Array]:
    """Distinct times at which a run reached the target, the runs at risk then, and those that reached it."""
    times = np.unique(runs.times[runs.reached])
    at_risk = np.array([np.sum(runs.times >= time) for time in times], dtype=np.float64)
    reached = np.array([np.sum((runs.times == time) & runs.reached) for time in times], dtype=np.float64)
    return times, at_risk, reached


def _restricted_mean_and_error(runs: TargetTimes, *, horizon: float) -> tuple[float, float]:
    require_positive(horizon=horizon)
    times, at_risk, reached = _table(runs)
    survival = np.cumprod(1 - reached / at_risk)
    last = float(np.max(runs.times))
    if horizon > last and (survival.size == 0 or survival[-1] > 0):
        raise ValueError(f"`horizon <= last observed time` must hold with censored runs, but got {horizon} > {last}")
    inside = times < horizon
    edges = np.concatenate([[0.0], times[inside], [horizon]])
    areas = np.diff(edges) * np.concatenate([[1.0], survival[inside]])
    beyond = np.cumsum(areas[::-1])[::-1][1:]  # area from each step to the horizon
    at_risk, reached = at_risk[inside], reached[inside]
    left = np.maximum(at_risk - reached, 1e-300)  # nobody left: the area beyond is 0
    variance = np.where(beyond > 0, beyond**2 * reached / (at_risk * left), 0.0)
    return math.fsum(areas), math.sqrt(math.fsum(variance))


def _normal_estimate(value: float, *, error: float, level: float, n: int) -> Estimate:
    require_open_share(level=level)
    half_width = float(scipy.special.ndtri((1 + level) / 2)) * error
    low, high = value - half_width, value + half_width
    return Estimate(value=value, low=low, high=high, level=level, n=n, method="normal, restricted mean")
