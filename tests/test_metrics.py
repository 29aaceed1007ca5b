"""One evaluator for all: against scikit-learn, and against numbers worked out by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from experiments import metrics
from experiments.records import RunRecord, SweepRecord
from experiments.report import files, tables
from experiments.report.analysis import analyse
from experiments.report.effects import dose_of


def drawn(seed=0, *, n=300, n_classes=5, shares=None, scale=3.0, silent=()):
    """Random logits and targets; classes in `silent` are never answered."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(n_classes, n, p=shares)
    logits = scale * rng.standard_normal((n, n_classes))
    logits[np.arange(n), targets] += scale / 2
    logits[:, list(silent)] = -20.0
    return logits.astype(np.float32), targets


CASES = {
    "even": drawn(),
    "uneven": drawn(1, shares=[0.8, 0.1, 0.05, 0.03, 0.02]),
    "a class that never occurs": drawn(2, shares=[0.5, 0.5, 0.0, 0.0, 0.0]),
    "a class that is never answered": drawn(3, silent=[4]),
    "neither": drawn(4, shares=[0.5, 0.3, 0.2, 0.0, 0.0], silent=[3, 4]),
    "one example": drawn(5, n=1),
    "two classes": drawn(6, n_classes=2),
    "sure and large": drawn(7, scale=1e4),
    "ties": (np.round(drawn(8)[0]), drawn(8)[1]),
    "nothing but ties": (np.zeros((30, 5), np.float32), drawn(9, n=30)[1]),
}
each_case = pytest.mark.parametrize(("logits", "targets"), list(CASES.values()), ids=list(CASES))


@each_case
def test_classification_is_scored_as_scikit_learn_does(logits, targets):
    found = metrics.evaluate(logits, targets, loss="cross_entropy")
    answers = logits.argmax(axis=1)
    averaged = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sklearn.accuracy_score(targets, answers),
        "balanced_accuracy": np.mean([np.mean(answers[targets == label] == label) for label in np.unique(targets)]),
        "macro_precision": sklearn.precision_score(targets, answers, **averaged),
        "macro_recall": sklearn.recall_score(targets, answers, **averaged),
        "macro_f1": sklearn.f1_score(targets, answers, **averaged),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name
    assert tuple(found) == metrics.names("cross_entropy")


@pytest.mark.parametrize("name", ["even", "uneven", "two classes", "a class that is never answered"])
def test_balanced_accuracy_is_scikit_learns(name):
    logits, targets = CASES[name]
    expected = sklearn.balanced_accuracy_score(targets, logits.argmax(axis=1))
    assert metrics.by_class(logits, targets)["balanced_accuracy"] == pytest.approx(expected, rel=1e-12)


def probabilities(logits):
    exact = logits.astype(np.float64)
    shares = np.exp(exact - exact.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["even", "uneven", "two classes", "a class that is never answered"])
def test_probabilities_are_scored_as_scikit_learn_does(name):
    logits, targets = CASES[name]
    labels = range(logits.shape[1])
    found = metrics.evaluate(logits, targets, loss="cross_entropy")
    log_loss = sklearn.log_loss(targets, probabilities(logits), labels=labels)
    brier = sklearn.brier_score_loss(targets, probabilities(logits), labels=labels, scale_by_half=False)
    assert found["loss"] == pytest.approx(log_loss, rel=1e-9)
    assert found["brier_score"] == pytest.approx(brier, rel=1e-9)


def test_precision_and_recall_are_not_each_other():
    """Four answers "0", of which two are right; class 1 answered once of three times."""
    answers, targets = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 1])
    found = metrics.by_class(np.eye(2)[answers], targets)
    assert found["macro_precision"] == pytest.approx((2 / 4 + 1 / 1) / 2)
    assert found["macro_recall"] == pytest.approx((2 / 2 + 1 / 3) / 2)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_calibration_error_of_a_hand_worked_example():
    """Confidence 0.9 four times, right three times; 0.6 twice, right once: (4 |0.75 - 0.9| + 2 |0.5 - 0.6|) / 6."""
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    logits = np.stack([np.log(confidence), np.log(1 - confidence)], axis=1)
    targets = np.array([0, 0, 0, 1, 0, 1])
    assert metrics.calibration_error(logits, targets) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


@each_case
def test_calibration_error_is_what_a_loop_over_bins_finds(logits, targets):
    chances = probabilities(logits)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == targets
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.calibration_error(logits, targets) == pytest.approx(expected, abs=1e-12)


def test_huge_logits_are_scored_without_a_nan():
    found = metrics.evaluate(np.array([[1e30, -1e30], [-1e30, 1e30]]), np.array([0, 1]), loss="cross_entropy")
    assert all(np.isfinite(value) for value in found.values())
    assert (found["loss"], found["accuracy"], found["brier_score"], found["calibration_error"]) == (0, 1, 0, 0)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regression_is_scored_as_scikit_learn_does(n_outputs):
    rng = np.random.default_rng(0)
    targets = rng.normal(3, 2, (50, n_outputs)).astype(np.float32)
    outputs = targets + rng.standard_normal((50, n_outputs)).astype(np.float32)
    found = metrics.evaluate(outputs, targets, loss="mean_squared_error", target_scale=10.0)
    exact = targets.astype(np.float64), outputs.astype(np.float64)
    assert found["loss"] == pytest.approx(sklearn.mean_squared_error(*exact))
    assert found["rmse"] == pytest.approx(10 * np.sqrt(sklearn.mean_squared_error(*exact)))
    assert found["mae"] == pytest.approx(10 * sklearn.mean_absolute_error(*exact))
    assert found["r2"] == pytest.approx(sklearn.r2_score(*exact))
    assert "skill" not in found


