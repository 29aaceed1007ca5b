"""What people type who know other programs: each gets the sentence that helps, with the words to type instead."""

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest
from cases import PROJECT
from commands import command

import run
from experiments import composer, composition, mistyped, synonyms
from experiments.errors import ExitCode, SettingsError
from experiments.job import Action, ExecutorSettings
from experiments.task import LossKind, Precision
from experiments.task.networks import Activation, Initialization
from experiments.task.search_space import Objective, PrunerName, SamplerName

CONF = PROJECT / "conf"
FRAMEWORKS = "Available: keras, keras_jax, keras_torch, lightning, numpy"
EXPERIMENTS = ", ".join(sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
WITHOUT_DASHES = "a setting is typed as KEY=VALUE, without dashes: "
ONE_WORD = "a setting and its value are one word, KEY=VALUE: "
NO_OPTION = "there is no such option; "
QUOTED = "what holds spaces is quoted for the shell: "
NO_EFFECT = "Hydra only composes configs here, so that this has no effect; "
TAKEN_APART = "the last one alone would count, and braces without quotes are taken apart by the shell; "
SAID = {
    "experiment=xor optimizer=sgd optimizer=adam": f"optimizer=sgd optimizer=adam: {TAKEN_APART}a run of each is asked "
    "for by optimizer=sgd,adam",
    "seed=0 seed=1,2 seed=0 framework=keras": f"seed=0 seed=1,2: {TAKEN_APART}a run of each is asked for by seed=0,1,2",
    "executor.environment=A:1 executor.environment=B:2": f"executor.environment=A:1 executor.environment=B:2: "
    f"{TAKEN_APART}together they are 'executor.environment={{A:1,B:2}}'",
    "--experiment=digits_mlp": f"--experiment=digits_mlp: {WITHOUT_DASHES}experiment=digits_mlp",
    "--experiment digits_mlp": f"--experiment digits_mlp: {WITHOUT_DASHES}experiment=digits_mlp",
    "--experiment": f"--experiment: {WITHOUT_DASHES}experiment=VALUE",
    "--exp digits_mlp": f"--exp digits_mlp: {WITHOUT_DASHES}experiment=digits_mlp",
    "experiment=xor --lr 0.1": f"--lr 0.1: {WITHOUT_DASHES}optimizer.learning_rate=0.1",
    "experiment=xor -lr=0.1": f"-lr=0.1: {WITHOUT_DASHES}optimizer.learning_rate=0.1",
    "experiment=xor --max-epochs=5": f"--max-epochs=5: {WITHOUT_DASHES}training.epochs=5",
    "experiment=xor --batch-size 32": f"--batch-size 32: {WITHOUT_DASHES}training.batch_size=32",
    "experiment=xor --optimizer.learning_rate 1": f"--optimizer.learning_rate 1: {WITHOUT_DASHES}"
    "optimizer.learning_rate=1",
    "experiment=xor --gpus 2": f"--gpus 2: {WITHOUT_DASHES}executor.devices=2",
    "--cuda experiment=xor": f"--cuda: {WITHOUT_DASHES}executor.device=VALUE",
    "--resume": f"--resume: {NO_OPTION}the same command goes on where it stopped, without a word for it",
    "--verbose": f"--verbose: {NO_OPTION}TANDEM_DEBUG=1 before the command shows the traceback of what goes wrong",
    "--config mine.yaml": f"--config mine.yaml: {NO_OPTION}a config of your own is an experiment: "
    "--config-dir FOLDER experiment=NAME",
    "--nope": "unrecognized arguments: --nope; --help names what can be typed",
    "experiment digits_mlp": f"experiment digits_mlp: {ONE_WORD}experiment=digits_mlp",
    "experiment = digits_mlp": f"experiment = digits_mlp: {ONE_WORD}experiment=digits_mlp",
    "experiment =digits_mlp": f"experiment =digits_mlp: {ONE_WORD}experiment=digits_mlp",
    "experiment= digits_mlp": "experiment= digits_mlp: a setting and its value are one word: experiment=digits_mlp",
    "experiment: digits_mlp": f"experiment: digits_mlp: {ONE_WORD}experiment=digits_mlp",
    "experiment=xor lr 0.1": f"lr 0.1: {ONE_WORD}optimizer.learning_rate=0.1",
    "digits_mlp": "'digits_mlp' must be KEY=VALUE; did you mean experiment=digits_mlp?",
    "digits_mpl": "'digits_mpl' must be KEY=VALUE; did you mean experiment=digits_mlp?",
    "experiment/xor.yaml": "'experiment/xor.yaml' must be KEY=VALUE; did you mean experiment=xor or data=xor?",
    "Adam experiment=xor": "'Adam' must be KEY=VALUE; did you mean optimizer=adam?",
    "experiment=xor parity": "'parity' must be KEY=VALUE; did you mean action=parity?",
    "experiment=xor certify": "'certify' must be KEY=VALUE; did you mean action=parity?",
    "experiment=xor seed": "'seed' must be KEY=VALUE; did you mean seed=VALUE?",
    "experiment=xor dropout": "'dropout' must be KEY=VALUE; did you mean comparison=dropout or regularization=dropout?",
    "experiment=xor gibberish": "'gibberish' must be KEY=VALUE; --help names what can be typed",
    "help": "'help' must be KEY=VALUE; --help names what can be typed",
    "version": "'version' must be KEY=VALUE; --version prints it, with those of the packages",
    "": f"`experiment` must be chosen: experiment=NAME, one of {EXPERIMENTS}; experiment=digits_mlp is a first try, "
    "and --help names what else can be typed",
    "optimizer=[sgd,adam]": "optimizer=[sgd,adam]: takes the name of one choice; a list of runs has no brackets: "
    "optimizer=sgd,adam",
    "optimizer=sgd,adam,": "optimizer=sgd,adam,: a comma stands between two values: optimizer=sgd,adam",
    "seed=0,,1": "seed=0,,1: a comma stands between two values: seed=0,1",
    "optimizer=sgd, adam": "optimizer=sgd, adam: a list is typed without spaces: optimizer=sgd,adam",
    "optimizer=sgd , adam , adamw seed=0": "optimizer=sgd , adam , adamw: a list is typed without spaces: "
    "optimizer=sgd,adam,adamw",
    "description=My first run": f"description=My first run: {QUOTED}'description=\"My first run\"'",
    "description=one, two": f"description=one, two: {QUOTED}'description=\"one, two\"'",
    "data.path=x.npz experiment xor": f"experiment xor: {ONE_WORD}experiment=xor",
    "data.path=x.npz mnist_cnn": "'mnist_cnn' must be KEY=VALUE; did you mean experiment=mnist_cnn?",
    "optimizer.matrices=[a, b]": f"optimizer.matrices=[a, b]: {QUOTED}'optimizer.matrices=[a, b]'",
    "hydra.sweeper.n_trials=20": f"hydra.sweeper.n_trials=20: {NO_EFFECT}"
    "a search is asked for with tuning=NAME, and tuning.trials=N says how long",
    "hydra.job.name=x": f"hydra.job.name=x: {NO_EFFECT}name=NAME names what is trained",
}
NO_SUCH = "there is no such setting; did you mean"
OF_A_CONFIG = {
    "optimizer.lr=0.1": f"optimizer.lr: {NO_SUCH} optimizer.learning_rate?",
    "lr=0.1": f"lr: {NO_SUCH} optimizer.learning_rate?",
    "learning_rate=0.1": f"learning_rate: {NO_SUCH} optimizer.learning_rate?",
    "optimizer.learnin_rate=0.1": f"optimizer.learnin_rate: {NO_SUCH} optimizer.learning_rate?",
    "training.lr=0.1": f"training.lr: {NO_SUCH} optimizer.learning_rate?",
    "batch=8": f"batch: {NO_SUCH} training.batch_size?",
    "batch_size=8": f"batch_size: {NO_SUCH} training.batch_size?",
    "epochs=3": f"epochs: {NO_SUCH} training.epochs?",
    "n_epochs=3": f"n_epochs: {NO_SUCH} training.epochs?",
    "trainer.max_epochs=3": f"trainer.max_epochs: {NO_SUCH} training.epochs?",
    "dropout=0.5": f"dropout: {NO_SUCH} regularization.dropout?",
    "network.dropout=0.5": f"network.dropout: {NO_SUCH} regularization.dropout?",
    "weight_decay=0.5": f"weight_decay: {NO_SUCH} optimizer.weight_decay or regularization.weight_decay?",
    "seeds=3": f"seeds: {NO_SUCH} seed?",
    "model=cnn": f"model: {NO_SUCH} network?",
    "dataset=digits": f"dataset: {NO_SUCH} data?",
    "gpus=1": f"gpus: {NO_SUCH} executor.devices?",
    "device=gpu": f"device: {NO_SUCH} executor.device?",
    "trainer.accelerator=gpu": f"trainer.accelerator: {NO_SUCH} executor.device?",
    "workers=2": f"workers: {NO_SUCH} executor.workers or tuning.workers?",
    "n_trials=5": f"n_trials: {NO_SUCH} tuning.trials?",
    "tuning.n_trials=5 tuning=lr_depth": f"tuning.n_trials: {NO_SUCH} tuning.trials?",
    "mlflow.tracking_uri=x": f"mlflow.tracking_uri: {NO_SUCH} tracking.uri?",
    "resume=true": "resume: there is no such setting; the same command goes on where it stopped, without a word for it",
    "optimizer.xyz=1": "optimizer.xyz: there is no such setting; see --cfg job --package optimizer",
    "xyz=1": "xyz: there is no such setting; see --cfg job",
    "framework=pytorch": f"framework: unknown 'pytorch'; did you mean lightning? {FRAMEWORKS}",
    "framework=torch,keras": f"framework: unknown 'torch'; did you mean lightning? {FRAMEWORKS}",
    "framework=pl": f"framework: unknown 'pl'; did you mean lightning? {FRAMEWORKS}",
    "framework=pytorch_lightning": f"framework: unknown 'pytorch_lightning'; did you mean lightning? {FRAMEWORKS}",
    "framework=tensorflow": f"framework: unknown 'tensorflow'; did you mean keras? {FRAMEWORKS}",
    "framework=tf": f"framework: unknown 'tf'; did you mean keras? {FRAMEWORKS}",
    "framework=jax": f"framework: unknown 'jax'; did you mean keras_jax? {FRAMEWORKS}",
    "framework=keras-torch": f"framework: unknown 'keras-torch'; did you mean keras_torch? {FRAMEWORKS}",
    "experiment=mnist": "experiment: unknown 'mnist'; did you mean mnist_cnn, mnist_mlp or "
    f"mnist_mlp_adam? Available: {EXPERIMENTS}",
    "experiment=mnist_cn": f"experiment: unknown 'mnist_cn'; did you mean mnist_cnn? Available: {EXPERIMENTS}",
    "tuning=optuna": "tuning: unknown 'optuna'; did you mean lr_depth? Available: learning_rate, lr_depth, none",
    "schedule=CosineAnnealingLR": "schedule: unknown 'CosineAnnealingLR'; did you mean cosine? Available: constant, "
    "cosine, exponential, polynomial, step, warmup",
    "training.precision=bf16": "training.precision: unknown 'bf16'; did you mean mixed_bfloat16? Available: float32, "
    "float64, mixed_bfloat16, mixed_float16",
    "training.loss=mse": "training.loss: unknown 'mse'; did you mean mean_squared_error? Available: "
    "binary_cross_entropy, brier_score, cross_entropy, mean_squared_error",
    "executor.device=cuda": "executor.device: unknown 'cuda'; did you mean gpu? Available: auto, cpu, gpu",
    "network.activation=ReLU": "network.activation: unknown 'ReLU'; did you mean relu? Available: gelu, leaky_relu, "
    "relu, sigmoid, tanh",
    "+optimizer.lr=0.1": "optimizer.lr: unknown 'lr' of kind adam; did you mean learning_rate? Available: amsgrad, "
    "beta1, beta2, epsilon, learning_rate",
    "regularization.dropout=[0,0.5]": "regularization.dropout: must be a number, but got [0, 0.5]; a list of runs has "
    "no brackets: regularization.dropout=0,0.5",
    "seed=0-4": "seed: must be a whole number, but got '0-4'; a run of each number is seed=range(0,5)",
    "~optimiser": "~optimiser: cannot be taken out, as it is not there; did you mean optimizer?",
}  # fmt: skip


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """`refused(*words)`: what a command line is refused with, before anything is printed, written or started."""
    monkeypatch.chdir(tmp_path)

    def sentence(*words):
        with pytest.raises(SettingsError) as told:
            run.jobs_from(["run.py", *words])
        assert told.value.exit_code == ExitCode.BAD_INPUT == 2
        assert list(tmp_path.glob("*.db")) == []
        assert capsys.readouterr().out == ""
        return str(told.value)

    return sentence


@pytest.mark.parametrize(("typed", "sentence"), SAID.items())
def test_what_nothing_reads_is_told_the_form_that_does(refused, typed, sentence):
    assert refused(*shlex.split(typed)) == sentence


@pytest.mark.parametrize("words", [("seed=0", "seed=0"), ("seed=0", "experiment=xor", "seed=1")])
def test_a_key_may_be_typed_again_later_and_the_same_twice(words):
    mistyped.refuse_repeats(words, one_value=())


@pytest.mark.parametrize(("typed", "sentence"), OF_A_CONFIG.items())
def test_the_word_of_another_program_is_told_ours(refused, typed, sentence):
    assert refused("experiment=digits_mlp", "seed=0", "name=x", *shlex.split(typed)) == sentence


def test_a_command_says_it_and_leaves_with_2(tmp_path, cache):
    done = command("--experiment=digits_mlp", cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"--experiment=digits_mlp: {WITHOUT_DASHES}experiment=digits_mlp\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "typed",
    [
        "--multi", "-m", "--mul", "-r --config-d .", "-cd . -c job", "-cjob", "-pseed -cjob", "-poptimizer --cfg=job",
        "--shell query=bash", "-sc install=bash", "--info=config", "--hydra-h",
    ],
)  # fmt: skip
def test_an_option_that_argparse_reads_is_left_to_it(typed):
    options = run.command_line.get_args_parser()._option_string_actions
    mistyped.refuse_dashes(shlex.split(typed), options=options, vocabulary=run.vocabulary())


TAKEN = "is chosen in conf/config.yaml already; another choice is `- override /"
DEFAULTS = {
    "/optimizer: sgd": f"defaults: `optimizer` {TAKEN}optimizer: NAME`",
    "/optimizer: adam": f"defaults: `optimizer` {TAKEN}optimizer: NAME`",
    "optimizer: sgd": f"experiment/mine.yaml: defaults: `optimizer` {TAKEN}optimizer: NAME`",
    "override optimizer: sgd": f"experiment/mine.yaml: defaults: `optimizer` {TAKEN}optimizer: NAME`",
    "/tuning: lr_depth": f"defaults: `tuning` {TAKEN}tuning: NAME`",
    "/comparison: optimizers": f"defaults: `comparison` {TAKEN}comparison: NAME`",
}


@pytest.fixture
def own(tmp_path):
    """`own(text, group)`: a file of that text in a folder of one's own, NAME of which is mine."""

    def written(text, *, group="experiment"):
        path = tmp_path / "own" / group / "mine.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


@pytest.mark.parametrize(("entry", "sentence"), DEFAULTS.items())
def test_a_forgotten_override_is_told(own, refused, entry, sentence):
    own(f"# @package _global_\ndefaults:\n  - /experiment/xor\n  - {entry}\nname: mine\n")
    assert refused("--config-dir", "own", "experiment=mine") == sentence


PACKAGE = "the line `# @package _global_`"


@pytest.mark.parametrize(
    ("group", "text", "sentence"),
    [
        (
            "experiment",
            "name: mine\n",
            f"1: an experiment must begin with {PACKAGE}, or its settings would stand below `experiment`",
        ),
        (
            "optimizer",
            "# mine\noptimizer: {kind: sgd}\n",
            "2: `optimizer` must not be stated again in a file that is read below it; put its settings at the margin, "
            f"or begin with {PACKAGE}",
        ),
    ],
)
def test_a_file_whose_settings_would_stand_elsewhere_is_told_its_first_line(own, refused, group, text, sentence):
    path = own(text, group=group)
    chosen = {"experiment": "xor"} | {group: "mine"}
    told = refused("--config-dir", "own", *(f"{key}={name}" for key, name in chosen.items()))
    assert told == f"{path}:{sentence}"


def test_synonyms_lead_to_what_there_is_and_stand_once():
    known = {*composition.groups_of([CONF]), *composition.known_keys([CONF])}
    words = [word for theirs in synonyms.SETTINGS.values() for word in theirs.split()]
    assert len(words) > 150
    assert sorted({word for word in words if words.count(word) > 1}) == []
    assert [key for key in synonyms.SETTINGS if key not in known] == []
    assert [word for word in words if word in known] == []  # which would be the key itself
    assert [word for word in words if word != synonyms.plain(word)] == []
    for ours, theirs in synonyms.SETTINGS.items():
        for word in theirs.split():
            assert synonyms.settings_meant(word if "." in word else f"any.{word}", known) == [ours]


WORDS = (  # of settings that take one of a few
    Action, LossKind, Precision, Activation, SamplerName, PrunerName, *get_type_hints(Initialization).values(),
    *get_type_hints(Objective).values(), *get_type_hints(ExecutorSettings).values(),
)  # fmt: skip


def test_choices_that_have_synonyms_are_choices():
    choices = {name for each in composition.groups_of([CONF]).values() for name in each}
    known = {*choices, *(str(word) for words in WORDS for word in get_args(words))}
    assert [ours for ours in synonyms.CHOICES if ours not in known] == []


def test_the_actions_are_those_of_a_job():
    assert get_args(Action) == mistyped.ACTIONS


def test_the_first_wrong_job_of_160_is_told_whole_and_no_other_is_composed(refused, monkeypatch):
    composed, compose = [], composer._JobComposer.compose
    monkeypatch.setattr(composer._JobComposer, "compose", lambda *given: composed.append(given) or compose(*given))
    axes = ("schedule=constant,cosine", "regularization=none,dropout", "training.epochs=range(1,41)", "framework=keras")
    told = refused("experiment=xor", "seed=0", *axes, "optimizer.learning_rate=-1", "training.batch_size=0")
    assert ["learning_rate" in told.splitlines()[0], "batch_size" in told.splitlines()[1]] == [True, True]
    assert len(composed) == 1


def test_help_fits_80_columns_and_names_what_can_be_done(tmp_path, cache):
    for typed in (["--help"], ["-h"], ["--help", "experiment=xor"]):
        told = command(*typed, cwd=tmp_path, cache=cache).stdout
        assert max(map(len, told.splitlines())) <= 80
        actions = ("action=train", "action=parity", "action=report", "action=doctor")
        named = (*actions, "tuning=", "comparison=", "tracking.uri=", "Tab")
        assert [word for word in named if word not in told] == []


def test_version_tells_those_of_all_packages_as_they_are_installed(tmp_path, cache):
    told = dict(line.split(" ", 1) for line in command("--version", cwd=tmp_path, cache=cache).stdout.splitlines())
    named = ("torch", "pytorch-lightning", "keras", "tensorflow", "mlflow", "optuna", "numpy")
    assert {name: told[name] for name in named} == {name: importlib.metadata.version(name) for name in named}
    assert told["tandem"] == re.search(r'^version = "(.*)"', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))


TAB = """
source {project}/docs/completion.bash
COMP_LINE={line}; COMP_POINT=${{#COMP_LINE}}
_tandem
printf "%s\\n" "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="completion is bash's")
def test_tab_completes_choices_and_starts_no_other_program(tmp_path):
    (tmp_path / "train.py").write_text(f"open({str(tmp_path / 'started')!r}, 'w')\n")

    def completed(script, typed):
        line = f"{sys.executable} {script} {typed}"
        code = TAB.format(project=PROJECT, line=shlex.quote(line))
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed(PROJECT / "run.py", "experiment=digits_mlp optimizer=ada") == [
        name for name in composition.groups_of([CONF])["optimizer"] if name.startswith("ada")
    ]
    assert completed("train.py", "optimizer=ada") == []
    assert not (tmp_path / "started").exists()
