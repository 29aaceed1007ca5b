"""What is known of a source of examples, and what it gives."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from experiments.task import Task

if TYPE_CHECKING:  # what is known of a source is told without NumPy
    from numpy.typing import NDArray

Arrays: TypeAlias = "dict[str, NDArray[Any]]"
Settings = TypeVar("Settings")  # what one source takes: a class of experiments/task/datasets.py


@dataclass(frozen=True, kw_only=True)
class ExampleSpec:
    """What the examples of a source look like.

    Attributes:
        input_shape: Shape of one example, channels last: images (h, w, channels), sequences (steps, features), tokens
            (steps,), else features.
        class_names: Names of the classes; empty where the targets are values.
        n_values: Values that are to be predicted; 0 where the targets are classes.
        scale: Inputs are divided by it.
        vocabulary: Different tokens, 0 (padding) among them; 0 where the inputs are no tokens.
        target_scale: Size of the targets' unit in the unit that RMSE and MAE are told in.
        reference: The forecast that a regression is held against: "persistence", the last step's first feature.
    """

    input_shape: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    n_values: int = 0
    scale: float = 1.0
    vocabulary: int = 0
    target_scale: float = 1.0
    reference: Literal["", "persistence"] = ""

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for it: one per class, or one per value."""
        return self.n_values or len(self.class_names)

    @property
    def targets(self) -> str:
        """Whether an example has one class, or values."""
        return "values" if self.n_values else "classes"


@dataclass(frozen=True, kw_only=True)
class Standardization:
    """What was subtracted from each feature, and what it was then divided by: both of the training part alone."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RawData:
    """Examples as a source gives them; `x_test` and `y_test` are empty where it has no test set of its own.

    `spec` is stated by sources whose examples' spec is known only once they are read. `suspicions` are lines for a
    person: what may have been meant otherwise.
    """

    arrays: Arrays
    origin: str
    spec: ExampleSpec | None = None
    suspicions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source(Generic[Settings]):
    """What is known of a source before it is read, and how to read it.

    Attributes:
        title: Its name as a person says it.
        reader: "module:function" of this package that reads it, and is imported then: settings, folder of the cache ->
            examples. Raises ValueError or FileNotFoundError.
        spec: What the examples will look like; None where only reading tells.
        check: Raises what `read` would, as far as it is told without reading.
    """

    title: str
    reader: str
    spec: Callable[[Settings], ExampleSpec] | None
    check: Callable[[Settings], None] = lambda _: None

    def read(self, settings: Settings, cache: Path, /) -> RawData:
        """Read the examples; `cache` is where fetched ones are kept.

        Raises:
            ValueError: If they are not what they must be.
            FileNotFoundError: If a file is missing.
        """
        module, _, function = self.reader.partition(":")
        raw: RawData = getattr(importlib.import_module(f"experiments.data.{module}"), function)(settings, cache)
        return raw


def without_test_set(x: NDArray[Any], y: NDArray[Any]) -> Arrays:
    """Arrays of a source that has no test set of its own."""
    return {"x_train": x, "y_train": y, "x_test": x[:0], "y_test": y[:0]}


def write_npz(path: Path, arrays: Arrays, /) -> None:
    """Write arrays so that a file under its final name is always whole (temporary name, then rename)."""
    import numpy as np

    partial = path.with_name(f".{path.name}.{id(arrays)}.npz")
    try:
        np.savez(partial, allow_pickle=False, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_fit(task: Task, spec: ExampleSpec, *, title: str) -> list[str]:
    """Whether network, loss and class weights fit the examples; what does not, in words."""
    problems = []
    try:
        task.network.check_input(spec.input_shape, vocabulary=spec.vocabulary)
    except ValueError as error:
        problems.append(str(error))
    if task.regularization.augmentation.is_on and len(spec.input_shape) != 3:
        problems.append(f"regularization.augmentation: changes images, but {title} has none")
    wants = "classes" if task.training.loss == "cross_entropy" else "values"
    if spec.targets != wants:
        fixes = {"classes": "training.loss=mean_squared_error takes values", "values": "cross_entropy takes classes"}
        problems.append(
            f"training.loss: {task.training.loss} needs {wants}, but {title} has {spec.targets}; {fixes[wants]}"
        )
    weights = task.training.class_weights
    if weights is not None and len(weights) != spec.n_outputs:
        problems.append(f"training.class_weights: {len(weights)} for {spec.n_outputs} classes of {title}")
    return problems
