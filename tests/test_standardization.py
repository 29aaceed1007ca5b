"""Features of any unit: standardized by the training part alone where they are far apart in size, and told."""

import json
import re
import shutil

import cases
import numpy as np
import pytest
from commands import command
from sklearn.datasets import load_wine
from test_custom import GREY, TOKENS, load, npz, pictures
from test_settings import job

import frameworks
from experiments import data
from experiments.data.spec import Standardization
from experiments.errors import SettingsError
from experiments.execution import worker
from experiments.execution.run import Finished, Run
from experiments.task.datasets import CustomData, as_once_stated, as_taken

RNG = np.random.default_rng(0)
N = 40
TABLE = RNG.standard_normal((N, 3))
Y = np.arange(N) % 2
X_PARTS = [f"x_{part}" for part in data.PARTS]


@pytest.fixture
def wine(tmp_path):
    """scikit-learn's 178 wines as a file: proline reaches 1,680, the nonflavanoid phenols 0.66."""
    x, y = load_wine(return_X_y=True)
    np.savez(tmp_path / "wine.npz", x_train=x, y_train=y)
    return tmp_path / "wine.npz"


def test_each_column_is_standardized_by_the_training_part_alone_and_it_is_said(wine):
    raw, loaded = load(wine, standardize=False), load(wine)
    x = raw.x_train.astype(np.float64)
    means, deviations = x.mean(axis=0), x.std(axis=0)
    for part in X_PARTS:
        np.testing.assert_array_equal(
            getattr(loaded, part), ((getattr(raw, part) - means) / deviations).astype(np.float32)
        )
    assert (loaded.standardization.means, loaded.standardization.deviations) == (tuple(means), tuple(deviations))
    assert np.abs(loaded.x_test.mean(axis=0)).max() > 0.01  # whose own mean is another
    (line,) = loaded.suspicions
    reaches = r"columns of x_train reach from 0\.\d+ to 1[56]\d\d in size"
    assert re.fullmatch(
        f"features were standardized, for {reaches}; data.standardize=false keeps them as they are", line
    )
    assert loaded.describe().startswith("your own arrays from wine.npz, 178 examples, standardized: ")
    (line,) = raw.suspicions
    assert re.match(f"{reaches}, and data.standardize is false: .*; data.standardize=true brings", line)
    assert (raw.standardization, "standardized" in raw.describe()) == (None, False)


def test_what_is_asked_for_is_done_without_a_word_and_is_the_same_data(wine):
    asked, auto, raw = (load(wine, standardize=how) for how in (True, "auto", False))
    assert asked.suspicions == ()
    assert asked.fingerprint == auto.fingerprint != raw.fingerprint
    for part in X_PARTS:
        np.testing.assert_array_equal(getattr(asked, part), getattr(auto, part))


@pytest.mark.parametrize(
    ("x", "is_far"),
    [
        (TABLE, False),
        (TABLE * [1, 5, 25], False),
        (TABLE * [1, 1, 1000], True),
        (TABLE * 300, True),
        (TABLE / 3000, True),
        (np.column_stack([TABLE, 2000 + 10 * TABLE[:, 0]]), True),  # years, whose deviation is 10
        (np.column_stack([TABLE, np.arange(N) == 7]), False),  # a rare 1, whose deviation is small
        (np.column_stack([TABLE, np.zeros(N)]), False),
        (np.column_stack([TABLE, np.full(N, 1e6)]), True),
        (np.zeros((N, 2)), False),
    ],
    ids=["ordinary", "within", "a unit", "large", "small", "years", "rare", "zeros", "a constant", "nothing"],
)
def test_left_open_only_features_far_apart_in_size_are_standardized(tmp_path, x, is_far):
    loaded = load(npz(tmp_path, x_train=x, y_train=Y))
    assert (loaded.standardization is not None) == is_far
    assert any("features were standardized" in line for line in loaded.suspicions) == is_far


