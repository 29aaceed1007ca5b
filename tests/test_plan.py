"""Orders, learning rates, initial weights and metrics: what every framework is given."""

import math

import numpy as np
import pytest

from experiments.initialization import initial_weights, uniform_limit
from experiments.metrics import accuracy, cross_entropy, evaluate
from experiments.plan import BatchPlan
from experiments.task import Initialization


def plan(seed=0, n=10, batch_size=4, epochs=2):
    steps = epochs * -(-n // batch_size)
    return BatchPlan(
        inputs=np.arange(n),
        targets=np.arange(n),
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        learning_rates=np.ones(steps),
    )


def test_an_epoch_sees_every_example_once_and_keeps_the_last_small_batch():
    batches = [inputs for inputs, _ in plan().batches(0)]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches)) == list(range(10))


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    assert plan().order(0).tolist() == plan().order(0).tolist()
    assert plan().order(0).tolist() != plan().order(1).tolist()
    assert plan().order(0).tolist() != plan(seed=1).order(0).tolist()


SHAPES = {"conv1/kernel": (3, 3, 1, 32), "conv1/bias": (32,), "dense/kernel": (100, 50)}
GLOROT = Initialization(kernel="glorot_uniform", bias="zeros")


def test_initial_weights_fill_the_stated_interval():
    weights = initial_weights(SHAPES, settings=GLOROT, seed=0, dtype="float32")
    limit = math.sqrt(6 / (9 * 1 + 9 * 32))  # Glorot & Bengio 2010, fans times the 3x3 window
    kernel = weights["conv1/kernel"]
    assert kernel.dtype == np.float32
    assert np.abs(kernel).max() <= limit
    assert np.abs(kernel).max() > 0.95 * limit
    assert abs(kernel.std() - limit / math.sqrt(3)) < 0.1 * limit
    assert not weights["conv1/bias"].any()


def test_he_counts_only_the_inputs():
    assert uniform_limit("he_uniform", (3, 3, 4, 7)) == pytest.approx(math.sqrt(6 / 36))


def test_every_weight_has_a_stream_of_its_own():
    some = initial_weights({"dense/kernel": (100, 50)}, settings=GLOROT, seed=0, dtype="float32")
    all_ = initial_weights(SHAPES, settings=GLOROT, seed=0, dtype="float32")
    other = initial_weights(SHAPES, settings=GLOROT, seed=1, dtype="float32")
    np.testing.assert_array_equal(some["dense/kernel"], all_["dense/kernel"])
    assert (all_["dense/kernel"] != other["dense/kernel"]).all()


def test_a_role_without_a_scheme_is_refused():
    with pytest.raises(ValueError, match="must be kernel or bias, but 'layer/scale' has role 'scale'"):
        initial_weights({"layer/scale": (3,)}, settings=GLOROT, seed=0, dtype="float32")


def test_cross_entropy_of_equal_logits_is_the_log_of_the_number_of_classes():
    assert cross_entropy(np.zeros((5, 10)), np.arange(5)) == pytest.approx(math.log(10), rel=1e-15)


def test_cross_entropy_stands_confident_mistakes():
    assert cross_entropy(np.array([[1000.0, 0.0]]), np.array([1])) == pytest.approx(1000.0)


def test_metrics_agree_with_scikit_learn():
    from sklearn.metrics import accuracy_score, log_loss

    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((200, 7)), rng.integers(0, 7, 200)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert cross_entropy(logits, targets) == pytest.approx(log_loss(targets, probabilities, labels=range(7)), rel=1e-12)
    assert accuracy(logits, targets) == accuracy_score(targets, logits.argmax(axis=1))


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(ValueError, match=r"must hold, but got 3 and 2"):
        evaluate(np.zeros((3, 2)), np.zeros(2, int))
