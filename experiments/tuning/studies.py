"""One Optuna study per arm: its name, its storage, its owner, and its record for the report."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.errors import Locked, SettingsError
from experiments.execution.locks import Owner, creation_lock
from experiments.execution.run import Run
from experiments.fingerprint import RESULTS_VERSION, fingerprint_of, plain
from experiments.records import StudyRecord, TrialRecord
from experiments.task.search_space import TuningSettings
from experiments.tuning.points import pruner_of, sampler_of


@dataclass(kw_only=True)
class Study:
    """One arm's study and the run it is the study of."""

    arm: str
    name: str
    template: Run
    study: optuna.Study
    again: deque[FrozenTrial] = field(default_factory=deque)  # cut short by a fault: to be trained again

    @property
    def ended(self) -> list[FrozenTrial]:
        """Trials that are over, whatever their end."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    @property
    def n_asked(self) -> int:
        """Trials that have been given a point."""
        return sum(trial.state != TrialState.WAITING for trial in self.study.get_trials(deepcopy=False))

    @property
    def seconds(self) -> float:
        """What all ended trials cost."""
        return math.fsum(trial.user_attrs.get("seconds", 0.0) for trial in self.ended)


def open_studies(asked: TuningSettings, runs: Sequence[Run], *, experiment: str) -> list[Study]:
    """Make or load the study of every arm; trials that a dead process left RUNNING are to be trained again.

    Raises:
        SettingsError: If the storage cannot be opened, or a study of that name was made by another search.
        Locked: If another living process works on one of the studies.
    """
    storage = _storage(asked.storage)
    templates = one_per_arm(runs)
    return [
        _open(asked, run, name=_arm_name(run, templates), storage=storage, experiment=experiment) for run in templates
    ]


def _arm_name(run: Run, templates: Sequence[Run]) -> str:
    varying = [
        key
        for key in sorted({key for each in templates for key in each.labels})
        if key != "framework" and len({each.labels.get(key) for each in templates}) > 1
    ]
    return " · ".join([run.framework, *(run.labels[key] for key in varying if key in run.labels)])


def _storage(url: str) -> optuna.storages.BaseStorage:
    """Open Optuna's storage; a SQLite file that is not there is made once, under a lock."""
    try:
        with creation_lock(url):
            return optuna.storages.get_storage(url)
    except Exception as error:  # SQLAlchemy and its drivers raise what they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(f"tuning.storage: {url} cannot be opened: {reason}") from error


def _open(asked: TuningSettings, run: Run, *, name: str, storage: Any, experiment: str) -> Study:
    search = fingerprint_of(
        {
            "arm": arm_of(run),
            "seed": asked.seed,
            "objectives": plain(asked.objectives),
            "sampler": plain(asked.sampler),
            "pruner": plain(asked.pruner),
            "space": plain(dict(asked.space)),
            "results_version": RESULTS_VERSION,
        }
    )
    title = f"{asked.study} · {name}" if asked.study else f"{experiment} · {asked.name} · {name} · {search[:8]}"
    study = optuna.create_study(
        study_name=title,
        storage=storage,
        directions=[each.direction for each in asked.objectives],
        sampler=sampler_of(asked, seed=asked.sampler.seed),
        pruner=pruner_of(asked),
        load_if_exists=True,
    )
    holder, owner = study.user_attrs.get("owner"), Owner.this_process()
    if holder and (other := Owner.from_tag(holder)) != owner and not other.is_dead():
        raise Locked(
            f"process {other.pid} on {other.host} is at work on the study {title!r} in {asked.storage}; "
            "if it is dead, give tuning.study another name"
        )
    made_by = study.user_attrs.get("search")
    if made_by is None:
        study.set_user_attr("search", search)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental in Optuna; only the dashboard reads it
            study.set_metric_names([each.metric for each in asked.objectives])
    elif made_by != search:
        raise SettingsError(
            f"tuning.study: {title!r} in {asked.storage} was made by another search (space, sampler, pruner, "
            "objectives, task or data differ); give this one another name, or leave tuning.study at null"
        )
    trials = study.get_trials(deepcopy=False)
    n_asked = sum(trial.state != TrialState.WAITING for trial in trials)
    if n_asked > asked.trials:
        raise SettingsError(
            f"tuning.trials: the study {title!r} in {asked.storage} holds {n_asked} trials already, more than "
            f"{asked.trials}, so arms would have unequal budgets; say tuning.trials={n_asked}, "
            "or give tuning.study a name"
        )
    study.set_user_attr("owner", owner.tag)
    again = deque(trial for trial in trials if trial.state == TrialState.RUNNING)
    return Study(arm=name, name=title, template=run, study=study, again=again)


def best_of(study: optuna.Study) -> list[FrozenTrial]:
    """The best trial, or the Pareto front by its first score; empty where no trial came to its end."""
    if not any(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False)):
        return []
    if len(study.directions) == 1:
        return [study.best_trial]
    sign = 1 if study.directions[0].name == "MINIMIZE" else -1
    return sorted(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))


def record_of(each: Study, asked: TuningSettings) -> StudyRecord:
    """A study as the report reads it."""
    trials = each.study.get_trials(deepcopy=False)
    starts = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    first = min(starts) if starts else None

    def since(moment: Any) -> float | None:
        return None if moment is None or first is None else (moment - first).total_seconds()

    return StudyRecord(
        name=each.name,
        arm=each.arm,
        framework=each.template.framework,
        space={key: plain(dimension) for key, dimension in asked.space.items()},
        objectives=tuple((objective.metric, objective.direction) for objective in asked.objectives),
        sampler=asked.sampler.name,
        pruner=asked.pruner.name,
        trials=tuple(
            TrialRecord(
                number=trial.number,
                state=trial.state.name,
                values=dict(trial.params),
                scores=tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else (),
                reported=tuple(sorted(trial.intermediate_values.items())),
                began=since(trial.datetime_start),
                ended=since(trial.datetime_complete),
                epochs=int(trial.user_attrs.get("epochs", 0)),
                seconds=float(trial.user_attrs.get("seconds", 0.0)),
                run_id=str(trial.user_attrs.get("mlflow_run_id", "")),
                reason=str(trial.user_attrs.get("reason", "")),
            )
            for trial in trials
        ),
        importances=_importances(each.study, asked),
        best=tuple(trial.number for trial in best_of(each.study)),
    )


def _importances(study: optuna.Study, asked: TuningSettings) -> dict[str, float]:
    """Optuna's default evaluator on the first score; empty with one key, few trials or scores that do not vary."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(asked.space) < 2 or len(complete) < 4:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study, target=lambda trial: trial.values[0])
    except (RuntimeError, ValueError):
        return {}
    return {key: float(value) for key, value in found.items() if math.isfinite(value)}


def one_per_arm(runs: Sequence[Run]) -> list[Run]:
    """One run per task, data and framework: a study does not depend on the report's seeds."""
    return list({arm_of(run): run for run in runs}.values())


def arm_of(run: Run) -> str:
    """Name of what is tuned together: the task and data in one framework, whatever the seed."""
    return fingerprint_of({"task": plain(run.task), "data": run.data_fingerprint, "framework": run.framework})
