"""What a worker does for a certificate: one framework, one precision, given weights, batches and gradients.

Every probe ends with `emit(result)`; the parent compares the results of two frameworks.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from experiments import data
from experiments.contract import Load, Model
from experiments.contract.arrays import Array, Weights
from experiments.contract.plan import FixedPlan
from experiments.execution.worker import as_fed, build, plan_for
from experiments.task import Task
from experiments.task.networks import RnnSettings
from experiments.task.optimizers import SgdSettings

FREE_STEPS = 200
CHECKPOINT_EVERY = 10
STREAM_STEPS = 300
EARLY_STEPS = 50  # how far a run is repeated
EVALUATED = 1000  # examples whose logits are compared
LAYER_EXAMPLES = 64
# One step of plain SGD with this rate leaves the gradient in the weights; large, so that little of it is rounded.
PROBE_RATE = 2.0**30
NOT_TRAINED = ("moving_mean", "moving_variance")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is probed: a task in one precision, on data at hand, by one framework."""

    task: Task
    framework: str
    seed: int
    data_path: Path
    folder: Path
    device: str = "cpu"

    @property
    def precision(self) -> str:
        """As the task names it: float32, float64, ..."""
        return self.task.training.precision

    @property
    def dtype(self) -> str:
        """Type of the arrays."""
        return self.task.training.dtype

    def build(self, load: Load, *, task: Task | None = None) -> tuple[Model, data.Dataset]:
        """The model with the seed's initial weights and dropout fixed, and the data."""
        dataset = data.read(self.data_path)
        task = task or self.task
        model = build(task, dataset, framework=load(self.framework), seed=self.seed, device=self.device)
        if task.regularization.dropout or task.regularization.spatial_dropout:
            model.fix_dropout(self.seed, n_steps=FREE_STEPS, batch_size=task.training.batch_size)
        return model, dataset


@dataclass(frozen=True, kw_only=True)
class FreeRun:
    """How a free run is done.

    Attributes:
        n_steps: How far.
        perturbation_seed: Draws how the first weights are moved, each by at most one ulp; None: not at all.
        keeps_checkpoints: Whether the weights along the way are left for `gradients`.
    """

    n_steps: int = FREE_STEPS
    perturbation_seed: int | None = None
    keeps_checkpoints: bool = False


