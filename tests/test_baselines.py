"""What scores without a network: by hand, once per dataset, kept with the sweep, and said beside the networks."""

import dataclasses
import io
import math

import cases
import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from test_custom import load, npz
from test_data import settings
from test_report import BOTH, run, sweep
from test_store import manifest, opened
from threadpoolctl import threadpool_info, threadpool_limits

from experiments import baselines, data
from experiments.fingerprint import plain
from experiments.records import BaselineRecord, merged
from experiments.report import page, tables
from experiments.report.analysis import analyse
from experiments.report.baselines import sentence

RNG = np.random.default_rng(0)
N = 40
TABLE = RNG.standard_normal((N, 3))


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    x, y = load_wine(return_X_y=True)
    return load(npz(tmp_path_factory.mktemp("wine"), x_train=x, y_train=y))


def kept(made, folder, *, console=None):
    return baselines.kept(
        made, loss="cross_entropy", folder=folder, console=console or Console(file=io.StringIO(), width=80)
    )


def names_of(found):
    return [each.name for each in found]


# By hand


def test_the_majority_class_has_its_share_and_the_entropy_of_all(tmp_path):
    tested = {"x_test": TABLE[:4], "y_test": np.array([0, 0, 1, 2])}
    y = np.repeat([0, 1, 2], [20, 12, 8])
    made = load(npz(tmp_path, x_train=TABLE, y_train=y, **tested))
    assert np.bincount(made.y_train).tolist() == [15, 9, 6]  # a quarter of each is for validation
    guess = baselines.of(made, loss="cross_entropy")[0]
    assert (guess.name, guess.is_guess, guess.n_examples) == ("majority class", True, None)
    assert guess.metrics["test/accuracy"] == 0.5
    by_hand = -(2 * math.log(15 / 30) + math.log(9 / 30) + math.log(6 / 30)) / 4
    assert guess.metrics["test/loss"] == pytest.approx(by_hand, rel=1e-12)


def test_a_class_that_nobody_has_seen_leaves_all_scores_finite(tmp_path):
    names = np.array(["a", "never", "b"])
    found = baselines.of(
        load(npz(tmp_path, x_train=TABLE, y_train=np.arange(N) % 2 * 2, class_names=names)), loss="cross_entropy"
    )
    assert names_of(found) == ["majority class", "logistic regression"]
    assert all(math.isfinite(score) for each in found for score in each.metrics.values())


def test_of_values_the_mean_is_guessed_and_a_line_is_found(tmp_path):
    y = TABLE @ np.array([[1.0, 0.0], [2.0, 1.0], [0.0, -1.0]]) + 7
    made = load(npz(tmp_path, x_train=TABLE, y_train=y))
    guess, ridge = baselines.of(made, loss="mean_squared_error")
    assert (guess.name, guess.is_guess, ridge.name, ridge.is_guess) == ("mean", True, "ridge regression", False)
    by_hand = np.mean((made.y_test - made.y_train.mean(axis=0, dtype=np.float64)) ** 2)
    assert guess.metrics["test/loss"] == pytest.approx(by_hand, rel=1e-12)
    x, x_test = ((each - made.x_train.mean(axis=0)) / made.x_train.std(axis=0) for each in (made.x_train, made.x_test))
    exact = Ridge(solver="cholesky").fit(x, made.y_train).predict(x_test)
    assert ridge.metrics["test/loss"] == pytest.approx(np.mean((exact - made.y_test) ** 2), rel=1e-2)  # lsqr: to 1e-4
    assert ridge.metrics["test/r2"] > 0.9 > guess.metrics["test/r2"]


def test_of_the_four_points_of_xor_half_are_right_whatever_is_answered(tmp_path):
    found = baselines.of(data.load(settings("xor"), cache=tmp_path), loss="brier_score")
    assert names_of(found) == ["majority class", "logistic regression"]
    assert [each.metrics["test/loss"] for each in found] == pytest.approx([0.25, 0.25])
    assert found[0].metrics["test/accuracy"] == 0.5


def test_a_forecast_is_a_baseline_of_its_own(tmp_path):
    found = baselines.of(data.load(settings("sunspots", length=12), cache=tmp_path), loss="mean_squared_error")
    assert names_of(found) == ["mean", "persistence"]
    assert found[1].metrics["test/skill"] == 0
    assert found[1].metrics["test/loss"] < found[0].metrics["test/loss"]


@pytest.mark.parametrize("kind", ["sequences", "tokens"])
def test_sequences_and_tokens_have_no_linear_model(kind):
    assert names_of(baselines.of(cases.dataset(kind), loss="cross_entropy")) == ["majority class"]


