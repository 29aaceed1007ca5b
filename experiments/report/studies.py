"""What Optuna's studies did and found: a panel for each study, colour by framework, symbols for states."""

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
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.records import StudyRecord, TrialRecord
from experiments.report import studies_tables as found
from experiments.report.drawn import Drawn
from experiments.report.figures import NEUTRAL, SMALL, WIDTH, colour_of, look, plain_log, settled, styled, width_of
from experiments.report.names import clean
from experiments.report.searches import LOST
from experiments.report.studies_tables import (
    FEW,
    Dimension,
    best_of,
    complete,
    dimension_of,
    fate,
    keys_of,
    label_of,
    objective,
    ordered,
    score,
    spoken,
    studies_table,
    trials_table,
)
from experiments.report.tables import Table

PANELS = 8
PARALLEL_PANELS = 4
SLICE_KEYS = 4
PARALLEL_KEYS = 6
BARS = 8
CROWD = 60  # trials of a study; with more, lines are thinner and only failed ones bear marks
LINES = 5  # of budgets, in one panel
LOG_FROM = 20  # largest over smallest score
MISSING = -0.16  # where parallel coordinates show that a trial had no such key, as a share of the axis
MARKERS = {"COMPLETE": "o", "PRUNED": "v", "FAIL": "x"}
BAR_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned (triangle)",
    "FAIL": "failed (cross)",
    "RUNNING": "still running",
}
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


def history(studies: Studies) -> Figure | None:
    """The score of every trial against its number, and the best so far as a step line."""
    shown = _with(studies, lambda study: any(fate(trial) in MARKERS for trial in study.trials))

    def draw(axes: Axes, study: StudyRecord) -> None:
        scale = scale_of(shown, study)
        for state in MARKERS:
            own = [trial for trial in ordered(study) if fate(trial) == state]
            places = [scale.place(score(trial)) for trial in own]
            _points(axes, [trial.number for trial in own], places, state, colour_of(study.framework))
        if done := complete(study):
            numbers = [*(trial.number for trial in done), max(trial.number for trial in study.trials)]
            line = [scale.place(value) for value in found.best_so_far(study)]
            axes.plot(numbers, [*line, line[-1]], drawstyle="steps-post", color="black", linewidth=1.2, label="_best")
        scale.set(axes)
        _count(axes.xaxis)
        air = 0.5 + 0.02 * len(study.trials)
        numbers = [trial.number for trial in study.trials]
        axes.set_xlim(min(numbers) - air, max(numbers) + air)

    legend = [
        *_state_handles(shown),
        *_if_complete(shown, Line2D([], [], color="black", linewidth=1.2, label="best so far")),
    ]
    return _multiples(shown, draw, title="Score of every trial", x="trial", y=_score_label, legend=legend)


def importances(studies: Studies) -> Figure | None:
    """Share of each key in the importance, a bar each."""
    shown = _with(studies, lambda study: bool(study.importances))

    def draw(axes: Axes, study: StudyRecord) -> None:
        keys = sorted(study.importances, key=lambda key: (-study.importances[key], key))[:BARS]
        shares = [100 * study.importances[key] for key in keys]
        axes.barh(range(len(keys)), shares, height=0.6, color=colour_of(study.framework))
        for place, share in enumerate(shares):
            axes.annotate(
                f"{share:.0f}", (share, place), (3, 0), textcoords="offset points", va="center", fontsize=SMALL
            )
        axes.set_yticks(range(len(keys)), [spoken(key, 18) for key in keys])
        axes.set_ylim(max(len(keys), 2) - 0.4, -0.6)
        axes.set_xlim(0, 112)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.grid(visible=False, axis="y")
        notes = [f"few trials ({len(complete(study))}): read with care"] if len(complete(study)) < FEW else []
        notes += [f"{BARS} of {len(study.importances)} keys"] if len(study.importances) > BARS else []
        axes.set_title("\n".join([label_of(study, studies, 28), *notes]), loc="left", fontsize=SMALL)

    care = ": few trials, read with care" if any(len(complete(study)) < FEW for study in shown) else ""
    bars = max((min(BARS, len(study.importances)) for study in shown), default=0)
    return _multiples(shown, draw, title=f"Importance of the keys{care}", x="share of the importance, %",
                      height=0.95 + 0.19 * bars)  # fmt: skip


