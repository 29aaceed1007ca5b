"""One evaluator for all: losses and metrics from logits, in float64, whatever framework made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Array64 = NDArray[np.float64]


def log_softmax(logits: Array, /) -> Array64:
    """log(exp(z) / sum(exp(z))) along the last axis: (n, n_classes) -> (n, n_classes)."""
    shifted: Array64 = logits.astype(np.float64) - np.max(logits, axis=-1, keepdims=True)
    total: Array64 = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    return shifted - np.log(total)


def cross_entropy(logits: Array, targets: Array, /) -> float:
    """Mean of -log p(target), in nats: logits (n, n_classes), targets (n,) of class numbers."""
    return float(-np.mean(log_softmax(logits)[np.arange(len(targets)), targets]))


def binary_cross_entropy(logits: Array, targets: Array, /) -> float:
    """Mean of -y log s(z) - (1 - y) log(1 - s(z)), in nats, s the logistic function: both (n, n_outputs)."""
    z = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0, z) - targets * z))


def mean_squared_error(outputs: Array, targets: Array, /) -> float:
    """Mean of (z - y)**2, in the squared unit of the targets: both (n, n_outputs)."""
    return float(np.mean((outputs.astype(np.float64) - targets) ** 2))


def brier_score(logits: Array, targets: Array, /) -> float:
    """Mean of (s(z) - y)**2, s the logistic function: both (n, n_outputs). Source: Brier 1950."""
    return mean_squared_error(logistic(logits), targets)


def logistic(logits: Array, /) -> Array64:
    """1 / (1 + exp(-z)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def accuracy(logits: Array, targets: Array, /) -> float:
    """Share of examples whose largest logit is the target's, or of outputs on the target's side of 1/2, in [0, 1]."""
    if targets.ndim == 1:
        return float(np.mean(np.argmax(logits, axis=-1) == targets))
    return float(np.mean((logits > 0) == (targets > 0.5)))


LOSSES = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mean_squared_error": mean_squared_error,
    "brier_score": brier_score,
}


# What a forecast is held against: inputs -> forecast (n, n_outputs), or None.
REFERENCES: dict[str, Callable[[Array], Array | None]] = {
    "": lambda inputs: None,
    "persistence": lambda inputs: inputs[:, -1, :1],
}


def evaluate(
    logits: Array, targets: Array, *, loss: str, target_scale: float = 1.0, reference: Array | None = None
) -> dict[str, float]:
    """All metrics of one evaluation; accuracy where the task is a classification.

    Raises:
        ValueError: If the numbers of logits and targets differ, or there are none.
    """
    if len(logits) != len(targets) or len(targets) == 0:
        raise ValueError(f"`len(logits) == len(targets) > 0` must hold, but got {len(logits)} and {len(targets)}")
    scores = {"loss": LOSSES[loss](logits, targets)}
    return scores if loss == "mean_squared_error" else scores | {"accuracy": accuracy(logits, targets)}
