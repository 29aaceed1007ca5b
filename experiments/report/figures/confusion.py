"""What two arms answer on the test set: confusion matrices, and pictures of the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from experiments.contract.arrays import Array
from experiments.report.figures.style import SMALL, WIDTH, freeze_layout, styled
from experiments.report.predictions import Mistake, Predictions
from experiments.report.sanitize import clean

PICTURE_COLUMNS = 4
CLASSES = 30
CLASSES_WITH_COUNTS = 12
PICTURE_PIXELS = 128


def confusion(predictions: Predictions) -> Figure | None:
    """Two heat maps of mean counts on one colour scale, and their difference; None above 30 classes."""
    n_classes = len(predictions.class_names)
    if not 0 < n_classes <= CLASSES:
        return None
    names = [clean(name, 38) for name in predictions.names]
    with styled():
        figure = Figure(figsize=(WIDTH, min(7.8, 4.2 + 0.36 * n_classes)))
        panels = figure.subplots(2, 2)
        shared = PowerNorm(0.4, vmin=0, vmax=100)  # errors of 1 % are a sixth of the way up
        for axes, counts, name in zip(panels[0], predictions.confusion, names, strict=True):
            rows = counts.sum(axis=1, keepdims=True)
            shares = 100 * np.divide(counts, rows, out=np.zeros_like(counts, dtype=np.float64), where=rows > 0)
            _draw_matrix(axes, shares, counts, predictions.class_names, norm=shared, colours="cividis", sign="")
            axes.set_title(name)
        panels[0, 1].set(yticklabels=[], ylabel="")
        difference = predictions.confusion[0] - predictions.confusion[1]
        largest = float(np.abs(difference).max()) or 1.0
        about_zero = Normalize(-largest, largest)
        axes = panels[1, 0]
        _draw_matrix(axes, difference, difference, predictions.class_names, norm=about_zero, colours="PuOr", sign="+")
        axes.set_title("difference, first minus second")
        _draw_scales(panels[1, 1], shared, about_zero)
        figure.suptitle(
            f"Confusion, mean of {predictions.n_seeds} seeds" if predictions.n_seeds > 1 else "Confusion, one seed"
        )
        return freeze_layout(figure)


def _draw_matrix(
    axes: Axes, values: Array, counts: Array, class_names: Sequence[str], *, norm: Normalize, colours: str, sign: str
) -> None:
    """Draw one heat map; values, counts: (n_classes, n_classes), rows true classes."""
    n_classes = len(values)
    painted = ScalarMappable(norm, colours).to_rgba(values)  # (n_classes, n_classes, 4)
    # Cells as blocks of pixels: viewers that smooth pictures then smooth the borders only.
    axes.imshow(_enlarged(painted), interpolation="none", extent=(-0.5, n_classes - 0.5, n_classes - 0.5, -0.5))
    every = 1 if n_classes <= 20 else 2
    ticks = range(0, n_classes, every)
    labels = [clean(class_names[tick], 12) for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=90)
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(visible=False)
    if n_classes <= CLASSES_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            is_dark = painted[row, column, :3] @ (0.299, 0.587, 0.114) < 0.5
            axes.text(column, row, _count_text(float(count), sign), ha="center", va="center", fontsize=SMALL,
                      color="white" if is_dark else "black")  # fmt: skip


def _count_text(count: float, sign: str) -> str:
    """At most four letters: a cell has no more room."""
    if abs(count) >= 1000:
        return f"{count / 1000:{sign}.1f}k"
    if abs(count) >= 10 or round(count, 6).is_integer():
        return f"{count:{sign if count else ''}.0f}".replace("-", "−")
    return f"{count:{sign}.1f}".replace("-", "−")


def _draw_scales(axes: Axes, shared: Normalize, about_zero: Normalize) -> None:
    """Both colour bars in the empty quarter."""
    axes.set_axis_off()
    upper, lower = axes.inset_axes((0.05, 0.72, 0.8, 0.07)), axes.inset_axes((0.05, 0.25, 0.8, 0.07))
    for place, norm, colours, label in (
        (upper, shared, "cividis", "answers of a true class, %"),
        (lower, about_zero, "PuOr", "difference in mean count"),
    ):
        bar = axes.figure.colorbar(ScalarMappable(norm, colours), cax=place, orientation="horizontal", label=label)
        bar.ax.grid(visible=False)
    upper.set_xticks([0, 1, 5, 20, 50, 100], ["0", "1", "5", "20", "50", "100"])
    upper.set_xticks([], minor=True)


def _enlarged(picture: Array) -> Array:
    """Each pixel as a square of pixels, so that no viewer blurs it: (h, w, ...) -> about 128 pixels a side."""
    times = max(1, PICTURE_PIXELS // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def pictures(predictions: Predictions) -> Figure | None:
    """Worst mistakes that have a picture, by kind, with what each arm answers; None where there is no picture."""
    kinds: dict[str, list[Mistake]] = {}
    for each in predictions.mistakes:
        if each.picture is not None:
            kinds.setdefault(each.kind, []).append(each)
    if not kinds:
        return None
    rows = [math.ceil(len(each) / PICTURE_COLUMNS) for each in kinds.values()]
    with styled():
        figure = Figure(figsize=(WIDTH, 0.7 + sum(0.35 + 1.6 * each for each in rows)))
        parts = figure.subfigures(len(kinds), 1, height_ratios=[0.35 + 1.6 * each for each in rows], squeeze=False)
        for part, (kind, mistakes), n_rows in zip(parts[:, 0], kinds.items(), rows, strict=True):
            part.suptitle(clean(kind, 80), x=0.01, ha="left", fontsize=9, fontweight="bold")
            panels = part.subplots(n_rows, PICTURE_COLUMNS, squeeze=False)
            for axes, mistake in zip(panels.flat, mistakes, strict=False):
                _draw_picture(axes, mistake)
            for axes in panels.flat[len(mistakes) :]:
                axes.set_axis_off()
        figure.suptitle(f"Worst mistakes\nA: {clean(predictions.names[0])}\nB: {clean(predictions.names[1])}")
        return freeze_layout(figure)


def _draw_picture(axes: Axes, mistake: Mistake) -> None:
    picture = np.asarray(mistake.picture)  # (h, w, channels)
    grey = picture[..., 0] if picture.shape[2] == 1 else picture
    axes.imshow(_enlarged(grey), cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    answers = [
        f"{arm}: {clean(answer, 16)} ({probability:.2f})"
        for arm, answer, probability in zip("AB", mistake.answers, mistake.probabilities, strict=True)
    ]
    axes.set_xlabel("\n".join([f"label {clean(mistake.label, 22)}", *answers]), fontsize=SMALL)
