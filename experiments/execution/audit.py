"""What was trained against what was planned: a run that did not do its plan is a failed one, never a finished one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from experiments.contract.arrays import Array
from experiments.contract.plan import BatchPlan


class PlanNotDone(RuntimeError):
    """A framework trained something else than it was given."""


@dataclass(kw_only=True)
class AuditedPlan:
    """A plan that counts what it hands out: `n_served[epoch]` examples, whoever asks and however often."""

    plan: BatchPlan
    n_served: dict[int, int] = field(default_factory=dict)

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
        for inputs, targets in self.plan.batches(epoch):
            self.n_served[epoch] = self.n_served.get(epoch, 0) + len(targets)
            yield inputs, targets

    def require_done(self, n_losses: Sequence[int], *, n_batches: int, stopped: bool, devices: int = 1) -> None:
        """Compare what was trained with the plan.

        Args:
            n_losses: How many batches' losses each epoch brought.
            n_batches: After how many batches the framework said that one had ended.
            stopped: Whether the harness ended the training before the plan's end.
            devices: How many shared the run; several may each read ahead, so that what they took is not compared.

        Raises:
            PlanNotDone: Names what differs: epochs, batches, or examples.
        """
        planned, n_epochs = self.plan, len(n_losses)
        if not stopped and n_epochs != planned.epochs:
            raise PlanNotDone(f"{n_epochs} of {planned.epochs} epochs were trained, and nobody stopped the run")
        for epoch, count in enumerate(n_losses):
            if count != planned.batches_per_epoch:
                raise PlanNotDone(f"epoch {epoch + 1} has {count} of {planned.batches_per_epoch} batches' losses")
            served = self.n_served.get(epoch, 0)
            if devices == 1 and served != len(planned.targets):
                raise PlanNotDone(f"epoch {epoch + 1} took {served} examples of {len(planned.targets)}")
        if n_batches != n_epochs * planned.batches_per_epoch:
            raise PlanNotDone(f"{n_batches} of {n_epochs * planned.batches_per_epoch} batches were trained")
