"""What a framework must offer. Protocols, not base classes: nothing inherited to look up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from experiments.initialization import Weights
from experiments.plan import BatchPlan
from experiments.task import Task

Array = NDArray[Any]


class Model(Protocol):
    """One trainable network. Arrays cross this border as NumPy, channels last, in the task's precision."""

    def weights(self) -> Weights:
        """Copies, under canonical names: dense kernels (in, out), convolutions (h, w, in, out)."""

    def load_weights(self, weights: Weights, /) -> None:
        """Replace every weight; raise KeyError on a missing or unknown name."""

    def logits(self, inputs: Array, /) -> Array:
        """Evaluation-mode scores before softmax: (n, *input_shape) -> (n, n_outputs)."""

    def fit(
        self,
        plan: BatchPlan,
        *,
        on_step_end: Callable[[], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        """Take the plan's batches in the plan's order at the plan's learning rates.

        `on_step_end()` is called after each optimizer step has been queued. `on_epoch_end(epoch, losses)` gets
        the training loss of each batch of epoch 0, 1, ..., shape (steps_per_epoch,); training stops once it is true.
        """

    def synchronize(self) -> None:
        """Return when queued device work is done, so that run.py can read its clock."""

    def save(self, folder: Path, /) -> None:
        """Write the model into `folder` in the framework's own safe format."""


class Framework(Protocol):
    """One deep-learning framework, imported."""

    def build(self, task: Task, *, input_shape: tuple[int, ...], n_outputs: int, seed: int, device: str) -> Model:
        """Build the task's network, compiled and ready to fit on `device` ("cpu" or "gpu").

        Raises:
            RuntimeError: If `device` is "gpu" and the framework sees none.
        """

    def versions(self) -> dict[str, str]:
        """Names and versions of the packages that do the arithmetic."""
