"""What the studies found: for the report, for its runs, and for the next command."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import yaml

from experiments import settings
from experiments.execution.run import Run
from experiments.fingerprint import fingerprint_of, plain, slug
from experiments.records import TunedValue
from experiments.task import keys
from experiments.task.search_space import TuningSettings
from experiments.tuning.points import overrides_with
from experiments.tuning.studies import Study, arm_of, best_of
from experiments.tuning.tuner import Tuner

OVERRIDDEN = ("network", "optimizer", "schedule", "regularization")  # groups of conf/ that a setting belongs to


def tuned_values(tuner: Tuner) -> list[TunedValue]:
    """The best values of every study, one choice per key; of a Pareto front, those with the best first score."""
    return [choice for study in tuner.studies for choice in _choices_of(tuner.asked, study)]


def _choices_of(asked: TuningSettings, study: Study) -> list[TunedValue]:
    best = best_of(study.study)
    values = dict(best[0].params) if best else {}
    objective = asked.objectives[0]
    found = []
    for key, dimension in asked.space.items():
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
                high=float(dimension.highest),
                at_edge=is_number and key in values and dimension.is_near_edge(value),
            )
        )
    return [each for each in found if each.value is not None or not best]


def with_best_values(tuner: Tuner, runs: Sequence[Run]) -> list[Run]:
    """The report's runs with what was chosen for their arm, beside the config's own where that is asked for.

    A study without a finished trial has nothing to offer: its runs are left out.
    """
    found = []
    for run in runs:
        own = {**run.labels, "setting": "default"}
        if tuner.asked.default:
            alone = overrides_with(run, {}, seed=run.seed)
            found.append(dataclasses.replace(run, labels=own, overrides=alone))
        values = tuner.best_values(arm_of(run))
        if values is None:
            continue
        task = settings.with_values(run.task, values)
        if tuner.asked.default and task == run.task:
            continue  # the config's own setting was the best: it is there already
        labels = {**run.labels, "setting": "tuned"} if tuner.asked.default else dict(run.labels)
        overrides = overrides_with(run, values, seed=run.seed)
        found.append(dataclasses.replace(run, task=task, labels=labels, overrides=overrides))
    return found


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
