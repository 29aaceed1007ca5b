"""The search before a comparison: one Optuna study per arm, all under one budget. The only module that imports optuna.

The parent asks for points, reports what workers tell after each epoch, prunes, and tells Optuna how trials ended. A
trial that a fault cut short keeps its number and its point: it is trained again under them, so no point is lost,
repeated or counted twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import logging
import math
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from experiments import metrics, settings
from experiments.data import fit
from experiments.data.catalog import SOURCES
from experiments.errors import Locked, SettingsError
from experiments.execution.locks import Owner, creation_lock
from experiments.execution.run import Run
from experiments.fingerprint import RESULTS_VERSION, fingerprint_of, plain, slug
from experiments.records import StudyRecord, TrialRecord, TunedValue
from experiments.task import Task, checks, keys
from experiments.task.search_space import INDEPENDENT, Dimension, TuningSettings

optuna.logging.set_verbosity(optuna.logging.ERROR)
logging.getLogger("optuna").setLevel(logging.ERROR)

TRIES = 2  # of a trial whose worker was killed
METRICS = (  # that every trial tells; see run.py
    "val/loss", "train/loss", "time/total", "time/fit", "time/first_step", "time/steady_step", "time/steady_epoch",
    "time/evaluation", "time/build", "memory/peak_mib", "memory/process_peak_mib",
)  # fmt: skip
OVERRIDDEN = ("network", "optimizer", "schedule", "regularization")  # groups of conf/ that a setting belongs to


def check(asked: TuningSettings, runs: Sequence[Run]) -> None:
    """Refuse a search that cannot be: unknown keys, impossible values, the report's seeds, unknown options.

    Raises:
        SettingsError: All problems at once, each with its key, value and fix.
    """
    problems = [*_check_options(asked), *_check_objectives(asked, runs[0])]
    if asked.seed in {run.seed for run in runs}:
        problems.append(
            f"tuning.seed: {asked.seed} is a seed of the report too; a setting that was chosen on a seed looks better "
            "on it than it is; give another"
        )
    for run in _one_per_arm(runs):
        known = list(keys.flatten(plain(run.task)))
        for key, dimension in asked.space.items():
            problems += _check_key(key, known)
            problems += [problem for other in dimension.when for problem in _check_key(other, [*known, *asked.space])]
            if key in run.labels:
                problems.append(f"{key}: cannot be typed and searched at once; leave it out, or take it from the space")
            problems += _check_values(run, key, dimension) if key in known else []
    if problems:
        raise SettingsError("\n".join(f"tuning.space: {each}" if _is_of_space(each, asked) else each
                                      for each in dict.fromkeys(problems)))  # fmt: skip


def _check_objectives(asked: TuningSettings, run: Run) -> Iterator[str]:
    """Only what every trial tells can be an objective."""
    known = [*METRICS, *(f"val/{name}" for name in metrics.names(run.task.training.loss) if name != "loss")]
    for number, objective in enumerate(asked.objectives):
        if objective.metric not in known:
            yield f"tuning.objectives[{number}].metric: {checks.unknown_name(objective.metric, known)}"


def _is_of_space(problem: str, asked: TuningSettings) -> bool:
    return problem.partition(":")[0] in asked.space


def _check_key(key: str, known: Sequence[str]) -> list[str]:
    if key in known:
        return []
    near = difflib.get_close_matches(key, known, n=1)
    return [f"{key}: there is no such setting of the task" + (f"; did you mean {near[0]}?" if near else "")]


def _check_values(run: Run, key: str, dimension: Dimension) -> list[str]:
    own = keys.flatten(plain(run.task))[key]
    if dimension.kind == "float" and type(own) is int:
        return [f"{key}: kind: float tries fractions, but it is a whole number, here {own}; say kind: int"]
    found = []
    for value in dimension.ends():
        try:
            task_with(run, {key: value})
        except SettingsError as error:
            found += [f"{key}: {value!r} is tried, but {line}" for line in str(error).splitlines()]
    return found


def task_with(run: Run, values: Mapping[str, Any]) -> Task:
    """The run's task with other values.

    Raises:
        SettingsError: If they cannot be, alone, together or on this data.
    """
    task = settings.with_values(run.task, values)
    problems = fit.check_fit(task, run.spec, title=SOURCES[task.data.source].title) if run.spec else []
    if problems:
        raise SettingsError("\n".join(problems))
    return task


def _check_options(asked: TuningSettings) -> Iterator[str]:
    for what, chosen, module, make in (
        ("sampler", asked.sampler, optuna.samplers, lambda: sampler_of(asked, seed=asked.sampler.seed)),
        ("pruner", asked.pruner, optuna.pruners, lambda: pruner_of(asked)),
    ):
        parameters = inspect.signature(getattr(module, chosen.name).__init__).parameters
        known = [name for name in list(parameters)[1:] if what == "pruner" or name not in ("seed", "search_space")]
        if all(option in known for option in chosen.options):
            try:
                make()
            except (TypeError, ValueError) as error:
                yield f"tuning.{what}: {chosen.name} cannot be made with options {dict(chosen.options)}: {error}"
        for option in chosen.options:
            if option not in known:
                near = difflib.get_close_matches(option, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(known) or 'none'}"
                away = f", or drop the options with ~tuning.{what}.options"
                yield f"tuning.{what}.options: {chosen.name} has no option {option!r}{hint}{away}"
    if asked.sampler.name == "CmaEsSampler":
        try:
            import cmaes  # noqa: F401
        except ImportError:
            yield "tuning.sampler: CmaEsSampler needs the package cmaes; pip install 'tandem[cmaes]'"


def _one_per_arm(runs: Sequence[Run]) -> list[Run]:
    """One run per task, data and framework: a study does not depend on the report's seeds."""
    return list({arm_of(run): run for run in runs}.values())


