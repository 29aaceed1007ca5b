"""One evaluator for all: metrics from logits, in float64, whatever framework made them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def log_softmax(logits: Array, /) -> NDArray[np.float64]:
    """log(exp(z) / sum(exp(z))) along the last axis: (n, n_classes) -> (n, n_classes)."""
    shifted: NDArray[np.float64] = logits.astype(np.float64) - np.max(logits, axis=-1, keepdims=True)
    total: NDArray[np.float64] = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    return shifted - np.log(total)


def cross_entropy(logits: Array, targets: Array, /) -> float:
    """Mean of -log p(target), in nats: logits (n, n_classes), targets (n,) of class numbers."""
    return float(-np.mean(log_softmax(logits)[np.arange(len(targets)), targets]))


def accuracy(logits: Array, targets: Array, /) -> float:
    """Share of examples whose largest logit is the target's: a fraction in [0, 1]."""
    return float(np.mean(np.argmax(logits, axis=-1) == targets))


def evaluate(logits: Array, targets: Array, /) -> dict[str, float]:
    """All metrics of one evaluation.

    Raises:
        ValueError: If the numbers of logits and targets differ, or there are none.
    """
    if len(logits) != len(targets) or len(targets) == 0:
        raise ValueError(f"`len(logits) == len(targets) > 0` must hold, but got {len(logits)} and {len(targets)}")
    return {"loss": cross_entropy(logits, targets), "accuracy": accuracy(logits, targets)}
