"""Records as no store would hold them, drawn by hypothesis; and plain ones of a few words."""

import math
import zlib

from hypothesis import strategies as st

from experiments.records import BaselineRecord, RunRecord, StudyRecord, SweepRecord, TrialRecord, TunedValue

MLFLOWS_INFINITY = 1.7976931348623157e308
SCORES = st.sampled_from(
    [0.0, 1e-300, 1e-20, 0.1, 0.5, 0.5, 0.949, 0.95, 0.95, 1.0, 2.3, 1e30, 3e38, -1e30, -1.0, 1e80, 1e200,
     MLFLOWS_INFINITY, math.inf, -math.inf, math.nan]
) | st.floats(0, 1)  # fmt: skip
SENSIBLE = st.sampled_from([0.9, 0.95, 0.951, 0.96, 0.96]) | st.floats(0, 1)
TIMES = st.sampled_from([0.0, 1e-9, 0.1, 0.1, 1.0, 7.0, 1e30, math.nan, math.inf])
OUTCOMES = st.sampled_from(["finished"] * 6 + ["diverged", "failed", "running", "pruned"])
LABELS = {
    "optimizer": st.sampled_from(["adam", "sgd"]),
    "regularization.dropout": st.sampled_from(["0", "0.2", "0.5"]),
}
CLASSIFICATION = ("accuracy", "loss", "macro_f1", "brier_score", "calibration_error")
REGRESSION = ("loss", "rmse", "mae", "r2", "skill")
CLOCKS = (
    "time/total", "time/steady_step", "time/steady_epoch", "time/fit", "time/import", "memory/peak_mib",
    "time/step_spread", "time/waited",
)  # fmt: skip


def run_of(draw, framework, seed, labels, *, names, scores, outcome="finished"):
    """One run of a sweep whose tasks are scored by `names`."""
    metrics = {f"{part}/{name}": draw(scores) for part in ("val", "test") for name in names}
    metrics |= {"train_eval/loss": draw(scores), "train/loss": draw(scores)}
    metrics |= {name: draw(TIMES) for name in CLOCKS}
    is_over = outcome == "finished"
    curve = st.lists(scores, max_size=3).map(lambda values: list(enumerate(values, start=1)))
    return RunRecord(
        run_id=f"{draw(st.integers(0, 10**9)):x}",
        name=" · ".join([framework, *labels.values(), f"seed {seed}"]),
        fingerprint="f",
        framework=framework,
        seed=seed,
        outcome=outcome,
        reason="" if is_over else "the worker was killed by SIGKILL",
        config={
            "framework": framework,
            "seed": seed,
            "choices": labels,
            "optimizer": {"kind": "adam", "learning_rate": draw(st.sampled_from([1e-3, 0.1])) if labels else 0.1},
            "network": {"kind": "mlp"},
            "schedule": {"kind": "constant"},
            "regularization": {"dropout": 0.0},
            "training": {"batch_size": 32, "loss": "cross_entropy", "class_weights": None},
        },
        metrics={key: value for key, value in metrics.items() if is_over or not key.startswith("test/")},
        curves={name: draw(curve) for name in ("val/loss", "val/accuracy", "train/loss", "step", "time/trained")},
        facts={"data": "d", "data_fingerprint": "d", "workers": draw(st.sampled_from("1112"))}
        | ({"killed": "yes"} if not is_over and draw(st.booleans()) else {}),
        labels={"framework": framework} | labels,
    )


@st.composite
def scattered(draw, *, names, scores):
    """Runs that have little to do with each other."""
    return [
        run_of(
            draw,
            draw(st.sampled_from(["keras", "lightning"])),
            draw(st.integers(0, 5)),
            draw(st.fixed_dictionaries({}, optional=LABELS)),
            names=names,
            scores=scores,
            outcome=draw(OUTCOMES),
        )
        for _ in range(draw(st.integers(0, 10)))
    ]


