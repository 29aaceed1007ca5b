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
    """Mean of (s(z) - y)**2, s the logistic function: both (n, n_outputs), y in [0, 1]. The loss of binary outputs."""
    return mean_squared_error(logistic(logits), targets)


def logistic(logits: Array, /) -> Array64:
    """1 / (1 + exp(-z)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def accuracy(logits: Array, targets: Array, /) -> float:
    """Share of examples whose largest logit is the target's, or of outputs on the target's side of 1/2, in [0, 1]."""
    if targets.ndim == 1:
        return float(np.mean(np.argmax(logits, axis=-1) == targets))
    return float(np.mean((logits > 0) == (targets > 0.5)))


def multiclass_brier_score(logits: Array, targets: Array, /) -> float:
    """Mean over examples of the sum over classes of (p - 1[class is the target])**2, in [0, 2].

    Logits (n, n_classes), targets (n,) of class numbers. Source: Brier 1950.
    """
    errors = np.exp(log_softmax(logits))
    errors[np.arange(len(targets)), targets] -= 1
    return float(np.mean(np.sum(errors**2, axis=1)))


def calibration_error(logits: Array, targets: Array, /, *, n_bins: int = 15) -> float:
    """Expected calibration error of the answers, in [0, 1]: mean of |share right - mean confidence| over bins.

    A bin (k / n_bins, (k + 1) / n_bins] of the answer's probability weighs as many examples as it holds. Logits
    (n, n_classes), targets (n,). Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    chances = np.exp(log_softmax(logits))
    confidence, right = chances.max(axis=1), logits.argmax(axis=1) == targets  # as accuracy: chances can tie
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    excess = np.bincount(bins, weights=right - confidence, minlength=n_bins)  # of each bin: its size times its gap
    return float(np.abs(excess).sum() / len(targets))


def by_class(logits: Array, targets: Array, /) -> dict[str, float]:
    """Scores in which every class weighs the same, whatever its share of the examples; all in [0, 1].

    balanced_accuracy is the mean recall of the classes that occur among the targets; macro_precision, macro_recall
    and macro_f1 are means over the classes that occur among targets or answers, 0 where a class has no answer or no
    target. Logits (n, n_classes), targets (n,). Source: the definitions of scikit-learn's functions of these names.
    """
    answers, n_classes = logits.argmax(axis=1), logits.shape[1]
    right = np.bincount(targets[answers == targets], minlength=n_classes)
    actual, answered = np.bincount(targets, minlength=n_classes), np.bincount(answers, minlength=n_classes)
    seen = (actual > 0) | (answered > 0)
    recall, precision, f1 = (_ratio(a, b)[seen] for a, b in ((right, actual), (right, answered),
                                                            (2 * right, actual + answered)))  # fmt: skip
    return {
        "balanced_accuracy": float(np.mean(_ratio(right, actual)[actual > 0])),
        "macro_precision": float(np.mean(precision)),
        "macro_recall": float(np.mean(recall)),
        "macro_f1": float(np.mean(f1)),
    }


def _ratio(counts: Array, of: Array) -> Array64:
    """Counts over counts, 0 where there are none."""
    return np.divide(counts, of, out=np.zeros(len(counts)), where=of > 0)


def regression(outputs: Array, targets: Array, /, *, target_scale: float, reference: Array | None) -> dict[str, float]:
    """Rmse and mae in the unit of the data; r2 and skill without one, at most 1; outputs and targets (n, n_outputs).

    r2, the coefficient of determination, is the mean over the outputs of 1 - MSE / variance; skill is 1 - MSE / MSE of
    the reference forecast (Murphy 1988, Mon. Weather Rev. 116). Each is left out where it would divide by 0.

    Raises:
        ValueError: If outputs or reference have another shape than targets: NumPy would broadcast them.
    """
    for name, array in {"outputs": outputs, "reference": targets if reference is None else reference}.items():
        if array.shape != targets.shape:
            raise ValueError(
                f"`{name}.shape == targets.shape` must hold, but got {array.shape} and {targets.shape}; give a value "
                "for each of the targets"
            )
    errors = outputs.astype(np.float64) - targets
    squares = np.mean(errors**2, axis=0)  # (n_outputs,)
    scores = {
        "rmse": float(np.sqrt(np.mean(squares))) * target_scale,
        "mae": float(np.mean(np.abs(errors))) * target_scale,
    }
    if (np.ptp(targets, axis=0) > 0).all():  # the variance of equal numbers can round to 1e-34
        scores["r2"] = float(np.mean(1 - squares / np.var(targets.astype(np.float64), axis=0)))
    if reference is not None and (of_reference := mean_squared_error(reference, targets)) > 0:
        scores["skill"] = 1 - mean_squared_error(outputs, targets) / of_reference
    return scores


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


def names(loss: str) -> tuple[str, ...]:
    """What `evaluate` always tells for a loss."""
    if loss == "mean_squared_error":
        return ("loss", "rmse", "mae")
    if loss != "cross_entropy":
        return ("loss", "accuracy")
    return (
        "loss", "accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "brier_score",
        "calibration_error",
    )  # fmt: skip


def evaluate(
    logits: Array, targets: Array, *, loss: str, target_scale: float = 1.0, reference: Array | None = None
) -> dict[str, float]:
    """All metrics of one evaluation, by name; for class numbers `loss` is the log loss.

    Args:
        logits: Outputs of the last layer, shape (n, n_outputs).
        targets: Class numbers, shape (n,), or values, shape (n, n_outputs).
        loss: The task's.
        target_scale: Size of the targets' unit in the unit that rmse and mae are told in.
        reference: A forecast that a regression is held against, shape (n, n_outputs).

    Raises:
        ValueError: If the numbers of logits and targets differ, or there are none; see also `regression`.
    """
    if len(logits) != len(targets) or len(targets) == 0:
        raise ValueError(f"`len(logits) == len(targets) > 0` must hold, but got {len(logits)} and {len(targets)}")
    scores = {"loss": LOSSES[loss](logits, targets)}
    if loss == "mean_squared_error":
        return scores | regression(logits, targets, target_scale=target_scale, reference=reference)
    scores["accuracy"] = accuracy(logits, targets)
    if loss != "cross_entropy":
        return scores
    scores |= by_class(logits, targets)
    scores["brier_score"] = multiclass_brier_score(logits, targets)
    scores["calibration_error"] = calibration_error(logits, targets)
    return scores
