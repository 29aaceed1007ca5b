"""What a sweep consists of, as JSON: the store's `sweep.json`, read back as records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.contract.arrays import Array
from experiments.errors import NotKept
from experiments.records import BaselineRecord, RunRecord, StudyRecord, SweepRecord, TrialRecord, TunedValue


def sweep_from(
    manifest: Mapping[str, Any],
    *,
    read_run: Callable[[str], RunRecord],
    sweep_id: str,
    experiment: str,
    description: str,
    command: str,
    pictures: dict[int, Array],
    control: str,
) -> SweepRecord:
    """The record of a sweep.

    Args:
        manifest: The content of `sweep.json`.
        read_run: Brings a run by its identifier; raises NotKept where it is lost.
        sweep_id: The sweep's own identifier.
        experiment: Name of its experiment.
        description: What its experiment is about.
        command: What was typed.
        pictures: Example of the test set -> picture as bytes, shape (h, w, channels).
        control: What the last control before it found, or empty.
    """
    lost: list[str] = []

    def runs_from(entries: Sequence[Mapping[str, Any]]) -> Iterator[RunRecord]:
        """Those that are there, under the names and labels that they have in this sweep."""
        for entry in entries:
            names = {"name": entry["name"], "labels": entry["labels"], "overrides": tuple(entry["overrides"])}
            try:
                run = replace(read_run(entry["id"]), **names)
            except NotKept as error:
                lost.append(f"{entry['name']} is lost (run {entry['id']}): {error}")
                continue
            if run.lost:
                lost.append(f"{entry['name']} is not whole (run {entry['id']}): {run.lost}")
            yield run

    runs, trials = (tuple(runs_from(manifest[kind])) for kind in ("runs", "trials"))
    return SweepRecord(
        sweep_id=sweep_id,
        experiment=experiment,
        description=description,
        command=command,
        n_planned=manifest["n_planned"],
        seeds=tuple(manifest.get("seeds") or sorted({run.seed for run in runs})),  # older sweeps kept no plan
        margins=manifest["margins"],
        chance=manifest["chance"],
        comparison=manifest["comparison"],
        class_names=tuple(manifest["class_names"]),
        tuned_values=tuple(TunedValue(**each) for each in manifest["choices"]),
        studies=tuple(study_from(study) for study in manifest["studies"]),
        baselines=tuple(BaselineRecord(**each) for each in manifest.get("baselines", ())),  # older sweeps have none
        runs=runs,
        trials=trials,
        pictures=pictures,
        control=control,
        lost=tuple(lost),
    )


def study_from(content: Mapping[str, Any]) -> StudyRecord:
    """A study from JSON, which knows no tuples."""
    trials = tuple(
        TrialRecord(**{
            **trial,
            "scores": tuple(trial["scores"]),
            "reported": tuple((int(epoch), float(score)) for epoch, score in trial["reported"]),
        })
        for trial in content["trials"]
    )  # fmt: skip
    objectives = tuple((metric, direction) for metric, direction in content["objectives"])
    return StudyRecord(**{**content, "trials": trials, "objectives": objectives, "best": tuple(content["best"])})