@st.composite
def grids(draw, *, names, scores):
    """Every arm on every seed, but for a few that were lost; scores of few values, so that there are ties."""
    few = st.sampled_from(draw(st.lists(scores, min_size=1, max_size=4)))
    dropouts, optimizers = (
        draw(st.sampled_from([["0"], ["0", "0.2", "0.5"]])),
        draw(st.sampled_from([["adam"], ["adam", "sgd"]])),
    )
    return [
        run_of(draw, framework, seed, {"optimizer": optimizer, "regularization.dropout": dropout}, names=names,
               scores=few | scores, outcome=draw(OUTCOMES) if draw(st.integers(0, 9)) == 0 else "finished")
        for framework in ("keras", "lightning")
        for optimizer in optimizers
        for dropout in dropouts
        for seed in range(draw(st.integers(1, 6)))
    ]  # fmt: skip


@st.composite
def studies(draw, *, scores):
    """A study with any trials, of one or two objectives."""
    objectives = draw(st.sampled_from([(("val/loss", "minimize"),), (("val/accuracy", "maximize"),),
                                       (("val/loss", "minimize"), ("time/steady_step", "minimize"))]))  # fmt: skip
    trials = []
    for number in range(draw(st.integers(0, 6))):
        state = draw(st.sampled_from(["COMPLETE"] * 3 + ["PRUNED", "FAIL", "RUNNING"]))
        began = draw(st.sampled_from([None, 0.0, 5.0]))
        values = {"optimizer.learning_rate": draw(st.sampled_from([1e-5, 1e-3, 0.1])), "network.depth": 2}
        trials.append(
            TrialRecord(
                number=number,
                state=state,
                values=values if draw(st.booleans()) else {},
                scores=tuple(draw(scores) for _ in objectives) if state == "COMPLETE" else (),
                reported=tuple((epoch, draw(scores)) for epoch in range(1, draw(st.integers(1, 4)))),
                began=began,
                ended=None if began is None or state == "RUNNING" else began + draw(st.sampled_from([0.0, 3.0])),
                epochs=3,
                seconds=draw(st.sampled_from([0.0, 2.0, math.nan])),
                run_id=f"t{number}",
                reason="" if state != "FAIL" else "why",
            )
        )
    numbers = [trial.number for trial in trials if trial.state == "COMPLETE"]
    return StudyRecord(
        name=f"study {draw(st.integers(0, 9))}",
        arm=draw(st.sampled_from(["keras", "lightning"])),
        framework="keras",
        space={
            "optimizer.learning_rate": {"kind": "float", "low": 1e-5, "high": 0.1, "log": True},
            "network.depth": {"kind": "int", "low": 1, "high": 4, "log": False},
        },
        objectives=objectives,
        sampler=draw(st.sampled_from(["TPESampler", "RandomSampler"])),
        pruner="MedianPruner",
        trials=tuple(trials),
        importances=draw(st.sampled_from([{}, {"optimizer.learning_rate": 1.0, "network.depth": 0.0}])),
        best=tuple(draw(st.lists(st.sampled_from(numbers), max_size=2, unique=True))) if numbers else (),
    )


@st.composite
def tuned_values(draw):
    value = draw(st.sampled_from([None, 1e-5, 0.01]))
    return TunedValue(
        group="g",
        labels={"framework": draw(st.sampled_from(["keras", "lightning"]))},
        key="optimizer.learning_rate",
        value=value,
        score=None if value is None else draw(SCORES),
        metric="val/loss",
        n_trials=4,
        low=1e-5,
        high=0.1,
        at_edge=value == 1e-5,
    )


@st.composite
def baselines(draw, *, names):
    """What scores without a network, on the data of the runs or on others; its scores are finite."""
    return BaselineRecord(
        data=draw(st.sampled_from(["d", "d", "e"])),
        origin=draw(st.sampled_from(["digits", "others"])),
        loss=draw(st.sampled_from(["cross_entropy", "brier_score"])),
        name=draw(st.sampled_from(["majority class", "mean", "logistic regression"])),
        is_guess=draw(st.booleans()),
        n_examples=draw(st.sampled_from([None, 1500])),
        metrics={f"test/{name}": draw(SENSIBLE | st.sampled_from([-1e30, 1e200])) for name in names[:3]},
    )


