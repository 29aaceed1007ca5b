"""The parent's loop of a search: trials from Optuna to workers, what they tell to MLflow and back to Optuna."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape

from experiments.execution.executor import Completed, Failed, LocalExecutor, check_share, on_all_cores
from experiments.execution.run import EpochEnded, Run, Started
from experiments.fingerprint import slug
from experiments.recording import ActiveRun, RunRecorder
from experiments.task.keys import format_value
from experiments.task.search_space import TuningSettings
from experiments.tuning.best import tuned_values, with_best_values, write_best
from experiments.tuning.studies import best_of
from experiments.tuning.tuner import Active, Tuner, open_tuner


def carry_out(recorder: RunRecorder, asked: TuningSettings) -> Sequence[Run]:
    """Search under one budget per arm; return the report's runs with what was found.

    Raises:
        SettingsError: If the storage cannot be opened, or holds another search under the same name.
        Locked: If another living process works on one of the studies.
    """
    sweep, console = recorder.sweep, recorder.console
    tuner = open_tuner(asked, sweep.runs, experiment=sweep.name)
    epochs = sweep.runs[0].task.training.epochs
    console.print(
        f"Search: {len(tuner.studies)} studies of {asked.trials} trials, at most {epochs} epochs each "
        f"({asked.sampler.name}, {asked.pruner.name}); then the report's runs. Storage: {asked.storage}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    n_missing = sum(max(0, asked.trials - len(study.ended)) for study in tuner.studies)
    executor = _executor(asked, sweep.executor)
    try:
        loop = _Loop(recorder=recorder, tuner=tuner)
        recorder.train_each(loop.next_run, executor=executor, n_runs=n_missing, on_event=loop.on_event)
        loop.close()
    finally:
        tuner.release()
    recorder.trials = [(run_id, run) for run_id, run in tuner.trained() if recorder.store.has_run(run_id)]
    recorder.studies, recorder.tuned_values = tuner.records(), tuned_values(tuner)
    files = write_best(tuner, experiment=sweep.name)
    for study in recorder.studies:
        console.print(_summary(study.arm, tuner, files), highlight=False, soft_wrap=True)
    return with_best_values(tuner, sweep.runs)


def _executor(asked: TuningSettings, executor: LocalExecutor) -> LocalExecutor:
    """Trials share the machine, unless their time is what is sought."""
    if asked.workers is None:
        return executor if asked.is_timed else on_all_cores(executor)
    settings = dataclasses.replace(executor.settings, workers=asked.workers)
    check_share(settings)
    return dataclasses.replace(executor, settings=settings)


def _summary(arm: str, tuner: Tuner, files: dict[str, str]) -> str:
    study = next(each for each in tuner.studies if each.arm == arm)
    states = Counter(trial.state.name for trial in study.ended)
    counts = ", ".join(f"{states.get(name, 0)} {name.lower()}" for name in ("COMPLETE", "PRUNED", "FAIL"))
    epochs = sum(trial.user_attrs.get("epochs", 0) for trial in study.ended)
    spent = f"{len(study.ended)} trials ({counts}), {epochs} epochs, {study.seconds:.0f} s"
    best = best_of(study.study)
    if not best:
        return escape(f"{arm}: {spent}; nothing found: no trial came to its end")
    values = " ".join(f"{key}={format_value(value)}" for key, value in best[0].params.items())
    metrics = ", ".join(
        f"{objective.metric} {value:.4f}"
        for objective, value in zip(tuner.asked.objectives, best[0].values, strict=True)
    )
    uses = f"+tuned={files[study.name]} uses it"
    return escape(f"{arm}: {spent}; best {metrics} at trial {best[0].number}: {values} ({uses})")


@dataclasses.dataclass(kw_only=True)
class _Loop:
    """Between Optuna and the store: which trial each worker has."""

    recorder: RunRecorder
    tuner: Tuner
    active: list[Active] = dataclasses.field(default_factory=list)
    parents: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        recorder = self.recorder
        for study in self.tuner.studies:
            self.parents[study.name] = recorder.store.open_study(
                recorder.experiment_id, sweep_id=recorder.sweep_id, name=study.name
            )

    def next_run(self) -> tuple[Run, str] | None:
        """The next trial to train; one that had come to its end when a fault struck is only told to Optuna."""
        while (trial := self.tuner.next_trial()) is not None:
            before = self.recorder.store.finished_run(trial.run_before) if trial.run_before else None
            if before is None:
                self.active.append(trial)
                name = f"{trial.study.arm} · trial {trial.number}"
                folder = self.recorder.sweep.folder / "trials" / slug(f"{len(self.active)} {name}")
                run = dataclasses.replace(trial.run, name=name, folder=folder.resolve())
                return run, self.parents[trial.study.name]
            trial.epochs = max((epoch for epoch, _ in before.curves.get("val/loss", [])), default=0)
            seconds = before.metrics.get("time/total", 0.0)
            self.tuner.ended(
                trial, outcome=before.outcome, reason=before.reason, metrics=before.metrics, seconds=seconds
            )  # close() keeps its state in the store
        return None

    def on_event(self, index: int, event: object, active: ActiveRun) -> bool:
        """Hand on an event of a trial; return whether it is to stop."""
        trial, store = self.active[index], self.recorder.store
        is_over = isinstance(event, Completed | Failed)
        if isinstance(event, Started) or (is_over and not trial.run_id):  # it may die before it starts
            store.log_facts(active.run_id, {"study_name": trial.study.name, "trial_number": str(trial.number)})
            self.tuner.began(trial, active.run_id)
        if isinstance(event, EpochEnded):
            return self.tuner.epoch_ended(trial, event.epoch, event.metrics)
        if is_over:
            state = self.tuner.ended(
                trial,
                outcome="killed" if active.was_killed else active.outcome,
                reason=active.reason,
                metrics=active.metrics,
                seconds=time.monotonic() - active.started,
            )
            if state:
                store.log_facts(active.run_id, {"trial_state": state, "trial_epochs": str(trial.epochs)})
            else:
                store.mark_as_attempt(active.run_id)
        return False

    def close(self) -> None:
        """End the store's runs of the studies, with what they found and spent; a fault may have hidden a state."""
        for study in self.tuner.studies:
            for done in study.ended:
                run_id = str(done.user_attrs.get("mlflow_run_id", ""))
                if self.recorder.store.has_run(run_id):
                    facts = {"trial_state": done.state.name, "trial_epochs": str(done.user_attrs.get("epochs", 0))}
                    self.recorder.store.log_facts(run_id, facts)
            best = best_of(study.study)
            metrics = {
                "trials": float(len(study.ended)),
                "epochs": float(sum(trial.user_attrs.get("epochs", 0) for trial in study.ended)),
                "seconds": study.seconds,
            }
            if best:
                objectives = self.tuner.asked.objectives
                metrics |= {
                    f"best/{each.metric}": value for each, value in zip(objectives, best[0].values, strict=True)
                }
            self.recorder.store.end_study(
                self.parents[study.name], metrics=metrics, values=dict(best[0].params) if best else {}
            )
