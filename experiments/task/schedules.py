"""Schedules and their learning-rate tables: one value per optimizer step, computed once in float64, read by everyone.

Steps are counted from 0; `epochs` below are made steps by the number of batches per epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias, get_args

from experiments.task.checks import require, require_half_open_share, require_positive

if TYPE_CHECKING:  # a bad command is refused before NumPy is there
    import numpy as np
    from numpy.typing import NDArray

Table: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """Any schedule may begin with `warmup_epochs` in which the rate rises linearly to its base."""

    warmup_epochs: float

    def __post_init__(self) -> None:
        """Check the warm-up."""
        require(self.warmup_epochs >= 0, "warmup_epochs >= 0", self.warmup_epochs)

    def factors(self, steps: Table, *, steps_per_epoch: int, n_steps: int) -> Table:
        """Factor of the base rate at each of `steps`, counted from the end of the warm-up."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule(_Schedule):
    """The rate stays as it is."""

    kind: ClassVar[str] = "constant"

    def factors(self, steps: Table, *, steps_per_epoch: int, n_steps: int) -> Table:
        """1."""
        import numpy as np

        return np.ones(len(steps))


@dataclass(frozen=True, kw_only=True)
class StepSchedule(_Schedule):
    """gamma^floor(epochs / every_epochs)."""

    kind: ClassVar[str] = "step"
    gamma: float
    every_epochs: float

    def __post_init__(self) -> None:
        """Check both."""
        super().__post_init__()
        require_positive(gamma=self.gamma, every_epochs=self.every_epochs)

    def factors(self, steps: Table, *, steps_per_epoch: int, n_steps: int) -> Table:
        """A staircase."""
        import numpy as np

        return np.power(self.gamma, np.floor(steps / (self.every_epochs * steps_per_epoch)))


@dataclass(frozen=True, kw_only=True)
class ExponentialSchedule(_Schedule):
    """gamma^epochs, falling with every step."""

    kind: ClassVar[str] = "exponential"
    gamma: float

    def __post_init__(self) -> None:
        """Check the factor per epoch."""
        super().__post_init__()
        require_positive(gamma=self.gamma)

    def factors(self, steps: Table, *, steps_per_epoch: int, n_steps: int) -> Table:
        """A smooth fall."""
        import numpy as np

        return np.power(self.gamma, steps / steps_per_epoch)


@dataclass(frozen=True, kw_only=True)
class PolynomialSchedule(_Schedule):
    """floor + (1 - floor) (1 - t / T)^power, T the steps after the warm-up."""

    kind: ClassVar[str] = "polynomial"
    power: float
    floor: float

    def __post_init__(self) -> None:
        """Check power and floor."""
        super().__post_init__()
        require_positive(power=self.power)
        require_half_open_share(floor=self.floor)

    def factors(self, steps: Table, *, steps_per_epoch: int, n_steps: int) -> Table:
        """From 1 to the floor."""
        import numpy as np

        return self.floor + (1 - self.floor) * np.power(1 - steps / n_steps, self.power)


@dataclass(frozen=True, kw_only=True)
class CosineSchedule(_Schedule):
    """floor + (1 - floor) (1 + cos(pi t / T)) / 2, T the steps after the warm-up (Loshchilov & Hutter 2017)."""

    kind: ClassVar[str] = "cosine"
    floor: float

    def __post_init__(self) -> None:
        """Check the floor."""
        super().__post_init__()
        require_half_open_share(floor=self.floor)

    def factors(self, steps: Table, *, steps_per_epoch: int, n_steps: int) -> Table:
        """Half a period of the cosine."""
        import numpy as np

        return self.floor + (1 - self.floor) * (1 + np.cos(np.pi * steps / n_steps)) / 2


Schedule = ConstantSchedule | StepSchedule | ExponentialSchedule | PolynomialSchedule | CosineSchedule
SCHEDULES: dict[str, type[Schedule]] = {each.kind: each for each in get_args(Schedule)}


def learning_rates(schedule: Schedule, *, learning_rate: float, epochs: int, steps_per_epoch: int) -> Table:
    """One learning rate per optimizer step, shape (epochs * steps_per_epoch,).

    During the warm-up of W steps, step t has learning_rate * (t + 1) / W.

    Args:
        schedule: How the rate changes.
        learning_rate: The base that the schedule's factors multiply.
        epochs: Passes over the training examples.
        steps_per_epoch: Optimizer steps of each.

    Raises:
        ValueError: If the warm-up leaves no step.

    Example:
        One epoch of warm-up, then half the rate after every epoch:

        >>> halved = StepSchedule(warmup_epochs=1, gamma=0.5, every_epochs=1)
        >>> learning_rates(halved, learning_rate=0.5, epochs=3, steps_per_epoch=2).tolist()
        [0.25, 0.5, 0.5, 0.5, 0.25, 0.25]
    """
    import numpy as np

    total = epochs * steps_per_epoch
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    require(warmup < total, f"schedule.warmup_epochs < {epochs} epochs", schedule.warmup_epochs)
    steps = np.arange(total, dtype=np.float64)
    after = schedule.factors(steps[: total - warmup], steps_per_epoch=steps_per_epoch, n_steps=total - warmup)
    return learning_rate * np.concatenate([(steps[:warmup] + 1) / max(warmup, 1), after])