def slices(studies: Studies) -> Figure | None:
    """Score against each of the four most important keys, a row for each study."""
    every = _with(studies, _has_tried)
    shown = every[:PANELS]
    if not shown:
        return None
    keys = {id(study): _keys_in(study, keys_of(shown))[:SLICE_KEYS] for study in shown}
    last = max(trial.number for study in shown for trial in study.trials)
    numbers = ScalarMappable(Normalize(0, max(1, last)), "cividis")
    with styled():
        columns = max(map(len, keys.values()))
        is_alike = len({tuple(map(str, _axes_of(study, keys[id(study)]))) for study in shown}) == 1
        row_height = 2.0 if len(shown) == 1 else 1.2 if is_alike else 1.5  # inches
        is_turned = any(each.choices for study in shown for each in _axes_of(study, keys[id(study)]))
        below = 0.6 * is_turned * (1 if is_alike else len(shown))  # inches, for names of choices
        figure = Figure(figsize=(WIDTH, 1.4 + row_height * len(shown) + below))
        panels = figure.subplots(len(shown), columns, sharey="row", squeeze=False)
        for row, study in zip(panels, shown, strict=True):
            for axes, dimension in zip(row, _axes_of(study, keys[id(study)]), strict=False):
                _draw_slice(axes, study, dimension, scale_of(shown, study), numbers, columns=columns)
                if study is shown[-1] or not is_alike:
                    axes.set_xlabel(clean(dimension.name, 60 // columns + 8))
                else:
                    axes.tick_params(labelbottom=False)
            scale_of(shown, study).set(row[0])
            for axes in row[len(keys[id(study)]) :]:
                axes.set_axis_off()
            row[0].set_title(label_of(study, studies, min(80, 150 // columns)), loc="left", fontsize=SMALL)
            row[0].set_ylabel(textwrap.fill(objective(study)[0], 16))
        _count(_colour_bar(figure, numbers, list(panels.flat), "trial").ax.yaxis)
        figure.suptitle(f"Score against each key{_more(every, PANELS)}")
        _legend(figure, [*_state_handles(shown), *_if_complete(shown, _ring())])
        return settled(figure)


def _draw_slice(
    axes: Axes, study: StudyRecord, dimension: Dimension, scale: Scale, numbers: ScalarMappable, *, columns: int
) -> None:
    for state in MARKERS:
        own = [trial for trial in ordered(study) if fate(trial) == state and dimension.key in trial.values]
        paint = [_paint(numbers, trial.number) for trial in own] if state == "COMPLETE" else NEUTRAL
        places = [scale.place(score(trial)) for trial in own]
        _points(axes, [dimension.place(trial) for trial in own], places, state, paint)
    best = best_of(study)
    if best is not None and dimension.key in best.values:
        _draw_ring(axes, dimension.place(best), scale.place(score(best)))
    if scale.has_strip:
        axes.axhspan(scale.at(1.08), scale.at(1.24), color="#e8e8e8", linewidth=0, zorder=0.5)
    _set_dimension(axes, "x", dimension, most=3 if columns > 2 else 6)


def _axes_of(study: StudyRecord, keys: Sequence[str]) -> list[Dimension]:
    return [dimension_of(study, key) for key in keys]


def parallel_coordinates(studies: Studies) -> Figure | None:
    """Each trial as a line over the keys to its score."""
    shown = _with(studies, _has_tried)

    def draw(axes: Axes, study: StudyRecord) -> None:
        keys = _keys_in(study, keys_of(shown))
        dimensions = [dimension_of(study, key) for key in keys[:PARALLEL_KEYS]]
        scale = shades_of(shown[:PARALLEL_PANELS], study)
        for trial in [trial for trial in ordered(study) if fate(trial) in ("FAIL", "PRUNED")]:
            _draw_path(axes, dimensions, trial, **_line_look(trial))
        done = found.ranked(study)
        thin = {"linewidth": 1.0 if len(done) <= CROWD else 0.5, "label": "_trial"}
        for trial in reversed(done):
            end = _score_share(scale, score(trial))
            if trial is best_of(study):
                _draw_path(axes, dimensions, trial, end=end, color="white", linewidth=5.5)
            kind = {"linewidth": 3.0, "label": "_best"} if trial is best_of(study) else thin
            _draw_path(axes, dimensions, trial, end=end, color=_paint(scale.colours, score(trial)), **kind)
        _draw_uprights(axes, dimensions, study, scale)
        more = f" (first {PARALLEL_KEYS} of {len(keys)} keys)" if len(keys) > PARALLEL_KEYS else ""
        axes.set_title(label_of(study, studies, 80) + more, loc="left", fontsize=SMALL)

    legend = _if_complete(shown, Line2D([], [], color="#00224e", linewidth=3.0, label="best"))
    legend += [Line2D([], [], label=WORDS[state], **kind) for state, kind in LINE_LOOKS.items() if _any(shown, state)]
    return _multiples(shown, draw, title="Values and score of every trial", most=PARALLEL_PANELS, columns=1, height=2.1,
                      legend=legend, is_coloured=True)  # fmt: skip


LINE_LOOKS: dict[str, dict[str, Any]] = {
    "PRUNED": {"color": NEUTRAL, "linestyle": "--", "linewidth": 0.7},
    "FAIL": {"color": LOST, "linestyle": ":", "linewidth": 1.0},
}


def _line_look(trial: TrialRecord) -> dict[str, Any]:
    return {**LINE_LOOKS[fate(trial)], "label": f"_{WORDS[fate(trial)]}"}


def _score_share(scale: Scale, value: float) -> float:
    """Height of a score: large scores above, whether good or bad; one beyond the scale at its end."""
    badness = min(1.0, (scale.badness(value) - scale.best) / scale.span) if scale.holds(value) else 1.0
    return 1 - badness if scale.is_maximized else badness


def _draw_path(
    axes: Axes, dimensions: Sequence[Dimension], trial: TrialRecord, *, end: float | None = None, **kind: Any
) -> None:
    shares = [each.share(trial) for each in dimensions]
    heights = [MISSING if math.isnan(share) else share for share in shares] + ([] if end is None else [end])
    axes.plot(range(len(heights)), heights, clip_on=False, **kind)


def _draw_uprights(axes: Axes, dimensions: Sequence[Dimension], study: StudyRecord, scale: Scale) -> None:
    """Draw the axes with numbers at their ends and middles."""
    bad_end = 0.0 if scale.is_maximized else 1.0
    shares = (0.0, 0.5, 1.0) if scale.best < scale.worst else (1 - bad_end,)
    ends = [(share, f"{scale.at(abs(share - 1 + bad_end)):.3g}") for share in shares]
    ticks = [*map(_ticks_of, dimensions), ends if complete(study) else []]
    for place, marks in enumerate(ticks):
        axes.plot([place, place], [-0.03, 1.03], color="black", linewidth=0.8, label="_axis")
        for height, text in marks:
            axes.annotate(text, (place, height), (3, 0), textcoords="offset points", va="center", fontsize=SMALL,
                          bbox={"color": "white", "alpha": 0.75, "pad": 0.3}, zorder=4)  # fmt: skip
    shown = [trial for trial in study.trials if fate(trial) in MARKERS]
    is_missing = any(math.isnan(each.place(trial)) for each in dimensions for trial in shown)
    if is_missing:
        axes.annotate("not set", (0, MISSING), (-4, 0), textcoords="offset points", ha="right", va="center",
                      fontsize=SMALL)  # fmt: skip
    names = [f"{each.name}\n(log)" if each.is_log else each.name for each in dimensions]
    wrapped = ["\n".join(textwrap.wrap(name, 76 // len(ticks) + 2)[:3]) for name in (*names, objective(study)[0])]
    axes.set_xticks(range(len(ticks)), wrapped)
    axes.tick_params(length=0)
    axes.set(yticks=[], xlim=(-0.1, len(ticks) - 0.6), ylim=(MISSING - 0.06 if is_missing else -0.06, 1.06))
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def _ticks_of(dimension: Dimension) -> list[tuple[float, str]]:
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


def pair_map(studies: Studies) -> Figure | None:
    """Trials over the plane of the two most important numeric keys that vary."""
    ranking = keys_of(studies)
    shown = _with(studies, lambda study: len(_plane(study, ranking)) == 2)

    def draw(axes: Axes, study: StudyRecord) -> None:
        scale = shades_of(shown[:PANELS], study)
        across, up = _plane(study, ranking)
        for state in MARKERS:
            own = [trial for trial in ordered(study) if fate(trial) == state]
            paint = [_paint(scale.colours, score(trial)) for trial in own] if state == "COMPLETE" else NEUTRAL
            _points(axes, [across.place(t) for t in own], [up.place(t) for t in own], state, paint)
        best = best_of(study)
        if best is not None:
            _draw_ring(axes, across.place(best), up.place(best))
        _set_dimension(axes, "x", across, most=5)
        _set_dimension(axes, "y", up, most=5)
        axes.set_xlabel(across.name)
        axes.set_ylabel(textwrap.fill(up.name, 18))

    legend = [*_state_handles(shown), *_if_complete(shown, _ring())]
    title = "Score over two keys"
    return _multiples(shown, draw, title=title, height=2.2, legend=legend, is_coloured=True)


def _plane(study: StudyRecord, ranking: Sequence[str]) -> list[Dimension]:
    dimensions = [dimension_of(study, key) for key in _keys_in(study, ranking)]
    trials = [trial for trial in study.trials if fate(trial) in MARKERS]
    varying = [each for each in dimensions if len({trial.values.get(each.key) for trial in trials} - {None}) > 1
               if not each.choices]  # fmt: skip
    return varying[:2]


def intermediate(studies: Studies) -> Figure | None:
    """What each trial reported while it trained."""
    shown = _with(studies, lambda study: any(_reports(trial) for trial in study.trials))

    def draw(axes: Axes, study: StudyRecord) -> None:
        same = [other for other in shown if objective(other) == objective(study)]
        values = [[value for trial in other.trials for _, value in _reports(trial)] for other in same]
        scale = scale_from(values, is_maximized=objective(study)[1], reach=6.0)
        best, colour = best_of(study), colour_of(study.framework)
        for trial in ordered(study):
            curve = _reports(trial)
            if curve and trial is not best:
                _draw_reports(axes, curve, fate(trial), colour, alpha=0.6 if len(study.trials) <= CROWD else 0.25)
        if best is not None and _reports(best):
            axes.plot(*np.transpose(_reports(best)), color="black", linewidth=2.4, label="_best", zorder=5)
        scale.set(axes)
        _count(axes.xaxis)

    kinds: dict[str, Any] = {"COMPLETE": "-", "PRUNED": "--", "FAIL": ":"}
    legend: list[Artist] = [
        Line2D([], [], color=LOST if state == "FAIL" else NEUTRAL, linestyle=dash, linewidth=1.0, label=WORDS[state],
               marker="" if state == "COMPLETE" else MARKERS[state], markerfacecolor="white")
        for state, dash in kinds.items()
        if _any(shown, state)
    ]  # fmt: skip
    legend += _if_complete(shown, Line2D([], [], color="black", linewidth=2.4, label="best"))
    return _multiples(shown, draw, title="Reports of every trial", x="epoch", y=_score_label, legend=legend)


def _reports(trial: TrialRecord) -> list[tuple[int, float]]:
    return [(epoch, value) for epoch, value in sorted(trial.reported) if math.isfinite(value)]


def _draw_reports(axes: Axes, curve: Sequence[tuple[int, float]], state: str, colour: str, *, alpha: float) -> None:
    paint = LOST if state == "FAIL" else colour
    dash = {"PRUNED": "--", "FAIL": ":"}.get(state, "-")
    axes.plot(*np.transpose(curve), color=paint, linestyle=dash, linewidth=0.8, alpha=alpha, label=f"_{state}",
              marker="o" if state == "COMPLETE" and len(curve) == 1 else "", markersize=3)  # fmt: skip
    if state in ("PRUNED", "FAIL"):
        _points(axes, [curve[-1][0]], [curve[-1][1]], state, paint)


def budget_curve(studies: Studies) -> Figure | None:
    """The best score to expect of b complete trials; where trials depend on each other, the one path that was seen."""
    shown = _with(studies, lambda study: bool(complete(study)))
    is_single = len(shown) <= LINES
    groups: dict[tuple[Any, ...], list[StudyRecord]] = {}
    for study in shown:
        groups.setdefault((objective(study), "" if is_single else _rest(study, studies)), []).append(study)
    kinds = {found.is_independent(study) for study in shown}
    rests = sorted({_rest(study, studies) for study in shown})
    budgets = {id(study): _budget(study) for study in shown}

    def draw(axes: Axes, first: StudyRecord) -> None:
        own = next(group for group in groups.values() if group[0] is first)
        for number, study in enumerate(own):
            name = label_of(study, studies) if is_single else found.one_line(study.arm.partition(" · ")[0])
            width, curve = width_of(number, n=len(own)), budgets[id(study)]
            word = ", expected" if found.is_independent(study) else ", one observed path"
            axes.plot(range(1, len(curve) + 1), curve, linewidth=width, markersize=2.5 + width / 2,
                      markevery=max(1, len(curve) // 12), label=name + word * (len(kinds) > 1),
                      drawstyle="default" if found.is_independent(study) else "steps-post",
                      **look(study.framework, rests.index(_rest(study, studies)) if is_single else 0))  # fmt: skip
        _count(axes.xaxis)
        axes.set_title("" if is_single else found.one_line(_rest(first, studies)), loc="left", fontsize=SMALL)
        same = [budgets[id(study)] for study in shown if objective(study) == objective(first)]
        scale_from(same, is_maximized=objective(first)[1], reach=6.0).set(axes)

    title = {
        frozenset({True}): "Expected best score after b trials",
        frozenset({False}): "Best score so far: one observed path for each study",
    }.get(frozenset(kinds), "Best score after b trials: expected, or one observed path")
    firsts = [group[0] for group in groups.values()]
    return _multiples(firsts, draw, title=title, x="complete trials (pruned and failed ones left out)", y=_score_label,
                      height=2.6 if len(groups) == 1 else 1.8, has_line_legend=True)  # fmt: skip


def _rest(study: StudyRecord, studies: Studies) -> str:
    return label_of(study, studies, 10_000).partition(" · ")[2]


def _budget(study: StudyRecord) -> list[float]:
    return found.expected_best(study) if found.is_independent(study) else found.best_so_far(study)


def timeline(studies: Studies) -> Figure | None:
    """When each trial began and ended."""
    shown = _with(studies, lambda study: any(_times(trial, study) for trial in study.trials))

    def draw(axes: Axes, study: StudyRecord) -> None:
        for trial in ordered(study):
            times = _times(trial, study)
            if times is None:
                continue
            state, (began, ended) = fate(trial), times
            axes.barh(trial.number, ended - began, left=began, height=0.75, label=f"_{state}",
                      **_bar_look(state, colour_of(study.framework)))  # fmt: skip
            if state == "FAIL" or (state == "PRUNED" and len(study.trials) <= CROWD):
                _points(axes, [ended], [trial.number], state, "black")
        numbers = [trial.number for trial in study.trials]
        axes.set_ylim(max(numbers) + 0.8, min(numbers) - 0.8)
        _count(axes.yaxis)
        axes.grid(visible=False, axis="y")

    longest = max((len(study.trials) for study in shown), default=0)
    height = 1.9 if len(shown) > 2 or longest <= 20 else min(4.5, 1.4 + 0.03 * longest)
    legend: list[Artist] = [
        Patch(label=word, **_bar_look(state, NEUTRAL)) for state, word in BAR_WORDS.items() if _any(shown, state)
    ]
    return _multiples(shown, draw, title="When each trial ran", x="seconds since the first trial began",
                      y=lambda _: "trial", height=height, legend=legend)  # fmt: skip


def _bar_look(state: str, colour: str) -> dict[str, Any]:
    if state == "RUNNING":
        return {"facecolor": "none", "edgecolor": colour, "linewidth": 0.8, "linestyle": "--"}
    return {"color": LOST if state == "FAIL" else colour, "alpha": 0.35 if state == "PRUNED" else 1.0, "linewidth": 0}


def _times(trial: TrialRecord, study: StudyRecord) -> tuple[float, float] | None:
    """Begin and end; one that still runs goes on to the last moment known."""
    if trial.began is None or not math.isfinite(trial.began):
        return None
    if trial.ended is not None and math.isfinite(trial.ended):
        return trial.began, max(trial.began, trial.ended)
    moments = [each for other in study.trials for each in (other.began, other.ended) if found.is_number(each)]
    return (trial.began, float(max(moments))) if trial.state == "RUNNING" else None


def pareto(studies: Studies) -> Figure | None:
    """Complete trials over the plane of two objectives, their front connected; None unless there are two."""
    shown = _with(studies, lambda study: len(study.objectives) == 2 and bool(complete(study)))

    def draw(axes: Axes, study: StudyRecord) -> None:
        across, up = (scale_of(shown, study, index, states=("COMPLETE",)) for index in (0, 1))
        front, colour = found.front_of(study), colour_of(study.framework)
        points = np.array([trial.scores for trial in complete(study)])
        _points(axes, list(map(across.place, points[:, 0])), list(map(up.place, points[:, 1])), "COMPLETE", colour)
        places = [(across.place(trial.scores[0]), up.place(trial.scores[1])) for trial in front]
        if places:
            steps = "steps-pre" if across.is_maximized else "steps-post"
            axes.plot(*np.transpose(places), drawstyle=steps, color="black", linewidth=1.2, label="_front")
        for place in places:
            _draw_ring(axes, *place)
        across.set(axes, "x")
        up.set(axes, "y")
        axes.set_xlabel(_folded(_score_label(study), 40))
        axes.set_ylabel(_folded(_score_label(study, 1), 26))

    legend = [*_state_handles(shown, states=("COMPLETE",)), _ring("on the front")]
    legend.append(Line2D([], [], color="black", linewidth=1.2, label="front"))
    return _multiples(shown, draw, title="Two objectives", height=2.5, legend=legend)


def _with(studies: Studies, has_content: Callable[[StudyRecord], bool]) -> list[StudyRecord]:
    return [study for study in studies if has_content(study)]


def _has_tried(study: StudyRecord) -> bool:
    return any(trial.values for trial in study.trials if fate(trial) in MARKERS)


def _keys_in(study: StudyRecord, ranking: Sequence[str]) -> list[str]:
    return [key for key in ranking if any(key in trial.values for trial in study.trials)]


def _any(studies: Studies, state: str) -> bool:
    return any(fate(trial) == state for study in studies for trial in study.trials)


def _more(shown: Studies, most: int) -> str:
    return f" (first {most} of {len(shown)})" if len(shown) > most else ""


def _score_label(study: StudyRecord, index: int = 0) -> str:
    name, is_maximized = objective(study, index)
    return f"{name} ({'higher' if is_maximized else 'lower'} is better)"


def _multiples(every: Studies, draw: Draw, *, title: str, x: str = "", y: Callable[[StudyRecord], str] | None = None,
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
                axes.set_ylabel(_folded(y(study), 26 if rows > 1 or columns > 1 else 44))
            if x and number + columns >= len(shown):
                axes.set_xlabel(x if columns == 1 or len(x) < 45 else textwrap.fill(x, 36))
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        if is_coloured:
            _colour_scores(figure, list(panels.flat), shown)
        figure.suptitle(f"{title}{_more(every, most)}")
        lines = {str(line.get_label()): line for axes in panels.flat for line in axes.lines}
        _legend(figure, list(lines.values()) if has_line_legend else legend)
        return settled(figure)


def _folded(text: str, width: int) -> str:
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
            bar = _colour_bar(figure, scale.colours, group, _score_label(study))
            if scale.is_log:
                plain_log(bar.ax.yaxis)


def _colour_bar(figure: Figure, colours: ScalarMappable, panels: Sequence[Axes], label: str) -> Any:
    bar = figure.colorbar(colours, ax=list(panels), label=label, fraction=0.04, pad=0.02, aspect=30)
    bar.ax.grid(visible=False)
    return bar


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(len(handles), 110 // (8 + longest)))
        figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False)


def _state_handles(studies: Studies, states: Sequence[str] = tuple(MARKERS)) -> list[Artist]:
    colours = {colour_of(study.framework) for study in studies}
    colour = colours.pop() if len(colours) == 1 else NEUTRAL
    return [Line2D([], [], linestyle="", label=WORDS[s], **_symbol(s, colour)) for s in states if _any(studies, s)]


def _if_complete(studies: Studies, handle: Artist) -> list[Artist]:
    return [handle] if any(complete(study) for study in studies) else []


def _ring(label: str = "best") -> Artist:
    return Line2D([], [], linestyle="", marker="o", markersize=9, color="black", markerfacecolor="none", label=label)


def _count(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _paint(colours: ScalarMappable, value: float) -> tuple[float, ...]:
    return tuple(colours.to_rgba(np.array([value]))[0])


def _draw_ring(axes: Axes, x: float, y: float) -> None:
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


def _points(axes: Axes, across: Sequence[float], up: Sequence[float], state: str, colour: Any) -> None:
    """Trials of one state; `colour` is one for all, or one for each complete trial."""
    if not len(across):
        return
    if isinstance(colour, str):
        axes.plot(across, up, linestyle="", label=f"_{state}", clip_on=False, zorder=3, **_symbol(state, colour))
    else:
        axes.scatter(across, up, s=24, c=colour, edgecolors=NEUTRAL, linewidths=0.5, label=f"_{state}", zorder=3)


def _set_dimension(axes: Axes, along: str, dimension: Dimension, *, most: int) -> None:
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


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many powers of ten in the range, or 1, 2 and 5 times them where there are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) >= 2:
            return inside[:: math.ceil(len(inside) / most)]
    return [low, high] if high > low else [low]


STATES = "Dot: complete; open triangle: pruned, at its last report; red cross: failed, or a score that is not finite. "
STRIP = "Grey strip: trials without a score on this scale. "
PRUNED_NOTE = "A pruned trial's score is from before its end: compare it with others at the same epoch only."


def sections_of_studies(studies: Studies) -> list[Drawn]:
    """Every figure that has something to show, with its finding, its marks and how to read it."""
    drawn: list[Drawn] = []

    def add(name: str, figure: Figure | None, said: found.Finding, keep: Callable[[StudyRecord], bool], *, caption: str,
            how: str, table: Table | None = None) -> None:  # fmt: skip
        if figure is not None:
            own = _with(studies, keep)
            drawn.append(
                Drawn(
                    name=f"study-{name}",
                    title=found.finding(own, said),
                    caption=caption,
                    figure=figure,
                    description=f"{found.finding(own, said, most=10)}. {caption}",
                    how_to_read=how,
                    table=table,
                )
            )

    add(
        "history",
        history(studies),
        found.found_best,
        lambda study: bool(study.trials),
        caption=f"Score of each trial against its number, counted from 0. {STATES}Line: best complete trial so far. "
        f"{STRIP}Colour: framework.",
        how="A line that still falls (or rises, where more is better) at the end says that more trials may pay. "
        + PRUNED_NOTE,
        table=studies_table(studies),
    )
    add(
        "importances",
        importances(studies),
        found.found_importance,
        lambda study: bool(study.importances),
        caption="Bars: share of each key in the importance, adding up to 100 %, as Optuna's evaluator finds it in the "
        f"complete trials of one study; below {FEW} of them it is mostly noise.",
        how="A long bar says that the score varied with the key within the searched range. It is neither a cause nor "
        "a statement about other ranges.",
    )
    add(
        "slices",
        slices(studies),
        found.found_values,
        _has_tried,
        caption=f"Score against the value tried, for the up to {SLICE_KEYS} most important keys; axes span the "
        f"searched range. {STATES}Ring: best. Colour: trial number, later is brighter. {STRIP}A trial without a key "
        "is left out of its panel.",
        how="A best trial at the end of an axis says that the range was too narrow. Bright dots that gather say where "
        "the sampler came to search.",
        table=trials_table(studies),
    )
    add(
        "parallel-coordinates",
        parallel_coordinates(studies),
        found.found_top,
        _has_tried,
        caption="A line for each trial, over the values it tried to its score; colour: score, darker is better; thick: "
        "best. Dashed grey: pruned, dotted red: failed; both end before the score. Below an axis: key not set. A score "
        "beyond the scale stands at its end.",
        how="Where dark lines cross an axis close together, that key decides. Where they spread, it hardly matters.",
    )
    ranking = keys_of(studies)
    add(
        "pair-map",
        pair_map(studies),
        found.found_values,
        lambda study: len(_plane(study, ranking)) == 2,
        caption="Trials over the two most important numeric keys that varied. Dot: complete, darker is better; open "
        "triangle: pruned; red cross: failed or not finite; ring: best. Axes span the searched range; a trial that "
        "lacks one of the keys is left out.",
        how="Dark dots along a slope say that the two keys depend on each other. Empty areas were not searched.",
    )
    add(
        "intermediate",
        intermediate(studies),
        found.found_pruning,
        lambda study: any(_reports(trial) for trial in study.trials),
        caption="What each trial reported after its epochs. Solid: complete; dashed, ending in an open triangle: "
        "pruned; dotted red, ending in a cross: failed; thick black: best. Lines that leave the panel go on beyond it.",
        how="A pruned line that lies among the others where it ends may have been cut too early. Lines that cross late "
        "say that early reports tell little about the end.",
    )
    add(
        "budget",
        budget_curve(studies),
        found.found_budget,
        lambda study: bool(complete(study)),
        caption="Rests on the scores of complete trials only. Random and quasi-random samplers and grids: expected "
        "best of b trials drawn from those that were run, without replacement. Other samplers, such as TPE: the best "
        "so far, one observed path, no expectation. Conditional on these studies.",
        how="Compare arms at the same number of trials, not at their ends. A flat end says that more trials of this "
        "kind would hardly help.",
    )
    add(
        "timeline",
        timeline(studies),
        found.found_time,
        lambda study: any(_times(trial, study) for trial in study.trials),
        caption="A bar for each trial from its beginning to its end. Full colour: complete; pale, with a triangle "
        f"at its end where there are at most {CROWD} trials: pruned; red with a cross: failed; empty and dashed: still "
        "running when this was written.",
        how="Bars above each other ran at the same time. Gaps are time in which no trial of this study ran.",
    )
    add(
        "pareto",
        pareto(studies),
        found.found_front,
        lambda study: len(study.objectives) == 2 and bool(complete(study)),
        caption=f"Complete trials over both objectives. Ring: no other trial is better in both; line: their front. "
        f"{STRIP}",
        how="Along the front, one objective is paid for with the other. A trial off the front is beaten in both.",
    )
    return drawn
