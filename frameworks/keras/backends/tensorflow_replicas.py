"""Several devices that share one run, by MirroredStrategy: threads of this process, a copy of every variable each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments.contract.arrays import Array
from experiments.contract.plan import shard_of

Batch = tuple[Array, ...]


def strategy(*, device: str, devices: int) -> tf.distribute.Strategy:
    """For one device TensorFlow's default, which changes nothing; for several, `device`s that mirror each other."""
    if devices == 1:
        return tf.distribute.get_strategy()
    tf.config.threading.set_inter_op_parallelism_threads(devices)  # a thread to each replica
    if device == "cpu":
        _cut_cpu(devices)
    return tf.distribute.MirroredStrategy([f"/{device}:{index}" for index in range(devices)])


def _cut_cpu(devices: int) -> None:
    """Let TensorFlow see the CPU as several devices."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) < devices:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)


def distributed(
    batches: Callable[[], Iterator[Batch]], shared: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    """`batches()` yields tuples of arrays; replica r of each gets the rows r, r + devices, ..."""
    devices = shared.num_replicas_in_sync

    def shards() -> Iterator[Batch]:
        for batch in batches():
            for replica in range(devices):
                yield tuple(shard_of(array, replica, devices=devices) for array in batch)

    first = next(batches())
    signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in first)
    # Elements go to the replicas in turn.
    return shared.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_generator(shards, output_signature=signature)
    )


def loss_scale_correction(devices: int) -> float:
    """What makes up for Keras' scaling of a loss: it rounds 1 / devices to float32. Exactly 1 for 1, 2, 4, ..."""
    return 1 / devices / float(np.float32(1 / devices))


def reseed_per_replica(model: keras.Model) -> None:
    """Give each replica dropout masks of its own: Keras would draw the same for the rows of every shard."""
    generators = [layer.seed_generator for layer in model.layers if hasattr(layer, "seed_generator")]

    @tf.function
    def reseed() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for generator in generators:
            seed, count = tf.unstack(generator.state.value)
            generator.state.assign(tf.stack([seed + tf.cast(replica, seed.dtype), count]))

    model.distribute_strategy.run(reseed)


class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Skips a step where any device's gradient is not finite; Keras looks at the first one's, not yet summed."""

    def check_finite(self, grads: list[Any]) -> Any:
        is_finite = super().check_finite(grads)
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync == 1:
            return is_finite
        n_lost = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(tf.logical_not(is_finite), "int32"))
        return n_lost == 0
