"""Runs of two arms, joined on the seed, with the failed ones kept and counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.statistics.checks import Array, Scores, as_array


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Scores of two arms, row by row of the same seed, in the order of the seeds.

    `n_runs` and `n_failed` count both arms, also where the partner is missing.
    """

    seeds: tuple[int, ...]
    first: Array  # (n_pairs,)
    second: Array  # (n_pairs,)
    n_runs: int
    n_failed: int
    n_unpaired: int


def by_seed(scores: Scores, *, name: str = "scores") -> dict[int, float]:
    """Return seed -> score in the order of the seeds; an array counts its rows 0, 1, 2, ... as seeds."""
    if isinstance(scores, Mapping):
        return {seed: float(scores[seed]) for seed in sorted(scores)}
    return {row: float(score) for row, score in enumerate(as_array(scores, name=name))}


def score_failures(scores: Scores, *, chance_level: float) -> dict[int, float]:
    """Give each diverged run the chance level of its task, so that it stays in n.

    Args:
        scores: seed -> final score; NaN or infinite where the run diverged.
        chance_level: What guessing scores, declared in the task's config, unit of the metric.

    Returns:
        seed -> score, all finite, in the order of the seeds.

    Raises:
        ValueError: If `chance_level` is not finite.

    Note:
        The primary analysis scores failures; dropping them without a word would favour the arm that fails more.

    Example:
        >>> score_failures({0: 0.98, 1: math.nan}, chance_level=0.1)
        {0: 0.98, 1: 0.1}
    """
    if not math.isfinite(chance_level):
        raise ValueError(f"`chance_level` must be finite, but got {chance_level!r}")
    return {seed: score if math.isfinite(score) else chance_level for seed, score in by_seed(scores).items()}


def pair_by_seed(first: Scores, second: Scores, *, failure_score: float | None = None) -> Pairs:
    """Join two arms on the seed; a missing run never shifts the others.

    Args:
        first: seed -> score, or an array whose rows are the seeds; NaN or infinite where the run failed.
        second: The same for the other arm.
        failure_score: What a failed run scores (the task's chance level). None leaves its pair out: the
            analysis is then conditional on success and must be labelled so.

    Raises:
        ValueError: If both are arrays of different length, or only one is a mapping.
    """
    _require_same_kind(first, second)
    left, right = by_seed(first, name="first"), by_seed(second, name="second")
    n_runs, n_failed = len(left) + len(right), _count_failed(left) + _count_failed(right)
    if failure_score is not None:
        left = score_failures(left, chance_level=failure_score)
        right = score_failures(right, chance_level=failure_score)
    shared = [seed for seed in left if seed in right]
    usable = [seed for seed in shared if math.isfinite(left[seed]) and math.isfinite(right[seed])]
    return Pairs(
        seeds=tuple(usable),
        first=np.array([left[seed] for seed in usable], dtype=np.float64),
        second=np.array([right[seed] for seed in usable], dtype=np.float64),
        n_runs=n_runs,
        n_failed=n_failed,
        n_unpaired=n_runs - 2 * len(shared),
    )


def mean(values: Array | Sequence[float]) -> float:
    """Return the mean, correctly rounded: the order of the rows cannot change it."""
    return math.fsum(values) / len(values)


def standard_deviation(values: Array | Sequence[float]) -> float:
    """Return the standard deviation with n - 1, 0 only for equal values; the order of the rows cannot change it."""
    center = mean(values)
    deviations, factor = _enlarged(np.array([value - center for value in values]))
    return math.sqrt(math.fsum(deviations**2) / (len(values) - 1)) / factor


def _enlarged(deviations: Array) -> tuple[Array, float]:
    """The deviations, shape (n,), times a power of two where their squares would vanish (1e-200), and that factor."""
    factor = 2.0**600 if np.max(np.abs(deviations)) < 2.0**-400 else 1.0
    return deviations * factor, factor


def correlation(first: Array, second: Array) -> float | None:
    """Return Pearson's r of the pairs, or None where an arm does not vary.

    It says what pairing was worth: sd(differences) = sd(scores) * sqrt(2 (1 - r)).
    """
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    left, right = (_enlarged(side - mean(side))[0] for side in (first, second))
    product = math.fsum(left * right) / math.sqrt(math.fsum(left**2) * math.fsum(right**2))
    return max(-1.0, min(1.0, product))


def _count_failed(scores: Mapping[int, float]) -> int:
    return sum(not math.isfinite(score) for score in scores.values())


def _require_same_kind(first: Scores, second: Scores) -> None:
    if isinstance(first, Mapping) != isinstance(second, Mapping):
        raise ValueError("`first` and `second` must both map seeds to scores, but got a mapping and an array")
    if not isinstance(first, Mapping) and len(first) != len(second):
        raise ValueError(
            f"`len(first) == len(second)` must hold, but got {len(first)} and {len(second)}; "
            "pass seed -> score mappings to join arms with missing runs"
        )
