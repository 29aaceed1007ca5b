"""Orders, learning rates, initial weights and metrics: what every framework is given."""

import math

import numpy as np
import pytest

from experiments.contract import evaluation_batches
from experiments.contract.initialization import initial_weights, uniform_limit
from experiments.contract.plan import BatchPlan, augment
from experiments.metrics import accuracy, cross_entropy, evaluate
from experiments.task import Augmentation
from experiments.task.networks import Initialization

NONE = Augmentation(shift=0, flip=False, noise=0.0)


def plan(seed=0, n=10, batch_size=4, epochs=2, augmentation=NONE):
    steps = epochs * -(-n // batch_size)
    return BatchPlan(
        inputs=np.arange(n),
        targets=np.arange(n),
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        learning_rates=np.ones(steps),
        augmentation=augmentation,
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
GLOROT = Initialization(
    kernel="glorot_uniform", recurrent_kernel="orthogonal", bias="zeros", forget_bias=1.0, embeddings=0.05
)


@pytest.mark.parametrize(
    ("shape", "batch_size", "sizes"),
    [
        ((2500, 8, 8, 1), 32, [1000, 1000, 500]),  # small: as many as ever
        ((250, 28, 28, 1), 64, [83, 83, 83, 1]),
        ((10, 224, 224, 3), 4, [4, 4, 2]),  # large: what a training step has
        ((3, 1024, 1024, 3), 1, [1, 1, 1]),
    ],
)
def test_an_evaluation_takes_as_many_examples_at_once_as_memory_allows(shape, batch_size, sizes):
    inputs = np.zeros(shape, "float32")
    batches = evaluation_batches(inputs, batch_size=batch_size)
    assert [len(batch) for batch in batches] == sizes
    assert np.shares_memory(batches[0], inputs)


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
    with pytest.raises(ValueError, match="must have a scheme, but 'layer/scale' has role 'scale'"):
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
        evaluate(np.zeros((3, 2)), np.zeros(2, int), loss="cross_entropy")


def test_recurrent_kernels_have_orthonormal_rows_and_a_forget_gate_starts_open():
    shapes = {"rnn1/kernel": (5, 32), "rnn1/recurrent_kernel": (8, 32), "rnn1/bias": (32,)}
    weights = initial_weights(shapes, settings=GLOROT, seed=0, dtype="float64")
    rows = weights["rnn1/recurrent_kernel"]
    np.testing.assert_allclose(rows @ rows.T, np.eye(8), atol=1e-14)
    assert weights["rnn1/bias"].tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16


def test_augmentation_shifts_flips_and_is_drawn_anew():
    images = np.zeros((200, 6, 6, 1))
    images[:, 2, 1] = 1.0
    shifted = augment(images, Augmentation(shift=1, flip=False, noise=0.0), rng=np.random.default_rng(0))
    places = {tuple(map(int, place)) for place in np.argwhere(shifted[..., 0] == 1)[:, 1:]}
    assert places == {(row, column) for row in (1, 2, 3) for column in (0, 1, 2)}
    flipped = augment(images, Augmentation(shift=0, flip=True, noise=0.0), rng=np.random.default_rng(0))
    assert flipped[:, 2, 1].sum() + flipped[:, 2, 4].sum() == 200
    assert 70 < flipped[:, 2, 4].sum() < 130
    noisy = augment(images, Augmentation(shift=0, flip=False, noise=0.1), rng=np.random.default_rng(0))
    assert abs((noisy - images).std() - 0.1) < 0.005


def test_what_is_shifted_in_is_zero_and_what_is_shifted_out_is_gone():
    image = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    rng = np.random.default_rng(3)
    seen = {tuple(augment(image, Augmentation(shift=1, flip=False, noise=0.0), rng=rng).ravel()) for _ in range(200)}
    assert (0, 0, 0, 0, 1, 2, 0, 4, 5) in seen  # down and right by one
    assert (5, 6, 0, 8, 9, 0, 0, 0, 0) in seen  # up and left by one
    assert len(seen) == 9


def test_augmented_batches_depend_on_seed_and_epoch_only():
    images = np.random.default_rng(0).random((10, 6, 6, 1))

    def first(seed, epoch):
        planned = BatchPlan(
            inputs=images,
            targets=np.arange(10),
            batch_size=10,
            epochs=2,
            seed=seed,
            learning_rates=np.ones(2),
            augmentation=Augmentation(shift=2, flip=True, noise=0.1),
        )
        inputs, targets = next(planned.batches(epoch))
        return inputs[np.argsort(targets)]

    np.testing.assert_array_equal(first(0, 0), first(0, 0))
    assert (first(0, 0) != first(0, 1)).any()
    assert (first(0, 0) != first(1, 0)).any()
