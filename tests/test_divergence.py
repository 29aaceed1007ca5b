"""What is not finite, or cannot be, ends a run as diverged: one rule for every framework, number and moment."""

import dataclasses
import json
import math
import shutil
import sqlite3

import cases
import numpy as np
import pytest
from cases import change
from commands import command

import frameworks
from experiments import data, divergence, metrics
from experiments.execution.run import Diverged, EpochEnded, Finished, Run
from experiments.execution.worker import train
from frameworks.numpy import adapter

MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("name", "value", "is_possible"),
    [
        ("test/accuracy", 0.0, True),
        ("val/accuracy", 1.0000001, True),  # a sum in float32
        ("val/accuracy", 1.01, False),
        ("test/accuracy", -0.01, False),
        ("train/loss", -1e-7, True),
        ("train/loss", -0.1, False),
        ("val/loss", math.nan, False),
        ("val/loss", math.inf, False),
        ("val/loss", 1.7976931348623157e308, False),  # as MLflow keeps infinity
        ("val/loss", 1e80, False),
        ("val/loss", MAX, True),
        ("test/brier_score", 2.1, False),
        ("test/r2", -1e30, True),
        ("test/r2", 1.5, False),
        ("test/r2", -math.inf, False),
        ("time/total", -1.0, False),
        ("kept_epoch", 3.0, True),
        ("kept_epoch", math.nan, False),
    ],
)
def test_a_number_is_held_to_what_it_can_mean(name, value, is_possible):
    assert divergence.is_possible(name, value) is is_possible
    assert bool(divergence.of_scores({name: value}, when="")) is not is_possible


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.1, 1e39])
def test_the_first_batch_whose_loss_diverged_is_found(bad):
    assert divergence.first_diverged(np.array([1.0, 2.0, MAX, 0.0, -1e-7])) is None
    assert divergence.first_diverged(np.array([1.0, bad, math.nan, 2.0])) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e200])
def test_one_weight_among_thousands_is_found(bad):
    weights = {"a": np.zeros((30, 30)), "b": np.full(5, -MAX), "c": np.zeros((0, 3))}
    assert divergence.of_weights(weights, when="now") == ""
    weights["a"][17, 3] = bad
    assert divergence.of_weights(weights, when="now") == f"weights a became {abs(bad):g} now"


def test_the_loss_is_named_before_what_follows_from_it():
    scores = {"val/accuracy": math.nan, "val/brier_score": math.nan, "val/loss": math.nan}
    assert divergence.of_scores(scores, when="now") == "val/loss became nan now"


def test_the_largest_of_nan_is_no_answer():
    logits = np.array([[1.0, 0.0], [math.nan, 2.0]])
    scores = metrics.evaluate(logits, np.array([0, 0]), loss="cross_entropy")
    assert set(scores) == set(metrics.names("cross_entropy"))
    assert all(math.isnan(value) for value in scores.values())


# Planted in the referee: what trains is real, one number is spoiled on its way.


class Spoiled(adapter.NumpyModel):
    """A model whose numbers go wrong at one place: the outputs of so many examples, a loss, or a weight."""

    place, value, epoch = "", math.nan, 0

    def weights(self):
        kept = super().weights()
        if self.place == "weights" and self.epoch == 2:
            kept["dense1/kernel"][3, 4] = self.value
        return kept

    def logits(self, inputs):
        outputs = super().logits(inputs)
        is_late = self.epoch >= (2 if self.place == "val" else 0)
        if is_late and len(inputs) == {"val": 143, "test": 359, "train_eval": 1295}.get(self.place):
            outputs[7, 2] = self.value
        return outputs

    def fit(self, plan, *, on_step_end, on_epoch_end):
        def spoiled(epoch, losses):
            self.epoch = epoch + 1
            if self.place == "loss" and epoch == 1:
                losses[4] = self.value
            return on_epoch_end(epoch, losses)

        super().fit(plan, on_step_end=on_step_end, on_epoch_end=spoiled)


