"""Which examples, in which order, at which learning rate: decided once, for every framework alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from experiments.contract.arrays import Array
from experiments.task import Augmentation, Task

AUGMENTATION_STREAM = 2**32  # keeps these draws apart from those of the order, which use the epoch's number


class Plan(Protocol):
    """What `Model.fit` follows."""

    @property
    def epochs(self) -> int:
        """Number of epochs."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of each epoch."""

    @property
    def batches_per_step(self) -> int:
        """Batches whose mean gradient makes one optimizer step; divides `batches_per_epoch`."""

    @property
    def learning_rates(self) -> Array:
        """One value per optimizer step, shape (epochs * batches_per_epoch / batches_per_step,)."""

    def batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Inputs and targets of each batch of epoch 0, 1, ...; asking twice gives the same."""


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The batches of a whole training.

    Attributes:
        inputs: Training examples, shape (n, *input_shape), channels last.
        targets: Their labels, shape (n,), or values, shape (n, n_outputs).
        batch_size: Examples per batch; the last batch of an epoch keeps what is left.
        epochs: Number of passes over the examples.
        seed: Together with the epoch's number, all that order and augmentation depend on.
        learning_rates: One value per optimizer step, shape (epochs * batches_per_epoch / batches_per_step,).
        augmentation: How images are changed.
        batches_per_step: Batches whose mean gradient makes one optimizer step.
        orders: A framework's own permutations of the examples, shape (epochs, n); None: those of `order`.
    """

    inputs: Array
    targets: Array
    batch_size: int
    epochs: int
    seed: int
    learning_rates: Array
    augmentation: Augmentation
    batches_per_step: int = 1
    orders: Array | None = None

    def __post_init__(self) -> None:
        """Refuse an epoch that ends within a group of batches.

        Raises:
            ValueError: Names the rule and batch sizes that keep it.
        """
        require_whole_steps(len(self.targets), batch_size=self.batch_size, batches_per_step=self.batches_per_step)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one epoch, the last, smaller one included."""
        return batches_of(len(self.targets), batch_size=self.batch_size)

    def order(self, epoch: int) -> Array:
        """Permutation of the examples for `epoch` (0, 1, ...): Philox keyed by (seed, epoch), no state."""
        if self.orders is not None:
            own: Array = self.orders[epoch]
            return own
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        return rng.permutation(len(self.targets))

    def batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Inputs and targets of each batch of `epoch`."""
        order = self.order(epoch)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, AUGMENTATION_STREAM + epoch]))
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            inputs = self.inputs[indices]
            if self.augmentation.is_on:
                inputs = augment(inputs, self.augmentation, rng=rng).astype(self.inputs.dtype, copy=False)
            yield inputs, self.targets[indices]


def batches_of(n_examples: int, *, batch_size: int) -> int:
    """Batches of an epoch, the last, smaller one included."""
    return -(-n_examples // batch_size)


def require_whole_steps(n_examples: int, *, batch_size: int, batches_per_step: int) -> None:
    """Refuse an epoch that ends within a group of batches: Lightning would step, Keras carry over to the next epoch.

    Raises:
        ValueError: Names the rule and the next batch sizes that keep it.
    """
    n_batches = batches_of(n_examples, batch_size=batch_size)
    if n_batches % batches_per_step == 0:
        return
    sizes = [
        size for size in range(1, n_examples + 1) if batches_of(n_examples, batch_size=size) % batches_per_step == 0
    ]
    near = sorted(sorted(sizes, key=lambda size: abs(size - batch_size))[:2])
    fix = f"training.batch_size={' or '.join(map(str, near))} does" if near else "there are too few examples"
    raise ValueError(
        f"`batches per epoch % training.gradient_accumulation_steps == 0` must hold, but got {n_batches} batches and "
        f"{batches_per_step} steps; {fix}"
    )


def shard_of(array: Array, replica: int, *, devices: int) -> Array:
    """The rows of a batch that replica 0, 1, ... of `devices` takes: every `devices`-th, (n / devices, ...)."""
    return np.ascontiguousarray(array[replica::devices])


def require_equal_shards(task: Task, *, n_examples: int, devices: int) -> None:
    """Refuse a task whose step on several devices is not its step on one.

    The mean of the devices' gradients is the batch's gradient only where all shares count alike.

    Args:
        task: What is to be trained.
        n_examples: Training examples.
        devices: How many share one run; 1 refuses nothing.

    Raises:
        ValueError: Names every rule that is broken, a line each, and what keeps it.
    """
    if devices == 1:
        return
    training = task.training
    needs = "`executor.devices > 1` needs"
    broken = {
        f"{needs} training.class_weights=null: each share would be divided by its own weights": training.class_weights,
        f"{needs} a network without batch normalization: each device would use its own mean and variance": getattr(
            task.network, "batch_normalization", None
        ),
        f"{needs} training.jit=false: not every framework compiles a step that devices share": training.jit,
        _uneven(n_examples, batch_size=training.batch_size, devices=devices): any(
            size % devices for size in (min(training.batch_size, n_examples), n_examples % training.batch_size)
        ),
    }
    problems = [f"{rule}; or set executor.devices=1" for rule, is_broken in broken.items() if is_broken]
    if problems:
        raise ValueError("\n".join(problems))


def _uneven(n_examples: int, *, batch_size: int, devices: int) -> str:
    """What is wrong where some batch does not divide by `devices`, and the nearest numbers that keep the rule."""
    if n_examples % devices:
        fix = f"{n_examples} do not divide by {devices}: change data.validation_fraction"
    else:
        near = max(batch_size // devices, 1) * devices
        fix = f"training.batch_size={near} does"
    return (
        "`every batch % executor.devices == 0` must hold, the last one too, but got "
        f"n_train={n_examples}, batch_size={batch_size}, devices={devices}; {fix}"
    )


@dataclass(frozen=True, kw_only=True)
class FixedPlan:
    """Given batches, so many per epoch: what a certificate feeds."""

    given: Sequence[tuple[Array, Array]]
    batches_per_epoch: int
    learning_rates: Array
    batches_per_step: int = 1

    @property
    def epochs(self) -> int:
        """Number of epochs; the last may not be short."""
        return len(self.given) // self.batches_per_epoch

    def batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """The batches of `epoch`."""
        start = epoch * self.batches_per_epoch
        yield from self.given[start : start + self.batches_per_epoch]


def augment(images: Array, settings: Augmentation, *, rng: np.random.Generator) -> Array:
    """Shift, flip and add noise to a batch of images (n, height, width, channels), each image by its own draw."""
    if settings.shift:
        images = _shifted(images, by=rng.integers(-settings.shift, settings.shift + 1, (len(images), 2)))
    if settings.flip:
        flipped = rng.random(len(images)) < 0.5
        images = np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
    if settings.noise:
        images = images + settings.noise * rng.standard_normal(images.shape)
    return images


def _shifted(images: Array, *, by: Array) -> Array:
    """Each image moved by its (rows, columns); what comes in is 0."""
    most = int(np.abs(by).max(initial=0))
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    rows = most - by[:, :1] + np.arange(height)  # (n, height)
    columns = most - by[:, 1:] + np.arange(width)  # (n, width)
    moved: Array = padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved
