"""How a number is written: accuracies in per cent, decimals that follow the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from experiments import metrics
from experiments.statistics import Estimate
from experiments.statistics.wording import fixed, format_number, signed

SCORES_NOTE = "scores on the test set"
MEMORY_NOTE = f"{SCORES_NOTE}; * peak resident memory of the worker above what it held before it read its data"
DISTURBED_NOTE = "; times are not to be compared: other programs kept the cores busy"
IMPORTED_BEFORE = "imported before"  # by the process that workers are copies of
SHORTEST_IMPORT = 0.010  # seconds; no import of a framework takes less


def interval(estimate: Estimate | None, metric: str) -> str:
    """Mean and 95 % half-width, which sets the decimals by its two digits: "95.63 ± 0.42"."""
    if estimate is None:
        return "–"
    known = metrics.metric_of(metric)
    factor, (decimals, most) = known.factor, known.decimals
    if estimate.low is None or estimate.high is None:
        return fixed(estimate.value * factor, decimals=decimals)
    half_width = factor * (estimate.high - estimate.low) / 2
    if half_width > 0:
        decimals = min(most, max(0, 1 - math.floor(math.log10(half_width))))
    return f"{fixed(estimate.value * factor, decimals=decimals)} ± {fixed(half_width, decimals=decimals)}"


def score(value: float | None, metric: str) -> str:
    """One score in the unit of its metric, which is not said: "95.63"."""
    known = metrics.metric_of(metric)
    return "–" if value is None else format_number(known.factor * value, decimals=known.decimals[0])


def head_of(metric: str) -> str:
    """Head of a metric's column."""
    return metrics.metric_of(metric).head


def in_words(metric: str) -> str:
    """A metric's name in a sentence: "test accuracy", "validation loss"."""
    return metric.replace("val/", "validation ").replace("/", " ")


def of_verdict(metric: str) -> dict[str, Any]:
    """Name, direction, unit, scale and bounds of a score, as `statistics.verdict` takes them."""
    known = metrics.metric_of(metric)
    return {
        "metric": in_words(metric),
        "higher_is_better": known.higher_is_better,
        "unit": known.difference_unit,
        "scale": known.factor,
        "bounds": known.bounds,
    }


def footnote(columns: Sequence[str]) -> str:
    """What stands under a table of these metrics."""
    return MEMORY_NOTE if metrics.MEMORY in columns else SCORES_NOTE


def difference(estimate: Estimate, metric: str) -> str:
    """A difference in a score with its interval and unit: "+0.12 [−0.05, +0.29] pp"."""
    known = metrics.metric_of(metric)
    text = bounds(estimate, factor=known.factor, decimals=known.decimals[0])
    return f"{text} {known.difference_unit}".strip()


def bounds(estimate: Estimate | None, *, factor: float = 1.0, decimals: int = 4) -> str:
    """Value and interval with signs: "+0.12 [−0.05, +0.29]"."""
    if estimate is None:
        return "–"
    value = signed(factor * estimate.value, decimals=decimals)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (signed(factor * bound, decimals=decimals) for bound in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def is_imported_before(estimate: Estimate | None, metric: str) -> bool:
    """Whether a time says that the framework was there already, and not how long its import takes."""
    return metric == "time/import" and estimate is not None and estimate.value < SHORTEST_IMPORT


def memory(estimate: Estimate, names: tuple[str, str]) -> str:
    """A difference in peak memory, first minus second in MiB: "keras takes 45.0 MiB more than lightning"."""
    sign = -1.0 if estimate.value < 0 else 1.0
    more, less = names if sign > 0 else names[::-1]
    said = f"{more} takes {fixed(abs(estimate.value), decimals=1)} MiB more than {less} at its peak"
    if estimate.low is None or estimate.high is None:
        return f"{said}."
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    bounds = f"{fixed(low, decimals=1)} to {fixed(high, decimals=1)} MiB more"
    if low < 0:
        bounds = f"{fixed(-low, decimals=1)} MiB less to {fixed(high, decimals=1)} MiB more"
    return f"{said} (95 % t interval: {bounds})."
