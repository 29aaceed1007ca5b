"""A search before the comparison: which value of one key serves each task best, under one equal budget.

Every task gets the same values, in every framework, with seeds that the report does not use. What is chosen is
trained anew on the report's seeds: a score that was picked as the best of many is never reported as a result.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from experiments import settings
from experiments.fingerprint import fingerprint_of, plain
from experiments.records import Choice
from experiments.run import Run
from experiments.settings import GridSearch, SettingsError

EDGE_SHARE = 0.1


def check(search: GridSearch, runs: Sequence[Run]) -> None:
    """Refuse a search that would reuse the report's seeds, undo what was typed, or whose values cannot be.

    Raises:
        SettingsError: With the key and the value.
    """
    shared = sorted({run.seed for run in runs} & set(search.seeds))
    if shared:
        raise SettingsError(
            f"`comparison.search.seeds` must not be seeds of the report, but both hold {shared}; a setting that was "
            "chosen on a seed looks better on it than it is"
        )
    if any(search.key in run.labels for run in runs):
        raise SettingsError(
            f"`{search.key}` must not be set beside `comparison.search`, which chooses it; leave it out, or switch the "
            "search off with comparison.search=null"
        )
    for run in _one_of_each(runs):
        for value in search.values:
            settings.with_values(run.task, {search.key: value})


def group_of(run: Run) -> str:
    """Runs of one group share what is chosen: the same task, whatever framework and seed."""
    return fingerprint_of({"task": plain(run.task), "data": run.data_fingerprint})


def _one_of_each(runs: Sequence[Run]) -> list[Run]:
    """One run per group and framework: trials do not depend on the report's seeds."""
    return list({(group_of(run), run.framework): run for run in runs}.values())


def written(value: float) -> str:
    """A value as it is typed: 0.0001, 3; another value is never written alike."""
    return repr(float(value)).removesuffix(".0")


def trials_of(search: GridSearch, runs: Sequence[Run]) -> list[Run]:
    """The runs of the search: each task in each framework with each value and each seed of the search."""
    return [
        dataclasses.replace(
            run,
            task=settings.with_values(run.task, {search.key: value}),
            seed=seed,
            labels={**run.labels, search.key: written(value)},
            overrides=overrides_with(run, search.key, value, seed=seed),
        )
        for seed in search.seeds
        for value in search.values
        for run in _one_of_each(runs)
    ]


def choose(search: GridSearch, runs: Sequence[Run], *, scores: Mapping[str, float]) -> list[Choice]:
    """For each group of `runs` the value with the lowest mean score.

    Args:
        search: What was tried.
        runs: The report's runs, before the choice.
        scores: Fingerprint of a trial -> its score; missing or not finite where it diverged or failed.
    """
    low, high = min(search.values), max(search.values)
    groups: dict[str, list[Run]] = {}
    for run in _one_of_each(runs):
        groups.setdefault(group_of(run), []).append(run)
    choices = []
    for group, members in groups.items():
        trials = trials_of(search, members)
        means = {}
        for value in search.values:
            tried = [trial for trial in trials if trial.labels[search.key] == written(value)]
            found = [scores.get(trial.fingerprint, math.inf) for trial in tried]
            means[value] = math.fsum(found) / len(found) if all(map(math.isfinite, found)) else math.inf
        best = min(means, key=lambda value: means[value])
        is_found = math.isfinite(means[best])
        choices.append(
            Choice(
                group=group,
                labels=dict(members[-1].labels),
                key=search.key,
                value=best if is_found else None,
                score=means[best] if is_found else None,
                metric=search.metric,
                n_trials=len(trials),
                low=low,
                high=high,
                at_edge=is_found and is_near_edge(best, low=low, high=high),
            )
        )
    return choices


def is_near_edge(value: float, *, low: float, high: float) -> bool:
    """Whether a value lies in the outer tenth of the range that was tried, on the log scale where that exists."""
    scale = math.log if low > 0 else float
    place = (scale(value) - scale(low)) / (scale(high) - scale(low))
    return not EDGE_SHARE <= place <= 1 - EDGE_SHARE


def with_choices(runs: Sequence[Run], choices: Sequence[Choice]) -> list[Run]:
    """The report's runs with what was chosen for them; those for which nothing could be chosen are left out."""
    chosen = {choice.group: choice for choice in choices}
    found = []
    for run in runs:
        choice = chosen[group_of(run)]
        if choice.value is not None:
            task = settings.with_values(run.task, {choice.key: choice.value})
            overrides = overrides_with(run, choice.key, choice.value, seed=run.seed)
            found.append(dataclasses.replace(run, task=task, overrides=overrides))
    return found


def overrides_with(run: Run, key: str, value: float, *, seed: int) -> tuple[str, ...]:
    """The command line of a run with another value and seed, and without the search."""
    keys = [each.lstrip("+").partition("=")[0] for each in run.overrides]
    kept = [
        each
        for name, each in zip(keys, run.overrides, strict=True)
        if name.partition(".")[0] != "comparison" and name not in ("seed", key)
    ]
    return (*kept, f"seed={seed}", f"{key}={written(value)}")
