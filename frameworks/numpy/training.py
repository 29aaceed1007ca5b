"""Losses with their derivatives, optimizers, and the loop.

The formulas are those of experiments/task: z the logits, y the targets, g a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Weights
from experiments.contract.plan import Plan
from experiments.contract.trace import Taken, sample
from experiments.task import Task
from experiments.task.optimizers import AdamSettings, SgdSettings
from frameworks.numpy.networks import Array, Mlp, sigmoid

Targets = NDArray[Any]


def mean_squared_error(z: Array, y: Targets) -> tuple[float, Array]:
    """Mean of (z - y)^2; its derivative by z."""
    return float(np.mean((z - y) ** 2)), 2 * (z - y) / z.size


def brier_score(z: Array, y: Targets) -> tuple[float, Array]:
    """Mean of (s - y)^2 with s = sigmoid(z); its derivative by z, where s' = s (1 - s)."""
    s = sigmoid(z)
    return float(np.mean((s - y) ** 2)), 2 * (s - y) * s * (1 - s) / z.size


def binary_cross_entropy(z: Array, y: Targets) -> tuple[float, Array]:
    """Mean of -y log s - (1 - y) log(1 - s) with s = sigmoid(z); its derivative by z.

    -log s = log(1 + exp(-z)) and -log(1 - s) = log(1 + exp(z)), which logaddexp computes without overflow.
    """
    losses = y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
    return float(np.mean(losses)), (sigmoid(z) - y) / z.size


def cross_entropy(z: Array, y: Targets) -> tuple[float, Array]:
    """Mean over the rows of -log p[y] with p = softmax(z); its derivative by z."""
    shifted = z - z.max(axis=1, keepdims=True)  # softmax stays the same, and exp cannot overflow
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(z.shape[1])[y]
    return -float(np.mean((one_hot * log_p).sum(axis=1))), (np.exp(log_p) - one_hot) / len(z)


LOSSES: dict[str, Callable[[Array, Targets], tuple[float, Array]]] = {
    "mean_squared_error": mean_squared_error,
    "brier_score": brier_score,
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}


class Optimizer(Protocol):
    """Serves one weight w: remembers its past gradients, and says from a new one where to go."""

    def direction(self, g: Array) -> Array:
        """What the learning rate r multiplies in w <- w - r direction."""


class Sgd:
    """v <- momentum v + g;  direction g + momentum v if nesterov else v."""

    def __init__(self, settings: SgdSettings) -> None:
        self.settings = settings
        self.v: Array | float = 0.0

    def direction(self, g: Array) -> Array:
        self.v = self.settings.momentum * self.v + g
        return g + self.settings.momentum * self.v if self.settings.nesterov else self.v


class Adam:
    """m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;  direction m^ / (sqrt(v^) + epsilon).

    m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t) at step t = 1, 2, ...; amsgrad puts the largest v so far into v^.
    """

    def __init__(self, settings: AdamSettings) -> None:
        self.settings = settings
        self.t = 0
        self.m: Array | float = 0.0
        self.v: Array | float = 0.0
        self.largest_v: Array | float = 0.0

    def direction(self, g: Array) -> Array:
        beta1, beta2 = self.settings.beta1, self.settings.beta2
        self.t += 1
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g**2
        self.largest_v = np.maximum(self.largest_v, self.v)
        m_hat = self.m / (1 - beta1**self.t)
        v_hat = (self.largest_v if self.settings.amsgrad else self.v) / (1 - beta2**self.t)
        direction: Array = m_hat / (np.sqrt(v_hat) + self.settings.epsilon)
        return direction


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {"sgd": Sgd, "adam": Adam}


def fresh_optimizers(task: Task, names: Iterable[str]) -> dict[str, Optimizer]:
    """One of the task's optimizers for every weight; none has seen a gradient yet."""
    return {name: OPTIMIZERS[task.optimizer.kind](task.optimizer) for name in names}


def move(network: Mlp, gradients: Weights, *, optimizers: Mapping[str, Optimizer], learning_rate: float) -> None:
    """Take one step down: every weight becomes w - learning_rate * direction.

    Args:
        network: Gets new weights.
        gradients: Derivative of the loss by each weight, by name.
        optimizers: One for each weight; they remember the gradient.
        learning_rate: Of this step.
    """
    network.weights = {
        name: w - learning_rate * optimizers[name].direction(gradients[name]) for name, w in network.weights.items()
    }


@np.errstate(over="ignore", invalid="ignore")  # a training that diverges is seen by the harness, in its losses
def step(
    network: Mlp,
    inputs: Array,
    targets: Targets,
    *,
    loss: str,
    optimizers: Mapping[str, Optimizer],
    learning_rate: float,
) -> float:
    """Forward, loss, backward, move; returns the batch's loss before the move.

    Args:
        network: Gets new weights.
        inputs: (n, *input_shape).
        targets: Classes (n,), or values (n, n_outputs).
        loss: A word of LOSSES.
        optimizers: One for each weight.
        learning_rate: Of this step.

    Raises:
        ValueError: If the targets have a shape that NumPy would broadcast without a word.
    """
    outputs = network.forward(inputs)
    logits = outputs["logits"]
    shape = logits.shape[:1] if loss == "cross_entropy" else logits.shape
    if targets.shape != shape:
        raise ValueError(f"targets of {loss} must have shape {shape}, but got {targets.shape}")
    batch_loss, d_logits = LOSSES[loss](logits, targets)
    gradients = network.backward(outputs, d_logits)
    move(network, gradients, optimizers=optimizers, learning_rate=learning_rate)
    return batch_loss


def fit(
    network: Mlp,
    plan: Plan,
    *,
    task: Task,
    taken: Taken,
    on_step_end: Callable[[int], None],
    on_epoch_end: Callable[[int, Array], bool],
) -> None:
    """Take the plan's batches in the plan's order.

    Args:
        network: What is trained.
        plan: Batches and learning rates.
        task: For loss and optimizer.
        taken: Is told what each step takes.
        on_step_end: As in `Model.fit`.
        on_epoch_end: As in `Model.fit`; it may replace `network.weights`.
    """
    optimizers = fresh_optimizers(task, network.weights)
    learning_rates = plan.learning_rates.reshape(plan.epochs, plan.batches_per_epoch)
    for epoch in range(plan.epochs):
        losses = []
        for (x, y), rate in zip(plan.batches(epoch), learning_rates[epoch], strict=True):
            taken.add(sample(x).copy(), y)
            taken.learning_rates.append(rate)
            losses.append(step(network, x, y, loss=task.training.loss, optimizers=optimizers, learning_rate=rate))
            on_step_end(1)
        if on_epoch_end(epoch, np.array(losses)):
            return
        taken.clear()
