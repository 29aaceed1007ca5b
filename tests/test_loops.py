"""`comparison=speed`: a bare loop of each framework beside our runs, and what its times let a report say."""

import json
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from any_records import plain_run, plain_sweep
from cases import change
from commands import command, refuse_to_start
from conftest import EXECUTOR, named
from rich.console import Console
from worker_calls import trained_bare

import frameworks
from experiments import preparation, training
from experiments.errors import SettingsError
from experiments.execution import bare, environment
from experiments.execution.audit import PlanNotDone
from experiments.execution.run import Run
from experiments.job import BARE, ComparisonSettings
from experiments.report import files, page, sections, tables
from experiments.report.analysis import analyse
from experiments.task import Regularization, Training

# What a bare loop trains


@pytest.mark.parametrize("name", named([name for name, spec in frameworks.FRAMEWORKS.items() if spec.bare_loop]))
def test_a_bare_loop_trains_the_same_network_with_the_same_optimizer(in_worker, name, task, digits_path):
    """In the plan's order it takes the steps of `fit`; Keras' order is its own, and ends as near as another seed's."""
    exact = change(task, training={"precision": "float64"})
    told = in_worker(trained_bare, frameworks.load, name, exact, digits_path)
    assert told["n_epochs"] == task.training.epochs
    for key, weight in told["bare"].items():
        assert (weight != told["before"][key]).any()
        if name.startswith("keras"):
            apart, moved = (np.linalg.norm(each - told["fit"][key]) for each in (weight, told["before"][key]))
            assert 0 < apart < moved
        else:
            np.testing.assert_allclose(weight, told["fit"][key], rtol=1e-9, atol=1e-12)  # measured: not a bit apart


@pytest.mark.parametrize("name", ["lightning", "keras"])
@pytest.mark.parametrize(
    "changes",
    [
        {"regularization": {"l2": 0.01, "weight_decay": 0.01}},
        {"training": {"class_weights": (1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0)}},
        {"training": {"precision": "mixed_bfloat16"}},
    ],
    ids=["penalties", "class weights", "mixed precision"],
)
@pytest.mark.slow
def test_a_bare_loop_knows_the_words_that_are_not_refused(in_worker, name, changes, task, digits_path):
    """Without the word its weights would be as far from `fit` as from the start."""
    told = in_worker(trained_bare, frameworks.load, name, change(task, **changes), digits_path)
    for key, weight in told["bare"].items():
        apart, moved = (np.linalg.norm(each - told["fit"][key]) for each in (weight, told["before"][key]))
        assert apart < (moved if name == "keras" else 0.1 * moved)


def test_nothing_is_told_while_a_bare_loop_trains_and_it_must_train_all_epochs():
    plan, events, before = SimpleNamespace(epochs=3, batches_per_epoch=5), [], []

    def fit_bare(plan, *, on_epoch_end, n_epochs=3):
        for _ in range(n_epochs):
            on_epoch_end()
            before.append(len(events))

    model = SimpleNamespace(synchronize=lambda: None, fit_bare=fit_bare)
    seconds = bare.fit(model, plan, emit=events.append)
    assert before == [0, 0, 0]
    assert [(event.epoch, event.step) for event in events] == [(1, 5), (2, 10), (3, 15)]
    assert [event.metrics["time/epoch"] for event in events] == seconds
    assert events[-1].metrics["time/trained"] == pytest.approx(sum(seconds))
    for n_epochs in (2, 4):
        model.fit_bare = partial(fit_bare, n_epochs=n_epochs)
        with pytest.raises(PlanNotDone, match=f"{n_epochs} of 3 epochs were trained"):
            bare.fit(model, plan, emit=events.append)
    assert len(events) == 3


# What is refused