class SpoiledFramework(adapter.NumpyFramework):
    def __init__(self, place, value):
        self.place, self.value = place, value

    def build(self, task, **keywords):
        made = super().build(task, **keywords)
        spoiled = Spoiled(made.network, task)
        spoiled.place, spoiled.value = self.place, self.value
        return spoiled


@pytest.fixture
def planted(task, digits_path, tmp_path):
    """`planted(place, value, **training)`: what a run of three epochs told, its numbers spoiled at that place."""

    def run(place, value=math.nan, *, is_trial=False, patience=0, **training):
        settled = change(task, training={"epochs": 3, "precision": "float64", **training})
        stopping = dataclasses.replace(settled.regularization.early_stopping, patience=patience)
        settled = change(settled, regularization={"early_stopping": stopping})
        asked = Run(
            task=settled, framework="numpy", seed=0, device="cpu", data_fingerprint="d", data_path=digits_path,
            folder=tmp_path, is_trial=is_trial,
        )  # fmt: skip
        told = []
        train(asked, lambda name: SpoiledFramework(place, value), lambda event: told.append(event))
        return told

    return run


PLACES = {  # where -> evaluated epochs before it, what is said
    "loss": (1, "the training loss became {} at step 46"),  # 41 batches an epoch
    "weights": (1, "weights dense1/kernel became {} after epoch 2"),
    "val": (1, "val/loss became nan after epoch 2"),
    "test": (3, "test/loss became nan after the last epoch"),
    "train_eval": (3, "train_eval/loss became nan after the last epoch"),
}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", PLACES)
def test_a_number_that_is_not_finite_ends_the_run_wherever_it_stands(planted, tmp_path, place, value):
    n_epochs, reason = PLACES[place]
    told = planted(place, value)
    assert [event.epoch for event in told if isinstance(event, EpochEnded)] == list(range(1, n_epochs + 1))
    assert told[-1] == Diverged(epoch=3 if n_epochs == 3 else 2, reason=reason.format(value))
    assert not (tmp_path / "model").exists()


def test_without_a_spoiled_number_the_same_run_finishes(planted):
    assert isinstance(planted("")[-1], Finished)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mae", math.inf, "val/mae became inf after epoch 1"),
        ("calibration_error", 1.5, "val/calibration_error became 1.5 after epoch 1 (it can be 0 to 1)"),
        ("loss", -0.2, "val/loss became -0.2 after epoch 1 (it can be 0 to 3.4e+38)"),
        ("accuracy", 1e80, "val/accuracy became 1e+80 after epoch 1 (it can be 0 to 1)"),
    ],
)
def test_one_score_that_cannot_be_ends_the_run(planted, monkeypatch, name, value, said):
    broken = dataclasses.replace(metrics.METRICS[name], of=lambda given: value, losses=("cross_entropy",))
    monkeypatch.setitem(metrics.METRICS, name, broken)
    assert planted("")[-1] == Diverged(epoch=1, reason=said)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_nan_never_wins_nor_counts_as_a_wait(planted, patience):
    """It ends the run, so that no weights are kept and patience is neither reset nor used up."""
    told = planted("val", keep="best", patience=patience)
    assert told[-1] == Diverged(epoch=2, reason="val/loss became nan after epoch 2")


def test_an_epoch_without_evaluation_is_judged_by_its_losses(planted):
    told = planted("loss", evaluate_every=3)
    assert told[1:] == [Diverged(epoch=2, reason="the training loss became nan at step 46")]


def test_a_trial_is_judged_as_a_run_is_and_never_sees_the_test_set(planted):
    assert isinstance(planted("val", is_trial=True)[-1], Diverged)
    assert isinstance(planted("test", is_trial=True)[-1], Finished)


# Every framework, its own arithmetic


