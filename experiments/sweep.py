"""The parent's loop: which runs are done already, start the others, record what they tell, resume after a fault."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from experiments import data
from experiments.contract import Framework, FrameworkSpec
from experiments.contract.plan import require_equal_shares, require_whole_steps
from experiments.data.catalog import SOURCES
from experiments.data.fit import check_fit
from experiments.errors import SettingsError
from experiments.execution import environment
from experiments.execution.executor import Ended, Failed, LocalExecutor, Work, check_share, choose_device, gpu_groups
from experiments.execution.progress import Display
from experiments.execution.run import Diverged, EpochEnded, Finished, Pruned, Run, Started, train
from experiments.fingerprint import fingerprint_of, plain, slug
from experiments.job import ComparisonSettings, Job
from experiments.records import Outcome, StudyRecord, SweepRecord, TunedValue
from experiments.task.keys import describe_choice
from experiments.task.search_space import TuningSettings
from experiments.tracking.store import Store
from experiments.tracking.tensorboard import Board

Load = Callable[[str], Framework]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs of one command, checked, with their data at hand; nothing has been started."""

    name: str
    description: str
    command: str
    runs: tuple[Run, ...]
    comparison: ComparisonSettings
    tuning: TuningSettings | None
    datasets: Mapping[str, data.Dataset]
    folder: Path
    executor: LocalExecutor
    reuse: bool
    board: Board | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of what is asked for: the same runs, whatever their order, after the same search."""
        asked = [*sorted(run.fingerprint for run in self.runs)]
        is_plain = self.comparison.factor == "framework" and self.tuning is None
        return fingerprint_of(asked if is_plain else [*asked, plain(self.comparison), plain(self.tuning)])


def plan(
    jobs: Sequence[Job], *, frameworks: Mapping[str, FrameworkSpec], cache: Path, command: str, console: Console
) -> Sweep:
    """Turn jobs into runs: read the data, choose the device, order the runs.

    Args:
        jobs: What the command asks for, composed.
        frameworks: Name -> what each can do and where it lives.
        cache: Where data are kept, and prepared for workers.
        command: As it was typed, for the report.
        console: Where each dataset is described.

    Raises:
        SettingsError: If the jobs cannot share one sweep, or data or device are not to be had.
    """
    first = jobs[0]
    for key in ("output", "executor", "tracking", "action", "comparison", "tuning"):
        if any(getattr(job, key) != getattr(first, key) for job in jobs):
            raise SettingsError(f"`{key}` must be the same for all runs of one command; give it one value")
    if len({(job.task.name, job.task.margins, job.task.chance) for job in jobs}) > 1:
        raise SettingsError(
            "`experiment`, `margins` and `chance` must be the same for all runs; give each its own command"
        )
    asked_executor = first.executor
    if first.action == "parity":  # a certificate is made on one device: what several add is rounding
        asked_executor = dataclasses.replace(asked_executor, device="cpu", devices=1)
    check_share(asked_executor)
    device, devices = choose_device(asked_executor.device), asked_executor.devices
    if device == "gpu":
        gpu_groups(devices)  # refuses more devices than there are
    datasets = _datasets(jobs, cache=cache, console=console)
    for job in jobs:
        spec = frameworks[job.framework.name]
        _check_fit(job, datasets[fingerprint_of(job.task.data)], spec=spec, device=device, devices=devices)
    runs = tuple(
        Run(
            task=job.task,
            framework=job.framework.name,
            seed=job.seed,
            device=device,
            devices=devices,
            data_fingerprint=datasets[fingerprint_of(job.task.data)].fingerprint,
            data_path=(cache / "prepared" / f"{datasets[fingerprint_of(job.task.data)].fingerprint}.npz").resolve(),
            folder=Path(),
            spec=datasets[fingerprint_of(job.task.data)].spec,
            labels=job.labels or {"framework": job.framework.name},
            overrides=job.overrides,
        )
        for job in interleaved(jobs)
    )
    runs = tuple({run.fingerprint: run for run in runs}.values())
    asked = first.tuning if first.action == "train" else None
    if asked is not None:
        from experiments.tuning.checks import check

        check(asked, runs)
    folder = _new_folder(Path(first.output) / slug(first.task.name))
    names = sorted({job.framework.name for job in jobs})
    executor = LocalExecutor(
        settings=asked_executor, device=device, preload=[frameworks[name].module for name in names], folder=folder
    )
    return Sweep(
        name=first.task.name,
        description=first.description,
        command=command,
        runs=runs,
        comparison=_settled(first.comparison, asked),
        tuning=asked,
        datasets={dataset.fingerprint: dataset for dataset in datasets.values()},
        folder=folder,
        executor=executor,
        reuse=first.tracking.reuse,
        board=Board(folder=folder / "tensorboard") if first.tracking.tensorboard else None,
    )


def _settled(comparison: ComparisonSettings, asked: TuningSettings | None) -> ComparisonSettings:
    """After a search that keeps the config's own setting, the report compares the two unless told otherwise."""
    if asked is not None and asked.default and comparison.factor == "framework":
        return ComparisonSettings(name=f"tuning {asked.name}", factor="setting", baseline="default")
    return comparison


