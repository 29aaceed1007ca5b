"""One Optuna study per arm: its name, its storage, who works on it, and its record for the report."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.errors import GOES_ON, DiskFull, Locked, SettingsError, StoreUnavailable, is_no_room
from experiments.execution import locks
from experiments.execution.locks import Lease, Owner, creation_lock
from experiments.execution.run import Run
from experiments.fingerprint import RESULTS_VERSION, fingerprint_of, plain
from experiments.records import StudyRecord, TrialRecord
from experiments.task.datasets import as_once_stated
from experiments.task.search_space import TuningSettings
from experiments.tuning.points import make_pruner, make_sampler
from experiments.uris import sqlite_file, without_password

PATIENCE_SECONDS = 120.0  # how long a file that another process holds is waited for


@dataclass(kw_only=True)
class Study:
    """One arm's study and the run it is the study of."""

    arm: str
    name: str
    template: Run
    study: optuna.Study
    to_retry: deque[FrozenTrial] = field(default_factory=deque)  # cut short by a fault

    @property
    def finished_trials(self) -> list[FrozenTrial]:
        """Trials that are over, whatever their end: COMPLETE, PRUNED or FAIL."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    @property
    def n_asked(self) -> int:
        """Trials that have been given a point."""
        return sum(trial.state != TrialState.WAITING for trial in self.study.get_trials(deepcopy=False))

    @property
    def epochs(self) -> int:
        """Epochs that all finished trials trained."""
        return sum(trial.user_attrs.get("epochs", 0) for trial in self.finished_trials)

    @property
    def seconds(self) -> float:
        """What all finished trials cost."""
        return math.fsum(trial.user_attrs.get("seconds", 0.0) for trial in self.finished_trials)

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The best trial, or the Pareto front by its first score; empty where no trial is COMPLETE."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.finished_trials):
            return []
        if len(self.study.directions) == 1:
            return [self.study.best_trial]
        sign = 1 if self.study.directions[0].name == "MINIMIZE" else -1
        return sorted(self.study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))

    @property
    def best_values(self) -> dict[str, Any] | None:
        """Key -> value of the first of the best trials; None where there is none."""
        best = self.best_trials
        return dict(best[0].params) if best else None


def open_studies(settings: TuningSettings, runs: Sequence[Run], *, experiment: str) -> list[Study]:
    """Make or load the study of every arm; trials that a dead process left RUNNING are to be trained again.

    Raises:
        SettingsError: If a study of that name was made by another search.
        StoreUnavailable: If the storage cannot be opened.
        DiskFull: If there is no room for it.
        Locked: If another living process works on one of the studies.
    """
    storage = _open_storage(settings.storage)
    templates = one_per_arm(runs)
    with creation_lock(settings.storage):  # of two commands at once, one sees the other's name
        return [
            _open_study(settings, run, arm=_arm_name(run, templates), storage=storage, experiment=experiment)
            for run in templates
        ]


def one_per_arm(runs: Sequence[Run]) -> list[Run]:
    """One run per task, data and framework: a study does not depend on the report's seeds."""
    return list({arm_of(run): run for run in runs}.values())


def arm_of(run: Run) -> str:
    """Fingerprint of what is tuned together: the task and data in one framework, whatever the seed."""
    task = plain(run.task)
    task["data"] = as_once_stated(task["data"])
    return fingerprint_of({"task": task, "data": run.data_fingerprint, "framework": run.framework})


def _arm_name(run: Run, templates: Sequence[Run]) -> str:
    varying = [
        key
        for key in sorted({key for each in templates for key in each.labels})
        if key != "framework" and len({each.labels.get(key) for each in templates}) > 1
    ]
    return " · ".join([run.framework, *(run.labels[key] for key in varying if key in run.labels)])


def _open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open Optuna's storage; a SQLite file that is not there is made once, under a lock, and waited for when locked."""
    try:
        with creation_lock(url):
            if sqlite_file(url) is None:
                return optuna.storages.get_storage(url)
            waiting = {"connect_args": {"timeout": PATIENCE_SECONDS}}
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=waiting))
    except Locked:
        raise
    except Exception as error:  # SQLAlchemy and its drivers raise what they like
        raise storage_fails(url, error) from error


def storage_fails(url: str, error: Exception, /) -> StoreUnavailable | DiskFull:
    """The sentence for a storage that `error` came from."""
    cause = error.__cause__ or error  # Optuna's own words are but that there is one
    if is_no_room(error):
        return DiskFull.because_of(cause, place=without_password(url))
    reason = without_password((str(cause).splitlines() or [type(cause).__name__])[0])
    return StoreUnavailable(
        f"tuning.storage: {without_password(url)} cannot be opened or used: {reason}. Once that is mended, {GOES_ON}."
    )


