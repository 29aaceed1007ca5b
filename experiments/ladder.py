"""`comparison=defaults`: which defaults can matter to a task, and the runs between as shipped and aligned."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments import data
from experiments.contract import Load
from experiments.contract.arrays import Array
from experiments.contract.plan import FixedPlan
from experiments.errors import ProbeFailed, SettingsError
from experiments.execution.executor import Failed, WorkItem
from experiments.execution.run import Run
from experiments.execution.worker import as_fed, build, plan_of
from experiments.job import ComparisonSettings
from experiments.phases import phase
from experiments.sweep import Sweep
from experiments.task import Task
from experiments.task.alignment import DEFAULTS, OTHERS, alignment_of
from experiments.words import count

N_STEPS, N_EXAMPLES = 10, 200  # of the short pass that tells which defaults can matter
SAME = 1e-9  # relative; the short pass is in float64
FACTOR = "alignment"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tried in a short pass: a task in float64, by one framework."""

    task: Task
    framework: str
    seed: int
    data_path: Path


def is_asked_for(comparison: ComparisonSettings) -> bool:
    """Whether a sweep is to go from as shipped to aligned step by step."""
    return comparison.factor == FACTOR


def effective(trial: Trial, load: Load, emit: Any) -> None:
    """Emit the words whose default changes the first steps, alone or as the one that is aligned; in a worker."""
    dataset = data.read(trial.data_path)
    words = [word for word in DEFAULTS if word in trial.task.as_shipped]
    results: dict[frozenset[str], list[Array]] = {}

    def result(chosen: frozenset[str]) -> list[Array]:
        if chosen not in results:
            results[chosen] = _first_steps(trial, chosen, dataset=dataset, load=load)
        return results[chosen]

    none, every = frozenset[str](), frozenset(words)
    pairs = {word: ((none, frozenset({word})), (every, every - {word})) for word in words}
    emit(tuple(word for word in words if any(_differ(result(one), result(other)) for one, other in pairs[word])))


