"""Runs -> arms -> comparisons: what a report says, before anyone decides how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import statistics
from experiments.records import RunRecord, SweepRecord
from experiments.report.names import clean
from experiments.tracking import flatten

NOT_SETTINGS = (
    "seed",
    "name",
    "device",
    "data.path",
    "data.download",
)  # of a run's configuration: what does not set arms apart
SCORES = ("test/accuracy", "test/loss", "time/steady_epoch", "memory/peak_mib")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ only in the seed."""

    name: str
    framework: str
    settings: Mapping[str, Any]
    runs: tuple[RunRecord, ...]

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
        """Seed -> final value of `metric`, for finished runs."""
        return {run.seed: run.metrics[metric] for run in self.finished if metric in run.metrics}

    def interval(self, metric: str) -> statistics.Estimate | None:
        """Mean of `metric` with its 95 % interval; None without a finished run."""
        scores = self.scores(metric)
        return statistics.mean_interval(scores) if scores else None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A sweep, analysed: the model behind terminal, HTML, Markdown and JSON."""

    record: SweepRecord
    arms: tuple[Arm, ...]
    verdicts: tuple[statistics.Verdict, ...]
    warnings: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said, a sentence per comparison."""
        return tuple(f"{verdict.names[0]} against {verdict.names[1]}: {verdict.sentence}" for verdict in self.verdicts)

    @property
    def tags(self) -> dict[str, str]:
        """The verdicts as tags of the sweep, so that a search in MLflow finds them."""
        first = {"verdict": self.verdicts[0].id} if self.verdicts else {}
        return first | {f"verdict.{number}": sentence for number, sentence in enumerate(self.sentences, start=1)}

    @property
    def facts(self) -> dict[str, str]:
        """Environment of the runs: a value where all agree, else all values."""
        keys = (
            "data",
            "cpu",
            "cores",
            "threads",
            "workers",
            "device",
            "start_method",
            "platform",
            "python",
            "git_commit",
        )
        versions = sorted({key for run in self.record.runs for key in run.facts if key.startswith("version.")})
        values = {key: list(dict.fromkeys(run.facts[key] for run in self.record.runs if key in run.facts))
                  for key in (*keys, *versions)}  # fmt: skip
        return {key.removeprefix("version."): "; ".join(found) for key, found in values.items() if found}


def analyse(record: SweepRecord) -> Analysis:
    """Group runs into arms and compare them."""
    arms = arms_of(record.runs)
    verdicts = tuple(_verdicts(arms, record.margins))
    return Analysis(record=record, arms=arms, verdicts=verdicts, warnings=tuple(_warnings(record)))


def arms_of(runs: Sequence[RunRecord]) -> tuple[Arm, ...]:
    """Arms in order of appearance of their settings, sorted by framework last."""
    groups: dict[str, list[RunRecord]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for run in runs:
        flat = {
            key: value
            for key, value in flatten(run.config).items()
            if key not in NOT_SETTINGS and not key.startswith("margins.")
        }
        key = repr(sorted(flat.items(), key=str))
        groups.setdefault(key, []).append(run)
        settings[key] = flat
    names = _arm_names(list(settings.values()))
    arms = [
        Arm(
            name=name, framework=flat["framework"], settings=flat, runs=tuple(sorted(groups[key], key=lambda r: r.seed))
        )
        for (key, flat), name in zip(settings.items(), names, strict=True)
    ]
    return tuple(sorted(arms, key=lambda arm: (arm.name.partition(" · ")[2], arm.framework)))


def _arm_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted({key for flat in settings for key in flat} - {"framework"})
    varying = [key for key in keys if len({str(flat.get(key)) for flat in settings}) > 1]
    return [
        " · ".join([flat["framework"]] + [f"{_short(key)} {clean(flat[key], 40)}" for key in varying if key in flat])
        for flat in settings
    ]


def _short(key: str) -> str:
    group, _, leaf = key.rpartition(".")
    return group if leaf == "kind" else leaf


def pairs_of_arms(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Which arms are compared: frameworks where all else is equal; with one framework, every arm against the first."""
    rest = {id(arm): arm.name.partition(" · ")[2] for arm in arms}
    pairs = [
        (first, second)
        for number, first in enumerate(arms)
        for second in arms[number + 1 :]
        if rest[id(first)] == rest[id(second)]
    ]
    return pairs or [(arm, arms[0]) for arm in arms[1:] if arm.data == arms[0].data]


def _verdicts(arms: Sequence[Arm], margins: Mapping[str, float]) -> list[statistics.Verdict]:
    """Accuracy of every pair is the family of claims; the loss is told beside it."""
    pairs = [(first, second) for first, second in pairs_of_arms(arms) if first.runs and second.runs]
    found = []
    for metric in ("test/accuracy", "test/loss"):
        for first, second in pairs:
            if not (first.scores(metric) or second.scores(metric)) and first.finished:
                continue  # a regression has no accuracy
            found.append(_verdict(first, second, metric=metric, margins=margins, n_claims=len(pairs)))
    return found


def _verdict(
    first: Arm, second: Arm, *, metric: str, margins: Mapping[str, float], n_claims: int
) -> statistics.Verdict:
    is_accuracy = metric == "test/accuracy"
    scores = [
        {
            run.seed: run.metrics.get(metric, float("nan")) if run.outcome == "finished" else float("nan")
            for run in arm.runs
        }
        for arm in (first, second)
    ]
    return statistics.verdict(
        scores[0],
        scores[1],
        margin=margins["accuracy" if is_accuracy else "loss"],
        higher_is_better=is_accuracy,
        names=(first.name, second.name),
        metric=metric.replace("/", " "),
        unit="pp" if is_accuracy else "",
        scale=100.0 if is_accuracy else 1.0,
        bounds=(0.0, 1.0) if is_accuracy else None,
        n_claims=n_claims,
    )


def _warnings(record: SweepRecord) -> list[str]:
    """What a reader must know before the numbers."""
    found = []
    finished = [run for run in record.runs if run.outcome == "finished"]
    if record.is_partial:
        found.append(f"partial: {len(finished)} of {record.n_planned} runs")
    found += [f"{run.name} {run.outcome}: {run.reason}" for run in record.runs if run.outcome != "finished"]
    if len({run.facts.get("data", "") for run in record.runs}) > 1:
        found.append("the runs were trained on different data: only runs on the same data are compared")
    if any(run.facts.get("workers") != "1" for run in record.runs):
        found.append(
            "several runs shared the machine: their times are not comparable (executor.workers=1 makes them so)"
        )
    return found