@pytest.mark.parametrize("framework", ["lightning", "keras", "numpy"])
def test_every_framework_ends_where_its_numbers_end(in_worker, task, digits, tmp_path, framework):
    precision = "float64" if framework == "numpy" else "float32"
    sgd = cases.task("experiment=digits_mlp", "optimizer=sgd", precision=precision)
    one_step = change(sgd, optimizer={"learning_rate": 1e18}, training={"epochs": 1, "batch_size": 2000})
    asked = {"one step of 1e18, after its only loss": (one_step, digits)}
    if precision == "float32":  # float64 holds what comes of 3e38
        bright = dataclasses.replace(digits, x_validation=digits.x_validation * np.float32(3e38), fingerprint="bright")
        kept = change(task, training={"epochs": 2, "keep": "best", "batch_size": 500})
        asked["validation of 3e38"] = (kept, bright)
    for name, (recipe, dataset) in asked.items():
        (tmp_path / name).mkdir()
        run = Run(
            task=recipe, framework=framework, seed=0, device="cpu", data_fingerprint="d",
            data_path=data.write(dataset, tmp_path / "data"), folder=tmp_path / name,
        )  # fmt: skip
        told = in_worker(train, run, frameworks.load)
        assert isinstance(told[-1], Diverged), name
        assert told[-1].reason.startswith("val/loss became"), name
        assert "after epoch 1" in told[-1].reason, name


# The whole way: command, store, board, report


def metrics_in(database):
    """Every number that MLflow keeps, and how many of them are NaN."""
    with sqlite3.connect(database) as connection:
        kept = connection.execute("select value, is_nan from metrics").fetchall()
    return [value for value, _ in kept], sum(is_nan for _, is_nan in kept)


def require_said(folder, done, reason):
    """Three runs have diverged: on the screen, in the report, in the store, in the exit code."""
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("diverged: ") >= 3
    assert reason in done.stdout
    (page,) = folder.glob("outputs/*/*/report/report.html")
    model = json.loads((page.parent / "report.json").read_text(), parse_constant=pytest.fail)
    assert {run["outcome"] for run in model["runs"]} == {"diverged"}
    assert not any(name.startswith("test/") for run in model["runs"] for name in run["metrics"])
    values, n_nan = metrics_in(folder / "mlflow.db")
    assert n_nan == 0
    assert all(abs(value) <= MAX for value in values)
    return model


def test_a_regression_whose_loss_is_infinite_diverges_and_no_store_keeps_it(local, tmp_path, cache, empty_database):
    """At 1e80 a table had a cell of 61 digits; infinity is 1.8e308 in MLflow, and arms of it were "identical"."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 4)).astype(np.float32)
    np.savez(tmp_path / "values.npz", x_train=x, y_train=x[:, 0] + 0.1 * x[:, 1])
    words = ["experiment=custom", f"data.path={tmp_path}/values.npz", "training.loss=mean_squared_error", "network=mlp",
             "margins.accuracy=null", "framework=numpy", "training.precision=float64", "optimizer=sgd",
             "chance.loss=1.0", "optimizer.learning_rate=1e40,1e200", "training.epochs=2", "seed=0,1,2"]  # fmt: skip
    done = command(*words, "tracking.tensorboard=true", cwd=tmp_path, cache=cache)
    model = require_said(tmp_path, done, "the training loss became")
    assert [claim["id"] for claim in model["claims"]] == ["not_assessed"]
    assert "every run failed" in model["claims"][0]["sentence"]
    again = command(*words[:-2], "seed=0", "action=report", cwd=tmp_path, cache=cache)
    assert again.returncode == 1, again.stderr


@pytest.mark.slow
def test_accuracy_of_nan_is_no_result_of_any_framework(local, tmp_path, cache, empty_database):
    """One step of 1e18 after the only loss: such runs were kept as finished, with the accuracy of the first class."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    words = ["experiment=digits_mlp", "optimizer=sgd", "optimizer.learning_rate=1e18", "training.epochs=1"]
    done = command(*words, "training.batch_size=2000", "seed=0,1,2", cwd=tmp_path, cache=cache)
    model = require_said(tmp_path, done, "val/loss became nan after epoch 1")
    assert [arm["lost"] for arm in model["arms"]] == [3, 3]
    assert all("every run failed" in claim["sentence"] for claim in model["claims"])
