"""Dropout masks that need no framework: the same in every one, for certificates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def keep_mask(seed: int, layer: int, step: int, *, shape: tuple[int, ...], rate: float) -> NDArray[np.bool_]:
    """Which units dropout layer number `layer` keeps at `step`: Philox keyed by (seed, layer), counted by the step.

    Args:
        seed: The run's seed.
        layer: Number of the dropout layer in forward order, from 0.
        step: Number of the training step, from 0.
        shape: Shape of the layer's input, channels last, batch first; 1 where a whole channel is dropped.
        rate: Share of units that are dropped.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, layer], counter=[0, 0, 0, step]))
    return rng.random(shape, dtype=np.float32) >= rate
