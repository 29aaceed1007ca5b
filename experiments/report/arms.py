"""Runs -> arms: runs that differ only in the seed, named by what sets them apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import statistics
from experiments.records import RunRecord
from experiments.report.sanitize import clean
from experiments.task import keys
from experiments.task.datasets import as_taken

# Of a run's configuration: what does not set arms apart.
NOT_SETTINGS = ("seed", "name", "device", "data.path", "data.download")
NOT_SETTING_GROUPS = ("margins.", "chance.")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ only in the seed.

    Attributes:
        name: Framework, then the choices that vary in the sweep: "keras · adam · dropout 0.3".
        factors: Key -> choice, for the keys that vary in the sweep; `framework` is always there.
        settings: The whole configuration, flattened, without the seed.
        parts: The arms that it pools: its score for a seed is the mean of theirs.
        fails_with_any: Whether its score is lost where that of one part is.
    """

    name: str
    framework: str
    factors: Mapping[str, str]
    settings: Mapping[str, Any]
    runs: tuple[RunRecord, ...]
    parts: tuple[Arm, ...] = ()
    fails_with_any: bool = True

    @property
    def rest(self) -> str:
        """The name without the framework."""
        return self.name.partition(" · ")[2]

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Runs that came to their end with finite scores."""
        return tuple(run for run in self.runs if run.outcome == "finished")

    @property
    def n_lost(self) -> int:
        """Runs that failed or diverged."""
        return len(self.runs) - len(self.finished)

    @property
    def data(self) -> frozenset[str]:
        """Fingerprints of the data that its runs were trained on; only arms with the same are compared."""
        return frozenset(run.facts.get("data_fingerprint", "") for run in self.runs)

    def scores(self, metric: str) -> dict[int, float]:
        """Seed -> final value of `metric`, where it is finite; the mean over the arms that it pools."""
        return {seed: value for seed, value in self.counted(metric).items() if math.isfinite(value)}

    def counted(self, metric: str, *, failure_score: float | None = None) -> dict[int, float]:
        """Seed -> final value, NaN where a run diverged or failed; a run lost to the machine is missing.

        In a mean over parts that do not fail together, one that failed counts as `failure_score`, unless all did.
        """
        if self.parts:
            found = [part.counted(metric, failure_score=failure_score) for part in self.parts]
            seeds = [seed for seed in found[0] if all(seed in each for each in found)]
            chance = None if self.fails_with_any else failure_score
            return {seed: _mean([each[seed] for each in found], failure_score=chance) for seed in seeds}
        return {
            run.seed: run.metrics.get(metric, math.nan) if run.outcome == "finished" else math.nan
            for run in self.runs
            if not run.was_killed
        }

    def interval(self, metric: str) -> statistics.Estimate | None:
        """Mean of `metric` over finished runs with its 95 % interval; None without one."""
        scores = self.scores(metric)
        return statistics.mean_interval(scores) if scores else None

    def matches(self, other: Arm, *, except_for: str) -> bool:
        """Whether two arms make the same choices but for one key, on the same data."""
        keys = (set(self.factors) | set(other.factors)) - {except_for}
        return self.data == other.data and all(self.factors.get(key) == other.factors.get(key) for key in keys)


def _mean(scores: Sequence[float], *, failure_score: float | None) -> float:
    failed = [not math.isfinite(score) for score in scores]
    if failure_score is not None and not all(failed):
        scores = [failure_score if lost else score for score, lost in zip(scores, failed, strict=True)]
    return math.fsum(scores) / len(scores)


def pooled(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Arms that differ in the framework alone as one, whose score for a seed is the mean over frameworks.

    Frameworks that begin with the same weights and see the same batches are no independent replicates: a claim about
    an optimizer is one claim, not one per framework.
    """
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(arm.rest, []).append(arm)
    frameworks = {arm.framework for arm in arms}
    if len(frameworks) < 2 or any({arm.framework for arm in group} != frameworks for group in groups.values()):
        return tuple(arms)
    return tuple(
        Arm(
            name=rest or " + ".join(sorted(frameworks)),
            framework=" + ".join(sorted(frameworks)),
            factors={key: value for key, value in group[0].factors.items() if key != "framework"},
            settings=group[0].settings,
            runs=tuple(run for arm in group for run in arm.runs),
            parts=tuple(group),
        )
        for rest, group in groups.items()
    )


