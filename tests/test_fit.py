"""What frameworks would take otherwise than each other is refused before training: batches, numbers, precisions."""

import re

import cases
import numpy as np
import pytest
from commands import command, refuse_to_start

from experiments.data import Dataset
from experiments.data.fit import check_examples
from experiments.data.spec import ExampleSpec
from experiments.execution.run import Run
from experiments.execution.worker import train

RNG = np.random.default_rng(0)
IMAGES = RNG.random((40, 4, 4, 1)).astype(np.float32)
FLAT = np.ones((40, 4, 4, 1), np.float32)
ROWS = RNG.standard_normal((40, 5)).astype(np.float32)
STEPS = np.where(np.arange(6)[:, np.newaxis] < 3, RNG.standard_normal((40, 6, 2)), 0).astype(np.float32)
DEEP = ["network=resnet", "network.depth=3", "network.width=4", "network.blocks=1"]  # 4x4 pixels, then 2x2, then 1
NORMALIZED = ["network=cnn_bn", "network.depth=1", "network.kernel_size=3", "network.width=4"]
VALUES = ["training.loss=mean_squared_error", "margins.accuracy=null", "chance.accuracy=null"]
LSTM = ["network=lstm"]


def problems(x, *overrides, y=None, precision="float32"):
    """What is wrong with a task on examples of two classes, or with targets `y`, all in the training part."""
    y = np.arange(len(x)) % 2 if y is None else y
    spec = ExampleSpec(input_shape=x.shape[1:], class_names=("a", "b"))
    parts = {f"{axis}_{part}": each for part in ("train", "validation", "test") for axis, each in (("x", x), ("y", y))}
    task = cases.task("experiment=digits_mlp", *overrides, precision=precision)
    return check_examples(task, Dataset(**parts, spec=spec, origin="", fingerprint=""))


@pytest.mark.parametrize(
    ("x", "overrides", "found"),
    [
        (IMAGES, [*DEEP, "training.batch_size=39"], "of 39 of 40 examples has 1; training.batch_size=38 leaves more"),
        (IMAGES, [*DEEP, "training.batch_size=1"], "of 1 of 40 examples has 1; training.batch_size=2 leaves more"),
        (IMAGES[:1], [*DEEP, "training.batch_size=8"], "has 1; add examples"),
        (IMAGES[:, :1, :1], [*DEEP[:1], "network.depth=1", "training.batch_size=13"], "of 13 of 40 examples has 1"),
        (
            IMAGES[:, :3, :3],
            [*NORMALIZED, "network.pool_size=1", "training.batch_size=39"],  # 3 - (3 - 1) = 1 pixel
            "has 1; training.batch_size=38",
        ),
        (np.repeat(IMAGES[:20], 2, 0), [*DEEP, "training.batch_size=38"], "x_train has 2 equal ones, and a batch 2 ex"),
        (FLAT, NORMALIZED, "x_train has 40 equal ones, and a batch 8 examples; leave them out"),  # 40 = 32 + 8
        (IMAGES + 1000, DEEP, r"mean\(x_train\)` must hold .* they are 0.28.* and 1000.5.; subtract the mean"),
        (np.concatenate([IMAGES, IMAGES + 1000], axis=3), DEEP, "subtract the mean"),
    ],
)
def test_batch_normalization_without_a_variance_is_refused(x, overrides, found):
    said = "\n".join(problems(x, "training.batch_size=32", *overrides))
    assert re.search(found, said), said


@pytest.mark.parametrize(
    ("x", "overrides"),
    [
        (IMAGES, [*DEEP, "training.batch_size=38"]),
        (IMAGES, [*DEEP[:1], "network.depth=2", "training.batch_size=39"]),  # 2x2 pixels: four numbers
        (IMAGES, ["network=mlp", "training.batch_size=39"]),
        (FLAT * 0, NORMALIZED),
        (FLAT * 0, DEEP),
        (IMAGES + 20, DEEP),
    ],
)
def test_batch_normalization_with_a_variance_is_not(x, overrides):
    assert problems(x, "training.batch_size=32", *overrides) == []


@pytest.mark.parametrize(
    ("x", "y", "overrides", "found"),
    [
        (ROWS * np.float32(1e18), None, [], r"squares of gradients are in float32, but reaches \d.*e\+18; divide"),
        (ROWS * 1e5, np.full((40, 1), 1e15, np.float32), VALUES, r"`y_train` must be small .* but reaches 1e\+15"),
        (ROWS, None, ["optimizer.epsilon=1e-40"], "`optimizer.epsilon` must be 0 or at least 7.8e-17 .*but got 1e-40"),
        (ROWS, None, ["training.class_weights=[1e-40,1]"], "`training.class_weights` must be 0 or at least 1e-30"),
        (
            ROWS,
            np.linspace(0, 2, 40, dtype=np.float32)[:, np.newaxis],
            ["training.loss=brier_score"],
            r"`0 <= y_test <= 1` must hold for training.loss=brier_score, but y_test\[20, 0\] is 1.02",
        ),
    ],
)
def test_numbers_that_float32_arithmetic_loses_are_refused(x, y, overrides, found):
    said = "\n".join(problems(x, *overrides, y=y))
    assert re.search(found, said), said


