"""Which studies have what a figure shows, and what of each is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from experiments.records import StudyRecord, TrialRecord
from experiments.report.studies.facts import KeyAxis, axis_of, complete, effective_state, is_number, keys_of

STATE_WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
Studies = Sequence[StudyRecord]


def studies_with(studies: Studies, has_content: Callable[[StudyRecord], bool]) -> list[StudyRecord]:
    """The studies that have what a figure shows."""
    return [study for study in studies if has_content(study)]


def studies_with_plane(studies: Studies) -> list[StudyRecord]:
    """The studies in which two numeric keys varied."""
    ranking = keys_of(studies)
    return studies_with(studies, lambda study: len(plane_of(study, ranking)) == 2)


def has_trials(study: StudyRecord) -> bool:
    """Whether it has any trial, in whatever state."""
    return bool(study.trials)


def has_complete(study: StudyRecord) -> bool:
    """Whether any trial came to its end."""
    return bool(complete(study))


def has_importances(study: StudyRecord) -> bool:
    """Whether Optuna could tell how much its keys matter."""
    return bool(study.importances)


def has_reports(study: StudyRecord) -> bool:
    """Whether any trial reported a finite score while it trained."""
    return any(map(reports_of, study.trials))


def has_times(study: StudyRecord) -> bool:
    """Whether it is known of any trial when it ran."""
    return any(times_of(trial, study) for trial in study.trials)


def has_front(study: StudyRecord) -> bool:
    """Whether it has two objectives and a complete trial."""
    return len(study.objectives) == 2 and has_complete(study)


def has_tried(study: StudyRecord) -> bool:
    """Whether any trial that is drawn has values."""
    return any(trial.values for trial in study.trials if effective_state(trial) in STATE_WORDS)


def keys_in(study: StudyRecord, ranking: Sequence[str]) -> list[str]:
    """The keys of a ranking that a study has tried, in its order."""
    return [key for key in ranking if any(key in trial.values for trial in study.trials)]


def has_state(studies: Studies, state: str) -> bool:
    """Whether any trial of the studies is in this state."""
    return any(effective_state(trial) == state for study in studies for trial in study.trials)


def plane_of(study: StudyRecord, ranking: Sequence[str]) -> list[KeyAxis]:
    """The two most important numeric keys of a study that varied; fewer where there are not so many."""
    key_axes = [axis_of(study, key) for key in keys_in(study, ranking)]
    trials = [trial for trial in study.trials if effective_state(trial) in STATE_WORDS]
    varying = [each for each in key_axes if len({trial.values.get(each.key) for trial in trials} - {None}) > 1
               if not each.choices]  # fmt: skip
    return varying[:2]


def reports_of(trial: TrialRecord) -> list[tuple[int, float]]:
    """Epochs and finite scores that a trial reported, in order."""
    return [(epoch, value) for epoch, value in sorted(trial.reported) if math.isfinite(value)]


def times_of(trial: TrialRecord, study: StudyRecord) -> tuple[float, float] | None:
    """Begin and end; one that still runs goes on to the last moment known."""
    if trial.began is None or not math.isfinite(trial.began):
        return None
    if trial.ended is not None and math.isfinite(trial.ended):
        return trial.began, max(trial.began, trial.ended)
    moments = [each for other in study.trials for each in (other.began, other.ended) if is_number(each)]
    return (trial.began, float(max(moments))) if trial.state == "RUNNING" else None
