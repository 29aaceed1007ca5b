"""Training with compile and fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from experiments.contract.arrays import Array
from experiments.contract.plan import Plan
from experiments.contract.trace import EpochTrace, Taken, digests, sample
from experiments.task import Task
from frameworks.keras import optimizers, weights
from frameworks.keras.backends import Batch, backend
from frameworks.keras.layers import Penalty


class PlannedRate(keras.optimizers.schedules.LearningRateSchedule):
    """The plan's table: one learning rate per optimizer step. Keras counts batches, whether they make a step or not."""

    def __init__(self, table: Array, *, batches_per_step: int = 1) -> None:
        self.table = np.asarray(table, "float64")
        self.batches_per_step = batches_per_step

    def __call__(self, batch: Any) -> Any:
        step = ops.cast(batch, "int32") // self.batches_per_step
        return ops.take(ops.convert_to_tensor(self.table, dtype=keras.config.floatx()), step)

    def get_config(self) -> dict[str, Any]:
        return {"table": self.table.tolist(), "batches_per_step": self.batches_per_step}


class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of class numbers with label smoothing, which Keras has for one-hot targets only."""

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(name="cross_entropy", reduction="sum_over_batch_size")
        self.label_smoothing = label_smoothing

    def call(self, targets: Any, logits: Any) -> Any:
        n_classes = logits.shape[-1]
        smoothing = self.label_smoothing
        shares = ops.one_hot(ops.cast(targets, "int32"), n_classes, dtype=logits.dtype)
        shares = shares * (1 - smoothing) + smoothing / n_classes
        return keras.losses.categorical_crossentropy(shares, logits, from_logits=True, label_smoothing=0.0)


class BrierScore(keras.losses.Loss):
    """Mean squared error of the logistic output."""

    def __init__(self) -> None:
        super().__init__(name="brier_score", reduction="sum_over_batch_size")

    def call(self, targets: Any, logits: Any) -> Any:
        return keras.losses.mean_squared_error(targets, ops.sigmoid(logits))


def loss(task: Task) -> keras.losses.Loss:
    """The task's loss, on logits, averaged over the batch; by the examples' weights where classes have weights."""
    match task.training.loss:
        case "cross_entropy" if task.regularization.label_smoothing:
            return SmoothedCrossEntropy(task.regularization.label_smoothing)
        case "cross_entropy" if task.training.class_weights:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        case "cross_entropy":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum_over_batch_size")
        case "binary_cross_entropy":
            return keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum_over_batch_size")
        case "mean_squared_error":
            return keras.losses.MeanSquaredError(reduction="sum_over_batch_size")
        case "brier_score":
            return BrierScore()


class StepLosses(keras.metrics.Metric):
    """The loss of each batch of the running epoch (Keras' own log is a running mean), kept on the device.

    On several devices Keras divides a replica's mean by their number, and adds up what they kept when it is read.
    """

    def __init__(self, loss: keras.losses.Loss, n_steps: int) -> None:
        super().__init__(name="step_losses")
        self.loss = loss
        self.n_devices, self.correction = backend.replicas()
        self.losses = self.add_variable((n_steps,), initializer="zeros", name="losses")
        self.step = self.add_variable((), initializer="zeros", dtype="int32", name="step")

    def update_state(self, targets: Any, logits: Any, sample_weight: Any = None) -> None:
        backend.write(self.losses, self.step, self.loss(targets, logits, sample_weight) * self.correction)

    def result(self) -> Any:
        return ops.sum(self.losses) / ops.cast(self.step, self.losses.dtype)

    def reset_state(self) -> None:
        self.step.assign(0)

    @property
    def n_batches(self) -> int:
        """Of the running epoch; each device counts its own."""
        return int(self.step.numpy()) // self.n_devices


class Progress(keras.callbacks.Callback):
    """Tells the harness about steps and epochs, and stops when it says so."""

    def __init__(
        self,
        batches: PlannedBatches,
        record: Record,
        on_step_end: Callable[[int], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        super().__init__()
        self.batches = batches
        self.record = record
        self.step_ended = on_step_end
        self.epoch_ended = on_epoch_end

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """`batch` counts the epoch's chunks, of which the last may have fewer batches than there is room for."""
        room = self.batches.per_chunk
        self.step_ended(min(room, self.batches.plan.batches_per_epoch - batch * room))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = self.epoch_ended(epoch, ops.convert_to_numpy(self.record.step_losses.losses).copy())
        self.record.next_epoch()


class Record:
    """What `fit` took: the batches as the backend drew them from Python, whose order it keeps.

    How many of them were trained, in how many steps and at which rates, is read from what the compiled step counts.
    """

    def __init__(self) -> None:
        self.taken = Taken()
        self.n_before = 0

    def begin(self, step_losses: StepLosses, optimizer: keras.optimizers.Optimizer) -> None:
        self.step_losses = step_losses
        self.optimizer = optimizer

    def trace(self) -> EpochTrace:
        n_batches = self.step_losses.n_batches
        return EpochTrace(
            digests=digests(self.taken.samples[:n_batches], self.taken.targets[:n_batches]),
            learning_rates=self._rates(),
        )

    def _rates(self) -> Array | None:
        """Of the optimizer's own schedule at its own count; a scaler that skips a step does not count it."""
        optimizer = self.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            return None
        batches = np.arange(self.n_before, int(optimizer._iterations.numpy()))
        rate, steps = optimizer._learning_rate, optimizer.gradient_accumulation_steps or 1
        rates = ops.convert_to_numpy(rate(batches) if callable(rate) else rate)
        return np.broadcast_to(rates, batches.shape)[steps - 1 :: steps]

    def next_epoch(self) -> None:
        """Forget the batches that were trained; who draws them may be ahead."""
        n_batches = self.step_losses.n_batches
        del self.taken.samples[:n_batches], self.taken.targets[:n_batches]
        self.n_before = int(self.optimizer._iterations.numpy())


class PlannedBatches:
    """The plan's batches, with the weight of each example where classes have weights; `record` is told of each.

    A backend may ask for a chunk at a time, up to `per_chunk` batches of an epoch.
    """

    def __init__(self, plan: Plan, class_weights: tuple[float, ...] | None, record: Record, *, per_chunk: int) -> None:
        self.plan = plan
        self.example_weights = None if class_weights is None else np.array(class_weights, keras.config.floatx())
        self.record = record
        self.per_chunk = per_chunk
        self.chunks_per_epoch = -(-plan.batches_per_epoch // per_chunk)

    def of(self, epochs: Iterable[int]) -> Iterator[Batch]:
        # A record of its own: what an earlier iterator still draws ahead is nobody's.
        taken = self.record.taken = Taken()
        for epoch in epochs:
            for inputs, targets in self.plan.batches(epoch):
                taken.add(sample(inputs).copy(), targets)
                weights = () if self.example_weights is None else (self.example_weights[targets],)
                yield inputs, targets, *weights

    def all(self) -> Iterator[Batch]:
        """Of all epochs."""
        return self.of(range(self.plan.epochs))

    def chunks(self) -> Iterator[Batch]:
        """Of all epochs: each array of the chunk's batches end to end, (rows, ...), and the row where each ends."""
        batches = self.all()
        for _ in range(self.plan.epochs):
            of_epoch = itertools.islice(batches, self.plan.batches_per_epoch)
            while chunk := list(itertools.islice(of_epoch, self.per_chunk)):
                ends = np.cumsum([len(inputs) for inputs, *_ in chunk], dtype=np.int32)
                yield *map(np.concatenate, zip(*chunk, strict=True)), ends


def penalize(model: keras.Model, task: Task) -> None:
    """Give every weight that is not excluded its penalty; `fit` adds it to the loss."""
    penalty = Penalty(l1=task.regularization.l1, l2=task.regularization.l2)
    if not (penalty.l1 or penalty.l2):
        return
    for name, variable in weights.variables(model).items():
        if variable.trainable and not task.regularization.excludes(name):
            variable.regularizer = penalty


def fit(
    model: keras.Model,
    plan: Plan,
    *,
    task: Task,
    record: Record,
    on_step_end: Callable[[int], None],
    on_epoch_end: Callable[[int, Array], bool],
) -> None:
    """Compile and fit `model` on the plan, on the devices that it was built for.

    Args:
        model: What `networks.network` built.
        plan: Batches and learning rates.
        task: What the model was built for.
        record: Is told what each epoch takes.
        on_step_end: As in `Model.fit`.
        on_epoch_end: As in `Model.fit`; it may replace the model's weights.
    """
    penalize(model, task)
    rate = PlannedRate(plan.learning_rates, batches_per_step=plan.batches_per_step)
    with backend.scope_of(model):
        step_losses = StepLosses(loss(task), plan.batches_per_epoch)
        optimizer = optimizers.optimizer(task, model, rate, batches_per_step=plan.batches_per_step)
        if task.training.precision == "mixed_float16":
            optimizer = backend.loss_scaled(optimizer)
        model.predict_function = None  # which `compile` makes anew
        trained, jit_compile = backend.trainer(model, jit=task.training.jit)
        trained.compile(
            optimizer=optimizer,
            loss=loss(task),
            loss_weights=None,
            metrics=None,
            weighted_metrics=[step_losses],
            run_eagerly=False,
            steps_per_execution=1,
            jit_compile=jit_compile,
            auto_scale_loss=True,
        )
        record.begin(step_losses, optimizer)
        optimizer.build(model.trainable_variables)  # made in the first step, they would have it traced twice

    batches = PlannedBatches(plan, task.training.class_weights, record, per_chunk=backend.per_call(model, plan))
    trained.fit(
        backend.feed(model, batches),
        shuffle=False,
        epochs=plan.epochs,
        initial_epoch=0,
        steps_per_epoch=batches.chunks_per_epoch,
        class_weight=None,  # they are each example's, from the plan's batches
        validation_data=None,
        verbose=0,
        callbacks=[Progress(batches, record, on_step_end, on_epoch_end)],
    )
