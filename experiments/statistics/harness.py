"""What a bare loop of a framework takes for the same steps, and what the harness takes beyond it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from experiments.statistics.checks import Array, require_finite
from experiments.statistics.intervals import Estimate, mean_interval
from experiments.statistics.speed import SpeedComparison, compare_speed, margin_words, range_of, setting_of, variation
from experiments.statistics.wording import fixed, known, p_text, percent, signed


@dataclass(frozen=True, kw_only=True)
class HarnessShare:
    """A step of our runs beside one of the framework's bare loop; `share` is ours minus bare, below 0 if we are faster.

    `bare`, `ours` and `share` are means over process pairs in seconds per step, steady epochs only; `comparison` is
    ours / bare. The first `warm_up` of `n_epochs` epochs are left out.
    """

    name: str
    comparison: SpeedComparison
    bare: Estimate
    ours: Estimate
    share: Estimate
    warm_up: int
    n_epochs: int

    @property
    def sentence(self) -> str:
        """What may be said."""
        return f"{self.name} against its bare loop: {_statement(self)}"


def warm_up_epochs(seconds: Array) -> int:
    """How many of the first epochs are not steady: at least 1, which compiles, at most half.

    Of these the number d for which the mean of the n - d others is known best: the least sum of squares / (n - d)^2.
    It is taken of the median over runs, so that one disturbed run does not move it.

    Args:
        seconds: Of each run's epochs, shape (n_runs, n_epochs).

    Raises:
        ValueError: If there are fewer than 2 epochs, or a time is not finite.

    Source:
        White 1997, Simulation 69:323-334 (MSER); over runs first, as Welch 1983.
    """
    require_finite(2, seconds=seconds)
    if seconds.ndim != 2 or seconds.shape[1] < 2:
        raise ValueError(f"`seconds` must have shape (n_runs, at least 2 epochs), but got {seconds.shape}")
    typical = np.median(seconds, axis=0)
    kept = [typical[d:] for d in range(1, typical.size // 2 + 1)]
    return 1 + int(np.argmin([np.sum((each - each.mean()) ** 2) / each.size**2 for each in kept]))


def harness_share(
    bare_epochs: Array,
    our_epochs: Array,
    *,
    steps_per_epoch: int,
    margin: float,
    n_planned: int,
    name: str = "ours",
    conditions: str = "",
    disturbance: str = "",
) -> HarnessShare:
    """Compare interleaved process pairs by the median of their steady epochs, the same epochs in both.

    Args:
        bare_epochs: Seconds of the epochs of the bare loops, shape (n_pairs, n_epochs).
        our_epochs: The same for our runs; row b ran next to row b of the bare ones.
        steps_per_epoch: Steps in each of them.
        margin: Relative margin of equal speed, from the task's config.
        n_planned: Pairs in the plan.
        name: Of our arm, as printed.
        conditions: What the times hold for, as printed.
        disturbance: Why they cannot be compared, as printed; empty if they can.

    Raises:
        ValueError: If shapes differ, there are fewer than 2 epochs, or a time is not positive and finite.
    """
    if bare_epochs.shape != our_epochs.shape:
        raise ValueError(f"epochs must have one shape, but got {bare_epochs.shape} and {our_epochs.shape}")
    if min(np.min(bare_epochs, initial=1.0), np.min(our_epochs, initial=1.0)) <= 0:
        raise ValueError("`seconds > 0` must hold, but got a time of 0 or below")
    warm_up = max(warm_up_epochs(bare_epochs), warm_up_epochs(our_epochs))
    steady = [epochs[:, warm_up:] / steps_per_epoch for epochs in (bare_epochs, our_epochs)]
    bare, ours = (np.median(seconds, axis=1) for seconds in steady)
    return HarnessShare(
        name=name,
        comparison=compare_speed(
            bare,
            ours,
            margin=margin,
            n_planned=n_planned,
            names=("bare loop", name),
            conditions=conditions,
            largest_cv=max(variation(row) for seconds in steady for row in seconds),
            disturbance=disturbance,
        ),
        bare=mean_interval(bare),
        ours=mean_interval(ours),
        share=mean_interval(ours - bare),
        warm_up=warm_up,
        n_epochs=bare_epochs.shape[1],
    )


def _statement(record: HarnessShare) -> str:
    compared = record.comparison
    if compared.ratio is None or compared.ci95 is None or compared.ci90 is None:
        return compared.sentence
    decimals = min(max(2 - math.floor(math.log10(1e3 * record.bare.value)), 0), 6)
    bare = f"its {fixed(1e3 * record.bare.value, decimals=decimals)} ms"
    ratio, setting = fixed(compared.ratio, decimals=2), setting_of(compared)
    if compared.id in ("equivalent", "equivalent_nonzero"):
        return (
            f"same speed per step within {margin_words(compared)} (TOST p = {p_text(known(compared.p_equivalence))}); "
            f"{ratio} [{percent(compared.equivalence_level)} CI {range_of(compared.ci90, decimals=2)}] of {bare} "
            f"({setting})."
        )
    band = f"[{range_of(compared.ci95, decimals=2)}]"
    size = f"{ratio} {band} of {bare} per step ({percent(compared.difference_level)} CI, {setting})"
    if compared.id == "inconclusive":
        return f"no speed difference shown, and same speed within {margin_words(compared)} not shown either: {size}."
    bounds = [signed(1e3 * each, decimals=decimals) for each in (known(record.share.low), known(record.share.high))]
    share = f"{signed(1e3 * record.share.value, decimals=decimals)} ms [{', '.join(bounds)}]"
    return f"{size}, so that the harness' share is {share}."
