"""Paired differences: a dot per seed, the mean with its intervals, the margin as a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.report.figures.style import COLOURS, NEUTRAL, SMALL, WIDTH, freeze_layout, styled
from experiments.report.sanitize import clean
from experiments.statistics import Verdict

LABEL_WIDTH = 34  # characters of a row label that leave the plot enough room


def paired_differences(verdicts: Sequence[Verdict], *, title: str) -> Figure:
    """One row per comparison: a dot per seed, the mean with both intervals, the margin as a shaded band.

    All rows share one scale, in the unit of the verdicts; positive means that the first arm is better.
    """
    with styled():
        row_height = 0.7 if len(verdicts) <= 10 else 0.45  # inches
        figure = Figure(figsize=(WIDTH, 1.2 + row_height * max(1, len(verdicts))))
        axes = figure.subplots()
        axes.axvline(0, color="black", linewidth=0.8)
        for row, verdict in enumerate(reversed(verdicts)):
            _draw_differences(axes, row, verdict)
        axes.set_yticks(range(len(verdicts)), [_row_label(verdict) for verdict in reversed(verdicts)])
        axes.set_ylim(-0.6, len(verdicts) - 0.4)
        axes.set_xlim(*_reach(verdicts))
        axes.grid(visible=False, axis="y")
        unit = verdicts[0].unit if verdicts else ""
        axes.set_xlabel(f"difference{f', {clean(unit, 20)}' if unit else ''}  (right of 0: the first is better)")
        figure.suptitle(clean(title, 90))
        return freeze_layout(figure)


def _row_label(verdict: Verdict) -> str:
    first, second = (clean(name, LABEL_WIDTH - 2) for name in verdict.names)
    return f"{first} − {second}" if len(first) + len(second) < LABEL_WIDTH - 3 else f"{first}\n− {second}"


def _reach(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Limits that hold zero, every dot, interval and margin, with a little air."""
    values = [0.0]
    for verdict in verdicts:
        margin = verdict.margin or 0.0
        bounds = [*(verdict.ci95 or ()), *(verdict.ci90 or ()), 1.2 * margin, -1.2 * margin]
        values += [value * verdict.scale for value in (*verdict.differences, *bounds) if np.isfinite(value)]
    low, high = min(values), max(values)
    air = 0.04 * (high - low) or 1.0
    return low - air, high + air


def marks_of(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """What each dot is, for each row in the order in which they are drawn."""
    return [[f"seed {seed}" for seed in verdict.seeds] for verdict in reversed(verdicts)]


def _draw_differences(axes: Axes, row: int, verdict: Verdict) -> None:
    scale = verdict.scale
    if verdict.margin is not None:
        axes.fill_betweenx([row - 0.35, row + 0.35], -verdict.margin * scale, verdict.margin * scale,
                           color=COLOURS[2], alpha=0.15, linewidth=0, label=f"margin {row}")  # fmt: skip
    differences = np.array(verdict.differences) * scale
    axes.plot(differences, np.full(len(differences), row + 0.13), "o", markersize=4, color=NEUTRAL, alpha=0.7,
              markeredgewidth=0, label=f"seeds {row}", gid=f"mark-0-{row}-0")  # fmt: skip
    for interval, width, what in ((verdict.ci95, 1.2, "difference"), (verdict.ci90, 3.2, "equivalence")):
        if interval is not None:
            axes.plot(np.array(interval) * scale, [row - 0.13] * 2, color=COLOURS[0], linewidth=width,
                      solid_capstyle="butt", label=f"{what} {row}")  # fmt: skip
    if verdict.mean_difference is not None:
        axes.plot(verdict.mean_difference * scale, row - 0.13, "D", markersize=5, color=COLOURS[0],
                  markeredgecolor="white", markeredgewidth=0.5, label=f"mean {row}")  # fmt: skip
    if not verdict.differences:
        axes.annotate("no pair of runs", (0, row), (6, 0), textcoords="offset points", va="center", fontsize=SMALL)