@st.composite
def sweeps(draw, *, scores=SCORES):
    """Any sweep: any number of runs, seeds unequal per arm, scores that cannot be, a search that found nothing."""
    names = draw(st.sampled_from([CLASSIFICATION, CLASSIFICATION, REGRESSION]))
    is_answer = names is CLASSIFICATION
    of_sweep = tuple(draw(grids(names=names, scores=scores) | scattered(names=names, scores=scores)))
    factor = draw(st.sampled_from(["framework", "framework", "seed", "optimizer", "regularization.dropout"]))
    baseline = draw(st.sampled_from([None, "adam", "0"])) if factor not in ("framework", "seed") else None
    return SweepRecord(
        sweep_id="s",
        experiment="e",
        description="d",
        command="c",
        n_planned=draw(st.integers(len(of_sweep), len(of_sweep) + 2)),
        seeds=tuple(sorted({run.seed for run in of_sweep})) or (0,),
        margins={
            "accuracy": draw(st.sampled_from([0.01, 0.2, 5.0, None])) if is_answer else None,
            "loss": draw(st.sampled_from([0.02, 1e-30, None])),
            "time_ratio": 0.05,
        },
        runs=of_sweep,
        chance={
            "accuracy": draw(st.sampled_from([0.1, None])) if is_answer else None,
            "loss": draw(st.sampled_from([2.3, None, math.inf])),
        },
        comparison={"name": "x", "factor": factor, "baseline": baseline},
        trials=tuple(draw(scattered(names=names, scores=scores)))[:3],
        tuned_values=tuple(draw(st.lists(tuned_values(), max_size=2))),
        studies=tuple(draw(st.lists(studies(scores=scores), max_size=2))),
        class_names=tuple(f"class {number}" for number in range(draw(st.sampled_from([0, 1, 2, 300])))),
        looks=draw(st.integers(1, 2)),
        baselines=tuple(draw(st.lists(baselines(names=names), max_size=2))),
    )


def plain_run(framework, seed, *, labels=None, **scores):
    labels = {"framework": framework} | (labels or {})
    return RunRecord(
        run_id=f"{zlib.crc32(repr((framework, seed, labels)).encode()):x}",
        name=f"{' · '.join(labels.values())} · seed {seed}",
        fingerprint="f",
        framework=framework,
        seed=seed,
        outcome="finished",
        reason="",
        config={
            "framework": framework, "seed": seed, "choices": labels, "optimizer": {"kind": "adam"},
            "network": {"kind": "mlp"}, "schedule": {"kind": "constant"}, "regularization": {"dropout": 0.0},
            "training": {"batch_size": 32, "loss": "cross_entropy", "class_weights": None},
        },
        metrics={f"test/{name}": value for name, value in scores.items()},
        curves={},
        facts={"data": "d", "data_fingerprint": "d", "workers": "1"},
        labels=labels,
    )  # fmt: skip


def plain_sweep(runs, *, class_names=(), margin=0.01, factor="framework"):
    return SweepRecord(
        sweep_id="s", experiment="e", description="d", command="c", n_planned=len(runs),
        seeds=tuple(sorted({run.seed for run in runs})), runs=tuple(runs), class_names=class_names,
        margins={"accuracy": margin, "loss": 0.02, "time_ratio": 0.05}, chance={"accuracy": 0.1, "loss": 2.3},
        comparison={"name": "x", "factor": factor, "baseline": None},
    )  # fmt: skip


def plain_study(losses):
    """A study whose trials ended with these losses; all of them are among the best."""
    return StudyRecord(
        name="s", arm="keras", framework="keras", space={}, objectives=(("val/loss", "minimize"),),
        sampler="TPESampler", pruner="NopPruner", importances={}, best=tuple(range(len(losses))),
        trials=tuple(
            TrialRecord(number=number, state="COMPLETE", values={}, scores=(loss,), reported=((1, loss),), began=0.0,
                        ended=1.0, epochs=1, seconds=1.0, run_id="", reason="")
            for number, loss in enumerate(losses)
        ),
    )  # fmt: skip
