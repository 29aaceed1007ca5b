"""What each default is worth: a gap taken apart, one default at a time, along a path and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from experiments.statistics.checks import Array, require_finite
from experiments.statistics.intervals import MINIMUM_RUNS, Estimate, mean_interval

ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one default adds to the gap, in the unit of the metric, and its share of the gap where that can be told."""

    word: str
    part: Estimate
    share: Estimate | None

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        low, high = self.part.low, self.part.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def is_within(self, margin: float) -> bool:
        """Whether it is shown to matter less than `margin`."""
        low, high = self.part.low, self.part.high
        return low is not None and high is not None and -margin < low and high < margin


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A gap as shipped, its parts, and what is left when all is aligned: `shipped` = sum of parts + `aligned`.

    `whole` is the gap as shipped less the gap aligned, which the shares are of.
    """

    shipped: Estimate
    whole: Estimate
    steps: tuple[Step, ...]
    aligned: Estimate
    n: int

    @property
    def is_shown(self) -> bool:
        """Whether what the defaults make of the gap differs from 0."""
        return any(step.share is not None for step in self.steps)


def ladder(down: Array, up: Array, *, words: Sequence[str], top: Array | None = None, others: str = "") -> Ladder:
    """Take a gap apart, paired by seed.

    The part of word k is the mean of what it takes away where words 1 ... k - 1 are aligned already, and of what it
    adds where only those are as shipped. Both paths end at the same two points, so that the parts of each seed add up
    to the gap as shipped less the gap aligned. It is the Shapley value over one order and its reverse.

    Args:
        down: Gaps of each seed, from all as shipped to all aligned by words 1, 2, ...; shape (n_words + 1, n_seeds).
        up: The same from all aligned to all as shipped, by words 1, 2, ...; same shape.
        words: Their names, in that order.
        top: Gaps of each seed with all else as shipped too, shape (n_seeds,): one more step, first down and last up.
        others: The name of that step.

    Returns:
        Intervals of parts by t over seeds, simultaneous over the words (Bonferroni); of shares by Fieller, each alone,
        where the gap that they share is told from 0.

    Raises:
        ValueError: If the shapes do not fit, a gap is not finite, or the paths do not meet at their ends.

    Source:
        Shapley 1953; Mitchell et al. 2022, J. Mach. Learn. Res. 23(43), 3.1 (an order and its reverse); Fieller 1954.
    """
    shape = (len(words) + 1, down.shape[-1])
    if (not words and top is None) or down.shape != shape or up.shape != shape:
        raise ValueError(f"gaps must have shape (n_words + 1, n_seeds) = {shape}, but got {down.shape} and {up.shape}")
    require_finite(down=down, up=up)
    if not (np.array_equal(down[0], up[-1]) and np.array_equal(down[-1], up[0])):
        raise ValueError("both paths must have the same gaps as shipped and aligned; they are the same runs")
    parts = ((down[:-1] - down[1:]) + (up[1:] - up[:-1])) / 2  # (n_words, n_seeds)
    if top is not None:
        require_finite(top=top)
        parts, words = np.vstack([parts, top - down[0]]), (*words, others)
    shipped = down[0] if top is None else top
    whole, level = shipped - down[-1], 1 - ALPHA / len(words)
    return Ladder(
        shipped=mean_interval(shipped),
        whole=mean_interval(whole),
        steps=tuple(
            Step(word=word, part=mean_interval(part, level=level), share=share_of(part, whole, level=1 - ALPHA))
            for word, part in zip(words, parts, strict=True)
        ),
        aligned=mean_interval(down[-1]),
        n=down.shape[-1],
    )


def share_of(part: Array, whole: Array, *, level: float) -> Estimate | None:
    """Ratio of two paired means with Fieller's interval; None where the second is not told from 0.

    Args:
        part: Of each seed, shape (n,).
        whole: Of the same seeds, shape (n,).
        level: Confidence level.
    """
    n = whole.size
    if n < MINIMUM_RUNS:
        return None
    a, b = float(np.mean(part)), float(np.mean(whole))
    (v_aa, v_ab), (_, v_bb) = np.cov(part, whole, ddof=1) / n
    quantile = float(special.stdtrit(n - 1, (1 + level) / 2)) ** 2
    spread = b * b - quantile * v_bb
    if spread <= 0:
        return None
    center = (a * b - quantile * v_ab) / spread
    inside = (a * b - quantile * v_ab) ** 2 - spread * (a * a - quantile * v_aa)
    half = math.sqrt(max(inside, 0.0)) / spread
    return Estimate(value=a / b, low=center - half, high=center + half, level=level, n=n, method="Fieller")
