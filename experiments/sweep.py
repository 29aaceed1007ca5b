"""Jobs -> a sweep: the runs of one command, checked against their data and devices; nothing is started here."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from experiments import data
from experiments.contract import Framework, FrameworkSpec
from experiments.contract.plan import require_equal_shares, require_whole_steps
from experiments.data.catalog import SOURCES
from experiments.data.fit import check_fit
from experiments.errors import SettingsError
from experiments.execution.executor import LocalExecutor, check_share, choose_device, gpu_groups
from experiments.execution.run import Run
from experiments.fingerprint import fingerprint_of, plain, slug
from experiments.job import ComparisonSettings, Job
from experiments.task.search_space import TuningSettings
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

    @property
    def title(self) -> str:
        """What a person sees it listed as."""
        is_plain = self.comparison.name == "frameworks"
        return f"sweep of {len(self.runs)} runs" if is_plain else f"{self.comparison.name}, {len(self.runs)} runs"


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
