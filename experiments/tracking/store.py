"""Runs, sweeps, studies, certificates and reports -> MLflow: the only writer.

What the methods promise is said in `protocol.py`; here stands what MLflow makes of it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from experiments.contract.arrays import Array
from experiments.errors import Locked, StoreUnavailable
from experiments.execution import environment
from experiments.execution.locks import Owner
from experiments.fingerprint import fingerprint_of, hyphenated
from experiments.records import Outcome
from experiments.task.keys import flatten
from experiments.tracking.client import NOTE, PARENT, TAG, open_client, search
from experiments.tracking.reader import Reader
from experiments.uris import sqlite_file, without_password

STATUS: dict[Outcome, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "running": "RUNNING",
}
PARAM_LIMIT = 500


class Store:
    """A tracking store, open for writing; `reader` reads it."""

    def __init__(self, uri: str, /) -> None:
        """Open it; a database that is not there is made, once, under a lock.

        Raises:
            StoreUnavailable: If it cannot be reached or opened.
        """
        self.uri = uri
        self.owner = Owner.this_process()
        self.client = open_client(uri)
        self.reader = Reader(self.client)

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the MLflow experiment of that name, made if need be."""
        known = self.client.get_experiment_by_name(name)
        if known is not None and not known.experiment_id:
            raise StoreUnavailable(f"{without_password(self.uri)} answers, but not as MLflow does; mend tracking.uri")
        if known is not None:
            if known.lifecycle_stage == "deleted":
                self.client.restore_experiment(known.experiment_id)
            return str(known.experiment_id)
        # The kind lets MLflow's page open on training runs, not on its pages for language models.
        tags = {NOTE: description, "mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(name, artifact_location=_artifacts(self.uri, name), tags=tags))

    def open_sweep(
        self, experiment_id: str, *, name: str, fingerprint: str, command: str, description: str, reuse: bool
    ) -> str:
        """Parent run of the sweep, a new one or the earlier one; as `SweepStore` says."""
        query = f"tags.`{TAG}sweep_fingerprint` = '{fingerprint}'"
        earlier = search(self.client, experiment_id, query) if reuse else []
        tags = {TAG + "owner": self.owner.tag, TAG + "command": command, NOTE: description} | _source_tags()
        if not earlier:
            tags |= {TAG + "sweep_fingerprint": fingerprint, TAG + "kind": "sweep"}
            return self._create(experiment_id, name, tags)
        if earlier[0].info.status == "RUNNING":
            owner = Owner.from_tag(earlier[0].data.tags[TAG + "owner"])
            raise Locked(
                f"process {owner.pid} on {owner.host} is at work on this sweep (run {earlier[0].info.run_id}); "
                "if it is dead, tracking.reuse=false starts anew"
            )
        return self._reopen(earlier[0], tags)

    def write_sweep(self, sweep_id: str, content: Mapping[str, Any]) -> None:
        """Write down what the sweep consists of, as far as it is known; `Reader.read_sweep` reads it."""
        self.client.log_dict(sweep_id, dict(content), "sweep.json")

    def end_sweep(self, sweep_id: str, *, status: str) -> None:
        """Close the parent run."""
        self.client.set_terminated(sweep_id, status)

    def open_study(self, experiment_id: str, *, sweep_id: str, name: str) -> str:
        """The run that holds a study's trials: a child of the sweep, made once."""
        query = f"tags.`{TAG}study` = '{fingerprint_of(name)}' and tags.`{PARENT}` = '{sweep_id}'"
        earlier = search(self.client, experiment_id, query)
        tags = {TAG + "owner": self.owner.tag}
        if earlier:
            return self._reopen(earlier[0], tags)
        tags |= {PARENT: sweep_id, TAG + "kind": "study", TAG + "study": fingerprint_of(name)}
        tags |= {"optuna.study_name": name}
        return self._create(experiment_id, f"study {name}", tags)

    def end_study(self, run_id: str, *, metrics: Mapping[str, float], values: Mapping[str, Any]) -> None:
        """Its best values and score, its budget, its end."""
        self._log_metrics(run_id, metrics, step=0)
        self._tag(run_id, {f"best.{key}": str(value) for key, value in values.items()})
        self.client.set_terminated(run_id, "FINISHED")

    def start_run(
        self,
        experiment_id: str,
        *,
        parent_id: str,
        kind: Literal["run", "trial"],
        name: str,
        fingerprint: str,
        config: Mapping[str, Any],
        facts: Mapping[str, str],
        dataset: Mapping[str, str],
    ) -> str:
        """A child run with its parameters, tags and dataset; as `SweepStore` says."""
        tags = {PARENT: parent_id, TAG + "kind": kind, TAG + "fingerprint": fingerprint, TAG + "outcome": "running"}
        tags |= _source_tags() | {TAG + "owner": self.owner.tag} | {TAG + key: value for key, value in facts.items()}
        run_id = self._create(experiment_id, name, tags)
        params = flatten(config)
        self.client.log_batch(run_id, params=[Param(key, str(value)[:PARAM_LIMIT]) for key, value in params.items()])
        self.client.log_text(run_id, yaml.safe_dump(dict(config), sort_keys=False), "config.yaml")
        entity = Dataset(name=dataset["name"], digest=dataset["digest"], source_type="local", source=dataset["origin"])
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "train and test")])])
        return run_id

    def log_epoch(self, run_id: str, metrics: Mapping[str, float], *, epoch: int, step: int) -> None:
        """One batch per epoch; MLflow's step is the epoch."""
        self._log_metrics(run_id, {**metrics, "step": float(step)}, step=epoch)

    def log_facts(self, run_id: str, facts: Mapping[str, str]) -> None:
        """More tags of a run."""
        self._tag(run_id, {TAG + key: value for key, value in facts.items()})

    def end_run(
        self,
        run_id: str,
        *,
        outcome: Outcome,
        reason: str,
        metrics: Mapping[str, float],
        step: int,
        folder: Path,
    ) -> None:
        """Final metrics, all files of `folder`, the outcome and the end; as `SweepStore` says."""
        self._log_metrics(run_id, metrics, step=step)
        folder.mkdir(parents=True, exist_ok=True)
        self.client.log_artifacts(run_id, str(folder))
        self._tag(run_id, {TAG + "outcome": outcome, TAG + "reason": reason})
        self.client.set_terminated(run_id, STATUS[outcome])

    def mark_as_attempt(self, run_id: str) -> None:
        """A trial that was cut short is trained again under its number: this one was but an attempt."""
        self.client.set_tag(run_id, TAG + "kind", "attempt")

    def close_orphans(self, experiment_id: str) -> int:
        """Mark runs that dead processes left RUNNING as KILLED; return how many."""
        runs = search(self.client, experiment_id, "attributes.status = 'RUNNING'")
        orphans = [run for run in runs if TAG + "owner" in run.data.tags]
        orphans = [run for run in orphans if Owner.from_tag(run.data.tags[TAG + "owner"]).is_dead()]
        for run in orphans:
            self._kill(run, {TAG + "reason": "its process died"})
        return len(orphans)

    def kill_open_runs(self, experiment_id: str, sweep_id: str, reason: str) -> None:
        """Close the sweep's runs that are open. The store knows them all, even one whose start was interrupted."""
        parents = {sweep_id} | {
            run.info.run_id for run in search(self.client, experiment_id, f"tags.`{PARENT}` = '{sweep_id}'")
            if run.data.tags.get(TAG + "kind") == "study"
        }  # fmt: skip
        for run in search(self.client, experiment_id, "attributes.status = 'RUNNING'"):
            if run.data.tags.get(PARENT) in parents:
                self._kill(run, {TAG + "outcome": "failed", TAG + "reason": reason})

    def open_report(self, experiment_id: str, sweep_ids: Sequence[str]) -> str:
        """A run that holds the report over several sweeps; the same sweeps, the same run."""
        joined = ",".join(sorted(sweep_ids))
        earlier = search(self.client, experiment_id, f"tags.`{TAG}report_of` = '{joined}'")
        if earlier:
            return str(earlier[0].info.run_id)
        tags = {TAG + "kind": "report", TAG + "report_of": joined} | _source_tags()
        run_id = self._create(experiment_id, f"report over {len(sweep_ids)} sweeps", tags)
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def log_report(self, sweep_id: str, folder: Path, *, note: str, tags: Mapping[str, str]) -> None:
        """The report's files under `report/`, its first page as the sweep's note, its verdicts as tags."""
        self.client.log_artifacts(sweep_id, str(folder), "report")
        self._tag(sweep_id, {NOTE: note} | {TAG + key: value for key, value in tags.items()})

    def log_pictures(self, sweep_id: str, pictures: Mapping[int, Array]) -> None:
        """Keep pictures of the test set, so that the report can be made again without the data."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pictures.npz"
            named: dict[str, Any] = {str(index): picture for index, picture in sorted(pictures.items())}
            np.savez_compressed(path, **named)
            self.client.log_artifact(sweep_id, str(path))

    def log_certificate(
        self, experiment_id: str, *, name: str, fingerprint: str, passed: bool, content: Mapping[str, Any], text: str
    ) -> str:
        """A certificate as a run of its own, found again by the fingerprint of what it certifies."""
        verdict = "passed" if passed else "failed"
        tags = {TAG + "kind": "certificate", TAG + "certificate": fingerprint, TAG + "verdict": verdict, NOTE: text}
        run_id = self._create(experiment_id, name, tags)
        self.client.log_dict(run_id, dict(content), "certificate.json")
        self.client.log_text(run_id, text, "certificate.md")
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _create(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
        return str(self.client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id)

    def _reopen(self, run: Run, tags: Mapping[str, str]) -> str:
        self.client.update_run(run.info.run_id, status="RUNNING")
        self._tag(run.info.run_id, tags)
        return str(run.info.run_id)

    def _kill(self, run: Run, tags: Mapping[str, str]) -> None:
        """Close a run that was cut short."""
        if run.data.tags.get(TAG + "kind") == "trial":
            self.mark_as_attempt(run.info.run_id)
        self._tag(run.info.run_id, tags)
        self.client.set_terminated(run.info.run_id, "KILLED")

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.client.log_batch(run_id, tags=[RunTag(key, str(value)[:8000]) for key, value in tags.items()])

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()])


def _source_tags() -> dict[str, str]:
    """Where a run came from, under the names that MLflow's own pages show."""
    return {
        "mlflow.source.name": "run.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": environment.git_commit(),
        "mlflow.user": environment.user(),
    }


def _artifacts(uri: str, name: str) -> str | None:
    """Where an experiment's files go: beside a database in a file, not in the folder a command happens to run in."""
    file = sqlite_file(uri)
    if file is None:
        return None  # a server knows
    return (file.resolve().parent / "mlruns" / hyphenated(name)).as_uri()
