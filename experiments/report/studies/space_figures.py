"""What Optuna's studies tried, over the keys of their spaces: slices, parallel coordinates and pairs of keys."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.records import StudyRecord, TrialRecord
from experiments.report.figures.style import LOST, NEUTRAL, NO_COLOURS, SMALL, WIDTH, Colours, freeze_layout, styled
from experiments.report.sanitize import clean
from experiments.report.studies.facts import (
    KeyAxis,
    axis_of,
    best_of,
    complete,
    effective_state,
    keys_of,
    label_of,
    objective,
    ordered,
    ranked,
    score,
)
from experiments.report.studies.marks import (
    CROWD,
    PANELS,
    Layout,
    add_legend,
    colour_bar,
    draw_points,
    draw_ring,
    first_of,
    if_complete,
    multiples,
    paint_by_framework,
    paint_of,
    ring_handle,
    state_handles,
)
from experiments.report.studies.scales import Scale, colour_scale_of, scale_of, set_key_axis, set_whole_ticks, ticks_of
from experiments.report.studies.selection import (
    STATE_WORDS,
    Studies,
    has_state,
    has_tried,
    keys_in,
    plane_of,
    studies_with,
    studies_with_plane,
)

PARALLEL_PANELS = 4
SLICE_KEYS = 4
PARALLEL_KEYS = 6
MISSING = -0.16  # where parallel coordinates show that a trial had no such key, as a share of the axis


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
            for axes, key_axis in zip(row, _axes_of(study, keys[id(study)]), strict=False):
                _draw_slice(axes, study, key_axis, scale_of(shown, study), numbers, columns=columns)
                if study is shown[-1] or not is_alike:
                    axes.set_xlabel(clean(key_axis.name, 60 // columns + 8))
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
        return freeze_layout(figure)


def _draw_slice(
    axes: Axes, study: StudyRecord, key_axis: KeyAxis, scale: Scale, numbers: ScalarMappable, *, columns: int
) -> None:
    for state in STATE_WORDS:
        own = [trial for trial in ordered(study) if effective_state(trial) == state and key_axis.key in trial.values]
        paint = [paint_of(numbers, trial.number) for trial in own] if state == "COMPLETE" else NEUTRAL
        places = [scale.place(score(trial)) for trial in own]
        draw_points(axes, [key_axis.place(trial) for trial in own], places, state, paint)
    best = best_of(study)
    if best is not None and key_axis.key in best.values:
        draw_ring(axes, key_axis.place(best), scale.place(score(best)))
    if scale.has_strip:
        axes.axhspan(scale.at(1.08), scale.at(1.24), color="#e8e8e8", linewidth=0, zorder=0.5)
    set_key_axis(axes, "x", key_axis, most=3 if columns > 2 else 6)


def _axes_of(study: StudyRecord, keys: Sequence[str]) -> list[KeyAxis]:
    return [axis_of(study, key) for key in keys]


def parallel_coordinates(studies: Studies, colours: Colours = NO_COLOURS) -> Figure | None:
    """Each trial as a line over the keys to its score, whose colour is the score's and no framework's."""
    shown = studies_with(studies, has_tried)

    def draw(axes: Axes, study: StudyRecord) -> None:
        keys = keys_in(study, keys_of(shown))
        key_axes = [axis_of(study, key) for key in keys[:PARALLEL_KEYS]]
        scale = colour_scale_of(shown[:PARALLEL_PANELS], study)
        for trial in [trial for trial in ordered(study) if effective_state(trial) in ("FAIL", "PRUNED")]:
            _draw_path(axes, key_axes, trial, **_line_look(trial))
        done = ranked(study)
        thin = {"linewidth": 1.0 if len(done) <= CROWD else 0.5, "label": "_trial"}
        for trial in reversed(done):
            end = _score_share(scale, score(trial))
            if trial is best_of(study):
                _draw_path(axes, key_axes, trial, end=end, color="white", linewidth=5.5)
            kind = {"linewidth": 3.0, "label": "_best"} if trial is best_of(study) else thin
            _draw_path(axes, key_axes, trial, end=end, color=paint_of(scale.colours, score(trial)), **kind)
        _draw_uprights(axes, key_axes, study, scale)
        more = f" (first {PARALLEL_KEYS} of {len(keys)} keys)" if len(keys) > PARALLEL_KEYS else ""
        axes.set_title(label_of(study, studies, 80) + more, loc="left", fontsize=SMALL)

    legend = if_complete(shown, Line2D([], [], color="#00224e", linewidth=3.0, label="best"))
    legend += [
        Line2D([], [], label=STATE_WORDS[state], **kind)
        for state, kind in LINE_LOOKS.items()
        if has_state(shown, state)
    ]
    return multiples(
        shown,
        draw,
        title="Values and score of every trial",
        layout=Layout(most=PARALLEL_PANELS, columns=1, height=2.1, has_colour_bar=True),
        legend=legend,
    )


LINE_LOOKS: dict[str, dict[str, Any]] = {
    "PRUNED": {"color": NEUTRAL, "linestyle": "--", "linewidth": 0.7},
    "FAIL": {"color": LOST, "linestyle": ":", "linewidth": 1.0},
}


def _line_look(trial: TrialRecord) -> dict[str, Any]:
    return {**LINE_LOOKS[effective_state(trial)], "label": f"_{STATE_WORDS[effective_state(trial)]}"}


def _score_share(scale: Scale, value: float) -> float:
    """Height of a score: large scores above, whether good or bad; one beyond the scale at its end."""
    badness = min(1.0, (scale.badness(value) - scale.best) / scale.span) if scale.holds(value) else 1.0
    return 1 - badness if scale.is_maximized else badness


def _draw_path(
    axes: Axes, key_axes: Sequence[KeyAxis], trial: TrialRecord, *, end: float | None = None, **kind: Any
) -> None:
    shares = [each.share(trial) for each in key_axes]
    heights = [MISSING if math.isnan(share) else share for share in shares] + ([] if end is None else [end])
    axes.plot(range(len(heights)), heights, clip_on=False, **kind)


def _draw_uprights(axes: Axes, key_axes: Sequence[KeyAxis], study: StudyRecord, scale: Scale) -> None:
    """Draw the axes with numbers at their ends and middles."""
    bad_end = 0.0 if scale.is_maximized else 1.0
    shares = (0.0, 0.5, 1.0) if scale.best < scale.worst else (1 - bad_end,)
    ends = [(share, f"{scale.at(abs(share - 1 + bad_end)):.3g}") for share in shares]
    ticks = [*map(ticks_of, key_axes), ends if complete(study) else []]
    for place, marks in enumerate(ticks):
        axes.plot([place, place], [-0.03, 1.03], color="black", linewidth=0.8, label="_axis")
        for height, text in marks:
            axes.annotate(text, (place, height), (3, 0), textcoords="offset points", va="center", fontsize=SMALL,
                          bbox={"color": "white", "alpha": 0.75, "pad": 0.3}, zorder=4)  # fmt: skip
    shown = [trial for trial in study.trials if effective_state(trial) in STATE_WORDS]
    is_missing = any(math.isnan(each.place(trial)) for each in key_axes for trial in shown)
    if is_missing:
        axes.annotate("not set", (0, MISSING), (-4, 0), textcoords="offset points", ha="right", va="center",
                      fontsize=SMALL)  # fmt: skip
    names = [f"{each.name}\n(log)" if each.is_log else each.name for each in key_axes]
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
        scale = colour_scale_of(shown[:PANELS], study)
        across, up = plane_of(study, ranking)
        for state in STATE_WORDS:
            own = [trial for trial in ordered(study) if effective_state(trial) == state]
            paint = [paint_of(scale.colours, score(trial)) for trial in own] if state == "COMPLETE" else NEUTRAL
            draw_points(axes, [across.place(t) for t in own], [up.place(t) for t in own], state, paint)
        best = best_of(study)
        if best is not None:
            draw_ring(axes, across.place(best), up.place(best))
        set_key_axis(axes, "x", across, most=5)
        set_key_axis(axes, "y", up, most=5)
        axes.set_xlabel(across.name)
        axes.set_ylabel(textwrap.fill(up.name, 18))

    legend = [*state_handles(shown, colours), *if_complete(shown, ring_handle())]
    title = "Score over two keys"
    return multiples(shown, draw, title=title, layout=Layout(height=2.2, has_colour_bar=True), legend=legend)