def pooled_by(arms: Sequence[Arm], factor: str) -> tuple[Arm, ...]:
    """An arm for each level of `factor`, in order: the mean over all choices of the other factors and the frameworks.

    Only choices that were run with every level count, so that levels differ in nothing else; () where there are none.
    """
    arms = arms if factor == "framework" else pooled(arms)
    levels = in_order(arm.factors[factor] for arm in arms if factor in arm.factors)
    cells: dict[str, dict[str, Arm]] = {}
    for arm in arms:
        others = sorted((key, value) for key, value in arm.factors.items() if key != factor)
        cells.setdefault(repr(others), {})[arm.factors.get(factor, "")] = arm
    whole = [cell for cell in cells.values() if len(levels) > 1 and all(level in cell for level in levels)]
    return tuple(_level([cell[level] for cell in whole], factor, level) for level in levels if whole)


def _level(group: Sequence[Arm], factor: str, level: str) -> Arm:
    return Arm(
        name=choice(factor, level),
        framework=" + ".join(sorted({arm.framework for arm in group})),
        factors={factor: level},
        settings=group[0].settings,
        runs=tuple(run for arm in group for run in arm.runs),
        parts=tuple(group),
        fails_with_any=False,
    )


def arms_of(runs: Sequence[RunRecord]) -> tuple[Arm, ...]:
    """Arms sorted by their choices, frameworks side by side."""
    groups: dict[str, list[RunRecord]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.run_id)):
        groups.setdefault(repr(sorted(_settings(run).items(), key=str)), []).append(run)
    labels = [_labels(members[0]) for members in groups.values()]
    varying = varying_keys(labels)
    factors = [{key: each[key] for key in varying if key in each} for each in labels]
    if len({repr(each) for each in factors}) < len(factors):  # choices alone do not tell them apart: settings do
        flats = [_settings(members[0]) for members in groups.values()]
        varying = varying_keys([{key: str(value) for key, value in flat.items()} for flat in flats])
        factors = [{key: str(flat[key]) for key in varying if key in flat} for flat in flats]
    arms = [
        Arm(
            name=_name(chosen),
            framework=members[0].framework,
            factors=chosen,
            settings=_settings(members[0]),
            runs=_one_per_seed(members),
        )
        for members, chosen in zip(groups.values(), factors, strict=True)
    ]
    return tuple(sorted(arms, key=lambda arm: _order(arm, varying)))


def _one_per_seed(runs: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """The first run of each seed, one that was not lost to the machine where there is one."""
    by_seed: dict[int, RunRecord] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.was_killed)):
        by_seed.setdefault(run.seed, run)
    return tuple(by_seed.values())


def _settings(run: RunRecord) -> dict[str, Any]:
    taken = {"data": as_taken(run.config["data"])} if "data" in run.config else {}
    return {
        key: value
        for key, value in keys.flatten({**run.config, **taken}).items()
        if key not in NOT_SETTINGS and not key.startswith(NOT_SETTING_GROUPS)
    }


def _labels(run: RunRecord) -> dict[str, str]:
    return {**run.labels, "framework": run.framework}


def varying_keys(labels: Sequence[Mapping[str, str]]) -> list[str]:
    """The framework, then the other keys whose value is not the same everywhere."""
    keys = sorted({key for each in labels for key in each} - {"framework"})
    return ["framework", *(key for key in keys if len({each.get(key) for each in labels}) > 1)]


def _name(factors: Mapping[str, str]) -> str:
    return " · ".join(choice(key, value) for key, value in factors.items())


def choice(key: str, value: str) -> str:
    """A choice as a person says it, short and harmless enough for a page."""
    return keys.describe_choice(key, clean(value, 40))


def as_number(text: str) -> float | None:
    """The number that a choice is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def in_order(values: Iterable[str]) -> list[str]:
    """Distinct choices, numbers by size and before words."""
    return sorted(set(values), key=_value_order)


def _value_order(text: str) -> tuple[bool, float, str]:
    number = as_number(text)
    return number is None, number or 0.0, text


def _order(arm: Arm, keys: Sequence[str]) -> tuple[Any, ...]:
    others = [(key in arm.factors, *_value_order(arm.factors.get(key, ""))) for key in keys if key != "framework"]
    return (*others, arm.framework, repr(sorted(arm.settings.items(), key=str)))
