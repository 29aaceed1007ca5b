"""What the trials of a search scored: a panel for each choice."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from experiments.records import RunRecord, TunedValue
from experiments.report import formatting
from experiments.report.arms import as_number, choice, varying_keys
from experiments.report.figures.style import (
    COLOURS,
    LOST,
    NEUTRAL,
    NO_COLOURS,
    SMALL,
    WIDTH,
    Colours,
    colours_of,
    freeze_layout,
    plain_log,
    styled,
)
from experiments.report.sanitize import clean

SEARCHES = 24


def search_sensitivity(
    trials: Sequence[RunRecord], choices: Sequence[TunedValue], *, margin: float | None, colours: Colours = NO_COLOURS
) -> Figure | None:
    """Score of every trial against the value it tried, a panel for each choice but the framework's.

    Args:
        trials: Runs of the search, finished or not; those lost to the machine are left out.
        choices: What the search chose; its metric is better lower.
        margin: The largest difference in the metric that does not matter, if one was declared.
        colours: Framework -> colour.

    Returns:
        The figure, or None where no trial belongs to a choice.
    """
    first = {repr(sorted(_group(each.labels, each.key).items())): each for each in reversed(choices)}
    groups = [(each, _trials_of(each, trials)) for each in reversed(first.values())]
    groups = [(each, members) for each, members in groups if members]
    if not groups:
        return None
    shown = groups[:SEARCHES]
    drawn = [trial for _, members in shown for trial in members]
    paint = colours_of((trial.framework for trial in drawn), colours)
    with styled():
        columns = min(3, len(shown))
        rows = math.ceil(len(shown) / columns)
        figure = Figure(figsize=(WIDTH, 3.4 if rows == 1 else 1.0 + 2.0 * rows))
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        top = _robust_top([scores for each, members in shown if (scores := _finite_scores(each, members))])
        for axes, (each, members) in zip(panels.flat, shown, strict=False):
            same = [other for other in choices if _group(other.labels, other.key) == _group(each.labels, each.key)]
            _draw_search(axes, each, members, same=same, margin=margin, top=top, colours=paint)
            axes.set_title(_title_of(each, choices), loc="left", fontsize=SMALL)
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        _limit_scores(panels[0, 0], shown, top)
        score = clean(formatting.in_words(choices[0].metric), 30)
        for axes in panels[:, 0]:
            axes.set_ylabel(score)
        for axes in panels.flat[max(0, len(shown) - columns) : len(shown)]:
            axes.set_xlabel(clean(choices[0].key, 60 // columns + 6))
        more = f" (first {SEARCHES} of {len(groups)})" if len(groups) > SEARCHES else ""
        figure.suptitle(f"{score} of every trial{more}")
        _search_legend(figure, drawn, paint)
        return freeze_layout(figure)


def _trials_of(each: TunedValue, trials: Sequence[RunRecord]) -> list[RunRecord]:
    group = _group(each.labels, each.key)
    members = [trial for trial in trials if _group(trial.labels, each.key) == group and _is_over(trial)]
    members = [trial for trial in members if as_number(trial.labels.get(each.key, "")) is not None]
    return sorted(members, key=lambda trial: (_value(each, trial), trial.framework, trial.seed, trial.run_id))


def _is_over(trial: RunRecord) -> bool:
    """Whether a trial came to an end of its own: a pruned one has no score that could stand beside the others'."""
    return trial.outcome != "pruned" and not trial.was_killed


def _group(labels: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in ("framework", key)}


def _value(each: TunedValue, trial: RunRecord) -> float:
    return float(trial.labels[each.key])


def _score(each: TunedValue, trial: RunRecord) -> float:
    return trial.metrics.get(each.metric, math.nan) if trial.outcome == "finished" else math.nan


def _finite_scores(each: TunedValue, members: Sequence[RunRecord]) -> list[float]:
    return [score for trial in members if math.isfinite(score := _score(each, trial))]


def _title_of(each: TunedValue, choices: Sequence[TunedValue]) -> str:
    keys = [key for key in varying_keys([other.labels for other in choices]) if key not in ("framework", each.key)]
    name = " · ".join(choice(key, each.labels[key]) for key in keys if key in each.labels)
    return "\n".join(textwrap.wrap(clean(name, 60), 30))


def _robust_top(scores: Sequence[Sequence[float]]) -> float:
    """Upper limit that one bad trial cannot raise: three medians, but above the best trial of every panel."""
    everything = [score for panel in scores for score in panel]
    if not everything:
        return 1.0
    center = float(np.median(everything))
    cap = max(center + 2 * abs(center), *(min(panel) for panel in scores))
    return max(score for score in everything if score <= cap)


def _limit_scores(axes: Axes, shown: Sequence[tuple[TunedValue, Sequence[RunRecord]]], top: float) -> None:
    low = min((score for each, members in shown for score in _finite_scores(each, members)), default=0.0)
    air = 0.06 * (top - low) or 0.05 * abs(top) or 1.0
    axes.set_ylim(low - air, top + 2 * air)


