"""Training with compile and fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from experiments.plan import BatchPlan
from experiments.task import AdamSettings, SgdSettings, Task
from frameworks.keras import optimizers

Array = NDArray[Any]
Batch = tuple[Array, Array]


class PlannedRate(keras.optimizers.schedules.LearningRateSchedule):
    """The plan's table: one learning rate per optimizer step."""

    def __init__(self, table: Array) -> None:
        self.table = np.asarray(table, "float64")

    def __call__(self, step: Any) -> Any:
        return ops.take(ops.convert_to_tensor(self.table, dtype=keras.config.floatx()), ops.cast(step, "int32"))

    def get_config(self) -> dict[str, Any]:
        return {"table": self.table.tolist()}


def optimizer(task: Task, rate: keras.optimizers.schedules.LearningRateSchedule) -> keras.optimizers.Optimizer:
    """The task's optimizer at the plan's learning rates."""
    match task.optimizer:
        case SgdSettings() as sgd:
            return optimizers.SGD(rate, momentum=sgd.momentum, nesterov=sgd.nesterov)
        case AdamSettings() as adam:
            return optimizers.Adam(rate, beta_1=adam.beta1, beta_2=adam.beta2, epsilon=adam.epsilon)


def loss(task: Task) -> keras.losses.Loss:
    """The task's loss, on logits, averaged over the batch."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum_over_batch_size")


class StepLosses(keras.metrics.Metric):
    """The loss of each batch of the running epoch (Keras' own log is a running mean), kept on the device."""

    def __init__(self, loss: keras.losses.Loss, n_steps: int) -> None:
        super().__init__(name="step_losses")
        self.loss = loss
        self.losses = self.add_variable((n_steps,), initializer="zeros", name="losses")
        self.step = self.add_variable((), initializer="zeros", dtype="int32", name="step")

    def update_state(self, targets: Any, logits: Any, sample_weight: Any = None) -> None:
        batch_loss = ops.reshape(self.loss(targets, logits), (1,))
        self.losses.assign(ops.scatter_update(self.losses, ops.reshape(self.step, (1, 1)), batch_loss))
        self.step.assign_add(1)

    def result(self) -> Any:
        return ops.sum(self.losses) / ops.cast(self.step, self.losses.dtype)

    def reset_state(self) -> None:
        self.step.assign(0)


class Progress(keras.callbacks.Callback):
    """Tells the harness about steps and epochs, and stops when it says so."""

    def __init__(
        self,
        step_losses: StepLosses,
        on_step_end: Callable[[], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        super().__init__()
        self.step_losses = step_losses
        self.step_ended = on_step_end
        self.epoch_ended = on_epoch_end

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step_ended()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = self.epoch_ended(epoch, np.array(self.step_losses.losses))


def planned_batches(plan: BatchPlan) -> Iterator[Batch]:
    """All batches of all epochs.

    A generator, not a PyDataset: `PyDataset.on_epoch_end` is called once before the first epoch, so that a
    permutation kept there would be one epoch ahead.
    """
    for epoch in range(plan.epochs):
        yield from plan.batches(epoch)


def fit(
    model: keras.Model,
    plan: BatchPlan,
    *,
    task: Task,
    on_step_end: Callable[[], None],
    on_epoch_end: Callable[[int, Array], bool],
) -> None:
    """Compile and fit `model` on the plan."""
    task_loss = loss(task)
    step_losses = StepLosses(task_loss, plan.steps_per_epoch)
    model.compile(
        optimizer=optimizer(task, PlannedRate(plan.learning_rates)),
        loss=task_loss,
        metrics=[step_losses],
        jit_compile=False,
    )
    model.fit(
        planned_batches(plan),
        epochs=plan.epochs,
        steps_per_epoch=plan.steps_per_epoch,
        verbose=0,
        callbacks=[Progress(step_losses, on_step_end, on_epoch_end)],
    )
