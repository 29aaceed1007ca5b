"""What a factor does: generalization gaps, dose and response, main effects and shares of the variance."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from experiments import metrics
from experiments.report import formatting
from experiments.report.arms import Arm, in_order
from experiments.report.effects import Dose, Effects, Gap
from experiments.report.figures.style import (
    NEUTRAL,
    NO_COLOURS,
    SMALL,
    WIDTH,
    Colours,
    colours_of,
    freeze_layout,
    look,
    plain_log,
    styled,
    width_of,
)
from experiments.report.sanitize import clean
from experiments.statistics import Estimate
from experiments.task.keys import short_key

GAPS = 40
DOSE_COLUMNS = 4
PARTS = {"train": "training loss,\nevaluation mode", "test": "test loss", "gap": "gap, test − training"}  # of a Gap
MOST_CURVES = 5  # of a dose, in one panel
LEVELS_BESIDE = 8  # of all factors together; with more, effects stand above the shares


def gaps(gaps: Sequence[Gap], *, factor: str, colours: Colours = NO_COLOURS) -> Figure | None:
    """Training loss, test loss and the gap between them, a row for each arm; None where no arm has a gap."""
    if not gaps:
        return None
    shown = list(reversed(gaps[:GAPS]))
    paint = colours_of((each.arm.framework for each in gaps), colours)
    with styled():
        figure = Figure(figsize=(WIDTH, 1.3 + 0.28 * len(shown)))
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (part, title) in zip(panels, PARTS.items(), strict=True):
            estimates = [getattr(each, part) for each in shown]
            for row, (each, estimate) in enumerate(zip(shown, estimates, strict=True)):
                _draw_estimate(axes, row, estimate, paint[each.arm.framework])
            values = [estimate.value for estimate in estimates]
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if part != "gap" and min(values) > 0 and max(values) / min(values) > 50:
                axes.set_xscale("log")
                plain_log(axes.xaxis, subs=(1,))
            axes.set_title(title)
            axes.set_xlabel("loss" if part != "gap" else "difference in loss")
        panels[2].axvline(0, color="black", linewidth=0.8)
        panels[0].set_yticks(range(len(shown)), [clean(each.arm.name, 40) for each in shown])
        panels[0].set_ylim(-0.6, len(shown) - 0.4)
        more = f" (first {GAPS} of {len(gaps)})" if len(gaps) > GAPS else ""
        figure.suptitle(f"Generalization gap by {clean(short_key(factor), 40)}{more}")
        return freeze_layout(figure)


def _draw_estimate(axes: Axes, row: int, estimate: Estimate, colour: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=1.4, label="interval")
    axes.plot(estimate.value, row, "o", markersize=4.5, color=colour)


def dose_response(dose: Dose, gaps: Sequence[Gap], *, metric: str, colours: Colours = NO_COLOURS) -> Figure:
    """The score, both losses and the gap against the dose, below each other; a line for each of the other choices.

    Args:
        dose: Levels, and the arms at each.
        gaps: Of those arms that have one.
        metric: The score.
        colours: Framework -> colour.
    """
    by_arm = {each.arm.name: each for each in gaps}
    parts: dict[str, Callable[[Arm], Estimate | None]] = {}
    if metric != metrics.LOSS:
        parts[f"test {formatting.head_of(metric)}"] = lambda arm: _as_shown(arm.interval(metric), metric)
    if by_arm:
        parts[PARTS["train"]] = lambda arm: by_arm[arm.name].train if arm.name in by_arm else None
    parts["test loss"] = lambda arm: arm.interval(metrics.LOSS)
    if by_arm:
        parts["gap (loss)"] = lambda arm: by_arm[arm.name].gap if arm.name in by_arm else None
    groups = _columns(dose)
    shown = dict(list(groups.items())[:DOSE_COLUMNS])
    styles = _dose_looks(dose, colours, is_single=len(groups) == 1)
    with styled():
        figure = Figure(figsize=(WIDTH, 1.2 + 1.45 * len(parts)))
        panels = figure.subplots(len(parts), len(shown), sharex=True, sharey="row", squeeze=False)
        for row, (label, estimate_of) in zip(panels, parts.items(), strict=True):
            row[0].set_ylabel(label)
            for axes, names in zip(row, shown.values(), strict=True):
                for number, name in enumerate(names):
                    estimates = [estimate_of(arm) for arm in dose.curves[name]]
                    width = width_of(number, n=len(names))
                    _draw_dose(axes, dose.levels, estimates, styles[name], label=clean(name), width=width)
        for axes, title in zip(panels[0], shown, strict=True):
            axes.set_title(clean(title, 110 // len(shown) // 2), fontsize=SMALL)
        _set_doses(panels[-1], dose.levels, n_columns=len(shown))
        for axes in panels[-1]:
            axes.set_xlabel(clean(dose.factor if len(shown) == 1 else short_key(dose.factor), 60 // len(shown)))
        figure.align_ylabels(panels[:, 0])
        more = f" (first {DOSE_COLUMNS} of {len(groups)})" if len(groups) > DOSE_COLUMNS else ""
        figure.suptitle(f"Response to {clean(short_key(dose.factor), 40)}{more}")
        _dose_legend(figure, panels[0], is_single=len(groups) == 1)
        return freeze_layout(figure)


def _as_shown(estimate: Estimate | None, metric: str) -> Estimate | None:
    """The same in the unit that the metric is shown in."""
    if estimate is None:
        return None
    factor = metrics.metric_of(metric).factor
    low, high = (None if bound is None else factor * bound for bound in (estimate.low, estimate.high))
    return replace(estimate, value=factor * estimate.value, low=low, high=high)


def _columns(dose: Dose) -> dict[str, list[str]]:
    """Title -> names of its curves: all in one column, or with more than five curves one for each other choice."""
    if len(dose.curves) <= MOST_CURVES:
        return {"": list(dose.curves)}
    columns: dict[str, list[str]] = {}
    for name in dose.curves:
        columns.setdefault(_rest(name), []).append(name)
    return columns


def _rest(name: str) -> str:
    return name.partition(" · ")[2]


def _dose_looks(dose: Dose, colours: Colours, *, is_single: bool) -> dict[str, dict[str, Any]]:
    colours = colours_of((arms[0].framework for arms in dose.curves.values()), colours)
    rests = in_order(_rest(name) for name in dose.curves)
    return {
        name: look(colours[arms[0].framework], rests.index(_rest(name)) if is_single else 0)
        for name, arms in dose.curves.items()
    }


def _draw_dose(
    axes: Axes,
    levels: Sequence[float],
    estimates: Sequence[Estimate | None],
    style: Mapping[str, Any],
    *,
    label: str,
    width: float,
) -> None:
    values = [estimate.value if estimate is not None else math.nan for estimate in estimates]
    axes.plot(levels, values, label=label, linewidth=width, markersize=2.5 + width / 2, **style)
    lows, highs = (
        [math.nan if each is None or (bound := getattr(each, side)) is None else bound for each in estimates]
        for side in ("low", "high")
    )
    if np.isfinite(lows).any():
        axes.fill_between(levels, lows, highs, alpha=0.15, linewidth=0, color=style["color"])


def _set_doses(panels: Sequence[Axes], levels: Sequence[float], *, n_columns: int) -> None:
    if not (min(levels) > 0 and max(levels) / min(levels) >= 8):
        return
    for axes in panels:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
        few = levels[:: math.ceil(len(levels) * n_columns / 12)]
        axes.set_xticks(few, [f"{level:g}" for level in few], minor=False)
        axes.set_xticks([], minor=True)


def _dose_legend(figure: Figure, panels: Sequence[Axes], *, is_single: bool) -> None:
    lines = {str(line.get_label()): line for axes in panels for line in axes.lines}
    names = {name if is_single else name.partition(" · ")[0]: line for name, line in lines.items()}
    columns = max(1, min(len(names), 110 // (8 + max(map(len, names)))))
    figure.legend(list(names.values()), list(names), loc="outside lower center", ncols=columns, frameon=False)


def effects(analysed: Effects, *, colours: Colours = NO_COLOURS) -> Figure:
    """Effect of each level of each factor, and shares of the variance."""
    main = analysed.main or {}
    bars, columns = 1.0 + 0.3 * len(analysed.shares), 3.2  # inches
    with styled():
        if not main:
            figure = Figure(figsize=(WIDTH, bars))
            _draw_shares(figure.subplots(), analysed)
            return freeze_layout(figure)
        if sum(len(levels) for levels in main.values()) <= LEVELS_BESIDE:
            figure = Figure(figsize=(WIDTH, max(columns, bars)))
            parts = figure.subfigures(1, 2, squeeze=False)
        else:
            figure = Figure(figsize=(WIDTH, columns + bars))
            parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[columns, bars])
        _draw_main(parts.flat[0], main, analysed.metric, colours)
        _draw_shares(parts.flat[1].subplots(), analysed)
        return freeze_layout(figure)


def _draw_main(part: SubFigure, main: Mapping[str, Mapping[str, float]], metric: str, colours: Colours) -> None:
    known = metrics.metric_of(metric)
    panels = part.subplots(
        1, len(main), sharey=True, squeeze=False, width_ratios=[len(each) + 1 for each in main.values()]
    )
    for axes, (factor, levels) in zip(panels[0], main.items(), strict=True):
        ordered = in_order(levels)
        paint = colours_of(ordered, colours) if factor == "framework" else {}
        for place, level in enumerate(ordered):
            height = known.factor * levels[level]
            axes.bar(place, height, width=0.6, color=paint.get(level, NEUTRAL))
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(levels)), [clean(level, 16) for level in ordered], rotation=90)
        axes.set_xlim(-0.7, len(levels) - 0.3)
        axes.grid(visible=False, axis="x")
        axes.set_title("\n".join(textwrap.wrap(clean(short_key(factor), 40).replace("_", " "), 12)), fontsize=SMALL)
    unit = f", {known.difference_unit}" if known.difference_unit else ""
    panels[0, 0].set_ylabel(f"effect on {formatting.in_words(metric)}{unit}")
    part.suptitle("Main effects")


def _draw_shares(axes: Axes, analysed: Effects) -> None:
    shares = [100 * term.share for term in analysed.shares]
    names = [" × ".join(short_key(key) for key in term.factors) or "seeds and rest" for term in analysed.shares]
    places = range(len(shares))
    axes.barh(places, shares, height=0.6, color=NEUTRAL)
    for place, share in zip(places, shares, strict=True):
        axes.annotate(f"{share:.1f}", (share, place), (3, 0), textcoords="offset points", va="center", fontsize=SMALL)
    axes.set_yticks(places, [clean(name, 34) for name in names])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max([*shares, 1.0]))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the variance, %")
    axes.set_title(f"Variance of {formatting.in_words(analysed.metric)}", fontsize=10)
