"""A waterfall: from the gap as shipped to the gap aligned, a bar per default with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.report.figures.style import COLOURS, NEUTRAL, WIDTH, freeze_layout, styled
from experiments.report.ladder import MetricLadder
from experiments.report.sanitize import clean


def waterfall(ladders: Sequence[MetricLadder]) -> Figure | None:
    """One panel per metric: what is left of the gap after each default has been aligned."""
    if not ladders:
        return None
    with styled():
        n_rows = len(ladders[0].ladder.steps) + 2
        figure = Figure(figsize=(WIDTH, len(ladders) * (0.9 + 0.32 * n_rows)))
        for axes, each in zip(figure.subplots(len(ladders), squeeze=False)[:, 0], ladders, strict=True):
            _draw(axes, each)
        figure.suptitle(clean(f"What each default adds: {' minus '.join(ladders[0].names)}", 90))
        return freeze_layout(figure)


def _draw(axes: Axes, each: MetricLadder) -> None:
    ladder, scale = each.ladder, each.scale
    labels = ["as shipped", *(each.titles[step.word] for step in ladder.steps), "aligned"]
    left = ladder.shipped.value
    axes.axvline(0, color="black", linewidth=0.8)
    if each.margin is not None:
        axes.axvspan(-each.margin * scale, each.margin * scale, color=COLOURS[2], alpha=0.12, linewidth=0)
    axes.barh(0, scale * left, color=NEUTRAL, height=0.6)
    for row, step in enumerate(ladder.steps, start=1):
        after = left - step.part.value
        colour = COLOURS[0] if step.is_shown else NEUTRAL
        axes.barh(row, scale * (after - left), left=scale * left, color=colour, alpha=0.8, height=0.6)
        if step.part.low is not None and step.part.high is not None:
            ends = [scale * (left - step.part.high), scale * (left - step.part.low)]
            axes.plot(ends, [row, row], color="black", linewidth=1.2, solid_capstyle="butt", label=step.word)
        left = after
    axes.barh(len(labels) - 1, scale * ladder.aligned.value, color=NEUTRAL, height=0.6)
    axes.set_yticks(range(len(labels)), [clean(label, 40) for label in labels])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(clean(f"{each.what}{f', {each.unit.strip()}' if each.unit else ''}", 60))
