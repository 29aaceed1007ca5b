"""The parent's side of a search: which trial is next, what workers tell of it, how it ends.

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

from experiments.errors import SettingsError
from experiments.execution.run import Run
from experiments.records import StudyRecord
from experiments.task import keys
from experiments.task.search_space import INDEPENDENT, TuningSettings
from experiments.tuning import studies
from experiments.tuning.points import overrides_with, own_values, sampler_of, shared_points, suggest, task_with
from experiments.tuning.studies import Study, arm_of, best_of, record_of

TRIES = 2  # of a trial whose worker was killed


@dataclass(kw_only=True)
class Active:
    """A trial under way."""

    study: Study
    number: int
    trial: optuna.trial.Trial
    run: Run
    tries: int = 1
    epochs: int = 0
    run_id: str = ""
    reported: int = 0  # last epoch that an earlier try reported

    @property
    def run_before(self) -> str:
        """The store's run of an earlier try of the same trial, or ""."""
        return str(self.trial.user_attrs.get("mlflow_run_id", ""))


@dataclass(kw_only=True)
@dataclass(kw_only=True)
class Tuner:
    """The studies of one sweep."""

    asked: TuningSettings
    studies: list[Study]
    points: list[dict[str, Any]]  # shared by all studies, where the sampler does not look at scores

    def next_trial(self) -> Active | None:
        """A trial to train now, from the study that has asked for the fewest; None where every budget is spent."""
        while (found := self._again() or self._new()) is not None:
            study, trial = found
            try:
                run = self._run(study, trial)
            except SettingsError as error:  # each value can be, but not these together
                self._refuse(study, trial, reason=str(error))
                continue
            frozen = study.study.get_trials(deepcopy=False)[trial.number]
            return Active(
                study=study, number=trial.number, trial=trial, run=run,
                tries=frozen.user_attrs.get("tries", 1), reported=frozen.last_step or 0,
            )  # fmt: skip
        return None

    def _again(self) -> tuple[Study, optuna.trial.Trial] | None:
        """The same trial as before a fault, not a new one."""
        for study in self.studies:
            if study.again:
                frozen = study.again.popleft()
                study.study.sampler = sampler_of(self.asked, seed=self.asked.sampler.seed + frozen.number)
                return study, optuna.trial.Trial(study.study, frozen._trial_id)
        return None

    def _new(self) -> tuple[Study, optuna.trial.Trial] | None:
        open_ones = [study for study in self.studies if self._has_budget(study)]
        if not open_ones:
            return None
        study = min(open_ones, key=lambda each: each.n_asked)
        return study, self._ask(study)

    def _refuse(self, study: Study, trial: optuna.trial.Trial, *, reason: str) -> None:
        for name, value in {"reason": reason, "epochs": 0, "seconds": 0.0}.items():
            trial.set_user_attr(name, value)
        study.study.tell(trial, state=TrialState.FAIL)

    def _has_budget(self, study: Study) -> bool:
        limit = self.asked.timeout_seconds
        trials = min(self.asked.trials, len(self.points)) if self._is_grid else self.asked.trials
        return study.n_asked < trials and (limit is None or study.seconds < limit)

    @property
    def _is_grid(self) -> bool:
        return self.asked.sampler.name == "GridSampler"

    def _ask(self, study: Study) -> optuna.trial.Trial:
        """A new trial with its point; the sampler's seed moves on, so that a resumed study repeats no point."""
        number = study.n_asked
        own = None if self._is_grid else own_values(self.asked, study.template)
        if study.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            pass  # a fault came between a point and its trial
        elif number == 0 and own is not None:
            study.study.enqueue_trial(own)
        elif number < len(self.points):
            study.study.enqueue_trial(self.points[number])
        else:
            study.study.sampler = sampler_of(self.asked, seed=self.asked.sampler.seed + number)
        trial = study.study.ask()
        suggest(self.asked, study.template, trial)
        return trial

    def _run(self, study: Study, trial: optuna.trial.Trial) -> Run:
        values = suggest(self.asked, study.template, trial)
        template = study.template
        return dataclasses.replace(
            template,
            task=task_with(template, values),
            seed=self.asked.seed,
            is_trial=True,
            labels={**template.labels, **{key: keys.format_value(value) for key, value in values.items()}},
            overrides=overrides_with(template, values, seed=self.asked.seed),
        )

    def began(self, active: Active, run_id: str) -> None:
        """The store keeps the trial under `run_id`."""
        active.run_id = run_id
        active.trial.set_user_attr("mlflow_run_id", run_id)
        active.trial.set_user_attr("tries", active.tries)

    def epoch_ended(self, active: Active, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report the first objective after an epoch; return whether the trial is to be pruned."""
        active.epochs = epoch
        metric = self.asked.objectives[0].metric
        if len(self.asked.objectives) > 1 or metric not in metrics or not math.isfinite(metrics[metric]):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trial that is trained again reports the same epochs again
            active.trial.report(metrics[metric], step=epoch)
        is_last = epoch >= active.run.task.training.epochs
        is_new = epoch >= active.reported  # Optuna judges by the last epoch that any try reported
        return is_new and not is_last and bool(active.trial.should_prune())

    def ended(self, active: Active, *, outcome: str, reason: str, metrics: Mapping[str, float], seconds: float) -> str:
        """Tell Optuna how a trial ended; return its state, or "" where it is to be trained again.

        One whose worker was killed is trained again, once; what failed by itself would fail again.
        """
        study = active.study.study
        if outcome == "killed" and active.tries < TRIES:
            active.trial.set_user_attr("tries", active.tries + 1)
            active.study.again.append(study.get_trials(deepcopy=False)[active.number])
            return ""
        scores = [metrics.get(each.metric, math.nan) for each in self.asked.objectives]
        if outcome == "finished" and not reason:
            wrong = [each.metric for each, score in zip(self.asked.objectives, scores, strict=True)
                     if not math.isfinite(score)]  # fmt: skip
            reason = ", ".join(f"{name} is {metrics.get(name, 'not among its metrics')}" for name in wrong)
        facts = {"reason": reason, "epochs": active.epochs, "seconds": seconds}
        for name, value in facts.items():
            active.trial.set_user_attr(name, value)
        if outcome == "finished" and all(map(math.isfinite, scores)):
            return study.tell(active.trial, scores).state.name
        state = TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL
        return study.tell(active.trial, state=state).state.name

    def best_values(self, arm: str) -> dict[str, Any] | None:
        """Key -> best value in the study of that arm."""
        study = next(each for each in self.studies if arm_of(each.template) == arm)
        best = best_of(study.study)
        return dict(best[0].params) if best else None

    def trained(self) -> list[tuple[str, Run]]:
        """Identifier in the store and run of every trial that has ended, by study and number."""
        found = []
        for study in self.studies:
            for trial in study.ended:
                labels = {key: keys.format_value(value) for key, value in trial.params.items()}
                run = dataclasses.replace(
                    study.template,
                    name=f"{study.arm} · trial {trial.number}",
                    seed=self.asked.seed,
                    is_trial=True,
                    labels={**study.template.labels, **labels},
                    overrides=overrides_with(study.template, trial.params, seed=self.asked.seed),
                )
                found.append((str(trial.user_attrs.get("mlflow_run_id", "")), run))
        return found

    def release(self) -> None:
        """Let other processes work on the studies."""
        for study in self.studies:
            study.study.set_user_attr("owner", "")

    def records(self) -> list[StudyRecord]:
        """The studies as the report reads them."""
        return [record_of(study, self.asked) for study in self.studies]


def open_tuner(asked: TuningSettings, runs: Sequence[Run], *, experiment: str) -> Tuner:
    """The studies of all arms of `runs`, and the points that they share.

    Raises:
        SettingsError: If the storage cannot be opened, or a study of that name was made by another search.
        Locked: If another living process works on one of the studies.
    """
    opened = studies.open_studies(asked, runs, experiment=experiment)
    points = shared_points(asked, opened[0].template) if asked.sampler.name in INDEPENDENT else []
    return Tuner(asked=asked, studies=opened, points=points)
