"""The bare loop: what a training takes where nobody listens."""

from __future__ import annotations

from collections.abc import Callable

from experiments.contract.plan import BatchPlan
from experiments.task import Task
from frameworks.numpy.networks import Mlp
from frameworks.numpy.training import fresh_optimizers, step


def fit(network: Mlp, plan: BatchPlan, *, task: Task, on_epoch_end: Callable[[], None]) -> None:
    """Take the plan's examples in its order; the steps are those of `training.fit`, number by number.

    Args:
        network: What is trained.
        plan: Examples, batch size, epochs and learning rates.
        task: For loss and optimizer.
        on_epoch_end: As in `BareLoop.fit_bare`.
    """
    optimizers = fresh_optimizers(task, network.weights)
    rates = plan.learning_rates.reshape(plan.epochs, plan.batches_per_epoch)
    for epoch in range(plan.epochs):
        order = plan.order(epoch)
        for number, rate in enumerate(rates[epoch]):
            rows = order[number * plan.batch_size : (number + 1) * plan.batch_size]
            x, y = plan.inputs[rows], plan.targets[rows]
            step(network, x, y, loss=task.training.loss, optimizers=optimizers, learning_rate=rate)
        on_epoch_end()
