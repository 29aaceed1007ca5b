"""Jobs -> a sweep: read the data, choose the device, check what only they can tell, order the runs; start nothing."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from experiments import abilities, data
from experiments.contract import FrameworkSpec
from experiments.contract.plan import require_equal_shards
from experiments.data import fit
from experiments.data.catalog import SOURCES
from experiments.data.spec import check_fit
from experiments.errors import SettingsError, is_no_room
from experiments.execution import own_process
from experiments.execution.executor import LocalExecutor
from experiments.execution.run import Run
from experiments.fingerprint import fingerprint_of, slug
from experiments.job import ComparisonSettings, Job
from experiments.sweep import Sweep
from experiments.task.search_space import TuningSettings
from experiments.tracking.tensorboard import Board


def prepare(
    jobs: Sequence[Job], *, frameworks: Mapping[str, FrameworkSpec], cache: Path, command: str, console: Console
) -> Sweep:
    """Turn jobs into the sweep that they ask for.

    Args:
        jobs: What the command asks for, composed.
        frameworks: Name -> what each can do and where it lives.
        cache: Where data are kept, and prepared for workers.
        command: As it was typed, for the report.
        console: Where each dataset is described.

    Raises:
        SettingsError: If the jobs cannot share one sweep, or data or device are not to be had.
    """
    inherited = own_process.inherited()  # before scikit-learn adds some
    device = abilities.check(jobs, frameworks=frameworks)
    first = jobs[0]
    settings = abilities.executor_settings(first)
    datasets = _datasets(jobs, cache=cache, console=console)
    for job in {fingerprint_of(job.task): job for job in jobs}.values():
        _check_fit(job, datasets[fingerprint_of(job.task.data)], devices=settings.devices)
    bare_loops = {name: spec.bare_loop for name, spec in frameworks.items()}
    runs = _runs(
        jobs, datasets, bare_loops=bare_loops, prepared=cache / "prepared", device=device, devices=settings.devices
    )
    search = first.tuning if first.action == "train" else None
    if search is not None:
        from experiments.tuning.checks import check_search  # imports optuna

        check_search(search, runs)
    folder = _new_folder(Path(first.output) / slug(first.task.name))
    names = sorted({job.framework.name for job in jobs})
    executor = LocalExecutor(
        settings=settings,
        device=device,
        frameworks={name: frameworks[name] for name in names},
        folder=folder,
        inherited=inherited,
    )
    if executor.environment.left_out:
        left_out = ", ".join(executor.environment.left_out)
        console.print(
            f"Left out of the environment: {left_out}; executor.environment={{NAME: value}} gives one to the workers.",
            highlight=False, markup=False, soft_wrap=not console.is_terminal,
        )  # fmt: skip
    return Sweep(
        name=first.task.name,
        description=first.description,
        command=command,
        runs=runs,
        comparison=_comparison(first.comparison, search),
        tuning=search,
        datasets={dataset.fingerprint: dataset for dataset in datasets.values()},
        output=Path(first.output),
        folder=folder,
        executor=executor,
        reuse=first.tracking.reuse,
        board=Board(folder=folder / "tensorboard") if first.tracking.tensorboard else None,
    )


def _datasets(jobs: Sequence[Job], *, cache: Path, console: Console) -> dict[str, data.Dataset]:
    """Settings' fingerprint -> dataset; each is read once and said in one line."""
    datasets: dict[str, data.Dataset] = {}
    for job in jobs:
        key = fingerprint_of(job.task.data)
        if key in datasets:
            continue
        try:
            datasets[key] = data.load(job.task.data, cache=cache)
        except (ValueError, OSError) as error:
            if is_no_room(error):
                raise
            raise SettingsError(f"data ({job.task.data.source}): {error}") from error
        except MemoryError as error:
            told = "examples must fit into memory, and these do not; give fewer, or smaller ones"
            raise SettingsError(f"data ({job.task.data.source}): {told}") from error
        data.write(datasets[key], cache / "prepared")
        console.print(f"Data: {escape(datasets[key].describe())}", highlight=False, soft_wrap=not console.is_terminal)
        for line in datasets[key].suspicions:
            console.print(
                f"Data, as meant? {escape(line)}.", style="yellow", highlight=False, soft_wrap=not console.is_terminal
            )
    return datasets


def _check_fit(job: Job, dataset: data.Dataset, *, devices: int) -> None:
    """What can be checked only once the data are known; it is the same for every seed and framework.

    Raises:
        SettingsError: If network, loss or batches do not fit the data, or batches the devices that share a run.
    """
    problems = check_fit(job.task, dataset.spec, title=SOURCES[job.task.data.source].title)
    problems += fit.check_examples(job.task, dataset)
    try:
        require_equal_shards(job.task, n_examples=len(dataset.y_train), devices=devices)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))


def _runs(
    jobs: Sequence[Job],
    datasets: Mapping[str, data.Dataset],
    *,
    bare_loops: Mapping[str, str],
    prepared: Path,
    device: str,
    devices: int,
) -> tuple[Run, ...]:
    """The jobs' runs in the order of their training, each once.

    Args:
        jobs: What the command asks for.
        datasets: Settings' fingerprint -> dataset.
        bare_loops: Name of a framework -> what its bare loop does.
        prepared: The folder of the files that workers read.
        device: "cpu" or "gpu".
        devices: How many share a run.
    """
    runs = {}
    for job in _interleaved(jobs):
        dataset = datasets[fingerprint_of(job.task.data)]
        run = Run(
            task=job.task,
            framework=job.framework.name,
            seed=job.seed,
            device=device,
            devices=devices,
            data_fingerprint=dataset.fingerprint,
            data_path=(prepared / f"{dataset.fingerprint}.npz").resolve(),
            folder=Path(),
            spec=dataset.spec,
            labels=job.labels or {"framework": job.framework.name},
            overrides=job.overrides,
            environment=job.executor.environment,
            bare_loop=bare_loops[job.framework.name] if job.loop == "bare" else "",
        )
        runs[run.fingerprint] = run
    return tuple(runs.values())


def _interleaved(jobs: Sequence[Job]) -> list[Job]:
    """By seed; every other seed in reverse (ABBA), so that a drift of the machine favours no arm."""
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    blocks = [[job for job in jobs if job.seed == seed] for seed in seeds]
    return [job for number, block in enumerate(blocks) for job in (block if number % 2 == 0 else block[::-1])]


def _comparison(stated: ComparisonSettings, search: TuningSettings | None) -> ComparisonSettings:
    """After a search that keeps the config's own setting, the report compares the two, unless a factor is stated."""
    if search is not None and search.default and stated.factor == "framework":
        return ComparisonSettings(name=f"tuning {search.name}", factor="setting", baseline="default")
    return stated


def _new_folder(parent: Path) -> Path:
    """Make a folder named after the time; two commands within a second get one each.

    Raises:
        SettingsError: If no folder can be made there.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file or a dangling link in its way, a disk that cannot be written
        raise SettingsError(f"`output` must be a folder that can be written, but: {error}; name another") from error
    for number in itertools.count(1):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("count never ends")
