"""Speed: ratios of step times between interleaved processes. Steps of one process are not replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from experiments.statistics.checks import Array, require_finite, require_open_share, require_positive
from experiments.statistics.intervals import MINIMUM_RUNS, t_bounds
from experiments.statistics.multiplicity import simultaneous_levels
from experiments.statistics.outcome import Interval, Outcome, decide, decide_without_spread
from experiments.statistics.pairing import mean, standard_deviation
from experiments.statistics.verdict import tost_p
from experiments.statistics.wording import fixed, known, p_text, percent, planned, signed

LARGEST_CV = 0.30
LARGEST_SHARE = 0.10
"""Of a claimed difference, how much may be the harness'; beyond that it is not shown to be the frameworks'."""


@dataclass(frozen=True, kw_only=True)
class SpeedComparison:
    """How much longer B takes than A: the ratio of times B / A; 1.1 means that B is 10 % slower.

    In `id` the better arm is the faster one.
    """

    id: Outcome = "not_assessed"
    sentence: str = ""
    names: tuple[str, str]
    what: str
    conditions: str
    n: int
    margin: float
    difference_level: float
    equivalence_level: float
    disturbance: str
    """Why the machine's state forbids a verdict; empty if it does not."""
    ratio: float | None = None
    ci95: Interval | None = None
    """Interval of the ratio at `difference_level`."""
    ci90: Interval | None = None
    """Interval of the ratio at `equivalence_level`."""
    p_difference: float | None = None
    p_equivalence: float | None = None


def compare_speed(
    first_seconds: Array,
    second_seconds: Array,
    *,
    margin: float,
    n_planned: int,
    names: tuple[str, str] = ("A", "B"),
    what: str = "per step",
    conditions: str = "",
    n_claims: int = 1,
    alpha: float = 0.05,
    largest_cv: float = 0.0,
    disturbance: str = "",
    harness: tuple[float, float] | None = None,
    remark: str = "",
) -> SpeedComparison:
    """Compare interleaved process pairs: ratio = exp(mean l), l_b = ln(x_B,b / x_A,b), with a t interval on l.

    Args:
        first_seconds: Median steady step seconds of arm A, one for each block, shape (n_blocks,).
        second_seconds: The same for arm B; row b ran next to row b of A.
        margin: Relative margin of equal speed, from the task's config; 0.05 tests against -+ln(1.05).
        n_planned: Blocks in the plan, as printed when there are too few.
        names: Names of the arms, as printed.
        what: What was timed, as printed.
        conditions: Machine and threads, as printed, such as "CPU 2 threads".
        n_claims: Size of the family of claims.
        alpha: Level.
        largest_cv: Largest coefficient of variation of the steps within a block.
        disturbance: Any other reason why the times cannot be compared, as printed; empty if there is none.
        harness: Seconds of a step that are not A's own, and not B's, but the harness'; None where it is not known.
        remark: What is to be said after a claim.

    Returns:
        The record with its sentence. On a disturbed machine (a block above 30 % CV, say) it is not assessed, nor where
        the harness' parts differ by more than 10 % of what is claimed: the difference, or the margin of equal speed.

    Raises:
        ValueError: If shapes differ, or a time is not positive and finite.

    Source:
        Kalibera & Jones 2013, Rigorous Benchmarking in Reasonable Time (repeat at the highest level that varies).
    """
    require_open_share(alpha=alpha)
    require_positive(margin=margin)
    _require_times(first_seconds, second_seconds)
    levels = simultaneous_levels(alpha, n_claims=n_claims)
    record = SpeedComparison(
        names=names,
        what=what,
        conditions=conditions,
        n=first_seconds.size,
        margin=margin,
        difference_level=levels.difference,
        equivalence_level=levels.equivalence,
        disturbance=disturbance or _disturbance(largest_cv),
    )
    assessed = _assess(record, np.log(second_seconds / first_seconds))
    if harness is not None and (reason := _too_much_harness(assessed, first_seconds, second_seconds, harness)):
        assessed = replace(record, disturbance=reason)
    sentence = _sentence(assessed, n_planned=n_planned)
    return replace(assessed, sentence=sentence if assessed.id == "not_assessed" else f"{sentence} {remark}".strip())


def variation(seconds: Array) -> float:
    """Robust coefficient of variation of a process's steady epochs, shape (n_epochs,).

    1.4826 times the median deviation from the median, as a share of it: sd / mean for normal times. One disturbed epoch
    moves it as little as it moves the median.
    """
    middle = float(np.median(seconds))
    return 1.4826 * float(np.median(np.abs(seconds - middle))) / middle


def _assess(record: SpeedComparison, logs: Array) -> SpeedComparison:
    if record.disturbance or logs.size < MINIMUM_RUNS:
        return record
    center = mean(logs)
    if np.ptp(logs) == 0:
        return replace(record, id=decide_without_spread(logs.size, constant=center), ratio=math.exp(center))
    error, freedom, margin = standard_deviation(logs) / math.sqrt(logs.size), logs.size - 1.0, math.log1p(record.margin)
    difference, equivalence = (
        t_bounds(center, standard_error=error, degrees_of_freedom=freedom, level=level)
        for level in (record.difference_level, record.equivalence_level)
    )
    return replace(
        record,
        id=decide(difference, equivalence, margin=margin),
        ratio=math.exp(center),
        ci95=(math.exp(difference[0]), math.exp(difference[1])),
        ci90=(math.exp(equivalence[0]), math.exp(equivalence[1])),
        p_difference=2 * float(special.stdtr(freedom, -abs(center) / error)),
        p_equivalence=tost_p(center, error=error, freedom=freedom, margin=margin),
    )


