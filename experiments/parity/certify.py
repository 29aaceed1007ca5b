"""The certificate: two frameworks train one task identically, shown level by level.

C0 weight map, C1 forward pass, C2 gradients at synced checkpoints, C3 optimizer alone, C4 free run, C5 the same where
float32 is chaotic, C6 the same run twice. C0 to C4 in float64 and C6 are the gate, and that both read the run's data
alike in float32; for a task in mixed precision also that both frameworks round, and by as much.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    task: Task, *, frameworks: tuple[str, str], precisions: Sequence[Precision] = get_args(Precision), **keywords: Any
) -> Certificate:
    """Compare two frameworks on a task.

    Args:
        task: What is compared; its precision is replaced by each of `precisions`.
        frameworks: The two; the first one's way is the reference.
        precisions: Those that both have.
        **keywords: As in `certify_pairs`.
    """
    (certificate,) = certify_pairs(
        task, frameworks=frameworks, precisions=dict.fromkeys(frameworks, precisions), **keywords
    )
    return certificate


def certify_pairs(
    task: Task,
    *,
    frameworks: Sequence[str],
    precisions: Mapping[str, Sequence[Precision]],
    seed: int,
    data_path: Path,
    data_fingerprint: str,
    folder: Path,
    executor: LocalExecutor,
    load: Load,
    with_floors: bool = False,
    device: str = "cpu",
    console: Console | None = None,
) -> Iterator[Certificate]:
    """Compare each two of the frameworks on a task; each is probed once, whatever the number of its pairs.

    A framework whose worker dies or raises, or whose training diverges, is left out as long as a pair remains.

    Args:
        task: What is compared; its precision is replaced by each of `precisions`.
        frameworks: Two or more; of a pair the first one's way is the reference.
        precisions: Of each framework. Of those that a pair shares float64 gates; float32 and the task's own inform.
        seed: Of weights, batches and masks.
        data_path: What `data.write` wrote.
        data_fingerprint: The data's name.
        folder: For checkpoints and logs.
        executor: Each probe is a process of its own.
        load: `frameworks.load`.
        with_floors: Measure the noise floor even where the fixed bound is kept without it.
        device: "cpu" or "gpu", where all of it is computed; the bounds are those of a CPU.
        console: Where it is said which levels are looked at; None: nowhere.

    Raises:
        ProbeFailed: After the last of them if a framework was left out, at once if no pair remains; with the reason.
    """
    runner = _ProbeRunner(
        executor=executor,
        load=load,
        folder=folder,
        console=console or Console(quiet=True),
        task_name=task.name,
        frameworks=frameworks,
    )
    wanted = dict.fromkeys((*PRECISIONS, task.training.precision))
    subjects = {
        (framework, precision): Subject(
            task=_in_precision(task, precision),
            framework=framework,
            seed=seed,
            data_path=data_path,
            folder=folder,
            device=device,
        )
        for precision in wanted
        for framework in frameworks
        if precision in precisions[framework]
    }
    results = runner.run(_first_round(subjects), what="C0 to C6")
    results |= runner.run(_checkpoints_again(subjects, without=runner.failures), what="C2")
    gradients = {(key, "gradients"): (probes.gradients, subject) for key, subject in subjects.items()}
    results |= runner.run(gradients, what="C2")
    for pair in itertools.combinations(frameworks, 2):
        both = [(subjects[pair[0], each], subjects[pair[1], each]) for each in wanted if _have(subjects, pair, each)]
        with contextlib.suppress(ProbeFailed):  # it is among the failures
            runner.require(*pair)
            rows = [row for two in both for row in _rows(*two, results, runner=runner, with_floors=with_floors)]
        if runner.failures.keys().isdisjoint(pair):
            yield _certificate(task, pair, rows, results, runner=runner, data_fingerprint=data_fingerprint)
    runner.require(*frameworks)


def _have(subjects: Mapping[Any, Subject], pair: tuple[str, str], precision: Precision) -> bool:
    return all((framework, precision) in subjects for framework in pair)


def _certificate(
    task: Task,
    pair: tuple[str, str],
    rows: Sequence[Row],
    results: Mapping[Any, Result],
    *,
    runner: _ProbeRunner,
    data_fingerprint: str,
) -> Certificate:
    """What the rows of a pair come to.

    Args:
        task: What was compared.
        pair: The frameworks; the first one's noise is the floor.
        rows: Of all precisions.
        results: (framework, precision), probe -> what it emitted.
        runner: What measured the floor, if it was measured.
        data_fingerprint: The data's name.
    """
    environment = runner.executor.environment
    versions: dict[str, str] = {}
    for framework in pair:
        versions |= next(
            each["versions"] for (key, probe), each in results.items() if (key[0], probe) == (framework, "untrained")
        )
    return Certificate(
        task_name=task.name,
        frameworks=pair,
        fingerprint=fingerprint(
            plain(task), data_fingerprint=data_fingerprint, frameworks=pair, environment=environment.stated
        ),
        versions=versions,
        floor=runner.floors.get((pair[0], "float64", FLOOR_STARTS)),
        rows=tuple(sorted(rows, key=lambda row: row.level)),
        environment=environment.facts(),
    )


def _in_precision(task: Task, precision: Precision) -> Task:
    return dataclasses.replace(task, training=dataclasses.replace(task.training, precision=precision))


def _first_round(subjects: Mapping[Any, Subject]) -> dict[Any, tuple[Any, ...]]:
    """Every probe that waits for no other; in each precision the first framework leaves its weights along the way."""
    calls: dict[Any, tuple[Any, ...]] = {}
    first = _first_by_precision(subjects.values())
    for key, subject in subjects.items():
        options = FreeRun(keeps_checkpoints=subject is first[subject.precision])
        calls[key, "free_run"] = (probes.free_run, subject, options)
        calls[key, "again"] = (probes.free_run, subject, FreeRun(n_steps=probes.EARLY_STEPS))
        calls[key, "untrained"] = (probes.untrained, subject)
    return calls


def _first_by_precision(subjects: Iterable[Subject]) -> dict[str, Subject]:
    return {subject.precision: subject for subject in reversed(list(subjects))}


def _checkpoints_again(subjects: Mapping[Any, Subject], *, without: Collection[str]) -> dict[Any, tuple[Any, ...]]:
    """In each precision whose first framework failed, the free run of the next one, which leaves its weights."""
    first = _first_by_precision(subjects.values())
    left = _first_by_precision(subject for subject in subjects.values() if subject.framework not in without)
    return {
        ((subject.framework, precision), "free_run"): (probes.free_run, subject, FreeRun(keeps_checkpoints=True))
        for precision, subject in left.items()
        if subject is not first[precision]
    }


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


def _failure(probe: Any, subject: Subject, event: Any, *, log: Path) -> str:
    """Why there is no result, in a sentence; empty where there is one."""
    if isinstance(event, Failed):
        return f"No certificate: {subject.framework}: {event.reason} (log: {log})"
    if probe is probes.free_run and (reason := divergence_of(event)):
        return (
            f"No certificate: the training diverges in {subject.framework} ({subject.precision}): {reason}; "
            "certify a recipe that trains, such as one with a smaller optimizer.learning_rate"
        )
    return ""


def _in_words(key: Any, subject: Subject) -> str:
    """A call as the screen names it: the levels that it is for; where there is but one, the framework at work."""
    return LEVELS.get(key[1] if isinstance(key, tuple) else "", subject.framework)


@dataclass(kw_only=True)
class _ProbeRunner:
    """Runs probes in workers and brings their results; `failures` says which frameworks brought none, and why."""

    executor: LocalExecutor
    load: Load
    folder: Path
    console: Console
    task_name: str
    frameworks: Sequence[str]
    floors: dict[tuple[str, str, int], float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def require(self, *frameworks: str) -> None:
        """Raise ProbeFailed if one of them failed."""
        if not self.failures.keys().isdisjoint(frameworks):
            raise ProbeFailed("\n".join(self.failures.values()))

    def run(self, calls: Mapping[Any, tuple[Any, ...]], *, what: str) -> dict[Any, Result]:
        """Key -> what its probe emitted, but for those of frameworks that failed.

        Args:
            calls: Key -> a probe, its subject and whatever else it takes.
            what: The levels that need them, for the screen.

        Raises:
            ProbeFailed: If a framework emitted nothing, or diverged (NaN is like nothing), with no two others left.
        """
        at_work: dict[int, Any] = {}
        items = {
            key: WorkItem(
                target=target,
                arguments=(subject, self.load, *others),
                log=self.folder / f"{subject.framework}-{subject.precision}-{target.__name__}.log",
                framework=subject.framework,
            )
            for key, (target, subject, *others) in calls.items()
            if subject.framework not in self.failures
        }

        def handed_out() -> Iterator[WorkItem]:
            indices = itertools.count()
            for number, (key, item) in enumerate(items.items(), start=1):
                if item.framework not in self.failures:
                    at_work[next(indices)] = key
                    words = dict.fromkeys(_in_words(each, calls[each][1]) for each in at_work.values())
                    tell(f"{number} of {len(items)}, {', '.join(words)}")
                    yield item

        results: dict[Any, Result] = {}
        if not items:
            return results
        with phase(f"Certifying {self.task_name}, {what}", console=self.console) as tell:
            for index, event in self.executor.run(handed_out()):
                key = at_work[index]
                if isinstance(event, Completed | Failed):
                    del at_work[index]
                if not isinstance(event, Completed):
                    self._take_note(calls[key], event, log=items[key].log)
                    results[key] = event
        return results

    def _take_note(self, call: tuple[Any, ...], event: Any, *, log: Path) -> None:
        """Of a failure; the first of a framework is told."""
        probe, subject, *_ = call
        if reason := _failure(probe, subject, event, log=log):
            self.failures.setdefault(subject.framework, reason)
        if len(self.failures) > len(self.frameworks) - 2:
            self.require(subject.framework)

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
            self.require(subject.framework)
            distances = [levels.loss_distance(reference["losses"], run["losses"]) for run in starts.values()]
            floor = np.maximum(floor, np.maximum.accumulate(np.max(distances, axis=0)))
            if enough is not None and floor[-1] >= enough:
                break
        self.floors[subject.framework, subject.precision, n_starts] = float(floor[-1])
        return floor
