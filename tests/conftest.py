"""What several test files need: settings, data, a store, and workers that import one framework each."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

import frameworks
from experiments import data, executor, settings
from experiments.task import (
    AdamSettings,
    ConstantSchedule,
    DataSettings,
    Initialization,
    Margins,
    MlpSettings,
    Regularization,
    Task,
    Training,
)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def task():
    """digits_mlp with two epochs."""
    return Task(
        name="digits_mlp",
        data=DataSettings(
            source="sklearn_digits",
            path=None,
            download=False,
            test_fraction=0.2,
            validation_fraction=0.1,
            split_seed=0,
        ),
        network=MlpSettings(
            depth=2,
            width=64,
            width_factor=0.5,
            activation="relu",
            initialization=Initialization(kernel="glorot_uniform", bias="zeros"),
        ),
        optimizer=AdamSettings(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8),
        schedule=ConstantSchedule(),
        regularization=Regularization(dropout=0.0),
        training=Training(epochs=2, batch_size=32, loss="cross_entropy", precision="float32"),
        margins=Margins(accuracy=0.01, loss=0.03, time_ratio=0.05),
    )


@pytest.fixture(scope="session")
def digits(task, cache):
    return data.load(task.data, cache=cache)


@pytest.fixture(scope="session")
def digits_path(digits, cache):
    return data.write(digits, cache / "prepared")


EXECUTOR = settings.ExecutorSettings(
    workers=2, threads=1, device="cpu", start_method="forkserver", time_limit_seconds=120
)


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The real executor, its forkserver warm with both frameworks."""
    warm = executor.LocalExecutor(
        settings=EXECUTOR,
        device="cpu",
        preload=list(frameworks.MODULES.values()),
        folder=tmp_path_factory.mktemp("executor"),
    )
    warm.prepare()
    return warm


@pytest.fixture
def in_worker(local, tmp_path):
    """`in_worker(call, *arguments)`: what `call(*arguments, tell)` told, from a process of its own."""

    def run(call, *arguments):
        work = executor.Work(call=call, arguments=arguments, log=tmp_path / "worker.log")
        told = [event for _, event in local.run([work])]
        if isinstance(told[-1], executor.Failed):
            pytest.fail(f"{told[-1].reason}\n{(tmp_path / 'worker.log').read_text()[-3000:]}")
        return told[0] if len(told) == 2 else told[:-1]

    return run


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated, empty MLflow database: making one takes seconds, copying it does not."""
    from experiments.tracking import Store

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    Store(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(empty_database, tmp_path):
    """A real store of one's own."""
    from experiments.tracking import Store

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path / 'mlflow.db'}")


def change(task: Task, **parts) -> Task:
    """`change(task, training={"epochs": 1})`: the task with some numbers replaced."""
    replaced = {
        name: dataclasses.replace(getattr(task, name), **values) if isinstance(values, dict) else values
        for name, values in parts.items()
    }
    return dataclasses.replace(task, **replaced)


PROJECT = Path(__file__).resolve().parents[1]