def arm_of(run: Run) -> str:
    """Name of what is tuned together: the task and data in one framework, whatever the seed."""
    return fingerprint_of({"task": plain(run.task), "data": run.data_fingerprint, "framework": run.framework})


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

    def choices(self) -> list[TunedValue]:
        """The best values of every study, one choice per key; of a Pareto front, those with the best first score."""
        return [choice for study in self.studies for choice in self._choices_of(study)]

    def _choices_of(self, study: Study) -> list[TunedValue]:
        best = best_of(study.study)
        values = dict(best[0].params) if best else {}
        objective = self.asked.objectives[0]
        found = []
        for key, dimension in self.asked.space.items():
            value = values.get(key)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            found.append(
                TunedValue(
                    group=arm_of(study.template),
                    labels=dict(study.template.labels),
                    key=key,
                    value=value,
                    score=best[0].values[0] if best else None,
                    metric=objective.metric,
                    n_trials=study.n_asked,
                    low=float(dimension.low or 0.0),
                    high=float(dimension.high or 0.0),
                    at_edge=is_number and key in values and dimension.is_near_edge(value),
                )
            )
        return [each for each in found if each.value is not None or not best]

    def tuned(self, runs: Sequence[Run]) -> list[Run]:
        """The report's runs with what was chosen for their arm, beside the config's own where that is asked for.

        A study without a finished trial has nothing to offer: its runs are left out.
        """
        found = []
        for run in runs:
            own = {**run.labels, "setting": "default"}
            if self.asked.default:
                alone = overrides_with(run, {}, seed=run.seed)
                found.append(dataclasses.replace(run, labels=own, overrides=alone))
            values = self.best_values(arm_of(run))
            if values is None:
                continue
            task = settings.with_values(run.task, values)
            if self.asked.default and task == run.task:
                continue  # the config's own setting was the best: it is there already
            labels = {**run.labels, "setting": "tuned"} if self.asked.default else dict(run.labels)
            overrides = overrides_with(run, values, seed=run.seed)
            found.append(dataclasses.replace(run, task=task, labels=labels, overrides=overrides))
        return found

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


def open_studies(asked: TuningSettings, runs: Sequence[Run], *, experiment: str) -> Tuner:
    """Make or load the study of every arm; trials that a dead process left RUNNING are to be trained again.

    Raises:
        SettingsError: If the storage cannot be opened, or a study of that name was made by another search.
        Locked: If another living process works on one of the studies.
    """
    storage = _storage(asked.storage)
    templates = _one_per_arm(runs)
    studies = [
        _open(asked, run, name=_arm_name(run, templates), storage=storage, experiment=experiment) for run in templates
    ]
    points = shared_points(asked, templates[0]) if asked.sampler.name in INDEPENDENT else []
    return Tuner(asked=asked, studies=studies, points=points)


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


