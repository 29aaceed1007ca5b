"""Which defaults are left to a framework: words, names of runs, what is refused, and what frameworks make of them."""

from dataclasses import replace

import cases
import numpy as np
import pytest
from commands import command
from conftest import OTHER_BACKENDS, named
from worker_calls import own_weights, shipped_steps, shipped_weights

import frameworks
from experiments.contract.initialization import initial_weights, with_shipped
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.task import OPTIMIZERS, alignment
from experiments.task.networks import Initialization

INITIALIZATION = Initialization(
    kernel="glorot_uniform", recurrent_kernel="orthogonal", bias="zeros", forget_bias=1.0, embeddings=0.05
)


def run_of(task, tmp_path):
    return Run(
        task=task, framework="keras", seed=0, device="cpu", data_fingerprint="d", data_path=tmp_path, folder=tmp_path
    )


def test_an_aligned_run_keeps_its_name_and_one_as_shipped_has_its_own(task, tmp_path):
    aligned, shipped = run_of(task, tmp_path), run_of(replace(task, alignment="as_shipped"), tmp_path)
    by_word = run_of(replace(task, alignment="optimizer_epsilon"), tmp_path)
    assert "alignment" not in aligned.config
    assert "alignment" not in plain(task)
    assert shipped.config["alignment"] == "as_shipped"
    assert len({aligned.fingerprint, shipped.fingerprint, by_word.fingerprint}) == 3
    every = replace(task, alignment="+".join(reversed(alignment.touched(task))))
    assert run_of(every, tmp_path).fingerprint == shipped.fingerprint  # the same defaults, however they are named


def test_the_words_are_those_that_the_task_touches(task):
    words = ("initializers", "optimizer_epsilon", "optimizer_formula", "shuffling")
    assert alignment.touched(task) == words
    assert replace(task, alignment="as_shipped").as_shipped == set(words)
    assert task.as_shipped == frozenset()
    for chosen in (frozenset(), frozenset(words), frozenset(words[1:3])):
        assert alignment.words_of(alignment.alignment_of(chosen, task), task) == chosen


def test_a_word_that_the_task_does_not_touch_is_refused(task):
    with pytest.raises(ValueError, match=r"got 'gelu'; its words are initializers, optimizer_epsilon, optimizer_fo"):
        replace(task, alignment="gelu")


def test_every_kind_of_optimizer_has_a_formula_of_its_own_or_is_refused():
    assert {*alignment.FORMULAS, *alignment.MOMENTUM_FORMULAS, "muon"} == set(OPTIMIZERS)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("framework=numpy",), "`alignment=aligned` must hold for framework=numpy, which has no defaults of its own"),
        (("action=parity",), "`alignment=aligned` must hold with action=parity: what is as shipped is never certified"),
        (("executor.devices=2",), "`alignment=aligned` must hold with executor.devices > 1"),
        (("optimizer=muon",), "`alignment=aligned with optimizer=muon` must hold, but got 'as_shipped'"),
        (("comparison=speed",), "`alignment=aligned` must hold with loop=bare, but got as_shipped"),
    ],
)
def test_what_cannot_be_as_shipped_is_refused_before_data_are_read(typed, said, tmp_path, cache):
    done = command("experiment=digits_mlp", "alignment=as_shipped", *typed, cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_only_the_weights_whose_word_is_named_are_the_frameworks_own():
    shapes = {"rnn/kernel": (2, 12), "rnn/recurrent_kernel": (3, 12), "rnn/bias": (12,), "words/embeddings": (5, 2)}
    drawn = initial_weights(shapes, settings=INITIALIZATION, seed=0, dtype="float32")
    own = {name: np.full(shape, 7.0) for name, shape in shapes.items()}
    mixed = with_shipped(drawn, own, words={"initializers"})
    assert {name: bool(np.all(mixed[name] == 7)) for name in shapes} == {
        "rnn/kernel": True, "rnn/recurrent_kernel": True, "rnn/bias": False, "words/embeddings": False,
    }  # fmt: skip
    assert mixed["rnn/bias"].tolist() == [7] * 3 + [1] * 3 + [7] * 6
    forget = with_shipped(drawn, own, words={"lstm_forget_bias", "embedding_range"})
    assert forget["rnn/bias"].tolist() == [0] * 3 + [7] * 3 + [0] * 6
    assert np.all(forget["words/embeddings"] == 7)
    assert np.all(forget["rnn/kernel"] == drawn["rnn/kernel"])


def test_both_biases_of_a_recurrent_cell_are_drawn_as_pytorch_ships_it(in_worker):
    """The sum of two draws from U(-b, b) is beyond b for a quarter of them; one draw never is."""
    _, task = cases.with_network("lstm")
    units = task.network.widths[0]
    drawn = in_worker(own_weights, frameworks.load, "lightning", replace(task, alignment="as_shipped"))
    beyond = np.mean(np.abs(drawn["rnn1/bias"]) > units**-0.5)
    assert 0.15 < beyond < 0.35
    one = in_worker(own_weights, frameworks.load, "lightning", task)
    assert np.abs(one["rnn1/bias"]).max() <= units**-0.5


@pytest.mark.parametrize("name", named(["lightning", "keras", *sorted(OTHER_BACKENDS)]))
def test_each_word_is_what_the_installed_class_does(name, in_worker, task, digits_path):
    """Weights after a few steps with every word alone: those that a framework shares with the task move nothing."""
    found = in_worker(shipped_steps, frameworks.load, name, task, digits_path)
    assert found["aligned"] == 0
    moved = {word for word, distance in found.items() if distance > 1e-7}
    shared = {"lightning": {"optimizer_epsilon", "optimizer_formula"}}.get(name, set())
    assert moved == {*alignment.touched(task), "as_shipped"} - shared


DRAWN = {"initializers", "shuffling"}  # by each library's own generator
CLIPPED = ("regularization.clip.kind=global_norm", "regularization.clip.limit=0.1")
ON_ANOTHER_LIBRARY = {  # network, overrides
    "adam": ("mlp", ()),
    "rmsprop": ("cnn_bn", ("network.activation=leaky_relu", "optimizer=rmsprop", *CLIPPED)),
    "momentum": ("mlp", ("optimizer=momentum", "schedule=cosine")),
    "lstm": ("lstm", ()),
}


QUICK = "adam"


@pytest.mark.parametrize(
    "case", [case if case == QUICK else pytest.param(case, marks=pytest.mark.slow) for case in ON_ANOTHER_LIBRARY]
)
def test_what_is_not_drawn_is_as_shipped_alike_on_every_library(case, in_worker, tmp_path):
    """All words at once, weights after an epoch; Keras on TensorFlow takes some numbers of an optimizer as float32."""
    network, words = ON_ANOTHER_LIBRARY[case]
    kind, task = cases.with_network(network, "network.depth=1", *words)
    path = cases.write_all(tmp_path / "data")[kind]
    shipped = "+".join(word for word in alignment.touched(task) if word not in DRAWN)
    aligned, expected = in_worker(shipped_weights, frameworks.load, "keras_torch", task, path, ("aligned", shipped))
    moved = max(np.abs(expected[key] - aligned[key]).max() for key in aligned)
    assert moved > 1e-4  # and the least of the words 5e-5; the libraries are within 3e-7
    for name in ("keras_jax",) if case == QUICK else ("keras_jax", "keras"):
        (found,) = in_worker(shipped_weights, frameworks.load, name, task, path, (shipped,))
        for key, weight in expected.items():
            np.testing.assert_allclose(found[key], weight, rtol=0, atol=1e-6, err_msg=f"{name} {key}")
