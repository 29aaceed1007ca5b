"""Proven identity: every word in both frameworks, and every planted error seen at the level that names it."""

import dataclasses

import cases
import numpy as np
import pytest
from conftest import OTHER_BACKENDS
from planted_errors import PlantedError
from scipy import stats
from worker_calls import (
    broken_load,
    compiled_graphs,
    gradients_of_each,
    trained_with_each_seed,
    untrained_and_free_run,
    weights_by_step,
)

import frameworks
from experiments import data, errors
from experiments.execution.executor import Completed, Failed, WorkItem
from experiments.fingerprint import plain
from experiments.parity import certify as parity
from experiments.parity import levels, probes
from experiments.parity.probes import FreeRun, Subject

PAIR = ("lightning", "keras")
OTHER_PAIRS = [("lightning", name) for name in sorted(OTHER_BACKENDS)]


@pytest.fixture(scope="module")
def data_paths(tmp_path_factory):
    return cases.write_all(tmp_path_factory.mktemp("parity-data"))


@pytest.fixture
def emitted(local, elsewhere, tmp_path):
    """`emitted({key: (target, *arguments)})`: key -> everything it emitted, two processes at a time.

    Where one is for another backend of Keras, the key begins with its name, and all go to the same executor.
    """

    def run(works):
        keys = list(works)
        others = {key[0] for key in keys if isinstance(key, tuple)} & OTHER_BACKENDS
        asked = [
            WorkItem(
                target=target,
                arguments=tuple(arguments),
                log=tmp_path / f"{number}.log",
                framework=key[0] if isinstance(key, tuple) else "",
            )
            for number, (key, (target, *arguments)) in enumerate(works.items())
        ]
        told = {key: [] for key in keys}
        for index, event in elsewhere[others.pop()].run(asked) if others else local.run(asked):
            if isinstance(event, Failed):
                pytest.fail(f"{keys[index]}: {event.reason}\n{asked[index].log.read_text()[-2000:]}")
            if not isinstance(event, Completed):
                told[keys[index]].append(event)
        return told

    return run


@pytest.fixture
def together(emitted):
    """The same for works that emit one thing each."""

    def run(works):
        return {key: told for key, (told,) in emitted(works).items()}

    return run


@pytest.fixture
def subject(tmp_path, data_paths):
    """`subject(kind, task, framework)`: a subject with a folder of its own per task."""

    def make(kind, task, framework, folder="task"):
        (tmp_path / folder).mkdir(exist_ok=True)
        return Subject(task=task, framework=framework, seed=0, data_path=data_paths[kind], folder=tmp_path / folder)

    return make


def failures(rows_by_name):
    """Name -> the rows that failed, as a person reads them."""
    return {
        name: [f"{row.level} {row.what}: {row.measured:.1e} {row.where}" for row in rows if not row.passed]
        for name, rows in rows_by_name.items()
        if not all(row.passed for row in rows)
    }  # fmt: skip


def stretches(names, settled, *, longest=8):
    """Names that one process goes through: not too many, and none that compiles after one that does not.

    Keras, once deterministic, compiles nothing in that process.
    """
    for jit in (False, True):
        alike = [name for name in names if settled[name][1].training.jit == jit]
        yield from (alike[at : at + longest] for at in range(0, len(alike), longest))


def each_of(emitted, subject, settled, target, *, pair=PAIR, options=None):
    """(name, framework) -> what `target` emitted of each (kind, task); `options` of the framework come after `load`."""
    works = {}
    for framework in pair[::-1]:  # what takes longest comes first
        for names in stretches(list(settled), settled):
            subjects = {name: subject(*settled[name], framework, folder=name) for name in names}
            more = () if options is None else (options[framework],)
            works[framework, tuple(names)] = (target, subjects, frameworks.load, *more)
    told = {
        (name, framework): results for (framework, _), events in emitted(works).items() for name, *results in events
    }
    assert set(told) == {(name, framework) for name in settled for framework in pair}
    return told