def test_several_values_or_shares_of_one_have_no_logistic_regression():
    made = cases.dataset("images", values=True)
    assert names_of(baselines.of(made, loss="binary_cross_entropy")) == ["majority class"]


def test_a_linear_model_learns_wine_and_digits(wine, digits):
    for made, least in ((wine, 0.85), (digits, 0.93)):
        guess, linear = baselines.of(made, loss="cross_entropy")
        assert linear.n_examples is None
        assert linear.metrics["test/accuracy"] > least > 2 * guess.metrics["test/accuracy"]


@pytest.mark.parametrize(("model", "loss"), [(LogisticRegression, "cross_entropy"), (Ridge, "mean_squared_error")])
def test_a_linear_model_takes_one_core(tmp_path, monkeypatch, model, loss):
    threads = []
    fit = model.fit

    def watched(self, *given):
        threads.extend(each["num_threads"] for each in threadpool_info())
        return fit(self, *given)

    monkeypatch.setattr(model, "fit", watched)
    y = np.arange(N) % 2 if loss == "cross_entropy" else TABLE[:, 0] / 2
    made = load(npz(tmp_path, x_train=TABLE, y_train=y))
    with threadpool_limits(2):
        assert len(baselines.of(made, loss=loss)) == 2
    assert set(threads) == {1}


def test_of_many_examples_some_of_each_class_are_taken_and_told(wine, monkeypatch):
    order = np.argsort(wine.y_train, kind="stable")
    by_class = dataclasses.replace(wine, x_train=wine.x_train[order], y_train=wine.y_train[order])
    n = len(order)
    monkeypatch.setattr(baselines, "FEWEST_EXAMPLES", 10)
    monkeypatch.setattr(baselines, "MOST_PRODUCTS", 30 * 13 * 3)
    linear = baselines.of(by_class, loss="cross_entropy")[1]
    assert linear.n_examples == 30
    assert linear.metrics["test/accuracy"] > 0.8
    monkeypatch.setattr(baselines, "MOST_PRODUCTS", n * 13 * 3)
    assert baselines.of(by_class, loss="cross_entropy")[1].n_examples is None
    monkeypatch.setattr(baselines, "MOST_PRODUCTS", 9 * 13 * 3)
    assert names_of(baselines.of(by_class, loss="cross_entropy")) == ["majority class"]


def test_a_test_example_beyond_float32_costs_the_linear_model_alone(tmp_path):
    tested = {"x_test": np.full((2, 3), 1e30), "y_test": np.arange(2)}
    made = load(npz(tmp_path, x_train=TABLE * 1e-20, y_train=np.arange(N) % 2, **tested), standardize=False)
    assert names_of(baselines.of(made, loss="cross_entropy")) == ["majority class"]


# Kept


def test_they_are_made_once_per_dataset_and_loss(wine, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        baselines, "of", lambda *given, was=baselines.of, **stated: made.append(stated) or was(*given, **stated)
    )
    first = kept(wine, tmp_path)
    assert len(first) == 2
    renamed = dataclasses.replace(wine, origin="renamed")
    again = kept(renamed, tmp_path)
    assert again == [dataclasses.replace(each, origin="renamed") for each in first]
    assert len(made) == 1
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:100])
    assert kept(wine, tmp_path) == first
    assert len(made) == 2
    other = dataclasses.replace(wine, spec=dataclasses.replace(wine.spec, class_names=("a", "b", "c", "d")))
    assert kept(other, tmp_path) != first
    assert len(made) == 3


def test_it_is_named_while_they_are_made_and_not_where_they_are_kept(wine, tmp_path):
    for said in ("Scoring the baselines ...\n", ""):
        console = Console(file=io.StringIO(), width=80)
        kept(wine, tmp_path, console=console)
        assert console.file.getvalue() == said


def test_where_they_cannot_be_kept_they_are_made_each_time(wine, tmp_path):
    (tmp_path / "file").touch()
    assert len(kept(wine, tmp_path / "file" / "x")) == 2


GUESS = BaselineRecord(
    data="", origin="here", loss="cross_entropy", name="majority class", is_guess=True, n_examples=None,
    metrics={"test/accuracy": 0.4, "test/loss": 1.0},
)  # fmt: skip
LINEAR = dataclasses.replace(
    GUESS, name="logistic regression", is_guess=False, n_examples=1500,
    metrics={"test/accuracy": 0.955, "test/loss": 0.2},
)  # fmt: skip