def _open_study(
    settings: TuningSettings, run: Run, *, arm: str, storage: optuna.storages.BaseStorage, experiment: str
) -> Study:
    search = _fingerprint_of_search(settings, run)
    named = (settings.study, arm) if settings.study else (experiment, settings.name, arm, search[:8])
    name = " · ".join(named)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=[each.direction for each in settings.objectives],
        sampler=make_sampler(settings, seed=settings.sampler.seed),
        pruner=make_pruner(settings),
        load_if_exists=True,
    )
    _require_no_other_owner(study, settings)
    _require_same_search(study, settings, search=search)
    opened = Study(arm=arm, name=name, template=run, study=study)
    _require_within_budget(opened, settings)
    study.set_user_attr("heartbeat", locks.now())
    study.set_user_attr("owner", Owner.this_process(settings.storage).tag)
    opened.to_retry.extend(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    return opened


def _fingerprint_of_search(settings: TuningSettings, run: Run) -> str:
    """Of all that a trial's point depends on; more trials or seconds are the same search."""
    return fingerprint_of(
        {
            "arm": arm_of(run),
            "seed": settings.seed,
            "objectives": plain(settings.objectives),
            "sampler": plain(settings.sampler),
            "pruner": plain(settings.pruner),
            "space": plain(dict(settings.space)),
            "results_version": RESULTS_VERSION,
        }
    )


def _require_no_other_owner(study: optuna.Study, settings: TuningSettings) -> None:
    attributes = study.user_attrs
    if attributes.get("owner", "") in ("", Owner.this_process(settings.storage).tag):
        return
    owner = Owner.from_tag(attributes["owner"])
    state = owner.state(settings.storage)
    what = f"the study {study.study_name!r} in {without_password(settings.storage)}"
    if state == "unknown" and "heartbeat" in attributes:
        renewed = locks.is_renewed(lambda: str(study.user_attrs["heartbeat"]), what=f"{owner} has {what} open")
        state = "alive" if renewed else "dead"
    if state != "dead":
        raise Locked(f"{owner} is at work on {what}; if it is dead, give tuning.study another name")


def lease_of(studies: Sequence[Study], settings: TuningSettings) -> Lease:
    """Say that their owner lives, until the lease ends."""
    owner = Owner.this_process(settings.storage)
    opened = [each.study for each in studies]

    def renew(now: str) -> str:
        owners = []
        for study in opened:
            study.set_user_attr("heartbeat", now)
            owners.append(str(study.user_attrs["owner"]))
        return next((tag for tag in owners if tag != owner.tag), owner.tag)

    return Lease(renew, owner=owner)


def _require_same_search(study: optuna.Study, settings: TuningSettings, *, search: str) -> None:
    """Refuse a study that another search made; a new one is marked as this search's."""
    made_by = study.user_attrs.get("search")
    if made_by is None:
        study.set_user_attr("search", search)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental in Optuna; only the dashboard reads it
            study.set_metric_names([each.metric for each in settings.objectives])
    elif made_by != search:
        raise SettingsError(
            f"tuning.study: {study.study_name!r} in {settings.storage} was made by another search (space, sampler, "
            "pruner, objectives, task or data differ); give this one another name, or leave tuning.study at null"
        )


def _require_within_budget(study: Study, settings: TuningSettings) -> None:
    if study.n_asked > settings.trials:
        raise SettingsError(
            f"tuning.trials: the study {study.name!r} in {settings.storage} holds {study.n_asked} trials already, "
            f"more than {settings.trials}, so arms would have unequal budgets; say tuning.trials={study.n_asked}, "
            "or give tuning.study a name"
        )


def run_id_of(trial: FrozenTrial | optuna.trial.Trial) -> str:
    """The run that keeps a trial in the store, or ""."""
    return str(trial.user_attrs.get("mlflow_run_id", ""))


def record_of(study: Study, settings: TuningSettings) -> StudyRecord:
    """A study as the report reads it."""
    trials = study.study.get_trials(deepcopy=False)
    first_start = min((trial.datetime_start for trial in trials if trial.datetime_start is not None), default=None)
    return StudyRecord(
        name=study.name,
        arm=study.arm,
        framework=study.template.framework,
        space={key: plain(dimension) for key, dimension in settings.space.items()},
        objectives=tuple((objective.metric, objective.direction) for objective in settings.objectives),
        sampler=settings.sampler.name,
        pruner=settings.pruner.name,
        trials=tuple(_record_of_trial(trial, first_start) for trial in trials),
        importances=_importances(study.study, settings),
        best=tuple(trial.number for trial in study.best_trials),
    )


def _record_of_trial(trial: FrozenTrial, first_start: datetime | None) -> TrialRecord:
    def since_first(moment: datetime | None) -> float | None:
        return None if moment is None or first_start is None else (moment - first_start).total_seconds()

    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        values=dict(trial.params),
        scores=tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else (),
        reported=tuple(sorted(trial.intermediate_values.items())),
        began=since_first(trial.datetime_start),
        ended=since_first(trial.datetime_complete),
        epochs=int(trial.user_attrs.get("epochs", 0)),
        seconds=float(trial.user_attrs.get("seconds", 0.0)),
        run_id=run_id_of(trial),
        reason=str(trial.user_attrs.get("reason", "")),
    )


def _importances(study: optuna.Study, settings: TuningSettings) -> dict[str, float]:
    """Optuna's default evaluator on the first score; empty with one key, few trials or scores that do not vary."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(settings.space) < 2 or len(complete) < 4:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study, target=lambda trial: trial.values[0])
    except (RuntimeError, ValueError):
        return {}
    return {key: float(share) for key, share in shares.items() if math.isfinite(share)}
