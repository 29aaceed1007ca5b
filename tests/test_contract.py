"""Every framework keeps every clause of the contract; each is asked in a worker of its own."""

from importlib import metadata

import cases
import numpy as np
import pytest
from cases import change
from conftest import OTHER_BACKENDS, named
from worker_calls import (
    gpu,
    load_incomplete,
    logits,
    n_parameters,
    optional_packages_imported,
    pages_and_draws,
    refusal,
    refusal_of_another_backend,
    saved,
    stopped_after_first_epoch,
    tells_device_memory,
    threads,
    traced_steps,
    trained,
    versions,
    weights_twice,
)

import frameworks

each_framework = pytest.mark.parametrize("name", named(frameworks.FRAMEWORKS))
# The referee computes in float64 only, without dropout.
both_frameworks = pytest.mark.parametrize("name", named(["lightning", "keras", *sorted(OTHER_BACKENDS)]))


@pytest.fixture
def asked(name, task):
    """The task, in a precision that the framework has."""
    return change(task, training={"precision": "float64"}) if name == "numpy" else task


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def trained_once(in_worker, digits_path, kept):
    """`trained_once(name, task)`: what `trained` emits, for all who only read it."""

    def once(name, asked):
        if (name, asked) not in kept:
            kept[name, asked] = in_worker(trained, frameworks.load, name, asked, digits_path)
        return kept[name, asked]

    return once


@each_framework
def test_weights_come_back_as_they_were_loaded(in_worker, name, asked, digits_path):
    first, second = in_worker(weights_twice, frameworks.load, name, asked, digits_path)
    assert {key: value.shape for key, value in first.items()} == {
        "dense1/kernel": (64, 64),
        "dense1/bias": (64,),
        "dense2/kernel": (64, 32),
        "dense2/bias": (32,),
        "logits/kernel": (32, 10),
        "logits/bias": (10,),
    }
    for key in first:
        np.testing.assert_array_equal(second[key], -first[key])


@each_framework
def test_a_missing_and_an_unknown_weight_are_refused(in_worker, name, asked, digits_path):
    missing, unknown = in_worker(load_incomplete, frameworks.load, name, asked, digits_path)
    assert "weights must be" in missing
    assert "nobody/kernel" in unknown


@both_frameworks
def test_logits_are_in_evaluation_mode(in_worker, name, task, digits_path, digits):
    with_dropout = change(task, regularization={"dropout": 0.5})
    first, second = in_worker(logits, frameworks.load, name, with_dropout, digits_path)
    assert first.shape == (len(digits.y_test), 10)
    np.testing.assert_array_equal(first, second)