def first_batches(subject: Subject, dataset: data.Dataset, *, n_steps: int = FREE_STEPS) -> FixedPlan:
    """The first batches and learning rates of the task's own recipe, in epochs of 10 steps.

    The last of `FREE_STEPS` are the last ones of an epoch, whose size may be another, also where that comes later.
    """
    # As it is stored; only the batches that are taken are brought to the subject's type.
    stored = dataclasses.replace(subject.task.training, precision="float32")
    plan = plan_for(dataclasses.replace(subject.task, training=stored), dataset, seed=subject.seed)
    n_steps = whole_steps(n_steps, subject.task)
    per_step = plan.batches_per_step
    every = (batch for epoch in range(plan.epochs) for batch in plan.batches(epoch))
    chosen = list(islice(every, n_steps))
    if n_steps == whole_steps(FREE_STEPS, subject.task) < plan.batches_per_epoch:
        chosen[-per_step:] = deque(plan.batches(0), maxlen=per_step)
    given = [(as_fed(inputs, subject.dtype), as_fed(targets, subject.dtype)) for inputs, targets in chosen]
    per_epoch = CHECKPOINT_EVERY if per_step == 1 and len(given) % CHECKPOINT_EVERY == 0 else per_step
    return FixedPlan(
        given=given,
        batches_per_epoch=per_epoch,
        batches_per_step=per_step,
        learning_rates=plan.learning_rates[: len(given) // per_step],
    )


def whole_steps(n_batches: int, task: Task) -> int:
    """So many batches, less those that would make no whole step of the optimizer."""
    per_step = task.training.gradient_accumulation_steps
    return n_batches // per_step * per_step


def evaluated(subject: Subject, dataset: data.Dataset) -> Array:
    """The examples on which logits are compared."""
    return as_fed(dataset.x_test[:EVALUATED], subject.dtype)


def extremes(subject: Subject, dataset: data.Dataset) -> Array:
    """Training examples from the smallest to the largest, both among them: what a framework may read in its own way."""
    x = dataset.x_train
    by_size = np.argsort(np.abs(x).reshape(len(x), -1).max(axis=1), kind="stable")
    chosen = np.linspace(0, len(x) - 1, min(len(x), EVALUATED)).astype(np.int64)
    return as_fed(x[by_size[chosen]], subject.dtype)


def untrained(subject: Subject, load: Load, emit: Callable[[Any], None]) -> None:
    """Without training: weights there and back, logits, the output of every layer, and the optimizer alone."""
    model, dataset = subject.build(load)
    weights = model.weights()
    changed = {name: np.flip(weight) + 1 for name, weight in weights.items()}
    model.load_weights(changed)
    back = model.weights()
    model.load_weights(weights)
    inputs = evaluated(subject, dataset)
    emit(
        {
            "weights": weights,
            "round_trip": all(np.array_equal(changed[name], back[name]) for name in changed),
            "logits": model.logits(inputs),
            "extremes": model.logits(extremes(subject, dataset)),
            "layers": dict(model.activations(inputs[:LAYER_EXAMPLES])),
            "moved": moved_by_optimizer(subject, model),
            "versions": load(subject.framework).versions(),
        }
    )


def moved_by_optimizer(subject: Subject, model: Model) -> dict[str, Weights]:
    """How far 300 given gradients move each weight, at a constant and at a falling rate."""
    moved = {}
    rate, before = subject.task.optimizer.learning_rate, model.weights()
    fall = np.cos(np.linspace(0, np.pi / 2, STREAM_STEPS, endpoint=False))
    for schedule, factors in (("constant", np.ones(STREAM_STEPS)), ("scheduled", fall)):
        model.load_weights(before)
        model.apply_gradients(gradient_stream(before, seed=subject.seed), learning_rates=rate * factors)
        after = model.weights()
        moved[schedule] = {name: after[name] - before[name] for name in before if not name.endswith(NOT_TRAINED)}
    return moved


def free_run(
    subject: Subject,
    load: Load,
    options: FreeRun,
    emit: Callable[[Any], None],
) -> None:
    """Train the first steps of the task's own recipe: losses, weights early and at the end, logits at the end.

    Args:
        subject: What is trained.
        load: `frameworks.load`.
        options: How far, and from where.
        emit: Gets the result.
    """
    model, dataset = subject.build(load)
    if options.perturbation_seed is not None:
        model.load_weights(perturbed_by_one_ulp(model.weights(), seed=options.perturbation_seed))
    plan = first_batches(subject, dataset, n_steps=options.n_steps)
    losses: list[Array] = []
    checkpoints = [model.weights()]
    early: Weights = {}

    def on_epoch_end(epoch: int, epoch_losses: Array) -> bool:
        losses.append(epoch_losses)
        if options.keeps_checkpoints:
            checkpoints.append(model.weights())
        if (epoch + 1) * plan.batches_per_epoch == whole_steps(EARLY_STEPS, subject.task):
            early.update(model.weights())
        return False

    model.fit(plan, on_step_end=lambda _: None, on_epoch_end=on_epoch_end)
    if options.keeps_checkpoints:
        write_checkpoints(subject.folder, subject.precision, checkpoints[:-1])
    emit(
        {
            "losses": np.concatenate(losses),
            "early": early or model.weights(),
            "logits": model.logits(evaluated(subject, dataset)),
            "weights": model.weights(),
        }
    )


def perturbed_by_one_ulp(weights: Weights, *, seed: int) -> Weights:
    """Every weight one ulp (unit in the last place) down, where it is, or one up, drawn by `seed`."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    moved = {}
    for name, weight in weights.items():
        direction = rng.integers(-1, 2, weight.shape)
        towards = np.where(direction > 0, np.inf, -np.inf).astype(weight.dtype)
        moved[name] = np.where(direction == 0, weight, np.nextafter(weight, towards))
    return moved


def checkpoint_file(folder: Path, precision: str) -> Path:
    """Where one framework leaves the weights along its way, for both to take gradients at."""
    return folder / f"checkpoints-{precision}.npz"


def write_checkpoints(folder: Path, precision: str, checkpoints: list[Weights]) -> None:
    """At most 20 of them, evenly spread."""
    chosen = checkpoints[:: max(1, len(checkpoints) // 20)][:20]
    arrays = {f"{number:02d} {name}": weight for number, kept in enumerate(chosen) for name, weight in kept.items()}
    np.savez(checkpoint_file(folder, precision), allow_pickle=False, **arrays)


def read_checkpoints(folder: Path, precision: str) -> list[Weights]:
    """What `write_checkpoints` wrote."""
    checkpoints: dict[str, Weights] = {}
    with np.load(checkpoint_file(folder, precision)) as arrays:
        for key in arrays.files:
            number, _, name = key.partition(" ")
            checkpoints.setdefault(number, {})[name] = arrays[key]
    return [checkpoints[number] for number in sorted(checkpoints)]


def gradients(subject: Subject, load: Load, emit: Callable[[Any], None]) -> None:
    """The gradient of the task's loss, penalties included, at every checkpoint, on that step's batch.

    Read from the outside: one SGD step without momentum, decay or clipping.
    """
    regularization = dataclasses.replace(
        subject.task.regularization,
        weight_decay=0.0,
        weight_averaging=0.0,
        clip=dataclasses.replace(subject.task.regularization.clip, kind="none"),
    )
    plain = SgdSettings(learning_rate=PROBE_RATE, momentum=0.0, nesterov=False)
    each_batch = dataclasses.replace(subject.task.training, gradient_accumulation_steps=1)
    task = dataclasses.replace(subject.task, optimizer=plain, regularization=regularization, training=each_batch)
    model, dataset = subject.build(load, task=task)
    checkpoints = read_checkpoints(subject.folder, subject.precision)
    batches = first_batches(subject, dataset).given
    every = max(1, len(batches) // len(checkpoints))
    given = batches[::every][: len(checkpoints)]
    taken: list[Weights] = []

    def on_epoch_end(epoch: int, losses: Array) -> bool:
        after = model.weights()
        taken.append(
            {
                name: (checkpoints[epoch][name] - after[name]) / PROBE_RATE
                for name in after
                if not name.endswith(NOT_TRAINED)
            }
        )
        if epoch + 1 < len(checkpoints):
            model.load_weights(checkpoints[epoch + 1])
        return False

    model.load_weights(checkpoints[0])
    plan = FixedPlan(given=given, batches_per_epoch=1, learning_rates=np.full(len(given), PROBE_RATE))
    model.fit(plan, on_step_end=lambda _: None, on_epoch_end=on_epoch_end)
    emit(taken)


def gradient_stream(weights: Weights, *, seed: int) -> Iterator[Weights]:
    """Gradients for every trained weight: each element has its own magnitude, 1e-5 to 1; one in twenty is always 0."""
    drawn = {}
    for name, weight in weights.items():
        if not name.endswith(NOT_TRAINED):
            rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
            size = weight.size
            scale = 10.0 ** rng.uniform(-5, 0, size) * (rng.random(size) >= 0.05)
            drawn[name] = (scale, rng.standard_normal(2 * size))
    for step in range(STREAM_STEPS):
        gradients = {}
        for name, (scale, noise) in drawn.items():
            start = (7919 * step) % (len(noise) - len(scale) + 1)  # another stretch of the noise at every step
            gradient = scale * (noise[start : start + len(scale)] + 0.3)
            gradients[name] = gradient.reshape(weights[name].shape).astype(weights[name].dtype)
        yield gradients


def is_smooth(task: Task) -> bool:
    """Whether no rounding can flip a decision: neither ReLU nor max-pooling."""
    return isinstance(task.network, RnnSettings) or (
        task.network.kind == "mlp" and task.network.activation not in ("relu", "leaky_relu")
    )
