"""Keras with another library below it: a process of its own, an extra, and the same network and optimizer."""

import os
from dataclasses import replace

import pytest
from commands import command
from conftest import EXECUTOR

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


def test_without_the_extra_jax_is_refused_before_data_are_read(tmp_path):
    with optional_packages.hidden(but=optional_packages.OPTIONAL - {"jax"}):
        done = command("experiment=digits_mlp", "framework=keras,keras_jax", cwd=tmp_path, cache=tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        'framework=keras_jax needs the package jax, but it is not installed; pip install -e ".[jax]", or take another '
        "framework"
    )
    assert "Reading the data" not in done.stdout
