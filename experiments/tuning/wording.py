"""What the screen says of trials, in rich's markup: number, values, scores and the best so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape

from experiments.records import Outcome
from experiments.task.keys import short_key
from experiments.task.search_space import TuningSettings
from experiments.tuning.studies import Study

DIGITS = 4  # significant ones


def line_of_trial(
    study: Study, number: int, *, settings: TuningSettings, outcome: Outcome, reason: str, log: Path
) -> str:
    """What became of a trial, once Optuna has heard of it, and the best of its study so far.

    Args:
        study: Whose trial it is.
        number: The trial's.
        settings: What is sought.
        outcome: That of its run.
        reason: Why the run did not finish, else empty.
        log: Its worker's.
    """
    ended = study.study.get_trials(deepcopy=False)[number]
    line = f"trial {number} {study.arm}: {values_in_words(ended.params)}"
    best = _best_so_far(study, ended)
    if ended.state == TrialState.COMPLETE:
        return escape(f"{line}: {scores_in_words(scores_of(ended, settings))}{best}")
    if ended.state == TrialState.PRUNED:
        return f"[dim]{escape(f'{line}: {reason}{best}')}[/dim]"
    word = "diverged" if outcome == "diverged" else "failed"
    reason = ended.user_attrs.get("reason") or reason
    again = "" if ended.state.is_finished() else "; it is trained again"
    return f"[red]{escape(f'{line}: {word}: {reason}{again}{best}')}[/red] {escape(f'(log: {log})')}"


def _best_so_far(study: Study, ended: FrozenTrial) -> str:
    """Of several scores, the trials that no other one beats in all."""
    best = study.best_trials
    if not best:
        return ""
    if len(study.study.directions) > 1:
        return f" (unbeaten: {'trial' if len(best) == 1 else 'trials'} {', '.join(str(each.number) for each in best)})"
    if best[0].number == ended.number:
        return " (the best so far)"
    return f" (best {best[0].values[0]:.{DIGITS}g}, trial {best[0].number})"


def scores_of(trial: FrozenTrial, settings: TuningSettings) -> dict[str, float]:
    """Metric -> score of a trial that is complete."""
    return {each.metric: score for each, score in zip(settings.objectives, trial.values, strict=True)}


def scores_in_words(scores: Mapping[str, float]) -> str:
    """val/loss 0.412, time/total 3.1."""
    return ", ".join(f"{metric} {score:.{DIGITS}g}" for metric, score in scores.items())


def values_in_words(values: Mapping[str, Any]) -> str:
    """learning_rate 0.0032, depth 2; a key that ends like another one in full."""
    short = {key: short_key(key) for key in values}
    ends = Counter(short.values())
    named = {short[key] if ends[short[key]] == 1 else key: value for key, value in values.items()}
    return ", ".join(
        f"{key} {f'{value:.{DIGITS}g}' if isinstance(value, float) else value}" for key, value in named.items()
    )