def test_skill_is_the_share_of_the_references_error_that_is_avoided():
    targets, outputs, reference = (np.array(each)[:, np.newaxis] for each in ([1.0, 2.0], [1.0, 3.0], [3.0, 4.0]))
    found = metrics.evaluate(outputs, targets, loss="mean_squared_error", reference=reference)
    assert found["skill"] == pytest.approx(1 - 0.5 / 4)
    worse = metrics.evaluate(reference, targets, loss="mean_squared_error", reference=outputs)
    assert worse["skill"] == pytest.approx(1 - 4 / 0.5)


def test_what_would_divide_by_zero_is_left_out():
    still = np.ones((4, 1))
    found = metrics.evaluate(still + 1, still, loss="mean_squared_error", reference=still)
    assert set(found) == {"loss", "rmse", "mae"}


@pytest.mark.parametrize("n", [3, 7, 1000])
def test_targets_that_do_not_vary_have_no_r2(n):
    """The variance of three times 0.1 rounds to 2e-34: an R2 of -5e33."""
    still, moving = np.full((n, 1), 0.1), np.arange(n)[:, np.newaxis]
    for targets in (still, np.hstack([still, moving])):
        assert "r2" not in metrics.evaluate(targets + 1, targets, loss="mean_squared_error")


@pytest.mark.parametrize("name", ["outputs", "reference"])
def test_what_numpy_would_broadcast_is_refused(name):
    targets = np.array([[1.0], [3.0]])
    arrays = {"outputs": targets, "reference": targets} | {name: targets[:, 0]}
    with pytest.raises(ValueError, match=rf"`{name}.shape == targets.shape` .* got \(2,\) and \(2, 1\)"):
        metrics.evaluate(arrays["outputs"], targets, loss="mean_squared_error", reference=arrays["reference"])


def test_calibration_counts_the_answers_that_accuracy_counts():
    """A lead of 1e-17 does not outlast the exponential: both chances are 1/2, but the answer is the second."""
    logits, targets = np.array([[0.0, 1e-17]] * 3 + [[1e-17, 0.0]]), np.array([1, 1, 1, 0])
    assert metrics.accuracy(logits, targets) == 1.0
    assert metrics.calibration_error(logits, targets) == pytest.approx(1.0 - 0.5)


def test_persistence_is_the_last_steps_first_feature():
    windows = np.arange(12.0).reshape(2, 3, 2)
    assert metrics.REFERENCES["persistence"](windows).tolist() == [[4.0], [10.0]]


@pytest.mark.parametrize("loss", list(metrics.LOSSES))
def test_every_loss_tells_the_scores_that_it_names(loss):
    logits, targets = drawn(n_classes=3)
    targets = targets if loss == "cross_entropy" else np.eye(3)[targets]
    assert set(metrics.names(loss)) <= set(metrics.evaluate(logits, targets, loss=loss))


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, "0.5"), (False, "0")])
def test_a_score_is_one_line(monkeypatch, tmp_path, higher_is_better, best):
    """Of a line of the table alone: evaluation, a column, a line in the CSV file, and the direction."""
    scores = {"0": 0.25, "0.1": 0.5, "0.5": 0.75}
    made_up = metrics.Metric(
        title="share of zeros",
        unit="%",
        factor=100.0,
        decimals=(1, 2),
        higher_is_better=higher_is_better,
        losses=("cross_entropy",),
        of=lambda given: float(np.mean(given.logits.argmax(axis=1) == 0)),
    )
    monkeypatch.setitem(metrics.METRICS, "zeros", made_up)
    logits = np.eye(2)[[0, 0, 0, 1]]
    assert metrics.evaluate(logits, np.array([0, 1, 0, 1]), loss="cross_entropy")["zeros"] == 0.75
    assert "zeros" in metrics.names("cross_entropy")
    assert "zeros" not in metrics.names("mean_squared_error")
    analysis = analyse(a_sweep(scores))
    table = tables.scores(analysis)
    assert table.head == ("arm", "accuracy, %", "loss", "share of zeros, %")
    assert [row[3] for row in table.rows] == ["25.0 ± 0.0", "50.0 ± 0.0", "75.0 ± 0.0"]
    files.write(analysis, tmp_path)
    rows = (tmp_path / "tables" / "results.csv").read_text().splitlines()
    assert [row for row in rows if "zeros" in row] == [
        f"keras · dropout {dose},test/zeros,3,0,{score},{score},{score}" for dose, score in scores.items()
    ]
    dose = dose_of(analysis.arms, factor="regularization.dropout", levels=list(scores), metric="test/zeros")
    assert f"best test zeros among those tried at dropout {best};" in dose.sentences[0]


def a_sweep(zeros):
    """Three seeds for each dose of dropout, whose runs kept that share of zeros."""
    runs = [
        RunRecord(
            run_id=f"{dose} {seed}",
            name=f"{dose} {seed}",
            fingerprint="f",
            framework="keras",
            seed=seed,
            outcome="finished",
            reason="",
            config={"framework": "keras", "seed": seed, "regularization": {"dropout": dose}},
            metrics={"test/accuracy": 0.9, "test/loss": 0.1, "test/zeros": share},
            curves={},
            facts={"workers": "1"},
            labels={"regularization.dropout": dose},
        )
        for dose, share in zeros.items()
        for seed in range(3)
    ]
    return SweepRecord(
        sweep_id="s",
        experiment="e",
        description="d",
        command="c",
        n_planned=len(runs),
        seeds=tuple(sorted({run.seed for run in runs})),
        margins={"accuracy": 0.01, "loss": 0.02, "time_ratio": 0.05},
        runs=tuple(runs),
    )
