"""C0 to C4 in float64 of Keras' other backends against Lightning, a row of docs/parity.md at a time.

One process does all that a framework has to do for a row: what JAX compiles and how a backend starts is most of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import frameworks
from experiments import data
from experiments.contract import Load
from experiments.data import download
from experiments.errors import ProbeFailed
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.parity import levels, probes
from experiments.parity.certificate import Row
from experiments.parity.certify import FLOOR_STARTS, divergence_of
from experiments.parity.probes import FreeRun, Subject
from experiments.task import Task

REFERENCE, BACKENDS = "lightning", ("keras_jax", "keras_torch")


def probe(subject: Subject, load: Load, n_starts: int, emit: Callable[[Any], None]) -> None:
    """In a worker: the probes `untrained`, `free_run` and `gradients`, and free runs that begin one ulp away.

    Args:
        subject: What is probed.
        load: `frameworks.load`.
        n_starts: How many of those; the framework that has any keeps the weights along its way, for all to use.
        emit: Gets what each of the probes emits, in that order.
    """
    probes.untrained(subject, load, emit)
    probes.free_run(subject, load, FreeRun(keeps_checkpoints=n_starts > 0), emit)
    probes.gradients(subject, load, emit)
    for number in range(1, n_starts + 1):
        probes.free_run(subject, load, FreeRun(perturbation_seed=number), emit)


def rows_of_levels(task: Task, *, executor: LocalExecutor, folder: Path) -> dict[str, list[Row]]:
    """Backend -> the rows of its certificate against Lightning: C0 to C4 in float64, Lightning's noise floor measured.

    Args:
        task: Its precision is replaced.
        executor: For a process per framework.
        folder: For data, checkpoints and logs.

    Raises:
        ProbeFailed: If a process brings no result, or the training diverges.
    """
    task = dataclasses.replace(task, training=dataclasses.replace(task.training, precision="float64"))
    cache = download.cache_folder(otherwise=folder)
    path = data.write(data.load(task.data, cache=cache), cache / "prepared")
    subjects = {
        name: Subject(task=task, framework=name, seed=0, data_path=path, folder=folder)
        for name in (REFERENCE, *BACKENDS)
    }
    found = _told(executor, [subjects[REFERENCE]]) | _told(executor, [subjects[name] for name in BACKENDS])
    untrained, run, gradients, *starts = found[REFERENCE]
    distances = [levels.loss_distance(run["losses"], each["losses"]) for each in starts]
    floor = np.maximum.accumulate(np.max(distances, axis=0))
    return {
        name: [
            levels.weight_map(untrained, found[name][0], precision="float64"),
            levels.forward(untrained, found[name][0], task=task),
            levels.gradients(gradients, found[name][2], task=task),
            *levels.optimizer(untrained, found[name][0], precision="float64"),
            *levels.free_run64(run, found[name][1], task=task, floor=floor),
        ]
        for name in BACKENDS
    }


def _told(executor: LocalExecutor, subjects: Sequence[Subject]) -> dict[str, list[Any]]:
    """Framework -> what its process emitted, in order."""
    works = [
        WorkItem(
            target=probe,
            arguments=(subject, frameworks.load, FLOOR_STARTS if subject.framework == REFERENCE else 0),
            log=subject.folder / f"{subject.framework}.log",
            framework=subject.framework,
        )
        for subject in subjects
    ]
    told: dict[str, list[Any]] = {subject.framework: [] for subject in subjects}
    for index, event in executor.run(works):
        name = subjects[index].framework
        if isinstance(event, Failed):
            raise ProbeFailed(f"{name}: {event.reason} (log: {works[index].log})")
        if not isinstance(event, Completed):
            told[name].append(event)
    for name, (_, run, *_others) in told.items():
        if reason := divergence_of(run):
            raise ProbeFailed(f"the training diverges in {name}: {reason}")
    return told


def cells(rows: Sequence[Row]) -> list[str]:
    """C1, C2, C3, C4 (losses), predictions flipped, and whether all of C0 to C4 passed."""
    of = {level: [row for row in rows if row.level == level] for level in ("C1", "C2", "C3", "C4")}
    flips = next(row for row in of["C4"] if "flipped" in row.what)
    largest = [max(row.measured for row in of[level]) for level in ("C1", "C2", "C3")]
    open_mark = " *" if "left open" in flips.what else ""
    verdict = "certified" if all(row.passed for row in rows) else "**not certified**"
    return [f"{each:.0e}" for each in (*largest, of["C4"][0].measured)] + [f"{flips.measured:.0f}{open_mark}", verdict]