@pytest.mark.parametrize("which", ["store", "memory_store"])
def test_a_sweep_has_them_back_from_the_store(request, which):
    store = request.getfixturevalue(which)
    sweep_id = opened(store, store.experiment("e", description=""))
    store.write_sweep(sweep_id, manifest(baselines=plain([GUESS, LINEAR])))
    assert store.reader.read_sweep(sweep_id).baselines == (GUESS, LINEAR)
    store.write_sweep(sweep_id, manifest())  # of an earlier checkout
    assert store.reader.read_sweep(sweep_id).baselines == ()


def test_sweeps_that_are_reported_together_have_those_of_all():
    other = dataclasses.replace(LINEAR, data="other")
    records = [with_baselines(GUESS, LINEAR), with_baselines(GUESS, other)]
    assert merged(records, sweep_id="both").baselines == (GUESS, LINEAR, other)


# Said


def with_baselines(*given, runs=BOTH):
    return dataclasses.replace(sweep(*runs), baselines=given)


def test_they_are_said_in_one_line_with_the_examples_where_not_all_were_taken():
    said = sentence(with_baselines(GUESS, LINEAR), metric="test/accuracy")
    assert said == "baseline: majority class 40.00 %, logistic regression 95.50 % (fit on 1,500 examples)"
    assert sentence(with_baselines(), metric="test/accuracy") == ""
    again = dataclasses.replace(GUESS, loss="brier_score")
    assert sentence(with_baselines(GUESS, again), metric="test/accuracy") == "baseline: majority class 40.00 %"
    there = dataclasses.replace(GUESS, data="d", origin="there", metrics={"test/accuracy": 0.5})
    assert sentence(with_baselines(GUESS, there), metric="test/accuracy") == (
        "baseline on here: majority class 40.00 %; baseline on there: majority class 50.00 %"
    )


@pytest.mark.parametrize(("of_guess", "warned"), [(0.4, []), (0.9601, ["lightning"]), (0.9604, ["keras", "lightning"])])
def test_an_arm_that_is_no_better_than_the_guess_is_stamped(of_guess, warned):
    """The means of both are 0.96033 (keras) and 0.96 (lightning)."""
    guess = dataclasses.replace(GUESS, metrics={"test/accuracy": of_guess})
    stamps = [each for each in page.stamps_of(analyse(with_baselines(guess, LINEAR))) if "whatever the input" in each]
    assert [each.partition(":")[0] for each in stamps] == warned


def test_a_mean_is_beaten_by_a_lower_loss():
    runs = [
        dataclasses.replace(each, metrics={"test/loss": each.metrics["test/loss"]}) for each in BOTH
    ]  # 0.04 on average
    for loss, n_warned in ((0.05, 0), (0.03, 2)):
        guess = dataclasses.replace(GUESS, name="mean", metrics={"test/loss": loss})
        stamps = page.stamps_of(analyse(with_baselines(guess, runs=runs)))
        assert sum("no better than answering the mean whatever the input" in each for each in stamps) == n_warned


def test_arms_on_other_data_or_with_another_loss_are_not_held_against_it():
    guess = dataclasses.replace(GUESS, metrics={"test/accuracy": 1.0})
    for other in (dataclasses.replace(guess, data="other"), dataclasses.replace(guess, loss="brier_score")):
        assert not any("whatever the input" in each for each in page.stamps_of(analyse(with_baselines(other))))


@pytest.mark.parametrize(("of_linear", "is_said"), [(0.955, False), (0.9602, False), (0.9604, True)])
def test_a_network_that_a_line_beats_is_told(of_linear, is_said):
    """The best mean is keras' 0.96033."""
    linear = dataclasses.replace(LINEAR, metrics={"test/accuracy": of_linear})
    stamps = page.stamps_of(analyse(with_baselines(GUESS, linear)))
    said = [each for each in stamps if "without a network" in each]
    assert said == (
        ["logistic regression, without a network, scores 96.04 %: better than every network here, of which keras is "
         "the best with 96.03 %"] * is_said
    )  # fmt: skip
    elsewhere = dataclasses.replace(linear, data="other")
    assert not any("without a network" in each for each in page.stamps_of(analyse(with_baselines(elsewhere))))


def test_the_report_has_a_row_for_each_and_none_without():
    table = tables.baselines(analyse(with_baselines(GUESS, LINEAR)))
    assert table.title == "Without a network, on the same test set (exploratory)"
    assert table.head[:3] == ("baseline", "data", "fit on")
    assert table.rows == (
        ("majority class", "here", "all", "40.00", "1.0000"),
        ("logistic regression", "here", "1500", "95.50", "0.2000"),
    )
    assert tables.baselines(analyse(sweep(run("keras", 0)))) is None
