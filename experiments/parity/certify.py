"""The certificate: two frameworks train one task identically, shown level by level.

C0 weight map, C1 forward pass, C2 gradients at synced checkpoints, C3 optimizer alone, C4 free run, C5 the same where
float32 is chaotic, C6 the same run twice. C0 to C4 in float64 and C6 are the gate; for a task in mixed precision also
that both frameworks round, and by as much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from experiments.contract import Load
from experiments.contract.arrays import Array
from experiments.errors import ProbeFailed
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.fingerprint import plain
from experiments.parity import levels, probes
from experiments.parity.certificate import PRECISIONS, Certificate, Row, fingerprint
from experiments.parity.probes import FreeRun, Subject
from experiments.task import Precision, Task

Result = Any
FLOOR_STARTS = 3
SPREAD_STARTS = 6


def certify(
    task: Task,
    *,
    frameworks: tuple[str, str],
    seed: int,
    data_path: Path,
    data_fingerprint: str,
    folder: Path,
    executor: LocalExecutor,
    load: Load,
    precisions: Sequence[Precision] = get_args(Precision),
    with_floors: bool = False,
) -> Certificate:
    """Compare two frameworks on a task.

    Args:
        task: What is compared; its precision is replaced by each of `precisions`.
        frameworks: The two; the first one's way is the reference.
        seed: Of weights, batches and masks.
        data_path: What `data.write` wrote.
        data_fingerprint: The data's name.
        folder: For checkpoints and logs.
        executor: Each probe is a process of its own.
        load: `frameworks.load`.
        precisions: Those that both have. Of them float64 gates; float32 and the task's own inform.
        with_floors: Measure the noise floor even where the fixed bound is kept without it.

    Raises:
        ProbeFailed: If a worker dies or raises; the reason names the framework.
    """
    bench = _Bench(executor=executor, load=load, folder=folder)
    wanted = dict.fromkeys((*PRECISIONS, task.training.precision))
    precisions = [precision for precision in wanted if precision in precisions]
    subjects = {
        (framework, precision): Subject(
            task=_in_precision(task, precision), framework=framework, seed=seed, data_path=data_path, folder=folder
        )
        for precision in precisions
        for framework in frameworks
    }
    told = bench.do(_first_round(subjects, reference=frameworks[0]))
    told |= bench.do({(key, "gradients"): (probes.gradients, subject) for key, subject in subjects.items()})
    rows: list[Row] = []
    for precision in precisions:
        pair = [subjects[framework, precision] for framework in frameworks]
        rows += _rows(pair[0], pair[1], told, bench=bench, with_floors=with_floors)
    name = fingerprint(plain(task), data_fingerprint=data_fingerprint, frameworks=frameworks)
    versions: dict[str, str] = {}
    for framework in frameworks:
        versions |= told[(framework, precisions[0]), "at_rest"]["versions"]
    return Certificate(
        task_name=task.name,
        frameworks=frameworks,
        fingerprint=name,
        versions=versions,
        floor=bench.floors.get(("float64", FLOOR_STARTS)),
        rows=tuple(sorted(rows, key=lambda row: row.level)),
    )


def _in_precision(task: Task, precision: Precision) -> Task:
    return dataclasses.replace(task, training=dataclasses.replace(task.training, precision=precision))


def _first_round(subjects: Mapping[Any, Subject], *, reference: str) -> dict[Any, tuple[Any, ...]]:
    """Everything that waits for nothing."""
    works: dict[Any, tuple[Any, ...]] = {}
    for key, subject in subjects.items():
        whole = FreeRun(keeps_checkpoints=subject.framework == reference)
        works[key, "free_run"] = (probes.free_run, subject, whole)
        works[key, "again"] = (probes.free_run, subject, FreeRun(n_steps=probes.EARLY_STEPS))
        works[key, "at_rest"] = (probes.at_rest, subject)
    return works


def _rows(
    first: Subject, second: Subject, told: Mapping[Any, Result], *, bench: _Bench, with_floors: bool
) -> list[Row]:
    """All rows of one precision."""
    keys = [(subject.framework, subject.precision) for subject in (first, second)]
    task, precision = first.task, first.precision

    def both(what: str) -> tuple[Result, Result]:
        return told[keys[0], what], told[keys[1], what]

    rows = [
        levels.weight_map(*both("at_rest"), precision=precision),
        levels.forward(*both("at_rest"), task=task),
        levels.gradients(*both("gradients"), task=task),
        *levels.optimizer(*both("at_rest"), precision=precision),
    ]
    runs = both("free_run")
    if precision not in PRECISIONS:
        single = [told[(subject.framework, "float32"), "at_rest"] for subject in (first, second)]
        found = [levels.rounding(both("at_rest"), single, precision=precision)]
        found.append(levels.first_losses(*runs, task=task))
    elif precision == "float64":
        found = levels.free_run64(*runs, task=task, floor=None)
        if with_floors or not all(row.passed for row in found):
            found = levels.free_run64(*runs, task=task, floor=bench.floor(first, runs[0], FLOOR_STARTS))
    else:
        found = levels.free_run32(*runs, task=task, spread=None)
        if with_floors or not all(row.passed for row in found):
            enough = None if with_floors else max(row.measured for row in found)
            spread = bench.floor(first, runs[0], SPREAD_STARTS, enough=enough)
            found = levels.free_run32(*runs, task=task, spread=float(spread[-1]))
    rows += found
    rows += [
        levels.repeated(told[key, "free_run"], told[key, "again"], framework=key[0], precision=precision)
        for key in keys
    ]
    return rows


@dataclass(kw_only=True)
class _Bench:
    """Runs probes in workers and brings their results."""

    executor: LocalExecutor
    load: Load
    folder: Path
    floors: dict[tuple[str, int], float] = field(default_factory=dict)

    def do(self, works: Mapping[Any, tuple[Any, ...]]) -> dict[Any, Result]:
        """Key -> what the probe emitted.

        Raises:
            ProbeFailed: If one of them did not.
        """
        keys = list(works)
        asked = [
            WorkItem(
                target=target,
                arguments=(subject, self.load, *others),
                log=self.folder / f"{subject.framework}-{subject.precision}-{target.__name__}.log",
            )
            for target, subject, *others in works.values()
        ]
        found: dict[Any, Result] = {}
        for index, event in self.executor.run(asked):
            if isinstance(event, Failed):
                _, subject, *_ = works[keys[index]]
                raise ProbeFailed(f"No certificate: {subject.framework}: {event.reason} (log: {asked[index].log})")
            if not isinstance(event, Completed):
                found[keys[index]] = event
        return found

    def floor(self, subject: Subject, reference: Result, n_starts: int, *, enough: float | None = None) -> Array:
        """Largest loss distance up to each step, of `n_starts` runs that begin one unit in the last place away.

        More starts can only raise it, so that it may stop once it has reached `enough`.
        """
        at_once = n_starts if enough is None else self.executor.settings.workers
        found = np.zeros(len(reference["losses"]))
        for begin in range(1, n_starts + 1, at_once):
            seeds = range(begin, min(begin + at_once, n_starts + 1))
            starts = self.do({seed: (probes.free_run, subject, FreeRun(nudge=seed)) for seed in seeds})
            distances = [levels.loss_distance(reference["losses"], run["losses"]) for run in starts.values()]
            found = np.maximum(found, np.maximum.accumulate(np.max(distances, axis=0)))
            if enough is not None and found[-1] >= enough:
                break
        self.floors[subject.precision, n_starts] = float(found[-1])
        return found
