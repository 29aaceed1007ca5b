"""The parent's loop: which runs are done already, start the others, record what they tell, resume after a fault."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from experiments import data, environment
from experiments.contract import Framework
from experiments.executor import Ended, Failed, LocalExecutor, Work, check_share, choose_device
from experiments.fingerprint import fingerprint_of, plain
from experiments.progress import Display
from experiments.records import Outcome, SweepRecord
from experiments.run import Diverged, EpochEnded, Finished, Run, Started, train
from experiments.settings import Job, SettingsError
from experiments.sources import SOURCES
from experiments.tracking import Store, config_of

Load = Callable[[str], Framework]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs of one command, checked, with their data at hand; nothing has been started."""

    name: str
    description: str
    command: str
    runs: tuple[Run, ...]
    names: tuple[str, ...]
    datasets: Mapping[str, data.Dataset]
    folder: Path
    executor: LocalExecutor
    reuse: bool

    @property
    def fingerprint(self) -> str:
        """Hash of what is asked for: the same runs, whatever their order."""
        return fingerprint_of(sorted(run.fingerprint for run in self.runs))


def plan(jobs: Sequence[Job], *, modules: Mapping[str, str], cache: Path, console: Console) -> Sweep:
    """Turn jobs into runs: read the data, choose the device, order the runs.

    Raises:
        SettingsError: If the jobs cannot share one sweep, or data or device are not to be had.
    """
    first = jobs[0]
    for key in ("output", "executor", "tracking", "action"):
        if any(getattr(job, key) != getattr(first, key) for job in jobs):
            raise SettingsError(f"`{key}` must be the same for all runs of one command; give it one value")
    if len({(job.task.name, job.task.margins) for job in jobs}) > 1:
        raise SettingsError("`experiment` and `margins` must be the same for all runs; give each its own command")
    check_share(first.executor)
    device = choose_device("cpu" if first.action == "parity" else first.executor.device)
    datasets = _datasets(jobs, cache=cache, console=console)
    folder = _new_folder(Path(first.output) / _slug(first.task.name))
    frameworks = sorted({job.framework.name for job in jobs})
    executor = LocalExecutor(
        settings=first.executor, device=device, preload=[modules[name] for name in frameworks], folder=folder
    )
    runs = tuple(
        Run(
            task=job.task,
            framework=job.framework.name,
            seed=job.seed,
            device=device,
            data_fingerprint=datasets[fingerprint_of(job.task.data)].fingerprint,
            data_path=(cache / "prepared" / f"{datasets[fingerprint_of(job.task.data)].fingerprint}.npz").resolve(),
            folder=Path(),
        )
        for job in interleaved(jobs)
    )
    runs = tuple({run.fingerprint: run for run in runs}.values())
    names = run_names(runs)
    return Sweep(
        name=first.task.name,
        description=first.description,
        command=shlex.join(["python", *sys.argv]),
        runs=tuple(
            dataclasses.replace(run, folder=(folder / "runs" / f"{number:03d}-{_slug(name)}").resolve())
            for number, (run, name) in enumerate(zip(runs, names, strict=True), start=1)
        ),
        names=names,
        datasets={dataset.fingerprint: dataset for dataset in datasets.values()},
        folder=folder,
        executor=executor,
        reuse=first.tracking.reuse,
    )


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
            job.task.network.check_input(found[key].input_shape)
        except (ValueError, FileNotFoundError) as error:
            raise SettingsError(f"data ({job.task.data.source}): {error}") from error
        data.write(found[key], cache / "prepared")
        console.print(f"Data: {escape(found[key].describe())}", highlight=False, soft_wrap=True)
    return found


def interleaved(jobs: Sequence[Job]) -> list[Job]:
    """By seed; every other seed in reverse (ABBA), so that a drift of the machine favours no arm."""
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    blocks = [[job for job in jobs if job.seed == seed] for seed in seeds]
    return [job for number, block in enumerate(blocks) for job in (block if number % 2 == 0 else block[::-1])]


def run_names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Speaking names: framework, optimizer, whatever else differs between the runs, seed."""
    from experiments.tracking import flatten

    flat = [flatten(config_of(run)) for run in runs]
    keys = sorted({key for config in flat for key in config})
    shown = {"framework", "seed", "optimizer.kind"}
    varying = [key for key in keys if key not in shown and len({str(config.get(key)) for config in flat}) > 1]
    return tuple(
        " · ".join(
            [str(config["framework"]), str(config["optimizer.kind"])]
            + [f"{key.rpartition('.')[2]} {config[key]}" for key in varying if key in config]
            + [f"seed {config['seed']}"]
        )
        for config in flat
    )


def _slug(name: str) -> str:
    """A file name: ASCII letters, digits and hyphens, at most 80."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return "-".join(part for part in kept.split("-") if part)[:80] or "unnamed"


def _headline(metrics: Mapping[str, float], part: str) -> str:
    """The metric a person looks at first: accuracy where there is one, else the loss."""
    name = f"{part}/accuracy" if f"{part}/accuracy" in metrics else f"{part}/loss"
    return f"{name} {metrics[name]:.4f}"


@dataclass(kw_only=True)
class _Open:
    """A run that is being recorded."""

    run_id: str
    outcome: Outcome = "running"
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    epoch: int = 0


