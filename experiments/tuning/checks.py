"""Which searches cannot be: told before anything starts."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence

import optuna

from experiments import metrics
from experiments.errors import SettingsError, unknown_name
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.task import keys
from experiments.task.search_space import Dimension, Pruner, Sampler, TuningSettings
from experiments.tuning.points import make_pruner, make_sampler, task_with
from experiments.tuning.studies import one_per_arm

OF_EVERY_TRIAL = (  # metrics; see experiments/execution/worker.py
    "val/loss", "train/loss", "time/total", "time/fit", "time/first_step", "time/steady_step", "time/steady_epoch",
    "time/evaluation", "time/build", "memory/peak_mib", "memory/process_peak_mib",
)  # fmt: skip
SET_ELSEWHERE = ("seed", "search_space")  # parameters of samplers: tuning.sampler.seed, tuning.space


def check_search(settings: TuningSettings, runs: Sequence[Run]) -> None:
    """Refuse a search that cannot be: unknown keys, impossible values, the report's seeds, unknown options.

    Raises:
        SettingsError: All problems at once, each with its key, value and fix.
    """
    problems = [*_check_sampler(settings), *_check_pruner(settings), *_check_objectives(settings, runs[0])]
    if settings.seed in {run.seed for run in runs}:
        problems.append(
            f"tuning.seed: {settings.seed} is a seed of the report too; a setting that was chosen on a seed looks "
            "better on it than it is; give another"
        )
    for run in one_per_arm(runs):
        problems += _check_space(settings, run)
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))


def _check_objectives(settings: TuningSettings, run: Run) -> Iterator[str]:
    """Only what every trial measures can be an objective."""
    known = [*OF_EVERY_TRIAL, *(f"val/{name}" for name in metrics.names(run.task.training.loss) if name != "loss")]
    for number, objective in enumerate(settings.objectives):
        if objective.metric not in known:
            yield f"tuning.objectives[{number}].metric: {unknown_name(objective.metric, known)}"


def _check_space(settings: TuningSettings, run: Run) -> Iterator[str]:
    known = keys.flatten(plain(run.task))
    for key, dimension in settings.space.items():
        place = f"tuning.space.{key}"
        if key in run.labels:
            yield f"{place}: cannot be typed and searched at once; leave it out, or take it from the space"
        for other in dimension.when:
            if other not in known and other not in settings.space:
                yield f"{place}.when: {unknown_name(other, [*known, *settings.space])}"
        if key in known:
            yield from (f"{place}: {problem}" for problem in _check_values(run, key, dimension))
        else:
            yield f"tuning.space: {unknown_name(key, known)}"


def _check_values(run: Run, key: str, dimension: Dimension) -> Iterator[str]:
    own = keys.flatten(plain(run.task))[key]
    if dimension.kind == "float" and type(own) is int:
        yield f"kind: float tries fractions, but it is a whole number, here {own}; say kind: int"
        return
    for value in dimension.ends():
        try:
            task_with(run, {key: value})
        except SettingsError as error:
            yield from (f"{value!r} is tried, but {line}" for line in str(error).splitlines())


def _check_sampler(settings: TuningSettings) -> Iterator[str]:
    sampler = settings.sampler
    options = inspect.signature(getattr(optuna.samplers, sampler.name)).parameters
    known = [name for name in options if name not in SET_ELSEWHERE]
    yield from _check_options("sampler", sampler, known=known, make=lambda: make_sampler(settings, seed=sampler.seed))
    if sampler.name == "CmaEsSampler" and importlib.util.find_spec("cmaes") is None:
        yield (
            "tuning.sampler: CmaEsSampler needs the package cmaes, but it is not installed; "
            'pip install ".[cmaes]", or take another sampler'
        )


def _check_pruner(settings: TuningSettings) -> Iterator[str]:
    known = list(inspect.signature(getattr(optuna.pruners, settings.pruner.name)).parameters)
    yield from _check_options("pruner", settings.pruner, known=known, make=lambda: make_pruner(settings))


def _check_options(
    part: str, chosen: Sampler | Pruner, *, known: Sequence[str], make: Callable[[], object]
) -> Iterator[str]:
    """Unknown options, or what Optuna itself says against the values of known ones.

    Args:
        part: "sampler" or "pruner".
        chosen: Its settings.
        known: Options that its class takes from a person.
        make: Makes it.
    """
    unknown = [option for option in chosen.options if option not in known]
    for option in unknown:
        yield (
            f"tuning.{part}.options of {chosen.name}: {unknown_name(option, known)}; "
            f"~tuning.{part}.options drops them all"
        )
    if not unknown:
        try:
            make()
        except (TypeError, ValueError) as error:
            yield f"tuning.{part}: {chosen.name} cannot be made with options {dict(chosen.options)}: {error}"
