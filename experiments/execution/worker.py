"""One run inside a worker: build, load weights, fit, time, score. The only clock."""

from __future__ import annotations

import dataclasses
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from experiments import data, divergence, metrics
from experiments.contract import DeviceMemory, Framework, Load, Model, OwnOrder
from experiments.contract.arrays import Array, Weights
from experiments.contract.initialization import initial_weights, with_shipped
from experiments.contract.plan import BatchPlan, batches_of, require_equal_shards
from experiments.contract.trace import EpochTrace
from experiments.data.fit import check_examples
from experiments.execution import bare, core_time
from experiments.execution.audit import AuditedPlan
from experiments.execution.run import Diverged, EpochEnded, Event, Finished, Pruned, Run, Started
from experiments.execution.stopping import Patience
from experiments.task import Task
from experiments.task.schedules import learning_rates

GAP_EXAMPLES = 10_000  # training examples scored in evaluation mode, for the generalization gap


def train(run: Run, load: Load, emit: Callable[[Event], bool | None]) -> None:
    """Do one run and emit its events. Leaves test logits and the model in `run.folder`, unless it is a trial.

    `emit` returns whether to stop, which only a trial obeys.
    """
    started = time.perf_counter()
    framework = load(run.framework)
    imported = time.perf_counter()
    start_mib = _peak_mib()
    dataset = data.read(run.data_path)
    require_equal_shards(run.task, n_examples=len(dataset.y_train), devices=run.devices)
    if run.is_trial and (problems := check_examples(run.task, dataset)):  # its task is a new one, not the sweep's
        raise ValueError("\n".join(problems))
    model = build(run.task, dataset, framework=framework, seed=run.seed, device=run.device, devices=run.devices)
    plan = AuditedPlan(plan=plan_of(run.task, model, dataset, seed=run.seed))
    monitor = _FitMonitor(run=run, model=model, dataset=dataset, emit=emit)
    built = time.perf_counter()
    n_parameters = sum(weight.size for weight in model.weights().values())
    emit(Started(pid=os.getpid(), versions=framework.versions(), n_parameters=n_parameters))
    if run.bare_loop:
        monitor.fit_bare(plan.plan)
    else:
        monitor.fit(plan)
    if monitor.diverged:
        emit(monitor.diverged)
        return
    if monitor.pruned_after is not None:
        emit(Pruned(epoch=monitor.pruned_after))
        return
    kept = monitor.restore_best()
    scores = monitor.last_scores if run.is_trial else monitor.final_scores() | kept
    if reason := divergence.of_scores(scores, when="after the last epoch"):
        emit(Diverged(epoch=len(monitor.epoch_seconds), reason=reason))
        return
    fitted = time.perf_counter()
    if not run.is_trial:
        (run.folder / "model").mkdir()
        model.save(run.folder / "model")
        data.write_standardization(dataset, run.folder / "model")
    ended = time.perf_counter()
    waited = {} if monitor.waited is None else {"time/waited": monitor.waited}
    ledger = (
        monitor.ledger()
        | waited
        | {
            "time/import": imported - started,
            "time/build": built - imported,
            "time/checkpoint": ended - fitted,
            "time/total": ended - started,
            "memory/peak_mib": _peak_mib() - start_mib,
            "memory/process_peak_mib": _peak_mib(),
        }
        | ({"memory/device_peak_mib": _device_peak_mib(framework)} if run.device == "gpu" else {})
    )
    emit(Finished(metrics=scores | ledger))


def build(
    task: Task, dataset: data.Dataset, *, framework: Framework, seed: int, device: str, devices: int = 1
) -> Model:
    """The framework's network with the seed's initial weights.

    Args:
        task: What is learned.
        dataset: The examples, whose shapes the network gets.
        framework: Who builds it.
        seed: Of the initial weights.
        device: "cpu" or "gpu".
        devices: How many share each batch.
    """
    model = framework.build(
        task,
        input_shape=dataset.spec.input_shape,
        n_outputs=dataset.spec.n_outputs,
        seed=seed,
        device=device,
        devices=devices,
    )
    shapes = {name: weight.shape for name, weight in model.weights().items()}
    dtype = task.training.dtype
    drawn = initial_weights(shapes, settings=task.network.initialization, seed=seed, dtype=dtype)
    if task.as_shipped:
        drawn = with_shipped(drawn, model.weights(), words=task.as_shipped)
    model.load_weights(drawn)
    return model


def as_fed(array: Array, dtype: str) -> Array:
    """Numbers in the task's type; class numbers and tokens as they are."""
    return array.astype(dtype, copy=False) if np.issubdtype(array.dtype, np.floating) else array