def _new_folder(parent: Path) -> Path:
    """Make a folder named after the time; two commands within a second get one each."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("count never ends")


def _datasets(jobs: Sequence[Job], *, cache: Path, console: Console) -> dict[str, data.Dataset]:
    """Settings' fingerprint -> dataset; each is read once and said in one line."""
    found: dict[str, data.Dataset] = {}
    for job in jobs:
        key = fingerprint_of(job.task.data)
        if key in found:
            continue
        try:
            found[key] = data.load(job.task.data, cache=cache)
        except (ValueError, FileNotFoundError) as error:
            raise SettingsError(f"data ({job.task.data.source}): {error}") from error
        data.write(found[key], cache / "prepared")
        console.print(f"Data: {escape(found[key].describe())}", highlight=False, soft_wrap=True)
    return found


def _check_fit(job: Job, dataset: data.Dataset, *, spec: FrameworkSpec, device: str, devices: int) -> None:
    """What can be checked only once the data and the device are known.

    Raises:
        SettingsError: If network, loss or batches do not fit the data, the precision the device, or the task several.
    """
    training = job.task.training
    problems = check_fit(job.task, dataset.spec, title=SOURCES[job.task.data.source].title)
    try:
        require_whole_steps(
            len(dataset.y_train),
            batch_size=training.batch_size,
            batches_per_step=training.gradient_accumulation_steps,
        )
    except ValueError as error:
        problems.append(str(error))
    if training.loss in ("binary_cross_entropy", "brier_score"):
        y = dataset.y_train
        outside = np.argwhere((y < 0) | (y > 1))
        if len(outside):
            place = tuple(int(index) for index in outside[0])
            problems.append(f"`0 <= targets <= 1` must hold for training.loss={training.loss}, but one is {y[place]}")
    try:
        require_equal_shares(job.task, n_examples=len(dataset.y_train), devices=devices)
    except ValueError as error:
        problems.append(str(error))
    problems += _beyond(spec, job, devices=devices)
    if training.precision == "mixed_float16" and device != "gpu":
        problems.append(
            "training.precision: mixed_float16 needs a GPU, but this runs on a CPU; use mixed_bfloat16 or float32"
        )
    if problems:
        raise SettingsError("\n".join(problems))


def _beyond(spec: FrameworkSpec, job: Job, *, devices: int) -> list[str]:
    """What the job's framework cannot do; a certificate is made in precisions of its own choice."""
    problems = []
    name, precision = job.framework.name, job.task.training.precision
    if spec.max_devices is not None and devices > spec.max_devices:
        rule = f"`executor.devices <= {spec.max_devices}` must hold for framework={name}"
        problems.append(f"{rule}, but got {devices}; leave it out")
    if job.action == "train" and precision not in spec.precisions:
        known = " or ".join(spec.precisions)
        problems.append(
            f"`training.precision` must be {known} for framework={name}, but got {precision}; "
            f"set training.precision={spec.precisions[0]}"
        )
    return problems


