"""What tuning buys: the score to expect from the best of b trials."""

from __future__ import annotations

import math

import numpy as np

from experiments.statistics.checks import Array, require_finite


def budget_curve(scores: Array, *, higher_is_better: bool) -> Array:
    """Expected best score after b = 1 ... n random trials, drawn without replacement from the n that were run.

    V(b) = sum_i C(i - 1, b - 1) / C(n, b) * v_(i), with v sorted from worst to best; unbiased, unlike the form with
    replacement of Dodge et al. 2019, which is low for b near n.

    Args:
        scores: Validation scores of n trials of RANDOM search, shape (n,); a guided sampler such as TPE breaks it.
            Score diverged trials first (`score_failures`).
        higher_is_better: False for losses.

    Returns:
        V(1) ... V(n), shape (n,), unit of the metric.

    Raises:
        ValueError: If there is no trial, or a score is not finite.

    Source:
        Tang et al. 2020, Showing Your Work Doesn't Always Work.
    """
    require_finite(scores=scores)
    ordered = np.sort(scores) if higher_is_better else np.sort(scores)[::-1]
    n = ordered.size
    expected = [
        math.fsum(math.comb(i, b - 1) / math.comb(n, b) * ordered[i] for i in range(b - 1, n)) for b in range(1, n + 1)
    ]
    return np.array(expected)
