"""Every file of conf/comparison is about an axis that it sweeps, and all it asks for can be trained."""

from functools import cache as remember

import pytest
from cases import PROJECT
from commands import command
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict

import frameworks
from experiments import errors, settings
from experiments.job import ComparisonSettings
from experiments.settings import labels_from
from experiments.task.search_space import INDEPENDENT

CONF = PROJECT / "conf"
COMPARISONS = sorted(path.stem for path in (CONF / "comparison").glob("*.yaml"))
TUNINGS = sorted(path.stem for path in (CONF / "tuning").glob("*.yaml") if path.stem != "none")
EXPERIMENTS = ("digits_mlp", "mnist_cnn")
NO_AXIS = ("framework", "seed")  # compared in every sweep, whatever else varies


@remember
def composed(*overrides):
    """The config and Hydra's part of it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    with open_dict(config):
        hydra = config.pop("hydra")
    return config, hydra


def job(*overrides):
    config, hydra = composed(*overrides)
    choices = dict(hydra.runtime.choices)
    return settings.job_from(config, frameworks=tuple(frameworks.FRAMEWORKS), choices=choices, overrides=overrides)


def axes(*overrides):
    """Key -> its values as Hydra's own sweeper expands them."""
    _, hydra = composed(*overrides)
    parser = OverridesParser.create()
    found = [parser.parse_override(f"{key}={value}") for key, value in hydra.sweeper.params.items()]
    return {
        each.get_key_element(): list(each.sweep_string_iterator()) if each.is_sweep_override() else [each.value()]
        for each in found
    }


def test_there_are_comparisons_and_searches():
    assert {"frameworks", "optimizers", "regularization", "dropout", "control", "speed"} <= set(COMPARISONS)
    assert {"learning_rate", "lr_depth"} <= set(TUNINGS)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_comparison_is_named_like_its_file_and_sweeps_its_factor(experiment, comparison):
    asked = job(f"experiment={experiment}", f"comparison={comparison}").comparison
    found = axes(f"experiment={experiment}", f"comparison={comparison}")
    assert asked.name == comparison
    assert len(found["seed"]) >= 3  # fewer give no interval
    assert found["framework"] == ["lightning", "keras"]
    if asked.factor not in NO_AXIS:
        assert len(found[asked.factor]) >= 2
    if asked.baseline is not None:
        assert asked.baseline in found[asked.factor]


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_value_of_a_comparison_is_a_valid_job_that_is_named_by_it(experiment, comparison):
    factor = job(f"experiment={experiment}", f"comparison={comparison}").comparison.factor
    values = axes(f"experiment={experiment}", f"comparison={comparison}")[factor]
    values = values[:2] if factor == "seed" else values  # one seed is like another
    jobs = [job(f"experiment={experiment}", f"comparison={comparison}", f"{factor}={value}") for value in values]
    assert len({(str(each.task), each.framework, each.seed, each.loop) for each in jobs}) == len(
        values
    )  # each asks for its own
    if factor != "seed":
        assert [each.labels[factor] for each in jobs] == values


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_search_has_a_seed_of_its_own_and_keys_of_every_task(experiment, comparison):
    typed = (f"experiment={experiment}", f"comparison={comparison}")
    asked = job(*typed)
    if asked.tuning is None:
        return
    found = axes(*typed)
    assert str(asked.tuning.seed) not in found["seed"]
    for value in found[asked.comparison.factor]:
        task = job(*typed, f"{asked.comparison.factor}={value}").task
        for key, dimension in asked.tuning.space.items():
            for end in dimension.ends():
                assert settings.with_values(task, {key: end}) is not None


def test_the_comparison_of_optimizers_tunes_the_learning_rate_of_each_and_reports_the_best_alone():
    asked = job("experiment=digits_mlp", "comparison=optimizers")
    assert list(asked.tuning.space) == ["optimizer.learning_rate"]
    assert asked.tuning.default is False  # two settings of each optimizer would not be one comparison
    assert asked.tuning.sampler.name in INDEPENDENT  # the same rates for all of them
    assert [each for each in COMPARISONS if job("experiment=digits_mlp", f"comparison={each}").tuning] == ["optimizers"]


def test_every_optimizers_usual_rate_lies_inside_the_search():
    """A search that stops short of a usual rate would find its edge; trial 0 is that rate."""
    typed = ("experiment=digits_mlp", "comparison=optimizers")
    dimension = job(*typed).tuning.space["optimizer.learning_rate"]
    for name in axes(*typed)["optimizer"]:
        usual = job(*typed, f"optimizer={name}").task.optimizer.learning_rate
        assert dimension.holds(usual), name
        assert not dimension.is_near_edge(usual), name


def test_the_seeds_of_control_search_and_reports_are_three_disjoint_sets():
    """statistics.md, section 0."""
    reports, controls, searches = set(), set(), set()
    for comparison in COMPARISONS:
        typed = ("experiment=digits_mlp", f"comparison={comparison}")
        asked = job(*typed)
        seeds = {int(seed) for seed in axes(*typed)["seed"]}
        (controls if asked.comparison.factor == "seed" else reports).update(seeds)
    for name in TUNINGS:
        searches.add(job("experiment=digits_mlp", f"tuning={name}").tuning.seed)
    assert min(map(len, (reports, controls, searches))) > 0
    assert len(reports | controls | searches) == len(reports) + len(controls) + len(searches)


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_search_of_conf_composes_and_is_named_like_its_file(experiment, tuning):
    asked = job(f"experiment={experiment}", f"tuning={tuning}").tuning
    assert asked.name == tuning
    assert asked.storage == "sqlite:///optuna.db"
    for key, dimension in asked.space.items():
        for end in dimension.ends():
            assert settings.with_values(job(f"experiment={experiment}").task, {key: end}) is not None