def _too_much_harness(
    record: SpeedComparison, first_seconds: Array, second_seconds: Array, harness: tuple[float, float]
) -> str:
    """Why the claim is not one on the arms themselves, or nothing."""
    if record.id == "not_assessed":
        return ""
    differs = record.id in ("A_better", "B_better", "A_better_practical", "B_better_practical", "constant_difference")
    times = mean(first_seconds), mean(second_seconds)
    claimed, what = record.margin * min(times), f"the {margin_words(record)} margin"
    if differs:
        claimed, what = abs(times[0] - times[1]), "the difference between their steps"
    apart = abs(harness[0] - harness[1])
    if apart <= LARGEST_SHARE * claimed:
        return ""
    share = apart / claimed if claimed else math.inf
    parts = " and ".join(
        f"{signed(1e3 * part, decimals=3)} ms for {name}" for part, name in zip(harness, record.names, strict=True)
    )
    return (
        f"the harness' share of a step is {parts}, apart by {fixed(100 * share, decimals=0)} % of {what}, "
        f"above {100 * LARGEST_SHARE:.0f} %"
    )


def _sentence(record: SpeedComparison, *, n_planned: int) -> str:
    if record.disturbance:
        return f"Not assessed: {record.disturbance}, so times {record.what} cannot be compared."
    if record.id == "not_assessed":
        return (
            f"Not assessed: {record.n} interleaved process pairs; at least {MINIMUM_RUNS} are needed for any interval, "
            f"{planned(n_planned)}."
        )
    if record.id in ("identical", "constant_difference"):
        return f"Exactly the same ratio {known(record.ratio):.6g} in all {record.n} process pairs: check the clock."
    if record.id in ("equivalent", "equivalent_nonzero"):
        return _same_speed(record)
    return _undecided(record) if record.id == "inconclusive" else _slower(record)


def _slower(record: SpeedComparison) -> str:
    low, high = known(record.ci95)
    ratio, slower = known(record.ratio), record.names[1]
    if ratio < 1:
        ratio, low, high, slower = 1 / ratio, 1 / high, 1 / low, record.names[0]
    size, *band = (fixed(100 * (each - 1), decimals=1) for each in (ratio, low, high))
    beyond = record.id in ("A_better_practical", "B_better_practical")
    settled = "the whole interval exceeds" if beyond else "not settled whether by more than"
    return (
        f"{slower} is {size} % slower {record.what} [{', '.join(band)}] "
        f"({percent(record.difference_level)} CI, {setting_of(record)}); {settled} the {margin_words(record)} margin."
    )


def _same_speed(record: SpeedComparison) -> str:
    return (
        f"Same speed {record.what} within {margin_words(record)} (TOST p = {p_text(known(record.p_equivalence))}); "
        f"{_ratio(record)} [{percent(record.equivalence_level)} CI {range_of(known(record.ci90))}] "
        f"({setting_of(record)})."
    )


def _undecided(record: SpeedComparison) -> str:
    return (
        f"No speed difference shown {record.what}, and same speed within {margin_words(record)} not shown either: "
        f"{_ratio(record)} [{percent(record.difference_level)} CI {range_of(known(record.ci95))}] "
        f"({setting_of(record)})."
    )


def _ratio(record: SpeedComparison) -> str:
    return f"time ratio {record.names[1]}/{record.names[0]} {fixed(known(record.ratio), decimals=3)}"


def range_of(bounds: Interval, *, decimals: int = 3) -> str:
    """The bounds of a ratio."""
    return ", ".join(fixed(bound, decimals=decimals) for bound in bounds)


def margin_words(record: SpeedComparison) -> str:
    """The margin in per cent."""
    return f"{100 * record.margin:g} %"


def setting_of(record: SpeedComparison) -> str:
    """How many pairs there are, and what they hold for."""
    pairs = f"{record.n} interleaved process pairs"
    return f"{pairs}, {record.conditions}" if record.conditions else pairs


def _disturbance(largest_cv: float) -> str:
    if not largest_cv <= LARGEST_CV:
        return (
            f"step times vary by {fixed(100 * largest_cv, decimals=0)} % within a block, above {100 * LARGEST_CV:.0f} %"
        )
    return ""


def _require_times(first_seconds: Array, second_seconds: Array) -> None:
    require_finite(0, first_seconds=first_seconds, second_seconds=second_seconds)
    if first_seconds.shape != second_seconds.shape or first_seconds.ndim != 1:
        raise ValueError(f"times must be 1-D of one length, but got {first_seconds.shape} and {second_seconds.shape}")
    if min(np.min(first_seconds, initial=1.0), np.min(second_seconds, initial=1.0)) <= 0:
        raise ValueError("`seconds > 0` must hold, but got a time of 0 or below")
