"""What a trial tries: the points of Optuna's samplers, and the run that trains a point."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from experiments.data.catalog import SOURCES
from experiments.data.spec import check_fit
from experiments.errors import SettingsError
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.settings import with_values
from experiments.task import Task, keys
from experiments.task.search_space import Dimension, TuningSettings

optuna.logging.set_verbosity(optuna.logging.ERROR)
logging.getLogger("optuna").setLevel(logging.ERROR)


def make_sampler(settings: TuningSettings, *, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of the settings; Optuna's experimental ones are taken without a word."""
    options = dict(settings.sampler.options)
    if settings.sampler.name == "GridSampler":
        grid: Mapping[str, Sequence[Any]] = {key: each.grid() for key, each in settings.space.items()}
        return optuna.samplers.GridSampler(grid, seed=seed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler: optuna.samplers.BaseSampler = getattr(optuna.samplers, settings.sampler.name)(seed=seed, **options)
        return sampler


def make_pruner(settings: TuningSettings) -> optuna.pruners.BasePruner:
    """The pruner of the settings."""
    pruner: optuna.pruners.BasePruner = getattr(optuna.pruners, settings.pruner.name)(**settings.pruner.options)
    return pruner


def suggest(settings: TuningSettings, template: Run, trial: optuna.trial.Trial) -> dict[str, Any]:
    """A trial's values, key by key; a key whose condition does not hold is left as the config has it."""
    values: dict[str, Any] = {}
    current = keys.flatten(plain(template.task))
    for key, dimension in settings.space.items():
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


def own_values(settings: TuningSettings, template: Run) -> dict[str, Any] | None:
    """The config's own values of all keys, or None where one of them lies outside its dimension."""
    current = keys.flatten(plain(template.task))
    values = {key: current[key] for key, each in settings.space.items() if each.applies(current)}
    return values if all(settings.space[key].holds(value) for key, value in values.items()) else None


def shared_points(settings: TuningSettings, template: Run) -> list[dict[str, Any]]:
    """The points of a sampler that does not look at scores: drawn once, the same for every arm."""
    scratch = optuna.create_study(sampler=make_sampler(settings, seed=settings.sampler.seed))
    points: list[dict[str, Any]] = []
    is_grid = settings.sampler.name == "GridSampler"
    for _ in range(math.prod(len(each.grid()) for each in settings.space.values()) if is_grid else settings.trials):
        trial = scratch.ask()
        point = suggest(settings, template, trial)
        if not is_grid or point not in points:  # points of a grid may differ only in a key that does not apply
            points.append(point)
        if len(points) == settings.trials:
            break
        with contextlib.suppress(RuntimeError):  # a grid that is spent asks its study to stop
            scratch.tell(trial, 0.0)
    return points


def task_with(run: Run, values: Mapping[str, Any]) -> Task:
    """The run's task with other values.

    Raises:
        SettingsError: If they cannot be, alone, together or on this data.
    """
    task = with_values(run.task, values)
    problems = check_fit(task, run.spec, title=SOURCES[task.data.source].title) if run.spec else []
    if problems:
        raise SettingsError("\n".join(problems))
    return task


def overrides_with(run: Run, values: Mapping[str, Any], *, seed: int) -> tuple[str, ...]:
    """The command line of a run with other values and seed, and without the search."""
    dropped = {"comparison", "tuning", "seed", *values}
    stated = {each: each.lstrip("+~").partition("=")[0] for each in run.overrides}
    searches = ("comparison.", "tuning.")
    kept = [each for each, key in stated.items() if key not in dropped and not key.startswith(searches)]
    return (*kept, f"seed={seed}", *(f"{key}={keys.format_value(value)}" for key, value in values.items()))


def as_trial(run: Run, values: Mapping[str, Any], *, seed: int) -> Run:
    """The run as a trial of these values: its seed, labels and command line; its task is left as it is."""
    return dataclasses.replace(
        run,
        seed=seed,
        is_trial=True,
        labels={**run.labels, **{key: keys.format_value(value) for key, value in values.items()}},
        overrides=overrides_with(run, values, seed=seed),
    )
