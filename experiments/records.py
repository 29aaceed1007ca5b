"""What is known of a run and of a sweep once they are kept: the report's only input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["finished", "diverged", "failed", "running"]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run as read back from the store.

    Attributes:
        config: The task, nested, with its framework and seed.
        metrics: Last value of each metric.
        curves: Metric -> (epoch, value) pairs in order, for metrics told per epoch.
        facts: What was recorded beside: versions, threads, device, host, data's origin, ...
        reason: Why the run failed or diverged, else empty.
    """

    run_id: str
    name: str
    fingerprint: str
    framework: str
    seed: int
    outcome: Outcome
    reason: str
    config: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]
    facts: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class CertificateRecord:
    """What the store knows about the identity of two frameworks on a task that a sweep trained.

    `sentence` says it; `rows` are the levels, empty where there is no certificate.
    """

    arm: str
    frameworks: tuple[str, str]
    passed: bool
    sentence: str
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """All runs that one command asked for, in its order, and its margins; some may be reused from earlier sweeps."""

    sweep_id: str
    experiment: str
    description: str
    command: str
    n_planned: int
    margins: dict[str, float]
    runs: tuple[RunRecord, ...]
    certificates: tuple[CertificateRecord, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether a planned run failed or is missing."""
        return self.n_planned > sum(run.outcome in ("finished", "diverged") for run in self.runs)
