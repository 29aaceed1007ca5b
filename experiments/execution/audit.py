"""What was trained against what was planned: a run that did not do its plan is a failed one, never a finished one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from experiments.contract.arrays import Array
from experiments.contract.plan import BatchPlan
from experiments.contract.trace import EpochTrace, digests, digests_of_rows, sample, sums_of


class PlanNotDone(RuntimeError):
    """A framework trained something else than it was given."""


@dataclass(kw_only=True)
class AuditedPlan:
    """A plan that knows each batch's digest: from the examples, or, where they are changed at random, as handed out."""

    plan: BatchPlan
    _handed_out: dict[int, list[Array]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """As in `Plan`."""
        return self.plan.epochs

    @property
    def batches_per_epoch(self) -> int:
        """As in `Plan`."""
        return self.plan.batches_per_epoch

    @property
    def batches_per_step(self) -> int:
        """As in `Plan`."""
        return self.plan.batches_per_step

    @property
    def learning_rates(self) -> Array:
        """As in `Plan`."""
        return self.plan.learning_rates

    def batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """As in `Plan`."""
        if not self.plan.augmentation.is_on:
            yield from self.plan.batches(epoch)
            return
        handed_out = self._handed_out[epoch] = []
        for inputs, targets in self.plan.batches(epoch):
            handed_out.append(digests([sample(inputs)], [targets]))
            yield inputs, targets

    @cached_property
    def _rows(self) -> Array:
        return digests_of_rows(sample(self.plan.inputs), self.plan.targets)

    def digests(self, epoch: int) -> Array:
        """Of each batch of the epoch, shape (batches_per_epoch,)."""
        if self.plan.augmentation.is_on:
            return np.concatenate([np.zeros(0, np.int64), *self._handed_out.get(epoch, [])])
        order = self.plan.order(epoch)
        sizes = [min(self.plan.batch_size, len(order) - at) for at in range(0, len(order), self.plan.batch_size)]
        return sums_of(self._rows[order], sizes=sizes)

    def require_done(
        self, traces: Sequence[EpochTrace], *, n_losses: Sequence[int], n_batches: int, ended: bool
    ) -> None:
        """Compare what was trained with the plan.

        Args:
            traces: Of each epoch, what its steps took.
            n_losses: How many batches' losses each epoch brought.
            n_batches: After how many batches the framework said that one had ended.
            ended: Whether the harness ended the training, or it ended itself, before the plan's end.

        Raises:
            PlanNotDone: Names what differs first: epochs, batches, examples or learning rates.
        """
        planned, n_epochs = self.plan, len(n_losses)
        if not ended and n_epochs != planned.epochs:
            raise PlanNotDone(f"{n_epochs} of {planned.epochs} epochs were trained, and nobody stopped the run")
        for epoch, (trace, count) in enumerate(zip(traces, n_losses, strict=True)):
            if count != planned.batches_per_epoch:
                raise PlanNotDone(f"epoch {epoch + 1} has {count} of {planned.batches_per_epoch} batches' losses")
            self._require_batches(epoch, trace.digests)
            self._require_rates(epoch, trace.learning_rates)
        if n_batches != n_epochs * planned.batches_per_epoch:
            raise PlanNotDone(f"{n_batches} of {n_epochs * planned.batches_per_epoch} batches were trained")

    def _require_batches(self, epoch: int, taken: Array) -> None:
        planned = self.digests(epoch)
        if len(taken) != len(planned):
            raise PlanNotDone(f"epoch {epoch + 1} took {len(taken)} of {len(planned)} batches")
        for number in np.flatnonzero(taken != planned):
            (found,) = np.nonzero(planned == taken[number])
            what = f"the examples of batch {found[0] + 1}" if found.size else "other examples"
            raise PlanNotDone(f"epoch {epoch + 1} took {what} as batch {number + 1}")

    def _require_rates(self, epoch: int, taken: Array | None) -> None:
        """Exactly those of the plan, in the type that the framework computes in."""
        if taken is None:
            return
        steps = self.batches_per_epoch // self.batches_per_step
        planned = self.learning_rates[epoch * steps : (epoch + 1) * steps].astype(taken.dtype)
        if len(taken) != steps:
            raise PlanNotDone(f"epoch {epoch + 1} made {len(taken)} of {steps} steps")
        for number in np.flatnonzero(taken != planned):
            rule = f"at the learning rate {planned[number]:g}"
            raise PlanNotDone(f"epoch {epoch + 1} made step {number + 1} at {taken[number]:g}, not {rule}")
