"""MLflow -> records: the only reader."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import yaml
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from experiments.contract.arrays import Array
from experiments.errors import NotKept, SettingsError
from experiments.records import Outcome, RunRecord, SweepRecord, is_per_epoch
from experiments.tracking.client import NOTE, TAG, PatientClient, search
from experiments.tracking.files import CONFIG, LOGITS, Files
from experiments.tracking.manifest import sweep_from

RESULTS = ("finished", "diverged")  # outcomes that count, the better one first
Content = TypeVar("Content")


class Reader:
    """What is kept in a store."""

    def __init__(self, client: PatientClient, files: Files, /) -> None:
        """Read through an open client, and what it knows of files."""
        self.client = client
        self.files = files

    def find_sweep(self, experiment_id: str, which: str) -> str:
        """Identifier of a sweep of the experiment: `which` itself, or the latest one.

        Raises:
            SettingsError: If there is none.
        """
        ids = [str(run.info.run_id) for run in search(self.client, experiment_id, f"tags.`{TAG}kind` = 'sweep'")]
        if which == "latest" and ids:
            return ids[0]
        if which in ids:
            return which
        raise SettingsError(
            f"sweep: no sweep {which!r} of this experiment is kept in {self.client.tracking_uri}; "
            f"kept are {ids or 'none'}"
        )

    def has_sweep(self, sweep_id: str) -> bool:
        """Whether it was written down what the sweep consists of."""
        return self.files.has(sweep_id, "sweep.json")

    def read_sweep(self, sweep_id: str) -> SweepRecord:
        """Everything the report needs, from the store alone; as `SweepReader` says."""
        sweep = self.client.get_run(sweep_id)
        command = sweep.data.tags.get(TAG + "command", "")
        try:
            manifest = self._read(sweep_id, "sweep.json", _read_json)
        except NotKept as error:
            raise NotKept(f"sweep {sweep_id}: {error}; `{command}` trains what is lost, and reports it") from error
        experiment = self.client.get_experiment(sweep.info.experiment_id)
        return sweep_from(
            manifest,
            read_run=self._read_run,
            sweep_id=sweep_id,
            experiment=experiment.name,
            description=experiment.tags.get(NOTE, ""),
            command=command,
            pictures=self._read_pictures(sweep_id),
            control=self._control_before(sweep),
        )

    def has_run(self, run_id: str) -> bool:
        """Whether a run is kept here: Optuna's storage may be older, or shared with another store."""
        try:
            self.client.get_run(run_id)
        except MlflowException:
            return False
        return True

    def finished_run(self, run_id: str) -> RunRecord | None:
        """A run that came to its end, whatever the end; None if it was cut short or there is none."""
        try:
            run = self.client.get_run(run_id)
            outcome = run.data.tags.get(TAG + "outcome")
            is_finished = outcome in (*RESULTS, "pruned") and run.info.status != "RUNNING"
            return self._read_run(run_id) if is_finished else None
        except (MlflowException, NotKept):
            return None

    def find_finished(self, experiment_id: str, fingerprint: str) -> str | None:
        """Identifier of a run that has its result under that fingerprint."""
        whole = [run for run in self._results(experiment_id, fingerprint) if not self.files.missing(run)]
        return str(whole[0].info.run_id) if whole else None

    def lost_result(self, experiment_id: str, fingerprint: str) -> str:
        """What is missing of the result that was kept under that fingerprint; "" where nothing is."""
        lost = [(run, self.files.missing(run)) for run in self._results(experiment_id, fingerprint)]
        if not lost or not all(what for _, what in lost):
            return ""
        run, what = lost[0]
        return f"{run.info.run_name} (run {run.info.run_id}): {what}"

    def _results(self, experiment_id: str, fingerprint: str) -> list[Run]:
        """Runs that came to a result under that fingerprint, deleted ones too; finished ones first, then the newest."""
        query = f"tags.`{TAG}fingerprint` = '{fingerprint}'"
        runs = search(self.client, experiment_id, query, view=ViewType.ALL)
        return [run for outcome in RESULTS for run in runs if run.data.tags.get(TAG + "outcome") == outcome]

    def logits(self, run_id: str) -> tuple[Array, Array] | None:
        """Test logits (n, n_outputs) and targets of a finished run; None where it left none, or they are lost."""
        try:
            stored = self._read(run_id, LOGITS, _read_arrays)
            return stored["logits"], stored["targets"]
        except (NotKept, MlflowException, KeyError):
            return None

    def certificate(self, experiment_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The newest certificate under that fingerprint, or None."""
        runs = search(self.client, experiment_id, f"tags.`{TAG}certificate` = '{fingerprint}'")
        if not runs:
            return None
        try:
            content: dict[str, Any] = self._read(runs[0].info.run_id, "certificate.json", _read_json)
        except NotKept:
            return None
        return content

    def _read_run(self, run_id: str) -> RunRecord:
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            raise NotKept(f"it is not in {self.client.tracking_uri} any more") from error
        tags = run.data.tags
        config = self._read(run_id, CONFIG, _read_yaml)
        return RunRecord(
            run_id=run_id,
            name=run.info.run_name,
            fingerprint=tags[TAG + "fingerprint"],
            framework=config["framework"],
            seed=int(config["seed"]),
            outcome=cast(Outcome, tags[TAG + "outcome"]),
            reason=tags.get(TAG + "reason", ""),
            config=config,
            metrics=dict(run.data.metrics),
            curves={name: self._read_curve(run_id, name) for name in run.data.metrics if is_per_epoch(name)},
            facts={
                key.removeprefix(TAG): value
                for key, value in tags.items()
                if key.startswith(TAG) and key != TAG + "files"
            },
            lost=self.files.missing(run) if run.info.status != "RUNNING" else "",
        )

    def _read_curve(self, run_id: str, name: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(run_id, name)
        return sorted((metric.step, metric.value) for metric in history)

    def _control_before(self, sweep: Run) -> str:
        """What the last control that came to a result found, among those that began before this sweep."""
        results = [
            run.data.tags[TAG + "control"]
            for run in search(self.client, sweep.info.experiment_id, f"tags.`{TAG}control` != ''")
            if run.info.start_time < sweep.info.start_time and run.data.tags[TAG + "control"] != "not assessed"
        ]
        return str(results[0]) if results else ""

    def _read_pictures(self, sweep_id: str) -> dict[int, Array]:
        try:
            stored = self._read(sweep_id, "pictures.npz", _read_arrays)
        except NotKept:
            return {}
        return {int(name): picture for name, picture in stored.items()}

    def _read(self, run_id: str, name: str, read: Callable[[Path], Content]) -> Content:
        """The content of a file of a run.

        Raises:
            NotKept: If it is not there, or cannot be read.
        """
        path = self.files.path(run_id, name)
        try:
            return read(path)
        except (OSError, ValueError, yaml.YAMLError, zipfile.BadZipFile) as error:
            raise NotKept(f"{path} is damaged: {error}") from error


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_yaml(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it holds no configuration")
    return content


def _read_arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}
