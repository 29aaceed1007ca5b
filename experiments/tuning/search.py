"""The parent's loop of a search: trials from Optuna to workers, their events to the store and back to Optuna."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from optuna.exceptions import StorageInternalError
from rich.markup import escape

from experiments.execution.devices import check_share
from experiments.execution.estimate import Arm, arm_of
from experiments.execution.executor import Completed, Failed, LocalExecutor, on_all_cores
from experiments.execution.run import EpochEnded, Run, Started
from experiments.fingerprint import slug
from experiments.phases import phase
from experiments.recording import ActiveRun, RunRecorder
from experiments.records import RunRecord
from experiments.task.search_space import TuningSettings
from experiments.tuning.best import tuned_values, with_best_values, write_best
from experiments.tuning.studies import Study, run_id_of, storage_fails
from experiments.tuning.tuner import ActiveTrial, Tuner, open_tuner
from experiments.tuning.wording import line_of_trial, scores_in_words, scores_of, values_in_words
from experiments.uris import without_password
from experiments.words import count


def run_search(recorder: RunRecorder, settings: TuningSettings) -> Sequence[Run]:
    """Search under one budget per arm; return the report's runs with what was found.

    Raises:
        SettingsError: If the storage holds another search under the same name.
        StoreUnavailable: If the storage cannot be opened, or fails.
        DiskFull: If there is no room left for it.
        Locked: If another living process works on one of the studies.
    """
    try:
        return _search(recorder, settings)
    except StorageInternalError as error:
        raise storage_fails(settings.storage, error) from error


def _search(recorder: RunRecorder, settings: TuningSettings) -> Sequence[Run]:
    sweep, console = recorder.sweep, recorder.console
    with phase("Opening the studies", console=console):
        tuner = open_tuner(settings, sweep.runs, experiment=sweep.name)
    epochs = sweep.runs[0].task.training.epochs
    storage = without_password(settings.storage)
    console.print(
        f"Search: {count(len(tuner.studies), 'study', 'studies')} of {count(settings.trials, 'trial')}, "
        f"at most {count(epochs, 'epoch')} each "
        f"({settings.sampler.name}, {settings.pruner.name}); then the report's runs. Storage: {storage}",
        highlight=False, soft_wrap=not console.is_terminal,
    )  # fmt: skip
    executor = executor_for(settings, sweep.executor)
    try:
        loop = _TrialLoop(recorder=recorder, tuner=tuner)
        recorder.train_each(
            loop.next_run,
            executor=executor,
            arms=_arms_left(tuner),
            on_event=loop.on_event,
            told=loop.told,
            metric=settings.objectives[0].metric,
        )
        loop.close()
    except BaseException:
        with contextlib.suppress(StorageInternalError):  # why it ended is what counts
            tuner.release()
        raise
    tuner.release()
    with phase("Summing up the search", console=console):
        recorder.trials = [
            (run_id, run) for run_id, run in tuner.finished_runs() if recorder.store.reader.has_run(run_id)
        ]
        recorder.studies, recorder.tuned_values = tuner.records(), tuned_values(tuner)
        names = write_best(tuner, folder=sweep.output / "tuned", experiment=sweep.name)
    for study in tuner.studies:
        console.print(_summary(study, settings, names), highlight=False, soft_wrap=not console.is_terminal)
    return with_best_values(tuner, sweep.runs)


def executor_for(settings: TuningSettings, executor: LocalExecutor) -> LocalExecutor:
    """Trials share the machine, unless their time is what is sought.

    Raises:
        SettingsError: If `tuning.workers` are more than the machine has cores for.
    """
    if settings.workers is None:
        return executor if settings.is_timed else on_all_cores(executor)
    shared = dataclasses.replace(executor.settings, workers=settings.workers)
    check_share(shared)
    return dataclasses.replace(executor, settings=shared)


def _arms_left(tuner: Tuner) -> list[Arm]:
    """That of each trial that no study has finished yet."""
    left = {study.name: max(0, tuner.n_trials - len(study.finished_trials)) for study in tuner.studies}
    arms = {study.name: arm_of(dataclasses.replace(study.template, is_trial=True)) for study in tuner.studies}
    return [arms[name] for name, n_trials in left.items() for _ in range(n_trials)]


def _summary(study: Study, settings: TuningSettings, names: Mapping[str, str]) -> str:
    """One line on the screen: what the study cost, its best, and how the next command takes it."""
    n_finished = len(study.finished_trials)
    states = Counter(trial.state.name for trial in study.finished_trials)
    counts = ", ".join(f"{states.get(name, 0)} {name.lower()}" for name in ("COMPLETE", "PRUNED", "FAIL"))
    cost = f"{count(n_finished, 'trial')} ({counts}), {count(study.epochs, 'epoch')}, {study.seconds:.0f} s"
    if not study.best_trials:
        return escape(f"{study.arm}: {cost}; nothing found: no trial came to its end")
    best = study.best_trials[0]
    scores = scores_in_words(scores_of(best, settings))
    uses = f"+tuned={names[study.name]} uses it"
    return escape(f"{study.arm}: {cost}; best {scores} at trial {best.number}: {values_in_words(best.params)} ({uses})")


@dataclasses.dataclass(kw_only=True)
class _TrialLoop:
    """Between Optuna and the store: which trial each worker has."""

    recorder: RunRecorder
    tuner: Tuner
    active: list[ActiveTrial] = dataclasses.field(default_factory=list)
    parent_ids: dict[str, str] = dataclasses.field(default_factory=dict)  # name of a study -> its run in the store

    def __post_init__(self) -> None:
        recorder = self.recorder
        for study in self.tuner.studies:
            self.parent_ids[study.name] = recorder.store.open_study(
                recorder.experiment_id, sweep_id=recorder.sweep_id, name=study.name
            )

    def next_run(self) -> tuple[Run, str] | None:
        """The next trial to train; one that had come to its end when a fault struck is only told to Optuna."""
        while (trial := self.tuner.ask()) is not None:
            earlier = self.recorder.store.reader.finished_run(trial.earlier_run_id) if trial.earlier_run_id else None
            if earlier is None:
                self.active.append(trial)
                name = f"{trial.study.arm} · trial {trial.number}"
                folder = self.recorder.sweep.folder / "trials" / slug(f"{len(self.active)} {name}")
                run = dataclasses.replace(trial.run, name=name, folder=folder.resolve())
                return run, self.parent_ids[trial.study.name]
            self._tell_earlier(trial, earlier)
        return None

    def _tell_earlier(self, trial: ActiveTrial, run: RunRecord) -> None:
        """Tell Optuna of the run of a process that died before it did; `close` keeps the state in the store."""
        trial.epochs = max((epoch for epoch, _ in run.curves.get("val/loss", [])), default=0)
        seconds = run.metrics.get("time/total", 0.0)
        self.tuner.tell(trial, outcome=run.outcome, reason=run.reason, metrics=run.metrics, seconds=seconds)

    def on_event(self, index: int, event: object, active: ActiveRun) -> bool:
        """Hand on an event of a trial; return whether it is to stop."""
        trial, is_over = self.active[index], isinstance(event, Completed | Failed)
        if isinstance(event, Started) or (is_over and not trial.run_id):  # it may die before it starts
            facts = {"study_name": trial.study.name, "trial_number": str(trial.number)}
            self.recorder.store.log_facts(active.run_id, facts)
            self.tuner.start(trial, active.run_id)
        if isinstance(event, EpochEnded):
            return self.tuner.report(trial, event.epoch, event.metrics)
        if is_over:
            self._tell(trial, active)
        return False

    def _tell(self, trial: ActiveTrial, active: ActiveRun) -> None:
        store = self.recorder.store
        state = self.tuner.tell(
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

    def told(self, index: int, active: ActiveRun) -> str:
        """What became of a trial, in rich's markup."""
        trial = self.active[index]
        return line_of_trial(
            trial.study,
            trial.number,
            settings=self.tuner.settings,
            outcome=active.outcome,
            reason=active.reason,
            log=active.run.folder / "worker.log",
        )

    def close(self) -> None:
        """End the store's runs of the studies, with what they found and spent; a fault may have hidden a state."""
        store, settings = self.recorder.store, self.tuner.settings
        for study in self.tuner.studies:
            for trial in study.finished_trials:
                run_id = run_id_of(trial)
                if store.reader.has_run(run_id):
                    epochs = str(trial.user_attrs.get("epochs", 0))
                    store.log_facts(run_id, {"trial_state": trial.state.name, "trial_epochs": epochs})
            cost = {
                "trials": float(len(study.finished_trials)),
                "epochs": float(study.epochs),
                "seconds": study.seconds,
            }
            scores = scores_of(study.best_trials[0], settings) if study.best_trials else {}
            best = f"{values_in_words(study.best_values or {})}: {scores_in_words(scores)}" if scores else "none"
            store.end_study(
                self.parent_ids[study.name],
                metrics=cost | {f"best/{metric}": score for metric, score in scores.items()},
                values=study.best_values or {},
                note=f"{study.arm}, best of {count(len(study.finished_trials), 'trial')}: {best}.",
            )