def _draw_search(
    axes: Axes,
    each: TunedValue,
    members: Sequence[RunRecord],
    *,
    same: Sequence[TunedValue],
    margin: float | None,
    top: float,
    colours: Colours,
) -> None:
    by_value: dict[float, list[float]] = {}
    for trial in members:
        by_value.setdefault(_value(each, trial), []).append(_score(each, trial))
    values = list(by_value)
    if values[0] > 0 and len(values) > 1:
        axes.set_xscale("log")
        plain_log(axes.xaxis, subs=(1,) if values[-1] / values[0] >= 10 else (1, 2, 5))
    axes.set_xlim(*_with_air(values, is_log=axes.get_xscale() == "log"))
    if margin is not None:
        _shade_good(axes, by_value, margin)
    best = [min((score for score in scores if math.isfinite(score)), default=math.nan) for scores in by_value.values()]
    axes.plot(values, best, color=NEUTRAL, linewidth=1.0, label="best")
    _draw_trials(axes, each, members, top=top, colours=colours)
    for value in sorted({other.value for other in same if other.value is not None}):
        axes.axvline(value, color="black", linestyle="--", linewidth=0.9, label="chosen", zorder=1.5)
    if each.value is not None and each.at_edge:
        middle = (each.low * each.high) ** 0.5 if each.low > 0 else (each.low + each.high) / 2
        side = -1 if each.value > middle else 1
        axes.annotate("at the edge", (each.value, 0.5), (3 * side, 0), ("data", "axes fraction"), "offset points",
                      rotation=90, va="center", ha="left" if side > 0 else "right", fontsize=SMALL,
                      bbox={"color": "white", "alpha": 0.8, "pad": 0.5})  # fmt: skip


def _with_air(values: Sequence[float], *, is_log: bool) -> tuple[float, float]:
    if is_log:
        air = (values[-1] / values[0]) ** 0.06
        return values[0] / air, values[-1] * air
    wide = 0.06 * (values[-1] - values[0]) or 0.5
    return values[0] - wide, values[-1] + wide


def _shade_good(axes: Axes, by_value: Mapping[float, Sequence[float]], margin: float) -> None:
    """Shade the values next to the best whose mean lies within the margin, and a third of the way to the others."""
    values = list(by_value)
    means = [math.fsum(scores) / len(scores) for scores in by_value.values()]
    known = [mean if math.isfinite(mean) else math.inf for mean in means]
    best = min(known)
    if not math.isfinite(best):
        return
    low = high = known.index(best)
    while low > 0 and known[low - 1] <= best + margin:
        low -= 1
    while high < len(known) - 1 and known[high + 1] <= best + margin:
        high += 1
    to, back = (np.log, np.exp) if axes.get_xscale() == "log" else (np.asarray, np.asarray)
    places = to(values)
    left = places[low] - (places[low] - places[low - 1]) / 3 if low else places[low]
    right = places[high] + (places[high + 1] - places[high]) / 3 if high < len(values) - 1 else places[high]
    axes.axvspan(float(back(left)), float(back(right)), color=COLOURS[2], alpha=0.15, linewidth=0, label="good")


def _draw_trials(axes: Axes, each: TunedValue, members: Sequence[RunRecord], *, top: float, colours: Colours) -> None:
    """Dots; at the upper edge a triangle for a score beyond it, a cross for a trial without one."""
    frameworks = sorted({trial.framework for trial in members})
    for number, framework in enumerate(frameworks):
        shift = 4.0 * (number - (len(frameworks) - 1) / 2)  # points, so that equal scores are both seen
        own = [trial for trial in members if trial.framework == framework]
        scores = np.array([_score(each, trial) for trial in own])
        values = np.array([_value(each, trial) for trial in own])
        figure = axes.get_figure(root=True)
        inside = offset_copy(axes.transData, figure, x=shift, units="points")
        edge = offset_copy(axes.get_xaxis_transform(), figure, x=shift, units="points")
        colour = colours[framework]
        axes.plot(values[scores <= top], scores[scores <= top], "o", markersize=4, color=colour, alpha=0.8,
                  markeredgewidth=0, transform=inside, label=f"trials {framework}")  # fmt: skip
        for mask, marker, paint in ((scores > top, "^", colour), (np.isnan(scores), "x", LOST)):
            if mask.any():
                axes.plot(values[mask], np.full(mask.sum(), 0.97), marker, markersize=5.5, color=paint, transform=edge,
                          markeredgewidth=1.6 if marker == "x" else 0, clip_on=False)  # fmt: skip


def _search_legend(figure: Figure, trials: Sequence[RunRecord], colours: Colours) -> None:
    frameworks = sorted({trial.framework for trial in trials})
    handles = [_mark("o", colours[framework], clean(framework, 30)) for framework in frameworks]
    handles += [_mark("x", LOST, "diverged or failed"), _mark("^", NEUTRAL, "beyond the axis")]
    handles.append(Line2D([], [], color=NEUTRAL, linewidth=1.0, label="best at each value"))
    handles.append(Line2D([], [], color="black", linestyle="--", linewidth=0.9, label="chosen"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  columnspacing=1.0, handletextpad=0.4)  # fmt: skip


def _mark(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=label)
