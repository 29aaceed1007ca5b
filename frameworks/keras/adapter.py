"""Keras 3 under the contract of experiments/contract/__init__.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from experiments.contract import evaluation_batches
from experiments.contract.arrays import Array, Weights
from experiments.contract.plan import BatchPlan, Plan
from experiments.contract.trace import EpochTrace
from experiments.task import Task
from frameworks.keras import bare, defaults, layers, networks, optimizers, training, weights
from frameworks.keras.backends import backend


class KerasModel:
    """A compiled keras.Model."""

    def __init__(self, model: keras.Model, task: Task, *, seed: int, device: str) -> None:
        self.task = task
        self.seed = seed
        self.device = device
        self._take(model)

    def _take(self, model: keras.Model) -> None:
        self.model = model
        self._predict = backend.predictor(model)

    def weights(self) -> Weights:
        return weights.read(self.model)

    def load_weights(self, new: Weights, /) -> None:
        weights.write(self.model, new)

    def logits(self, inputs: Array, /) -> Array:
        # Not `predict`: inside `fit` it would build a new input pipeline for every evaluation.
        batches = evaluation_batches(inputs, batch_size=self.task.training.batch_size)
        return np.concatenate([self._predict(batch) for batch in batches])

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

    def own_orders(self, n_examples: int, *, epochs: int) -> Array:
        return defaults.own_orders(n_examples, seed=self.seed, epochs=epochs)

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
        backend.take_steps(
            optimizer, self.model.trainable_variables, ([given[name] for name in names] for given in gradients)
        )

    def fix_dropout(self, seed: int, *, n_steps: int, batch_size: int) -> None:
        before = self.weights()
        self._take(layers.with_fixed_dropout(self.model, seed=seed, n_steps=n_steps, batch_size=batch_size))
        self.load_weights(before)

    def synchronize(self) -> None:
        backend.synchronize(self.model, device=self.device)

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
        if keras.backend.backend() != os.environ["KERAS_BACKEND"]:
            raise RuntimeError(
                f"a process has one backend of Keras, and this one has {keras.backend.backend()}, "
                f"not {os.environ['KERAS_BACKEND']}"
            )
        backend.prepare(task.training, device=device, devices=devices)
        keras.utils.set_random_seed(seed)
        state_defaults()
        # Before building: a dtype policy alone would leave the learning rate in float32.
        keras.config.set_floatx(task.training.dtype)
        keras.config.set_dtype_policy(task.training.precision)
        with backend.scope(device=device, devices=devices):
            network = networks.network(task, input_shape=input_shape, n_outputs=n_outputs)
            network = defaults.layers_as_shipped(network, task)
        weights.variables(network)  # raises on anything unmapped
        return KerasModel(network, task, seed=seed, device=device)

    def versions(self) -> dict[str, str]:
        return {"keras": keras.__version__} | backend.versions()

    def device_peak_bytes(self) -> int:
        return backend.device_peak_bytes()


FRAMEWORK = KerasFramework()
