"""The command, and the programs written by hand, as processes: what each took and what it printed or kept."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from experiments import data, settings
from experiments.data import download
from experiments.execution.environment import PROJECT
from experiments.task import Task

PROGRAMS = {"lightning": "plain_pytorch.py", "keras": "plain_keras.py"}
RUN = str(PROJECT / "run.py")
MNIST_MLP = ("experiment=mnist_mlp_adam", "data.download=false")  # no server is waited for, whatever the network
MNIST_CNN = ("experiment=mnist_cnn", "data.download=false")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended: wall seconds, seconds of user and system, what it said."""

    wall: float
    cpu: float
    code: int
    out: str


def process(words: Sequence[str], *, folder: Path, codes: Sequence[int] = (0,), **variables: str) -> Ended:
    """Start one in `folder` and wait for it.

    Args:
        words: Its command line.
        folder: Where it starts.
        codes: Those that it may end with.
        **variables: What it has in its environment besides this process's.

    Raises:
        RuntimeError: If it ends with another code; says what it said last.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in codes:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{said}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ended(wall=wall, cpu=cpu, code=done.returncode, out=done.stdout)


def ours(*words: str) -> dict[str, Any]:
    """The command in a fresh folder, on the CPU: wall seconds, when the first epoch was over, numbers of each run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = str(download.cache_folder(otherwise=folder / "cache"))
        began = time.time()
        ended = process([sys.executable, RUN, "executor.device=cpu", *words], folder=folder, TANDEM_CACHE=cache)
        (report,) = folder.glob("outputs/*/*/report/report.json")
        runs = [run["metrics"] for run in json.loads(report.read_text())["runs"]]
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
            ((first,),) = store.execute("SELECT MIN(timestamp) FROM metrics WHERE key = 'time/epoch'")
            ((weights,),) = store.execute("SELECT MIN(value) FROM tags WHERE key = 'tandem.n_parameters'")
    return {
        "wall": ended.wall,
        "first_epoch_end": first / 1000 - began,
        "n_weights": int(weights),
        "epoch": median(run["time/steady_epoch"] for run in runs),
        "run": median(run["time/total"] for run in runs),
        "mib": max(run["memory/process_peak_mib"] for run in runs),
        "accuracy": median(run["test/accuracy"] for run in runs),
    }


def task_of(*overrides: str) -> Task:
    """What the command composes from these words."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    with open_dict(config):
        config.pop("hydra", None)
    return settings.task_from(config)


def mnist() -> str:
    """Which images these are, how many in each part, and their fingerprint."""
    with tempfile.TemporaryDirectory() as name:
        return data.load(task_of(*MNIST_CNN).data, cache=download.cache_folder(otherwise=Path(name))).describe()


def arrays_of(task: Task, *, folder: Path) -> Path:
    """The task's training and test examples, as a file in `folder` that a program written by hand reads."""
    dataset = data.load(task.data, cache=download.cache_folder(otherwise=folder / "cache"))
    path = folder / f"{dataset.fingerprint}.npz"
    if not path.is_file():
        parts = {f"{axis}_{part}": getattr(dataset, f"{axis}_{part}") for axis in "xy" for part in ("train", "test")}
        with tempfile.TemporaryDirectory(dir=folder) as name:
            partial = Path(name) / path.name
            np.savez(partial, **parts)
            partial.replace(path)
    return path


def plain(
    task: Task, *, network: str, framework: str, arrays: Path, seed: int, epochs: int, threads: int | None = 1
) -> dict[str, Any]:
    """The program written by hand, of the task's network: the same numbers as `ours` gives.

    Args:
        task: Whose optimizer, loss and batch size it gets.
        network: Its word for the network.
        framework: Which one it is written in.
        arrays: Its examples.
        seed: Of weights and order.
        epochs: How many.
        threads: None: as many as it takes where nothing is said.
    """
    has_momentum = getattr(task.optimizer, "momentum", 0.0) > 0
    words: Mapping[str, Any] = {
        "network": network,
        "epochs": epochs,
        "seed": seed,
        "optimizer": "momentum" if has_momentum else task.optimizer.kind,
        "learning-rate": task.optimizer.learning_rate,
        "label-smoothing": task.regularization.label_smoothing,
        "batch-size": task.training.batch_size,
    } | ({} if threads is None else {"threads": threads})
    program = str(PROJECT / "benchmarks" / "plain" / PROGRAMS[framework])
    typed = [f"--{name}={value}" for name, value in words.items()]
    ended = process([sys.executable, program, str(arrays), *typed], folder=arrays.parent, CUDA_VISIBLE_DEVICES="")
    printed = json.loads(ended.out.splitlines()[-1])
    seconds = printed["epoch_seconds"]
    return {
        "wall": ended.wall,
        "n_weights": printed["n_weights"],
        "epoch": median(seconds[1:] or seconds),
        "mib": printed["peak_mib"],
        "accuracy": printed["test_accuracy"],
    }