def test_a_single_size_is_told_as_one(tmp_path):
    lines = load(npz(tmp_path, x_train=np.full((N, 1), 256.0), y_train=Y)).suspicions
    assert any(line.startswith("features were standardized, for x_train reaches 256;") for line in lines)


def test_a_column_that_never_changes_becomes_0_exactly(tmp_path):
    x = np.column_stack([TABLE, np.full(N, 0.1), np.full(N, 12345.678)])
    loaded = load(npz(tmp_path, x_train=x, y_train=Y), standardize=True)
    for part in X_PARTS:
        assert not getattr(loaded, part)[:, 3:].any()
    assert loaded.standardization.deviations[3:] == (1.0, 1.0)


def test_padding_counts_in_no_mean_and_stays_padding(tmp_path):
    x = RNG.standard_normal((N, 4, 2)) * [1, 1000] + [0, 5000]
    lengths = 1 + np.arange(N) % 4
    loaded = load(npz(tmp_path, x_train=x, y_train=Y, lengths_train=lengths))
    raw = load(npz(tmp_path, x_train=x, y_train=Y, lengths_train=lengths), standardize=False)
    steps = raw.x_train[raw.x_train.any(axis=2)].astype(np.float64)
    assert 0 < len(steps) < raw.x_train.size / 2
    assert loaded.standardization.means == tuple(steps.mean(axis=0))
    assert loaded.standardization.deviations == tuple(steps.std(axis=0))
    for part in X_PARTS:
        np.testing.assert_array_equal(getattr(loaded, part).any(axis=2), getattr(raw, part).any(axis=2))
    real = loaded.x_train[loaded.x_train.any(axis=2)]
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-6)  # float32's rounding
    np.testing.assert_allclose(real.std(axis=0), 1, atol=1e-6)


