"""What Optuna's studies did and found: a panel for each study, colour by framework, symbols for states."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.records import StudyRecord, TrialRecord
from experiments.report.figures.style import NEUTRAL, NO_COLOURS, SMALL, WIDTH, Colours, look, settled, styled, width_of
from experiments.report.sanitize import clean
from experiments.report.studies import facts as found
from experiments.report.studies.facts import (
    FEWEST_TRIALS,
    KeyAxis,
    axis_of,
    best_of,
    complete,
    fate,
    keys_of,
    label_of,
    objective,
    ordered,
    score,
    spoken,
)
from experiments.report.studies.marks import (
    MARKERS,
    PANELS,
    WORDS,
    Scale,
    Studies,
    add_legend,
    colour_bar,
    draw_points,
    draw_ring,
    first_of,
    folded,
    has_complete,
    has_front,
    has_importances,
    has_reports,
    has_state,
    has_times,
    has_tried,
    if_complete,
    keys_in,
    multiples,
    paint_by_framework,
    paint_of,
    plane_of,
    reports_of,
    ring_handle,
    scale_from,
    scale_of,
    score_label,
    set_dimension,
    set_whole_ticks,
    shades_of,
    state_handles,
    studies_with,
    studies_with_plane,
    ticks_of,
    times_of,
)
from experiments.report.studies.sensitivity import LOST

PARALLEL_PANELS = 4
SLICE_KEYS = 4
PARALLEL_KEYS = 6
BARS = 8
CROWD = 60  # trials of a study; with more, lines are thinner and only failed ones bear marks
LINES = 5  # of budgets, in one panel
MISSING = -0.16  # where parallel coordinates show that a trial had no such key, as a share of the axis
BAR_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned (triangle)",
    "FAIL": "failed (cross)",
    "RUNNING": "still running",
}


def history(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """The score of every trial against its number, and the best so far as a step line."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, lambda study: any(fate(trial) in MARKERS for trial in study.trials))

    def draw(axes: Axes, study: StudyRecord) -> None:
        scale = scale_of(shown, study)
        for state in MARKERS:
            own = [trial for trial in ordered(study) if fate(trial) == state]
            places = [scale.place(score(trial)) for trial in own]
            draw_points(axes, [trial.number for trial in own], places, state, colours[study.framework])
        if done := complete(study):
            numbers = [*(trial.number for trial in done), max(trial.number for trial in study.trials)]
            line = [scale.place(value) for value in found.best_so_far(study)]
            axes.plot(numbers, [*line, line[-1]], drawstyle="steps-post", color="black", linewidth=1.2, label="_best")
        scale.set(axes)
        set_whole_ticks(axes.xaxis)
        air = 0.5 + 0.02 * len(study.trials)
        numbers = [trial.number for trial in study.trials]
        axes.set_xlim(min(numbers) - air, max(numbers) + air)

    legend = [
        *state_handles(shown, colours),
        *if_complete(shown, Line2D([], [], color="black", linewidth=1.2, label="best so far")),
    ]
    return multiples(shown, draw, title="Score of every trial", x="trial", y=score_label, legend=legend)


