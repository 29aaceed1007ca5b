"""What the figures of studies share: scales of scores, symbols of states, axes, panels and legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.records import StudyRecord, TrialRecord
from experiments.report.figures.style import (
    NEUTRAL,
    SMALL,
    WIDTH,
    Colours,
    colours_of,
    plain_log,
    settled,
    styled,
)
from experiments.report.studies import facts as found
from experiments.report.studies.facts import (
    KeyAxis,
    axis_of,
    complete,
    fate,
    keys_of,
    label_of,
    objective,
    ordered,
    score,
)
from experiments.report.studies.sensitivity import LOST

PANELS = 8
LOG_FROM = 20  # largest over smallest score
MARKERS = {"COMPLETE": "o", "PRUNED": "v", "FAIL": "x"}
WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}

Studies = Sequence[StudyRecord]
Draw = Callable[[Axes, StudyRecord], None]


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
        return (math.log(value) if self.is_log else value) * (-1 if self.is_maximized else 1)

    def at(self, share: float) -> float:
        """The score at a share of the scale, from the best (0) to the worst (1) and beyond."""
        badness = (self.best + share * self.span) * (-1 if self.is_maximized else 1)
        return math.exp(badness) if self.is_log else badness

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
    return Scale(best=best, worst=max(worst, default=best), is_log=is_log, is_maximized=is_maximized, is_empty=not kept)


def scale_of(studies: Studies, study: StudyRecord, index: int = 0, *, states: Sequence[str] = tuple(MARKERS)) -> Scale:
    """The scale that a study shares with all that have the same objective; `states` are drawn on it."""
    same = [other for other in studies if objective(other, index) == objective(study, index)]
    groups = [[score(trial, index) for trial in ordered(other)] for other in same]
    scale = scale_from(groups, is_maximized=objective(study, index)[1])
    shown = [score(trial, index) for other in same for trial in other.trials if fate(trial) in states]
    return Scale(**{**vars(scale), "has_strip": not all(map(scale.holds, shown))})


def shades_of(studies: Studies, study: StudyRecord) -> Scale:
    """The scale of complete trials alone, for their colours."""
    same = [other for other in studies if objective(other) == objective(study)]
    groups = [[trial.scores[0] for trial in complete(other)] for other in same]
    return scale_from(groups, is_maximized=objective(study)[1])


def multiples(every: Studies, draw: Draw, *, title: str, x: str = "", y: Callable[[StudyRecord], str] | None = None,
              most: int = PANELS, columns: int = 2, height: float = 1.8, legend: Sequence[Artist] = (),
              is_coloured: bool = False, has_line_legend: bool = False) -> Figure | None:  # fmt: skip
    """A panel for each study, one scale for each objective; None without a study."""
    shown = list(every[:most])
    if not shown:
        return None
    with styled():
        columns = min(columns, len(shown))
        rows = math.ceil(len(shown) / columns)
        figure = Figure(figsize=(WIDTH, 1.0 + max(height, 2.3 if rows == 1 else 0) * rows))
        panels = figure.subplots(rows, columns, squeeze=False)
        for number, (axes, study) in enumerate(zip(panels.flat, shown, strict=False)):
            axes.set_title(label_of(study, every), loc="left", fontsize=SMALL)
            draw(axes, study)
            if y is not None and (number % columns == 0 or objective(study) != objective(shown[0])):
                axes.set_ylabel(folded(y(study), 26 if rows > 1 or columns > 1 else 44))
            if x and number + columns >= len(shown):
                axes.set_xlabel(x if columns == 1 or len(x) < 45 else textwrap.fill(x, 36))
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        if is_coloured:
            _colour_scores(figure, list(panels.flat), shown)
        figure.suptitle(f"{title}{first_of(every, most)}")
        lines = {str(line.get_label()): line for axes in panels.flat for line in axes.lines}
        add_legend(figure, list(lines.values()) if has_line_legend else legend)
        return settled(figure)


def folded(text: str, width: int) -> str:
    """A label in lines, broken before its bracket where it is too long for one."""
    parts = [text] if len(text) <= width else text.replace(" (", "\n(").split("\n")
    return "\n".join(line for part in parts for line in textwrap.wrap(part, width))


def _colour_scores(figure: Figure, panels: Sequence[Axes], shown: Studies) -> None:
    """One colour bar for all, or where objectives differ one for each."""
    is_shared = len({objective(study) for study in shown}) == 1
    for group, study in [(panels, shown[0])] if is_shared else zip(([axes] for axes in panels), shown, strict=False):
        own = shown if is_shared else [study]
        if sum(len(complete(each)) for each in own) > 1:
            scale = shades_of(shown, study)
            bar = colour_bar(figure, scale.colours, group, score_label(study))
            if scale.is_log:
                plain_log(bar.ax.yaxis)


def colour_bar(figure: Figure, colours: ScalarMappable, panels: Sequence[Axes], label: str) -> Any:
    """Add a bar that says what the colours of some panels mean."""
    bar = figure.colorbar(colours, ax=list(panels), label=label, fraction=0.04, pad=0.02, aspect=30)
    bar.ax.grid(visible=False)
    return bar


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Give a figure a legend below, in as many columns as fit."""
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(len(handles), 110 // (8 + longest)))
        figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False)