def interleaved(jobs: Sequence[Job]) -> list[Job]:
    """By seed; every other seed in reverse (ABBA), so that a drift of the machine favours no arm."""
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    blocks = [[job for job in jobs if job.seed == seed] for seed in seeds]
    return [job for number, block in enumerate(blocks) for job in (block if number % 2 == 0 else block[::-1])]


def named(runs: Sequence[Run], *, folder: Path) -> list[Run]:
    """The runs with speaking names (framework, optimizer, whatever else differs, seed) and a folder each."""
    varying = [
        key
        for key in sorted({key for run in runs for key in run.labels})
        if key not in ("framework", "optimizer") and len({run.labels.get(key) for run in runs}) > 1
    ]
    found = []
    for number, run in enumerate(runs, start=1):
        parts = [run.framework, run.labels.get("optimizer") or run.task.optimizer.kind]
        parts += [describe_choice(key, run.labels[key]) for key in varying if key in run.labels]
        name = " · ".join([*parts, f"seed {run.seed}"])
        found.append(dataclasses.replace(run, name=name, folder=(folder / f"{number:03d}-{slug(name)}").resolve()))
    return found


def _headline(metrics: Mapping[str, float], part: str) -> str:
    """The metric a person looks at first: accuracy where there is one, else the loss."""
    name = f"{part}/accuracy" if f"{part}/accuracy" in metrics else f"{part}/loss"
    return f"{name} {metrics[name]:.4f}"


@dataclass(kw_only=True)
class Open:
    """A run that is being recorded."""

    run_id: str
    outcome: Outcome = "running"
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    epoch: int = 0
    was_killed: bool = False
    began: float = field(default_factory=time.monotonic)