def plan_for(task: Task, dataset: data.Dataset, *, seed: int) -> BatchPlan:
    """The task's batches on the training part."""
    training = task.training
    n_batches = batches_of(len(dataset.y_train), batch_size=training.batch_size)
    rates = learning_rates(
        task.schedule,
        learning_rate=task.optimizer.learning_rate,
        epochs=training.epochs,
        steps_per_epoch=n_batches // training.gradient_accumulation_steps,
    )
    return BatchPlan(
        inputs=as_fed(dataset.x_train, training.dtype),
        targets=as_fed(dataset.y_train, training.dtype),
        batch_size=training.batch_size,
        batches_per_step=training.gradient_accumulation_steps,
        epochs=training.epochs,
        seed=seed,
        learning_rates=rates,
        augmentation=task.regularization.augmentation,
    )


def plan_of(task: Task, model: Model, dataset: data.Dataset, *, seed: int) -> BatchPlan:
    """The same, in the framework's own order where that is as shipped."""
    plan = plan_for(task, dataset, seed=seed)
    if "shuffling" not in task.as_shipped:
        return plan
    orders = cast(OwnOrder, model).own_orders(len(dataset.y_train), epochs=plan.epochs)
    return dataclasses.replace(plan, orders=orders)


@dataclass(frozen=True, kw_only=True)
class _Best:
    epoch: int
    loss: float
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class _Call:
    """Some batches that a framework trained before it told so, and how long they took."""

    n_batches: int
    seconds: float


