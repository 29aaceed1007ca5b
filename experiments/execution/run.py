"""What parent and worker say to each other: a run, and the events of its training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.data.spec import ExampleSpec
from experiments.fingerprint import RESULTS_VERSION, fingerprint_of, plain
from experiments.task import Task


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of one task by one framework with one seed.

    `data_path` is what `data.write` wrote, `spec` what its examples look like, `folder` where the run leaves its files,
    `devices` how many devices share it, `environment` the variables that a user has workers have.
    `bare_loop` says what its framework's bare loop does where that trains, empty where the harness does.
    `name`, `labels` and `overrides` say how a person asked for it; its numbers do not depend on them. A trial is a
    run of a search: it is never scored on the test set, keeps no model, and stops when the parent says so.
    """

    task: Task
    framework: str
    seed: int
    device: str
    data_fingerprint: str
    data_path: Path
    folder: Path
    spec: ExampleSpec | None = None
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    is_trial: bool = False
    devices: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    bare_loop: str = ""

    @functools.cached_property
    def fingerprint(self) -> str:
        """The run's name: hash of everything that its numbers depend on, and of nothing else."""
        task = plain(self.task)
        learned = {key: task[key] for key in ("network", "optimizer", "schedule", "regularization", "training")}
        return fingerprint_of(
            {
                "task": learned,
                "data": self.data_fingerprint,
                "framework": self.framework,
                "seed": self.seed,
                "device": self.device,
                "results_version": RESULTS_VERSION,
            }
            | ({"is_trial": True} if self.is_trial else {})
            | ({"devices": self.devices} if self.devices > 1 else {})
            | ({"environment": dict(self.environment)} if self.environment else {})
            | ({"loop": "bare"} if self.bare_loop else {})
            | ({"as_shipped": sorted(self.task.as_shipped)} if self.task.as_shipped else {})
        )

    @property
    def config(self) -> dict[str, Any]:
        """The task and who trains it, in JSON types: what a store keeps of a run and a report reads."""
        shared = {"devices": self.devices} if self.devices > 1 else {}  # sets arms apart; one device is no choice
        bare = {"loop": "bare"} if self.bare_loop else {}
        who = {"framework": self.framework, "seed": self.seed, "device": self.device}
        return {**who, **shared, **bare, **plain(self.task)}


@dataclass(frozen=True, kw_only=True)
class Started:
    """The network is built and holds its initial weights."""

    pid: int
    versions: dict[str, str]
    n_parameters: int


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """Metrics of epoch 1, 2, ...; `step` counts optimizer steps so far."""

    epoch: int
    step: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The final scores, the time ledger (seconds) and the memory (MiB)."""

    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Diverged:
    """A loss, weight or score became what `divergence` tells; the run is over and stays in n.

    `reason` holds the step or epoch, the quantity and its value.
    """

    epoch: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The parent stopped the trial after that epoch."""

    epoch: int


Event = Started | EpochEnded | Finished | Diverged | Pruned
