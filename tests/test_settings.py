"""Bad input gets one clear message and exit code 2, before any worker starts."""

import dataclasses

import pytest
from cases import PROJECT
from commands import command
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

import frameworks
from experiments import settings
from experiments.errors import SettingsError
from experiments.task.networks import CnnSettings
from experiments.task.optimizers import AdamSettings

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
        ("+optimizer.foo=1", r"optimizer\.unknown 'foo'|optimizer\.foo"),
        ("+optimiser.lr=1", r"unknown 'optimiser'; did you mean optimizer\?"),
        ("seed=4294967296", r"`0 <= seed < 2\*\*32` must hold, but got 4294967296"),
        ("regularization.l2=inf", r"regularization\.l2: must be a finite number, but got inf"),
        ("schedule.warmup_epochs=5", r"`schedule\.warmup_epochs < 5 epochs` must hold, but got 5\.0"),
        ("margins.accuracy=0.6", r"`0 < margins\.accuracy < 0\.5` must hold.*not per cent"),
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