def compared(emitted, subject, settled, *, n_steps, pair=PAIR, reference_keeps=False):
    """Name -> rows C0, C1, C3, C4 of each (kind, task), float64; the first framework keeps checkpoints if it is to."""
    options = {
        framework: FreeRun(n_steps=n_steps, keeps_checkpoints=reference_keeps and framework == pair[0])
        for framework in pair
    }
    told = each_of(emitted, subject, settled, untrained_and_free_run, pair=pair, options=options)
    rows = {}
    for name, (_, task) in settled.items():
        rest, runs = zip(*(told[name, framework] for framework in pair), strict=True)
        rows[name] = [
            levels.weight_map(*rest, precision="float64"),
            levels.forward(*rest, task=task),
            *levels.optimizer(*rest, precision="float64"),
            *levels.free_run64(*runs, task=task, floor=None),
        ]
        assert runs[0]["losses"].shape == (probes.whole_steps(n_steps, task),)
        assert runs[0]["losses"][-1] != runs[0]["losses"][0]
    return rows


ONE_LAYER = "network.depth=1"  # of each kind: that several are stacked alike is asked layer by layer, below


# A compiled task takes seconds. Where the weights have the shapes of another network's, only the optimizers that go by
# matrix and axis are asked. Keras' other backends run the same lines: all optimizers on one network; what a backend's
# own lines or generator have a part in; a layer of each kind.
OF_BACKENDS = ("weight_decay", "class_weights", "averaged_accumulation", "clip_global_norm", "spatial_dropout")
OF_EACH_KIND = ("mlp", "cnn_bn", "resnet", "simple", "embedding")
BY_AXIS = ("adam", "adafactor", "muon")
SHAPED_AS_OTHERS = ("cnn", "gru")  # as cnn_bn and lstm
TRAINED = [
    (network, pair)
    for network in cases.NETWORKS
    for pair in (PAIR, *OTHER_PAIRS)
    if pair == PAIR or network not in SHAPED_AS_OTHERS
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "pair"), TRAINED, ids=[f"{network}-{pair[1]}" for network, pair in TRAINED])
def test_every_optimizer_trains_every_network_alike(emitted, subject, network, pair):
    asks_all = network == "mlp" or (pair == PAIR and network not in SHAPED_AS_OTHERS)
    known = cases.OPTIMIZERS if asks_all else BY_AXIS
    settled = {optimizer: cases.with_network(network, ONE_LAYER, f"optimizer={optimizer}") for optimizer in known}
    assert len(settled) >= 13 or known == BY_AXIS
    assert failures(compared(emitted, subject, settled, pair=pair, n_steps=50)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("pair", [PAIR, *OTHER_PAIRS], ids=lambda pair: pair[1])
def test_every_regularization_and_loss_is_alike(emitted, subject, pair):
    settled = {name: cases.with_network("cnn_bn", ONE_LAYER, *words) for name, words in cases.REGULARIZATIONS.items()}
    settled = {
        name: known for name, known in settled.items() if not frameworks.FRAMEWORKS[pair[1]].problem_with(known[1])
    }
    if pair != PAIR:
        settled = {name: settled[name] for name in OF_BACKENDS}
    settled["clip_norm_gru"] = cases.with_network("gru", *cases.REGULARIZATIONS["clip_norm"])
    settled["dropout_lstm"] = cases.with_network("deep_bidirectional_lstm", "regularization.dropout=0.3")
    settled |= {name: ("values", cases.task("network=mlp", *words)) for name, words in cases.LOSSES.items()}
    assert failures(compared(emitted, subject, settled, pair=pair, n_steps=50)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("pair", [PAIR, *OTHER_PAIRS], ids=lambda pair: pair[1])
def test_every_layer_is_alike_forward_and_backward(emitted, subject, pair):
    known = cases.NETWORKS | cases.MORE_NETWORKS
    names = known if pair == PAIR else OF_EACH_KIND
    settled = {name: cases.with_network(name) for name in names}
    assert failures(compared(emitted, subject, settled, pair=pair, n_steps=20, reference_keeps=True)) == {}
    told = each_of(emitted, subject, settled, gradients_of_each, pair=pair)
    rows = {
        name: [levels.gradients(*(told[name, framework][0] for framework in pair), task=task)]
        for name, (_, task) in settled.items()
    }
    assert failures(rows) == {}


def test_weight_averaging_replaces_the_weights_by_their_average(together, subject):
    """Against the definition, applied in NumPy to the weights after each step."""
    settled = cases.with_network("mlp", "regularization.weight_averaging=0.9")
    plain = cases.with_network("mlp")
    works = {
        framework: (weights_by_step, subject(plain[0], plain[1], framework), frameworks.load) for framework in PAIR
    }
    works |= {
        (framework, "averaged"): (
            probes.free_run,
            subject(settled[0], settled[1], framework),
            frameworks.load,
            FreeRun(n_steps=20),
        )
        for framework in PAIR
    }
    told = together(works)
    for framework in PAIR:
        average = told[framework][0]["dense1/kernel"]
        for weights in told[framework][1:]:
            average = 0.9 * average + 0.1 * weights["dense1/kernel"]
        found = told[framework, "averaged"]["weights"]["dense1/kernel"]
        np.testing.assert_allclose(found, average, rtol=1e-12)
        assert np.abs(found - told[framework][-1]["dense1/kernel"]).max() > 1e-3


@pytest.mark.slow
def test_the_referee_agrees_with_both_on_xor(together, tmp_path, cache):
    """1,000 steps of plain SGD: losses equal to 1e-12 relative (measured 3e-15), predictions the same."""
    xor = cases.task("experiment=xor", "training.batch_size=4", "training.epochs=1000")
    made = data.load(xor.data, cache=cache)
    asked = {
        name: Subject(task=xor, framework=name, seed=0, data_path=data.write(made, cache / "prepared"), folder=tmp_path)
        for name in (*PAIR, "numpy")
    }
    told = together(
        {name: (probes.free_run, one, frameworks.load, FreeRun(n_steps=1000)) for name, one in asked.items()}
    )
    for name in PAIR:
        np.testing.assert_allclose(told[name]["losses"], told["numpy"]["losses"], rtol=1e-12)
        assert ((told[name]["logits"] > 0) == (told["numpy"]["logits"] > 0)).all()
    assert told["numpy"]["losses"].shape == (1000,)


# What is planted, on which task, and the level that must name it. Levels before it stay green.
PLANTED = {
    "adam_epsilon": ("mlp", ["optimizer.epsilon=1.0e-8"], "C3", "update of"),
    "momentum": ("mlp", ["optimizer=momentum"], "C3", "update of"),
    "gate_order": ("gru", [], "C1", "layer"),
    "batch_norm_decay": ("cnn_bn", [ONE_LAYER], "C4", "moving_"),
    "batch_norm_epsilon": ("cnn_bn", [ONE_LAYER], "C1", "layer norm1"),
    "unbiased_variance": ("cnn_bn", [ONE_LAYER], "C4", "moving_variance"),
    "coupled_decay": ("mlp", ["optimizer=adamw", "optimizer.weight_decay=0.1"], "C3", "kernel"),
    "swapped_batches": ("mlp", [], "C4", "step 11"),
    "channels_first_flatten": ("cnn", [ONE_LAYER], "C1", "layer flatten"),
}


@pytest.fixture
def certify(local, tmp_path, data_paths):
    def run(kind, task, load, **keywords):
        return parity.certify(
            task,
            frameworks=PAIR,
            seed=0,
            data_path=data_paths[kind],
            data_fingerprint="d",
            folder=tmp_path,
            executor=local,
            load=load,
            **keywords,
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(PLANTED))
def test_a_planted_error_is_seen_at_the_level_that_names_it(certify, kind):
    network, words, level, where = PLANTED[kind]
    data_kind, task = cases.with_network(network, *words)
    certificate = certify(data_kind, task, PlantedError(kind), precisions=("float64",))
    failed = [row for row in certificate.rows if not row.passed]
    assert not certificate.passed
    assert failed[0].level == level
    assert where in " ".join(row.where for row in failed if row.level == level)


def arrays(*values):
    return np.array(values)


@pytest.mark.parametrize(
    ("part", "wrong", "said"),
    [
        ("losses", arrays(1.0, np.nan), "the training loss became nan at batch 2"),
        ("losses", arrays(1e39, 1.0), "the training loss became 1e+39 at batch 1"),
        ("weights", {"dense1/kernel": arrays(np.inf)}, "weights dense1/kernel became inf after 2 batches"),
        ("logits", arrays(0.0, np.nan), "weights (outputs) became nan after 2 batches"),
    ],
)
def test_a_free_run_is_judged_by_the_rule_of_every_run(part, wrong, said):
    sound = {"losses": arrays(1.0, 2.0), "weights": {"dense1/kernel": arrays(3.0)}, "logits": arrays(0.0, 1.0)}
    assert parity.divergence_of(sound) == ""
    assert parity.divergence_of(sound | {part: wrong}) == said


@pytest.mark.slow
def test_a_training_that_diverges_is_no_certificate_and_no_difference(certify):
    """It was called a difference at C6, as NaN is not NaN bit for bit."""
    data_kind, task = cases.with_network("mlp", "optimizer=sgd", "optimizer.learning_rate=1.0e+18")
    said = r"the training diverges in (lightning|keras) \(float32\): the training loss became (nan|inf) at batch \d+; "
    with pytest.raises(errors.ProbeFailed, match=said):
        certify(data_kind, task, frameworks.load, precisions=("float32",))


def test_a_worker_that_raises_is_no_certificate(certify):
    data_kind, task = cases.with_network("mlp")
    with pytest.raises(errors.ProbeFailed, match="keras: KeyError"):
        certify(data_kind, task, broken_load, precisions=("float64",))


def test_a_framework_that_fails_costs_no_other_pair_its_certificate(local, tmp_path, data_paths):
    """It is the first, whose weights along the way the others' gradients are taken at."""
    data_kind, task = cases.with_network("mlp")
    names = ("keras", "lightning", "numpy")
    made = []
    pairs = parity.certify_pairs(
        task,
        frameworks=names,
        precisions=dict.fromkeys(names, ("float64",)),
        seed=0,
        data_path=data_paths[data_kind],
        data_fingerprint="d",
        folder=tmp_path,
        executor=local,
        load=broken_load,
    )
    with pytest.raises(errors.ProbeFailed, match=r"^No certificate: keras: KeyError[^\n]*$"):
        made.extend(pairs)
    assert [(one.frameworks, one.passed) for one in made] == [(("lightning", "numpy"), True)]


@pytest.mark.slow
def test_data_that_the_two_read_otherwise_are_not_certified(certify, data_paths, tmp_path):
    """Written past the checks of `data.load`, which refuse them: TensorFlow takes a step of 1e-40 for padding."""
    dataset = cases.dataset("sequences")
    x = dataset.x_train.copy()
    x[:, 1] = np.float32(1e-40)
    data_paths["tiny"] = data.write(dataclasses.replace(dataset, x_train=x, fingerprint="tiny"), tmp_path / "tiny")
    _, task = cases.with_network("lstm")
    certificate = certify("tiny", task, frameworks.load, precisions=("float32",))
    assert not certificate.passed
    (row,) = [row for row in certificate.rows if "read alike" in row.what]
    assert row.where == "outputs"
    assert row.measured > 10 * row.bound


def test_the_runs_own_data_are_judged_by_hand_worked_numbers():
    outputs = {"extremes": arrays(1.0, 2.0)}, {"extremes": arrays(1.0, 2.001)}
    losses = {"losses": arrays(0.5, 1.0, 1.0, 1.0, 1.0, 9.0)}, {"losses": arrays(0.5, 0.998, 1.0, 1.0, 1.0, 1.0)}
    row = levels.reading((outputs[0], outputs[0]), (losses[0], losses[0]))
    assert (row.gates, row.passed, row.measured, row.where) == (True, True, 0.0, "")
    assert levels.reading(outputs, (losses[0], losses[0])).measured == pytest.approx(5e-4)  # 0.001 of 2
    late = levels.reading(outputs, losses)
    assert (late.passed, late.where, late.bound) == (False, "losses", 1e-3)
    assert late.measured == pytest.approx(2e-3)  # the sixth step is not looked at
    chaotic = levels.reading(outputs, losses, floor=arrays(0.0, 0.0, 0.0, 0.0, 3e-6, 1.0))
    assert (chaotic.passed, chaotic.bound) == (True, pytest.approx(3e-3))
    for wrong in (np.nan, 2.01):
        read = levels.reading((outputs[0], {"extremes": arrays(1.0, wrong)}), (losses[0], losses[0]))
        assert (read.passed, read.where) == (False, "outputs")
    lost = levels.reading((outputs[0], outputs[0]), (losses[0], {"losses": arrays(np.nan)}))
    assert not lost.passed


def test_a_certificate_sees_the_smaller_last_batch_of_a_long_epoch(subject):
    """170 examples in batches of 32 end with 10; in batches of 3 they make 57, of which 20 are taken."""
    kind, task = cases.with_network("mlp", "training.batch_size=3")
    of = subject(kind, task, "lightning")
    dataset = data.read(of.data_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "FREE_STEPS", 20)
        given = probes.first_batches(of, dataset, n_steps=20).given
        early = probes.first_batches(of, dataset, n_steps=10).given
    assert [len(targets) for _, targets in given] == [3] * 19 + [2]  # 170 = 56 * 3 + 2
    assert [len(targets) for _, targets in early] == [3] * 10
    np.testing.assert_array_equal(early[9][0], given[9][0])


def test_a_certificate_sees_the_smallest_and_the_largest_training_example(subject):
    kind, task = cases.with_network("lstm")
    of = subject(kind, task, "lightning")
    dataset = data.read(of.data_path)
    sizes = np.abs(dataset.x_train).max(axis=(1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "EVALUATED", 7)
        chosen = np.abs(probes.extremes(of, dataset)).max(axis=(1, 2))
    assert len(chosen) == 7
    assert (chosen[0], chosen[-1]) == (sizes.min(), sizes.max())


def test_the_name_of_a_certificate_follows_what_it_certifies():
    _, task = cases.with_network("mlp")

    def name(changed, data="d", pair=PAIR):
        return parity.fingerprint(plain(changed), data_fingerprint=data, frameworks=pair)

    assert name(task) == name(cases.change(task, training={"precision": "float32", "epochs": 1}))
    assert name(task) == name(task, pair=PAIR[::-1])
    others = [
        name(cases.change(task, optimizer={"epsilon": 1e-7})),
        name(cases.change(task, training={"batch_size": 16})),
        name(cases.change(task, regularization={"l2": 0.1})),
        name(cases.change(task, training={"gradient_accumulation_steps": 2})),
        name(cases.change(task, training={"jit": True})),
        name(cases.change(task, training={"precision": "mixed_bfloat16"})),
        name(task, data="e"),
    ]
    assert len({name(task), *others}) == 8


def test_accumulated_gradients_move_the_weights_as_one_large_batch_does(together, subject):
    """Three batches of 32 and one of 96: the same steps of SGD, by definition; in both frameworks."""
    words = ["optimizer=sgd", "regularization.weight_decay=0.1"]
    of_three = cases.with_network("mlp", *words, "training.batch_size=32", "training.gradient_accumulation_steps=3")
    at_once = cases.with_network("mlp", *words, "training.batch_size=96")
    works = {
        (framework, size): (probes.free_run, subject(kind, task, framework), frameworks.load, FreeRun(n_steps=n_steps))
        for framework in PAIR
        for size, (kind, task), n_steps in (("small", of_three, 3), ("large", at_once, 1))
    }
    told = together(works)
    for framework in PAIR:
        moved = told[framework, "large"]["weights"]["dense1/kernel"]
        np.testing.assert_allclose(told[framework, "small"]["weights"]["dense1/kernel"], moved, rtol=1e-12, atol=1e-15)
        assert told[framework, "small"]["losses"].mean() == pytest.approx(
            told[framework, "large"]["losses"][0], rel=1e-12
        )


@pytest.mark.slow
def test_mixed_precision_is_certified_and_a_framework_that_does_not_round_is_not(certify):
    data_kind, task = cases.with_network("cnn", precision="mixed_bfloat16")
    certificate = certify(data_kind, task, frameworks.load)
    assert certificate.passed
    (row,) = [row for row in certificate.rows if row.precision == "mixed_bfloat16" and row.what.startswith("rounding")]
    assert row.gates
    told = {"logits": np.array([1.0, 2.0])}
    rounded = {"logits": np.array([1.0, 2.004])}
    silent = levels.rounding([rounded, told], [told, told], precision="mixed_bfloat16")
    assert not silent.passed
    alike = levels.rounding([rounded, rounded], [told, told], precision="mixed_bfloat16")
    assert (alike.passed, alike.measured) == (True, 1.0)


@pytest.mark.slow
def test_jit_compiles_in_both_frameworks(in_worker, task, digits_path):
    """Not only asked for: PyTorch's graphs are counted, and Keras' step is an XLA program."""
    task = cases.change(task, training={"batch_size": 35})  # 1,295 examples: no short batch, compiled for its shape too
    compiled = cases.change(task, training={"jit": True})
    assert in_worker(compiled_graphs, frameworks.load, "lightning", compiled, digits_path) >= 1
    assert in_worker(compiled_graphs, frameworks.load, "lightning", task, digits_path) == 0
    assert in_worker(compiled_graphs, frameworks.load, "keras", compiled, digits_path) == 1
    assert in_worker(compiled_graphs, frameworks.load, "keras", task, digits_path) == 0


def test_rows_are_judged_by_hand_worked_numbers():
    assert levels.difference(arrays(1.0, 2.0), arrays(1.0, 2.5)) == 0.25
    assert levels.difference(arrays(1.0), arrays(1.0, 2.0)) == np.inf
    assert levels.loss_distance(arrays(2.0, 4.0), arrays(2.0, 5.0)).tolist() == [0.0, 0.25]
    assert np.isnan(levels.difference(arrays(1.0), arrays(np.nan)))


def test_a_chaotic_recipe_is_held_to_its_own_rounding_step_by_step():
    _, task = cases.with_network("mlp")
    told = {"logits": np.zeros((1, 4)), "weights": {}}
    losses = np.array([2.0, 2.0, 2.0])
    floor = np.array([1e-16, 1e-15, 1e-3])

    def row(*errors):
        moved = told | {"losses": losses * (1 + np.array(errors))}
        return levels.free_run64(told | {"losses": losses}, moved, task=task, floor=floor)[0]

    assert row(0.0, 0.0, 0.5).passed  # its own starts differ by 1e-3 there
    assert "the first 2 to 1e-9" in row(0.0, 0.0, 0.5).what
    early = row(0.0, 1e-6, 0.0)
    assert (early.passed, early.where, early.bound) == (False, "step 2", 1e-9)
    assert not row(float("nan"), 0.0, 0.0).passed


def test_flips_count_where_the_bound_of_the_logits_decides_and_are_left_open_where_not():
    logits = np.array([[5.0, 4.0, 0.0], [5.0, 5.0 - 4e-7, 0.0], [0.0, 3.0, 4.0]])
    moved = logits[:, [1, 0, 2]]  # of the first two examples, another class is the largest

    def row(first, second, bound, loss="cross_entropy"):
        return levels._flips_row(first, second, loss=loss, logits_bound=bound)

    strict = row(logits, moved, 1e-8)
    assert (strict.measured, strict.passed, strict.what) == (2.0, False, "predictions flipped after it")
    near_a_tie = row(logits, moved, 1e-7)  # two logits may be 2 * 1e-7 * 5 apart and change places
    assert (near_a_tie.measured, near_a_tie.passed) == (1.0, False)
    assert "1 of 3 left open" in near_a_tie.what
    chaos = row(logits, moved, 60.0)
    assert (chaos.measured, chaos.passed) == (0.0, True)
    assert "3 of 3 left open" in chaos.what
    one = row(np.array([[1.0], [-1e-9]]), np.array([[-1.0], [1e-9]]), 1e-7, loss="binary_cross_entropy")
    assert (one.measured, one.passed) == (1.0, False)
    assert row(np.array([[1.0]]), np.array([[-1.0]]), 1e-7, loss="mean_squared_error").measured == 0


def test_a_nan_never_passes():
    row = levels.Row(level="C1", precision="float64", what="", measured=float("nan"), bound=1.0, gates=True, where="")
    assert not row.passed


def test_a_perturbation_is_one_unit_in_the_last_place():
    weights = {"a": np.linspace(-1, 1, 1001, dtype=np.float32)}
    moved = probes.perturbed_by_one_ulp(weights, seed=1)["a"]
    steps = np.abs(moved.view(np.int32).astype(np.int64) - weights["a"].view(np.int32).astype(np.int64))
    assert moved.dtype == np.float32
    assert set(steps[weights["a"] != 0].tolist()) == {0, 1}


def test_the_gradient_stream_is_the_same_whatever_the_order_of_the_weights():
    weights = {"a/kernel": np.zeros((3, 4)), "b/bias": np.zeros(5)}
    first = list(probes.gradient_stream(weights, seed=0))
    second = list(probes.gradient_stream(dict(reversed(weights.items())), seed=0))
    assert len(first) == probes.STREAM_STEPS
    assert all(np.array_equal(a["b/bias"], b["b/bias"]) for a, b in zip(first, second, strict=True))
    assert (first[0]["a/kernel"] != first[1]["a/kernel"]).any()


@pytest.mark.slow
def test_dropout_of_another_rate_shows_in_the_loss_of_20_seeds(emitted, task, digits_path):
    """Each framework's own generator: same rate, no difference shown; 0.45 for 0.5, far beyond chance."""
    half = cases.change(task, regularization={"dropout": 0.5}, training={"epochs": 3})
    loads = {"lightning": frameworks.load, "keras": frameworks.load, "planted": PlantedError("dropout_rate")}
    works = {
        (name, seeds): (
            trained_with_each_seed, load, "keras" if name == "planted" else name, half, digits_path, seeds
        )
        for name, load in loads.items()
        for seeds in (range(10), range(10, 20))
    }  # fmt: skip
    losses = {name: [] for name in loads}
    for (name, _), events in emitted(works).items():
        losses[name] += [np.mean([epoch.mean() for _, epoch in told["losses"]]) for told in events]
    assert {len(means) for means in losses.values()} == {20}
    same = stats.ttest_rel(losses["lightning"], losses["keras"]).pvalue
    planted = stats.ttest_rel(losses["lightning"], losses["planted"]).pvalue
    assert same > 0.001
    assert planted < 1e-6
