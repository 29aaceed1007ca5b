"""NumPy under the contract of experiments/contract/__init__.py. What the referee does not know, it refuses by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from experiments.contract import require_gpus
from experiments.contract.arrays import Array, Weights
from experiments.contract.plan import BatchPlan, Plan
from experiments.contract.trace import EpochTrace, Taken
from experiments.task import Task
from frameworks.numpy import bare, networks, training
from frameworks.numpy.limits import refuse_unknown_words


class NumpyModel:
    """A multilayer perceptron that is trained step by step."""

    def __init__(self, network: networks.Mlp, task: Task) -> None:
        self.network = network
        self.task = task
        self.taken = Taken()

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self.network.weights.items()}

    def load_weights(self, new: Weights, /) -> None:
        shapes = {name: weight.shape for name, weight in self.network.weights.items()}
        if new.keys() != shapes.keys():
            raise KeyError(f"weights must be {sorted(shapes)}, but got {sorted(new)}")
        for name, shape in shapes.items():
            if new[name].shape != shape:
                raise ValueError(f"`{name}` must have shape {shape}, but got {new[name].shape}")
        self.network.weights = {name: new[name].astype(np.float64) for name in shapes}  # astype copies

    @np.errstate(over="ignore", invalid="ignore")  # as in training.step
    def logits(self, inputs: Array, /) -> Array:
        return self.network.forward(inputs)["logits"]

    def activations(self, inputs: Array, /) -> Mapping[str, Array]:
        return self.network.forward(inputs)

    def fit(
        self,
        plan: Plan,
        *,
        on_step_end: Callable[[int], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        self.taken = Taken()
        training.fit(
            self.network,
            plan,
            task=self.task,
            taken=self.taken,
            on_step_end=on_step_end,
            on_epoch_end=on_epoch_end,
        )

    def fit_bare(self, plan: BatchPlan, *, on_epoch_end: Callable[[], None]) -> None:
        bare.fit(self.network, plan, task=self.task, on_epoch_end=on_epoch_end)

    def trace(self) -> EpochTrace:
        return self.taken.trace()

    def apply_gradients(self, gradients: Iterable[Weights], *, learning_rates: Array) -> None:
        optimizers = training.fresh_optimizers(self.task, self.network.weights)
        for given, rate in zip(gradients, learning_rates, strict=True):
            exact = {name: gradient.astype(np.float64) for name, gradient in given.items()}
            training.move(self.network, exact, optimizers=optimizers, learning_rate=rate)

    def fix_dropout(self, seed: int, *, n_steps: int, batch_size: int) -> None:
        """Nothing to fix: there is no dropout."""

    def synchronize(self) -> None:
        """Nothing to wait for: NumPy queues no work."""

    def save(self, folder: Path, /) -> None:
        np.savez(folder / "model.npz", allow_pickle=False, **self.network.weights)


class NumpyFramework:
    """Builds NumpyModels."""

    def build(
        self,
        task: Task,
        *,
        input_shape: tuple[int, ...],
        n_outputs: int,
        seed: int,
        device: str,
        devices: int = 1,
    ) -> NumpyModel:
        if device == "gpu":
            require_gpus(devices, seen=0, by="NumPy")
        if devices > 1:
            raise ValueError(f"`framework=numpy` computes on one device, but got executor.devices={devices}; set 1")
        refuse_unknown_words(task)
        network = networks.network(task, input_shape=input_shape, n_outputs=n_outputs, seed=seed)
        return NumpyModel(network, task)

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}


FRAMEWORK = NumpyFramework()
