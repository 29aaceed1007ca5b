"""When a training has diverged: the one rule on losses, weights and scores, whoever trained and in whatever precision.

A number has diverged where it is not finite, beyond what float32 holds (also in float64, which only overflows later),
or beyond what it can mean: an accuracy outside [0, 1], a negative loss. Such a run is over; in claims it counts as
chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import metrics
from experiments.contract.arrays import Array, Weights
from experiments.records import RunRecord, StudyRecord, SweepRecord, TrialRecord, TunedValue

LARGEST = float(np.finfo(np.float32).max)
ROUNDING = 1e-6  # what a sum in float32 may leave below 0 or above 1


def first_diverged(losses: Array, /) -> int | None:
    """Index of the first loss that has diverged among the losses of batches, shape (n_batches,), or None."""
    is_sound = (losses >= -ROUNDING) & (losses <= LARGEST)  # NaN compares as neither
    return None if is_sound.all() else int(np.argmin(is_sound))


def of_weights(weights: Weights, /, *, when: str) -> str:
    """Which weights have diverged, as "weights dense1/kernel became nan after epoch 2", or nothing.

    TensorFlow's fused kernels can hide a NaN weight from the loss.
    """
    largest = {name: float(np.max(np.abs(weight), initial=0.0)) for name, weight in weights.items()}  # NaN stays
    lost = [name for name, size in largest.items() if not size <= LARGEST]
    return f"weights {', '.join(lost)} became {largest[lost[0]]:g} {when}" if lost else ""


def of_scores(scores: Mapping[str, float], /, *, when: str) -> str:
    """Which score has diverged, as "val/loss became nan after epoch 2", or nothing; a loss before what follows it."""
    lost = [name for name, value in scores.items() if not is_possible(name, value)]
    if not lost:
        return ""
    name = min(lost, key=lambda each: metrics.base_name(each) != "loss")
    low, high = (min(max(bound, -LARGEST), LARGEST) for bound in metrics.possible(name))
    meant = f" (it can be {low:.3g} to {high:.3g})" if np.isfinite(scores[name]) else ""
    return f"{name} became {scores[name]:.6g} {when}{meant}"


def is_possible(name: str, value: float) -> bool:
    """Whether a metric can be that number at all, up to rounding."""
    low, high = metrics.possible(name)
    return max(low - ROUNDING, -LARGEST) <= value <= min(high + ROUNDING, LARGEST)


def judged(record: SweepRecord) -> SweepRecord:
    """A kept sweep under the rule; whoever reads one, a store may be older than the rule."""
    return dataclasses.replace(
        record,
        runs=tuple(map(_judged_run, record.runs)),
        trials=tuple(map(_judged_run, record.trials)),
        studies=tuple(map(_judged_study, record.studies)),
        tuned_values=tuple(map(_judged_value, record.tuned_values)),
    )


def _judged_run(run: RunRecord) -> RunRecord:
    """One that finished with what no score can be has diverged, and has no test scores.

    MLflow keeps infinity as 1.8e308, and of outputs that are NaN one is the largest: they had an accuracy.
    """
    reason = of_scores(_scores(run.metrics), when="at the end") if run.outcome == "finished" else ""
    kept = {name: value for name, value in run.metrics.items() if is_possible(name, value)}
    curves = {
        name: [(epoch, value) for epoch, value in curve if is_possible(name, value)]
        for name, curve in run.curves.items()
    }
    if not reason:
        return dataclasses.replace(run, metrics=kept, curves=curves)
    kept = {name: value for name, value in kept.items() if not name.startswith(metrics.AT_THE_END)}
    return dataclasses.replace(run, metrics=kept, curves=curves, outcome="diverged", reason=reason)


def _judged_study(study: StudyRecord) -> StudyRecord:
    """A trial that is complete with what its score cannot be has failed, as a new search tells Optuna."""
    names = [metric for metric, _ in study.objectives] or ["score"]
    trials = tuple(_judged_trial(trial, names) for trial in study.trials)
    complete = {trial.number for trial in trials if trial.state == "COMPLETE"}
    return dataclasses.replace(study, trials=trials, best=tuple(each for each in study.best if each in complete))


def _judged_trial(trial: TrialRecord, names: Sequence[str]) -> TrialRecord:
    reported = tuple((epoch, value) for epoch, value in trial.reported if is_possible(names[0], value))
    scores = dict(zip(names, trial.scores, strict=False))
    reason = of_scores(scores, when="at the end") if trial.state == "COMPLETE" else ""
    if not reason:
        return dataclasses.replace(trial, reported=reported)
    return dataclasses.replace(trial, reported=reported, state="FAIL", scores=(), reason=reason)


def _judged_value(tuned: TunedValue) -> TunedValue:
    is_sound = tuned.score is None or is_possible(tuned.metric, tuned.score)
    return tuned if is_sound else dataclasses.replace(tuned, score=None)


def _scores(kept: Mapping[str, float]) -> dict[str, float]:
    """Those of a run's metrics that judge the training, not the clock."""
    return {name: value for name, value in kept.items() if name.partition("/")[0] in metrics.PARTS}
