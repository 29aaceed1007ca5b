"""What Optuna's studies did and found: a panel for each study, colour by framework, symbols for states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.records import StudyRecord
from experiments.report.figures.style import LOST, NEUTRAL, NO_COLOURS, SMALL, Colours, look, width_of
from experiments.report.studies.facts import (
    FEWEST_TRIALS,
    best_of,
    best_so_far,
    complete,
    effective_state,
    expected_best,
    front_of,
    is_independent,
    key_title,
    label_of,
    objective,
    one_line,
    ordered,
    score,
)
from experiments.report.studies.marks import (
    CROWD,
    STATE_MARKERS,
    Layout,
    draw_points,
    draw_ring,
    folded,
    if_complete,
    multiples,
    paint_by_framework,
    ring_handle,
    score_label,
    state_handles,
)
from experiments.report.studies.scales import Scale, scale_from, scale_of, set_whole_ticks
from experiments.report.studies.selection import (
    STATE_WORDS,
    Studies,
    has_complete,
    has_front,
    has_importances,
    has_reports,
    has_state,
    has_times,
    reports_of,
    studies_with,
    times_of,
)

BARS = 8
LINES = 5  # of budgets, in one panel
BAR_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned (triangle)",
    "FAIL": "failed (cross)",
    "RUNNING": "still running",
}


def history(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """The score of every trial against its number, and the best so far as a step line."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, lambda study: any(effective_state(trial) in STATE_WORDS for trial in study.trials))

    def draw(axes: Axes, study: StudyRecord) -> None:
        scale = scale_of(shown, study)
        for state in STATE_WORDS:
            own = [trial for trial in ordered(study) if effective_state(trial) == state]
            places = [scale.place(score(trial)) for trial in own]
            draw_points(axes, [trial.number for trial in own], places, state, colours[study.framework])
        if done := complete(study):
            numbers = [*(trial.number for trial in done), max(trial.number for trial in study.trials)]
            line = [scale.place(value) for value in best_so_far(study)]
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
    return multiples(shown, draw, title="Score of every trial", layout=Layout(x="trial", y=score_label), legend=legend)


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
        axes.set_yticks(range(len(keys)), [key_title(key, 18) for key in keys])
        axes.set_ylim(max(len(keys), 2) - 0.4, -0.6)
        axes.set_xlim(0, 112)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.grid(visible=False, axis="y")
        notes = [f"few trials ({len(complete(study))}): read with care"] if len(complete(study)) < FEWEST_TRIALS else []
        notes += [f"{BARS} of {len(study.importances)} keys"] if len(study.importances) > BARS else []
        axes.set_title("\n".join([label_of(study, studies, 28), *notes]), loc="left", fontsize=SMALL)

    care = ": few trials, read with care" if any(len(complete(study)) < FEWEST_TRIALS for study in shown) else ""
    bars = max((min(BARS, len(study.importances)) for study in shown), default=0)
    return multiples(
        shown,
        draw,
        title=f"Importance of the keys{care}",
        layout=Layout(x="share of the importance, %", height=0.95 + 0.19 * bars),
    )


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
                alpha = 0.6 if len(study.trials) <= CROWD else 0.25
                _draw_reports(axes, curve, effective_state(trial), colour, alpha=alpha, scale=scale)
        if best is not None and reports_of(best):
            axes.plot(*np.transpose(reports_of(best)), color="black", linewidth=2.4, label="_best", zorder=5)
        scale.set(axes)
        set_whole_ticks(axes.xaxis)

    kinds: dict[str, Any] = {"COMPLETE": "-", "PRUNED": "--", "FAIL": ":"}
    legend: list[Artist] = [
        Line2D([], [], label=STATE_WORDS[state], color=LOST if state == "FAIL" else NEUTRAL, linestyle=dash,
               linewidth=1.0, marker="" if state == "COMPLETE" else STATE_MARKERS[state], markerfacecolor="white")
        for state, dash in kinds.items()
        if has_state(shown, state)
    ]  # fmt: skip
    legend += if_complete(shown, Line2D([], [], color="black", linewidth=2.4, label="best"))
    return multiples(
        shown, draw, title="Reports of every trial", layout=Layout(x="epoch", y=score_label), legend=legend
    )


