"""What Optuna's studies hold: keys and their axes, states and scores of trials, the best of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from experiments import statistics
from experiments.records import StudyRecord, TrialRecord
from experiments.report import formatting
from experiments.report.sanitize import clean
from experiments.task.keys import short_key
from experiments.task.search_space import INDEPENDENT

FEWEST_TRIALS = 20  # complete ones; with fewer, importances are mostly noise


@dataclass(frozen=True, kw_only=True)
class KeyAxis:
    """How the values of one key are drawn.

    Attributes:
        name: What a person calls the key.
        low, high: Bounds of the space, wider where a tried value lies outside.
        choices: Texts of a categorical dimension in the order of the space; empty for numbers.
    """

    key: str
    name: str
    low: float
    high: float
    is_log: bool
    is_integer: bool
    choices: tuple[str, ...]

    def place(self, trial: TrialRecord) -> float:
        """Where the trial's value stands: the number, or the position of its choice; NaN where the key is missing."""
        value = trial.values.get(self.key)
        if self.choices:
            return float(self.choices.index(str(value))) if self.key in trial.values else math.nan
        return float(value) if is_number(value) else math.nan

    def share(self, trial: TrialRecord) -> float:
        """The place as a share of the axis, in [0, 1]; one half where the axis has no length."""
        low, place, high = (math.log(x) if self.is_log else x for x in (self.low, self.place(trial), self.high))
        return (place - low) / (high - low) if high > low else place - low + 0.5


def axis_of(study: StudyRecord, key: str) -> KeyAxis:
    """The axis as the space has it; what is missing there follows from the values tried."""
    spec = study.space.get(key) or {}
    tried = [trial.values[key] for trial in ordered(study) if key in trial.values]
    choices: tuple[str, ...] = ()
    if spec.get("kind") == "categorical" or not all(map(is_number, tried)):
        named = [str(choice) for choice in spec.get("choices") or ()]
        choices = tuple(dict.fromkeys([*named, *sorted(map(str, tried))]))
    bounds = [spec.get("low"), spec.get("high"), *tried]
    numbers = [0.0, len(choices) - 1.0] if choices else [float(each) for each in bounds if is_number(each)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    is_log = bool(spec.get("log")) and low > 0 and not choices
    is_integer = spec.get("kind", "int") == "int" and all(isinstance(each, int) for each in tried)
    return KeyAxis(
        key=key, name=key_title(key), low=low, high=high, is_log=is_log, is_integer=is_integer, choices=choices
    )


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def key_title(key: str, limit: int = 24) -> str:
    """A key as a person says it: a file of a group by the group, else its last word."""
    return one_line(short_key(key), limit).replace("_", " ")


def one_line(name: Any, limit: int = 40) -> str:
    """A name without control characters and line breaks."""
    return clean(" ".join(str(name).split()), limit)


def keys_of(studies: Sequence[StudyRecord]) -> list[str]:
    """Keys that some trial tried, the most important ones over all studies first."""
    tried = {key for study in studies for trial in study.trials for key in trial.values}
    weights = {key: math.fsum(study.importances.get(key, 0.0) for study in studies) for key in tried}
    return sorted(tried, key=lambda key: (-weights[key], key))


def ordered(study: StudyRecord) -> list[TrialRecord]:
    """Trials by number."""
    return sorted(study.trials, key=lambda trial: trial.number)


def objective(study: StudyRecord, index: int = 0) -> tuple[str, bool]:
    """What is scored, as a person says it, and whether more is better."""
    metric, direction = study.objectives[index] if index < len(study.objectives) else ("score", "minimize")
    return one_line(formatting.in_words(metric), 30), direction == "maximize"


def effective_state(trial: TrialRecord) -> str:
    """Optuna's state, but FAIL for a complete trial with a score that is not finite: Optuna lets infinity pass."""
    is_lost = trial.state == "COMPLETE" and not (trial.scores and all(map(math.isfinite, trial.scores)))
    return "FAIL" if is_lost else trial.state


def score(trial: TrialRecord, index: int = 0) -> float:
    """The final score, or what a pruned trial reported last; NaN where there is none."""
    if effective_state(trial) == "COMPLETE":
        return trial.scores[index] if index < len(trial.scores) else math.nan
    finite = [value for _, value in trial.reported if math.isfinite(value)]
    return finite[-1] if trial.state == "PRUNED" and index == 0 and finite else math.nan


def complete(study: StudyRecord) -> list[TrialRecord]:
    """Trials that came to their end with finite scores, by number."""
    return [trial for trial in ordered(study) if effective_state(trial) == "COMPLETE"]


def ranked(study: StudyRecord) -> list[TrialRecord]:
    """Complete trials from the best to the worst first objective; of equal ones the earlier is first."""
    sign = -1 if objective(study)[1] else 1
    return sorted(complete(study), key=lambda trial: (sign * trial.scores[0], trial.number))


def best_of(study: StudyRecord) -> TrialRecord | None:
    """The best trial, by its first objective where there are several."""
    trials = ranked(study)
    chosen = [trial for trial in trials if trial.number in study.best]
    return next(iter(chosen or trials), None)


def front_of(study: StudyRecord) -> list[TrialRecord]:
    """The Pareto front, by the first objective."""
    chosen = [trial for trial in complete(study) if trial.number in study.best]
    return sorted(chosen, key=lambda trial: trial.scores)


def best_so_far(study: StudyRecord) -> list[float]:
    """Best first objective after each complete trial."""
    keep = np.maximum if objective(study)[1] else np.minimum
    return [float(each) for each in keep.accumulate([trial.scores[0] for trial in complete(study)] or [math.nan])]


def is_independent(study: StudyRecord) -> bool:
    """Whether no trial depended on earlier ones, so that an expectation can be had."""
    return study.sampler in INDEPENDENT


def expected_best(study: StudyRecord) -> list[float]:
    """Expected best first objective after 1 ... n complete trials."""
    scores = np.array([trial.scores[0] for trial in complete(study)])
    return [float(each) for each in statistics.budget_curve(scores, higher_is_better=objective(study)[1])]


def label_of(study: StudyRecord, studies: Sequence[StudyRecord], limit: int = 40) -> str:
    """The arm, with the name of the study where an arm has several."""
    is_alone = sum(other.arm == study.arm for other in studies) <= 1
    return one_line(study.arm if is_alone else f"{study.arm} · {study.name}", limit)


def total_seconds(trials: Iterable[TrialRecord]) -> float:
    """What some trials took, those left out of which nobody knows."""
    return math.fsum(trial.seconds for trial in trials if math.isfinite(trial.seconds))


def said_values(trial: TrialRecord, keys: Iterable[str]) -> str:
    """The values of some keys in words: "learning rate 0.001, depth 2"."""
    return ", ".join(f"{key_title(key)} {value_text(trial.values[key])}" for key in keys if key in trial.values)


def value_text(value: Any) -> str:
    """A value that was tried, numbers in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else one_line(value)
