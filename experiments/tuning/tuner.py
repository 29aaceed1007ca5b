"""The parent's side of a search, in Optuna's verbs: ask for a trial, report its epochs, tell how it ended.

A trial that a fault cut short keeps its number and its point: it is trained again under them, so no point is lost,
repeated or counted twice.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from experiments.divergence import is_possible
from experiments.errors import SettingsError
from experiments.execution.locks import Lease
from experiments.execution.run import Run
from experiments.records import StudyRecord
from experiments.task.search_space import INDEPENDENT, TuningSettings
from experiments.tuning.points import as_trial, make_sampler, own_values, shared_points, suggest, task_with
from experiments.tuning.studies import Study, lease_of, open_studies, record_of, run_id_of

TRIES = 2  # of a trial whose worker was killed


@dataclass(kw_only=True)
class ActiveTrial:
    """A trial that is being trained."""

    study: Study
    number: int
    trial: optuna.trial.Trial
    run: Run
    tries: int = 1
    epochs: int = 0
    run_id: str = ""
    last_reported: int = 0  # the last epoch that an earlier try reported

    @property
    def earlier_run_id(self) -> str:
        """The store's run of an earlier try of the same trial, or ""."""
        return run_id_of(self.trial)


@dataclass(kw_only=True)
class Tuner:
    """The studies of one sweep."""

    settings: TuningSettings
    studies: list[Study]
    points: list[dict[str, Any]]  # shared by all studies, where the sampler does not look at scores
    lease: Lease

    def ask(self) -> ActiveTrial | None:
        """A trial to train now, from the study that has asked for the fewest; None where every budget is spent."""
        self.lease.require("this search")
        while (asked := self._retry() or self._ask_new()) is not None:
            study, trial = asked
            try:
                run = self._run_of(study, trial)
            except SettingsError as error:  # each value can be, but not these together
                self._refuse(study, trial, reason=str(error))
                continue
            frozen = study.study.get_trials(deepcopy=False)[trial.number]
            return ActiveTrial(
                study=study,
                number=trial.number,
                trial=trial,
                run=run,
                tries=frozen.user_attrs.get("tries", 1),
                last_reported=frozen.last_step or 0,
            )
        return None

    def _retry(self) -> tuple[Study, optuna.trial.Trial] | None:
        """The same trial as before a fault, not a new one."""
        for study in self.studies:
            if study.to_retry:
                frozen = study.to_retry.popleft()
                study.study.sampler = self._sampler_at(frozen.number)
                return study, optuna.trial.Trial(study.study, frozen._trial_id)
        return None

    def _ask_new(self) -> tuple[Study, optuna.trial.Trial] | None:
        """A new trial with its point."""
        with_budget = [study for study in self.studies if self._has_budget(study)]
        if not with_budget:
            return None
        study = min(with_budget, key=lambda each: each.n_asked)
        self._choose_point(study)
        trial = study.study.ask()
        suggest(self.settings, study.template, trial)
        return study, trial

    @property
    def n_trials(self) -> int:
        """How many trials each study is to have: a grid may have fewer points."""
        return min(self.settings.trials, len(self.points)) if self._is_grid else self.settings.trials

    def _has_budget(self, study: Study) -> bool:
        limit = self.settings.timeout_seconds
        return study.n_asked < self.n_trials and (limit is None or study.seconds < limit)

    @property
    def _is_grid(self) -> bool:
        return self.settings.sampler.name == "GridSampler"

    def _sampler_at(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler of a trial: its seed moves on, so that a resumed study repeats no point."""
        return make_sampler(self.settings, seed=self.settings.sampler.seed + number)

    def _choose_point(self, study: Study) -> None:
        """Have Optuna give the next trial the config's own values, a shared point, or one of its sampler's."""
        number = study.n_asked
        own = None if self._is_grid else own_values(self.settings, study.template)
        if study.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return  # a fault came between a point and its trial
        if number == 0 and own is not None:
            study.study.enqueue_trial(own)
        elif number < len(self.points):
            study.study.enqueue_trial(self.points[number])
        else:
            study.study.sampler = self._sampler_at(number)

    def _run_of(self, study: Study, trial: optuna.trial.Trial) -> Run:
        values = suggest(self.settings, study.template, trial)
        run = as_trial(study.template, values, seed=self.settings.seed)
        return dataclasses.replace(run, task=task_with(study.template, values))

    def _refuse(self, study: Study, trial: optuna.trial.Trial, *, reason: str) -> None:
        _set_attributes(trial, reason=reason, epochs=0, seconds=0.0)
        study.study.tell(trial, state=TrialState.FAIL)

    def start(self, active: ActiveTrial, run_id: str) -> None:
        """The store keeps the trial under `run_id`."""
        active.run_id = run_id
        _set_attributes(active.trial, mlflow_run_id=run_id, tries=active.tries)

    def report(self, active: ActiveTrial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report the first objective after an epoch; return whether the trial should be pruned."""
        active.epochs = epoch
        metric = self.settings.objectives[0].metric
        if len(self.settings.objectives) > 1 or not is_possible(metric, metrics.get(metric, math.nan)):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trial that is trained again reports the same epochs again
            active.trial.report(metrics[metric], step=epoch)
        is_last = epoch >= active.run.task.training.epochs
        is_new = epoch >= active.last_reported  # Optuna judges by the last epoch that any try reported
        return is_new and not is_last and bool(active.trial.should_prune())

    def tell(
        self, active: ActiveTrial, *, outcome: str, reason: str, metrics: Mapping[str, float], seconds: float
    ) -> str:
        """Tell Optuna how a trial ended.

        One whose worker was killed is trained again, once; what failed by itself would fail again.

        Args:
            active: The trial.
            outcome: That of its run, or "killed".
            reason: Why it did not finish, else empty.
            metrics: The last value of each metric.
            seconds: What it cost.

        Returns:
            Optuna's state of it, or "" where it is to be trained again.
        """
        study = active.study.study
        if outcome == "killed" and active.tries < TRIES:
            active.trial.set_user_attr("tries", active.tries + 1)
            active.study.to_retry.append(study.get_trials(deepcopy=False)[active.number])
            return ""
        scores = {each.metric: metrics.get(each.metric, math.nan) for each in self.settings.objectives}
        wrong = [name for name, score in scores.items() if not is_possible(name, score)]
        if outcome == "finished" and not reason:
            reason = ", ".join(f"{name} is {metrics.get(name, 'not among its metrics')}" for name in wrong)
        _set_attributes(active.trial, reason=reason, epochs=active.epochs, seconds=seconds)
        if outcome == "finished" and not wrong:
            return study.tell(active.trial, list(scores.values())).state.name
        state = TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL
        return study.tell(active.trial, state=state).state.name

    def finished_runs(self) -> list[tuple[str, Run]]:
        """Identifier in the store and run of every finished trial, by study and number."""
        return [
            (
                run_id_of(trial),
                dataclasses.replace(
                    as_trial(study.template, trial.params, seed=self.settings.seed),
                    name=f"{study.arm} · trial {trial.number}",
                ),
            )
            for study in self.studies
            for trial in study.finished_trials
        ]

    def records(self) -> list[StudyRecord]:
        """The studies as the report reads them."""
        return [record_of(study, self.settings) for study in self.studies]

    def release(self) -> None:
        """Let other processes work on the studies."""
        self.lease.end()
        for study in self.studies:
            study.study.set_user_attr("owner", "")


def _set_attributes(trial: optuna.trial.Trial, **attributes: object) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


def open_tuner(settings: TuningSettings, runs: Sequence[Run], *, experiment: str) -> Tuner:
    """The studies of all arms of `runs`, and the points that they share.

    Raises:
        SettingsError: If a study of that name was made by another search.
        StoreUnavailable: If the storage cannot be opened.
        Locked: If another living process works on one of the studies.
    """
    studies = open_studies(settings, runs, experiment=experiment)
    points = shared_points(settings, studies[0].template) if settings.sampler.name in INDEPENDENT else []
    return Tuner(settings=settings, studies=studies, points=points, lease=lease_of(studies, settings))
