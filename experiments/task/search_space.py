"""The words of a search: dimensions, sampler, pruner, objectives, budget. Names and options are Optuna's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.task.checks import require

Value = float | int | str | bool
POINTS_OF_A_GRID = 8  # of a float dimension that states neither step nor points


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key of the task and the values that it may take.

    float and int take `low`, `high` and one of `log` or `step`; categorical takes `choices`. `points` is how many of a
    float's values a grid has. `when` names other keys and the values of theirs under which this one is searched at
    all; otherwise it keeps the config's value.
    """

    kind: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    points: int = POINTS_OF_A_GRID
    choices: tuple[Any, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a dimension that holds no value or whose parts contradict each other."""
        if self.kind == "categorical":
            require(len(self.choices) > 0, "choices of a categorical hold at least 1", list(self.choices))
            require(self.low is None and self.high is None, "a categorical has choices, no low and high", self.low)
            return
        low, high = self.low, self.high
        require(not self.choices, f"choices belong to kind: categorical, not {self.kind}", list(self.choices))
        if low is None or high is None:
            raise ValueError(f"`low` and `high` of kind: {self.kind} must be stated, but got {low!r} and {high!r}")
        require(low < high, "low < high", f"{low:g} and {high:g}", "swap them, or leave the key out to keep its value")
        require(not self.log or low > 0, "low > 0 on a log scale", low, "raise it, or set log: false")
        require(self.step is None or self.step > 0, "step > 0", self.step)
        require(self.step is None or not self.log, "either log or step", self.step)
        require(self.points >= 2, "points >= 2", self.points)
        if self.kind == "int":
            parts = (low, high, self.step or 1)
            require(all(float(each).is_integer() for each in parts), "whole low, high and step of an int", parts)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched, given the values of other keys."""
        return all(values.get(key) in _as_list(wanted) for key, wanted in self.when.items())

    def ends(self) -> tuple[Any, ...]:
        """Values that must be possible for all of them to be: the ends, or every choice."""
        if self.kind == "categorical":
            return self.choices
        kind = int if self.kind == "int" else float
        return kind(self.low or 0), kind(self.highest)

    @property
    def highest(self) -> float:
        """The highest number that is tried: `high`, or the last step below it, as Optuna has it: 9 of 1..10 by 4."""
        low, high = self.low or 0.0, self.high or 0.0
        return high if self.step is None else low + self._n_steps * self.step

    @property
    def _n_steps(self) -> int:
        """How often a step fits between the ends."""
        low, high = self.low or 0.0, self.high or 0.0
        return math.floor((high - low) / (self.step or 1.0) + 1e-9)

    def grid(self) -> list[Value]:
        """All its values for a grid; a float without step has `points` of them, evenly spaced on its scale."""
        if self.kind == "categorical":
            return list(self.choices)
        low, high = self.low or 0.0, self.high or 0.0
        if self.kind == "int" or self.step is not None:
            values = [low + index * (self.step or 1.0) for index in range(self._n_steps + 1)]
            return [int(value) for value in values] if self.kind == "int" else [*values]
        shares = [index / (self.points - 1) for index in range(self.points)]
        if self.log:
            return [low * (high / low) ** share for share in shares[:-1]] + [high]
        return [low + (high - low) * share for share in shares]

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the dimension."""
        if self.kind == "categorical":
            return value in self.choices
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not (self.low or 0) <= value <= (self.high or 0):
            return False
        step = self.step or (1 if self.kind == "int" else None)
        steps = (value - (self.low or 0)) / step if step else 0.0
        return bool(abs(steps - round(steps)) < 1e-8)  # as Optuna has it

    def is_near_edge(self, value: Any, *, share: float = 0.1) -> bool:
        """Whether a number lies in the outer share of what is tried, on its own scale; whole numbers: at an end.

        Then the space may have been too narrow. The one rule: for the table, the verdict and the figures of a search.
        """
        if self.kind == "categorical":
            return False
        low, high = self.low or 0.0, self.highest
        if not low < value < high:
            return True
        if self.kind == "int":
            return False
        scale = math.log if self.log else float
        place = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return not share <= place <= 1 - share


def _as_list(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]


SamplerName = Literal["TPESampler", "RandomSampler", "QMCSampler", "CmaEsSampler", "GPSampler", "GridSampler"]
PrunerName = Literal["NopPruner", "MedianPruner", "PercentilePruner", "SuccessiveHalvingPruner", "HyperbandPruner"]
# Those of them whose points do not depend on scores: every arm can have the same points, and the best of b has an
# expectation. So it is with Optuna 5's BruteForceSampler, but that is none of them: no search can have it.
INDEPENDENT = ("RandomSampler", "QMCSampler", "GridSampler")


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How points are chosen: a class of optuna.samplers and its keyword arguments; `seed` goes to it."""

    name: SamplerName
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pruner:
    """How trials are given up early: a class of optuna.pruners and its keyword arguments."""

    name: PrunerName
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric of the validation part, of training, or of the time ledger; never of the test set."""

    metric: str
    direction: Literal["minimize", "maximize"]

    def __post_init__(self) -> None:
        """Keep the test set out."""
        allowed = self.metric.startswith(("val/", "train/", "time/", "memory/"))
        require(allowed, "objective metric of val/, train/, time/ or memory/", self.metric, "say val/loss")


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """One search, the same for every arm of the command.

    Attributes:
        trials: Trials of each arm; the first has the config's own values, where the space holds them.
        timeout_seconds: Seconds of training that each arm may spend; null: no limit but `trials`.
        workers: Trials at a time; null: as many as there are cores, or executor.workers where a time is an objective.
        seed: Seed of every trial's training; none of the report's.
        storage: Any Optuna storage URL.
        study: Name of the study, before the arm's; null: named after the experiment and all that the search depends on.
        default: Whether the config's own setting is trained on the report's seeds too, beside the best.
    """

    name: str
    trials: int
    timeout_seconds: float | None
    workers: int | None
    seed: int
    objectives: tuple[Objective, ...]
    sampler: Sampler
    pruner: Pruner
    space: Mapping[str, Dimension]
    storage: str
    study: str | None
    default: bool

    def __post_init__(self) -> None:
        """Refuse a budget of nothing and what Optuna cannot do."""
        require(self.trials >= 1, "tuning.trials >= 1", self.trials)
        require(self.timeout_seconds is None or self.timeout_seconds > 0, "timeout_seconds > 0", self.timeout_seconds)
        require(self.workers is None or self.workers >= 1, "tuning.workers >= 1", self.workers)
        require(0 <= self.seed < 2**32, "0 <= tuning.seed < 2**32", self.seed)
        require(len(self.space) > 0, "tuning.space holds at least 1 key", dict(self.space))
        keys = list(self.space)
        late = [key for place, key in enumerate(keys) if set(self.space[key].when) & set(keys[place:])]
        require(not late, "keys under when stand before the key that they decide on", late, "change their order")
        require(len(self.objectives) in (1, 2), "1 or 2 tuning.objectives", len(self.objectives))
        require(
            len(self.objectives) == 1 or self.pruner.name == "NopPruner",
            "no pruner with 2 objectives",
            self.pruner.name,
            "Optuna cannot prune with several; set tuning.pruner.name=NopPruner",
        )

    @property
    def is_timed(self) -> bool:
        """Whether a time is an objective, so that trials must not share the machine."""
        return any(each.metric.startswith("time/") for each in self.objectives)
