"""What the figures of studies share: scales of scores, symbols of states, axes, panels and legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.records import StudyRecord
from experiments.report.figures.style import (
    LOST,
    NEUTRAL,
    SMALL,
    WIDTH,
    Colours,
    colours_of,
    freeze_layout,
    plain_log,
    styled,
)
from experiments.report.studies.facts import complete, label_of, objective
from experiments.report.studies.scales import colour_scale_of
from experiments.report.studies.selection import STATE_WORDS, Studies, has_complete, has_state

PANELS = 8
CROWD = 60  # trials of a study; with more, lines are thinner and only failed ones bear marks
STATE_MARKERS = {"COMPLETE": "o", "PRUNED": "v", "FAIL": "x"}
Draw = Callable[[Axes, StudyRecord], None]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the panels of studies stand.

    Attributes:
        x: Below the panels.
        y: Beside a panel, where that differs from its neighbour's; None: nothing.
        most: Panels at most; a title says how many studies there are.
        columns: Panels in a row.
        height: Inches of a row.
        has_colour_bar: Whether colours stand for scores.
    """

    x: str = ""
    y: Callable[[StudyRecord], str] | None = None
    most: int = PANELS
    columns: int = 2
    height: float = 1.8
    has_colour_bar: bool = False


def multiples(
    every: Studies, draw: Draw, *, title: str, layout: Layout, legend: Sequence[Artist] | None = ()
) -> Figure | None:
    """A panel for each study, one scale for each objective; None without a study.

    Args:
        every: The studies.
        draw: Draws one study into its panel.
        title: Of the figure.
        layout: Of the panels.
        legend: Its entries; None: the lines that were drawn.
    """
    shown = list(every[: layout.most])
    if not shown:
        return None
    with styled():
        columns = min(layout.columns, len(shown))
        rows = math.ceil(len(shown) / columns)
        figure = Figure(figsize=(WIDTH, 1.0 + max(layout.height, 2.3 if rows == 1 else 0) * rows))
        panels = figure.subplots(rows, columns, squeeze=False)
        for number, (axes, study) in enumerate(zip(panels.flat, shown, strict=False)):
            axes.set_title(label_of(study, every), loc="left", fontsize=SMALL)
            draw(axes, study)
            if layout.y is not None and (number % columns == 0 or objective(study) != objective(shown[0])):
                axes.set_ylabel(folded(layout.y(study), 26 if rows > 1 or columns > 1 else 44))
            if layout.x and number + columns >= len(shown):
                axes.set_xlabel(layout.x if columns == 1 or len(layout.x) < 45 else textwrap.fill(layout.x, 36))
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        if layout.has_colour_bar:
            _colour_scores(figure, list(panels.flat), shown)
        figure.suptitle(f"{title}{first_of(every, layout.most)}")
        lines = {str(line.get_label()): line for axes in panels.flat for line in axes.lines}
        add_legend(figure, list(lines.values()) if legend is None else legend)
        return freeze_layout(figure)


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
            scale = colour_scale_of(shown, study)
            bar = colour_bar(figure, scale.colours, group, score_label(study))
            if scale.is_log:
                plain_log(bar.ax.yaxis)


def colour_bar(figure: Figure, colours: ScalarMappable, panels: Sequence[Axes], label: str) -> Any:
    """Add a bar that says what the colours of some panels mean.

    Args:
        figure: Whose panels they are.
        colours: Of which values.
        panels: Beside which the bar stands.
        label: What the values are.
    """
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


def state_handles(studies: Studies, colours: Colours, states: Sequence[str] = tuple(STATE_WORDS)) -> list[Artist]:
    """Legend entries for those of the states that occur, in the colour of their framework."""
    paints = {colours[study.framework] for study in studies}
    colour = paints.pop() if len(paints) == 1 else NEUTRAL
    return [
        Line2D([], [], linestyle="", label=STATE_WORDS[s], **_symbol(s, colour))
        for s in states
        if has_state(studies, s)
    ]


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
        "marker": STATE_MARKERS[state],
        "markersize": 4.5 if state == "COMPLETE" else 5.0,
        "color": paint,
        "markerfacecolor": paint if state == "COMPLETE" else "none",
        "markeredgewidth": {"COMPLETE": 0.0, "PRUNED": 0.9, "FAIL": 1.4}[state],
    }


def draw_points(axes: Axes, across: Sequence[float], up: Sequence[float], state: str, colour: Any) -> None:
    """Draw trials of one state.

    Args:
        axes: Where.
        across: Places of the trials, shape (n_trials,).
        up: The same along the upright axis.
        state: A key of STATE_MARKERS.
        colour: One for all, or one for each of complete trials.
    """
    if not len(across):
        return
    if isinstance(colour, str):
        axes.plot(across, up, linestyle="", label=f"_{state}", clip_on=False, zorder=3, **_symbol(state, colour))
    else:
        axes.scatter(across, up, s=24, c=colour, edgecolors=NEUTRAL, linewidths=0.5, label=f"_{state}", zorder=3)


def paint_of(colours: ScalarMappable, value: float) -> tuple[float, ...]:
    """The colour of one value."""
    return tuple(colours.to_rgba(np.array([value]))[0])