@dataclass(kw_only=True)
class Recording:
    """Trains runs and writes what they tell into the store and on the screen."""

    sweep: Sweep
    store: Store
    experiment_id: str
    sweep_id: str
    load: Load
    console: Console
    run_ids: dict[str, str] = field(default_factory=dict)  # fingerprint of a run -> identifier in the store
    runs: Sequence[Run] = ()
    trials: list[tuple[str, Run]] = field(default_factory=list)  # identifier in the store, run
    tuned_values: Sequence[TunedValue] = ()
    studies: Sequence[StudyRecord] = ()
    _open: dict[int, Open] = field(default_factory=dict)
    _now: list[Run] = field(default_factory=list)
    _parents: list[str] = field(default_factory=list)
    _display: Display = field(init=False)
    _executor: LocalExecutor = field(init=False)

    def train(self, runs: Sequence[Run], *, executor: LocalExecutor) -> None:
        """Train those of `runs` that are not done yet."""
        done = self._find_done(runs)
        self.run_ids |= done
        if done:
            hint = "tracking.reuse=false trains them again"
            self.console.print(f"{len(done)} of {len(runs)} runs are done already ({hint}).")
        self.write_down()
        missing = [run for run in runs if run.fingerprint not in done]
        waiting = iter([(run, self.sweep_id) for run in missing])
        self.train_each(lambda: next(waiting, None), executor=executor, n_runs=len(missing))

    def train_each(
        self,
        next_run: Callable[[], tuple[Run, str] | None],
        *,
        executor: LocalExecutor,
        n_runs: int,
        heard: Callable[[int, object, Open | None], bool] = lambda index, event, over: False,
    ) -> None:
        """Train runs as they come.

        Args:
            next_run: The next run and the identifier of its parent in the store; None where there is none now.
            executor: Where they are trained.
            n_runs: How many there will be, for the display.
            heard: Called with the index of a run, what it told, and the record of a run that is over; returns whether
                a trial is to stop.
        """
        self._executor, self._now, self._parents = executor, [], []
        self._display = Display(self.console, n_runs=n_runs)

        def next_work() -> Work | None:
            found = next_run()
            if found is None:
                return None
            run, parent = found
            self._now.append(run)
            self._parents.append(parent)
            log = run.folder / "worker.log"
            return Work(call=train, arguments=(run, self.load), log=log, is_dialogue=run.is_trial)

        with self._display:
            for index, event in executor.run_until_none(next_work):
                if heard(index, event, self._told(index, event)):
                    executor.stop(index)

    def run_id_at(self, index: int) -> str:
        """Identifier in the store of the run at `index` of those that are trained now."""
        return self._open[index].run_id

    def _find_done(self, runs: Sequence[Run]) -> dict[str, str]:
        if not self.sweep.reuse:
            return {}
        found = {run.fingerprint: self.store.find_finished(self.experiment_id, run.fingerprint) for run in runs}
        return {name: run_id for name, run_id in found.items() if run_id is not None}

    def write_down(self) -> None:
        """Keep what the sweep consists of, so that a report can be made even if this process is killed."""
        sweep = self.sweep
        task = sweep.runs[0].task
        specs = [sweep.datasets[run.data_fingerprint].spec for run in sweep.runs]
        names = {spec.class_names for spec in specs if spec.class_names}
        self.store.write_sweep(
            self.sweep_id,
            {
                "n_planned": max(len(self.runs), len(sweep.runs)),
                "margins": plain(task.margins),
                "chance": plain(task.chance),
                "comparison": plain(sweep.comparison),
                "class_names": list(names.pop()) if len(names) == 1 else [],
                "choices": plain(list(self.tuned_values)),
                "studies": plain(list(self.studies)),
                "runs": [
                    self._as_kept(self.run_ids[run.fingerprint], run)
                    for run in self.runs
                    if run.fingerprint in self.run_ids
                ],
                "trials": [self._as_kept(run_id, run) for run_id, run in self.trials],
            },
        )

    def _as_kept(self, run_id: str, run: Run) -> dict[str, Any]:
        return {"id": run_id, "name": run.name, "labels": dict(run.labels), "overrides": list(run.overrides)}

    def _told(self, index: int, event: object) -> Open | None:
        """Take one event of the run at `index` of those that are trained now; return a run that is over."""
        match event:
            case Started():
                self._begin(index)
                self.store.log_facts(
                    self._open[index].run_id,
                    {"n_parameters": str(event.n_parameters), "worker_pid": str(event.pid)}
                    | {f"version.{name}": version for name, version in event.versions.items()},
                )
            case EpochEnded():
                self._open[index].epoch = event.epoch
                self._display.epoch(index, _headline(event.metrics, "val"))
                self.store.log_epoch(self._open[index].run_id, event.metrics, epoch=event.epoch, step=event.step)
                if self.sweep.board is not None:
                    self.sweep.board.log(self._now[index].folder.name, event.metrics, epoch=event.epoch)
            case Diverged():
                self._conclude(index, outcome="diverged", reason=event.reason)
            case Pruned():
                self._conclude(index, outcome="pruned", reason=f"pruned after epoch {event.epoch}")
            case Finished():
                if index in self._open:
                    self._open[index].metrics = event.metrics
                self._conclude(index, outcome="finished", reason="")
            case Failed():
                self._conclude(index, outcome="failed", reason=event.reason)
                if event.killed:
                    self._open[index].was_killed = True
                    self.store.log_facts(self._open[index].run_id, {"killed": "yes"})
                return self._end(index)
            case Ended():
                return self._end(index)
        return None

    def _begin(self, index: int) -> None:
        run, sweep = self._now[index], self.sweep
        dataset = sweep.datasets[run.data_fingerprint]
        facts = environment.facts() | {
            "threads": str(sweep.executor.settings.threads),
            "workers": str(self._executor.settings.workers),
            "start_method": sweep.executor.start_method,
            "device": run.device,
            "devices": str(run.devices),
            "data": dataset.describe(),
            "data_fingerprint": dataset.fingerprint,
        }
        described = {
            "name": SOURCES[run.task.data.source].title, "digest": dataset.fingerprint, "origin": dataset.origin,
        }  # fmt: skip
        run_id = self.store.start_run(
            self.experiment_id,
            parent_id=self._parents[index],
            kind="trial" if run.is_trial else "run",
            name=run.name,
            fingerprint=run.fingerprint,
            config=run.config,
            facts=facts,
            dataset=described,
        )
        self._open[index] = Open(run_id=run_id)
        if not run.is_trial:
            self.run_ids[run.fingerprint] = run_id
        self._display.started(index, run.name, run.task.training.epochs)

    def _conclude(self, index: int, *, outcome: Outcome, reason: str) -> None:
        if index not in self._open:
            self._begin(index)
        if self._open[index].outcome == "running":
            self._open[index].outcome, self._open[index].reason = outcome, reason

    def _end(self, index: int) -> Open:
        done = self._open.pop(index)
        run = self._now[index]
        self.store.end_run(
            done.run_id,
            outcome=done.outcome,
            reason=done.reason,
            metrics=done.metrics,
            step=done.epoch,
            folder=run.folder,
        )
        if self.sweep.board is not None:
            self.sweep.board.log(run.folder.name, done.metrics, epoch=done.epoch)
            self.sweep.board.close(run.folder.name)
        name = escape(run.name)
        if done.outcome == "finished":
            scores = f"{_headline(done.metrics, 'val' if run.is_trial else 'test')}  {done.metrics['time/total']:.1f} s"
            self._display.ended(index, f"{name}  {scores}")
        elif done.outcome == "pruned":
            self._display.ended(index, f"[dim]{name}  {escape(done.reason)}[/dim]")
        else:
            log = run.folder / "worker.log"
            self._display.ended(index, f"[red]{name}  {done.outcome}: {escape(done.reason)}[/red] (log: {log})")
        if not run.is_trial:
            self.write_down()
        return done


