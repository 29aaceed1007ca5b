"""Which searches cannot be: told before anything starts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Sequence

import optuna

from experiments import metrics
from experiments.errors import SettingsError
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.task import checks, keys
from experiments.task.search_space import Dimension, TuningSettings
from experiments.tuning.points import pruner_of, sampler_of, task_with
from experiments.tuning.studies import one_per_arm

METRICS = (  # that every trial tells; see run.py
    "val/loss", "train/loss", "time/total", "time/fit", "time/first_step", "time/steady_step", "time/steady_epoch",
    "time/evaluation", "time/build", "memory/peak_mib", "memory/process_peak_mib",
)  # fmt: skip


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
    for run in one_per_arm(runs):
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