def sampler_of(asked: TuningSettings, *, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of the settings; Optuna's experimental ones are taken without a word."""
    options = dict(asked.sampler.options)
    if asked.sampler.name == "GridSampler":
        grid: Mapping[str, Sequence[Any]] = {key: each.grid() for key, each in asked.space.items()}
        return optuna.samplers.GridSampler(grid, seed=seed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler: optuna.samplers.BaseSampler = getattr(optuna.samplers, asked.sampler.name)(seed=seed, **options)
        return sampler


def pruner_of(asked: TuningSettings) -> optuna.pruners.BasePruner:
    """The pruner of the settings."""
    pruner: optuna.pruners.BasePruner = getattr(optuna.pruners, asked.pruner.name)(**asked.pruner.options)
    return pruner


def suggest(asked: TuningSettings, template: Run, trial: optuna.trial.Trial) -> dict[str, Any]:
    """A trial's values, key by key; a key whose condition does not hold is left as the config has it."""
    values: dict[str, Any] = {}
    current = keys.flatten(plain(template.task))
    for key, dimension in asked.space.items():
        if dimension.applies({**current, **values}):
            values[key] = _suggest(trial, key, dimension)
    return values


def _suggest(trial: optuna.trial.Trial, key: str, dimension: Dimension) -> Any:
    if dimension.kind == "categorical":
        return trial.suggest_categorical(key, dimension.choices)
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.kind == "int":
        return trial.suggest_int(key, int(low), int(high), log=dimension.log, step=int(dimension.step or 1))
    return trial.suggest_float(key, low, high, log=dimension.log, step=dimension.step)


def own_values(asked: TuningSettings, template: Run) -> dict[str, Any] | None:
    """The config's own values of all keys, or None where one of them lies outside its dimension."""
    current = keys.flatten(plain(template.task))
    values = {key: current[key] for key, each in asked.space.items() if each.applies(current)}
    return values if all(asked.space[key].holds(value) for key, value in values.items()) else None


def shared_points(asked: TuningSettings, template: Run) -> list[dict[str, Any]]:
    """The points of a sampler that does not look at scores: drawn once, the same for every arm."""
    scratch = optuna.create_study(sampler=sampler_of(asked, seed=asked.sampler.seed))
    points: list[dict[str, Any]] = []
    is_grid = asked.sampler.name == "GridSampler"
    for _ in range(math.prod(len(each.grid()) for each in asked.space.values()) if is_grid else asked.trials):
        trial = scratch.ask()
        point = suggest(asked, template, trial)
        if not is_grid or point not in points:  # points of a grid may differ only in a key that does not apply
            points.append(point)
        if len(points) == asked.trials:
            break
        with contextlib.suppress(RuntimeError):  # a grid that is spent asks its study to stop
            scratch.tell(trial, 0.0)
    return points


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


def overrides_with(run: Run, values: Mapping[str, Any], *, seed: int) -> tuple[str, ...]:
    """The command line of a run with other values and seed, and without the search."""
    dropped = {"comparison", "tuning", "seed", *values}
    stated = {each: each.lstrip("+~").partition("=")[0] for each in run.overrides}
    searches = ("comparison.", "tuning.")
    kept = [each for each, key in stated.items() if key not in dropped and not key.startswith(searches)]
    return (*kept, f"seed={seed}", *(f"{key}={keys.format_value(value)}" for key, value in values.items()))


def write_best(tuner: Tuner, *, experiment: str) -> dict[str, str]:
    """Write each arm with its best values where Hydra finds it; return name of a study -> NAME of `+tuned=NAME`.

    The file names the arm's own choices too: what served SGD best is trained with SGD.
    """
    written: dict[str, str] = {}
    for study in tuner.studies:
        values = tuner.best_values(arm_of(study.template))
        if values is None:
            continue
        name = slug(study.arm, limit=None)
        if f"{experiment}-{name}" in written.values():
            name += f"-{fingerprint_of(study.name)[:6]}"
        path = settings.TUNED / "tuned" / f"{experiment}-{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels, task = study.template.labels, keys.flatten(plain(study.template.task))
        chosen = [{f"override /{group}": labels[group]} for group in OVERRIDDEN if group in labels]
        content: dict[str, Any] = {"defaults": chosen} if chosen else {}
        typed = {key: task[key] for key in labels if key in task}
        for key, value in {**typed, **values}.items():
            place = content
            *groups, leaf = key.split(".")
            for group in groups:
                place = place.setdefault(group, {})
            place[leaf] = value
        head = f"# @package _global_\n# The best of {study.n_asked} trials of the study {study.name!r}.\n"
        path.write_text(head + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        written[study.name] = path.stem
    return written