REFUSED = {
    "tokens": ({"x_train": TOKENS}, "`data.standardize is auto or false for tokens` must hold, but got True; leave"),
    "pictures": (
        {"x_train": np.full((10, 4, 5), 51, np.uint8)},
        "`data.standardize is auto or false for pictures` must hold, but got True; leave it out",
    ),
    "a step like the mean": (
        # The mean of 1, 2 and 3, of which every sequence consists, is 2.
        {"x_train": np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, np.newaxis], (10, 3, 1))},
        r"`no step of x_train has the mean of all .*padding` must hold, but x_train\[0, 1\] is 2.0; leave the example",
    ),
    "a test example out of reach": (
        {"x_train": np.arange(20).reshape(10, 2) * 1e-20, "x_test": np.full((2, 2), 1e30), "y_test": np.arange(2)},
        r"`standardized x_test is finite in float32` must hold, but x_test\[0, 0\] is inf; leave the example out",
    ),
    "nan": (
        {"x_train": np.where(np.arange(20).reshape(10, 2) == 3, np.nan, 1.0)},
        r"`x_train is finite in float32` must hold, but x_train\[1, 1\] is nan; replace",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_standardized_is_refused_with_the_place(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load(npz(tmp_path, **changes), standardize=True)


def test_a_folder_of_pictures_is_not_standardized(tmp_path):
    with pytest.raises(ValueError, match="data.standardize is auto or false for pictures"):
        load(pictures(tmp_path / "pets", GREY), standardize=True)


@pytest.mark.parametrize("arrays", [{"x_train": TOKENS * 1000}, {"x_train": np.full((10, 4, 5, 1), 300.0)}])
def test_left_open_tokens_and_pictures_stay_as_they_are(tmp_path, arrays):
    assert load(npz(tmp_path, **arrays)).standardization is None


def test_what_was_done_is_kept_with_the_prepared_data(wine, tmp_path):
    loaded = load(wine)
    path = data.write(loaded, tmp_path / "prepared")
    assert data.read(path).standardization == loaded.standardization
    raw = load(wine, standardize=False)
    path = data.write(raw, tmp_path / "prepared")
    assert data.read(path).standardization is None
    with np.load(path) as stored:  # as it was before there was such a setting: the same file
        assert set(json.loads(str(stored["facts"]))) == {"form", "origin", "fingerprint"}


def test_a_run_has_another_name_only_where_its_numbers_are_others(wine, tmp_path):
    def fingerprint(how, framework="numpy"):
        asked = job("experiment=custom", f"data.path={wine}", f"data.standardize={how}").task
        made = data.load(asked.data, cache=tmp_path)
        return Run(
            task=asked, framework=framework, seed=0, device="cpu", data_fingerprint=made.fingerprint,
            data_path=tmp_path, folder=tmp_path,
        ).fingerprint  # fmt: skip

    assert fingerprint("auto") == fingerprint("true") != fingerprint("false")


@pytest.mark.parametrize("typed", ["1", "yes", "null", "always"])
def test_another_word_is_refused_before_data_are_read(typed):
    with pytest.raises(SettingsError, match=r"data.standardize: unknown .* Available: auto, false, true"):
        job("experiment=custom", "data.path=x", f"data.standardize={typed}")
    with pytest.raises(ValueError, match="`standardize is auto, true or false` must hold, but got 'always'"):
        CustomData(path="x", image_size=None, test_fraction=0.2, validation_fraction=0.1, split_seed=0,
                   standardize="always")  # fmt: skip


def test_names_of_searches_and_arms_hold_it_only_where_it_is_set():
    stated = {"source": "custom", "path": "a.npz", "standardize": "auto"}
    without = {"source": "custom", "path": "a.npz"}
    assert as_once_stated(stated) == as_once_stated(without)
    assert as_taken(stated) == without
    assert as_taken(stated | {"standardize": True})["standardize"] is True


def trained(wine, folder, how):
    """Test accuracy of conf/experiment/custom.yaml on the wines, by the referee."""
    asked = cases.task("experiment=custom", f"data.path={wine}", f"data.standardize={how}", "training.epochs=10")
    made = data.load(asked.data, cache=folder)
    folder.mkdir()
    told = []
    run = Run(
        task=asked, framework="numpy", seed=0, device="cpu", data_fingerprint=made.fingerprint,
        data_path=data.write(made, folder / "prepared"), folder=folder,
    )  # fmt: skip
    worker.train(run, frameworks.load, told.append)
    assert isinstance(told[-1], Finished)
    beside = folder / "model" / "standardization.json"
    assert beside.exists() == (made.standardization is not None)
    if made.standardization:
        assert Standardization(**{key: tuple(each) for key, each in json.loads(beside.read_text()).items()}) == (
            made.standardization
        )
    return told[-1].metrics["test/accuracy"]


def test_wine_as_it_comes_is_learned(wine, tmp_path):
    """The share of the commonest of its three sorts is 40 %."""
    assert trained(wine, tmp_path / "auto", "auto") > 0.85
    assert trained(wine, tmp_path / "raw", "false") < 0.75


def test_both_frameworks_are_fed_the_same_features_and_the_screen_says_what_was_done(
    local, wine, tmp_path, cache, empty_database
):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    words = ["experiment=custom", "name=wine", "seed=0", "framework=numpy,lightning", "training.precision=float64"]
    done = command(*words, f"data.path={wine}", "training.epochs=3", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "Data, as meant? features were standardized, for columns of x_train reach from 0." in done.stdout
    (page,) = tmp_path.glob("outputs/wine/*/report/report.html")
    runs = json.loads((page.parent / "report.json").read_text())["runs"]
    losses = [run["metrics"]["test/loss"] for run in runs]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)  # float64, 15 steps
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("baseline: ")]
    assert re.fullmatch(r"baseline: majority class [34]\d\.\d\d %, logistic regression [89]\d\.\d\d %", line)
    assert "Without a network, on the same test set (exploratory)" in page.read_text()
    for made in (cache / "prepared").glob("*.json"):
        made.unlink()
    again = command(*words, f"data.path={wine}", "action=report", cwd=tmp_path, cache=cache)
    assert line in again.stdout.splitlines()
