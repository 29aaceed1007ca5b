"""What the studies found: for the report, for its runs, and for the next command."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.execution.run import Run
from experiments.fingerprint import file_name, fingerprint_of, plain, slug
from experiments.records import TunedValue
from experiments.settings import with_values
from experiments.task import keys
from experiments.task.search_space import TuningSettings
from experiments.tuning.points import overrides_with
from experiments.tuning.studies import Study, arm_of
from experiments.tuning.tuner import Tuner
from experiments.words import count

OVERRIDDEN = ("network", "optimizer", "schedule", "regularization")  # groups of conf/ that a setting belongs to
LONGEST_NAME = 200  # characters of a file's name; file systems have room for 255 bytes


def tuned_values(tuner: Tuner) -> list[TunedValue]:
    """The best value of every key in every study; of a Pareto front, those with the best first score."""
    return [value for study in tuner.studies for value in _tuned_values_of(study, tuner.settings)]


def _tuned_values_of(study: Study, settings: TuningSettings) -> list[TunedValue]:
    best = study.best_trials
    values = study.best_values or {}
    tuned = []
    for key, dimension in settings.space.items():
        value = values.get(key)
        if best and value is None:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        tuned.append(
            TunedValue(
                group=arm_of(study.template),
                labels=dict(study.template.labels),
                key=key,
                value=value,
                score=best[0].values[0] if best else None,
                metric=settings.objectives[0].metric,
                n_trials=study.n_asked,
                low=float(dimension.low or 0.0),
                high=float(dimension.highest),
                at_edge=is_number and dimension.is_near_edge(value),
            )
        )
    return tuned


def with_best_values(tuner: Tuner, runs: Sequence[Run]) -> list[Run]:
    """The report's runs with the best values of their arm, beside the config's own where that is asked for.

    A study without a COMPLETE trial has nothing to offer: its runs are left out.
    """
    values_of = {arm_of(study.template): study.best_values for study in tuner.studies}
    has_default = tuner.settings.default
    planned = []
    for run in runs:
        if has_default:
            planned.append(_report_run(run, {}, setting="default"))
        values = values_of[arm_of(run)]
        if values is None:
            continue
        tuned = _report_run(run, values, setting="tuned" if has_default else None)
        if not has_default or tuned.task != run.task:  # the config's own setting may be the best: it is there already
            planned.append(tuned)
    return planned


def _report_run(run: Run, values: dict[str, Any], *, setting: str | None) -> Run:
    return dataclasses.replace(
        run,
        task=with_values(run.task, values) if values else run.task,
        labels=dict(run.labels) | ({"setting": setting} if setting else {}),
        overrides=overrides_with(run, values, seed=run.seed),
    )


def write_best(tuner: Tuner, *, folder: Path, experiment: str) -> dict[str, str]:
    """Write each arm with its best values to `folder`/tuned/NAME.yaml, which `+tuned=NAME` reads.

    Returns:
        Name of a study -> NAME; a study without a COMPLETE trial is left out.
    """
    names: dict[str, str] = {}
    for study in tuner.studies:
        values = study.best_values
        if values is None:
            continue
        name = f"{file_name(experiment)}-{slug(study.arm, limit=None)}"
        if name in names.values() or len(name) > LONGEST_NAME:
            name = f"{name[:LONGEST_NAME]}-{fingerprint_of(study.name)[:6]}"
        path = folder / "tuned" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f"# @package _global_\n# The best of {count(study.n_asked, 'trial')} of the study {study.name!r}.\n"
        content = _config_with(study.template, values)
        path.write_text(head + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        names[study.name] = name
    return names


def _config_with(template: Run, values: dict[str, Any]) -> dict[str, Any]:
    """A config for Hydra: the arm's own groups and typed keys too, as what served SGD best is trained with SGD."""
    labels, task = template.labels, keys.flatten(plain(template.task))
    groups = [{f"override /{group}": labels[group]} for group in OVERRIDDEN if group in labels]
    content: dict[str, Any] = {"defaults": groups} if groups else {}
    typed = {key: task[key] for key in labels if key in task}
    for key, value in {**typed, **values}.items():
        *parents, leaf = key.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return content
