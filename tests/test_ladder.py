"""From as shipped to aligned: which runs that takes, and that a planted default is named as the cause."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from any_records import plain_run, plain_sweep
from conftest import EXECUTOR
from rich.console import Console
from sklearn.datasets import load_digits
from worker_calls import load_with_defaults

import frameworks
from experiments import ladder, preparation, report, statistics, training
from experiments.errors import SettingsError
from experiments.execution.executor import LocalExecutor
from experiments.job import ComparisonSettings
from experiments.report import answers, ladder_section
from experiments.report import ladder as of_report
from experiments.report.ladder import MetricLadder

QUIET = Console(quiet=True)
NETWORK = ("network=cnn_bn", "network.depth=1", "network.width=8", "network.dense_width=16")
DIGITS = ("experiment=digits_mlp", "training.epochs=1")
SMALL_UNITS = ("experiment=custom", "training.epochs=5")  # by then a variance that starts at 1 has come down to 1e-5
PLANTED = {
    "optimizer_epsilon": (
        DIGITS,
        "optimizer_epsilon+optimizer_formula",
        {"optimizers.Adam": {"epsilon": 1e-3}},
    ),
    "batch_norm_epsilon": (  # of the digits as they are it moves the loss by less than seeds do
        (*SMALL_UNITS, *NETWORK),
        "batch_norm_epsilon+batch_norm_variance",
        {"layers.BatchNormalization": {"epsilon": 1e-3}},
    ),
    "batch_norm_momentum": (
        (*DIGITS, *NETWORK),
        "batch_norm_momentum+batch_norm_variance",
        {"layers.BatchNormalization": {"momentum": 0.95}},
    ),
}


@pytest.fixture
def small_units(tmp_path):
    """The digits as numbers of 0 to 0.01, in a file: (n, 8, 8, 1)."""
    digits = load_digits()
    path = tmp_path / "small.npz"
    np.savez(path, x_train=np.float32(digits.images[..., None] / 1600), y_train=digits.target)
    return path


def asked(task, folder, *, alignment, seeds, names=("lightning", "keras")):
    """The jobs of `comparison=defaults`."""
    comparison = ComparisonSettings(name="defaults", factor="alignment", baseline=None)
    return [
        replace(
            job,
            task=replace(task, alignment=each),
            labels={**job.labels, "alignment": each},
            comparison=comparison,
        )
        for job in cases.jobs(task, folder, names=names, seeds=seeds, executor=EXECUTOR)
        for each in (alignment, "aligned")
    ]  # fmt: skip


def test_both_paths_are_walked_and_what_cannot_matter_is_no_step():
    found = {"keras": ("initializers", "optimizer_epsilon"), "lightning": ("initializers",)}
    assert ladder.union_of(found) == ("initializers", "optimizer_epsilon")
    assert set(ladder.rungs(found)) == {
        frozenset(words) for words in ((), ("initializers",), ("optimizer_epsilon",), found["keras"])
    }


def test_every_seed_has_every_step(task, tmp_path, cache, monkeypatch):
    """Keras: as shipped, aligned, both words, each alone; lightning: as shipped, aligned, its one word."""
    found = {"keras": ("initializers", "optimizer_epsilon"), "lightning": ("initializers",)}
    monkeypatch.setattr(ladder, "_screened", lambda *_, **__: found)
    monkeypatch.setattr(LocalExecutor, "warm_up", lambda self: None)
    jobs = asked(task, tmp_path, alignment="as_shipped", seeds=range(3))
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=QUIET)
    runs = ladder.expanded(sweep, load=frameworks.load, console=QUIET).runs
    steps = {(run.framework, run.task.alignment) for run in runs}
    assert sorted(name for name, _ in steps) == ["keras"] * 5 + ["lightning"] * 3
    assert len(runs) == 24
    assert {(run.framework, run.task.alignment, run.seed) for run in runs} == {
        (*step, seed) for step in steps for seed in range(3)
    }


def test_the_words_that_train_a_step_alone_ask_for_no_ladder(task, tmp_path, cache):
    """With comparison=defaults the command that a report prints for one run would be refused."""
    jobs = [
        replace(job, overrides=("experiment=e", "alignment=as_shipped", "comparison=defaults"))
        for job in asked(task, tmp_path, alignment="as_shipped", seeds=(0,))
    ]
    run = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=QUIET).runs[0]
    assert ladder.alone(run).overrides == ("experiment=e", "alignment=as_shipped")
    assert ladder.alone(run).fingerprint == run.fingerprint


def test_a_ladder_of_one_framework_is_refused(task, tmp_path, cache):
    jobs = asked(task, tmp_path, alignment="as_shipped", seeds=(0,), names=("keras",))
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=QUIET)
    with pytest.raises(SettingsError, match="needs two frameworks and one task, as shipped and aligned, but got 1 and"):
        ladder.expanded(sweep, load=frameworks.load, console=QUIET)


def test_the_report_says_what_each_framework_does_by_itself():
    shown = ladder_section.defaults(["optimizer_epsilon", "leaky_relu_slope"])
    assert shown.head == ("word of alignment", "of", "lightning", "keras", "differs")
    assert ("leaky_relu_slope", "LeakyReLU", "0.01", "0.3", "yes") in shown.rows
    assert ("optimizer_epsilon", "Adam", "1e-08", "1e-07", "yes") in shown.rows
    assert {row[0] for row in shown.rows} == {"optimizer_epsilon", "leaky_relu_slope"}
    assert "torch 2." in shown.title


def test_what_no_first_step_shows_is_booked_to_the_others():
    """By hand, keras minus lightning, two seeds: as shipped 5 and 6, found words alone 2, all aligned 1."""
    known = {"keras": ("initializers", "others"), "lightning": ("initializers",)}
    none, found, every = frozenset(), frozenset({"initializers"}), frozenset(known["keras"])
    scores = {
        ("keras", every): {0: 5.0, 1: 6.0}, ("keras", found): {0: 2.0, 1: 2.0}, ("keras", none): {0: 1.0, 1: 1.0},
        ("lightning", found): {0: 0.0, 1: 0.0}, ("lightning", none): {0: 0.0, 1: 0.0},
    }  # fmt: skip
    made = of_report._ladder(scores, known, names=("keras", "lightning"), words=known["keras"])
    assert [(step.word, step.part.value) for step in made.steps] == [("initializers", 1.0), ("others", 3.5)]
    assert (made.shipped.value, made.aligned.value) == (5.5, 1.0)


def test_a_stuck_run_sets_the_target_of_its_own_seed_alone():
    """By hand: in seed 0 a run stays at 9, so that both are there at once; in seed 1 the target is 2."""

    def arm(*losses):
        curves = [{"val/loss": list(enumerate(each)), "step": [(0, 10), (1, 20)]} for each in losses]
        return SimpleNamespace(finished=[SimpleNamespace(seed=k, curves=each) for k, each in enumerate(curves)])

    scores = of_report._scores({"a": arm([3, 1], [3, 2]), "b": arm([9, 9], [2, 1])}, of_report.STEPS)
    assert scores == {"a": {0: 10, 1: 20}, "b": {0: 10, 1: 10}}


def told(parts, n_seeds=4):
    """The sentence on `ladder_of` these parts."""
    return ladder_of(parts, n_seeds).sentence


def ladder_of(parts, n_seeds=4):
    """Of gaps of four seeds whose defaults add these parts; the margin is 0.02."""
    words = tuple(parts)
    at = [sum(np.array(parts[word]) for word in words[k:]) + np.zeros(4) for k in range(len(words) + 1)]
    back = [at[0] - point for point in at]
    found = statistics.ladder(np.array(at), np.array(back), words=words)
    titles = {word: word.replace("_", " ") for word in words}
    return MetricLadder(
        what="test loss", unit="", scale=1, decimals=2, margin=0.02, names=("keras", "lightning"), titles=titles,
        ladder=found, n_seeds=n_seeds,
    )  # fmt: skip


def test_a_sentence_names_what_is_shown_and_no_more():
    noisy, wide, nothing = [0.1, 0.11, 0.1, 0.09], [1, -1.5, 2, -1.5], [0.001, -0.001, 0.001, -0.001]
    gap = "the gap in test loss, keras minus lightning as shipped, "
    whole = "what the defaults make of the gap in test loss, keras minus lightning, as shipped less aligned: "
    one = told({"adam_epsilon": noisy, "shuffling": nothing})
    assert one.startswith("Adam epsilon explains 100 % [98, 102] of " + whole + "+0.10 [")
    assert one.endswith("]; the rest is not shown; less than the margin: shuffling.")
    lost = told({"adam_epsilon": noisy, "shuffling": nothing}, n_seeds=6)
    assert lost == one + " On 4 of 6 seeds: of 2 a run failed or diverged."
    small = told({"adam_epsilon": noisy, "shuffling": [0.0010, 0.0011, 0.0010, 0.0011]})  # shown, and no cause
    assert small.startswith("Adam epsilon explains 99 % [99, 99] of " + whole)
    assert small.endswith("]; less than the margin: shuffling.")
    assert told({"adam_epsilon": noisy, "shuffling": wide}).endswith("], is not shown to come from defaults.")
    five = told({**dict.fromkeys("abcde", noisy), "shuffling": nothing})
    assert five.count(" explains ") == 3
    assert five.endswith("]; 2 more shown; the rest is not shown; less than the margin: shuffling.")
    apart = told({"a": [0.1, 0.5, 0.1, 0.5], "b": [0.5, 0.1, 0.5, 0.1]})
    assert apart == "No default alone is shown to explain " + gap + "+0.60 [+0.60, +0.60]."


def test_a_headline_names_the_cause_or_that_there_is_none():
    noisy, wide = [0.1, 0.11, 0.1, 0.09], [1, -1.5, 2, -1.5]
    cause = ladder_of({"adam_epsilon": noisy, "shuffling": [0.001, -0.001, 0.001, -0.001]})
    assert cause.headline == "Adam epsilon explains 100 % [98, 102] of the gap in test loss"
    nobody = ladder_of({"a": [0.1, 0.5, 0.1, 0.5], "b": [0.5, 0.1, 0.5, 0.1]})
    assert nobody.headline == "No default alone is shown to explain the gap in test loss"
    unclear = ladder_of({"adam_epsilon": noisy, "shuffling": wide})
    assert unclear.headline == "The gap in test loss is not shown to come from defaults"
    assert [each.names_a_cause for each in (cause, nobody, unclear)] == [True, False, False]


def test_a_report_on_defaults_answers_what_they_cost_first():
    """Its pairs are of frameworks; without a ladder their outcomes are counted first."""
    runs = [
        plain_run(name, seed, labels={"alignment": word}, accuracy=0.9 + 0.01 * seed * (name == "keras"))
        for seed in range(3)
        for name in ("keras", "lightning")
        for word in ("as_shipped", "aligned")
    ]
    without = report.analyse(plain_sweep(runs, factor="alignment"))
    assert without.headline.startswith("2 comparisons of ")
    ladders = (ladder_of({"adam_epsilon": [0.1, 0.11, 0.1, 0.09]}),)
    analysis = replace(without, ladders=ladders)
    assert answers.question(analysis) == "what do the frameworks' own defaults cost?"
    assert answers.claims_of(analysis)[0].headline == ladders[0].headline
    assert not analysis.headline


@pytest.mark.slow
@pytest.mark.parametrize("word", PLANTED)
def test_a_planted_default_is_named_as_the_cause(word, local, small_units, tmp_path, memory_store, cache):
    overrides, alignment, changed = PLANTED[word]
    places = (f"data.path={small_units}",) if overrides[0] == SMALL_UNITS[0] else ()
    task = cases.task(*overrides, *places, precision="float32")
    jobs = asked(task, tmp_path, alignment=alignment, seeds=range(4))
    load = partial(load_with_defaults, changed)
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=QUIET)
    sweep = ladder.expanded(sweep, load=load, console=QUIET)
    analysis = report.analyse(training.carry_out(sweep, store=memory_store, load=load, console=QUIET))
    (loss,) = (each for each in analysis.ladders if each.what.endswith("loss"))
    largest = max(loss.ladder.steps, key=lambda step: abs(step.part.value))
    assert (largest.word, largest.is_shown) == (word, True)
    assert loss.sentence.startswith(f"{loss.titles[word][0].upper()}{loss.titles[word][1:]} explains ")
    assert loss.headline in [claim.headline for claim in answers.claims_of(analysis)[: len(analysis.ladders)]]
    whole = loss.ladder.shipped.value - loss.ladder.aligned.value
    assert sum(step.part.value for step in loss.ladder.steps) == pytest.approx(whole, abs=1e-12)
    assert {arm.factors["alignment"] for arm in analysis.arms} == {alignment, "aligned"}  # no step between