def paint_by_framework(studies: Studies, colours: Colours) -> dict[str, str]:
    """Framework -> colour, of all that the studies tuned."""
    return colours_of((study.framework for study in studies), colours)


def state_handles(studies: Studies, colours: Colours, states: Sequence[str] = tuple(MARKERS)) -> list[Artist]:
    """Legend entries for those of the states that occur, in the colour of their framework."""
    paints = {colours[study.framework] for study in studies}
    colour = paints.pop() if len(paints) == 1 else NEUTRAL
    return [Line2D([], [], linestyle="", label=WORDS[s], **_symbol(s, colour)) for s in states if has_state(studies, s)]


def if_complete(studies: Studies, handle: Artist) -> list[Artist]:
    """A legend entry that is there only if any trial is complete."""
    return [handle] if any(map(has_complete, studies)) else []


def ring_handle(label: str = "best") -> Artist:
    """The legend entry of a ring."""
    return Line2D([], [], linestyle="", marker="o", markersize=9, color="black", markerfacecolor="none", label=label)


def first_of(shown: Studies, most: int) -> str:
    """Words for a title where not all fit in; empty where they do."""
    return f" (first {most} of {len(shown)})" if len(shown) > most else ""


def score_label(study: StudyRecord, index: int = 0) -> str:
    """Name of an objective and which way is better."""
    name, is_maximized = objective(study, index)
    return f"{name} ({'higher' if is_maximized else 'lower'} is better)"


def draw_ring(axes: Axes, x: float, y: float) -> None:
    """Draw a ring around one trial."""
    axes.plot(x, y, "o", markersize=10, markerfacecolor="none", color="black", markeredgewidth=1.3, label="_ring",
              zorder=6)  # fmt: skip


def _symbol(state: str, colour: Any) -> dict[str, Any]:
    paint = LOST if state == "FAIL" else colour
    return {
        "marker": MARKERS[state],
        "markersize": 4.5 if state == "COMPLETE" else 5.0,
        "color": paint,
        "markerfacecolor": paint if state == "COMPLETE" else "none",
        "markeredgewidth": {"COMPLETE": 0.0, "PRUNED": 0.9, "FAIL": 1.4}[state],
    }


def draw_points(axes: Axes, across: Sequence[float], up: Sequence[float], state: str, colour: Any) -> None:
    """Trials of one state; `colour` is one for all, or one for each complete trial."""
    if not len(across):
        return
    if isinstance(colour, str):
        axes.plot(across, up, linestyle="", label=f"_{state}", clip_on=False, zorder=3, **_symbol(state, colour))
    else:
        axes.scatter(across, up, s=24, c=colour, edgecolors=NEUTRAL, linewidths=0.5, label=f"_{state}", zorder=3)


def paint_of(colours: ScalarMappable, value: float) -> tuple[float, ...]:
    """The colour of one value."""
    return tuple(colours.to_rgba(np.array([value]))[0])