def importances(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """Share of each key in the importance, a bar each."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_importances)

    def draw(axes: Axes, study: StudyRecord) -> None:
        keys = sorted(study.importances, key=lambda key: (-study.importances[key], key))[:BARS]
        shares = [100 * study.importances[key] for key in keys]
        axes.barh(range(len(keys)), shares, height=0.6, color=colours[study.framework])
        for place, share in enumerate(shares):
            axes.annotate(
                f"{share:.0f}", (share, place), (3, 0), textcoords="offset points", va="center", fontsize=SMALL
            )
        axes.set_yticks(range(len(keys)), [spoken(key, 18) for key in keys])
        axes.set_ylim(max(len(keys), 2) - 0.4, -0.6)
        axes.set_xlim(0, 112)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.grid(visible=False, axis="y")
        notes = [f"few trials ({len(complete(study))}): read with care"] if len(complete(study)) < FEWEST_TRIALS else []
        notes += [f"{BARS} of {len(study.importances)} keys"] if len(study.importances) > BARS else []
        axes.set_title("\n".join([label_of(study, studies, 28), *notes]), loc="left", fontsize=SMALL)

    care = ": few trials, read with care" if any(len(complete(study)) < FEWEST_TRIALS for study in shown) else ""
    bars = max((min(BARS, len(study.importances)) for study in shown), default=0)
    return multiples(shown, draw, title=f"Importance of the keys{care}", x="share of the importance, %",
                     height=0.95 + 0.19 * bars)  # fmt: skip


def slices(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """Score against each of the four most important keys, a row for each study."""
    colours = paint_by_framework(studies, colours)
    every = studies_with(studies, has_tried)
    shown = every[:PANELS]
    if not shown:
        return None
    keys = {id(study): keys_in(study, keys_of(shown))[:SLICE_KEYS] for study in shown}
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
        set_whole_ticks(colour_bar(figure, numbers, list(panels.flat), "trial").ax.yaxis)
        figure.suptitle(f"Score against each key{first_of(every, PANELS)}")
        add_legend(figure, [*state_handles(shown, colours), *if_complete(shown, ring_handle())])
        return settled(figure)


def _draw_slice(
    axes: Axes, study: StudyRecord, dimension: KeyAxis, scale: Scale, numbers: ScalarMappable, *, columns: int
) -> None:
    for state in MARKERS:
        own = [trial for trial in ordered(study) if fate(trial) == state and dimension.key in trial.values]
        paint = [paint_of(numbers, trial.number) for trial in own] if state == "COMPLETE" else NEUTRAL
        places = [scale.place(score(trial)) for trial in own]
        draw_points(axes, [dimension.place(trial) for trial in own], places, state, paint)
    best = best_of(study)
    if best is not None and dimension.key in best.values:
        draw_ring(axes, dimension.place(best), scale.place(score(best)))
    if scale.has_strip:
        axes.axhspan(scale.at(1.08), scale.at(1.24), color="#e8e8e8", linewidth=0, zorder=0.5)
    set_dimension(axes, "x", dimension, most=3 if columns > 2 else 6)


def _axes_of(study: StudyRecord, keys: Sequence[str]) -> list[KeyAxis]:
    return [axis_of(study, key) for key in keys]


def parallel_coordinates(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """Each trial as a line over the keys to its score, whose colour is the score's and no framework's."""
    shown = studies_with(studies, has_tried)

    def draw(axes: Axes, study: StudyRecord) -> None:
        keys = keys_in(study, keys_of(shown))
        dimensions = [axis_of(study, key) for key in keys[:PARALLEL_KEYS]]
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
            _draw_path(axes, dimensions, trial, end=end, color=paint_of(scale.colours, score(trial)), **kind)
        _draw_uprights(axes, dimensions, study, scale)
        more = f" (first {PARALLEL_KEYS} of {len(keys)} keys)" if len(keys) > PARALLEL_KEYS else ""
        axes.set_title(label_of(study, studies, 80) + more, loc="left", fontsize=SMALL)

    legend = if_complete(shown, Line2D([], [], color="#00224e", linewidth=3.0, label="best"))
    legend += [
        Line2D([], [], label=WORDS[state], **kind) for state, kind in LINE_LOOKS.items() if has_state(shown, state)
    ]
    return multiples(shown, draw, title="Values and score of every trial", most=PARALLEL_PANELS, columns=1, height=2.1,
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
    axes: Axes, dimensions: Sequence[KeyAxis], trial: TrialRecord, *, end: float | None = None, **kind: Any
) -> None:
    shares = [each.share(trial) for each in dimensions]
    heights = [MISSING if math.isnan(share) else share for share in shares] + ([] if end is None else [end])
    axes.plot(range(len(heights)), heights, clip_on=False, **kind)


def _draw_uprights(axes: Axes, dimensions: Sequence[KeyAxis], study: StudyRecord, scale: Scale) -> None:
    """Draw the axes with numbers at their ends and middles."""
    bad_end = 0.0 if scale.is_maximized else 1.0
    shares = (0.0, 0.5, 1.0) if scale.best < scale.worst else (1 - bad_end,)
    ends = [(share, f"{scale.at(abs(share - 1 + bad_end)):.3g}") for share in shares]
    ticks = [*map(ticks_of, dimensions), ends if complete(study) else []]
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


def pair_map(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """Trials over the plane of the two most important numeric keys that vary."""
    colours = paint_by_framework(studies, colours)
    ranking = keys_of(studies)
    shown = studies_with_plane(studies)

    def draw(axes: Axes, study: StudyRecord) -> None:
        scale = shades_of(shown[:PANELS], study)
        across, up = plane_of(study, ranking)
        for state in MARKERS:
            own = [trial for trial in ordered(study) if fate(trial) == state]
            paint = [paint_of(scale.colours, score(trial)) for trial in own] if state == "COMPLETE" else NEUTRAL
            draw_points(axes, [across.place(t) for t in own], [up.place(t) for t in own], state, paint)
        best = best_of(study)
        if best is not None:
            draw_ring(axes, across.place(best), up.place(best))
        set_dimension(axes, "x", across, most=5)
        set_dimension(axes, "y", up, most=5)
        axes.set_xlabel(across.name)
        axes.set_ylabel(textwrap.fill(up.name, 18))

    legend = [*state_handles(shown, colours), *if_complete(shown, ring_handle())]
    title = "Score over two keys"
    return multiples(shown, draw, title=title, height=2.2, legend=legend, is_coloured=True)


def intermediate(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """What each trial reported while it trained."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_reports)

    def draw(axes: Axes, study: StudyRecord) -> None:
        same = [other for other in shown if objective(other) == objective(study)]
        values = [[value for trial in other.trials for _, value in reports_of(trial)] for other in same]
        scale = scale_from(values, is_maximized=objective(study)[1], reach=6.0)
        best, colour = best_of(study), colours[study.framework]
        for trial in ordered(study):
            curve = reports_of(trial)
            if curve and trial is not best:
                _draw_reports(axes, curve, fate(trial), colour, alpha=0.6 if len(study.trials) <= CROWD else 0.25)
        if best is not None and reports_of(best):
            axes.plot(*np.transpose(reports_of(best)), color="black", linewidth=2.4, label="_best", zorder=5)
        scale.set(axes)
        set_whole_ticks(axes.xaxis)

    kinds: dict[str, Any] = {"COMPLETE": "-", "PRUNED": "--", "FAIL": ":"}
    legend: list[Artist] = [
        Line2D([], [], color=LOST if state == "FAIL" else NEUTRAL, linestyle=dash, linewidth=1.0, label=WORDS[state],
               marker="" if state == "COMPLETE" else MARKERS[state], markerfacecolor="white")
        for state, dash in kinds.items()
        if has_state(shown, state)
    ]  # fmt: skip
    legend += if_complete(shown, Line2D([], [], color="black", linewidth=2.4, label="best"))
    return multiples(shown, draw, title="Reports of every trial", x="epoch", y=score_label, legend=legend)


def _draw_reports(axes: Axes, curve: Sequence[tuple[int, float]], state: str, colour: str, *, alpha: float) -> None:
    paint = LOST if state == "FAIL" else colour
    dash = {"PRUNED": "--", "FAIL": ":"}.get(state, "-")
    axes.plot(*np.transpose(curve), color=paint, linestyle=dash, linewidth=0.8, alpha=alpha, label=f"_{state}",
              marker="o" if state == "COMPLETE" and len(curve) == 1 else "", markersize=3)  # fmt: skip
    if state in ("PRUNED", "FAIL"):
        draw_points(axes, [curve[-1][0]], [curve[-1][1]], state, paint)


def budget_curve(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """The best score to expect of b complete trials; where trials depend on each other, the one path that was seen."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_complete)
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
            number_of_rest = rests.index(_rest(study, studies)) if is_single else 0
            word = ", expected" if found.is_independent(study) else ", one observed path"
            axes.plot(range(1, len(curve) + 1), curve, linewidth=width, markersize=2.5 + width / 2,
                      markevery=max(1, len(curve) // 12), label=name + word * (len(kinds) > 1),
                      drawstyle="default" if found.is_independent(study) else "steps-post",
                      **look(colours[study.framework], number_of_rest))  # fmt: skip
        set_whole_ticks(axes.xaxis)
        axes.set_title("" if is_single else found.one_line(_rest(first, studies)), loc="left", fontsize=SMALL)
        same = [budgets[id(study)] for study in shown if objective(study) == objective(first)]
        scale_from(same, is_maximized=objective(first)[1], reach=6.0).set(axes)

    title = {
        frozenset({True}): "Expected best score after b trials",
        frozenset({False}): "Best score so far: one observed path for each study",
    }.get(frozenset(kinds), "Best score after b trials: expected, or one observed path")
    firsts = [group[0] for group in groups.values()]
    return multiples(firsts, draw, title=title, x="complete trials (pruned and failed ones left out)", y=score_label,
                     height=2.6 if len(groups) == 1 else 1.8, has_line_legend=True)  # fmt: skip


def _rest(study: StudyRecord, studies: Studies) -> str:
    return label_of(study, studies, 10_000).partition(" · ")[2]


def _budget(study: StudyRecord) -> list[float]:
    return found.expected_best(study) if found.is_independent(study) else found.best_so_far(study)


def timeline(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """When each trial began and ended."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_times)

    def draw(axes: Axes, study: StudyRecord) -> None:
        for trial in ordered(study):
            times = times_of(trial, study)
            if times is None:
                continue
            state, (began, ended) = fate(trial), times
            axes.barh(trial.number, ended - began, left=began, height=0.75, label=f"_{state}",
                      **_bar_look(state, colours[study.framework]))  # fmt: skip
            if state == "FAIL" or (state == "PRUNED" and len(study.trials) <= CROWD):
                draw_points(axes, [ended], [trial.number], state, "black")
        numbers = [trial.number for trial in study.trials]
        axes.set_ylim(max(numbers) + 0.8, min(numbers) - 0.8)
        set_whole_ticks(axes.yaxis)
        axes.grid(visible=False, axis="y")

    longest = max((len(study.trials) for study in shown), default=0)
    height = 1.9 if len(shown) > 2 or longest <= 20 else min(4.5, 1.4 + 0.03 * longest)
    legend: list[Artist] = [
        Patch(label=word, **_bar_look(state, NEUTRAL)) for state, word in BAR_WORDS.items() if has_state(shown, state)
    ]
    return multiples(shown, draw, title="When each trial ran", x="seconds since the first trial began",
                     y=lambda _: "trial", height=height, legend=legend)  # fmt: skip


def _bar_look(state: str, colour: str) -> dict[str, Any]:
    if state == "RUNNING":
        return {"facecolor": "none", "edgecolor": colour, "linewidth": 0.8, "linestyle": "--"}
    return {"color": LOST if state == "FAIL" else colour, "alpha": 0.35 if state == "PRUNED" else 1.0, "linewidth": 0}


def pareto(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """Complete trials over the plane of two objectives, their front connected; None unless there are two."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_front)

    def draw(axes: Axes, study: StudyRecord) -> None:
        across, up = (scale_of(shown, study, index, states=("COMPLETE",)) for index in (0, 1))
        front, colour = found.front_of(study), colours[study.framework]
        points = np.array([trial.scores for trial in complete(study)])
        draw_points(axes, list(map(across.place, points[:, 0])), list(map(up.place, points[:, 1])), "COMPLETE", colour)
        places = [(across.place(trial.scores[0]), up.place(trial.scores[1])) for trial in front]
        if places:
            steps = "steps-pre" if across.is_maximized else "steps-post"
            axes.plot(*np.transpose(places), drawstyle=steps, color="black", linewidth=1.2, label="_front")
        for place in places:
            draw_ring(axes, *place)
        across.set(axes, "x")
        up.set(axes, "y")
        axes.set_xlabel(folded(score_label(study), 40))
        axes.set_ylabel(folded(score_label(study, 1), 26))

    legend = [*state_handles(shown, colours, states=("COMPLETE",)), ring_handle("on the front")]
    legend.append(Line2D([], [], color="black", linewidth=1.2, label="front"))
    return multiples(shown, draw, title="Two objectives", height=2.5, legend=legend)
