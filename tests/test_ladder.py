"""From as shipped to aligned: which runs that takes, and that a planted default is named as the cause."""

from dataclasses import replace
from functools import partial

import cases
import pytest
from cases import change
from conftest import EXECUTOR
from rich.console import Console
from worker_calls import load_with_defaults

import frameworks
from experiments import ladder, preparation, report, training
from experiments.errors import SettingsError
from experiments.job import ComparisonSettings

QUIET = Console(quiet=True)
NETWORK = ("network=cnn_bn", "network.depth=1", "network.width=8", "network.dense_width=16")
PLANTED = {
    "optimizer_epsilon": ((), "optimizer_epsilon+optimizer_formula", {"optimizers.Adam": {"epsilon": 1e-3}}),
    "batch_norm_epsilon": (
        NETWORK,
        "batch_norm_epsilon+batch_norm_variance",
        {"layers.BatchNormalization": {"epsilon": 1e-3}},
    ),
    "batch_norm_momentum": (
        NETWORK,
        "batch_norm_momentum+batch_norm_variance",
        {"layers.BatchNormalization": {"momentum": 0.95}},
    ),
}


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


def test_a_ladder_of_one_framework_is_refused(task, tmp_path, cache):
    jobs = asked(task, tmp_path, alignment="as_shipped", seeds=(0,), names=("keras",))
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=QUIET)
    with pytest.raises(SettingsError, match="needs two frameworks and one task, as shipped and aligned, but got 1 and"):
        ladder.expanded(sweep, load=frameworks.load, console=QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("word", PLANTED)
def test_a_planted_default_is_named_as_the_cause(word, local, tmp_path, memory_store, cache):
    overrides, alignment, changed = PLANTED[word]
    task = change(cases.task("experiment=digits_mlp", *overrides, precision="float32"), training={"epochs": 1})
    jobs = asked(task, tmp_path, alignment=alignment, seeds=range(4))
    load = partial(load_with_defaults, changed)
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=QUIET)
    sweep = ladder.expanded(sweep, load=load, console=QUIET)
    analysis = report.analyse(training.carry_out(sweep, store=memory_store, load=load, console=QUIET))
    (loss,) = (each for each in analysis.ladders if each.what.endswith("loss"))
    largest = max(loss.ladder.steps, key=lambda step: abs(step.part.value))
    assert (largest.word, largest.is_shown) == (word, True)
    assert loss.sentence.startswith(f"{loss.titles[word][0].upper()}{loss.titles[word][1:]} explains ")
    whole = loss.ladder.shipped.value - loss.ladder.aligned.value
    assert sum(step.part.value for step in loss.ladder.steps) == pytest.approx(whole, abs=1e-12)
    assert {arm.factors["alignment"] for arm in analysis.arms} == {alignment, "aligned"}  # no step between