def _draw_reports(
    axes: Axes, curve: Sequence[tuple[int, float]], state: str, colour: str, *, alpha: float, scale: Scale
) -> None:
    paint = LOST if state == "FAIL" else colour
    dash = {"PRUNED": "--", "FAIL": ":"}.get(state, "-")
    axes.plot(*np.transpose(curve), color=paint, linestyle=dash, linewidth=0.8, alpha=alpha, label=f"_{state}",
              marker="o" if state == "COMPLETE" and len(curve) == 1 else "", markersize=3)  # fmt: skip
    if state in ("PRUNED", "FAIL") and scale.holds(curve[-1][1]):  # a mark is drawn beyond the panel, a line is not
        draw_points(axes, [curve[-1][0]], [curve[-1][1]], state, paint)


def budget_curve(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """The best score to expect of b complete trials; where trials depend on each other, the one path that was seen."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_complete)
    is_single = len(shown) <= LINES
    groups: dict[tuple[Any, ...], list[StudyRecord]] = {}
    for study in shown:
        groups.setdefault((objective(study), "" if is_single else _rest(study, studies)), []).append(study)
    kinds = {is_independent(study) for study in shown}
    rests = sorted({_rest(study, studies) for study in shown})
    budgets = {id(study): _budget(study) for study in shown}

    def draw(axes: Axes, first: StudyRecord) -> None:
        own = next(group for group in groups.values() if group[0] is first)
        for number, study in enumerate(own):
            name = label_of(study, studies) if is_single else one_line(study.arm.partition(" · ")[0])
            width, curve = width_of(number, n=len(own)), budgets[id(study)]
            number_of_rest = rests.index(_rest(study, studies)) if is_single else 0
            word = ", expected" if is_independent(study) else ", one observed path"
            axes.plot(range(1, len(curve) + 1), curve, linewidth=width, markersize=2.5 + width / 2,
                      markevery=max(1, len(curve) // 12), label=name + word * (len(kinds) > 1),
                      drawstyle="default" if is_independent(study) else "steps-post",
                      **look(colours[study.framework], number_of_rest))  # fmt: skip
        set_whole_ticks(axes.xaxis)
        axes.set_title("" if is_single else one_line(_rest(first, studies)), loc="left", fontsize=SMALL)
        same = [budgets[id(study)] for study in shown if objective(study) == objective(first)]
        scale_from(same, is_maximized=objective(first)[1], reach=6.0).set(axes)

    title = {
        frozenset({True}): "Expected best score after b trials",
        frozenset({False}): "Best score so far: one observed path for each study",
    }.get(frozenset(kinds), "Best score after b trials: expected, or one observed path")
    firsts = [group[0] for group in groups.values()]
    return multiples(
        firsts,
        draw,
        title=title,
        layout=Layout(
            x="complete trials (pruned and failed ones left out)",
            y=score_label,
            height=2.6 if len(groups) == 1 else 1.8,
        ),
        legend=None,
    )


def _rest(study: StudyRecord, studies: Studies) -> str:
    return label_of(study, studies, 10_000).partition(" · ")[2]


def _budget(study: StudyRecord) -> list[float]:
    return expected_best(study) if is_independent(study) else best_so_far(study)


def timeline(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """When each trial began and ended."""
    colours = paint_by_framework(studies, colours)
    shown = studies_with(studies, has_times)

    def draw(axes: Axes, study: StudyRecord) -> None:
        for trial in ordered(study):
            times = times_of(trial, study)
            if times is None:
                continue
            state, (began, ended) = effective_state(trial), times
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
    return multiples(
        shown,
        draw,
        title="When each trial ran",
        layout=Layout(x="seconds since the first trial began", y=lambda _: "trial", height=height),
        legend=legend,
    )


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
        front, colour = front_of(study), colours[study.framework]
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
    return multiples(shown, draw, title="Two objectives", layout=Layout(height=2.5), legend=legend)
