"""Figures as SVG text, byte for byte the same for the same records."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments import statistics
from experiments.report.analysis import Arm
from experiments.report.names import clean

# Okabe-Ito colours with at least 3:1 contrast on white; from six series on: small multiples, not more colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
DASHES = ("-", "--", ":", "-.")
FRAMEWORK_COLOURS = {"lightning": COLOURS[0], "keras": COLOURS[1], "numpy": COLOURS[2]}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tandem",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.constrained_layout.use": True,
}


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """The figure as a picture, 150 dots per inch."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})


def looks(arms: Sequence[Arm]) -> Mapping[str, dict[str, Any]]:
    """Arm -> colour by framework, dash by what else differs."""
    rests = sorted({arm.name.partition(" · ")[2] for arm in arms})
    return {
        arm.name: {
            "color": FRAMEWORK_COLOURS.get(arm.framework, COLOURS[4]),
            "linestyle": DASHES[rests.index(arm.name.partition(" · ")[2]) % len(DASHES)],
        }
        for arm in arms
    }


def learning_curves(arms: Sequence[Arm], metric: str, *, title: str, unit: str) -> Figure:
    """Thin line per seed, mean, pointwise 95 % t band, against the epoch."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 3.2))
        axes = figure.subplots()
        for number, arm in enumerate(arms):
            # Identical arms lie on each other: the one below is drawn broader, so that both are seen.
            _draw_curves(axes, arm, metric, looks(arms)[arm.name], width=1.5 + 1.5 * (len(arms) - 1 - number))
        axes.set(xlabel="epoch", ylabel=unit, title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
        return figure


def _draw_curves(axes: Any, arm: Arm, metric: str, look: Mapping[str, Any], *, width: float) -> None:
    curves = [run.curves[metric] for run in arm.runs if run.curves.get(metric)]
    for curve in curves:
        axes.plot(*zip(*curve, strict=True), linewidth=0.6, alpha=0.5, **look)
    by_epoch: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, value in curve:
            by_epoch.setdefault(epoch, []).append(value)
    whole = {epoch: values for epoch, values in sorted(by_epoch.items()) if len(values) == len(curves)}
    if not whole:
        return
    estimates = [statistics.mean_interval(np.array(values)) for values in whole.values()]
    axes.plot(list(whole), [estimate.value for estimate in estimates], marker="o", markersize=3,
              linewidth=width, label=clean(arm.name), **look)  # fmt: skip
    if estimates[0].low is not None:
        lows, highs = [e.low for e in estimates], [e.high for e in estimates]
        axes.fill_between(list(whole), lows, highs, alpha=0.15, linewidth=0, color=look["color"])


def paired_differences(verdicts: Sequence[statistics.Verdict], *, title: str) -> Figure:
    """One row per comparison: a dot per seed, the mean with both intervals, the margin as a shaded band."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 1.2 + 0.7 * len(verdicts)))
        axes = figure.subplots()
        for row, verdict in enumerate(reversed(verdicts)):
            _draw_differences(axes, row, verdict)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(verdicts)), [clean(f"{v.names[0]} − {v.names[1]}", 50) for v in reversed(verdicts)])
        axes.set_ylim(-0.6, len(verdicts) - 0.4)
        axes.set(xlabel=f"difference, {verdicts[0].unit}" if verdicts[0].unit else "difference", title=title)
        return figure


def _draw_differences(axes: Any, row: int, verdict: statistics.Verdict) -> None:
    scale = verdict.scale
    if verdict.margin is not None:
        axes.fill_betweenx([row - 0.35, row + 0.35], -verdict.margin * scale, verdict.margin * scale,
                           color=COLOURS[2], alpha=0.15, linewidth=0)  # fmt: skip
    differences = np.array(verdict.differences) * scale
    axes.plot(differences, np.full(len(differences), row + 0.12), "o", markersize=4, color="#666666", alpha=0.7)
    for interval, width in ((verdict.ci95, 1.2), (verdict.ci90, 3.0)):
        if interval is not None:
            axes.plot(np.array(interval) * scale, [row - 0.12] * 2, color=COLOURS[0], linewidth=width)
    if verdict.mean_difference is not None:
        axes.plot(verdict.mean_difference * scale, row - 0.12, "D", markersize=5, color=COLOURS[0])
