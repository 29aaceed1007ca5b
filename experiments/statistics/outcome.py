"""What a comparison can come to, and the record of one comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.statistics.intervals import MINIMUM_RUNS

Interval = tuple[float, float]
Outcome = Literal[
    "not_assessed",
    "A_better_practical",
    "B_better_practical",
    "A_better",
    "B_better",
    "equivalent",
    "equivalent_nonzero",
    "inconclusive",
    "identical",
    "constant_difference",
]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One comparison of two arms, ready to print and to draw.

    Scores, differences, intervals and margin are in the unit of the scores as they were given; multiply by
    `scale` to get `unit`. Differences are oriented: positive means that the first arm, A, is better.
    What cannot be computed is None, never NaN.
    """

    id: Outcome = "not_assessed"
    sentence: str = ""

    names: tuple[str, str]
    metric: str
    unit: str
    scale: float
    higher_is_better: bool
    scope: str

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    n: int
    n_planned: int
    n_runs: int
    n_failed: int
    n_unpaired: int
    failure_score: float | None
    n_examples: int | None
    """Examples of the test set, where the claim is about new data; else None."""

    mean_difference: float | None
    sd: float | None
    standard_error: float | None
    ci95: Interval | None = None
    """Interval that decides on a difference, at `difference_level`: 95 % for one claim, wider for more."""
    ci90: Interval | None = None
    """Interval that decides on equivalence, at `equivalence_level`: 90 % for one claim, wider for more."""
    difference_level: float
    equivalence_level: float
    p_difference: float | None = None
    p_equivalence: float | None = None
    p_difference_holm: float | None = None
    p_equivalence_holm: float | None = None
    correlation: float | None
    margin: float | None
    pairs_needed: int | None = None
    """Pairs that show equivalence at this spread with 80 % power if there is truly no difference."""

    alpha: float
    n_claims: int
    n_looks: int

    @property
    def every_run_failed(self) -> bool:
        """Whether no run of either arm ended with a score."""
        return 0 < self.n_runs == self.n_failed

    @property
    def shows_difference_in_favour_of(self) -> str | None:
        """Name of the arm that was shown to be better, by whatever amount; else None."""
        if self.id in ("A_better", "A_better_practical"):
            return self.names[0]
        return self.names[1] if self.id in ("B_better", "B_better_practical") else None


def decide(difference: Interval, equivalence: Interval, *, margin: float | None) -> Outcome:
    """Read the outcome off the two intervals that the figure shows, so that it cannot disagree with the sentence.

    Args:
        difference: Interval of the oriented mean difference at level 1 - alpha/K.
        equivalence: Interval at level 1 - 2 alpha/K, inside `difference`.
        margin: Equivalence margin, same unit; None if none was declared.

    Source:
        Goeman, Solari & Stijnen 2010, Stat. Med. 29:2117-2125 (three-sided testing): the regions partition the line,
        so both tests may use alpha.
    """
    low, high = difference
    if margin is not None:
        if low > margin:
            return "A_better_practical"
        if high < -margin:
            return "B_better_practical"
        if -margin < equivalence[0] and equivalence[1] < margin:
            return "equivalent" if low <= 0 <= high else "equivalent_nonzero"
    if low > 0:
        return "A_better"
    return "B_better" if high < 0 else "inconclusive"


def decide_without_spread(n: int, *, constant: float) -> Outcome:
    """Outcome where no interval exists: too few pairs, or every pair differs by exactly `constant`."""
    if n < MINIMUM_RUNS:
        return "not_assessed"
    return "identical" if constant == 0 else "constant_difference"
