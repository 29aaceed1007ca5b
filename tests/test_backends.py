"""Keras with another library below it: a process of its own, an extra, and the same network and optimizer."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from cases import PROJECT
from commands import command
from conftest import EXECUTOR
from worker_calls import devices_on_a_mac

import frameworks
from experiments.contract import optional_packages
from experiments.execution import forkservers
from experiments.execution.executor import Failed, LocalExecutor, WorkItem


def groups(*names):
    return [
        (group.variables.get("KERAS_BACKEND"), len(group.modules))
        for group in forkservers.groups([frameworks.FRAMEWORKS[name] for name in names])
    ]


def test_frameworks_share_a_forkserver_unless_their_variables_contradict_each_other():
    assert groups() == [(None, 0)]
    assert groups("lightning", "numpy") == [(None, 2)]
    assert groups("lightning", "keras_jax") == [("jax", 2)]
    assert groups("keras", "keras_jax", "keras_torch", "lightning") == [("tensorflow", 2), ("jax", 1), ("torch", 1)]


def test_no_worker_is_forked_from_a_server_that_lacks_its_variables():
    with (
        pytest.raises(LookupError, match="no forkserver with {'KERAS_BACKEND': 'theano'}"),
        forkservers.serving({"KERAS_BACKEND": "theano"}),
    ):
        pass


def backend_of(name, emit):
    """The backend's name as Keras has it, and as the process' variables say."""
    frameworks.load(name)
    import keras

    emit((keras.backend.backend(), os.environ["KERAS_BACKEND"]))


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_sweep_of_two_backends_gives_each_worker_its_own(local, tmp_path, method):

    both = LocalExecutor(
        settings=replace(EXECUTOR, start_method=method),
        device="cpu",
        frameworks={name: frameworks.FRAMEWORKS[name] for name in ("keras", "keras_torch")},
        folder=tmp_path,
    )
    names = ["keras_torch", "keras", "keras_torch"]
    works = [
        WorkItem(target=backend_of, arguments=(name,), log=tmp_path / f"{number}.log", framework=name)
        for number, name in enumerate(names)
    ]
    told = dict((index, event) for index, event in both.run(works) if isinstance(event, tuple | Failed))
    assert told == {0: ("torch", "torch"), 1: ("tensorflow", "tensorflow"), 2: ("torch", "torch")}


def test_keras_on_pytorch_stays_on_the_cpu_that_it_was_told_where_it_would_take_a_macs_gpu(in_worker, task):
    assert in_worker(devices_on_a_mac, frameworks.load, "keras_torch", task) == {"cpu"}


DIES = """
import os, signal, sys
sys.path.insert(0, "tests")
from dataclasses import replace
from pathlib import Path
import frameworks
from conftest import EXECUTOR
from experiments.execution import forkservers
from experiments.execution.executor import LocalExecutor, WorkItem
from test_backends import variable
folder = Path(sys.argv[1])
one = replace(frameworks.FRAMEWORKS["numpy"], module="json")
specs = {"plain": replace(one, environment={}), "needy": replace(one, environment={"KERAS_BACKEND": "jax"})}
local = LocalExecutor(settings=EXECUTOR, device="cpu", frameworks=specs, folder=folder)
local.warm_up()
(server,) = forkservers._started
pid = server.process._forkserver_pid
os.kill(pid, signal.SIGKILL)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
(folder / "preload.log").unlink(missing_ok=True)
for name in ("plain", "needy"):
    work = WorkItem(target=variable, arguments=("KERAS_BACKEND",), log=folder / "0.log", framework=name)
    print(*local.run([work]))
print((folder / "preload.log").exists(), server.process._forkserver_pid != pid)
"""


def variable(name, emit):
    emit(os.environ.get(name))


def test_a_server_that_died_is_started_again_with_all_its_variables(tmp_path):
    """Whichever framework's item finds it dead."""
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["(0, 'jax') (0, Completed())"] * 2 + ["True True"], done.stderr


def test_without_the_extra_jax_is_refused_before_data_are_read(tmp_path):
    with optional_packages.hidden(but=optional_packages.OPTIONAL - {"jax"}):
        done = command("experiment=digits_mlp", "framework=keras,keras_jax", cwd=tmp_path, cache=tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        'framework=keras_jax needs the package jax, but it is not installed; pip install -e ".[jax]", or take another '
        "framework"
    )
    assert "Reading the data" not in done.stdout
