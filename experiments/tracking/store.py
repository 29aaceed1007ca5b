"""Events <-> MLflow: the only writer and the only reader. The only module that imports mlflow.

One parent run per sweep, one child run per training. Metric names are the same for every framework; the step of
a metric is its epoch. Tags that begin with "tandem." are ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from experiments.errors import Locked, SettingsError, StoreUnavailable
from experiments.execution import environment
from experiments.execution.locks import Owner, creation_lock
from experiments.fingerprint import fingerprint_of, hyphenated
from experiments.records import Outcome, RunRecord, StudyRecord, SweepRecord, TrialRecord, TunedValue
from experiments.task.keys import flatten

# A dead server must not hold a sweep for minutes (MLflow's own defaults wait 246 s), and nothing is sent home.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

logging.getLogger("mlflow").setLevel(logging.WARNING)

TAG = "tandem."
STATUS: dict[Outcome, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "running": "RUNNING",
}
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
PARAM_LIMIT = 500


class Store:
    """A tracking store, open."""

    def __init__(self, uri: str, /) -> None:
        """Open it; a database that is not there is made, once, under a lock.

        Raises:
            StoreUnavailable: If it cannot be reached or opened.
        """
        self.uri = uri
        self.owner = Owner.this_process()
        mlflow.set_tracking_uri(uri)
        try:
            with creation_lock(uri):
                self.client = mlflow.MlflowClient(tracking_uri=uri)
                self.client.search_experiments(max_results=1)
            _use_write_ahead_log(uri)
        except (MlflowException, OSError, sqlite3.Error) as error:
            reason = str(error).splitlines()[0]
            raise StoreUnavailable(f"the tracking store {uri} cannot be opened: {reason}") from error

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the MLflow experiment of that name, made if need be."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        # The kind lets MLflow's page open on training runs, not on its pages for language models.
        tags = {NOTE: description, "mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(name, artifact_location=_artifacts(self.uri, name), tags=tags))

    def close_orphans(self, experiment_id: str) -> int:
        """Mark runs that dead processes left RUNNING as KILLED; return how many."""
        runs = self._search(experiment_id, "attributes.status = 'RUNNING'")
        orphans = [run for run in runs if TAG + "owner" in run.data.tags]
        orphans = [run for run in orphans if Owner.from_tag(run.data.tags[TAG + "owner"]).is_dead()]
        for run in orphans:
            if run.data.tags.get(TAG + "kind") == "trial":
                self.mark_as_attempt(run.info.run_id)
            self.client.set_tag(run.info.run_id, TAG + "reason", "its process died")
            self.client.set_terminated(run.info.run_id, "KILLED")
        return len(orphans)

    def mark_as_attempt(self, run_id: str) -> None:
        """A trial that was cut short is trained again under its number: this one was but an attempt."""
        self.client.set_tag(run_id, TAG + "kind", "attempt")

    def open_study(self, experiment_id: str, *, sweep_id: str, name: str) -> str:
        """The run that holds a study's trials: a child of the sweep, made once."""
        query = f"tags.`{TAG}study` = '{fingerprint_of(name)}' and tags.`{PARENT}` = '{sweep_id}'"
        found = self._search(experiment_id, query)
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            self._tag(found[0].info.run_id, {TAG + "owner": self.owner.tag})
            return str(found[0].info.run_id)
        tags = {
            PARENT: sweep_id,
            TAG + "kind": "study",
            TAG + "study": fingerprint_of(name),
            TAG + "owner": self.owner.tag,
        }
        run_id = str(self.client.create_run(experiment_id, run_name=f"study {name}", tags=tags).info.run_id)
        self._tag(run_id, {"optuna.study_name": name})
        return run_id

    def end_study(self, run_id: str, *, metrics: Mapping[str, float], values: Mapping[str, Any]) -> None:
        """Its best values and score, its budget, its end."""
        self._log_metrics(run_id, metrics, step=0)
        self._tag(run_id, {f"best.{key}": str(value) for key, value in values.items()})
        self.client.set_terminated(run_id, "FINISHED")

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
        is_settled = outcome in ("finished", "diverged", "pruned") and run.info.status != "RUNNING"
        return self.read_run(run_id) if is_settled else None

    def open_sweep(
        self, experiment_id: str, *, name: str, fingerprint: str, command: str, description: str, reuse: bool
    ) -> str:
        """Parent run of the sweep: the one that asked for the same runs before, or a new one.

        Raises:
            Locked: If another living process has it open.
        """
        found = self._search(experiment_id, f"tags.`{TAG}sweep_fingerprint` = '{fingerprint}'") if reuse else []
        tags = {TAG + "owner": self.owner.tag, TAG + "command": command, NOTE: description} | _source_tags()
        if found:
            sweep_id = str(found[0].info.run_id)
            if found[0].info.status == "RUNNING":
                owner = Owner.from_tag(found[0].data.tags[TAG + "owner"])
                raise Locked(
                    f"process {owner.pid} on {owner.host} is at work on this sweep (run {sweep_id}); "
                    "if it is dead, tracking.reuse=false starts anew"
                )
            self.client.update_run(sweep_id, status="RUNNING")
            self._tag(sweep_id, tags)
            return sweep_id
        tags |= {TAG + "sweep_fingerprint": fingerprint, TAG + "kind": "sweep"}
        return str(self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)

    def find_finished(self, experiment_id: str, fingerprint: str) -> str | None:
        """Identifier of a run that has its result under that fingerprint."""
        for outcome in ("finished", "diverged"):
            query = f"tags.`{TAG}fingerprint` = '{fingerprint}' and tags.`{TAG}outcome` = '{outcome}'"
            found = self._search(experiment_id, query)
            if found:
                return str(found[0].info.run_id)
        return None

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
        """Open the record of a run or trial.

        Args:
            experiment_id: The experiment it belongs to.
            parent_id: The sweep of a run, the study of a trial.
            kind: A run has a result; a trial is but a step of a search.
            name: What a person reads.
            fingerprint: What it is found under again, once it is finished.
            config: The task and who trains it, nested; flattened it gives the parameters.
            facts: Machine, versions, data, ...: name -> value.
            dataset: Its `name`, `digest` and `origin`.

        Returns:
            Its identifier.
        """
        tags = {PARENT: parent_id, TAG + "kind": kind, TAG + "fingerprint": fingerprint, TAG + "outcome": "running"}
        tags |= _source_tags() | {TAG + "owner": self.owner.tag} | {TAG + key: value for key, value in facts.items()}
        run_id = str(self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)
        params = flatten(config)
        self.client.log_batch(run_id, params=[Param(key, str(value)[:PARAM_LIMIT]) for key, value in params.items()])
        self.client.log_text(run_id, yaml.safe_dump(dict(config), sort_keys=False), "config.yaml")
        entity = Dataset(name=dataset["name"], digest=dataset["digest"], source_type="local", source=dataset["origin"])
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "train and test")])])
        return run_id

    def log_epoch(self, run_id: str, metrics: Mapping[str, float], *, epoch: int, step: int) -> None:
        """Metrics of epoch 1, 2, ..., in one batch; `step` counts optimizer steps so far."""
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
        """Final metrics, all files of `folder`, the outcome and the end."""
        self._log_metrics(run_id, metrics, step=step)
        folder.mkdir(parents=True, exist_ok=True)
        self.client.log_artifacts(run_id, str(folder))
        self._tag(run_id, {TAG + "outcome": outcome, TAG + "reason": reason})
        self.client.set_terminated(run_id, STATUS[outcome])

    def kill_open_runs(self, experiment_id: str, sweep_id: str, reason: str) -> None:
        """Close the sweep's runs that are open. The store knows them all, even one whose start was interrupted."""
        parents = {sweep_id} | {
            run.info.run_id for run in self._search(experiment_id, f"tags.`{PARENT}` = '{sweep_id}'")
            if run.data.tags.get(TAG + "kind") == "study"
        }  # fmt: skip
        for run in self._search(experiment_id, "attributes.status = 'RUNNING'"):
            if run.data.tags.get(PARENT) not in parents:
                continue
            if run.data.tags.get(TAG + "kind") == "trial":
                self.mark_as_attempt(run.info.run_id)
            self._tag(run.info.run_id, {TAG + "outcome": "failed", TAG + "reason": reason})
            self.client.set_terminated(run.info.run_id, "KILLED")

    def write_sweep(self, sweep_id: str, content: Mapping[str, Any]) -> None:
        """Write down what the sweep consists of, as far as it is known; `read_sweep` reads it."""
        self.client.log_dict(sweep_id, dict(content), "sweep.json")

    def has_sweep(self, sweep_id: str) -> bool:
        """Whether it was written down what the sweep consists of."""
        return any(each.path == "sweep.json" for each in self.client.list_artifacts(sweep_id))

    def end_sweep(self, sweep_id: str, *, status: str) -> None:
        """Close the parent run."""
        self.client.set_terminated(sweep_id, status)

    def log_report(self, sweep_id: str, folder: Path, *, note: str, tags: Mapping[str, str]) -> None:
        """The report's files under `report/`, its first page as the sweep's note, its verdicts as tags."""
        self.client.log_artifacts(sweep_id, str(folder), "report")
        self._tag(sweep_id, {NOTE: note} | {TAG + key: value for key, value in tags.items()})

    def open_report(self, experiment_id: str, sweep_ids: Sequence[str]) -> str:
        """A run that holds the report over several sweeps; the same sweeps, the same run."""
        joined = ",".join(sorted(sweep_ids))
        found = self._search(experiment_id, f"tags.`{TAG}report_of` = '{joined}'")
        if found:
            return str(found[0].info.run_id)
        tags = {TAG + "kind": "report", TAG + "report_of": joined} | _source_tags()
        run = self.client.create_run(experiment_id, run_name=f"report over {len(sweep_ids)} sweeps", tags=tags)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    def find_sweep(self, experiment_id: str, which: str) -> str:
        """Identifier of a sweep of the experiment: `which` itself, or the latest one.

        Raises:
            SettingsError: If there is none.
        """
        found = self._search(experiment_id, f"tags.`{TAG}kind` = 'sweep'")
        ids = [str(run.info.run_id) for run in found]
        if which == "latest" and ids:
            return ids[0]  # MLflow lists the newest first
        if which in ids:
            return which
        raise SettingsError(
            f"sweep: no sweep {which!r} of this experiment is kept in {self.uri}; kept are {ids or 'none'}"
        )

    def log_certificate(
        self, experiment_id: str, *, name: str, fingerprint: str, passed: bool, content: Mapping[str, Any], text: str
    ) -> str:
        """A certificate as a run of its own, found again by the fingerprint of what it certifies."""
        verdict = "passed" if passed else "failed"
        tags = {TAG + "kind": "certificate", TAG + "certificate": fingerprint, TAG + "verdict": verdict, NOTE: text}
        run_id = str(self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)
        self.client.log_dict(run_id, dict(content), "certificate.json")
        self.client.log_text(run_id, text, "certificate.md")
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def certificate(self, experiment_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The newest certificate under that fingerprint, or None."""
        found = self._search(experiment_id, f"tags.`{TAG}certificate` = '{fingerprint}'")
        if not found:
            return None
        content: dict[str, Any] = self._read_json(found[0].info.run_id, "certificate.json")
        return content

    def read_sweep(self, sweep_id: str) -> SweepRecord:
        """Everything the report needs, from the store alone."""
        parent = self.client.get_run(sweep_id)
        experiment = self.client.get_experiment(parent.info.experiment_id)
        content = self._read_json(sweep_id, "sweep.json")
        return SweepRecord(
            sweep_id=sweep_id,
            experiment=experiment.name,
            description=experiment.tags.get(NOTE, ""),
            command=parent.data.tags.get(TAG + "command", ""),
            n_planned=content["n_planned"],
            margins=content["margins"],
            chance=content["chance"],
            comparison=content["comparison"],
            class_names=tuple(content["class_names"]),
            tuned_values=tuple(TunedValue(**each) for each in content["choices"]),
            studies=tuple(_study_from(study) for study in content["studies"]),
            runs=tuple(self._read_kept(kept) for kept in content["runs"]),
            trials=tuple(self._read_kept(kept) for kept in content["trials"]),
            pictures=self._read_pictures(sweep_id),
            control=self._control_before(parent),
        )

    def _read_kept(self, kept: Mapping[str, Any]) -> RunRecord:
        """A run under the name and labels that it has in one sweep."""
        run = self.read_run(kept["id"])
        return dataclasses.replace(run, name=kept["name"], labels=kept["labels"], overrides=tuple(kept["overrides"]))

    def _control_before(self, sweep: MlflowRun) -> str:
        """What the last control that came to a result found, among those that began before this sweep."""
        settled = [
            run.data.tags[TAG + "control"]
            for run in self._search(sweep.info.experiment_id, f"tags.`{TAG}control` != ''")
            if run.info.start_time < sweep.info.start_time and run.data.tags[TAG + "control"] != "not assessed"
        ]
        return str(settled[0]) if settled else ""  # MLflow lists the newest first

    def logits(self, run_id: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Test logits (n, n_outputs) and targets of a finished run; None where it left none."""
        try:
            path = self.artifact(run_id, "test_logits.npz")
        except (MlflowException, OSError):
            return None
        with np.load(path) as stored:
            return stored["logits"], stored["targets"]

    def log_pictures(self, sweep_id: str, pictures: Mapping[int, NDArray[Any]]) -> None:
        """Keep pictures of the test set, so that the report can be made again without the data."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pictures.npz"
            named: dict[str, Any] = {str(index): picture for index, picture in sorted(pictures.items())}
            np.savez_compressed(path, **named)
            self.client.log_artifact(sweep_id, str(path))

    def _read_pictures(self, sweep_id: str) -> dict[int, NDArray[Any]]:
        if not any(each.path == "pictures.npz" for each in self.client.list_artifacts(sweep_id)):
            return {}
        with np.load(self.artifact(sweep_id, "pictures.npz")) as stored:
            return {int(name): stored[name] for name in stored.files}

    def read_run(self, run_id: str) -> RunRecord:
        """One run."""
        run = self.client.get_run(run_id)
        tags = run.data.tags
        config = self._read_yaml(run_id, "config.yaml")
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
            curves={name: self._curve(run_id, name) for name in run.data.metrics if _is_per_epoch(name)},
            facts={key.removeprefix(TAG): value for key, value in tags.items() if key.startswith(TAG)},
        )

    def artifact(self, run_id: str, path: str) -> Path:
        """Local path of an artifact."""
        return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=self.uri))

    def _curve(self, run_id: str, name: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(run_id, name)
        return sorted((metric.step, metric.value) for metric in history)

    def _read_json(self, run_id: str, path: str) -> Any:
        return json.loads(self.artifact(run_id, path).read_text())

    def _read_yaml(self, run_id: str, path: str) -> Any:
        return yaml.safe_load(self.artifact(run_id, path).read_text())

    def _search(self, experiment_id: str, query: str) -> list[MlflowRun]:
        return list(self.client.search_runs([experiment_id], query, max_results=1000))

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
        "mlflow.user": getpass.getuser(),
    }


def _study_from(kept: Mapping[str, Any]) -> StudyRecord:
    """A study from JSON, which knows no tuples."""
    trials = tuple(
        TrialRecord(**{
            **trial,
            "scores": tuple(trial["scores"]),
            "reported": tuple((int(epoch), float(score)) for epoch, score in trial["reported"]),
        })
        for trial in kept["trials"]
    )  # fmt: skip
    objectives = tuple((metric, direction) for metric, direction in kept["objectives"])
    return StudyRecord(**{**kept, "trials": trials, "objectives": objectives, "best": tuple(kept["best"])})


def _is_per_epoch(name: str) -> bool:
    return name.startswith(("train/", "val/")) or name in ("time/epoch", "time/trained", "step")


def _artifacts(uri: str, name: str) -> str | None:
    """Where an experiment's files go: beside a database in a file, not in the folder a command happens to run in."""
    if not uri.startswith("sqlite:///"):
        return None  # a server knows
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlruns" / hyphenated(name)).as_uri()


def _use_write_ahead_log(uri: str) -> None:
    """Five times the metrics per second, and readers do not wait; the setting stays with the file."""
    if uri.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