@dataclass(kw_only=True)
class _FitMonitor:
    """Listens to one fit: keeps the clock, scores each epoch, emits events."""

    run: Run
    model: Model
    dataset: data.Dataset
    emit: Callable[[Event], bool | None]
    diverged: Diverged | None = None
    pruned_after: int | None = None
    last_scores: dict[str, float] = field(default_factory=dict)
    best: _Best | None = None
    epoch_seconds: list[float] = field(default_factory=list)
    calls: list[list[_Call]] = field(default_factory=lambda: [[]])  # of each epoch
    evaluation_seconds: float = 0.0
    logging_seconds: float = 0.0
    _epoch_started: float = 0.0
    _call_started: float = 0.0
    n_losses: list[int] = field(default_factory=list)
    traces: list[EpochTrace] = field(default_factory=list)
    n_batches: int = 0
    stopped: bool = False  # before the plan's end, on purpose
    waited: float | None = None  # share of the time of training
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self._patience = Patience(settings=self.run.task.regularization.early_stopping)

    def fit(self, plan: AuditedPlan) -> None:
        """Train as planned, or not at all."""
        self.start_clock()
        threads = core_time.by_thread()
        self.model.fit(plan, on_step_end=self.steps_ended, on_epoch_end=self.epoch_ended)
        self.waited = core_time.waited_share(threads)
        plan.require_done(
            self.traces,
            n_losses=self.n_losses,
            n_batches=self.n_batches,
            ended=self.stopped or self.diverged is not None,
        )

    def fit_bare(self, plan: BatchPlan) -> None:
        """Let the framework train without listening."""
        threads = core_time.by_thread()
        self.epoch_seconds = bare.fit(self.model, plan, emit=self.emit)
        self.waited = core_time.waited_share(threads)
        if reason := divergence.of_weights(self.model.weights(), when="at the end"):
            self.diverged = Diverged(epoch=plan.epochs, reason=reason)

    def start_clock(self) -> None:
        self.model.synchronize()
        self._epoch_started = self._call_started = time.perf_counter()

    def steps_ended(self, n_batches: int) -> None:
        now = time.perf_counter()
        self.calls[-1].append(_Call(n_batches=n_batches, seconds=now - self._call_started))
        self._call_started = now
        self.n_batches += n_batches

    def epoch_ended(self, epoch: int, losses: Array) -> bool:
        self.model.synchronize()
        ended = time.perf_counter()
        self.epoch_seconds.append(ended - self._epoch_started)
        self.calls.append([])
        self.n_losses.append(len(losses))
        self.traces.append(self.model.trace())
        training = self.run.task.training
        is_scored = (epoch + 1) % training.evaluate_every == 0 or epoch + 1 == training.epochs
        reason = self._diverged_loss(losses)
        if is_scored and not reason:
            scores, reason = self._scores_or_reason(epoch + 1, losses)
        if reason:
            self.diverged = Diverged(epoch=epoch + 1, reason=reason)
            return True
        if not is_scored:
            self.start_clock()
            return False
        scored = time.perf_counter()
        self.evaluation_seconds += scored - ended
        self.last_scores = scores
        self._keep(epoch + 1, scores["val/loss"])
        step = self.n_batches // training.gradient_accumulation_steps
        must_stop = self.emit(EpochEnded(epoch=epoch + 1, step=step, metrics=scores))
        self.logging_seconds += time.perf_counter() - scored
        self.start_clock()
        if must_stop and self.run.is_trial:
            self.pruned_after = epoch + 1
            self.stopped = True
        else:
            self.stopped = self._patience.should_stop(scores["val/loss"])
        return self.stopped

    def _keep(self, epoch: int, loss: float) -> None:
        """Remember the weights of the lowest validation loss, the first of equals, where they are to be kept."""
        if self.run.task.training.keep == "best" and (self.best is None or loss < self.best.loss):
            self.best = _Best(epoch=epoch, loss=loss, weights=self.model.weights())

    def restore_best(self) -> dict[str, float]:
        """Put the best weights back, where they are kept; return the epoch they are of."""
        if self.best is None:
            return {"kept_epoch": float(len(self.epoch_seconds))}
        self.model.load_weights(self.best.weights)
        return {"kept_epoch": float(self.best.epoch)}

    def _diverged_loss(self, losses: Array) -> str:
        """Which batch's training loss says that the run cannot go on, or nothing."""
        first = divergence.first_diverged(losses)
        if first is None:
            return ""
        step = (self.n_batches - len(losses) + first) // self.run.task.training.gradient_accumulation_steps + 1
        return f"the training loss became {losses[first]:g} at step {step}"

    def _scores_or_reason(self, epoch: int, losses: Array) -> tuple[dict[str, float], str]:
        """The scores after an epoch 1, 2, ..., and why the run cannot go on, or nothing."""
        when = f"after epoch {epoch}"
        if reason := divergence.of_weights(self.model.weights(), when=when):
            return {}, reason
        scores = self._epoch_scores(losses)
        return scores, divergence.of_scores(scores, when=when)

    def _epoch_scores(self, losses: Array) -> dict[str, float]:
        batch_size, n_train = self.run.task.training.batch_size, len(self.dataset.y_train)
        sizes = np.minimum(batch_size, n_train - batch_size * np.arange(len(losses)))
        return {
            "train/loss": float(np.average(losses.astype(np.float64), weights=sizes)),
            "train/first_batch_loss": float(losses[0]),
            "time/epoch": self.epoch_seconds[-1],
            "time/trained": sum(self.epoch_seconds),
        } | {f"val/{name}": value for name, value in self._score("validation").items()}

    def _score(self, part: str, limit: int | None = None) -> dict[str, float]:
        inputs, targets = getattr(self.dataset, f"x_{part}")[:limit], getattr(self.dataset, f"y_{part}")[:limit]
        return self._evaluate(self.model.logits(as_fed(inputs, self.run.task.training.dtype)), inputs, targets)

    def _evaluate(self, logits: Array, inputs: Array, targets: Array) -> dict[str, float]:
        reference = metrics.REFERENCES[self.dataset.spec.reference](inputs)
        spec = self.dataset.spec
        return metrics.evaluate(
            logits, targets, loss=self.run.task.training.loss, target_scale=spec.target_scale, reference=reference
        )

    def final_scores(self) -> dict[str, float]:
        """Test scores (the test set is read here, once) and evaluation-mode scores on training examples."""
        started = time.perf_counter()
        logits = self.model.logits(as_fed(self.dataset.x_test, self.run.task.training.dtype))
        np.savez_compressed(self.run.folder / "test_logits.npz", logits=logits, targets=self.dataset.y_test)
        scores = {
            f"test/{name}": value
            for name, value in self._evaluate(logits, self.dataset.x_test, self.dataset.y_test).items()
        }
        train = {f"train_eval/{name}": value for name, value in self._score("train", GAP_EXAMPLES).items()}
        self.evaluation_seconds += time.perf_counter() - started
        return scores | train

    def ledger(self) -> dict[str, float]:
        """Seconds, never merged: the first step holds compilation; what is steady comes after it.

        A steady step is the median epoch after the first, divided by its batches, so that a framework which tells of
        many batches at once is measured as one that tells of each; where there is one epoch, of what it told later.
        """
        if not self.n_batches:  # a bare loop, which tells of no step
            n_batches = batches_of(len(self.dataset.y_train), batch_size=self.run.task.training.batch_size)
            return bare.ledger(self.epoch_seconds, n_batches=n_batches) | {"time/evaluation": self.evaluation_seconds}
        first = self.calls[0][0]
        later = [self.calls[0][1:], *self.calls[1:]]
        told = [call.seconds / call.n_batches for epoch in later for call in epoch for _ in range(call.n_batches)]
        epochs = [seconds / n for seconds, n in zip(self.epoch_seconds[1:], self.n_losses[1:], strict=True)]
        steady = statistics.median(epochs or told or [first.seconds / first.n_batches])
        return {
            "time/first_step": max(first.seconds - (first.n_batches - 1) * steady, 0.0),
            "time/steady_step": steady,
            "time/step_spread": _relative_spread(told),
            "time/steady_epoch": statistics.median(self.epoch_seconds[1:] or self.epoch_seconds),
            "time/fit": sum(self.epoch_seconds),
            "time/evaluation": self.evaluation_seconds,
            "time/logging": self.logging_seconds,
        }


def _relative_spread(seconds: list[float]) -> float:
    """Robust coefficient of variation: interquartile range / 1.349 / median, which is sd / mean for normal times."""
    if len(seconds) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / 1.349 / middle


def _device_peak_mib(framework: Framework) -> float:
    """Peak memory of the GPU that this process used most of, MiB, as the framework's own books say."""
    return cast(DeviceMemory, framework).device_peak_bytes() / 2**20


def _peak_mib() -> float:
    """Peak resident memory of this process so far, MiB (kilobytes on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
