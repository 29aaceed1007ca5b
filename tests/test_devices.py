"""Several devices that share one run: on two CPU devices it is the run of one, and what would not be is refused."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import cases
import numpy as np
import pytest
from cases import change
from conftest import EXECUTOR
from rich.console import Console
from worker_calls import (
    bereft_on,
    dropped_on_two,
    environment,
    hung_on,
    overflowed_on,
    stopped_on,
    trained_on,
    weights_replaced_on,
)

import frameworks
from experiments import data, preparation, training
from experiments.contract.plan import require_equal_shards
from experiments.errors import SettingsError
from experiments.execution import devices, executor
from experiments.execution.run import Run
from experiments.task import Augmentation, Clip

both_frameworks = pytest.mark.parametrize("name", ["lightning", "keras"])


@pytest.fixture(scope="session")
def exact(task):
    """digits_mlp in float64, in batches that two devices can share: 19 of 64 and one of 56."""
    return change(task, training={"precision": "float64", "batch_size": 64}, data={"validation_fraction": 0.115})


@pytest.fixture(scope="session")
def even_path(exact, cache):
    dataset = data.load(exact.data, cache=cache)
    assert len(dataset.y_train) % 2 == 0
    assert len(dataset.y_train) % 64 != 0, "the last batch is to be a short one"
    return data.write(dataset, cache / "prepared")


EVERYTHING = {
    "l1": 1e-4, "l2": 1e-3, "weight_decay": 0.1, "weight_averaging": 0.9, "clip": Clip(kind="global_norm", limit=0.1),
    "augmentation": Augmentation(shift=1, flip=False, noise=0.1),
}  # fmt: skip


@pytest.mark.parametrize("regularization", [{}, EVERYTHING], ids=["plain", "everything"])
@both_frameworks
def test_two_devices_train_as_one_does(in_worker, name, regularization, exact, even_path):
    """Sums in another order: 1e-12, relative for losses (measured 4e-16), absolute for weights (measured 3e-16)."""
    steps = 2 if regularization else 1
    asked = change(exact, regularization=regularization, training={"gradient_accumulation_steps": steps})
    alone, shared = (in_worker(trained_on, devices, frameworks.load, name, asked, even_path) for devices in (1, 2))
    assert shared["n_steps"] == alone["n_steps"]
    losses = [np.concatenate([step_losses for _, step_losses in told["losses"]]) for told in (alone, shared)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)
    for key in alone["after"]:
        np.testing.assert_allclose(shared["after"][key], alone["after"][key], rtol=0, atol=1e-12)
    np.testing.assert_allclose(shared["logits"], alone["logits"], rtol=0, atol=1e-11)


def test_keras_divides_by_three_exactly(in_worker, exact, even_path):
    """Of its own it rounds one third to float32: 1e-8 (measured 3e-16)."""
    thirds = change(exact, training={"batch_size": 63})
    alone, shared = (in_worker(trained_on, n, frameworks.load, "keras", thirds, even_path) for n in (1, 3))
    losses = [np.concatenate([step_losses for _, step_losses in told["losses"]]) for told in (alone, shared)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)


@both_frameworks
def test_weights_that_are_replaced_reach_every_device(in_worker, name, exact, even_path):
    """Plain SGD keeps nothing: from the first weights, one device's losses are those of the first epoch's plan."""
    plain = change(exact, optimizer=cases.task("optimizer=sgd").optimizer)
    alone, shared = (
        in_worker(weights_replaced_on, devices, frameworks.load, name, plain, even_path) for devices in (1, 2)
    )
    np.testing.assert_allclose(shared, alone, rtol=1e-12)


@both_frameworks
def test_a_stop_ends_every_device_and_with_dropout_the_same_seed_gives_the_same_bits_again(
    in_worker, name, exact, even_path
):
    with_dropout = change(exact, regularization={"dropout": 0.5})
    first, again = (in_worker(stopped_on, 2, frameworks.load, name, with_dropout, even_path) for _ in range(2))
    for key in first["after"]:
        np.testing.assert_array_equal(first["after"][key], again["after"][key])
    assert [epoch for epoch, _ in first["losses"]] == [0]
    assert first["n_steps"] == 20


def test_keras_drops_other_units_on_each_device(in_worker, task):
    """Of its own it would draw the same mask for the first rows of every share."""
    with_dropout = change(task, regularization={"dropout": 0.5})
    first, second = in_worker(dropped_on_two, frameworks.load, with_dropout)
    assert {*np.unique(first), *np.unique(second)} == {0, 2}
    assert 0.3 < np.mean(first != second) < 0.7  # 256 units, independent: one half


@pytest.mark.parametrize("devices", [1, 2])
def test_keras_skips_a_step_that_overflows_on_any_device(in_worker, devices):
    """Of its own it would look at the first device alone, and all weights would be NaN."""
    half = cases.task("network=mlp", precision="mixed_float16")
    losses, weights = in_worker(overflowed_on, devices, frameworks.load, half)
    assert list(np.flatnonzero(~np.isfinite(losses))) == [2]
    assert all(np.isfinite(weight).all() for weight in weights.values())


def is_alive(pid):
    """Neither gone nor a zombie that nobody has waited for."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_no_replica_outlives_a_worker_that_is_killed(local, exact, even_path, tmp_path):
    work = executor.WorkItem(
        target=hung_on, arguments=(2, frameworks.load, "lightning", exact, even_path), log=tmp_path / "worker.log"
    )
    events = local.run([work])
    _, (worker, others) = next(events)
    assert len(others) == 1
    assert all(map(is_alive, [worker, *others]))
    os.kill(worker, signal.SIGKILL)
    assert isinstance(list(events)[-1][1], executor.Failed)
    give_up = time.monotonic() + 120
    while any(map(is_alive, others)):
        assert time.monotonic() < give_up, "a replica lives on"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_replica_that_is_killed_fails_the_run(local, exact, even_path, tmp_path):
    work = executor.WorkItem(
        target=bereft_on, arguments=(2, frameworks.load, "lightning", exact, even_path), log=tmp_path / "worker.log"
    )
    events = local.run([work])
    _, (_, others) = next(events)
    os.kill(others[0], signal.SIGKILL)
    failed = list(events)[-1][1]
    assert isinstance(failed, executor.Failed)
    assert "time_limit" not in failed.reason


