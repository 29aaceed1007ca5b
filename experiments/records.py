"""What is known of a run and of a sweep once they are kept: the report's only input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from experiments.contract.arrays import Array
from experiments.errors import SettingsError
from experiments.task.alignment import ALIGNED

Outcome = Literal["finished", "diverged", "failed", "running", "pruned"]
STATED_VARIABLE = "environment."  # begins the name of each fact that is a variable of `executor.environment`


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run as read back from the store.

    Attributes:
        config: The task, nested, with its framework and seed.
        metrics: Last value of each metric.
        curves: Metric -> (epoch, value) pairs in order, for metrics told per epoch.
        facts: What was recorded beside: versions, threads, device, host, data's origin, ...
        reason: Why the run failed or diverged, else empty.
        labels: The choices as they were typed in this sweep: optimizer -> nesterov, regularization.dropout -> 0.3.
        overrides: The command line that trains this run alone.
        lost: What is missing of its files, else empty.
    """

    run_id: str
    name: str
    fingerprint: str
    framework: str
    seed: int
    outcome: Outcome
    reason: str
    config: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]
    facts: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    lost: str = ""

    @property
    def was_killed(self) -> bool:
        """Whether it was lost to the machine, not to the method: such a run is missing, and is trained again."""
        return self.outcome == "running" or self.facts.get("killed") == "yes"

    @property
    def is_bare(self) -> bool:
        """Whether its framework's bare loop trained it: its times count, its scores are in no comparison."""
        return bool(self.config.get("loop") == "bare")

    @property
    def is_as_shipped(self) -> bool:
        """Whether its framework kept defaults of its own: it is never certified."""
        return bool(self.config.get("alignment", ALIGNED) != ALIGNED)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a user had its worker have."""
        return {
            key.removeprefix(STATED_VARIABLE): value
            for key, value in self.facts.items()
            if key.startswith(STATED_VARIABLE)
        }


def is_per_epoch(metric: str) -> bool:
    """Whether a metric is told after each epoch, so that a record holds its curve."""
    return metric.startswith(("train/", "val/")) or metric in ("time/epoch", "time/trained", "step")


@dataclass(frozen=True, kw_only=True)
class TunedValue:
    """What a search found for one key, for the runs of one group; `value` is None where no trial came to its end.

    `low` and `high` bound the space; `score` is the best trial's `metric`.
    """

    group: str
    labels: dict[str, str]
    key: str
    value: Any
    score: float | None
    metric: str
    n_trials: int
    low: float
    high: float
    at_edge: bool


@dataclass(frozen=True, kw_only=True)
class BaselineRecord:
    """What scores on a test set without a network.

    Attributes:
        data: Fingerprint of the dataset.
        origin: In one line where that came from.
        loss: The loss whose outputs are scored.
        name: "majority class", "mean", "persistence", "logistic regression" or "ridge regression".
        is_guess: Whether it answers alike whatever the input: what a network is to beat.
        n_examples: The number of training examples that it was fit on; None where that were all.
        metrics: Its scores, under the names of a run's.
    """

    data: str
    origin: str
    loss: str
    name: str
    is_guess: bool
    n_examples: int | None
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial of a study.

    Attributes:
        number: Optuna's number, from 0.
        state: Optuna's state: COMPLETE, PRUNED, FAIL or RUNNING.
        values: Key of the task -> value that was tried; a key that depends on another may be missing.
        scores: Final score of each objective; empty unless COMPLETE.
        reported: (epoch, score of the first objective) pairs as reported while it trained.
        began, ended: Seconds since the first trial of the study began; None where not known.
        epochs, seconds: What it cost.
        run_id: The MLflow run.
        reason: Why it failed, else empty.
    """

    number: int
    state: str
    values: dict[str, Any]
    scores: tuple[float, ...]
    reported: tuple[tuple[int, float], ...]
    began: float | None
    ended: float | None
    epochs: int
    seconds: float
    run_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One Optuna study: the search of one arm under the budget that all arms of the sweep had.

    Attributes:
        name: Optuna's name of the study.
        arm: The arm it tuned: "keras", "keras · adam".
        framework: Its framework.
        space: Key of the task -> its dimension: kind (float, int, categorical), low, high, log, step, choices.
        objectives: (metric, direction) pairs; direction is minimize or maximize.
        sampler, pruner: Optuna's names of them.
        importances: Key -> share of the importance, adding up to 1; empty where it cannot be had.
        best: Numbers of the best trial, or of the Pareto front with several objectives.
    """

    name: str
    arm: str
    framework: str
    space: dict[str, dict[str, Any]]
    objectives: tuple[tuple[str, str], ...]
    sampler: str
    pruner: str
    trials: tuple[TrialRecord, ...]
    importances: dict[str, float]
    best: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CertificateRecord:
    """What the store knows about the identity of two frameworks on a task that a sweep trained.

    `sentence` says it; `rows` are the levels, empty where there is no certificate, as of what is as shipped.
    """

    arm: str
    frameworks: tuple[str, str]
    passed: bool
    sentence: str
    rows: tuple[dict[str, Any], ...]
    is_as_shipped: bool = field(default=False, metadata={"only_if_changed": True})


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """All runs that one command asked for, in its order; some may be reused from earlier sweeps.

    Attributes:
        n_planned: Runs that were asked for, all arms together.
        seeds: The seeds that each arm was to be trained with.
        margins: Metric -> the largest difference that does not matter; null where the task has no such metric.
        chance: Metric -> what guessing scores.
        comparison: What the report compares, as `settings.ComparisonSettings`.
        trials: Runs of the search that came before, if any; they are no results.
        tuned_values: What the search found, a value for each key and group.
        studies: The search in Optuna's words.
        class_names: Names of the classes of the test set; empty where its targets are values.
        pictures: Example of the test set -> picture as bytes, shape (h, w, channels), for the worst mistakes.
        lost: What is missing of what was kept, a sentence each.
        seeds_of: In a report over several sweeps, identifier of a run -> the seeds that its sweeps planned.
        looks: How often these data were looked at: each sweep that a merged report joins was one.
        control: What the newest control of this experiment found: passed, repeat, invalid; empty where none was run.
    """

    sweep_id: str
    experiment: str
    description: str
    command: str
    n_planned: int
    seeds: tuple[int, ...]
    margins: dict[str, float | None]
    runs: tuple[RunRecord, ...]
    chance: dict[str, float | None] = field(default_factory=dict)
    comparison: dict[str, Any] = field(default_factory=lambda: {"name": "frameworks", "factor": "framework"})
    trials: tuple[RunRecord, ...] = ()
    tuned_values: tuple[TunedValue, ...] = ()
    studies: tuple[StudyRecord, ...] = ()
    certificates: tuple[CertificateRecord, ...] = ()
    class_names: tuple[str, ...] = ()
    pictures: dict[int, Array] = field(default_factory=dict)
    control: str = ""
    lost: tuple[str, ...] = ()
    looks: int = 1
    seeds_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    baselines: tuple[BaselineRecord, ...] = ()

    def planned_seeds(self, runs: Iterable[RunRecord]) -> set[int]:
        """The seeds that an arm was to be trained with, given its runs: those of the sweeps that hold any of them."""
        return {seed for run in runs for seed in self.seeds_of.get(run.run_id, self.seeds)}

    @property
    def is_partial(self) -> bool:
        """Whether a planned run failed or is missing."""
        return self.n_planned > sum(run.outcome in ("finished", "diverged") for run in self.runs)

    @property
    def is_clean(self) -> bool:
        """Whether every planned run came to its end with finite scores."""
        return self.n_planned <= sum(run.outcome == "finished" for run in self.runs)


def merged(records: Sequence[SweepRecord], *, sweep_id: str) -> SweepRecord:
    """Several sweeps of one experiment as one; a run that two of them hold counts once.

    Raises:
        SettingsError: If they belong to different experiments, or state different margins or chance levels.
    """
    first = records[0]
    for name in ("experiment", "margins", "chance"):
        if any(getattr(record, name) != getattr(first, name) for record in records):
            raise SettingsError(f"sweep: sweeps of one report must have the same {name}; give each its own report")
    runs = {run.run_id: run for record in records for run in record.runs}
    missing = sum(record.n_planned - len(record.runs) for record in records)
    seeds_of: dict[str, tuple[int, ...]] = {}
    for record in records:
        for run in record.runs:
            seeds_of[run.run_id] = (*seeds_of.get(run.run_id, ()), *record.seeds)
    return replace(
        first,
        sweep_id=sweep_id,
        command="; ".join(dict.fromkeys(record.command for record in records)),
        n_planned=len(runs) + missing,
        seeds=tuple(sorted({seed for record in records for seed in record.seeds})),
        runs=tuple(runs.values()),
        trials=tuple({run.run_id: run for record in records for run in record.trials}.values()),
        tuned_values=tuple(
            {(each.group, each.key): each for record in records for each in record.tuned_values}.values()
        ),
        studies=tuple({study.name: study for record in records for study in record.studies}.values()),
        baselines=tuple(
            {(each.data, each.loss, each.name): each for record in records for each in record.baselines}.values()
        ),
        lost=tuple(dict.fromkeys(sentence for record in records for sentence in record.lost)),
        looks=len(records),
        seeds_of=seeds_of,
        pictures={},
    )
