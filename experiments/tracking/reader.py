"""MLflow -> records: the only reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from experiments.contract.arrays import Array
from experiments.errors import SettingsError
from experiments.records import Outcome, RunRecord, SweepRecord, is_per_epoch
from experiments.tracking.client import NOTE, TAG, PatientClient, search
from experiments.tracking.manifest import sweep_from


class Reader:
    """What is kept in a store."""

    def __init__(self, client: PatientClient, /) -> None:
        """Read through an open client."""
        self.client = client

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
        return self._has_file(sweep_id, "sweep.json")

    def read_sweep(self, sweep_id: str) -> SweepRecord:
        """Everything the report needs, from the store alone."""
        sweep = self.client.get_run(sweep_id)
        experiment = self.client.get_experiment(sweep.info.experiment_id)
        return sweep_from(
            self._read_json(sweep_id, "sweep.json"),
            read_run=self._read_run,
            sweep_id=sweep_id,
            experiment=experiment.name,
            description=experiment.tags.get(NOTE, ""),
            command=sweep.data.tags.get(TAG + "command", ""),
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
        except MlflowException:
            return None
        outcome = run.data.tags.get(TAG + "outcome")
        is_finished = outcome in ("finished", "diverged", "pruned") and run.info.status != "RUNNING"
        return self._read_run(run_id) if is_finished else None

    def find_finished(self, experiment_id: str, fingerprint: str) -> str | None:
        """Identifier of a run that has its result under that fingerprint."""
        for outcome in ("finished", "diverged"):
            query = f"tags.`{TAG}fingerprint` = '{fingerprint}' and tags.`{TAG}outcome` = '{outcome}'"
            runs = search(self.client, experiment_id, query)
            if runs:
                return str(runs[0].info.run_id)
        return None

    def logits(self, run_id: str) -> tuple[Array, Array] | None:
        """Test logits (n, n_outputs) and targets of a finished run; None where it left none."""
        try:
            path = self._artifact(run_id, "test_logits.npz")
        except (MlflowException, OSError):
            return None
        with np.load(path) as stored:
            return stored["logits"], stored["targets"]

    def certificate(self, experiment_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The newest certificate under that fingerprint, or None."""
        runs = search(self.client, experiment_id, f"tags.`{TAG}certificate` = '{fingerprint}'")
        if not runs:
            return None
        content: dict[str, Any] = self._read_json(runs[0].info.run_id, "certificate.json")
        return content

    def _read_run(self, run_id: str) -> RunRecord:
        run = self.client.get_run(run_id)
        tags = run.data.tags
        config = yaml.safe_load(self._artifact(run_id, "config.yaml").read_text())
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
            facts={key.removeprefix(TAG): value for key, value in tags.items() if key.startswith(TAG)},
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
        if not self._has_file(sweep_id, "pictures.npz"):
            return {}
        with np.load(self._artifact(sweep_id, "pictures.npz")) as stored:
            return {int(name): stored[name] for name in stored.files}

    def _has_file(self, run_id: str, path: str) -> bool:
        return any(artifact.path == path for artifact in self.client.list_artifacts(run_id))

    def _read_json(self, run_id: str, path: str) -> Any:
        return json.loads(self._artifact(run_id, path).read_text())

    def _artifact(self, run_id: str, path: str) -> Path:
        """Local path of an artifact."""
        download, uri = mlflow.artifacts.download_artifacts, self.client.tracking_uri
        return Path(self.client.patiently(download, run_id=run_id, artifact_path=path, tracking_uri=uri))
