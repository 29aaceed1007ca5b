"""Events of workers -> the store and the screen: what becomes of every run while it is trained."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from experiments.contract import Load
from experiments.data.catalog import SOURCES
from experiments.execution import environment
from experiments.execution.estimate import Arm, arm_of
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.execution.progress import Display, headline, line_of, score
from experiments.execution.run import Diverged, EpochEnded, Finished, Pruned, Run, Started
from experiments.execution.worker import train
from experiments.fingerprint import plain
from experiments.interruption import whole_write
from experiments.phases import phase
from experiments.records import BaselineRecord, Outcome, StudyRecord, TunedValue
from experiments.sweep import Sweep
from experiments.tracking.protocol import SweepStore
from experiments.words import command, count


@dataclass(kw_only=True)
class ActiveRun:
    """A run that a worker has, as far as it has come.

    Attributes:
        run: What is trained.
        parent_id: Identifier in the store of the sweep or study that it belongs to.
        run_id: Its own identifier in the store, "" before it is kept there.
        started: When that was, in seconds of `time.monotonic`.
        epoch: The last one it was scored after.
    """

    run: Run
    parent_id: str
    run_id: str = ""
    started: float = 0.0
    epoch: int = 0
    outcome: Outcome = "running"
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    was_killed: bool = False


@dataclass(kw_only=True)
class RunRecorder:
    """Has runs trained and records their events in the store and on the screen.

    Attributes:
        sweep: What is asked for.
        store: Where runs are kept.
        experiment_id: Identifier in the store of the sweep's experiment.
        sweep_id: Identifier in the store of the sweep.
        load: `frameworks.load`, called in workers.
        console: Where progress is shown.
        baselines: What scores on the sweep's data without a network.
        run_ids: Fingerprint of a run of the report -> its identifier in the store, once it is kept there.
        runs: The report's, once a search is over.
        trials: Those of a search, each with its identifier in the store.
        tuned_values: What a search found, by arm and key.
        studies: A search's, as a report reads them.
    """

    sweep: Sweep
    store: SweepStore
    experiment_id: str
    sweep_id: str
    load: Load
    console: Console
    baselines: Sequence[BaselineRecord] = ()
    run_ids: dict[str, str] = field(default_factory=dict)
    runs: Sequence[Run] = ()
    trials: list[tuple[str, Run]] = field(default_factory=list)
    tuned_values: Sequence[TunedValue] = ()
    studies: Sequence[StudyRecord] = ()
    _active: dict[int, ActiveRun] = field(init=False)
    _display: Display = field(init=False)
    _executor: LocalExecutor = field(init=False)

    def train(self, runs: Sequence[Run], *, executor: LocalExecutor) -> None:
        """Train those of `runs` that have no result yet."""
        with phase("Looking for finished runs", console=self.console):
            finished = self._find_finished(runs)
            self.run_ids |= finished
            self.save_manifest()
        if finished:
            are, them = ("is", "it") if len(finished) == 1 else ("are", "them")
            hint = f"tracking.reuse=false trains {them} again"
            self.console.print(f"{len(finished)} of {count(len(runs), 'run')} {are} done already ({hint}).")
        missing = [run for run in runs if run.fingerprint not in finished]
        waiting = iter([(run, self.sweep_id) for run in missing])
        if missing:
            self.train_each(lambda: next(waiting, None), executor=executor, arms=[arm_of(run) for run in missing])

    def train_each(
        self,
        next_run: Callable[[], tuple[Run, str] | None],
        *,
        executor: LocalExecutor,
        arms: Sequence[Arm],
        on_event: Callable[[int, object, ActiveRun], bool] = lambda index, event, active: False,
        told: Callable[[int, ActiveRun], str] = lambda index, active: _told(active),
        metric: str = "",
    ) -> None:
        """Train runs as they come.

        Args:
            next_run: The next run and the identifier of its parent in the store; None where there is none now.
            executor: Where they are trained.
            arms: That of each there will be, for the display.
            on_event: Called with the index of a run, its event, and its record, in which the event stands already;
                returns whether a trial is to stop.
            told: The line about a run that is over, once `on_event` has heard of its end.
            metric: What is shown of an epoch, where it is not the one that a person looks at first.
        """
        self._executor, self._active = executor, {}
        indices = itertools.count()
        self._display = Display(self.console, arms=arms, n_workers=executor.settings.workers, metric=metric)
        if arms:
            executor.warm_up()

        def next_item() -> WorkItem | None:
            with whole_write():
                following = next_run()
            if following is None:
                return None
            run, parent_id = following
            index = next(indices)
            self._active[index] = ActiveRun(run=run, parent_id=parent_id)
            self._display.handed_out(index, run)
            return WorkItem(
                target=train,
                arguments=(run, self.load),
                log=run.folder / "worker.log",
                framework=run.framework,
                awaits_reply=run.is_trial,
            )

        with self._display:
            for index, event in executor.run_lazily(next_item):
                with whole_write():
                    self._handle_event(index, event)
                    active = self._active[index]
                    must_stop = on_event(index, event, active)
                    if isinstance(event, Completed | Failed):
                        self._display.ended(index, told(index, active), outcome=active.outcome)
                        del self._active[index]
                if must_stop:
                    executor.stop(index)

    def _find_finished(self, runs: Sequence[Run]) -> dict[str, str]:
        if not self.sweep.reuse:
            return {}
        found, lost = self.store.reader.find_finished(
            self.experiment_id, [run.fingerprint for run in runs], sweep_id=self.sweep_id
        )
        for sentence in lost:
            self.console.print(
                f"Trained again: {sentence}", highlight=False, markup=False, soft_wrap=not self.console.is_terminal
            )
        if any(run.bare_loop for run in runs) and self.store.reader.has_sweep(self.sweep_id):
            own = {run.run_id for run in self.store.reader.read_sweep(self.sweep_id).runs}  # those ran side by side
            return {name: run_id for name, run_id in found.items() if run_id in own}
        return found

    def save_manifest(self) -> None:
        """Keep what the sweep consists of, so that a report can be made even if this process is killed."""
        sweep = self.sweep
        task = sweep.runs[0].task
        specs = [sweep.datasets[run.data_fingerprint].spec for run in sweep.runs]
        names = {spec.class_names for spec in specs if spec.class_names}
        self.store.write_sweep(
            self.sweep_id,
            {
                "n_planned": max(len(self.runs), len(sweep.runs)),
                "seeds": sorted({run.seed for run in sweep.runs}),
                "margins": plain(task.margins),
                "chance": plain(task.chance),
                "comparison": plain(sweep.comparison),
                "class_names": list(names.pop()) if len(names) == 1 else [],
                "choices": plain(list(self.tuned_values)),
                "studies": plain(list(self.studies)),
                "baselines": plain(list(self.baselines)),
                "runs": [
                    _manifest_entry(self.run_ids[run.fingerprint], run)
                    for run in self.runs
                    if run.fingerprint in self.run_ids
                ],
                "trials": [_manifest_entry(run_id, run) for run_id, run in self.trials],
            },
        )

    def _handle_event(self, index: int, event: object) -> None:
        """Write one event of the run at `index` into its record, the store and the screen."""
        active = self._active[index]
        match event:
            case Started():
                told = {"n_parameters": str(event.n_parameters), "worker_pid": str(event.pid)}
                self._start(index, told | {f"version.{name}": version for name, version in event.versions.items()})
            case EpochEnded():
                active.epoch = event.epoch
                self._display.epoch_ended(index, event.metrics)
                self.store.log_epoch(active.run_id, event.metrics, epoch=event.epoch, step=event.step)
                if self.sweep.board is not None:
                    self.sweep.board.log(active.run.folder.name, event.metrics, epoch=event.epoch)
            case Diverged():
                self._set_outcome(index, outcome="diverged", reason=event.reason)
            case Pruned():
                self._set_outcome(index, outcome="pruned", reason=f"pruned after epoch {event.epoch}")
            case Finished():
                active.metrics = event.metrics
                self._set_outcome(index, outcome="finished", reason="")
            case Failed():
                self._set_outcome(index, outcome="failed", reason=event.reason)
                if event.killed:
                    active.was_killed = True
                    self.store.log_facts(active.run_id, {"killed": "yes"})
                self._end(index)
            case Completed():
                self._end(index)

    def _start(self, index: int, told: dict[str, str]) -> None:
        """Open the record of the run at `index`, with what its worker told of itself."""
        active, sweep = self._active[index], self.sweep
        run, dataset = active.run, sweep.datasets[active.run.data_fingerprint]
        facts = environment.facts() | {
            "threads": str(sweep.executor.settings.threads),
            "workers": str(self._executor.settings.workers),
            "start_method": sweep.executor.start_method,
            "device": run.device,
            "devices": str(run.devices),
            **({"bare_loop": run.bare_loop} if run.bare_loop else {}),
            "data": dataset.describe(),
            "data_fingerprint": dataset.fingerprint,
        }
        facts |= self._executor.environment.facts() | told
        active.run_id = self.store.start_run(
            self.experiment_id,
            parent_id=active.parent_id,
            kind="trial" if run.is_trial else "run",
            name=run.name,
            fingerprint=run.fingerprint,
            config=run.config,
            facts=facts,
            dataset={
                "name": SOURCES[run.task.data.source].title,
                "digest": dataset.fingerprint,
                "origin": dataset.origin,
            },
        )
        active.started = time.monotonic()
        if not run.is_trial:
            self.run_ids[run.fingerprint] = active.run_id
        self._display.started(index)

    def _set_outcome(self, index: int, *, outcome: Outcome, reason: str) -> None:
        """State what a run has come to, once; start it where it died before that."""
        active = self._active[index]
        if not active.run_id:  # it may die before it starts
            self._start(index, {})
        if active.outcome == "running":
            active.outcome, active.reason = outcome, reason

    def _end(self, index: int) -> None:
        active = self._active[index]
        run = active.run
        self.store.end_run(
            active.run_id,
            outcome=active.outcome,
            reason=active.reason,
            metrics=active.metrics,
            step=active.epoch,
            folder=run.folder,
            note=_note(active, task=self.sweep.name),
        )
        if self.sweep.board is not None:
            self.sweep.board.log(run.folder.name, active.metrics, epoch=active.epoch)
            self.sweep.board.close(run.folder.name)
        if not run.is_trial:
            self.save_manifest()


def _told(active: ActiveRun) -> str:
    return line_of(active.run, outcome=active.outcome, reason=active.reason, metrics=active.metrics)


def _note(active: ActiveRun, *, task: str) -> str:
    """What became of a run, and the command that trains it alone, in a sentence: what MLflow shows of it."""
    became = f"{active.outcome}: {active.reason}"
    if active.outcome == "finished":
        became = score(active.metrics, headline(active.metrics, "val" if active.run.is_trial else "test"))
    alone = command(active.run.overrides)
    return f"{task}, {active.run.name}: {became}{alone and f'; `{alone}` trains it alone'}."


def _manifest_entry(run_id: str, run: Run) -> dict[str, Any]:
    return {"id": run_id, "name": run.name, "labels": dict(run.labels), "overrides": list(run.overrides)}
