"""Several devices that share one run: on two CPU devices it is the run of one, and what would not be is refused."""

import os
import signal
import time

import numpy as np
import pytest
from cases import change
from probes import stopped_on, trained_on

import frameworks
from experiments import data
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
    """Sums in another order: 1e-12 relative (measured 1e-15 on losses)."""
    asked = change(exact, regularization=regularization)
    alone, shared = (in_worker(trained_on, devices, frameworks.load, name, asked, even_path) for devices in (1, 2))
    assert shared["n_steps"] == alone["n_steps"]
    losses = [np.concatenate([step_losses for _, step_losses in told["losses"]]) for told in (alone, shared)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)
    for key in alone["after"]:
        np.testing.assert_allclose(shared["after"][key], alone["after"][key], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shared["logits"], alone["logits"], rtol=1e-9, atol=1e-12)
