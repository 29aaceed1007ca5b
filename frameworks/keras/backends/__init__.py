"""What only one backend of Keras needs, in a module for each; `backend` is the one that this process computes with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import keras

from experiments.contract.arrays import Array
from experiments.contract.plan import Plan
from experiments.task import Training

Batch = tuple[Array, ...]


class Batches(Protocol):
    """What `fit` is fed from: `training.PlannedBatches`."""

    plan: Plan
    chunks_per_epoch: int

    def all(self) -> Iterator[Batch]:
        """The batches of all epochs."""

    def chunks(self) -> Iterator[Batch]:
        """Of all epochs: each array of the chunk's batches end to end, (rows, ...), and the row where each ends."""


class Backend(Protocol):
    """The names that each of the modules has."""

    def prepare(self, training: Training, *, device: str, devices: int) -> None:
        """Settle the process: exact products, results that repeat; raise RuntimeError where GPUs are missing."""

    def scope(self, *, device: str, devices: int) -> AbstractContextManager[Any]:
        """In which a network is made that so many devices share."""

    def scope_of(self, model: keras.Model) -> AbstractContextManager[Any]:
        """That in which the model was made."""

    def versions(self) -> dict[str, str]:
        """Of the backend's own packages."""

    def devices(self) -> list[str]:
        """Those that it sees, in its own words, GPUs after the CPU."""

    def device_peak_bytes(self) -> int:
        """The most that this process has had of one GPU, as the library's own books say."""

    def predictor(self, model: keras.Model) -> Callable[[Array], Array]:
        """Inputs of one batch -> evaluation-mode outputs."""

    def take_steps(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
        gradients: Iterable[Sequence[Array]],
    ) -> None:
        """One step of a built optimizer for each element of `gradients`, which has those of the variables in order."""

    def synchronize(self, model: keras.Model, *, device: str) -> None:
        """Return when queued work is done."""

    def summed(self, optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
        """Gradients as dense tensors, each the sum over its uses and over the devices that share a run."""

    def updated(self, variable: keras.Variable) -> Any:
        """What an optimizer's update rule is given to change."""

    def only_if(self, condition: Any, update: Callable[[], None], *, changes: Sequence[keras.Variable]) -> None:
        """Within a step: update the variables that it `changes`, where the condition holds."""

    def loss_scaled(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """The optimizer with the scaling of losses that float16 needs."""

    def replicas(self) -> tuple[int, float]:
        """Within a scope: how many devices share a run, and what makes up for how Keras scales the loss of one."""

    def write(self, losses: keras.Variable, step: keras.Variable, loss: Any) -> None:
        """Put the loss at its step, and count it, within a compiled step."""

    def trainer(self, model: keras.Model, *, jit: bool) -> tuple[keras.Model, bool]:
        """What `compile` and `fit` are called of to train the model, and the `jit_compile` of its `compile`."""

    def is_compiled(self, *, jit: bool) -> bool:
        """The `jit_compile` of who compiles the model by hand; a step that is a graph needs none."""

    def per_call(self, model: keras.Model, plan: Plan) -> int:
        """How many batches that `fit` takes at a time."""

    def feed(self, model: keras.Model, batches: Batches) -> Any:
        """What that `fit` draws them from."""

    def as_by_hand(self) -> None:
        """Undo what of `prepare` takes time, for the bare loop."""


backend = cast("Backend", importlib.import_module(f"frameworks.keras.backends.{keras.backend.backend()}"))
