"""What one command line asks for, as plain dataclasses that check themselves; settings.py makes them from conf/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.fingerprint import ONLY_IF_CHANGED, plain
from experiments.task import Task
from experiments.task.checks import require
from experiments.task.keys import flatten, format_value
from experiments.task.search_space import TuningSettings

NOT_IN_CONF = {"in_conf": False}  # metadata of a field that no file of conf/ states
Action = Literal["train", "parity", "report", "doctor"]
Loop = Literal["fit", "bare"]
Figures = Literal["svg", "png"]
NO_SCORES = "a bare loop is scored once, when it is over"
# What a bare loop needs not know: key -> the one value that it may have, and why.
BARE = {
    "action": ("train", "certificates are those of loop=fit"),
    "tuning": ("none", NO_SCORES),
    "executor.workers": (1, "times are measured alone on the machine"),
    "alignment": ("aligned", "what a bare loop shows is the cost of the harness"),
    "executor.devices": (1, "a bare loop has one device"),
    "training.evaluate_every": (1, "the times of epochs are kept where they are scored"),
    "training.keep": ("last", NO_SCORES),
    "training.gradient_accumulation_steps": (1, "a bare loop steps after every batch"),
    "regularization.early_stopping.patience": (0, NO_SCORES),
    "regularization.weight_averaging": (0, "a bare loop keeps one set of weights"),
    "regularization.augmentation.shift": (0, "a bare loop takes the images as they are"),
    "regularization.augmentation.flip": (False, "a bare loop takes the images as they are"),
    "regularization.augmentation.noise": (0, "a bare loop takes the images as they are"),
}


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where and how runs are executed: `workers` at a time, each on `devices` devices of `threads` threads.

    `environment` are variables that workers have beside the few that they always have.
    """

    workers: int
    threads: int
    device: Literal["auto", "cpu", "gpu"]
    start_method: Literal["auto", "forkserver", "spawn"]
    time_limit_seconds: float
    devices: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the counts, and the names of variables."""
        wrong = [name for name in self.environment if not name or "=" in name or "\0" in name + self.environment[name]]
        require(not wrong, "names of variables that are not empty and hold no =", wrong)
        require(self.workers >= 1, "workers >= 1", self.workers)
        require(self.threads >= 1, "threads >= 1", self.threads)
        require(self.devices >= 1, "devices >= 1", self.devices, "1 gives each run one device")
        require(self.time_limit_seconds > 0, "time_limit_seconds > 0", self.time_limit_seconds)


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Where runs are kept."""

    uri: str
    reuse: bool
    tensorboard: bool

    def __post_init__(self) -> None:
        """Refuse no place at all: MLflow would take one of its own."""
        require(bool(self.uri.strip()), "tracking.uri names a store", self.uri, "such as sqlite:///mlflow.db")


@dataclass(frozen=True, kw_only=True)
class FrameworkSettings:
    """Who trains: a name in frameworks.FRAMEWORKS."""

    name: str


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What a report compares: the values of `factor`, each with `baseline` (null: each with each).

    `factor` is a key as it is typed: framework, optimizer, regularization.dropout, ...; "seed" is the control of a
    framework against itself. `ladder` holds, for each framework, the defaults that were found to matter to it, where
    the factor is "alignment".
    """

    name: str
    factor: str
    baseline: str | None
    ladder: Mapping[str, tuple[str, ...]] | None = field(default=None, metadata={**NOT_IN_CONF, ONLY_IF_CHANGED: True})


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one composed config asks for: a task, who does it, with which seed, and where.

    `loop` is "fit", the harness' training, or "bare", the framework's own without the harness, which shows its cost;
    `figures` is "png" where a report has its figures as pictures too.
    `labels` name the choices as they were typed (optimizer: nesterov, regularization.dropout: 0.3), `overrides` is
    the command line of this job alone; both come from Hydra, not from conf/.
    """

    task: Task
    description: str
    framework: FrameworkSettings
    seed: int
    action: Action
    sweep: str
    output: str
    comparison: ComparisonSettings
    tuning: TuningSettings | None
    executor: ExecutorSettings
    tracking: TrackingSettings
    loop: Loop = "fit"
    figures: Figures = "svg"
    labels: Mapping[str, str] = field(default_factory=dict, metadata=NOT_IN_CONF)
    overrides: tuple[str, ...] = field(default=(), metadata=NOT_IN_CONF)

    def __post_init__(self) -> None:
        """Refuse no place at all."""
        require(bool(self.output.strip()), "output names a folder", self.output, "output=. is the current one")

    @property
    def problems_with_bare_loop(self) -> list[str]:
        """What is asked for and `loop: bare` does not do, a sentence each; empty where that is not asked for."""
        if self.loop != "bare" or self.action == "report":
            return []
        tuning = "none" if self.tuning is None else self.tuning.name
        asked = {"action": self.action, "tuning": tuning, "executor": plain(self.executor), **plain(self.task)}
        return [
            f"`{rule}` must hold with loop=bare, but got {format_value(got)}; {why}"
            for rule, got, why in broken_by_bare_loop(flatten(asked))
        ]


def broken_by_bare_loop(stated: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """What of these values, by their keys, no bare loop does: the rule, the value, the reason of each."""
    broken = [
        (f"{key}={format_value(one)}", stated[key], why)
        for key, (one, why) in BARE.items()
        if key in stated and stated[key] != one
    ]
    if stated.get("training.epochs", 2) < 2:
        broken.append(("training.epochs >= 2", stated["training.epochs"], "the first one warms up"))
    if stated.get("training.precision") == "mixed_float16":
        broken.append(("training.precision=mixed_bfloat16", "mixed_float16", "a bare loop scales no losses"))
    return broken
