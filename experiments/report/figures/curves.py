"""Learning curves against optimizer steps and against seconds: every seed, the mean, its band; nothing smoothed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from experiments import statistics
from experiments.records import RunRecord
from experiments.report.arms import Arm
from experiments.report.figures.style import (
    DASHES,
    LOG_FROM,
    MARKERS,
    NO_COLOURS,
    WIDTH,
    Colours,
    colours_of,
    freeze_layout,
    looks,
    plain_log,
    styled,
    width_of,
)
from experiments.report.sanitize import clean

Array = NDArray[np.float64]
Looks = Mapping[str, Mapping[str, Any]]
SERIES = 5  # in one panel
ROWS = 8  # of small multiples
ROW, MOST = 1.4, 8.8  # inches: of a row, and of all of them, which fill one screen
POINTS = 400  # of a line
MARKS = 50  # of a line


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run's curve of one metric, finite values only; all of shape (n_evaluations,).

    `steps` are None where the run did not record them, as are `seconds`, which count training alone.
    """

    epochs: Array
    values: Array
    steps: Array | None
    seconds: Array | None
    has_finished: bool


@dataclass(frozen=True, kw_only=True)
class Series:
    """The lines of one arm."""

    arm: Arm
    lines: tuple[Line, ...]


def learning_curves(
    arms: Sequence[Arm], metric: str, *, title: str, unit: str, colours: Colours = NO_COLOURS
) -> Figure | None:
    """Twin panels, steps and seconds; up to five arms in one pair, else a pair for each choice beside the framework.

    Args:
        arms: Whose curves are drawn.
        metric: Of which metric.
        title: Of the figure.
        unit: Beside the upright axis.
        colours: Framework -> colour.

    Returns:
        The figure, or None where no run has a finite value of `metric`.
    """
    drawn = [Series(arm=arm, lines=_lines(arm, metric)) for arm in arms]
    drawn = [series for series in drawn if series.lines]
    if not drawn:
        return None
    rows = _rows(drawn)
    name = clean(title, 80) + (f" (first {ROWS} of {len(rows)})" if len(rows) > ROWS else "")
    with styled():
        return freeze_layout(_draw(rows[:ROWS], metric=metric, title=name, unit=unit, colours=colours))


def _lines(arm: Arm, metric: str) -> tuple[Line, ...]:
    lines = [_line(run, metric) for run in sorted(arm.runs, key=lambda run: (run.seed, run.run_id))]
    return tuple(line for line in lines if line is not None)


def _line(run: RunRecord, metric: str) -> Line | None:
    curve = [(epoch, value) for epoch, value in run.curves.get(metric, []) if math.isfinite(value)]
    if not curve:
        return None
    epochs = [epoch for epoch, _ in curve]
    steps = dict(run.curves.get("step", []))
    return Line(
        epochs=np.array(epochs, dtype=np.float64),
        values=np.array([value for _, value in curve], dtype=np.float64),
        steps=np.array([steps[epoch] for epoch in epochs]) if steps.keys() >= set(epochs) else None,
        seconds=_seconds(run, epochs),
        has_finished=run.outcome == "finished",
    )


def _seconds(run: RunRecord, epochs: Sequence[int]) -> Array | None:
    """Seconds of training at the end of each epoch; None where they were not recorded."""
    trained = dict(run.curves.get("time/trained", []))
    return np.array([trained[epoch] for epoch in epochs]) if trained.keys() >= set(epochs) else None


def _rows(every: Sequence[Series]) -> list[list[Series]]:
    if len(every) <= SERIES:
        return [list(every)]
    rests = dict.fromkeys(series.arm.rest for series in every)
    return [[series for series in every if series.arm.rest == rest] for rest in rests]