@pytest.mark.parametrize(
    "broken",
    [
        {
            "executor.workers=2": "`executor.workers=1` must hold with loop=bare, but got 2; times are measured alone",
            "executor.devices=2": "`executor.devices=1` must hold with loop=bare, but got 2",
            "training.epochs=1": "`training.epochs >= 2` must hold with loop=bare, but got 1; the first one warms up",
            "training.evaluate_every=2": "`training.evaluate_every=1` must hold with loop=bare, but got 2",
            "training.keep=best": "`training.keep=last` must hold with loop=bare, but got best",
            "training.gradient_accumulation_steps=41": "`training.gradient_accumulation_steps=1` must hold",
            "training.precision=mixed_float16": "`training.precision=mixed_bfloat16` must hold with loop=bare",
            "regularization.early_stopping.patience=3": "`regularization.early_stopping.patience=0` must hold",
            "regularization.augmentation.shift=1": "`regularization.augmentation.shift=0` must hold",
            "regularization.augmentation.flip=true": "`regularization.augmentation.flip=False` must hold",
            "regularization.augmentation.noise=0.1": "`regularization.augmentation.noise=0` must hold",
            "tuning=learning_rate": "`tuning=none` must hold with loop=bare, but got learning_rate",
        },
        {
            "regularization=weight_averaging": "`regularization.weight_averaging=0` must hold with loop=bare",
            "action=parity": "`action=train` must hold with loop=bare, but got parity; certificates are those of",
        },
        {"loop=plain": "loop: unknown 'plain'. Available: bare, fit"},
    ],
)
def test_what_a_bare_loop_does_not_do_is_refused_before_any_worker(broken, tmp_path, cache, monkeypatch):
    refuse_to_start(monkeypatch)
    done = command("experiment=digits_mlp", "comparison=speed", "seed=0", *broken, cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert [message for message in broken.values() if message not in done.stderr] == []
    assert len(done.stderr.strip().splitlines()) == len(broken)


@pytest.mark.parametrize("typed", [["loop=bare"], ["comparison=speed", "loop=bare"], ["loop=bare", "hydra.mode=RUN"]])
def test_a_bare_loop_alone_is_refused(typed, tmp_path, cache, monkeypatch):
    refuse_to_start(monkeypatch)
    done = command("experiment=xor", "training.evaluate_every=1", *typed, cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("`loop` must not be bare alone: a bare loop is timed beside ours; use comparison=")


def test_a_framework_without_a_bare_loop_is_refused(task, tmp_path, cache):
    spec = replace(frameworks.FRAMEWORKS["numpy"], bare_loop="")
    with pytest.raises(SettingsError, match="`loop` must be fit for framework=numpy, which has no bare loop, but got"):
        preparation.prepare(looped_jobs(task, tmp_path, (0,)), frameworks={"numpy": spec}, cache=cache, command="c",
                            console=Console(quiet=True))  # fmt: skip


def test_every_word_of_training_and_regularization_was_thought_of():
    """A new one is either done by bare loops, and is added here, or refused by `job.BARE`."""
    done = {
        "training": {"epochs", "batch_size", "loss", "class_weights", "precision", "jit"},
        "regularization": {
            "dropout", "spatial_dropout", "l1", "l2", "weight_decay", "exclude", "label_smoothing", "clip",
        },
    }  # fmt: skip
    refused = {key.rpartition(".")[0] if key.count(".") > 1 else key for key in BARE}
    for group, kind in {"training": Training, "regularization": Regularization}.items():
        words = {field.name for field in fields(kind)}
        assert words - done[group] == {key.removeprefix(f"{group}.") for key in refused if key.startswith(group)}
        assert done[group] <= words


def test_an_ordinary_run_keeps_its_name_and_a_bare_one_has_its_own(task, digits, digits_path, tmp_path):
    plain = Run(
        task=task, framework="numpy", seed=0, device="cpu", data_fingerprint=digits.fingerprint,
        data_path=digits_path, folder=tmp_path,
    )  # fmt: skip
    bare = replace(plain, bare_loop="slices")
    assert "loop" not in plain.config
    assert bare.config["loop"] == "bare"
    assert bare.fingerprint != plain.fingerprint
    assert replace(bare, bare_loop="told in other words").fingerprint == bare.fingerprint


# The whole way


def looped_jobs(task, folder, seeds):
    """As `comparison=speed` asks for them, of the referee alone."""
    exact = change(task, training={"precision": "float64"})
    by_seed = cases.jobs(exact, folder, names=("numpy",), seeds=seeds, executor=replace(EXECUTOR, workers=1))
    return [
        replace(job, loop=loop, labels=job.labels | {"loop": loop}, comparison=ComparisonSettings(
            name="speed", factor="loop", baseline="bare"))
        for job in by_seed for loop in ("bare", "fit")
    ]  # fmt: skip


def carried_out(jobs, *, store, cache):
    """Names of what was trained, in its order, and the sweep as it is kept."""
    quiet = Console(quiet=True)
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="c", console=quiet)
    before = set(store.kept)
    record = training.carry_out(sweep, store=store, load=frameworks.load, console=quiet)
    return [kept.name for each, kept in store.kept.items() if each not in before and "outcome" in kept.facts], record


def test_bare_loops_and_runs_are_trained_in_turn_and_never_taken_from_another_sweep(
    local, task, tmp_path, memory_store, cache
):
    def asked(*seeds):
        return looped_jobs(task, tmp_path, seeds)

    ordinary = [replace(job, comparison=ComparisonSettings(name="frameworks", factor="framework", baseline=None))
                for job in asked(0) if job.loop == "fit"]  # fmt: skip
    carried_out(ordinary, store=memory_store, cache=cache)
    trained, record = carried_out(asked(0, 1), store=memory_store, cache=cache)
    assert trained == [f"numpy · adam · {each}" for each in ("bare · seed 0", "fit · seed 0", "fit · seed 1",
                                                             "bare · seed 1")]  # fmt: skip
    assert carried_out(asked(0, 1), store=memory_store, cache=cache) == ([], record)
    assert [run.is_bare for run in record.runs] == [True, False, False, True]
    assert [run.facts.get("bare_loop") for run in record.runs][1:3] == [None, None]
    for run in record.runs:
        assert [epoch for epoch, _ in run.curves["time/epoch"]] == [1, 2]
        assert run.metrics["test/accuracy"] == record.runs[3 if run.seed else 0].metrics["test/accuracy"]
    bare = record.runs[0]
    seconds = dict(bare.curves["time/epoch"])
    assert bare.metrics["time/steady_step"] == seconds[2] / 41  # 1,295 examples, 32 a batch
    assert "time/first_step" not in bare.metrics
    (loops,) = analyse(record).loops
    assert loops.share.comparison.n == 2
    assert loops.bare_loop == frameworks.FRAMEWORKS["numpy"].bare_loop
    typed = [replace(job, comparison=ordinary[0].comparison) for job in asked(0, 1)]  # loop=bare,fit
    trained, _ = carried_out(typed, store=memory_store, cache=cache)
    assert len(trained) == 4


@pytest.mark.slow
def test_the_command_says_what_the_harness_takes_of_each_framework(local, tmp_path, cache):
    asked = ("experiment=digits_mlp", "comparison=speed", "seed=0,1,2", "training.epochs=3")
    done = command(*asked, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr + done.stdout
    for name in ("lightning", "keras"):
        assert f"{name} · fit against its bare loop: " in done.stdout
    report = json.loads(next(tmp_path.glob("outputs/**/report.json")).read_text())
    assert [each["share"]["n_epochs"] for each in report["loops"]] == [3, 3]
    assert all(each["share"]["bare"]["value"] > 0 for each in report["loops"])
    same = [run["metrics"]["test/loss"] for run in report["runs"] if run["name"].startswith("lightning")]
    assert len(same) == 6
    assert len(set(same)) == 3  # in the plan's order PyTorch by hand ends where Lightning does


# What a report says


def timed(framework, seed, loop, seconds, *, epochs=5, steps=10, **facts):
    """A run whose epochs after the first take `seconds`, the first four times as long."""
    run = plain_run(framework, seed, labels={"loop": loop}, accuracy=0.95, loss=0.1)
    times = [4 * seconds, *[seconds] * (epochs - 1)]
    return replace(
        run,
        config=run.config | ({"loop": "bare"} if loop == "bare" else {}),
        metrics=run.metrics | {"time/steady_step": seconds / steps, "time/total": 1.0, "memory/peak_mib": 50.0},
        curves={"time/epoch": list(enumerate(times, start=1)), "step": [(n, n * steps) for n in range(1, epochs + 1)]},
        facts=run.facts | {"host": "h", "cpu": "EPYC", "instruction_sets": "AVX2", "threads": "1", "device": "cpu"}
        | ({"bare_loop": f"{framework} by hand"} if loop == "bare" else {}) | facts,
    )  # fmt: skip


NOISE = (-1.5, 0.5, -0.5, 1.5)


def looped(*, bare=None, ours=None, seeds=range(4), **facts):
    """Both frameworks, bare and ours; a process is up to 0.6 % slower than another."""
    bare, ours = bare or {"keras": 0.030, "lightning": 0.020}, ours or {"keras": 0.033, "lightning": 0.0225}
    runs = [
        timed(name, seed, loop, seconds * (1 + 0.002 * NOISE[(seed + number) % 4]), **facts)
        for number, (loop, name, seconds) in enumerate(
            (loop, name, seconds) for loop, by_name in {"bare": bare, "fit": ours}.items()
            for name, seconds in by_name.items()
        )
        for seed in seeds
    ]  # fmt: skip
    sweep = plain_sweep(runs, factor="loop")
    return replace(sweep, command="python run.py experiment=digits_mlp comparison=speed seed=0,1", comparison={
        "name": "speed", "factor": "loop", "baseline": "bare"})  # fmt: skip


def test_the_harness_share_stands_beside_the_frameworks_and_bare_scores_in_no_comparison():
    analysis = analyse(looped())
    assert [arm.name for arm in analysis.arms] == ["keras · fit", "lightning · fit"]
    assert [(each.ours.name, each.bare.name) for each in analysis.loops] == [
        ("keras · fit", "keras · bare"),
        ("lightning · fit", "lightning · bare"),
    ]
    keras, lightning = (each.share for each in analysis.loops)
    assert 1e3 * keras.share.value == pytest.approx(0.3, rel=0.1)
    assert 1e3 * lightning.share.value == pytest.approx(0.25, rel=0.1)
    assert keras.comparison.ratio == pytest.approx(1.1, rel=0.01)
    assert {*(pair.first.name for pair in analysis.pairs)} == {"keras · fit"}
    assert analysis.warnings == ()
    assert page.question(analysis) == "what does the harness cost?"
    assert [claim.text.partition(":")[0] for claim in page.claims_of(analysis)][:2] == [
        "keras · fit against its bare loop",
        "lightning · fit against its bare loop",
    ]


def test_scores_of_a_bare_loop_cannot_change_what_is_said_of_scores():
    sweep = looped()
    wrong = [
        replace(run, metrics=run.metrics | {"test/accuracy": 0.1, "test/loss": 9.0}) if run.is_bare else run
        for run in sweep.runs
    ]
    assert analyse(replace(sweep, runs=tuple(wrong))).verdicts == analyse(sweep).verdicts


def test_a_claim_stands_where_the_harness_has_less_than_a_tenth_of_it():
    """0.05 ms of 1.05 ms."""
    (pair,) = analyse(looped()).pairs
    assert "keras · fit is 46.7 % slower per step" in pair.speed.sentence
    assert "Steps include" not in pair.speed.sentence  # it was measured
    assert "CPU EPYC (AVX2), 1 thread, batch 32" in pair.speed.sentence


def test_a_claim_falls_where_the_harness_has_more():
    analysis = analyse(looped(ours={"keras": 0.033, "lightning": 0.0205}))
    (pair,) = analysis.pairs
    assert pair.speed.id == "not_assessed"
    assert "apart by 20 % of the difference between their steps, above 10 %" in pair.speed.sentence
    (alone,) = analysis.bare_speeds
    assert "keras · bare is 50.0 % slower per step" in alone.sentence
    texts = next(each for each in sections.sections_of(analysis) if each.name == "speed").texts
    assert f"Bare loops alone (exploratory): {alone.sentence}" in texts
    assert [text for text in texts if "above 10 %" in text] == [pair.speed.sentence]


def test_epochs_that_vary_forbid_a_claim_and_calls_of_many_steps_do_not():
    """What a framework tells of calls may vary by any amount; of one steady epoch alone it is all there is."""
    sweep = looped()
    uneven = [(1, 0.13), (2, 0.03), (3, 0.06), (4, 0.03), (5, 0.06)]  # median .045, each .015 from it: 49 %
    cases = {
        "is 46.7 % slower": lambda run: replace(run, metrics=run.metrics | {"time/step_spread": 0.7}),
        "vary by 49 % within": lambda run: replace(run, curves=run.curves | {"time/epoch": uneven}),
        "vary by 70 % within": lambda run: replace(
            run, metrics=run.metrics | {"time/step_spread": 0.7}, curves=run.curves | {"time/epoch": uneven[:2]}
        ),
    }
    for said, changed in cases.items():
        runs = tuple(run if run.is_bare or run.seed else changed(run) for run in sweep.runs)
        (pair,) = analyse(replace(sweep, runs=runs)).pairs
        assert said in pair.speed.sentence


@pytest.mark.parametrize(("waited", "is_told"), [(0.41, True), (0.02, False)])
def test_a_machine_that_is_busy_throughout_forbids_a_claim(waited, is_told):
    """Epochs of one length all, each with a spinning neighbour."""
    sweep = looped()
    *rest, last = sweep.runs
    assert not last.is_bare
    runs = (*rest, replace(last, metrics=last.metrics | {"time/waited": waited}))
    (pair,) = analyse(replace(sweep, runs=runs)).pairs
    assert (pair.speed.id == "not_assessed") == is_told
    assert (
        "a run waited 41 % of its time for one, above 10 %; a quiet machine tells" in pair.speed.sentence
    ) == is_told


def test_a_framework_that_is_faster_than_its_bare_loop_is_said_to_be():
    analysis = analyse(looped(ours={"keras": 0.027, "lightning": 0.0225}))
    assert "keras · fit against its bare loop: 0.90 [" in analysis.sentences[-2]
    assert "harness' share is −0.30" in analysis.sentences[-2]
    assert tables.loops(analysis).rows[0][0] == "keras · fit"
    assert tables.loops(analysis).rows[0][4] == "0.900"


def test_without_a_bare_loop_a_claim_says_what_it_includes_and_how_to_tell():
    sweep = looped()
    ours = replace(sweep, runs=tuple(run for run in sweep.runs if not run.is_bare))
    plain = replace(ours, comparison={"name": "frameworks", "factor": "framework"})
    asked = {
        "python run.py experiment=digits_mlp seed=0,1 optimizer=sgd": "python run.py experiment=digits_mlp "
        "optimizer=sgd comparison=speed",
        "python run.py experiment=a comparison=control; python run.py experiment=b": "python run.py experiment=a "
        "comparison=speed",
    }
    for typed, told in asked.items():
        (pair,) = analyse(replace(plain, command=typed)).pairs
        assert pair.speed.sentence.endswith(f" margin. Steps include the harness; `{told}` tells it apart.")
    for group, changed in {"training": {"epochs": 1}, "regularization": {"augmentation": {"flip": True}}}.items():
        runs = [
            replace(run, config=run.config | {group: (run.config.get(group) or {}) | changed}) for run in plain.runs
        ]
        (pair,) = analyse(replace(plain, runs=tuple(runs), command=typed)).pairs
        assert "comparison=speed" not in pair.speed.sentence  # it would be refused
    (pair,) = analyse(replace(plain, command="a test")).pairs
    assert pair.speed.sentence.endswith("Steps include the harness.")


def test_runs_of_different_instruction_sets_are_not_compared():
    sweep = looped()
    other = tuple(
        replace(run, facts=run.facts | {"instruction_sets": "AVX2, AVX-512"}) if run.seed == 2 else run
        for run in sweep.runs
    )
    analysis = analyse(replace(sweep, runs=other))
    said = "Not assessed: the runs were made on different machines, instruction sets or thread counts"
    assert [said in sentence for sentence in analysis.sentences[-3:]] == [True] * 3
    before = tuple(
        replace(run, facts={key: value for key, value in run.facts.items() if key != "instruction_sets"})
        if run.seed == 2 else run
        for run in sweep.runs
    )  # fmt: skip
    assert said not in " ".join(analyse(replace(sweep, runs=before)).sentences)  # runs of an older checkout


def test_a_run_that_was_lost_leaves_its_pair_out():
    sweep = looped()
    lost = tuple(
        replace(run, outcome="failed", reason="why") if run.is_bare and run.seed == 3 else run for run in sweep.runs
    )
    analysis = analyse(replace(sweep, runs=lost))
    assert {each.share.comparison.n for each in analysis.loops} == {3}
    none = tuple(replace(run, outcome="failed", reason="why") if run.is_bare else run for run in sweep.runs)
    analysis = analyse(replace(sweep, runs=none))
    assert analysis.sentences[-1].endswith("Not assessed: no two runs of a seed came to their end.")
    assert tables.loops(analysis).rows[0][1:4] == ("–", "–", "–")
    assert "Steps include the harness" in analysis.pairs[0].speed.sentence


def test_one_framework_alone_has_its_share_too():
    sweep = looped()
    alone = replace(sweep, runs=tuple(run for run in sweep.runs if run.framework == "keras"))
    analysis = analyse(alone)
    assert (analysis.pairs, len(analysis.loops)) == ((), 1)
    assert [claim.word for claim in page.claims_of(analysis)] == ["difference"]


def test_the_report_holds_the_shares_as_data_and_says_what_a_bare_loop_is(tmp_path):
    analysis = analyse(looped())
    files.write(analysis, tmp_path)
    model = json.loads((tmp_path / "report.json").read_text())
    assert [each["arm"] for each in model["loops"]] == ["keras · fit", "lightning · fit"]
    assert model["loops"][0]["share"]["share"]["value"] == pytest.approx(0.0003, rel=0.1)
    html = (tmp_path / "report.html").read_text()
    assert "keras: keras by hand; lightning: lightning by hand" in html
    assert "its scores are in no comparison" in html


# Instruction sets


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model name\t: A\nflags\t\t: fpu sse2 avx avx2 fma\n\nprocessor: 1\nflags\t\t: amx_tile\n", "AVX2"),
        ("flags : avx512_bf16 avx2 avx512f avx512_vnni avx_vnni amx_tile\n", "AVX2, AVX-512, VNNI, BF16, AMX"),
        ("Features\t: fp asimd sve\n", "NEON, SVE"),
        ("", ""),
        (None, ""),
    ],
)
def test_instruction_sets_are_read_from_the_processor(content, said, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(environment, "CPUINFO", path)
    assert environment.instruction_sets() == said
    assert environment.facts()["instruction_sets"] == said
