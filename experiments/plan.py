"""Which examples, in which order, at which learning rate: decided once, for every framework alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The batches of a whole training.

    Attributes:
        inputs: Training examples, shape (n, *input_shape), channels last.
        targets: Their labels, shape (n,).
        batch_size: Examples per batch; the last batch of an epoch keeps what is left.
        epochs: Number of passes over the examples.
        seed: Together with the epoch's number, all that the order depends on.
        learning_rates: One value per optimizer step, shape (epochs * steps_per_epoch,).
    """

    inputs: Array
    targets: Array
    batch_size: int
    epochs: int
    seed: int
    learning_rates: Array

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch, the last, smaller one included."""
        return -(-len(self.targets) // self.batch_size)

    def order(self, epoch: int) -> Array:
        """Permutation of the examples for `epoch` (0, 1, ...): Philox keyed by (seed, epoch), no state."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        return rng.permutation(len(self.targets))

    def batch_indices(self, epoch: int) -> list[Array]:
        """Indices of each batch of `epoch`."""
        order = self.order(epoch)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Inputs and targets of each batch of `epoch`."""
        for indices in self.batch_indices(epoch):
            yield self.inputs[indices], self.targets[indices]