def carry_out(sweep: Sweep, *, store: Store, load: Load, console: Console) -> SweepRecord:
    """Train what is not done yet and keep it; return the whole sweep as the store has it.

    Raises:
        Locked: If another process works on the same sweep or study.
        KeyboardInterrupt: As it came; runs are closed and the same command goes on.
    """
    experiment_id = store.experiment(sweep.name, description=sweep.description)
    orphans = store.close_orphans(experiment_id)
    if orphans:
        console.print(f"Closed {orphans} runs that a dead process left open.")
    sweep_id = store.open_sweep(
        experiment_id,
        name=_sweep_name(sweep),
        fingerprint=sweep.fingerprint,
        command=sweep.command,
        description=sweep.description,
        reuse=sweep.reuse,
    )
    recording = Recording(
        sweep=sweep, store=store, experiment_id=experiment_id, sweep_id=sweep_id, load=load, console=console
    )
    status = "KILLED"
    if not store.has_sweep(sweep_id):
        recording.write_down()  # so that there is a report to make, whatever happens
    try:
        recording.runs = named(_search(recording), folder=sweep.folder / "runs")
        recording.train(recording.runs, executor=sweep.executor)
        status = "FINISHED"
    except BaseException as error:
        store.kill_open_runs(experiment_id, sweep_id, f"stopped by {type(error).__name__}")
        raise
    finally:
        if recording.run_ids:  # what an earlier attempt knew is never replaced by nothing
            recording.write_down()
        store.end_sweep(sweep_id, status=status)
    return store.read_sweep(sweep_id)


def _sweep_name(sweep: Sweep) -> str:
    is_plain = sweep.comparison.name == "frameworks"
    return f"sweep of {len(sweep.runs)} runs" if is_plain else f"{sweep.comparison.name}, {len(sweep.runs)} runs"


def _search(recording: Recording) -> Sequence[Run]:
    """The report's runs: as asked for, or with what a search found for them."""
    sweep, asked = recording.sweep, recording.sweep.tuning
    if asked is None:
        return sweep.runs
    from experiments.tuning import search

    return search.carry_out(recording, asked)
