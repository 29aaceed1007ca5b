"""The certificate: two frameworks train one task identically, shown level by level.

C0 weight map, C1 forward pass, C2 gradients at synced checkpoints, C3 optimizer alone, C4 free run, C5 the same where
float32 is chaotic, C6 the same run twice. C0 to C4 in float64 and C6 are the gate, and that both read the run's data
alike in float32; for a task in mixed precision also that both frameworks round, and by as much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console

from experiments import divergence
from experiments.contract import Load
from experiments.contract.arrays import Array
from experiments.errors import ProbeFailed
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.fingerprint import plain
from experiments.parity import levels, probes
from experiments.parity.certificate import PRECISIONS, Certificate, Row, fingerprint
from experiments.parity.probes import FreeRun, Subject
from experiments.phases import phase
from experiments.task import Precision, Task

Result = Any
FLOOR_STARTS = 3
SPREAD_STARTS = 6
# Probe -> the levels that it is for, as the screen names it at work.
LEVELS = {"untrained": "C0 C1 C3", "gradients": "C2", "free_run": "C4 C5", "again": "C6"}


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
    console: Console | None = None,
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
        console: Where it is said which levels are looked at; None: nowhere.

    Raises:
        ProbeFailed: If a worker dies or raises; the reason names the framework.
    """
    runner = _ProbeRunner(
        executor=executor, load=load, folder=folder, console=console or Console(quiet=True), task_name=task.name
    )
    wanted = dict.fromkeys((*PRECISIONS, task.training.precision))
    precisions = [precision for precision in wanted if precision in precisions]
    subjects = {
        (framework, precision): Subject(
            task=_in_precision(task, precision), framework=framework, seed=seed, data_path=data_path, folder=folder
        )
        for precision in precisions
        for framework in frameworks
    }
    results = runner.run(_first_round(subjects, reference=frameworks[0]), what="C0 to C6")
    gradients = {(key, "gradients"): (probes.gradients, subject) for key, subject in subjects.items()}
    results |= runner.run(gradients, what="C2")
    rows: list[Row] = []
    for precision in precisions:
        first, second = (subjects[framework, precision] for framework in frameworks)
        rows += _rows(first, second, results, runner=runner, with_floors=with_floors)
    environment = executor.environment
    name = fingerprint(
        plain(task), data_fingerprint=data_fingerprint, frameworks=frameworks, environment=environment.stated
    )
    versions: dict[str, str] = {}
    for framework in frameworks:
        versions |= results[(framework, precisions[0]), "untrained"]["versions"]
    return Certificate(
        task_name=task.name,
        frameworks=frameworks,
        fingerprint=name,
        versions=versions,
        floor=runner.floors.get(("float64", FLOOR_STARTS)),
        rows=tuple(sorted(rows, key=lambda row: row.level)),
        environment=environment.facts(),
    )


def _in_precision(task: Task, precision: Precision) -> Task:
    return dataclasses.replace(task, training=dataclasses.replace(task.training, precision=precision))


def _first_round(subjects: Mapping[Any, Subject], *, reference: str) -> dict[Any, tuple[Any, ...]]:
    """Every probe that waits for no other."""
    calls: dict[Any, tuple[Any, ...]] = {}
    for key, subject in subjects.items():
        options = FreeRun(keeps_checkpoints=subject.framework == reference)
        calls[key, "free_run"] = (probes.free_run, subject, options)
        calls[key, "again"] = (probes.free_run, subject, FreeRun(n_steps=probes.EARLY_STEPS))
        calls[key, "untrained"] = (probes.untrained, subject)
    return calls


def _rows(
    first: Subject, second: Subject, results: Mapping[Any, Result], *, runner: _ProbeRunner, with_floors: bool
) -> list[Row]:
    """All rows of one precision.

    Args:
        first: The reference.
        second: The framework that is compared with it.
        results: (framework, precision), probe -> what it emitted.
        runner: Runs what more is needed.
        with_floors: As in `certify`.
    """
    keys = [(subject.framework, subject.precision) for subject in (first, second)]
    task, precision = first.task, first.precision

    def both(probe: str) -> tuple[Result, Result]:
        return results[keys[0], probe], results[keys[1], probe]

    runs = both("free_run")
    rows = [
        levels.weight_map(*both("untrained"), precision=precision),
        levels.forward(*both("untrained"), task=task),
        levels.gradients(*both("gradients"), task=task),
        *levels.optimizer(*both("untrained"), precision=precision),
    ]
    if precision not in PRECISIONS:
        single = [results[(subject.framework, "float32"), "untrained"] for subject in (first, second)]
        rows += [levels.rounding(both("untrained"), single, precision=precision)]
        rows += [levels.first_losses(*runs, task=task)]
    else:
        rows += _free_run_rows(first, runs, runner=runner, with_floors=with_floors)
    if precision == "float32":
        rows += [_reading_row(first, both("untrained"), runs, runner=runner)]
    return rows + [
        levels.repeated(results[key, "free_run"], results[key, "again"], framework=key[0], precision=precision)
        for key in keys
    ]


def _reading_row(
    reference: Subject, untrained: tuple[Result, Result], runs: tuple[Result, Result], *, runner: _ProbeRunner
) -> Row:
    """C1 on the run's own data, held to the task's own noise where its first steps are chaotic.

    Args:
        reference: Whose noise is measured.
        untrained: What `probes.untrained` emitted, of the reference and of the other.
        runs: What `probes.free_run` emitted of them.
        runner: Runs the starts that the noise is measured by.
    """
    row = levels.reading(untrained, runs)
    if row.where == "losses":
        row = levels.reading(untrained, runs, floor=runner.floor(reference, runs[0], FLOOR_STARTS))
    return row