def _draw(rows: Sequence[Sequence[Series]], *, metric: str, title: str, unit: str, colours: Colours) -> Figure:
    everything = [series for row in rows for series in row]
    lines = [line for series in everything for line in series.lines]
    has_steps, has_seconds = (
        all(line.steps is not None for line in lines),
        any(line.seconds is not None for line in lines),
    )
    is_single = len(rows) == 1
    figure = Figure(figsize=(WIDTH, 3.6 if is_single else 0.8 + min(ROW * len(rows), MOST)))
    panels = figure.subplots(len(rows), 2 if has_seconds else 1, sharey=True, sharex="col", squeeze=False)
    colours = colours_of((series.arm.framework for series in everything), colours)
    styles = looks([series.arm for series in everything], colours) if is_single else _by_framework(everything, colours)
    names = list(dict.fromkeys(_key(series.arm.name, is_single=is_single) for series in everything))
    for row, (left, *right) in zip(rows, panels, strict=True):
        for number, series in enumerate(row):
            width, style = width_of(number, n=len(row)), styles[series.arm.name]
            key = names.index(_key(series.arm.name, is_single=is_single))
            with _marked(left, figure.axes.index(left), key):
                _draw_steps(left, series, style, width=width, has_steps=has_steps)
            for axes in right:
                with _marked(axes, figure.axes.index(axes), key):
                    _draw_seconds(axes, series, style, width=width)
        if not is_single:
            left.set_title(clean(row[0].arm.rest, 45), loc="left")
    panels[-1][0].set_xlabel("optimizer step" if has_steps else "epoch")
    panels[-1][0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if has_seconds:
        panels[-1][1].set_xlabel("training time, s")
    _set_scale(panels[0][0], lines, metric)
    if is_single:
        panels[0][0].set_ylabel(clean(unit, 30))
    else:
        figure.supylabel(clean(unit, 30), fontsize=9)
    figure.suptitle(title)
    _legend(figure, list(panels[:, 0]), names, is_single=is_single)
    return figure


def _key(name: str, *, is_single: bool) -> str:
    """What stands for an arm in the legend: its name, or where rows tell the rest the framework."""
    return clean(name) if is_single else clean(name).partition(" · ")[0]


@contextmanager
def _marked(axes: Axes, panel: int, key: int) -> Iterator[None]:
    """What is drawn meanwhile bears the number of its panel and of its key in the legend, for the page's script."""
    before = set(axes.get_children())
    yield
    for number, artist in enumerate(axes.get_children()):
        if artist not in before:
            is_mean = not str(artist.get_label()).startswith("_")
            what = "band" if isinstance(artist, Collection) else "mean" if is_mean else "part"
            artist.set_gid(f"{what}-{panel}-{key}-{number}")


def _by_framework(every: Sequence[Series], colours: Colours) -> Looks:
    """Looks where rows tell apart what is not the framework."""
    return {
        s.arm.name: {"color": colours[s.arm.framework], "linestyle": DASHES[0], "marker": MARKERS[0]} for s in every
    }


def _legend(figure: Figure, panels: Sequence[Axes], keys: Sequence[str], *, is_single: bool) -> None:
    handles = {
        str(line.get_label()): line
        for axes in panels
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }
    names = {_key(name, is_single=is_single): line for name, line in handles.items()}
    columns = max(1, min(len(names), 110 // (8 + max(map(len, names), default=0))))
    legend = figure.legend(list(names.values()), list(names), loc="outside lower center", ncols=columns, frameon=False)
    for name, line, text in zip(names, legend.get_lines(), legend.get_texts(), strict=True):
        line.set_gid(f"key-{keys.index(name)}-line")
        text.set_gid(f"key-{keys.index(name)}-text")


def _set_scale(axes: Axes, lines: Sequence[Line], metric: str) -> None:
    """Limits from the values, with room for bands: the interval of three scattered seeds would dwarf the curves."""
    low, high = min(float(line.values.min()) for line in lines), max(float(line.values.max()) for line in lines)
    if metric.endswith("loss") and low > 0 and high / low > LOG_FROM:
        air = min(high / low, 1e300) ** 0.05
        axes.set_yscale("log")
        plain_log(axes.yaxis, subs=(1, 2, 5) if high / low < 1000 else (1,))
        axes.set_ylim(max(low / air, 1e-300), high * air)  # matplotlib takes less for 0
        return
    air = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    bands = [bound for band in axes.collections for bound in band.get_datalim(axes.transData).intervaly]
    reach = 0.5 * (high - low)
    bottom = max(min([low, *bands]), low - reach)
    top = min(max([high, *bands]), high + reach)
    axes.set_ylim(bottom - air, top + air)


def _draw_steps(axes: Axes, series: Series, style: Mapping[str, Any], *, width: float, has_steps: bool) -> None:
    for line in series.lines:
        across = line.steps if has_steps and line.steps is not None else line.epochs
        _draw_seed(axes, across, line, series, style)
    shared = sorted(set.intersection(*(set(line.epochs) for line in series.lines)))  # no mean over survivors
    if not shared:
        return
    columns = [[np.searchsorted(line.epochs, epoch) for epoch in shared] for line in series.lines]
    values = np.array([line.values[column] for line, column in zip(series.lines, columns, strict=True)])
    first = series.lines[0]
    across = (first.steps if has_steps and first.steps is not None else first.epochs)[columns[0]]
    _draw_mean(axes, across, values, series.arm, style, width=width)


def _draw_seconds(axes: Axes, series: Series, style: Mapping[str, Any], *, width: float) -> None:
    """Means of what is known at each moment: the last value is carried forward, nothing is interpolated."""
    timed = [(line.seconds, line) for line in series.lines if line.seconds is not None]
    for seconds, line in timed:
        _draw_seed(axes, seconds, line, series, style, drawstyle="steps-post")
    if not timed:
        return
    grid = common_grid([seconds for seconds, _ in timed], whole=all(line.has_finished for _, line in timed))
    if grid.size:
        values = np.array([line.values[np.searchsorted(seconds, grid, side="right") - 1] for seconds, line in timed])
        _draw_mean(axes, grid, values, series.arm, style, width=width, drawstyle="steps-post")


def common_grid(seconds: Sequence[Array], *, whole: bool) -> Array:
    """Moments at which all seeds that go so far have had their first, second, third ... evaluation.

    Args:
        seconds: For each seed its evaluations, shape (n_evaluations,), rising.
        whole: Whether all came to their end: then the last value of a faster or shorter run stands until the last run
            ends; else the grid ends with the first run to end, as a run that diverged has no value to carry.
    """
    longest = max(len(each) for each in seconds)
    moments = np.unique([max(each[count] for each in seconds if len(each) > count) for count in range(longest)])
    start = max(each[0] for each in seconds)
    end = max(moments) if whole else min(each[-1] for each in seconds)
    return np.asarray(moments[(moments >= start) & (moments <= end)])


def _draw_seed(axes: Axes, across: Array, line: Line, series: Series, style: Mapping[str, Any], **kind: Any) -> None:
    kept = decimated(line.values)
    look = {key: value for key, value in style.items() if key != "marker"}
    axes.plot(across[kept], line.values[kept], linewidth=0.6, alpha=0.5, label="_seed", **look, **kind)
    if line.epochs[-1] < max(other.epochs[-1] for other in series.lines):
        axes.plot(across[-1], line.values[-1], "s", markersize=6, color=look["color"], markeredgecolor="white",
                  label="_ended early", zorder=5)  # fmt: skip


def _draw_mean(
    axes: Axes, across: Array, values: Array, arm: Arm, style: Mapping[str, Any], *, width: float, **kind: Any
) -> None:
    kept = decimated(values.mean(axis=0))
    estimates = [statistics.mean_interval(column) for column in values[:, kept].T]
    axes.plot(across[kept], [estimate.value for estimate in estimates], markersize=2.5 + width / 2, linewidth=width,
              markevery=math.ceil(len(kept) / MARKS), label=clean(arm.name), **style, **kind)  # fmt: skip
    lows = [estimate.low for estimate in estimates if estimate.low is not None]
    highs = [estimate.high for estimate in estimates if estimate.high is not None]
    if len(lows) == len(kept):
        step: dict[str, Any] = {"step": "post"} if kind else {}
        axes.fill_between(across[kept], lows, highs, alpha=0.15, linewidth=0, color=style["color"], **step)


def decimated(values: Array) -> NDArray[np.intp]:
    """Indices of at most 400 points: the first, the last, and the least and greatest of each bin between."""
    if len(values) <= POINTS:
        return np.arange(len(values))
    bins = np.array_split(np.arange(len(values)), POINTS // 2 - 1)
    kept = [index for each in bins for index in (each[values[each].argmin()], each[values[each].argmax()])]
    return np.unique([0, *kept, len(values) - 1])
