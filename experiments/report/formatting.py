"""How a number is written: accuracies in per cent, decimals that follow the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.statistics import Estimate
from experiments.statistics.wording import signed

FORMATS = {  # metric -> (factor, unit, decimals where there is no interval, most decimals)
    "test/accuracy": (100.0, "%", 2, 3),
    "test/loss": (1.0, "", 4, 5),
    "test/balanced_accuracy": (100.0, "%", 2, 3),
    "test/macro_precision": (100.0, "%", 2, 3),
    "test/macro_recall": (100.0, "%", 2, 3),
    "test/macro_f1": (100.0, "%", 2, 3),
    "test/brier_score": (1.0, "", 4, 5),
    "test/calibration_error": (100.0, "%", 2, 3),
    "test/rmse": (1.0, "", 3, 4),
    "test/mae": (1.0, "", 3, 4),
    "test/r2": (1.0, "", 3, 4),
    "test/skill": (1.0, "", 3, 4),
    "train_eval/loss": (1.0, "", 4, 5),
    "time/steady_epoch": (1.0, "s", 2, 3),
    "time/steady_step": (1000.0, "ms", 2, 3),
    "time/total": (1.0, "s", 1, 2),
    "memory/peak_mib": (1.0, "MiB", 0, 1),
}
TITLES = {
    "test/accuracy": "accuracy, %",
    "test/loss": "loss",
    "test/balanced_accuracy": "balanced accuracy, %",
    "test/macro_precision": "macro precision, %",
    "test/macro_recall": "macro recall, %",
    "test/macro_f1": "macro-F1, %",
    "test/brier_score": "Brier score",
    "test/calibration_error": "calibration error, %",
    "test/rmse": "RMSE",
    "test/mae": "MAE",
    "test/r2": "R²",
    "test/skill": "skill",
    "train_eval/loss": "training loss",
    "time/steady_epoch": "s / epoch",
    "time/steady_step": "ms / step",
    "time/total": "total, s",
    "memory/peak_mib": "MiB *",
}
MEMORY_NOTE = "* scores on the test set; peak resident memory of the worker above what it held before it read its data"
SCORES_NOTE = "scores on the test set"


def interval(estimate: Estimate | None, metric: str) -> str:
    """Mean and 95 % half-width, which sets the decimals by its two digits: "95.63 ± 0.42"."""
    if estimate is None:
        return "–"
    factor, _, decimals, most = FORMATS[metric]
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value * factor:.{decimals}f}"
    half_width = factor * (estimate.high - estimate.low) / 2
    if half_width > 0:
        decimals = min(most, max(0, 1 - math.floor(math.log10(half_width))))
    return f"{estimate.value * factor:.{decimals}f} ± {half_width:.{decimals}f}"


def note(columns: Sequence[str]) -> str:
    """What stands under a table of these metrics."""
    return MEMORY_NOTE if "memory/peak_mib" in columns else SCORES_NOTE


def bounds(estimate: Estimate | None, *, factor: float = 1.0, decimals: int = 4) -> str:
    """Value and interval with signs: "+0.12 [−0.05, +0.29]"."""
    if estimate is None:
        return "–"
    value = signed(factor * estimate.value, decimals=decimals)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (signed(factor * bound, decimals=decimals) for bound in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