def test_a_range_of_seeds_is_what_hydra_says_it_is():
    assert axes("experiment=digits_mlp", "comparison=dropout")["seed"] == [str(seed) for seed in range(10)]
    control = axes("experiment=digits_mlp", "comparison=control")["seed"]
    assert control == [str(seed) for seed in range(2000, 2020)]  # an even number: halves


def test_a_plain_command_compares_frameworks():
    asked = job("experiment=digits_mlp")
    assert asked.tuning is None
    assert asked.comparison == ComparisonSettings(name="frameworks", factor="framework", baseline=None)


def test_a_factor_may_be_any_key_but_a_comparison_says_all_of_itself():
    with pytest.raises(errors.SettingsError, match=r"comparison\.factor: must be text, but got None"):
        job("experiment=digits_mlp", "comparison.factor=null")
    with pytest.raises(errors.SettingsError, match=r"comparison\.basline: unknown 'basline'; did you mean baseline\?"):
        job("experiment=digits_mlp", "+comparison.basline=x")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tuning.trials=0", r"tuning: `tuning\.trials >= 1` must hold, but got 0"),
        ("tuning.trials=1.5", r"tuning\.trials: must be a whole number, but got 1\.5"),
        ("tuning.seed=x", r"tuning\.seed: must be a whole number, but got 'x'"),
        ("tuning.sampler.name=TPE", r"tuning\.sampler\.name: unknown 'TPE'.* Available: CmaEsSampler, GPSampler"),
        ("tuning.pruner.name=Median", r"tuning\.pruner\.name: unknown 'Median'; did you mean MedianPruner\?"),
        (
            "tuning.objectives=[{metric:test/loss,direction:minimize}]",
            r"`objective metric of val/, train/, time/ or memory/` must hold, but got 'test/loss'; say val/loss",
        ),
        (
            "tuning.objectives=[{metric:val/loss,direction:down}]",
            r"tuning\.objectives\[0\]\.direction: unknown 'down'.* Available: maximize, minimize",
        ),
        (
            "tuning.space.optimizer.learning_rate.low=0",
            r"tuning\.space\.optimizer\.learning_rate: `low > 0 on a log scale` must hold, but got 0\.0; raise it",
        ),
        (
            "tuning.space.optimizer.learning_rate.low=2",
            r"tuning\.space\.optimizer\.learning_rate: `low < high` must hold, but got '2 and 1'; swap them",
        ),
        ("+tuning.trails=3", r"tuning\.trails: unknown 'trails'; did you mean trials\?"),
    ],
)
def test_a_search_that_says_too_little_or_looks_at_the_test_set_is_refused(override, message):
    with pytest.raises(errors.SettingsError, match=message):
        job("experiment=digits_mlp", "comparison=optimizers", override)


def test_a_person_can_keep_comparisons_in_a_folder_of_their_own(tmp_path, cache):
    (tmp_path / "conf" / "comparison").mkdir(parents=True)
    text = (CONF / "comparison" / "dropout.yaml").read_text().replace("name: dropout", "name: mine")
    (tmp_path / "conf" / "comparison" / "mine.yaml").write_text(text)
    asked = ("--config-dir", str(tmp_path / "conf"), "experiment=digits_mlp", "comparison=mine", "--cfg", "job")
    done = command(*asked, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "name: mine" in done.stdout
    assert "factor: regularization.dropout" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "labels"),
    [
        ([], {}),
        (["optimizer=nesterov"], {"optimizer": "nesterov"}),
        (["regularization.dropout=0.3", "network.depth=2"], {"regularization.dropout": "0.3", "network.depth": "2"}),
        (["+optimizer.foo=1", "++network.width=8"], {"optimizer.foo": "1", "network.width": "8"}),
        (["network.embedding={vocabulary:20,width:5}"], {"network.embedding": "{vocabulary:20,width:5}"}),
        (
            [
                "seed=3",
                "output=x",
                "comparison=dropout",
                "comparison.baseline=0",
                "tuning=lr_depth",
                "tuning.trials=3",
                "sweep=a",
                "action=report",
            ],
            {},
        ),
        (["executor.workers=1", "tracking.uri=x", "hydra.mode=RUN", "experiment=xor", "hydra/launcher=basic"], {}),
        (["margins.accuracy=0.01"], {"margins.accuracy": "0.01"}),
    ],
)
def test_labels_are_what_was_typed_about_the_task(overrides, labels):
    assert labels_from({}, overrides) == labels


def test_labels_hold_the_file_of_every_group_that_sets_runs_apart():
    found = job("experiment=digits_mlp", "optimizer=sgd", "framework=keras").labels
    assert found == {
        "data": "digits",
        "network": "mlp",
        "optimizer": "sgd",
        "schedule": "constant",
        "regularization": "none",
        "framework": "keras",
    }
    assert labels_from({"optimizer": None, "network": "cnn", "executor": "local"}, []) == {"network": "cnn"}