REFUSED = {
    "a short batch": ({"training": {"batch_size": 3}}, r"n_train=1272, batch_size=3, devices=2; .*batch_size=2 does"),
    "class weights": ({"training": {"class_weights": (1.0,) * 10}}, "needs training.class_weights=null"),
    "batch normalization": ({"network": "cnn_bn"}, "needs a network without batch normalization"),
    "jit": ({"training": {"jit": True}}, "needs training.jit=false"),
}


@pytest.mark.parametrize(("parts", "words"), list(REFUSED.values()), ids=list(REFUSED))
def test_what_several_devices_would_train_otherwise_is_refused(exact, parts, words):
    networks = {key: cases.task(f"network={name}").network for key, name in parts.items() if key == "network"}
    asked = change(exact, **parts | networks)
    require_equal_shards(asked, n_examples=1272, devices=1)
    with pytest.raises(ValueError, match=words):
        require_equal_shards(asked, n_examples=1272, devices=2)


def test_examples_that_do_not_divide_are_refused_whatever_the_batch(exact):
    with pytest.raises(ValueError, match="1271 do not divide by 2: change data.validation_fraction"):
        require_equal_shards(exact, n_examples=1271, devices=2)


TWO_DEVICES = dataclasses.replace(EXECUTOR, workers=1, devices=2)


def planned(task, folder, cache, *, names=("lightning", "keras"), settings=TWO_DEVICES):
    jobs = cases.jobs(task, folder, names=names, seeds=(0,), executor=settings)
    return preparation.prepare(
        jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="a test", console=Console(quiet=True)
    )


