"""Bad input gets one clear message and exit code 2, before any worker starts."""

import dataclasses

import numpy as np
import pytest
from cases import PROJECT
from commands import command
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

import frameworks
from experiments import data, settings
from experiments.errors import SettingsError
from experiments.execution.run import Run
from experiments.task.networks import CnnSettings
from experiments.task.optimizers import AdamSettings
from experiments.tuning.studies import arm_of

EXPERIMENTS = sorted(path.stem for path in (PROJECT / "conf" / "experiment").glob("*.yaml"))


def job(*overrides):
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    with open_dict(config):
        config.pop("hydra", None)
    return settings.job_from(config, frameworks=tuple(frameworks.FRAMEWORKS))


def test_there_are_experiments():
    assert {"mnist_cnn", "mnist_mlp", "fashion_mnist_cnn", "digits_mlp"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_states_every_number(experiment):
    assert job(f"experiment={experiment}").task.name == experiment


def test_mnist_cnn_is_what_the_readme_says():
    task = job("experiment=mnist_cnn").task
    assert isinstance(task.network, CnnSettings)
    assert task.network.widths == (32, 64)
    assert (task.network.dense_width, task.network.kernel_size, task.network.pool_size) == (128, 3, 2)
    assert task.optimizer == AdamSettings(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, amsgrad=False)
    assert (task.training.batch_size, task.training.epochs) == (64, 5)


def test_digits_mlp_has_64_64_32_10():
    assert job("experiment=digits_mlp").task.network.widths == (64, 32)


RANKS = {"dense1/kernel": 2, "dense1/bias": 1, "logits/kernel": 2, "conv1/kernel": 4}


def test_muon_takes_the_matrices_that_it_names_and_no_others():
    muon = job("experiment=digits_mlp", "optimizer=muon").task.optimizer
    assert muon.select(RANKS) == {"dense1/kernel"}
    wide = dataclasses.replace(muon, matrices=("dense1/*", "logits/kernel"))
    assert wide.select(dict.fromkeys(RANKS, 2)) == {"dense1/kernel", "dense1/bias", "logits/kernel"}


@pytest.mark.parametrize(
    ("matrices", "named"), [(["dense2/kernel"], r"\[\]"), (["*1/kernel"], r"\['conv1/kernel', 'dense1/kernel'\]")]
)
def test_muon_refuses_what_is_no_matrix(matrices, named):
    muon = job("experiment=digits_mlp", "optimizer=muon", f"optimizer.matrices={matrices}").task.optimizer
    with pytest.raises(ValueError, match=rf"`optimizer\.matrices` must name matrices, but .* names {named}"):
        muon.select(RANKS)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rate=abc", r"optimizer\.learning_rate: must be a number, but got 'abc'"),
        ("optimizer.learning_rate=-1", r"`learning_rate > 0` must hold, but got -1\.0; a common choice"),
        ("optimizer.learning_rate=nan", r"optimizer\.learning_rate: must be a finite number, but got nan"),
        ("training.batch_size=0", r"training: `batch_size >= 1` must hold, but got 0"),
        ("training.epochs=1.5", r"training\.epochs: must be a whole number, but got 1\.5"),
        ("training.epochs=true", r"training\.epochs: must be a whole number, but got True"),
        ("network.depth=9", r"`network\.depth <= 3` must hold, but got 9; images of 28x28 run out after 3 blocks"),
        ("network.depth=0", r"`depth >= 1` must hold, but got 0"),
        ("network.activation=rleu", r"unknown 'rleu'; did you mean relu\?"),
        ("regularization.dropout=1", r"`0 <= dropout < 1` must hold, but got 1\.0"),
        ("data.validation_fraction=0", r"`0 < validation_fraction < 1` must hold, but got 0\.0"),
        ("data.source=mnst", r"unknown 'mnst'; did you mean mnist\?"),
        ("seed=-1", r"`0 <= seed < 2\*\*32` must hold, but got -1"),
        ("executor.workers=0", r"`workers >= 1` must hold, but got 0"),
        ("executor.device=tpu", r"executor\.device: unknown 'tpu'.* Available: auto, cpu, gpu"),
        ("+optimizer.foo=1", r"optimizer\.foo: unknown 'foo' of kind adam\. Available: amsgrad, beta1"),
        ("+data.length=5", r"data\.length: unknown 'length' of source mnist\. Available: download, path, split_seed"),
        ("+data.image_size=[8,8]", r"data\.image_size: unknown 'image_size' of source mnist"),
        ("+optimiser.lr=1", r"unknown 'optimiser'; did you mean optimizer\?"),
        ("seed=4294967296", r"`0 <= seed < 2\*\*32` must hold, but got 4294967296"),
        ("regularization.l2=inf", r"regularization\.l2: must be a finite number, but got inf"),
        ("schedule.warmup_epochs=5", r"`schedule\.warmup_epochs < 5 epochs` must hold, but got 5\.0"),
        ("margins.accuracy=0.6", r"`0 < margins\.accuracy < 0\.1` must hold.*not per cent"),
        (
            "margins.accuracy=0.2",
            r"`0 < margins\.accuracy < 0\.1` must hold, but got 0\.2; .* 0\.2 percentage points are",
        ),
        ("margins.accuracy=0.1", r"`0 < margins\.accuracy < 0\.1` must hold, but got 0\.1"),
        ("margins.loss=2.5", r"`margins\.loss < 2\.30259` must hold, but got 2\.5; a run that guesses would be equiv"),
        (
            "margins.accuracy=null",
            r"`margins\.accuracy is a number with training\.loss=cross_entropy` must hold, but got None; state",
        ),
    ],
)
def test_a_bad_value_is_refused_with_rule_value_and_fix(override, message):
    with pytest.raises(SettingsError, match=message):
        job("experiment=mnist_cnn", override)


