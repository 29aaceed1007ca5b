"""Keras on TensorFlow: the names of `Backend`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tensorflow.python.framework.config import disable_op_determinism

from experiments.contract import require_gpus
from experiments.contract.arrays import Array
from experiments.contract.plan import Plan
from experiments.task import Training
from frameworks.keras.backends import tensorflow_replicas

if TYPE_CHECKING:
    from frameworks.keras.backends import Batch, Batches

CHUNK_BATCHES = 32  # that one call of the compiled function takes and trains, at most: a call costs a small step's time
CHUNK_BYTES = 2**23  # of them, about


def prepare(training: Training, *, device: str, devices: int) -> None:
    if device == "gpu":
        require_gpus(devices, seen=len(tf.config.list_physical_devices("GPU")), by="TensorFlow")
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    tf.config.run_functions_eagerly(run_eagerly=False)
    if not training.jit:  # Keras compiles nothing under it; on a CPU runs repeat bit for bit without it too
        tf.config.experimental.enable_op_determinism()


def as_by_hand() -> None:
    disable_op_determinism()  # TensorFlow has no public name for the way back


def versions() -> dict[str, str]:
    return {"tensorflow": tf.__version__}


def devices() -> list[str]:
    return [each.name for kind in ("CPU", "GPU") for each in tf.config.list_logical_devices(kind)]


def device_peak_bytes() -> int:
    gpus = range(len(tf.config.list_logical_devices("GPU")))
    return max(tf.config.experimental.get_memory_info(f"GPU:{index}")["peak"] for index in gpus)


def scope(*, device: str, devices: int) -> AbstractContextManager[Any]:
    return tensorflow_replicas.strategy(device=device, devices=devices).scope()


def scope_of(model: keras.Model) -> AbstractContextManager[Any]:
    return model.distribute_strategy.scope()


def replicas() -> tuple[int, float]:
    n_devices = tf.distribute.get_strategy().num_replicas_in_sync
    return n_devices, tensorflow_replicas.loss_scale_correction(n_devices)


def predictor(model: keras.Model) -> Callable[[Array], Array]:
    if not _is_shared(model):
        return model.predict_on_batch
    on_one = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    return lambda inputs: on_one(inputs).numpy()  # Keras would let every replica predict all of them


def _is_shared(model: keras.Model) -> bool:
    return model.distribute_strategy.num_replicas_in_sync > 1


def take_steps(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable], gradients: Iterable[Sequence[Array]]
) -> None:
    step = tf.function(lambda given: optimizer.apply(given, variables))
    # Concrete: TensorFlow would look for the graph that fits at every call, which takes longer than a small step.
    step = step.get_concrete_function([tf.TensorSpec(each.shape, each.dtype) for each in variables])
    for given in gradients:
        step([tf.convert_to_tensor(gradient) for gradient in given])


def synchronize(model: keras.Model, *, device: str) -> None:
    if device == "gpu":
        tf.test.experimental.sync_devices()


def summed(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    """An embedding's gradient lists a row once per use; Keras would square the parts, not the sum."""
    whole = [tf.convert_to_tensor(gradient) for gradient in gradients]
    devices = optimizer._distribution_strategy.num_replicas_in_sync
    if devices == 1:
        return whole
    added = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, whole)
    return [gradient * tensorflow_replicas.loss_scale_correction(devices) for gradient in added]


def updated(variable: keras.Variable) -> tf.Variable:
    """TensorFlow's own: of several devices each moves its copy. Keras would let them meet, which a cond forbids."""
    return variable.value


def only_if(condition: Any, update: Callable[[], None], *, changes: Sequence[keras.Variable]) -> None:
    ops.cond(condition, update, lambda: None)


def loss_scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    return tensorflow_replicas.LossScaleOptimizer(optimizer, initial_scale=2.0**15, dynamic_growth_steps=2000)


def write(losses: keras.Variable, step: keras.Variable, loss: Any) -> None:
    if tf.distribute.in_cross_replica_context():
        return  # before the first step Keras looks for shapes
    # In place: Keras' own scatter_update would write all losses of the epoch anew in every step.
    tf.raw_ops.ResourceScatterUpdate(
        resource=losses.value.handle, indices=step.value, updates=ops.cast(loss, losses.dtype)
    )
    step.assign_add(1)


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


def trainer(model: keras.Model, *, jit: bool) -> tuple[keras.Model, bool]:
    model.jit_compile = jit  # of each step of a chunk, and of what predicts between the epochs
    return (model if _is_shared(model) else ChunkedModel(model)), False


def is_compiled(*, jit: bool) -> bool:
    return jit


def per_call(model: keras.Model, plan: Plan) -> int:
    """What the limits allow; of a single epoch a quarter, as its first call, which compiles, says nothing of a step."""
    if _is_shared(model):
        return 1
    n_bytes = sum(array.nbytes for array in next(plan.batches(0)))
    n_batches = plan.batches_per_epoch if plan.epochs > 1 else max(plan.batches_per_epoch // 4, 1)
    return min(CHUNK_BATCHES, n_batches, max(CHUNK_BYTES // n_bytes, 1))


def feed(model: keras.Model, batches: Batches) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    if not _is_shared(model):
        return dataset(batches)
    tensorflow_replicas.reseed_per_replica(model)
    return tensorflow_replicas.distributed(batches.all, model.distribute_strategy)


def dataset(batches: Batches) -> tf.data.Dataset:
    """The chunks of all epochs, in one pipeline.

    Not `from_generator`: it has the C library give freed memory back, which the worker's environment forbids, so
    that each batch's would be mapped anew.
    """
    first = next(batches.all())

    def drawn(number: Any) -> Batch:
        if number == 0:
            batches.drawn = batches.chunks()
        return next(batches.drawn)

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
    n_chunks = batches.plan.epochs * batches.chunks_per_epoch
    return tf.data.Dataset.range(n_chunks).map(chunk).prefetch(1).with_options(options)