def _free_run_rows(
    reference: Subject, runs: tuple[Result, Result], *, runner: _ProbeRunner, with_floors: bool
) -> list[Row]:
    """C4 and C5, held to the task's own noise where the fixed bound is exceeded.

    Args:
        reference: Whose noise is measured.
        runs: What `probes.free_run` emitted, of the reference and of the other.
        runner: Runs the starts that the noise is measured by.
        with_floors: As in `certify`.
    """
    task = reference.task
    if reference.precision == "float64":
        rows = levels.free_run64(*runs, task=task, floor=None)
        if with_floors or not all(row.passed for row in rows):
            rows = levels.free_run64(*runs, task=task, floor=runner.floor(reference, runs[0], FLOOR_STARTS))
        return rows
    rows = levels.free_run32(*runs, task=task, spread=None)
    if with_floors or not all(row.passed for row in rows):
        enough = None if with_floors else max(row.measured for row in rows)
        spread = runner.floor(reference, runs[0], SPREAD_STARTS, enough=enough)
        rows = levels.free_run32(*runs, task=task, spread=float(spread[-1]))
    return rows


def divergence_of(free_run: Result) -> str:
    """What `probes.free_run` emitted under the rule of `divergence`: the reason, or nothing."""
    losses, logits, when = free_run["losses"], free_run["logits"], f"after {len(free_run['losses'])} batches"
    if (first := divergence.first_diverged(losses)) is not None:
        return f"the training loss became {losses[first]:g} at batch {first + 1}"
    return divergence.of_weights({**free_run["weights"], "(outputs)": logits}, when=when)


def _require_result(probe: Any, subject: Subject, event: Any, *, log: Path) -> None:
    if isinstance(event, Failed):
        raise ProbeFailed(f"No certificate: {subject.framework}: {event.reason} (log: {log})")
    if probe is probes.free_run and (reason := divergence_of(event)):
        raise ProbeFailed(
            f"No certificate: the training diverges in {subject.framework} ({subject.precision}): {reason}; "
            "certify a recipe that trains, such as one with a smaller optimizer.learning_rate"
        )


def _in_words(key: Any, subject: Subject) -> str:
    """A call as the screen names it: the levels that it is for; where there is but one, the framework at work."""
    return LEVELS.get(key[1] if isinstance(key, tuple) else "", subject.framework)


@dataclass(kw_only=True)
class _ProbeRunner:
    """Runs probes in workers and brings their results."""

    executor: LocalExecutor
    load: Load
    folder: Path
    console: Console
    task_name: str
    floors: dict[tuple[str, int], float] = field(default_factory=dict)

    def run(self, calls: Mapping[Any, tuple[Any, ...]], *, what: str) -> dict[Any, Result]:
        """Key -> what its probe emitted.

        Args:
            calls: Key -> a probe, its subject and whatever else it takes.
            what: The levels that need them, for the screen.

        Raises:
            ProbeFailed: If one of them emitted nothing, or a training that diverged: NaN is like nothing.
        """
        keys = list(calls)
        at_work: dict[int, str] = {}
        items = [
            WorkItem(
                target=target,
                arguments=(subject, self.load, *others),
                log=self.folder / f"{subject.framework}-{subject.precision}-{target.__name__}.log",
                framework=subject.framework,
            )
            for target, subject, *others in calls.values()
        ]

        def handed_out() -> Iterator[WorkItem]:
            for index, item in enumerate(items):
                at_work[index] = _in_words(keys[index], calls[keys[index]][1])
                tell(f"{index + 1} of {len(items)}, {', '.join(dict.fromkeys(at_work.values()))}")
                yield item

        results: dict[Any, Result] = {}
        with phase(f"Certifying {self.task_name}, {what}", console=self.console) as tell:
            for index, event in self.executor.run(handed_out()):
                if isinstance(event, Completed):
                    del at_work[index]
                    continue
                probe, subject, *_ = calls[keys[index]]
                _require_result(probe, subject, event, log=items[index].log)
                results[keys[index]] = event
        return results

    def floor(self, subject: Subject, reference: Result, n_starts: int, *, enough: float | None = None) -> Array:
        """Largest loss distance up to each step, shape (n_steps,), of runs that begin one ulp away.

        Args:
            subject: What is run again.
            reference: What its unmoved free run emitted.
            n_starts: How many runs; more can only raise the distance.
            enough: Stop once the last distance has reached it.
        """
        at_once = n_starts if enough is None else self.executor.settings.workers
        floor = np.zeros(len(reference["losses"]))
        for begin in range(1, n_starts + 1, at_once):
            seeds = range(begin, min(begin + at_once, n_starts + 1))
            calls = {seed: (probes.free_run, subject, FreeRun(perturbation_seed=seed)) for seed in seeds}
            starts = self.run(calls, what=f"noise of {'C4' if subject.precision == 'float64' else 'C5'}")
            distances = [levels.loss_distance(reference["losses"], run["losses"]) for run in starts.values()]
            floor = np.maximum(floor, np.maximum.accumulate(np.max(distances, axis=0)))
            if enough is not None and floor[-1] >= enough:
                break
        self.floors[subject.precision, n_starts] = float(floor[-1])
        return floor
