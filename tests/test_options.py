"""Options of a training run: which weights are kept, and TensorBoard's event files beside MLflow."""

import dataclasses
import sys

import cases
import numpy as np
import pytest
from cases import change
from rich.console import Console

import frameworks
from experiments import preparation, training
from experiments.errors import SettingsError
from experiments.execution.run import Diverged, EpochEnded, Finished, Run
from experiments.execution.worker import train
from experiments.job import ExecutorSettings, TrackingSettings
from experiments.task import Task

ONE_AT_A_TIME = ExecutorSettings(workers=1, threads=1, device="cpu", start_method="forkserver", time_limit_seconds=120)


@pytest.fixture
def run_of(digits_path, tmp_path):
    def make(task: Task, framework: str) -> Run:
        folder = tmp_path / f"{framework}-{task.training.keep}-{task.training.epochs}"
        folder.mkdir()
        return Run(
            task=task, framework=framework, seed=0, device="cpu", data_fingerprint="d", data_path=digits_path,
            folder=folder,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("framework", ["lightning", "keras"])
def test_the_best_weights_are_those_of_the_lowest_validation_loss(in_worker, run_of, task, framework):
    """A rate that overshoots: the best epoch is not the last; its scores are those of a run that ends there."""
    wild = change(task, optimizer={"learning_rate": 0.05}, training={"epochs": 6, "keep": "best"})
    events = in_worker(train, run_of(wild, framework), frameworks.load)
    losses = [event.metrics["val/loss"] for event in events if isinstance(event, EpochEnded)]
    best = int(np.argmin(losses)) + 1
    assert best < 6
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.metrics["kept_epoch"] == best
    shorter = change(wild, training={"epochs": best, "keep": "last"})
    (until_best,) = [
        e for e in in_worker(train, run_of(shorter, framework), frameworks.load) if isinstance(e, Finished)
    ]
    assert finished.metrics["test/loss"] == until_best.metrics["test/loss"]
    last = change(wild, training={"keep": "last"})
    to_the_end = in_worker(train, run_of(last, framework), frameworks.load)[-1]
    assert to_the_end.metrics["kept_epoch"] == 6
    assert to_the_end.metrics["test/loss"] != finished.metrics["test/loss"]


def test_the_best_weights_and_their_average_cannot_both_be_kept(task):
    with pytest.raises(ValueError, match="`keep: last with weight_averaging` must hold, but got 'best'"):
        change(task, training={"keep": "best"}, regularization={"weight_averaging": 0.9})


def test_a_run_that_diverges_keeps_nothing(in_worker, run_of, task):
    exploding = change(task, optimizer={"learning_rate": 1e30}, training={"epochs": 3, "keep": "best"})
    events = in_worker(train, run_of(exploding, "lightning"), frameworks.load)
    events = events if isinstance(events, list) else [events]
    assert isinstance(events[-1], Diverged)


@pytest.fixture
def console(tmp_path):
    return Console(file=(tmp_path / "screen.txt").open("w"), width=120)


def with_board(task, tmp_path):
    tracking = TrackingSettings(uri="unused", reuse=True, tensorboard=True)
    jobs = cases.jobs(task, tmp_path, names=("lightning", "keras"), seeds=(0,), executor=ONE_AT_A_TIME)
    return [dataclasses.replace(job, tracking=tracking) for job in jobs]


def test_tensorboard_shows_what_mlflow_keeps(local, task, tmp_path, cache, store, console):
    """Read back by TensorBoard's own loader: every metric of every epoch, under the same names, for both frameworks."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = preparation.prepare(
        with_board(task, tmp_path), frameworks=frameworks.FRAMEWORKS, cache=cache, command="a test", console=console
    )
    record = training.carry_out(made, store=store, load=frameworks.load, console=console)
    folders = sorted((made.folder / "tensorboard").iterdir())
    assert len(folders) == 2
    for folder, run in zip(folders, record.runs, strict=True):
        assert run.framework in folder.name
        shown = EventAccumulator(str(folder)).Reload()
        losses = [(event.step, event.value) for event in shown.Scalars("val/loss")]
        np.testing.assert_allclose(losses, run.curves["val/loss"], rtol=1e-6)  # event files hold float32
        assert shown.Scalars("test/accuracy")[0].value == pytest.approx(run.metrics["test/accuracy"], rel=1e-6)


def test_tensorboard_that_is_not_installed_is_said_before_anything_starts(task, tmp_path, cache, console, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(SettingsError, match=r'needs tensorboardX.*pip install "\.\[tensorboard\]"'):
        preparation.prepare(
            with_board(task, tmp_path), frameworks=frameworks.FRAMEWORKS, cache=cache, command="a test", console=console
        )