def test_a_sweep_refuses_before_training(exact, cache, tmp_path):
    with pytest.raises(SettingsError, match="batch_size=63, devices=2; training.batch_size=62 does"):
        planned(change(exact, training={"batch_size": 63}), tmp_path, cache)
    with pytest.raises(SettingsError, match="must hold for framework=numpy, but got 2; leave it out"):
        planned(exact, tmp_path, cache, names=("numpy",))


def test_a_precision_that_a_framework_lacks_is_refused_before_training(exact, cache, tmp_path):
    single = change(exact, training={"precision": "float32"})
    with pytest.raises(SettingsError, match="must be float64 for framework=numpy, but got float32; set training.prec"):
        planned(single, tmp_path, cache, names=("lightning", "numpy"), settings=EXECUTOR)


def test_more_devices_than_cores_are_refused(exact, cache, tmp_path):
    with pytest.raises(SettingsError, match=r"executor.threads \* executor.devices <= .* but got 1 \* 1 \* 500; lower"):
        planned(exact, tmp_path, cache, settings=dataclasses.replace(TWO_DEVICES, devices=500))


def test_fewer_gpus_than_devices_are_refused(exact, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(devices, "WSL_DEVICE", tmp_path)
    with pytest.raises(SettingsError, match="visible GPUs` must hold, but got 2 devices and 1 GPUs; lower"):
        planned(exact, tmp_path, cache, settings=dataclasses.replace(TWO_DEVICES, device="gpu"))


def test_gpus_are_handed_out_in_groups(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,1,2,9")
    monkeypatch.setattr(devices, "WSL_DEVICE", tmp_path)
    assert devices.gpu_groups(1) == ["4", "7", "1", "2", "9"]
    settings = dataclasses.replace(EXECUTOR, start_method="auto", devices=2)
    pairs = executor.LocalExecutor(settings=settings, device="gpu", frameworks={}, folder=tmp_path)
    works = [executor.WorkItem(target=environment, arguments=(), log=tmp_path / "worker.log") for _ in range(2)]
    seen = [event["CUDA_VISIBLE_DEVICES"] for _, event in pairs.run(works) if isinstance(event, dict)]
    assert sorted(seen) == ["1,2", "4,7"]


def test_devices_are_in_a_runs_name_only_where_there_are_several(exact, cache, tmp_path):
    runs = planned(exact, tmp_path, cache).runs
    alone: Run = dataclasses.replace(runs[0], devices=1)
    before = planned(exact, tmp_path, cache, settings=EXECUTOR).runs[0]
    assert alone.fingerprint == before.fingerprint != runs[0].fingerprint


def test_a_certificate_is_made_on_one_device(exact, cache, tmp_path):
    jobs = cases.jobs(exact, tmp_path, names=("lightning", "keras"), seeds=(0,), executor=TWO_DEVICES)
    asked = [dataclasses.replace(job, action="parity") for job in jobs]
    made = preparation.prepare(
        asked, frameworks=frameworks.FRAMEWORKS, cache=cache, command="a test", console=Console(quiet=True)
    )
    assert made.executor.settings.devices == 1
    assert {run.devices for run in made.runs} == {1}


def test_a_sweep_on_two_devices_is_recorded(local, exact, cache, tmp_path, memory_store):
    """The whole way. Both frameworks' validation losses agree as on one device, to 1e-12 relative."""
    made = planned(exact, tmp_path, cache)
    record = training.carry_out(made, store=memory_store, load=frameworks.load, console=Console(quiet=True))
    assert not record.is_partial
    first, second = record.runs
    assert first.facts["devices"] == second.facts["devices"] == "2"
    assert first.config["devices"] == 2  # sets its arm apart from those on one device
    for name in ("train/loss", "val/loss", "test/loss"):
        assert first.metrics[name] == pytest.approx(second.metrics[name], rel=1e-12)
