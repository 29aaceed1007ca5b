"""Keras 3 (TensorFlow) under the contract of experiments/contract/__init__.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from experiments.contract import evaluation_batches, require_gpus
from experiments.contract.arrays import Array, Weights
from experiments.contract.plan import BatchPlan, Plan
from experiments.contract.trace import EpochTrace
from experiments.task import Task
from frameworks.keras import bare, layers, networks, optimizers, replicas, training, weights


class KerasModel:
    """A compiled keras.Model."""

    def __init__(self, model: keras.Model, task: Task, *, device: str) -> None:
        self.model = model
        self.task = task
        self.device = device
        self._predict_on_one_replica = tf.function(
            lambda inputs: self.model(inputs, training=False), reduce_retracing=True
        )

    def weights(self) -> Weights:
        return weights.read(self.model)

    def load_weights(self, new: Weights, /) -> None:
        weights.write(self.model, new)

    def logits(self, inputs: Array, /) -> Array:
        # Not `predict`: inside `fit` it would build a new input pipeline for every evaluation.
        batches = evaluation_batches(inputs, batch_size=self.task.training.batch_size)
        return np.concatenate([self._predict(batch) for batch in batches])

    def _predict(self, inputs: Array) -> Array:
        if self.model.distribute_strategy.num_replicas_in_sync == 1:
            return self.model.predict_on_batch(inputs)
        return self._predict_on_one_replica(inputs).numpy()  # Keras would let every replica predict all of them

    def fit(
        self,
        plan: Plan,
        *,
        on_step_end: Callable[[int], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        self.record = training.Record()
        training.fit(
            self.model,
            plan,
            task=self.task,
            record=self.record,
            on_step_end=on_step_end,
            on_epoch_end=on_epoch_end,
        )

    def fit_bare(self, plan: BatchPlan, *, on_epoch_end: Callable[[], None]) -> None:
        bare.fit(self.model, plan, task=self.task, on_epoch_end=on_epoch_end)

    def trace(self) -> EpochTrace:
        return self.record.trace()

    def activations(self, inputs: Array, /) -> dict[str, Array]:
        named = keras.Model(self.model.inputs, [layer.output for layer in self.model.layers])
        outputs = named.predict_on_batch(inputs)
        return {layer.name: output for layer, output in zip(self.model.layers, outputs, strict=True)}

    def apply_gradients(self, gradients: Iterable[Weights], *, learning_rates: Array) -> None:
        optimizer = optimizers.optimizer(self.task, self.model, training.PlannedRate(learning_rates))
        optimizer.build(self.model.trainable_variables)
        by_path = {variable.path: name for name, variable in weights.variables(self.model).items()}
        names = [by_path[variable.path] for variable in self.model.trainable_variables]
        step = tf.function(lambda given: optimizer.apply(given, self.model.trainable_variables))
        # Concrete: TensorFlow would look for the graph that fits at every call, which takes longer than a small step.
        step = step.get_concrete_function(
            [tf.TensorSpec(each.shape, each.dtype) for each in self.model.trainable_variables]
        )
        for step_gradients in gradients:
            step([tf.convert_to_tensor(step_gradients[name]) for name in names])

    def fix_dropout(self, seed: int, *, n_steps: int, batch_size: int) -> None:
        before = self.weights()
        self.model = layers.with_fixed_dropout(self.model, seed=seed, n_steps=n_steps, batch_size=batch_size)
        self.load_weights(before)

    def synchronize(self) -> None:
        if self.device == "gpu":
            tf.test.experimental.sync_devices()

    def save(self, folder: Path, /) -> None:
        # Not compiled: our optimizer is no part of the model, and Keras could not find it again.
        bare = type(self.model).from_config(self.model.get_config())
        bare.set_weights(self.model.get_weights())
        bare.save(folder / "model.keras")  # open with safe_mode=True


def state_defaults() -> None:
    """Leave nothing to what a keras.json or a KERAS_* variable may have said before Keras was imported."""
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    tf.config.run_functions_eagerly(run_eagerly=False)


class KerasFramework:
    """Builds KerasModels."""

    def build(
        self,
        task: Task,
        *,
        input_shape: tuple[int, ...],
        n_outputs: int,
        seed: int,
        device: str,
        devices: int = 1,
    ) -> KerasModel:
        if device == "gpu":
            require_gpus(devices, seen=len(tf.config.list_physical_devices("GPU")), by="TensorFlow")
        tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
        if not task.training.jit:  # Keras compiles nothing under it; on a CPU runs repeat bit for bit without it too
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)
        state_defaults()
        # Before building: a dtype policy alone would leave the learning rate in float32.
        keras.config.set_floatx(task.training.dtype)
        keras.config.set_dtype_policy(task.training.precision)
        with replicas.strategy(device=device, devices=devices).scope():
            network = networks.network(task, input_shape=input_shape, n_outputs=n_outputs)
        weights.variables(network)  # raises on anything unmapped
        return KerasModel(network, task, device=device)

    def versions(self) -> dict[str, str]:
        return {"keras": keras.__version__, "tensorflow": tf.__version__}


FRAMEWORK = KerasFramework()
