"""MLflow -> records: the only reader."""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import yaml
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from experiments.contract.arrays import Array
from experiments.errors import NotKept, SettingsError
from experiments.records import Outcome, RunRecord, SweepRecord, is_per_epoch
from experiments.tracking.client import NOTE, TAG, PatientClient, histories, runs_of, search
from experiments.tracking.files import CONFIG, LOGITS, Files
from experiments.tracking.manifest import sweep_from

RESULTS = ("finished", "diverged")  # outcomes that count, the better one first
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times as fast, where it is built
Content = TypeVar("Content")


class Reader:
    """What is kept in a store."""

    def __init__(self, client: PatientClient, files: Files, /) -> None:
        """Read through an open client, and what it knows of files."""
        self.client = client
        self.files = files
        self._found: dict[str, Run] = {}  # ended runs that a sweep goes on with, until they are read

    def find_sweep(self, experiment_id: str, which: str) -> str:
        """Identifier of a sweep of the experiment: `which` itself, or the latest one.

        Raises:
            SettingsError: If there is none.
        """
        query = f"tags.`{TAG}kind` = 'sweep'"
        if which == "latest":
            found = search(self.client, experiment_id, query, limit=1)
        else:
            found = search(self.client, experiment_id, f"{query} and attributes.run_id = '{_as_id(which)}'")
        if found:
            return str(found[0].info.run_id)
        ids = [str(run.info.run_id) for run in search(self.client, experiment_id, query)]
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
        self.files.know(sweep)
        command = sweep.data.tags.get(TAG + "command", "")
        try:
            manifest = self._read(sweep_id, "sweep.json", _read_json)
        except NotKept as error:
            raise NotKept(f"sweep {sweep_id}: {error}; `{command}` trains what is lost, and reports it") from error
        experiment = self.client.get_experiment(sweep.info.experiment_id)
        ids = [entry["id"] for kind in ("runs", "trials") for entry in manifest[kind]]
        return sweep_from(
            manifest,
            read_run=self._runs_read(experiment.experiment_id, ids),
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
            return self._runs_read(run.info.experiment_id, [run_id])(run_id) if is_finished else None
        except (MlflowException, NotKept):
            return None

    def find_finished(
        self, experiment_id: str, fingerprints: Collection[str], *, sweep_id: str
    ) -> tuple[dict[str, str], list[str]]:
        """Which runs have their result and what is lost of others; as `SweepReader` says."""
        found = self._results_of_sweep(experiment_id, sweep_id, fingerprints=frozenset(fingerprints))
        lost = []
        for fingerprint in fingerprints:
            if fingerprint in found:
                continue
            kept = [(run, self._missing(run)) for run in self._results(experiment_id, fingerprint)]
            whole = [run for run, what in kept if not what]
            if whole:
                found[fingerprint] = str(whole[0].info.run_id)
            elif kept:
                run, what = kept[0]
                lost.append(f"{run.info.run_name} (run {run.info.run_id}): {what}")
        return found, lost

    def _results_of_sweep(self, experiment_id: str, sweep_id: str, *, fingerprints: frozenset[str]) -> dict[str, str]:
        """Fingerprint -> the finished run that a sweep has for it, whole: all are asked for at once."""
        try:
            entries = self._read(sweep_id, "sweep.json", _read_json)["runs"]
        except NotKept:
            return {}
        runs = runs_of(self.client, experiment_id, [entry["id"] for entry in entries])
        self._found = {
            run_id: run
            for run_id, run in runs.items()
            if run.data.tags.get(TAG + "fingerprint") in fingerprints
            and run.data.tags.get(TAG + "outcome") == RESULTS[0]
            and not self._missing(run)
        }
        return {run.data.tags[TAG + "fingerprint"]: run_id for run_id, run in self._found.items()}

    def _missing(self, run: Run) -> str:
        self.files.know(run)
        return self.files.missing(run)

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

    def _runs_read(self, experiment_id: str, run_ids: Collection[str]) -> Callable[[str], RunRecord]:
        """Read runs and their curves, all at once; what is returned makes the record of one, or raises NotKept."""
        found, self._found = self._found, {}
        runs = {run_id: found[run_id] for run_id in run_ids if run_id in found}
        runs |= runs_of(self.client, experiment_id, [run_id for run_id in run_ids if run_id not in runs])
        curves = self._curves(runs)

        def record(run_id: str) -> RunRecord:
            if run_id not in runs:
                raise NotKept(f"it is not in {self.client.tracking_uri} any more")
            return self._record(runs[run_id], curves[run_id])

        return record

    def _record(self, run: Run, curves: dict[str, list[tuple[int, float]]]) -> RunRecord:
        self.files.know(run)
        tags = run.data.tags
        config = self._read(run.info.run_id, CONFIG, _read_yaml)
        return RunRecord(
            run_id=run.info.run_id,
            name=run.info.run_name,
            fingerprint=tags[TAG + "fingerprint"],
            framework=config["framework"],
            seed=int(config["seed"]),
            outcome=cast(Outcome, tags[TAG + "outcome"]),
            reason=tags.get(TAG + "reason", ""),
            config=config,
            metrics=dict(run.data.metrics),
            curves={name: sorted(curves[name]) for name in run.data.metrics if is_per_epoch(name)},
            facts={
                key.removeprefix(TAG): value
                for key, value in tags.items()
                if key.startswith(TAG) and key != TAG + "files"
            },
            lost=self.files.missing(run) if run.info.status != "RUNNING" else "",
        )

    def _curves(self, runs: Mapping[str, Run]) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Run -> metric -> its (epoch, value) pairs, for what is told per epoch."""
        names = {name: None for run in runs.values() for name in run.data.metrics if is_per_epoch(name)}
        curves: dict[str, dict[str, list[tuple[int, float]]]] = {run_id: defaultdict(list) for run_id in runs}
        for name in names:
            having = [run_id for run_id, run in runs.items() if name in run.data.metrics]
            for run_id, metric in histories(self.client, having, name):
                curves[run_id][name].append((metric.step, metric.value))
        return curves

    def _control_before(self, sweep: Run) -> str:
        """What the last control that came to a result found, among those that began before this sweep."""
        tag = f"tags.`{TAG}control`"
        query = f"{tag} != '' and {tag} != 'not assessed' and attributes.start_time < {sweep.info.start_time}"
        results = search(self.client, sweep.info.experiment_id, query, limit=1)
        return str(results[0].data.tags[TAG + "control"]) if results else ""

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


def _as_id(text: str) -> str:
    """What may be an identifier, without what would end a query's quotes."""
    return text.replace("'", "")


def _read_yaml(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506  # a safe one
    if not isinstance(content, dict):
        raise ValueError("it holds no configuration")
    return content


def _read_arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}
