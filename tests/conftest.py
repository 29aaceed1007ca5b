"""What several test files need: settings, data, a store, and workers that import one framework each."""

from __future__ import annotations

import shutil
from pathlib import Path

import cases
import pytest
from cases import change
from in_memory_store import InMemoryStore

import frameworks
from experiments import data, job
from experiments.execution import devices, executor


def pytest_xdist_auto_num_workers(config):
    """A process per core for a whole suite, at most 4; this one alone for what is picked.

    Every process imports all of it and warms a forkserver of its own, of 2 GB together, so that a single file is done
    sooner without; and a debugger or `-s` needs this one. Every process pins its frameworks to one thread.
    """
    is_whole = config.args == config.getini("testpaths") and not config.option.keyword
    return min(4, devices.available_cores()) if is_whole and config.option.capture != "no" else 0


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def task():
    """digits_mlp with two epochs."""
    return change(cases.task("experiment=digits_mlp", precision="float32"), training={"epochs": 2})


@pytest.fixture(scope="session")
def digits(task, cache):
    return data.load(task.data, cache=cache)


@pytest.fixture(scope="session")
def digits_path(digits, cache):
    return data.write(digits, cache / "prepared")


EXECUTOR = job.ExecutorSettings(workers=2, threads=1, device="cpu", start_method="forkserver", time_limit_seconds=900)


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The real executor, its forkserver warm with all frameworks that one process can hold."""
    one = frameworks.FRAMEWORKS.keys() - OTHER_BACKENDS
    warm = executor_for([name for name in frameworks.FRAMEWORKS if name in one], tmp_path_factory)
    warm.warm_up()
    return warm


OTHER_BACKENDS = {"keras_jax", "keras_torch"}  # than TensorFlow, which is Keras' in the forkserver of most tests


def named(names):
    """Names as parameters of a test, those of OTHER_BACKENDS for the slow suite.

    They keep the contract by the lines that are tested on TensorFlow, but for one small module each.
    """
    return [pytest.param(name, marks=pytest.mark.slow) if name in OTHER_BACKENDS else name for name in names]


def executor_for(names, tmp_path_factory):
    return executor.LocalExecutor(
        settings=EXECUTOR,
        device="cpu",
        frameworks={name: frameworks.FRAMEWORKS[name] for name in names},
        folder=tmp_path_factory.mktemp("executor"),
    )


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """The executor of each of OTHER_BACKENDS, whose forkserver starts with the first work that is for it."""
    return {name: executor_for(["lightning", name], tmp_path_factory) for name in OTHER_BACKENDS}


@pytest.fixture
def in_worker(local, elsewhere, tmp_path):
    """`in_worker(target, *arguments)`: what `target(*arguments, emit)` emitted, from a process of its own.

    It is one that can load the framework which the arguments name.
    """

    def run(target, *arguments):
        named = [getattr(argument, "framework", argument) for argument in arguments]
        name = next((name for name in named if isinstance(name, str) and name in OTHER_BACKENDS), "")
        work = executor.WorkItem(target=target, arguments=arguments, log=tmp_path / "worker.log", framework=name)
        emitted = [event for _, event in elsewhere.get(name, local).run([work])]
        if isinstance(emitted[-1], executor.Failed):
            pytest.fail(f"{emitted[-1].reason}\n{(tmp_path / 'worker.log').read_text()[-3000:]}")
        return emitted[0] if len(emitted) == 2 else emitted[:-1]

    return run


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated, empty MLflow database: making one takes seconds, copying it does not."""
    from experiments.tracking.store import Store

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    Store(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(empty_database, tmp_path):
    """A real store of one's own."""
    from experiments.tracking.store import Store

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def memory_store():
    """A store of one's own in memory, for tests of what uses a store."""
    return InMemoryStore()


PROJECT = Path(__file__).resolve().parents[1]
