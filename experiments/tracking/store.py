"""Runs, sweeps, studies, certificates and reports -> MLflow: the only writer.

What the methods promise is said in `protocol.py`; here stands what MLflow makes of it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from experiments.contract.arrays import Array
from experiments.errors import Locked, StoreUnavailable, notice
from experiments.execution import environment, locks
from experiments.execution.locks import Lease, Owner
from experiments.fingerprint import fingerprint_of
from experiments.records import Outcome, is_per_epoch
from experiments.task.keys import flatten
from experiments.tracking.client import NOTE, PARENT, TAG, open_client, search
from experiments.tracking.files import CONFIG, Files, inventory
from experiments.tracking.reader import Reader
from experiments.uris import without_password

STATUS: dict[Outcome, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "running": "RUNNING",
}
PARAM_LIMIT = 500
NOTHING: Mapping[str, str] = MappingProxyType({})
BATCH = 900  # metrics that are written together, with tags: MLflow takes 1000 of both
WRITE_SECONDS = 1.0  # an epoch may be shorter than the writing of its metrics, and its worker is not to wait


class Store:
    """A tracking store, open for writing; `reader` reads it."""

    def __init__(self, uri: str, /, *, cache: Path | None = None) -> None:
        """Open it; a database that is not there is made, once, under a lock, of what `cache` keeps for that.

        Raises:
            StoreUnavailable: If it cannot be reached or opened.
        """
        self.uri = uri
        self.client = open_client(uri, cache=cache)
        self.owner = Owner.this_process(uri)
        self.files = Files(self.client)
        self.reader = Reader(self.client, self.files)
        self._lease: Lease | None = None
        self._open: dict[str, _OpenRun] = {}

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the MLflow experiment of that name, made if need be."""
        known = self.client.get_experiment_by_name(name)
        if known is not None and not known.experiment_id:
            raise StoreUnavailable(f"{without_password(self.uri)} answers, but not as MLflow does; mend tracking.uri")
        if known is not None:
            if known.lifecycle_stage == "deleted":
                self.client.restore_experiment(known.experiment_id)
                notice(f"The experiment {name} had been deleted in MLflow: it is restored, with its runs.")
            return str(known.experiment_id)
        # The kind lets MLflow's page open on training runs, not on its pages for language models.
        tags = {NOTE: description, "mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(name, artifact_location=self.files.new_place(name), tags=tags))

    def open_sweep(
        self,
        experiment_id: str,
        *,
        name: str,
        fingerprint: str,
        command: str,
        description: str,
        reuse: bool,
        params: Mapping[str, str] = NOTHING,
    ) -> str:
        """Parent run of the sweep, a new one or the earlier one; as `SweepStore` says."""
        query = f"tags.`{TAG}sweep_fingerprint` = '{fingerprint}'"
        abandoned = self._require_abandoned(search(self.client, experiment_id, query)) if reuse else ""
        tags = {TAG + "owner": self.owner.tag, TAG + "command": command, NOTE: description} | _source_tags()
        tags |= {TAG + "heartbeat": locks.now()}
        with locks.creation_lock(self.uri):
            earlier = search(self.client, experiment_id, query) if reuse else []
            if earlier and _is_open(earlier[0]) and earlier[0].data.tags[TAG + "owner"] != abandoned:
                raise _locked(earlier[0])
            if earlier:
                self._close(experiment_id, [abandoned] if abandoned else [])
                sweep_id = self._reopen(earlier[0], tags)
            else:
                tags |= {TAG + "sweep_fingerprint": fingerprint, TAG + "kind": "sweep"}
                sweep_id = self._create(experiment_id, name, tags)
                if params:
                    told = [Param(key, value[:PARAM_LIMIT]) for key, value in params.items()]
                    self.client.log_batch(sweep_id, params=told)
                self._require_first(sweep_id, search(self.client, experiment_id, query) if reuse else [])
        self._lease = Lease(_renewal(MlflowClient(tracking_uri=self.uri), sweep_id), owner=self.owner)
        return sweep_id

    def _require_abandoned(self, runs: Sequence[Run]) -> str:
        """The owner that left the newest of these sweeps open and is dead, as a tag; "" where none is open.

        Raises:
            Locked: If it lives.
        """
        if not runs or not _is_open(runs[0]):
            return ""
        sweep_id, tags = runs[0].info.run_id, runs[0].data.tags
        owner = Owner.from_tag(tags[TAG + "owner"])
        state = owner.state(self.uri)
        if state == "unknown" and TAG + "heartbeat" in tags:
            renewed = locks.is_renewed(lambda: self._heartbeat(sweep_id), what=f"{owner} has this sweep open")
            state = "alive" if renewed else "dead"
        if state != "dead":
            raise _locked(runs[0])
        return str(tags[TAG + "owner"])

    def _heartbeat(self, sweep_id: str) -> str:
        return str(self.client.get_run(sweep_id).data.tags[TAG + "heartbeat"])

    def _require_first(self, sweep_id: str, runs: Sequence[Run]) -> None:
        """Of several commands that began the same sweep at once, which a server lets them, the first one goes on.

        Raises:
            Locked: If another one was the first.
        """
        by_age = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
        if by_age and by_age[0].info.run_id != sweep_id:
            self.client.set_terminated(sweep_id, "KILLED")
            raise _locked(by_age[0])

    def _require_lease(self) -> None:
        """Raise Locked if another command has taken over, this one having been silent for too long."""
        if self._lease is not None:
            self._lease.require("this sweep")

    def write_sweep(self, sweep_id: str, content: Mapping[str, Any]) -> None:
        """Write down what the sweep consists of, as far as it is known; `Reader.read_sweep` reads it."""
        self._require_lease()
        self.files.write(sweep_id, "sweep.json", json.dumps(dict(content)))  # after every run: indented, it takes 20 x

    def end_sweep(self, sweep_id: str, *, status: str) -> None:
        """Close the parent run."""
        self._require_lease()
        if self._lease is not None:
            self._lease.end()
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

    def end_study(
        self, run_id: str, *, metrics: Mapping[str, float], values: Mapping[str, Any], note: str = ""
    ) -> None:
        """Its best values and score, its budget, its note, its end."""
        best = {f"best.{key}": str(value) for key, value in values.items()}
        self._log(run_id, _as_metrics(metrics, step=0), best | {NOTE: note})
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
        self._require_lease()
        tags = {PARENT: parent_id, TAG + "kind": kind, TAG + "fingerprint": fingerprint, TAG + "outcome": "running"}
        tags |= _source_tags() | {TAG + "owner": self.owner.tag} | {TAG + key: value for key, value in facts.items()}
        run_id = self._create(experiment_id, name, tags)
        params = flatten(config)
        self.client.log_batch(run_id, params=[Param(key, str(value)[:PARAM_LIMIT]) for key, value in params.items()])
        written = self.files.write(run_id, CONFIG, yaml.safe_dump(dict(config), sort_keys=False))
        self._open[run_id] = _OpenRun(config=written)
        entity = Dataset(name=dataset["name"], digest=dataset["digest"], source_type="local", source=dataset["origin"])
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "train and test")])])
        return run_id

    def log_epoch(self, run_id: str, metrics: Mapping[str, float], *, epoch: int, step: int) -> None:
        """Metrics whose step is the epoch; those of a run's short epochs are written together."""
        self._require_lease()
        run = self._open.setdefault(run_id, _OpenRun())
        run.unwritten += _as_metrics({**metrics, "step": float(step)}, step=epoch)
        if time.monotonic() - run.written >= WRITE_SECONDS:
            self._log(run_id, run.take_unwritten())
            run.written = time.monotonic()

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
        note: str = "",
    ) -> None:
        """Final metrics, all files of `folder`, the outcome, the note and the end; as `SweepStore` says."""
        self._require_lease()
        folder.mkdir(parents=True, exist_ok=True)
        self.files.copy_all(run_id, folder)
        run = self._open.pop(run_id, _OpenRun())
        kept = inventory(folder, {CONFIG: run.config} if run.config else {})
        tags = {TAG + "files": kept, TAG + "outcome": outcome, TAG + "reason": reason, NOTE: note}
        told = {name: value for name, value in metrics.items() if is_per_epoch(name)}
        single = {name: value for name, value in metrics.items() if name not in told}  # MLflow draws step 0 as a bar
        self._log(run_id, [*run.unwritten, *_as_metrics(told, step=step), *_as_metrics(single, step=0)], tags)
        self.client.set_terminated(run_id, STATUS[outcome])
        self.files.forget(run_id)

    def mark_as_attempt(self, run_id: str) -> None:
        """A trial that was cut short is trained again under its number: this one was but an attempt."""
        self.client.set_tag(run_id, TAG + "kind", "attempt")

    def close_orphans(self, experiment_id: str) -> int:
        """Mark runs that dead processes left RUNNING as KILLED; return how many."""
        runs = search(self.client, experiment_id, "attributes.status = 'RUNNING'")
        owners = {run.data.tags[TAG + "owner"] for run in runs if TAG + "owner" in run.data.tags}
        return self._close(experiment_id, [tag for tag in owners if self._is_dead(tag, runs)])

    def _is_dead(self, owner: str, runs: Sequence[Run]) -> bool:
        """Whether it is known without waiting; `runs` hold its sweep, which has the lease."""
        state = Owner.from_tag(owner).state(self.uri)
        leases = [run.data.tags.get(TAG + "heartbeat", "") for run in runs if run.data.tags.get(TAG + "owner") == owner]
        return state == "dead" or (state == "unknown" and locks.is_long_ago(max(leases)))

    def _close(self, experiment_id: str, owners: Sequence[str]) -> int:
        """Close what owners that are dead left open; return how many."""
        runs = search(self.client, experiment_id, "attributes.status = 'RUNNING'")
        orphans = [run for run in runs if run.data.tags.get(TAG + "owner") in owners]
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
            if run.data.tags.get(PARENT) in parents and run.data.tags.get(TAG + "owner") == self.owner.tag:
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

    def log_report(
        self, sweep_id: str, folder: Path, *, note: str, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """The report's files under `report/`, its first page as the sweep's note, its verdicts as tags, its means."""
        self.files.copy_all(sweep_id, folder, "report")
        named = {NOTE: note} | {TAG + key: value for key, value in tags.items()}
        self._log(sweep_id, _as_metrics(metrics, step=0), named)

    def log_pictures(self, sweep_id: str, pictures: Mapping[int, Array]) -> None:
        """Keep pictures of the test set, so that the report can be made again without the data."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pictures.npz"
            named: dict[str, Any] = {str(index): picture for index, picture in sorted(pictures.items())}
            np.savez_compressed(path, **named)
            self.files.copy(sweep_id, path)

    def log_certificate(
        self, experiment_id: str, *, name: str, fingerprint: str, passed: bool, content: Mapping[str, Any], text: str
    ) -> str:
        """A certificate as a run of its own, found again by the fingerprint of what it certifies."""
        verdict = "passed" if passed else "failed"
        tags = {TAG + "kind": "certificate", TAG + "certificate": fingerprint, TAG + "verdict": verdict, NOTE: text}
        run_id = self._create(experiment_id, name, tags)
        self.files.write(run_id, "certificate.json", json.dumps(dict(content), indent=2))
        self.files.write(run_id, "certificate.md", text)
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _create(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
        run = self.client.create_run(experiment_id, run_name=name, tags=dict(tags))
        self.files.know(run)
        return str(run.info.run_id)

    def _reopen(self, run: Run, tags: Mapping[str, str]) -> str:
        self.client.update_run(run.info.run_id, status="RUNNING")
        self._tag(run.info.run_id, {TAG + "reason": "", **tags})
        return str(run.info.run_id)

    def _kill(self, run: Run, tags: Mapping[str, str]) -> None:
        """Close a run that was cut short."""
        if run.data.tags.get(TAG + "kind") == "trial":
            self.mark_as_attempt(run.info.run_id)
        self._log(run.info.run_id, self._open.pop(run.info.run_id, _OpenRun()).unwritten, tags)
        self.client.set_terminated(run.info.run_id, "KILLED")

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._log(run_id, [], tags)

    def _log(self, run_id: str, metrics: Sequence[Metric], tags: Mapping[str, str] | None = None) -> None:
        """Write as few batches as MLflow takes; the tags with the last metrics, so that they are there first."""
        *full, last = [metrics[first : first + BATCH] for first in range(0, len(metrics), BATCH)] or [[]]
        for batch in full:
            self.client.log_batch(run_id, metrics=batch)
        named = [RunTag(key, str(value)[:8000]) for key, value in (tags or {}).items()]
        self.client.log_batch(run_id, metrics=last, tags=named)


@dataclass(kw_only=True)
class _OpenRun:
    """A run that this process began and has not ended: what is known of its config.yaml, what is not yet written."""

    config: str = ""
    unwritten: list[Metric] = field(default_factory=list)
    written: float = field(default_factory=time.monotonic)  # when the last were

    def take_unwritten(self) -> list[Metric]:
        taken, self.unwritten = self.unwritten, []
        return taken


def _as_metrics(metrics: Mapping[str, float], *, step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(key, value, now, step) for key, value in metrics.items()]


def _source_tags() -> dict[str, str]:
    """Where a run came from, under the names that MLflow's own pages show."""
    return {
        "mlflow.source.name": "run.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": environment.git_commit(),
        "mlflow.user": environment.user(),
    }


def _is_open(run: Run) -> bool:
    return bool(run.info.status == "RUNNING")


def _locked(sweep: Run) -> Locked:
    owner = Owner.from_tag(sweep.data.tags[TAG + "owner"])
    return Locked(
        f"{owner} is at work on this sweep (run {sweep.info.run_id}); if it is dead, tracking.reuse=false starts anew"
    )


def _renewal(client: MlflowClient, sweep_id: str) -> Callable[[str], str]:
    def renew(now: str) -> str:
        client.set_tag(sweep_id, TAG + "heartbeat", now)
        return str(client.get_run(sweep_id).data.tags[TAG + "owner"])

    return renew
