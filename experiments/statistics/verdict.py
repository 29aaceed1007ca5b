"""The one verdict function: two arms, paired by seed, and what may be said about them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from experiments.statistics.agreement import CrossedError
from experiments.statistics.checks import (
    Scores,
    are_equal_but_for_rounding,
    differences_of,
    require_open_share,
    require_positive,
)
from experiments.statistics.intervals import MINIMUM_RUNS, t_bounds
from experiments.statistics.multiplicity import simultaneous_levels
from experiments.statistics.outcome import Interval, Verdict, decide, decide_without_spread
from experiments.statistics.pairing import Pairs, correlation, mean, pair_by_seed, standard_deviation
from experiments.statistics.power import pairs_for_equivalence
from experiments.statistics.wording import sentence_of

ON_THIS_TEST_SET = "on this test set"
ON_NEW_DATA = "on new data from the same source"

_UNIT_MISTAKE_SHARE = 0.1
"""A margin below this share of a metric's bounds is hardly points taken for a fraction; settings refuse larger ones."""
_ROUNDING = 1e-6  # what a mean may leave outside of its bounds


def verdict(
    first: Scores,
    second: Scores,
    *,
    margin: float | None,
    higher_is_better: bool,
    n_planned: int,
    names: tuple[str, str] = ("A", "B"),
    metric: str = "score",
    unit: str = "",
    scale: float = 1.0,
    bounds: Interval | None = None,
    failure_score: float | None = None,
    new_data: CrossedError | None = None,
    n_claims: int = 1,
    n_looks: int = 1,
    alpha: float = 0.05,
) -> Verdict:
    """Say what the paired runs of two arms show: better, equivalent, or neither.

    d_i = A_i - B_i, oriented so that + means A is better; interval d +- t_{nu} * se with se = s_d / sqrt(n),
    nu = n - 1; p_difference = 2 P(t > |d| / se); p_equivalence = max(P(t > (d + m) / se), P(t < (d - m) / se)).

    Args:
        first: Final scores of arm A: seed -> score, or an array whose rows are the seeds; NaN where a run failed.
        second: The same for arm B.
        margin: Equivalence and practical margin m, in the unit of the scores, from the task's config; one computed
            from the observed spread is not a margin. None: only a difference can be shown.
        higher_is_better: False for losses and times.
        n_planned: Pairs in the plan, as printed when there are too few.
        names: Names of the two arms, as printed.
        metric: Name of the metric, as printed.
        unit: Unit as printed, such as "pp"; empty for losses.
        scale: Factor from the scores to `unit`: 100 for accuracies in [0, 1] shown in pp.
        bounds: Lowest and highest possible score of a bounded metric; guards against a margin in the wrong unit.
        failure_score: Chance level that a failed run scores. None: failed pairs are left out and it is said so.
        new_data: Crossed error of the same runs, to widen the scope from this test set to new data.
        n_claims: Size K of the family of primary claims; intervals become simultaneous: alpha / K.
        n_looks: How often this comparison is looked at while seeds are added; divides alpha once more.
        alpha: Level; .01 for the control of an arm against itself.

    Returns:
        The record with its sentence. Swapping the arms flips signs and keeps every p; row order changes nothing.

    Raises:
        ValueError: If a setting is out of range, the arms cannot be joined, or the margin looks like a wrong unit.

    Source:
        Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657-680 (two one-sided tests).
    """
    require_open_share(alpha=alpha)
    require_positive(scale=scale, n_claims=n_claims, n_looks=n_looks)
    pairs = pair_by_seed(first, second, failure_score=failure_score)
    if margin is not None:
        _require_sane_margin(margin, pairs, bounds=bounds)
    measured = _measure(pairs, margin=margin, higher_is_better=higher_is_better, new_data=new_data)
    levels = simultaneous_levels(alpha / n_looks, n_claims=n_claims)
    record = Verdict(
        names=names,
        metric=metric,
        unit=unit,
        scale=scale,
        higher_is_better=higher_is_better,
        scope=ON_THIS_TEST_SET if new_data is None else ON_NEW_DATA,
        seeds=pairs.seeds,
        differences=measured.differences,
        n=len(pairs.seeds),
        n_planned=n_planned,
        n_runs=pairs.n_runs,
        n_failed=pairs.n_failed,
        n_unpaired=pairs.n_unpaired,
        failure_score=failure_score,
        n_examples=None if new_data is None else new_data.n_examples,
        mean_difference=measured.mean,
        sd=measured.sd,
        standard_error=measured.standard_error,
        difference_level=levels.difference,
        equivalence_level=levels.equivalence,
        correlation=correlation(pairs.first, pairs.second),
        margin=margin,
        alpha=alpha,
        n_claims=n_claims,
        n_looks=n_looks,
    )
    is_same = are_equal_but_for_rounding(pairs.first, pairs.second)
    if is_same or not measured.standard_error:
        record = _without_spread(record, is_same=is_same)
    else:
        record = _with_spread(record, measured)
    return replace(record, sentence=sentence_of(record))


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Oriented differences and their error; None where not defined."""

    differences: tuple[float, ...]
    mean: float | None = None
    sd: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float = math.nan


def _measure(pairs: Pairs, *, margin: float | None, higher_is_better: bool, new_data: CrossedError | None) -> _Measured:
    sign = 1.0 if higher_is_better else -1.0
    raw = sign * differences_of(pairs.first, pairs.second)
    differences, n = tuple(float(d) + 0.0 for d in raw), raw.size
    if n == 0:
        return _Measured(differences=())
    center = mean(raw)
    if n < MINIMUM_RUNS:
        return _Measured(differences=differences, mean=center)
    sd = 0.0 if np.ptp(raw) == 0 else standard_deviation(raw)
    error, freedom = sd / math.sqrt(n), n - 1.0
    if new_data is not None:
        _require_same_runs(new_data, mean_difference=center, n=n, higher_is_better=higher_is_better)
        error, freedom = new_data.standard_error, new_data.degrees_of_freedom
    return _Measured(differences=differences, mean=center, sd=sd, standard_error=error, degrees_of_freedom=freedom)


def _without_spread(record: Verdict, *, is_same: bool) -> Verdict:
    if record.every_run_failed:
        return record  # every run failed: equal chance levels are no sign of equivalence
    constant = 0.0 if is_same else record.differences[0]
    return replace(record, id=decide_without_spread(record.n, constant=constant))


def _with_spread(record: Verdict, measured: _Measured) -> Verdict:
    center, error, freedom = measured.mean or 0.0, measured.standard_error or 0.0, measured.degrees_of_freedom
    difference, equivalence = (
        t_bounds(center, standard_error=error, degrees_of_freedom=freedom, level=level)
        for level in (record.difference_level, record.equivalence_level)
    )
    margin, outcome = record.margin, decide(difference, equivalence, margin=record.margin)
    return replace(
        record,
        id=outcome,
        ci95=difference,
        ci90=equivalence,
        p_difference=2 * float(special.stdtr(freedom, -abs(center) / error)),
        p_equivalence=None if margin is None else tost_p(center, error=error, freedom=freedom, margin=margin),
        pairs_needed=_pairs_needed(record) if outcome == "inconclusive" else None,
    )


def tost_p(center: float, *, error: float, freedom: float, margin: float) -> float:
    """Larger p of the two one-sided t tests against -margin and +margin.

    Args:
        center: Observed mean difference.
        error: Its standard error, same unit, > 0.
        freedom: Degrees of freedom of the standard error.
        margin: Equivalence margin, same unit.
    """
    above_low = float(special.stdtr(freedom, -(center + margin) / error))
    below_high = float(special.stdtr(freedom, (center - margin) / error))
    return max(above_low, below_high)


def _pairs_needed(record: Verdict) -> int | None:
    if record.margin is None or not record.sd or record.scope == ON_NEW_DATA:
        return None
    alpha = record.alpha / (record.n_claims * record.n_looks)
    return pairs_for_equivalence(margin=record.margin, sd=record.sd, alpha=alpha)


def _require_sane_margin(margin: float, pairs: Pairs, *, bounds: Interval | None) -> None:
    """Refuse 0.2 for accuracies in [0, 1]: wider than half of what was observed, and no small part of the bounds."""
    require_positive(margin=margin)
    if bounds is None or not pairs.seeds:
        return
    low, high = bounds
    require_positive(width_of_bounds=high - low)
    observed = np.concatenate([pairs.first, pairs.second])
    if np.min(observed) < low - _ROUNDING or np.max(observed) > high + _ROUNDING:
        raise ValueError(f"scores must lie within `bounds` {bounds}, but got {np.min(observed)} to {np.max(observed)}")
    observed_range = float(np.ptp(observed))
    if margin > observed_range / 2 and margin >= _UNIT_MISTAKE_SHARE * (high - low):
        raise ValueError(
            f"`margin <= half the observed range` must hold, but got {margin} for scores that range over "
            f"{observed_range:.3g} of {high - low:g}; give the margin in the unit of the scores (0.2 pp is 0.002)"
        )


def _require_same_runs(new_data: CrossedError, *, mean_difference: float, n: int, higher_is_better: bool) -> None:
    if not higher_is_better or new_data.n_seeds != n:
        raise ValueError(
            "`new_data` must hold the share of right answers of the same runs, "
            f"but got {new_data.n_seeds} seeds for {n} pairs and higher_is_better={higher_is_better}"
        )
    if not math.isclose(new_data.mean_difference, mean_difference, rel_tol=1e-4, abs_tol=1e-5):
        raise ValueError(
            "`new_data` must come from the same runs, in the unit of the scores, but its mean difference is "
            f"{new_data.mean_difference} and that of the scores {mean_difference}"
        )