def _first_steps(trial: Trial, words: frozenset[str], *, dataset: data.Dataset, load: Load) -> list[Array]:
    """Losses of the first steps, and the logits after them."""
    task = dataclasses.replace(trial.task, alignment=alignment_of(words, trial.task))
    model = build(task, dataset, framework=load(trial.framework), seed=trial.seed, device="cpu")
    plan = plan_of(task, model, dataset, seed=trial.seed)
    n_batches = min(N_STEPS * plan.batches_per_step, plan.batches_per_epoch)
    fixed = FixedPlan(
        given=list(itertools.islice(plan.batches(0), n_batches)),
        batches_per_epoch=n_batches,
        learning_rates=plan.learning_rates[: n_batches // plan.batches_per_step],
        batches_per_step=plan.batches_per_step,
    )
    losses: list[Array] = []

    def on_epoch_end(epoch: int, of_epoch: Array) -> bool:
        losses.append(of_epoch.copy())
        return False

    model.fit(fixed, on_step_end=lambda n: None, on_epoch_end=on_epoch_end)
    return [*losses, model.logits(as_fed(dataset.x_validation[:N_EXAMPLES], task.training.dtype))]


def _differ(first: Sequence[Array], second: Sequence[Array]) -> bool:
    return any(
        not np.allclose(one, other, rtol=SAME, atol=SAME * float(np.abs(one).max()))
        for one, other in zip(first, second, strict=True)
    )


def expanded(sweep: Sweep, *, load: Load, console: Console) -> Sweep:
    """The sweep with the runs of every step between as shipped and aligned, of what can matter alone.

    Args:
        sweep: Of runs as shipped and aligned, by two frameworks.
        load: `frameworks.load`, called in workers.
        console: Where it is told how much is to be trained.

    Raises:
        SettingsError: If there are not two frameworks, or more than one task.
        ProbeFailed: If a worker does not bring its part.
    """
    shipped = [run for run in sweep.runs if run.task.as_shipped]
    names = sorted({run.framework for run in shipped})
    tasks = {repr(run.task) for run in shipped}
    if len(names) != 2 or len(tasks) != 1:
        raise SettingsError(
            "`comparison=defaults` needs two frameworks and one task, as shipped and aligned, but got "
            f"{len(names)} and {len(tasks)}; leave alignment out, and give every other key one value"
        )
    sweep.executor.warm_up()
    with phase("Looking which defaults can matter", console=console):
        found = _screened(shipped, names, sweep=sweep, load=load)
    runs: dict[str, Run] = {run.fingerprint: run for run in sweep.runs}
    for run in shipped:
        for words in rungs(found):
            step = _at(run, words & set(found[run.framework]), whole=run.task.as_shipped)
            runs.setdefault(step.fingerprint, step)
    wide = not console.is_terminal
    for name, known in found.items():
        console.print(f"Can matter for {name}: {', '.join(known) or 'nothing'}.", highlight=False, soft_wrap=wide)
    epochs = count(shipped[0].task.training.epochs, "epoch")
    console.print(f"The ladder takes {count(len(runs), 'run')} of {epochs}.", highlight=False, soft_wrap=wide)
    dropped = {name: next(run for run in shipped if run.framework == name).task.as_shipped for name in found}
    ladder = {name: (*known, *([OTHERS] if dropped[name] - set(known) else [])) for name, known in found.items()}
    comparison = dataclasses.replace(sweep.comparison, ladder=ladder)
    ordered = tuple(alone(run) for run in sorted(runs.values(), key=lambda run: run.seed))
    return dataclasses.replace(sweep, runs=ordered, comparison=comparison)


def alone(run: Run) -> Run:
    """The run with the words that train it by itself: a ladder would ask for its others."""
    return dataclasses.replace(run, overrides=tuple(w for w in run.overrides if not w.startswith("comparison=")))


def rungs(effective_words: Mapping[str, Sequence[str]]) -> Iterator[frozenset[str]]:
    """What is as shipped at each point of both paths: the first k words, and all but the first k."""
    words = union_of(effective_words)
    for k in range(len(words) + 1):
        yield frozenset(words[:k])
        yield frozenset(words[k:])


def union_of(effective_words: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Words that can matter to any framework, in the order of the first that names them."""
    return tuple(dict.fromkeys(word for words in effective_words.values() for word in words))


def _at(run: Run, words: frozenset[str], *, whole: frozenset[str]) -> Run:
    if words == whole:
        return run
    return _with(run, alignment_of(words, run.task))


def _with(run: Run, alignment: str) -> Run:
    overrides = tuple(f"{FACTOR}={alignment}" if each.startswith(f"{FACTOR}=") else each for each in run.overrides)
    task = dataclasses.replace(run.task, alignment=alignment)
    return dataclasses.replace(run, task=task, labels={**run.labels, FACTOR: alignment}, overrides=overrides)


def _screened(shipped: Sequence[Run], names: Sequence[str], *, sweep: Sweep, load: Load) -> dict[str, tuple[str, ...]]:
    items = []
    for name in names:
        run = next(each for each in shipped if each.framework == name)
        training = dataclasses.replace(run.task.training, precision="float64", jit=False)
        trial = Trial(
            task=dataclasses.replace(run.task, training=training),
            framework=name,
            seed=run.seed,
            data_path=run.data_path,
        )
        log = sweep.folder / "defaults" / f"{name}.log"
        items.append(WorkItem(target=effective, arguments=(trial, load), log=log, framework=name))
    found: dict[str, tuple[str, ...]] = {}
    for index, event in sweep.executor.run(items):
        if isinstance(event, Failed):
            raise ProbeFailed(f"{names[index]}: {event.reason}; see {items[index].log}")
        if isinstance(event, tuple):
            found[names[index]] = event
    return {name: found[name] for name in names}