@each_framework
def test_of_one_epoch_more_is_told_than_the_call_that_compiles(in_worker, name, asked, digits, digits_path):
    told = in_worker(trained, frameworks.load, name, change(asked, training={"epochs": 1}), digits_path)
    assert told["n_steps"] == -(-len(digits.y_train) // 32)
    assert told["n_calls"] >= 4


@each_framework
def test_fit_takes_every_step_and_tells_every_epoch(trained_once, name, asked, digits):
    told = trained_once(name, asked)
    steps_per_epoch = -(-len(digits.y_train) // 32)
    assert told["n_steps"] == 2 * steps_per_epoch
    assert told["n_calls"] == 2 * (-(-steps_per_epoch // 32) if name == "keras" else steps_per_epoch)
    assert [(epoch, losses.shape) for epoch, losses in told["losses"]] == [
        (0, (steps_per_epoch,)),
        (1, (steps_per_epoch,)),
    ]
    assert all((told["before"][key] != told["after"][key]).any() for key in told["before"])


@each_framework
def test_fit_stops_when_it_is_told_to(in_worker, name, asked, digits_path):
    told = in_worker(stopped_after_first_epoch, frameworks.load, name, asked, digits_path)
    assert [epoch for epoch, _ in told["losses"]] == [0]


@both_frameworks
def test_the_same_seed_gives_the_same_bits_with_dropout(in_worker, trained_once, name, task, digits_path):
    with_dropout = change(task, regularization={"dropout": 0.5})
    first = in_worker(trained, frameworks.load, name, with_dropout, digits_path)
    second = in_worker(trained, frameworks.load, name, with_dropout, digits_path)
    without = trained_once(name, task)
    for key in first["after"]:
        np.testing.assert_array_equal(first["after"][key], second["after"][key])
    assert (first["after"]["dense1/kernel"] != without["after"]["dense1/kernel"]).any()


@each_framework
def test_a_saved_model_is_in_the_frameworks_own_format_and_opens_again(in_worker, name, asked, digits_path, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    names, expected, found = in_worker(saved, frameworks.load, name, asked, digits_path, str(folder))
    assert names == [{"lightning": "model.pt", "numpy": "model.npz"}.get(name, "model.keras")]
    np.testing.assert_array_equal(found, expected)


def test_keras_traces_a_step_once(in_worker, task, digits_path):
    """Of its own it makes the optimizer's variables in the first step, and TensorFlow traces such a step twice."""
    assert in_worker(traced_steps, frameworks.load, task, digits_path) == 1


def test_training_imports_no_package_that_it_can_do_without(in_worker, task, digits_path):
    """With them a worker has 90 MiB more, and takes 1.5 s longer to start. What is imported later is there as ever."""
    imported, version, half = in_worker(
        optional_packages_imported, frameworks.load, ["lightning", "keras"], task, digits_path
    )
    assert (imported, version, half) == (set(), metadata.version("scipy"), 0.5)


@each_framework
def test_versions_are_read_without_the_framework(in_worker, name):
    """PyTorch's own is a kind of string whose reader imports PyTorch: the command took a second more, and 200 MiB."""
    assert {type(version) for version in in_worker(versions, frameworks.load, name).values()} == {str}


def test_keras_draws_each_epoch_once_from_one_pipeline_into_memory_that_stays(in_worker, task, digits_path):
    """An epoch's batches and chunks are 225 pages; TensorFlow's generators have them mapped anew in every epoch."""
    task = change(task, training={"batch_size": 600, "epochs": 6})
    pages, drawn, n_iterators = in_worker(pages_and_draws, frameworks.load, task, digits_path)
    assert [drawn.count(epoch) for epoch in range(1, 6)] == [1] * 5
    assert n_iterators <= 2  # at the end Keras makes one more
    assert np.median(pages) < 100


@both_frameworks
def test_threads_are_pinned(in_worker, name):
    assert in_worker(threads, frameworks.load, name) == 1


@both_frameworks
def test_the_peak_of_a_devices_memory_can_be_asked_for(in_worker, name):
    assert in_worker(tells_device_memory, frameworks.load, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("keras_torch", {"jit": True}, "compiles no step"),
        ("keras_torch", {"precision": "mixed_float16"}, "has no mixed_float16"),
        ("keras_jax", {"precision": "mixed_float16"}, "has no mixed_float16"),
        ("keras_jax", {}, ""),
    ],
)
def test_what_a_search_may_come_to_and_a_backend_cannot_is_refused_where_it_is_built(
    in_worker, asked, name, changes, said
):
    told = in_worker(refusal, frameworks.load, name, change(asked, training=changes))
    assert (said in told, bool(told)) == (True, bool(said))


@each_framework
def test_a_gpu_that_is_not_there_is_refused(in_worker, name, asked):
    assert "needs a GPU that" in in_worker(gpu, frameworks.load, name, asked)


def test_the_frameworks_take_the_same_first_step(trained_once, task):
    """The first batch's loss to 1e-5 relative, as float32 rounding leaves it (measured 1e-7)."""
    first, second = (trained_once(name, task) for name in ("lightning", "keras"))
    losses = [told["losses"][0][1][0] for told in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    np.testing.assert_array_equal(first["before"]["dense1/kernel"], second["before"]["dense1/kernel"])


@pytest.mark.parametrize("name", ["keras", "keras_jax", "keras_torch"])
def test_the_frameworks_train_alike_in_float64(in_worker, kept, name, task, digits_path):
    """Two epochs of Adam: 82 losses equal to 1e-12 relative (measured 1e-15); float32 would miss by 1e-7."""
    exact = change(task, training={"precision": "float64"})
    if "exact" not in kept:
        kept["exact"] = in_worker(trained, frameworks.load, "lightning", exact, digits_path)
    both = kept["exact"], in_worker(trained, frameworks.load, name, exact, digits_path)
    losses = [np.concatenate([step_losses for _, step_losses in told["losses"]]) for told in both]
    assert losses[1].dtype == np.float64
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    assert both[1]["n_steps"] == losses[1].size == 82


@both_frameworks
def test_mixed_precision_keeps_weights_and_logits_in_float32(in_worker, trained_once, name, task, digits_path):
    mixed = change(task, training={"precision": "mixed_bfloat16"})
    told = in_worker(trained, frameworks.load, name, mixed, digits_path)
    single = trained_once(name, task)
    assert {weight.dtype for weight in told["after"].values()} == {np.dtype("float32")}
    for (_, losses), (_, others) in zip(told["losses"], single["losses"], strict=True):
        assert losses.dtype == np.float32
        assert (losses != others).any()  # it does round
        np.testing.assert_allclose(losses, others, atol=0.05)  # bfloat16 has 8 bits: 2 ** -8 of values near 2


@both_frameworks
def test_an_epoch_of_whole_groups_has_one_step_per_group(in_worker, name, task, digits_path):
    grouped = change(task, training={"batch_size": 18, "gradient_accumulation_steps": 4})
    told = in_worker(trained, frameworks.load, name, grouped, digits_path)
    assert told["n_steps"] == 2 * 72  # batches of 1,295 examples
    assert told["losses"][0][1].shape == (72,)


def test_a_process_has_one_backend_of_keras(in_worker, task):
    """Where another one was imported, and where it was not; else one would compute under the other's name."""
    said = in_worker(refusal_of_another_backend, frameworks.load, "keras_torch", task)
    assert said == "a process has one backend of Keras, and this one has torch, not jax"


@both_frameworks
def test_2c2d_has_the_parameters_of_deepobs(in_worker, name):
    """832 + 51,264 + 3,212,288 + 10,250: Schneider, Balles & Hennig 2019."""
    task = cases.task("experiment=fashion_mnist_2c2d", precision="float32")
    assert in_worker(n_parameters, frameworks.load, name, task) == 3_274_634
