"""What an epoch's steps took, as the framework took it: so little that it costs no time, enough to tell every batch.

A batch's digest is a sum over its rows, so that those of a batch's shards add up to its own. Sums wrap at 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.contract.arrays import Array

SAMPLED = 16  # numbers of each example, at most, that its digest is made of, beside its targets


@dataclass(frozen=True, kw_only=True)
class EpochTrace:
    """What the steps of one epoch took.

    Attributes:
        digests: Of each batch in the order of training, integers, shape (batches,).
        learning_rates: The optimizer's at each step, shape (steps,); None where it cannot be read.
    """

    digests: Array
    learning_rates: Array | None


@dataclass(kw_only=True)
class Taken:
    """What the steps of the running epoch have taken so far; the step itself says it."""

    samples: list[Any] = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)

    def add(self, samples: Any, targets: Any) -> None:
        """Keep a batch: a copy of what `sample` makes of its inputs, and its targets."""
        self.samples.append(samples)
        self.targets.append(targets)

    def trace(self) -> EpochTrace:
        """All that was kept."""
        return EpochTrace(digests=digests(self.samples, self.targets), learning_rates=np.array(self.learning_rates))

    def clear(self) -> None:
        """Begin another epoch."""
        for kept in (self.samples, self.targets, self.learning_rates):
            kept.clear()


def sample(inputs: Any) -> Any:
    """A few numbers of each example, evenly spread: arrays or tensors (n, ...) -> a view of them (n, up to SAMPLED)."""
    flat = inputs.reshape(len(inputs), -1)
    return flat[:, :: -(-flat.shape[1] // SAMPLED)]


def digests(samples: Sequence[Array], targets: Sequence[Array]) -> Array:
    """Of each batch: its samples (n, k) and its targets (n, ...) -> an integer; together (batches,)."""
    if not samples:
        return np.zeros(0, np.int64)
    sizes = [len(each) for each in samples]
    return sums_of(digests_of_rows(np.concatenate(samples), np.concatenate(targets)), sizes=sizes)


def sums_of(rows: Array, *, sizes: Sequence[int]) -> Array:
    """The sums of the first sizes[0] rows, the next sizes[1], ...; none of the sizes is 0."""
    sums: Array = np.add.reduceat(rows, np.cumsum([0, *sizes[:-1]]))
    return sums


def digests_of_rows(samples: Array, targets: Array) -> Array:
    """An integer for each example, (n, k) and (n, ...) -> (n,): its bits, weighted by their place."""
    numbers = np.concatenate([_bits(samples), _bits(targets.reshape(len(targets), -1))], axis=1)
    rng = np.random.Generator(np.random.Philox(key=[0, 0]))
    weights = rng.integers(-(2**62), 2**62, numbers.shape[1]) * 2 + 1
    rows: Array = numbers @ weights
    return rows


def _bits(numbers: Array) -> Array:
    if np.issubdtype(numbers.dtype, np.floating):
        numbers = np.ascontiguousarray(numbers).view(f"int{8 * numbers.itemsize}")
    return numbers.astype(np.int64)
