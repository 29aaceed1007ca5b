"""Axes of the figures of studies: scales of scores that one bad trial cannot squeeze, and axes of keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.records import StudyRecord
from experiments.report.figures.style import LOG_FROM
from experiments.report.studies.facts import KeyAxis, complete, effective_state, objective, one_line, ordered, score
from experiments.report.studies.selection import STATE_WORDS, Studies


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The part of a score axis that is drawn, so that one bad trial cannot squeeze the others.

    Attributes:
        best, worst: Ends in badness: the score or its logarithm, with its sign turned where more is better.
        is_empty: Whether there is no score at all.
        has_strip: Whether a strip beyond the worst holds the trials that have no score on this scale.
    """

    best: float
    worst: float
    is_log: bool
    is_maximized: bool
    is_empty: bool = False
    has_strip: bool = False

    @property
    def span(self) -> float:
        """Length of the scale, never 0."""
        return self.worst - self.best or (0.1 if self.is_log else 0.05 * abs(self.best) or 1.0)

    def badness(self, value: float) -> float:
        """The larger, the worse."""
        return (math.log(max(value, 1e-300)) if self.is_log else value) * (-1 if self.is_maximized else 1)

    def at(self, share: float) -> float:
        """The score at a share of the scale, from the best (0) to the worst (1) and beyond."""
        badness = (self.best + share * self.span) * (-1 if self.is_maximized else 1)
        return math.exp(min(max(badness, -700), 700)) if self.is_log else badness  # beyond it is 0, or no float

    def holds(self, value: float) -> bool:
        """Whether a score has a place on the scale."""
        return math.isfinite(value) and (value > 0 or not self.is_log) and self.badness(value) <= self.worst + 1e-9

    def place(self, value: float) -> float:
        """The score itself, or the middle of the strip."""
        return value if self.holds(value) else self.at(1.16)

    def set(self, axes: Axes, along: str = "y") -> None:
        """Give an axis this scale and its strip."""
        axis = axes.yaxis if along == "y" else axes.xaxis
        low, high = sorted((self.at(-0.08), self.at(1.08)))
        if self.is_log:
            axes.set(**{f"{along}scale": "log"})
            ticks = log_ticks(low, high, 5)
            axis.set_ticks([], minor=True)
        else:
            ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
        ticks = [] if self.is_empty else ticks
        axis.set_ticks(ticks, [f"{tick:.6g}".replace("-", "−") for tick in ticks])  # none in the strip
        axes.set(**{f"{along}lim": sorted((self.at(-0.08), self.at(1.24 if self.has_strip else 1.08)))})
        if self.has_strip:
            shade = axes.axhspan if along == "y" else axes.axvspan
            shade(self.at(1.08), self.at(1.24), color="#e8e8e8", linewidth=0, zorder=0.5, label="_strip")

    @property
    def colours(self) -> ScalarMappable:
        """Colours of scores: the darker, the better."""
        low, high = sorted((self.at(0), self.at(1)))
        norm = (LogNorm if self.is_log else Normalize)(low, high, clip=True)
        return ScalarMappable(norm, "cividis_r" if self.is_maximized else "cividis")


def scale_from(groups: Iterable[Sequence[float]], *, is_maximized: bool, reach: float = 2.0) -> Scale:
    """The scale that holds the best and the middle of each group, and `reach` times their distance beyond."""
    kept = [finite for group in groups if (finite := [value for value in group if math.isfinite(value)])]
    values = [value for group in kept for value in group] or [0.0]
    is_log = not is_maximized and min(values) > 0 and max(values) / min(values) > LOG_FROM
    raw = Scale(best=0.0, worst=0.0, is_log=is_log, is_maximized=is_maximized)
    worst = []
    for group in kept:
        badness = [raw.badness(value) for value in group]
        middle = float(np.median(badness))
        cap = middle + reach * (middle - min(badness))
        worst.append(max(value for value in badness if value <= cap + 1e-12))
    best = min(map(raw.badness, values))
    is_point = max(worst, default=best) - best <= 1e-12 * max(map(abs, values))  # rounding, beside what lies beyond
    return Scale(
        best=best, worst=best if is_point else max(worst), is_log=is_log, is_maximized=is_maximized, is_empty=not kept
    )


def scale_of(
    studies: Studies, study: StudyRecord, index: int = 0, *, states: Sequence[str] = tuple(STATE_WORDS)
) -> Scale:
    """The scale that a study shares with all that have the same objective.

    Args:
        studies: All that are drawn.
        study: One of them.
        index: Number of the objective.
        states: Of the trials that are drawn on the scale.
    """
    same = [other for other in studies if objective(other, index) == objective(study, index)]
    groups = [[score(trial, index) for trial in ordered(other)] for other in same]
    scale = scale_from(groups, is_maximized=objective(study, index)[1])
    shown = [score(trial, index) for other in same for trial in other.trials if effective_state(trial) in states]
    return Scale(**{**vars(scale), "has_strip": not all(map(scale.holds, shown))})


def colour_scale_of(studies: Studies, study: StudyRecord) -> Scale:
    """The scale of complete trials alone, for their colours."""
    same = [other for other in studies if objective(other) == objective(study)]
    groups = [[trial.scores[0] for trial in complete(other)] for other in same]
    return scale_from(groups, is_maximized=objective(study)[1])


def set_whole_ticks(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def set_key_axis(axes: Axes, along: str, key_axis: KeyAxis, *, most: int) -> None:
    """Give an axis the whole searched range, so that a value at its edge is seen to be there.

    Args:
        axes: A panel.
        along: Which of its axes, "x" or "y".
        key_axis: The key.
        most: Ticks, at most.
    """
    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = key_axis.low, key_axis.high
    if key_axis.is_log:
        axes.set(**{f"{along}scale": "log"})
        air = (high / low) ** 0.06 if high > low else 2.0
        ticks = log_ticks(low, high, most)
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
        axes.set(**{f"{along}lim": (low / air, high * air)})
        return
    air = 0.07 * (high - low) or 0.5
    axes.set(**{f"{along}lim": (low - air, high + air)})
    if key_axis.choices:
        every = math.ceil(len(key_axis.choices) / 12)
        names = [one_line(text, 14) for text in key_axis.choices[::every]]
        is_long = along == "x" and sum(len(name) + 2 for name in names) > 6 * most
        axis.set_ticks(range(0, len(key_axis.choices), every), names, rotation=90 if is_long else 0)
    else:
        axis.set_major_locator(MaxNLocator(most, integer=key_axis.is_integer))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def ticks_of(key_axis: KeyAxis) -> list[tuple[float, str]]:
    """Heights in [0, 1] and texts of the marks along an upright axis."""
    if key_axis.choices:
        last = max(1, len(key_axis.choices) - 1)
        every = math.ceil(len(key_axis.choices) / 6)
        named = list(enumerate(key_axis.choices))[::every]
        return [(place / last if len(key_axis.choices) > 1 else 0.5, one_line(text, 12)) for place, text in named]
    if key_axis.low == key_axis.high:
        return [(0.5, f"{key_axis.low:.4g}")]
    middle = (key_axis.low * key_axis.high) ** 0.5 if key_axis.is_log else (key_axis.low + key_axis.high) / 2
    return [(0.0, f"{key_axis.low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{key_axis.high:.3g}")]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many powers of ten in the range, or 1, 2 and 5 times them where there are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) >= 2:
            return inside[:: math.ceil(len(inside) / most)]
    return [low, high] if high > low else [low]