@pytest.mark.parametrize("key", ["margins.accuracy", "chance.accuracy"])
def test_values_have_no_accuracy(key):
    assert job("experiment=sunspots_lstm").task.margins.accuracy is None
    message = rf"`{key}=null with training\.loss=mean_squared_error` must hold, but got 0\.01; values have no accuracy"
    with pytest.raises(SettingsError, match=message):
        job("experiment=sunspots_lstm", f"{key}=0.01")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.length=null", r"data\.length: must be a whole number, but got None"),
        ("data.length=0", r"data: `length >= 1` must hold, but got 0"),
        ("data.vocabulary=2", r"data: `vocabulary >= 3` must hold, but got 2; two are taken"),
        ("data.split_seed=-1", r"data: `split_seed >= 0` must hold, but got -1"),
        ("+data.test_fraction=0.2", r"data\.test_fraction: unknown 'test_fraction' of source imdb; did you mean"),
    ],
)
def test_a_source_states_what_it_takes_and_nothing_else(override, message):
    with pytest.raises(SettingsError, match=message):
        job("experiment=imdb_lstm", override)


def test_an_image_size_is_height_and_width():
    with pytest.raises(SettingsError, match=r"data: `image_size <= 100,000,000 pixels` must hold, but got \(100000, 1"):
        job("experiment=custom", "data.path=x", "data.image_size=[100000,100000]")
    assert job("experiment=custom", "data.path=x", "data.image_size=[4,6]").task.data.image_size == (4, 6)
    for size in ("[4]", "[4,0]"):
        with pytest.raises(SettingsError, match=r"data: `image_size is \[height, width\]` must hold, but got \(4"):
            job("experiment=custom", "data.path=x", f"data.image_size={size}")


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["experiment=digits_mlp"], ("b6320c145078f00f", "5fa6dfb20deb50a7", "c9f8563c52171823")),
        (["experiment=vowels_lstm"], ("58804b8b85d2e6ef", "14919abfb8d3eedd", "101fba36284e9295")),
        (["experiment=xor"], ("29294eed2507c6e7", "35c050e7ca00acc9", "0a08215406eb5494")),
        (
            ["experiment=custom", "name=mine", "data.path=mine.npz"],
            ("56f2ea82fc8e6985", "766a80b3a5c1ddc2", "452d00a38b10c806"),
        ),
    ],
)
def test_data_runs_and_searches_have_the_names_that_commit_4aa4250_gave_them(tmp_path, monkeypatch, overrides, names):
    """But for the version of their results, nothing has given what was trained or begun since then another name."""
    monkeypatch.setattr("experiments.execution.run.RESULTS_VERSION", 1)
    monkeypatch.setattr("experiments.tuning.studies.RESULTS_VERSION", 1)
    monkeypatch.chdir(tmp_path)
    x = np.arange(1, 41, dtype=np.float64).reshape(20, 2)
    np.savez("mine.npz", x_train=x, y_train=np.arange(20) % 2)
    task = job(*overrides).task
    dataset = data.load(task.data, cache=tmp_path)
    run = Run(
        task=task, framework="lightning", seed=0, device="cpu", data_fingerprint=dataset.fingerprint,
        data_path=tmp_path, folder=tmp_path,
    )  # fmt: skip
    assert (dataset.fingerprint, run.fingerprint, arm_of(run)) == names


def test_all_problems_are_told_at_once():
    with pytest.raises(SettingsError) as told:
        job("experiment=mnist_cnn", "training.epochs=0", "regularization.dropout=2", "seed=x")
    assert len(str(told.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=nope"], "experiment: unknown 'nope'"),
        (["experiment=mnist_cn"], "did you mean mnist_cnn?"),
        ([], "`experiment` must be chosen"),
        (["experiment=mnist_cnn", "optimizer=adm"], "did you mean adam?"),
        (["experiment=mnist_cnn", "optimizer.learnin_rate=1"], "did you mean optimizer.learning_rate?"),
        (["experiment=mnist_cnn", "+optimizer.foo=1"], "unknown 'foo'"),
        (
            ["experiment=xor", "data.length=5"],
            "data.length: is no setting of what was chosen, but of data=imdb, data=sunspots; see --cfg job",
        ),
        (["experiment=xor", "+data.length=5"], "data.length: unknown 'length' of source xor. Available: none"),
        (["experiment=mnist_cnn", "hydra/launcher=joblib"], "set executor.workers=N"),
        (["experiment=mnist_cnn", "optimizer.learning_rate=0.1,abc"], "must be a number, but got 'abc'"),
        (["experiment=mnist_cnn", "executor.threads=1000"], "`executor.workers * executor.threads <="),
    ],
)
def test_the_command_refuses_with_exit_code_2_and_leaves_nothing(tmp_path, cache, arguments, message):
    done = command(*arguments, cwd=tmp_path, cache=cache)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_gpu_without_one_is_refused_before_anything_starts(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = command("experiment=digits_mlp", "executor.device=gpu", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "`executor.device=gpu` needs a GPU, but none is visible" in done.stderr


def test_help_names_the_experiments(tmp_path, cache):
    done = command("--help", cwd=tmp_path, cache=cache)
    assert done.returncode == 0
    assert "experiment: " in done.stdout
    assert "mnist_cnn" in done.stdout
