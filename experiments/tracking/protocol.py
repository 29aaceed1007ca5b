"""What others need of a store, each no more than it uses. A store has these methods and no base class.

`store.Store` keeps everything in MLflow; the tests have a second one that keeps it in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from experiments.contract.arrays import Array
from experiments.records import Outcome, RunRecord, SweepRecord


class CertificateReader(Protocol):
    """Where certificates are looked up."""

    def certificate(self, experiment_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The newest certificate under that fingerprint, or None."""


class CertificateStore(Protocol):
    """Where certificates are kept."""

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the experiment of that name, made if need be."""

    def log_certificate(
        self, experiment_id: str, *, name: str, fingerprint: str, passed: bool, content: Mapping[str, Any], text: str
    ) -> str:
        """Keep a certificate and return its identifier.

        Args:
            experiment_id: The experiment it belongs to.
            name: What a person reads.
            fingerprint: Of what it certifies; the newest one under it counts.
            passed: How it came out.
            content: The certificate in JSON types.
            text: The certificate in Markdown.
        """


class ReportReader(CertificateReader, Protocol):
    """Where a report finds what no record holds."""

    def logits(self, run_id: str) -> tuple[Array, Array] | None:
        """Test logits (n, n_outputs) and targets of a finished run; None where it left none, or they are lost."""


class ReportStore(Protocol):
    """Where a report is kept."""

    @property
    def uri(self) -> str:
        """Where it is, as `mlflow ui --backend-store-uri` takes it."""

    @property
    def reader(self) -> ReportReader:
        """What is kept already."""

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the experiment of that name, made if need be."""

    def log_pictures(self, sweep_id: str, pictures: Mapping[int, Array]) -> None:
        """Keep pictures of the test set, example -> (h, w, channels), so that the next report needs no data."""

    def log_report(
        self, sweep_id: str, folder: Path, *, note: str, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """Keep the report's files.

        Args:
            sweep_id: Where.
            folder: Whose files are kept.
            note: The report's first page in Markdown.
            tags: Its verdicts.
            metrics: The arms' mean scores, under names that a list of sweeps shows.
        """


class SweepReader(Protocol):
    """Where a sweep and its search find what was done before."""

    def has_sweep(self, sweep_id: str) -> bool:
        """Whether it was written down what the sweep consists of."""

    def read_sweep(self, sweep_id: str) -> SweepRecord:
        """Everything the report needs, from the store alone; `lost` says what is missing of it.

        Raises:
            NotKept: If it is lost what the sweep consists of.
        """

    def has_run(self, run_id: str) -> bool:
        """Whether a run is kept here: Optuna's storage may be older, or shared with another store."""

    def finished_run(self, run_id: str) -> RunRecord | None:
        """A run that came to its end, whatever the end; None if it was cut short or there is none."""

    def find_finished(
        self, experiment_id: str, fingerprints: Collection[str], *, sweep_id: str
    ) -> tuple[dict[str, str], list[str]]:
        """Which of the runs that are wanted have their result, with all of its files.

        Args:
            experiment_id: Where to look.
            fingerprints: What is wanted.
            sweep_id: Whose finished runs are taken first; then the newest of any other sweep's.

        Returns:
            Fingerprint -> identifier of the run; and what is missing of results that were kept, a sentence each.
        """


class SweepStore(Protocol):
    """Where a sweep, its runs, its studies and their trials are kept while they happen."""

    @property
    def reader(self) -> SweepReader:
        """What is kept already."""

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the experiment of that name, made if need be."""

    def open_sweep(
        self,
        experiment_id: str,
        *,
        name: str,
        fingerprint: str,
        command: str,
        description: str,
        reuse: bool,
        params: Mapping[str, str],
    ) -> str:
        """Open the sweep that asked for the same runs before, or a new one; return its identifier.

        Args:
            experiment_id: The experiment it belongs to.
            name: What a person reads.
            fingerprint: Of what is asked for.
            command: As it was typed.
            description: What a person reads until there is a report.
            reuse: Whether an earlier sweep with that fingerprint goes on.
            params: What a list of sweeps shows of a new one beside its name.

        Raises:
            Locked: If another living process has it open.
        """

    def write_sweep(self, sweep_id: str, content: Mapping[str, Any]) -> None:
        """Write down what the sweep consists of, as far as it is known; `read_sweep` reads it."""

    def end_sweep(self, sweep_id: str, *, status: str) -> None:
        """Close the sweep as FINISHED or KILLED."""

    def open_study(self, experiment_id: str, *, sweep_id: str, name: str) -> str:
        """Identifier of what holds a study's trials: a child of the sweep, made once."""

    def end_study(self, run_id: str, *, metrics: Mapping[str, float], values: Mapping[str, Any], note: str) -> None:
        """Its best values and score, its budget, what a person reads of it, its end."""

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
        """Open the record of a run or trial; return its identifier.

        Args:
            experiment_id: The experiment it belongs to.
            parent_id: The sweep of a run, the study of a trial.
            kind: A run has a result; a trial is but a step of a search.
            name: What a person reads.
            fingerprint: What it is found under again, once it is finished.
            config: The task and who trains it, nested, in JSON types.
            facts: Machine, versions, data, ...: name -> value.
            dataset: Its `name`, `digest` and `origin`.
        """

    def log_epoch(self, run_id: str, metrics: Mapping[str, float], *, epoch: int, step: int) -> None:
        """Metrics of epoch 1, 2, ...; `step` counts optimizer steps so far."""

    def log_facts(self, run_id: str, facts: Mapping[str, str]) -> None:
        """More facts of a run."""

    def end_run(
        self,
        run_id: str,
        *,
        outcome: Outcome,
        reason: str,
        metrics: Mapping[str, float],
        step: int,
        folder: Path,
        note: str,
    ) -> None:
        """Close the record of a run.

        Args:
            run_id: Which.
            outcome: How it ended.
            reason: Why it did not finish, else empty.
            metrics: The final ones.
            step: The epoch they belong to.
            folder: Whose files are kept with the run; made if need be.
            note: What a person reads of it.
        """

    def mark_as_attempt(self, run_id: str) -> None:
        """A trial that was cut short is trained again under its number: this one was but an attempt."""

    def close_orphans(self, experiment_id: str) -> int:
        """Close runs that dead processes left open, as far as that is known without waiting; return how many."""

    def kill_open_runs(self, experiment_id: str, sweep_id: str, reason: str) -> None:
        """Close the sweep's runs that this process left open, and its studies'."""