@pytest.mark.parametrize(
    ("overrides", "key", "least"),
    [
        (["optimizer=adam"], "optimizer.epsilon", 7.8e-17),
        (["optimizer=adam", "optimizer.beta2=0.99999"], "optimizer.epsilon", 7.8e-16),
        (["optimizer=adamw"], "optimizer.epsilon", 7.8e-17),
        (["optimizer=nadam"], "optimizer.epsilon", 7.8e-17),
        (["optimizer=rmsprop"], "optimizer.epsilon", 7.8e-17),
        (["optimizer=rmsprop_centered", "optimizer.rho=0.9999"], "optimizer.epsilon", 2.5e-16),
        (["optimizer=adagrad"], "optimizer.epsilon", 7.8e-17),
        (["optimizer=adadelta", "optimizer.rho=0.999999"], "optimizer.epsilon", 6e-30),  # inside the root
        (["optimizer=adadelta"], "optimizer.epsilon", 1e-30),
        (["optimizer=adamax"], "optimizer.epsilon", 1e-30),  # squares nothing
        (["optimizer=muon"], "optimizer.epsilon", 1e-13),
        (["optimizer=adafactor"], "optimizer.epsilon1", 1e-15),
        (["optimizer=adafactor", "regularization.clip.kind=value"], "regularization.clip.limit", 1e-7),
        (["optimizer=sgd", "regularization.clip.kind=norm"], "regularization.clip.limit", 1e-13),
        (["optimizer=sgd", "regularization.clip.kind=value"], "regularization.clip.limit", 1e-30),
    ],
)
def test_what_would_not_hide_that_float32_loses_small_squares_is_refused(overrides, key, least):
    rule = f"`{key}` must be 0 or at least {least:g} in size in float32"
    assert problems(ROWS, *overrides) == []
    assert [each.split(", but")[0] for each in problems(ROWS, *overrides, f"{key}={0.9 * least}")] == [rule]
    assert problems(ROWS, *overrides, f"{key}={least}") == []
    assert problems(ROWS, *overrides, f"{key}={0.9 * least}", precision="float64") == []


def test_examples_whose_squares_float32_loses_are_refused():
    tiny, target = ROWS * np.float32(1e-9), np.full((40, 1), 1e-13, np.float32)
    factored, squared = problems(tiny, "optimizer=adafactor", *VALUES, y=target)[::-1]
    assert "`x_train` must be all 0 or reach 1e-07 in size for optimizer=adafactor in float32" in factored
    assert "`y_train` must be all 0 or reach 1e-12 in size for training.loss=mean_squared_error" in squared
    assert problems(tiny, "optimizer=adafactor", *VALUES, y=target, precision="float64") == []
    assert problems(tiny, "optimizer=adam", "optimizer.epsilon=1e-16") == []
    assert problems(ROWS * 0, "optimizer=adafactor", *VALUES, y=target * 0) == []


def test_float64_takes_them():
    assert problems(ROWS * 1e18, "optimizer.epsilon=1e-40", precision="float64") == []
    assert problems(ROWS, "margins.loss=1e-40") == []  # no arithmetic of training
    assert problems(ROWS * 1e5, *VALUES, y=np.full((40, 1), 1e10, np.float32)) == []


def test_numbers_beyond_a_16_bit_type_are_refused():
    found = problems(ROWS * 1e5, precision="mixed_float16")
    assert [each.split(";")[0].split(", but")[0] for each in found] == [
        f"`abs(x_{part}) <= 65504` must hold with training.precision=mixed_float16"
        for part in ("train", "validation", "test")
    ]
    assert problems(ROWS * 1e5, precision="mixed_bfloat16") == []
    tiny = STEPS * np.float32(1e-7)
    assert problems(tiny, *LSTM, precision="mixed_bfloat16") == []
    assert problems(tiny[..., 0], precision="mixed_float16") == []  # no step of it can be taken for padding
    assert "`every step of x_train is padding or reaches 6.1e-05` must hold" in problems(
        tiny, *LSTM, precision="mixed_float16"
    )[0]  # fmt: skip


def test_a_worker_refuses_it_too_before_its_framework_builds_anything(tmp_path, digits, digits_path):
    """A search may try another batch size or depth than the one that was checked."""
    task = cases.task("experiment=digits_mlp", *DEEP[:1], "network.depth=4", "training.batch_size=1294")
    run = Run(
        task=task, framework="lightning", seed=0, device="cpu", data_fingerprint=digits.fingerprint,
        data_path=digits_path, folder=tmp_path, is_trial=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"has 1; training.batch_size=1293 leaves more"):
        train(run, lambda name: None, lambda event: None)


def test_a_last_batch_of_one_is_refused_before_a_worker_starts(tmp_path, cache):
    with pytest.MonkeyPatch.context() as patch:
        refuse_to_start(patch)
        done = command(
            "experiment=digits_mlp", "network=resnet", "network.depth=4", "training.batch_size=1294",
            "training.epochs=1", "seed=0", cwd=tmp_path, cache=cache,
        )  # fmt: skip
    assert done.returncode == 2
    assert "has 1; training.batch_size=1293 leaves more" in done.stderr
