"""A framework's bare loop in a worker: while it trains, nothing of ours but the clock at the ends of its epochs.

Losses of batches are not kept, and what was trained is not audited.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import cast

from experiments.contract import BareLoop, Model
from experiments.contract.plan import BatchPlan
from experiments.execution.audit import PlanNotDone
from experiments.execution.run import EpochEnded, Event


def fit(model: Model, plan: BatchPlan, *, emit: Callable[[Event], bool | None]) -> list[float]:
    """Train, then emit the epochs; return the seconds of each.

    Raises:
        PlanNotDone: If there were more or fewer epochs than planned.
    """
    marks: list[float] = []

    def mark() -> None:
        model.synchronize()
        marks.append(time.perf_counter())

    mark()
    cast(BareLoop, model).fit_bare(plan, on_epoch_end=mark)
    seconds = [end - start for start, end in zip(marks[:-1], marks[1:], strict=True)]
    if len(seconds) != plan.epochs:
        raise PlanNotDone(f"{len(seconds)} of {plan.epochs} epochs were trained")
    for epoch in range(1, plan.epochs + 1):
        times = {"time/epoch": seconds[epoch - 1], "time/trained": sum(seconds[:epoch])}
        emit(EpochEnded(epoch=epoch, step=epoch * plan.batches_per_epoch, metrics=times))
    return seconds


def ledger(seconds: Sequence[float], *, n_batches: int) -> dict[str, float]:
    """The times of a bare loop, given those of its epochs of `n_batches`, in seconds; it is asked for no step's."""
    steady = statistics.median(seconds[1:] or seconds)
    return {"time/steady_step": steady / n_batches, "time/steady_epoch": steady, "time/fit": sum(seconds)}
