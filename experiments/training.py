"""`action=train`: a search where one is asked for, then the report's runs; what has its result is not trained again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import baselines
from experiments.contract import Load
from experiments.errors import TandemError
from experiments.execution.run import Run
from experiments.fingerprint import slug
from experiments.phases import phase
from experiments.recording import RunRecorder
from experiments.records import BaselineRecord, SweepRecord
from experiments.sweep import Sweep
from experiments.task.keys import describe_choice
from experiments.tracking import database
from experiments.tracking.protocol import SweepStore
from experiments.uris import sqlite_file
from experiments.words import count


def seems_done(sweep: Sweep, *, uri: str) -> bool:
    """Whether a glance into the store's file, before it is opened, finds all results: then no worker need be started.

    Workers take all cores for seconds while they start. Where the glance is wrong, they start once a run is missing.
    """
    file = sqlite_file(uri)
    if file is None or sweep.tuning is not None or not sweep.reuse:
        return False
    return database.has_results(file, {run.fingerprint for run in sweep.runs})


def carry_out(sweep: Sweep, *, store: SweepStore, load: Load, console: Console) -> SweepRecord:
    """Train what has no result yet and keep it; return the whole sweep as the store has it.

    Args:
        sweep: What is asked for, from `preparation.prepare`.
        store: Where runs are kept, and found again.
        load: `frameworks.load`, called in workers.
        console: Where progress is shown.

    Raises:
        Locked: If another process works on the same sweep or study.
        StoreUnavailable: If the store, or a study's storage, does not answer any more.
        DiskFull: If there is no room left for what is to be kept.
        KeyboardInterrupt: As it came; runs are closed and the same command goes on.
    """
    without_network = _baselines(sweep, console=console)
    experiment_id = store.experiment(sweep.name, description=sweep.description)
    orphans = store.close_orphans(experiment_id)
    if orphans:
        console.print(f"Closed {count(orphans, 'run')} that a dead process left open.")
    sweep_id = store.open_sweep(
        experiment_id,
        name=sweep.title,
        fingerprint=sweep.fingerprint,
        command=sweep.command,
        description=sweep.description,
        reuse=sweep.reuse,
        params=sweep.params,
    )
    recorder = RunRecorder(
        sweep=sweep,
        store=store,
        experiment_id=experiment_id,
        sweep_id=sweep_id,
        load=load,
        console=console,
        baselines=without_network,
    )
    if not store.reader.has_sweep(sweep_id):
        recorder.save_manifest()  # so that there is a report to make, whatever happens
    try:
        recorder.runs = named(_search(recorder), folder=sweep.folder / "runs")
        recorder.train(recorder.runs, executor=sweep.executor)
    except BaseException as error:
        with contextlib.suppress(TandemError, OSError):  # why it ended is what counts; the next command closes the rest
            store.kill_open_runs(experiment_id, sweep_id, f"stopped by {type(error).__name__}")
            _close(recorder, status="KILLED")
        raise
    _close(recorder, status="FINISHED")
    with phase("Reading the runs back", console=console):
        return store.reader.read_sweep(sweep_id)


def _baselines(sweep: Sweep, *, console: Console) -> list[BaselineRecord]:
    """Those of each dataset under each loss: made while the forkserver imports, before there is a worker to disturb."""
    wanted = {(run.data_fingerprint, run.task.training.loss): run.data_path.parent for run in sweep.runs}
    return [
        each
        for (data, loss), folder in wanted.items()
        for each in baselines.kept(sweep.datasets[data], loss=loss, folder=folder, console=console)
    ]


def _close(recorder: RunRecorder, *, status: str) -> None:
    if recorder.run_ids:  # what an earlier attempt knew is never replaced by nothing
        recorder.save_manifest()
    recorder.store.end_sweep(recorder.sweep_id, status=status)


def _search(recorder: RunRecorder) -> Sequence[Run]:
    """The report's runs: as asked for, or with what a search found for them."""
    sweep = recorder.sweep
    if sweep.tuning is None:
        return sweep.runs
    from experiments.tuning import search  # imports optuna, which takes a second

    return search.run_search(recorder, sweep.tuning)


def named(runs: Sequence[Run], *, folder: Path) -> list[Run]:
    """The runs with speaking names (framework, optimizer, whatever else differs, seed) and a folder each."""
    varying = [
        key
        for key in sorted({key for run in runs for key in run.labels})
        if key not in ("framework", "optimizer") and len({run.labels.get(key) for run in runs}) > 1
    ]
    renamed = []
    for number, run in enumerate(runs, start=1):
        parts = [run.framework, run.labels.get("optimizer") or run.task.optimizer.kind]
        parts += [run.labels["alignment"]] if run.task.as_shipped and "alignment" not in varying else []
        parts += [describe_choice(key, run.labels[key]) for key in varying if key in run.labels]
        name = " · ".join([*parts, f"seed {run.seed}"])
        renamed.append(dataclasses.replace(run, name=name, folder=(folder / f"{number:03d}-{slug(name)}").resolve()))
    return renamed