def set_whole_ticks(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def set_dimension(axes: Axes, along: str, dimension: KeyAxis, *, most: int) -> None:
    """Give an axis the whole searched range, so that a value at its edge is seen to be there."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = dimension.low, dimension.high
    if dimension.is_log:
        axes.set(**{f"{along}scale": "log"})
        air = (high / low) ** 0.06 if high > low else 2.0
        ticks = log_ticks(low, high, most)
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
        axes.set(**{f"{along}lim": (low / air, high * air)})
        return
    air = 0.07 * (high - low) or 0.5
    axes.set(**{f"{along}lim": (low - air, high + air)})
    if dimension.choices:
        every = math.ceil(len(dimension.choices) / 12)
        names = [found.one_line(text, 14) for text in dimension.choices[::every]]
        is_long = along == "x" and sum(len(name) + 2 for name in names) > 6 * most
        axis.set_ticks(range(0, len(dimension.choices), every), names, rotation=90 if is_long else 0)
    else:
        axis.set_major_locator(MaxNLocator(most, integer=dimension.is_integer))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def ticks_of(dimension: KeyAxis) -> list[tuple[float, str]]:
    """Heights in [0, 1] and texts of the marks along an upright axis."""
    if dimension.choices:
        last = max(1, len(dimension.choices) - 1)
        every = math.ceil(len(dimension.choices) / 6)
        named = list(enumerate(dimension.choices))[::every]
        return [
            (place / last if len(dimension.choices) > 1 else 0.5, found.one_line(text, 12)) for place, text in named
        ]
    if dimension.low == dimension.high:
        return [(0.5, f"{dimension.low:.4g}")]
    middle = (dimension.low * dimension.high) ** 0.5 if dimension.is_log else (dimension.low + dimension.high) / 2
    return [(0.0, f"{dimension.low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{dimension.high:.3g}")]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many powers of ten in the range, or 1, 2 and 5 times them where there are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) >= 2:
            return inside[:: math.ceil(len(inside) / most)]
    return [low, high] if high > low else [low]


def studies_with(studies: Studies, has_content: Callable[[StudyRecord], bool]) -> list[StudyRecord]:
    """The studies that have what a figure shows."""
    return [study for study in studies if has_content(study)]


def studies_with_plane(studies: Studies) -> list[StudyRecord]:
    """The studies in which two numeric keys varied."""
    ranking = keys_of(studies)
    return studies_with(studies, lambda study: len(plane_of(study, ranking)) == 2)


def has_trials(study: StudyRecord) -> bool:
    """Whether it has any trial, in whatever state."""
    return bool(study.trials)


def has_complete(study: StudyRecord) -> bool:
    """Whether any trial came to its end."""
    return bool(complete(study))


def has_importances(study: StudyRecord) -> bool:
    """Whether Optuna could tell how much its keys matter."""
    return bool(study.importances)


def has_reports(study: StudyRecord) -> bool:
    """Whether any trial reported a finite score while it trained."""
    return any(map(reports_of, study.trials))


def has_times(study: StudyRecord) -> bool:
    """Whether it is known of any trial when it ran."""
    return any(times_of(trial, study) for trial in study.trials)


def has_front(study: StudyRecord) -> bool:
    """Whether it has two objectives and a complete trial."""
    return len(study.objectives) == 2 and has_complete(study)


def has_tried(study: StudyRecord) -> bool:
    """Whether any trial that is drawn has values."""
    return any(trial.values for trial in study.trials if fate(trial) in MARKERS)


def keys_in(study: StudyRecord, ranking: Sequence[str]) -> list[str]:
    """The keys of a ranking that a study has tried, in its order."""
    return [key for key in ranking if any(key in trial.values for trial in study.trials)]


def has_state(studies: Studies, state: str) -> bool:
    """Whether any trial of the studies is in this state."""
    return any(fate(trial) == state for study in studies for trial in study.trials)


def plane_of(study: StudyRecord, ranking: Sequence[str]) -> list[KeyAxis]:
    """The two most important numeric keys of a study that varied; fewer where there are not so many."""
    dimensions = [axis_of(study, key) for key in keys_in(study, ranking)]
    trials = [trial for trial in study.trials if fate(trial) in MARKERS]
    varying = [each for each in dimensions if len({trial.values.get(each.key) for trial in trials} - {None}) > 1
               if not each.choices]  # fmt: skip
    return varying[:2]


def reports_of(trial: TrialRecord) -> list[tuple[int, float]]:
    """Epochs and finite scores that a trial reported, in order."""
    return [(epoch, value) for epoch, value in sorted(trial.reported) if math.isfinite(value)]


def times_of(trial: TrialRecord, study: StudyRecord) -> tuple[float, float] | None:
    """Begin and end; one that still runs goes on to the last moment known."""
    if trial.began is None or not math.isfinite(trial.began):
        return None
    if trial.ended is not None and math.isfinite(trial.ended):
        return trial.began, max(trial.began, trial.ended)
    moments = [each for other in study.trials for each in (other.began, other.ended) if found.is_number(each)]
    return (trial.began, float(max(moments))) if trial.state == "RUNNING" else None
