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
from experiments.statistics.wording import fixed, known, p_text, percent, planned

LARGEST_CV = 0.30


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

    Returns:
        The record with its sentence. On a disturbed machine (a block above 30 % CV, say) it is not assessed.

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
    record = _assess(record, np.log(second_seconds / first_seconds))
    return replace(record, sentence=_sentence(record, n_planned=n_planned))


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
        f"({percent(record.difference_level)} CI, {_setting(record)}); {settled} the {100 * record.margin:g} % margin."
    )


def _same_speed(record: SpeedComparison) -> str:
    return (
        f"Same speed {record.what} within {100 * record.margin:g} % (TOST p = {p_text(known(record.p_equivalence))}); "
        f"{_ratio(record)} [{percent(record.equivalence_level)} CI {_range(known(record.ci90))}] ({_setting(record)})."
    )


def _undecided(record: SpeedComparison) -> str:
    return (
        f"No speed difference shown {record.what}, and same speed within {100 * record.margin:g} % not shown either: "
        f"{_ratio(record)} [{percent(record.difference_level)} CI {_range(known(record.ci95))}] ({_setting(record)})."
    )


def _ratio(record: SpeedComparison) -> str:
    return f"time ratio {record.names[1]}/{record.names[0]} {fixed(known(record.ratio), decimals=3)}"


def _range(bounds: Interval) -> str:
    return ", ".join(fixed(bound, decimals=3) for bound in bounds)


def _setting(record: SpeedComparison) -> str:
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
