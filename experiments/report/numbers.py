"""How a number is written: accuracies in per cent, decimals that follow the interval."""

from __future__ import annotations

import math

from experiments.statistics import Estimate

FORMATS = {  # metric -> (factor, unit, decimals where there is no interval)
    "test/accuracy": (100.0, "%", 2),
    "test/loss": (1.0, "", 4),
    "time/steady_epoch": (1.0, "s", 2),
    "memory/peak_mib": (1.0, "MiB", 0),
}
TITLES = {
    "test/accuracy": "accuracy, %",
    "test/loss": "loss",
    "time/steady_epoch": "s / epoch",
    "memory/peak_mib": "MiB *",
}
MEMORY_NOTE = (
    "* accuracy and loss on the test set; peak resident memory of the worker above what it held before it read its data"
)


def interval(estimate: Estimate | None, metric: str) -> str:
    """Mean and 95 % half-width, which sets the decimals by its two digits: "95.63 ± 0.42"."""
    if estimate is None:
        return "–"
    factor, _, decimals = FORMATS[metric]
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value * factor:.{decimals}f}"
    half_width = factor * (estimate.high - estimate.low) / 2
    if half_width > 0:
        decimals = min(6, max(0, 1 - math.floor(math.log10(half_width))))
    return f"{estimate.value * factor:.{decimals}f} ± {half_width:.{decimals}f}"
