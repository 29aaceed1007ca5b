"""Learning-rate tables: computed once in float64, read by every framework."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.task import Schedule


def learning_rates(schedule: Schedule, *, learning_rate: float, n_steps: int) -> NDArray[np.float64]:
    """One learning rate per optimizer step, shape (n_steps,)."""
    return np.full(n_steps, learning_rate, np.float64)