@dataclass(kw_only=True)
class _Recording:
    """Writes what the runs of one sweep tell into the store and on the screen."""

    sweep: Sweep
    store: Store
    experiment_id: str
    sweep_id: str
    display: Display
    open: dict[int, _Open] = field(default_factory=dict)
    run_ids: dict[int, str] = field(default_factory=dict)

    def told(self, index: int, event: object) -> None:
        """Take one event of run `index` of the sweep."""
        match event:
            case Started():
                self._begin(index)
                self.store.log_facts(
                    self.open[index].run_id,
                    {"n_parameters": str(event.n_parameters), "worker_pid": str(event.pid)}
                    | {f"version.{name}": version for name, version in event.versions.items()},
                )
            case EpochEnded():
                self.open[index].epoch = event.epoch
                self.display.epoch(index, _headline(event.metrics, "val"))
                self.store.log_epoch(self.open[index].run_id, event)
            case Diverged():
                self._conclude(index, outcome="diverged", reason=event.reason)
            case Finished():
                self.open[index].metrics = event.metrics
                self._conclude(index, outcome="finished", reason="")
            case Failed():
                self._conclude(index, outcome="failed", reason=event.reason)
            case Ended():
                self._end(index)
        if isinstance(event, Failed):
            self._end(index)

    def _begin(self, index: int) -> None:
        run, sweep = self.sweep.runs[index], self.sweep
        dataset = sweep.datasets[run.data_fingerprint]
        facts = environment.facts() | {
            "threads": str(sweep.executor.settings.threads),
            "workers": str(sweep.executor.settings.workers),
            "start_method": sweep.executor.start_method,
            "device": run.device,
            "data": dataset.describe(),
            "data_fingerprint": dataset.fingerprint,
        }
        described = {
            "name": SOURCES[run.task.data.source].title, "digest": dataset.fingerprint, "origin": dataset.origin,
        }  # fmt: skip
        run_id = self.store.start_run(
            self.experiment_id, run, sweep_id=self.sweep_id, name=sweep.names[index], facts=facts, dataset=described
        )
        self.open[index] = _Open(run_id=run_id)
        self.run_ids[index] = run_id
        self.display.started(index, sweep.names[index], run.task.training.epochs)

    def _conclude(self, index: int, *, outcome: Outcome, reason: str) -> None:
        if index not in self.open:
            self._begin(index)
        if self.open[index].outcome == "running":
            self.open[index].outcome, self.open[index].reason = outcome, reason

    def _end(self, index: int) -> None:
        done = self.open.pop(index)
        run = self.sweep.runs[index]
        self.store.end_run(
            done.run_id,
            outcome=done.outcome,
            reason=done.reason,
            metrics=done.metrics,
            step=done.epoch,
            folder=run.folder,
        )
        name = escape(self.sweep.names[index])
        if done.outcome == "finished":
            scores = f"{_headline(done.metrics, 'test')}  {done.metrics['time/total']:.1f} s"
            self.display.ended(index, f"{name}  {scores}")
        else:
            log = run.folder / "worker.log"
            self.display.ended(index, f"[red]{name}  {done.outcome}: {escape(done.reason)}[/red] (log: {log})")


def carry_out(sweep: Sweep, *, store: Store, load: Load, console: Console) -> SweepRecord:
    """Train what is not done yet and keep it; return the whole sweep as the store has it.

    Raises:
        SweepLocked: If another process works on the same sweep.
        KeyboardInterrupt: As it came; runs are closed and the same command goes on.
    """
    experiment_id = store.experiment(sweep.name, description=sweep.description)
    orphans = store.close_orphans(experiment_id)
    if orphans:
        console.print(f"Closed {orphans} runs that a dead process left open.")
    sweep_id = store.open_sweep(
        experiment_id,
        name=f"sweep of {len(sweep.runs)} runs",
        fingerprint=sweep.fingerprint,
        command=sweep.command,
        description=sweep.description,
        reuse=sweep.reuse,
    )
    done = {}
    if sweep.reuse:
        found = {index: store.done(experiment_id, run.fingerprint) for index, run in enumerate(sweep.runs)}
        done = {index: run_id for index, run_id in found.items() if run_id is not None}
    if done:
        console.print(
            f"{len(done)} of {len(sweep.runs)} runs are done already (tracking.reuse=false trains them again)."
        )

    def write_down(known: Mapping[int, str]) -> None:
        run_ids = [known[index] for index in sorted(known)]
        store.write_sweep(
            sweep_id, run_ids=run_ids, n_planned=len(sweep.runs), margins=plain(sweep.runs[0].task.margins)
        )

    write_down(done)
    missing = [index for index in range(len(sweep.runs)) if index not in done]
    works = [
        Work(
            call=train,
            arguments=(sweep.runs[index], load),
            log=sweep.runs[index].folder / "worker.log",
        )
        for index in missing
    ]
    status = "KILLED"
    with Display(console, n_runs=len(missing)) as display:
        recording = _Recording(
            sweep=sweep, store=store, experiment_id=experiment_id, sweep_id=sweep_id, display=display, run_ids=done
        )
        try:
            for position, event in sweep.executor.run(works):
                recording.told(missing[position], event)
                if isinstance(event, (Ended, Failed)):
                    write_down(recording.run_ids)  # a report can be made even if this process is killed
            status = "FINISHED"
        except BaseException as error:
            store.kill_open_runs(experiment_id, sweep_id, f"stopped by {type(error).__name__}")
            raise
        finally:
            write_down(recording.run_ids)
            store.end_sweep(sweep_id, status=status)
    return store.read_sweep(sweep_id)
