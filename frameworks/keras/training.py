"""Training with compile and fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from experiments.contract.arrays import Array
from experiments.contract.plan import Plan
from experiments.contract.trace import EpochTrace, Taken, digests, sample
from experiments.task import Task
from frameworks.keras import optimizers, replicas, weights
from frameworks.keras.layers import Penalty

Batch = tuple[Array, ...]
CHUNK_BATCHES = 32  # that one call of the compiled function takes and trains, at most: a call costs a small step's time
CHUNK_BYTES = 2**23  # of them, about


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
        self.n_devices = tf.distribute.get_strategy().num_replicas_in_sync
        self.correction = replicas.loss_scale_correction(self.n_devices)
        self.losses = self.add_variable((n_steps,), initializer="zeros", name="losses")
        self.step = self.add_variable((), initializer="zeros", dtype="int32", name="step")

    def update_state(self, targets: Any, logits: Any, sample_weight: Any = None) -> None:
        batch_loss = self.loss(targets, logits, sample_weight) * self.correction
        if tf.distribute.in_cross_replica_context():
            return  # before the first step Keras looks for shapes
        # In place: Keras' own scatter_update would write all losses of the epoch anew in every step.
        tf.raw_ops.ResourceScatterUpdate(
            resource=self.losses.value.handle, indices=self.step.value, updates=ops.cast(batch_loss, self.losses.dtype)
        )
        self.step.assign_add(1)

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
        self.model.stop_training = self.epoch_ended(epoch, np.array(self.record.step_losses.losses))
        self.record.next_epoch()


class Record:
    """What `fit` took: the batches as TensorFlow drew them from Python, whose order it keeps.

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

    TensorFlow asks for a chunk at a time, up to `per_chunk` batches of an epoch.
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

    def dataset(self) -> tf.data.Dataset:
        """The chunks of all epochs, in one pipeline.

        Not `from_generator`: it has the C library give freed memory back, which the worker's environment forbids, so
        that each batch's would be mapped anew.
        """
        first = next(self.all())

        def drawn(number: Any) -> Batch:
            if number == 0:
                self.drawn = self.chunks()
            return next(self.drawn)

        def chunk(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            *arrays, ends = tf.numpy_function(drawn, [number], [*(array.dtype for array in first), np.int32])
            for array, like in zip(arrays, first, strict=True):
                array.set_shape((None, *like.shape[1:]))
            ends.set_shape((None,))
            return *arrays, ends

        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        options.experimental_optimization.apply_default_optimizations = False
        n_chunks = self.plan.epochs * self.chunks_per_epoch
        return tf.data.Dataset.range(n_chunks).map(chunk).prefetch(1).with_options(options)


def batches_per_chunk(plan: Plan) -> int:
    """What the limits allow; of a single epoch a quarter, as its first call, which compiles, says nothing of a step."""
    n_bytes = sum(array.nbytes for array in next(plan.batches(0)))
    n_batches = plan.batches_per_epoch if plan.epochs > 1 else max(plan.batches_per_epoch // 4, 1)
    return min(CHUNK_BATCHES, n_batches, max(CHUNK_BYTES // n_bytes, 1))


class ChunkedModel(keras.Model):
    """A model whose layers are those of `model`: what its `fit` takes as a batch is a chunk, trained in one call."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model.inputs, model.outputs, name=model.name)
        self.step = tf.function(super().train_step, reduce_retracing=True, jit_compile=model.jit_compile)

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        *arrays, ends = data

        def train(number: Any, start: Any) -> tuple[Any, Any]:
            self.step(tuple(array[start : ends[number]] for array in arrays))
            return number + 1, ends[number]

        tf.while_loop(lambda number, _: number < tf.size(ends), train, [0, 0])
        return self.get_metrics_result()


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
    shared = model.distribute_strategy
    is_shared = shared.num_replicas_in_sync > 1
    with shared.scope():
        step_losses = StepLosses(loss(task), plan.batches_per_epoch)
        optimizer = optimizers.optimizer(task, model, rate, batches_per_step=plan.batches_per_step)
        if task.training.precision == "mixed_float16":
            optimizer = replicas.LossScaleOptimizer(optimizer, initial_scale=2.0**15, dynamic_growth_steps=2000)
        model.jit_compile, model.predict_function = task.training.jit, None  # of what predicts between the epochs
        trained = model if is_shared else ChunkedModel(model)
        trained.compile(
            optimizer=optimizer,
            loss=loss(task),
            loss_weights=None,
            metrics=None,
            weighted_metrics=[step_losses],
            run_eagerly=False,
            steps_per_execution=1,
            jit_compile=False,  # but for each step of a chunk
            auto_scale_loss=True,
        )
        record.begin(step_losses, optimizer)
        optimizer.build(model.trainable_variables)  # made in the first step, they would have it traced twice

    per_chunk = 1 if is_shared else batches_per_chunk(plan)
    batches = PlannedBatches(plan, task.training.class_weights, record, per_chunk=per_chunk)
    if is_shared:
        replicas.reseed_per_replica(model)
    trained.fit(
        replicas.distributed(batches.all, shared) if is_shared else batches.dataset(),
        shuffle=False,
        epochs=plan.epochs,
        initial_epoch=0,
        steps_per_epoch=batches.chunks_per_epoch,
        class_weight=None,  # they are each example's, from the plan's batches
        validation_data=None,
        verbose=0,
        callbacks=[Progress(batches, record, on_step_end, on_epoch_end)],
    )
