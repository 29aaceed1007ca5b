"""What a worker does for the doctor: one framework looks at itself, or trains for a moment."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.contract import Load, Probe
from experiments.contract.arrays import Array
from experiments.contract.initialization import initial_weights
from experiments.contract.plan import BatchPlan, FixedPlan
from experiments.data.spec import ExampleSpec
from experiments.execution.worker import as_fed
from experiments.fingerprint import fingerprint_of_arrays
from experiments.task import Augmentation, Task
from experiments.task.schedules import learning_rates

MATRIX = 768  # rows and columns: 0.9 GFLOP
IMAGES, KERNEL = (32, 28, 28, 32), (3, 3, 32, 64)  # 0.8 GFLOP
TIMES = 5  # after a first one that counts as warm-up; the fastest is told
N_BATCHES = 20
MOST_EXAMPLES = 32  # of a batch
FETCHED = (4096, 28, 28, 1)  # examples that batches are taken from


@dataclass(frozen=True, kw_only=True)
class Brief:
    """A short training on drawn examples: the same for every process that is given it."""

    task: Task
    spec: ExampleSpec
    framework: str
    seed: int
    device: str


def look(framework: str, probe: str, load: Load, emit: Callable[[Any], None]) -> None:
    """Versions, devices, settings and speed of one framework.

    Args:
        framework: Its name.
        probe: The module that is its `Probe`; "" where it has none.
        load: `frameworks.load`.
        emit: Gets the findings.
    """
    found: dict[str, Any] = {"versions": load(framework).versions()}
    if probe:
        module: Probe = importlib.import_module(probe)
        found |= {"devices": module.devices(), "settings": module.settings()}
        rng = np.random.Generator(np.random.Philox(key=0))
        first, second = rng.random((2, MATRIX, MATRIX), dtype=np.float32)
        images, kernel = (rng.random(shape, dtype=np.float32) for shape in (IMAGES, KERNEL))
        found["speed"] = {
            "matrix product": fastest(module.matrix_product(first, second)),
            "convolution": fastest(module.convolution(images, kernel)),
        }
    emit(found)


def fetch(batch_size: int, emit: Callable[[Any], None]) -> None:
    """Seconds that the fetch of a batch takes, without any framework."""
    images = np.zeros(FETCHED, dtype=np.float32)
    plan = BatchPlan(
        inputs=images,
        targets=np.zeros(len(images), dtype=np.int64),
        batch_size=batch_size,
        epochs=1,
        seed=0,
        learning_rates=np.zeros(1),
        augmentation=Augmentation(shift=0, flip=False, noise=0.0),
    )
    emit(fastest(lambda: [None for _ in plan.batches(0)]) / plan.batches_per_epoch)


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    call()
    took = []
    for _ in range(TIMES):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return min(took)


def train_briefly(brief: Brief, load: Load, emit: Callable[[Any], None]) -> None:
    """Train some steps; emit a hash of every loss and weight, bit by bit."""
    task, spec = brief.task, brief.spec
    model = load(brief.framework).build(
        task, input_shape=spec.input_shape, n_outputs=spec.n_outputs, seed=brief.seed, device=brief.device
    )
    shapes = {name: weight.shape for name, weight in model.weights().items()}
    settings = task.network.initialization
    model.load_weights(initial_weights(shapes, settings=settings, seed=brief.seed, dtype=task.training.dtype))
    losses: list[Array] = []

    def on_epoch_end(epoch: int, of_epoch: Array) -> bool:
        losses.append(of_epoch)
        return False

    model.fit(_plan(brief), on_step_end=lambda _: None, on_epoch_end=on_epoch_end)
    emit(fingerprint_of_arrays({**model.weights(), "losses": np.concatenate(losses)}))


def _plan(brief: Brief) -> FixedPlan:
    """Examples that are drawn: tokens, or numbers; classes, or values."""
    task, spec = brief.task, brief.spec
    rng = np.random.Generator(np.random.Philox(key=brief.seed))
    per_step = task.training.gradient_accumulation_steps
    size = min(task.training.batch_size, MOST_EXAMPLES)
    n_batches = N_BATCHES // per_step * per_step or per_step

    def inputs() -> Array:
        shape = (size, *spec.input_shape)
        drawn = rng.integers(1, spec.vocabulary, shape) if spec.vocabulary else rng.random(shape)
        return drawn.astype(np.int64) if spec.vocabulary else as_fed(drawn, task.training.dtype)

    def targets() -> Array:
        if spec.n_values:
            return as_fed(rng.random((size, spec.n_values)), task.training.dtype)
        return rng.integers(0, spec.n_outputs, size)

    rates = learning_rates(
        task.schedule, learning_rate=task.optimizer.learning_rate, epochs=1, steps_per_epoch=n_batches // per_step
    )
    return FixedPlan(
        given=[(inputs(), targets()) for _ in range(n_batches)],
        batches_per_epoch=n_batches,
        batches_per_step=per_step,
        learning_rates=rates,
    )
