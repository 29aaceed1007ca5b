"""Where the seconds and the memory of a run go."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import metrics
from experiments.report import formatting
from experiments.report.arms import Arm
from experiments.report.figures.style import NO_COLOURS, SMALL, WIDTH, Colours, colours_of, freeze_layout, styled
from experiments.report.pairs import Pair
from experiments.report.sanitize import clean

COLUMNS = 4
DRAWN_COSTS = tuple(name for name in metrics.COSTS if name not in ("time/steady_epoch", "time/fit"))  # they hold others


def speed(pairs: Sequence[Pair], arms: Sequence[Arm], *, colours: Colours = NO_COLOURS) -> Figure | None:
    """Seconds and memory of two arms, a panel for each part, all bars from zero; None where nothing was timed."""
    compared = next(((pair.first, pair.second) for pair in pairs if pair.speed is not None), None)
    timed = [arm for arm in arms if any(arm.scores(metric) for metric in DRAWN_COSTS if metric.startswith("time/"))]
    shown = list(compared or timed[:2])
    parts = [metric for metric in DRAWN_COSTS if any(_is_measured(arm, metric) for arm in shown)]
    if not parts:
        return None
    paint = colours_of((arm.framework for arm in shown), colours)
    with styled():
        rows = math.ceil(len(parts) / COLUMNS)
        figure = Figure(figsize=(WIDTH, 1.0 + 1.5 * rows))
        panels = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes, metric in zip(panels.flat, parts, strict=False):
            _draw_speed(axes, shown, metric, paint)
        for axes in panels.flat[len(parts) :]:
            axes.set_axis_off()
        figure.suptitle("Times and memory")
        bars = panels[0, 0].patches
        names = [clean(arm.name, 50) for arm in shown]
        figure.legend(
            bars, names, loc="outside lower center", ncols=2 if len("".join(names)) < 80 else 1, frameon=False
        )
        return freeze_layout(figure)


def _is_measured(arm: Arm, metric: str) -> bool:
    """Whether an arm has it; no import was timed where the framework was there already."""
    return bool(arm.scores(metric)) and not formatting.is_imported_before(arm.interval(metric), metric)


def _draw_speed(axes: Axes, arms: Sequence[Arm], metric: str, colours: Colours) -> None:
    estimates = [arm.interval(metric) for arm in arms]
    values = [estimate.value if estimate is not None else 0.0 for estimate in estimates]
    factor, unit = _unit(metric, largest=max(values))
    for place, (arm, estimate) in enumerate(zip(arms, estimates, strict=True)):
        is_like_first = place > 0 and arm.framework == arms[0].framework
        axes.bar(place, values[place] * factor, width=0.6, color=colours[arm.framework],
                 hatch="//" if is_like_first else None, edgecolor="white", linewidth=0)  # fmt: skip
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            low, high = factor * estimate.low, factor * estimate.high
            axes.plot([place, place], [low, high], color="black", linewidth=1.2, label="interval")
    known = [
        f"{value * factor:.3g}" if _is_measured(arm, metric) else "–" for value, arm in zip(values, arms, strict=True)
    ]
    axes.set_xticks(range(len(arms)), known)
    axes.set_xlim(-0.6, len(arms) - 0.4)
    tops = [factor * (each.high if each.high is not None else each.value) for each in estimates if each is not None]
    axes.set_ylim(0, 1.08 * max(tops) if max(tops) > 0 else 1)
    axes.grid(visible=False, axis="x")
    axes.set_title(f"{metrics.COSTS[metric].title}, {unit}", fontsize=SMALL + 0.5)


def _unit(metric: str, *, largest: float) -> tuple[float, str]:
    if metric == metrics.MEMORY:
        return metrics.COSTS[metric].factor, metrics.COSTS[metric].unit
    return (1.0, "s") if largest >= 1 else (1e3, "ms")
