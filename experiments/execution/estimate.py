"""How long the runs that are left may take, by those that have ended and the epochs of those that are under way."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from statistics import median

from experiments.execution.run import Run

Arm = tuple[str, Hashable]  # a framework, and what was chosen for it


def arm_of(run: Run) -> Arm:
    """What runs that take alike have in common: all but the seed; of trials, each another setting, the framework."""
    return run.framework, frozenset() if run.is_trial else frozenset(run.labels.items())


@dataclass(kw_only=True)
class _UnderWay:
    """A run that a worker has; times in seconds, `began` when it was handed out."""

    arm: Arm
    n_epochs: int
    began: float
    epoch: int = 0
    first_ended: float = 0.0
    epoch_ended: float = 0.0

    @property
    def whole(self) -> float | None:
        """What it takes in all if its epochs go on as those after the first, which may compile; None before those."""
        if self.epoch < 2:
            return None
        per_epoch = (self.epoch_ended - self.first_ended) / (self.epoch - 1)
        return self.first_ended - self.began + per_epoch * (self.n_epochs - 1)


class Estimate:
    """Hears of runs and says what is left."""

    def __init__(self, arms: Iterable[Arm], *, n_workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the first run.

        Args:
            arms: That of each run that is to be trained.
            n_workers: How many are trained at a time.
            clock: Seconds since any moment.
        """
        self._waiting = Counter(arms)
        self._n_workers = n_workers
        self._clock = clock
        self._under_way: dict[int, _UnderWay] = {}
        self._took: dict[Arm, list[float]] = defaultdict(list)

    def handed_out(self, index: int, run: Run) -> None:
        """A worker has the run."""
        arm = arm_of(run)
        self._waiting[arm] -= 1
        self._under_way[index] = _UnderWay(arm=arm, n_epochs=run.task.training.epochs, began=self._clock())

    def epoch_ended(self, index: int) -> None:
        """It has trained another epoch."""
        run = self._under_way[index]
        run.epoch, run.epoch_ended = run.epoch + 1, self._clock()
        if run.epoch == 1:
            run.first_ended = run.epoch_ended

    def ended(self, index: int, *, is_typical: bool) -> None:
        """It is over; `is_typical` where others of its arm may take as long, as after no fault."""
        run = self._under_way.pop(index)
        if is_typical:
            self._took[run.arm].append(self._clock() - run.began)

    def seconds_left(self) -> float | None:
        """Seconds until all runs are over; None where nothing is known yet of a framework that has runs left."""
        begun = [self._left_of(run) for run in self._under_way.values()]
        later = [self._usual(arm) for arm in self._waiting.elements()]
        known = [seconds for seconds in (*begun, *later) if seconds is not None]
        if len(known) < len(begun) + len(later):
            return None
        return max(sum(known) / self._n_workers, *known[: len(begun)], 0.0)

    def _left_of(self, run: _UnderWay) -> float | None:
        whole, so_far = self._usual(run.arm), self._clock() - run.began
        if whole is None or whole < so_far:  # it is slower than the others were
            whole = run.whole or whole
        return None if whole is None else max(0.0, whole - so_far)

    def _usual(self, arm: Arm) -> float | None:
        """Median of what its arm's runs took, else what one under way promises; else the same of its framework's."""
        alike: tuple[Callable[[Arm], bool], ...] = (lambda other: other == arm, lambda other: other[0] == arm[0])
        for is_alike in alike:
            took = [seconds for other, each in self._took.items() if is_alike(other) for seconds in each]
            promised = [run.whole for run in self._under_way.values() if run.whole and is_alike(run.arm)]
            if took or promised:
                return median(took or promised)
        return None
