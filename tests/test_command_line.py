"""What is typed: read as it was meant, or refused with the form that works; nothing of it makes nothing happen."""

import dataclasses
import re
import shlex

import pytest
import yaml
from commands import command, refuse_to_start
from conftest import EXECUTOR

import run
from experiments import command_line, settings
from experiments.errors import SettingsError
from experiments.fingerprint import file_name
from experiments.task.search_space import Dimension

ODD_PATHS = (
    "~/x.npz", "/tmp/data (1).npz", "/tmp/Größe.npz", "/tmp/a=b.npz", "/tmp/a?b%20c.npz", "/tmp/a:b.npz",
    "/tmp/{a}.npz", "/tmp/a b  c.npz", "C:\\Users\\me\\x (1).npz", "-x.npz", "*.npz", "[1].npz",
    "/tmp/it's.npz", '/tmp/"x".npz',
    "a(1)", "/tmp/line\nbreak.npz", "/tmp/back\\", "/tmp/back (1)\\", "/tmp/a;b&c|d#e!f.npz",
    "🚀 (2)", "2024", "true", "1e3", "{a}",
)  # fmt: skip


def read(*words):
    return command_line.read(words, vocabulary=run.vocabulary())


@pytest.mark.parametrize("key", ["data.path", "tracking.uri"])
@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_key_that_takes_text_takes_what_was_typed(key, path):
    assert read(f"{key}={path}").last(key) == path
    assert read(*read(f"{key}={path}").words).words == read(f"{key}={path}").words


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data.path=a,b", None),
        ("data.path='a b'", "a b"),
        ('data.path="~/x"', "~/x"),
        ("data.path=null", "None"),
        ("data.path=a\\ b", "a b"),
        ("name=str(3)", "3"),
        ("seed=1_000", "1000"),
        ("network.activation=relu", "relu"),
    ],
)
def test_a_line_that_hydra_reads_keeps_its_meaning(word, value):
    line = read(word)
    assert line.words == (word,)
    assert value is None or line.last(word.partition("=")[0]) == value


@pytest.mark.parametrize(
    "word",
    ["seed=~1", "seed=(1)", "training.epochs=größe", "tuning.space={a", "seed=[0,1", "regularization.exclude=a=b"],
)
def test_another_key_is_told_the_quoted_form_that_works(word):
    with pytest.raises(SettingsError, match=r"cannot be read.*: '[^ ]+'$") as told:
        read(word)
    (form,) = shlex.split(str(told.value).rsplit("shell: ", 1)[1])
    key, _, value = word.partition("=")
    assert read(form).last(key) == value


def test_a_comma_in_a_text_of_which_there_is_one_is_told_the_quoted_form_that_works(tmp_path):
    (tmp_path / "a,b.npz").touch()
    for word in ("name=a,b", "description=one, two", "output=/tmp/a,b", f"data.path={tmp_path}/a,b.npz"):
        with pytest.raises(SettingsError, match="a comma makes a list of it; as one text it is quoted: ") as told:
            read(word)
        (form,) = shlex.split(str(told.value).rsplit("quoted: ", 1)[1])
        assert read(form).last(word.partition("=")[0]) == word.partition("=")[2]


REFUSED = {
    "hydra/sweeper=optuna": "hydra/sweeper=optuna: .*has no effect; a search is asked for with tuning=NAME, such as",
    "hydra/sweeper=ax": "asked for with tuning=NAME",
    "hydra/launcher=joblib": "hydra/launcher=joblib: .*has no effect; .*set executor.workers=N",
    "hydra/launcher=submitit_local": "set executor.workers=N",
    "hydra/launcher=ray": "set executor.workers=N",
    "hydra/job_logging=default": "each run has a log below `output`, and TANDEM_DEBUG=1",
    "hydra.job.chdir=true": r"hydra\.job\.chdir=true: .*goes to output=FOLDER",
    "hydra.run.dir=/x": "goes to output=FOLDER",
    "hydra.sweep.dir=/x": "goes to output=FOLDER",
    "hydra.output_subdir=x": "goes to output=FOLDER",
    "hydra.job.num=3": "has no effect; leave it out",
    "hydra.sweeper._target_=os.getcwd": "has no effect",
    "+hydra.callbacks.a._target_=os.getcwd": "has no effect",
    "+hydra.job.env_set.A=1": "executor.environment={NAME: value} gives workers a variable",
    "hydra.mode=FOO": "hydra.mode: unknown 'FOO'. Available: MULTIRUN, RUN",
    "hydra.searchpath=[file:///nope]": "'file:///nope' must be a folder",
    "hydra.sweeper.params.seed=0,1": "an axis is typed as it is, such as seed=0,1",
    "seed=0,1 hydra.mode=RUN": "hydra.mode=RUN takes one config, and this is a list; give one of its values, seed=0",
    "seed=0,1 -r": "hydra.mode=RUN takes one config",
    "seed=5,6 --cfg job": "seed=5,6: --cfg takes one config, and this is a list; give one of its values, seed=5, or",
    "seed=range(3) --info config": "seed=range.3.: --info takes one config.* seed=0",
    "--cfg job -m": "--cfg and --multirun cannot be given together",
    "--resolve": "--resolve belongs to --cfg",
    "--package optimizer": "--package belongs to --cfg",
    "--cfg nope": "invalid choice: 'nope'",
    "--nope": "unrecognized arguments: --nope",
    "--shell-completion": "as in --shell-completion install=bash",
    "--experimental-rerun x.pickle": "--experimental-rerun: .*pickle",
    "--config-name x": "--config-name: .*--config-dir FOLDER experiment=NAME",
    "--config-path x": "--config-path: .*--config-dir FOLDER",
    "--config-dir nowhere": "--config-dir nowhere: must be a folder",
    "seed=range(0)": r"seed=range\(0\): is a list of no values",
    "seed=range(3,0)": "is a list of no values",
    "seed=range(0,1,0)": "seed=range.* is no list",
    "seed=glob(*)": "seed=glob.* matches nothing",
    "seed=interval(0,1)": "a search is asked for with tuning=NAME",
    "seed=range(100000000000)": "ask for more than 10000 runs",
    "seed=range(200) training.epochs=range(1,200)": "ask for more than 10000 runs",
    "seed": "'seed' must be KEY=VALUE",
    "mnist_cnn": "did you mean experiment=mnist_cnn",
    "=3": "must be KEY=VALUE, but '' cannot be a key",
    "größe=3": "'größe' cannot be a key",
    "tuned=x": r"added with a plus: \+tuned=x",
    "optimizer=3": "optimizer: unknown '3'",
    "optimizer=größe": "optimizer: unknown 'größe'",
    "optimizer=[adam,sgd]": "takes the name of one choice; a list of runs has no brackets: optimizer=adam,sgd",
    "optimizer=null": "takes the name of one choice; one of adadelta, adafactor, ",
    "+seed=1": r"\+seed: is there already; leave the plus out to change it: seed=VALUE",
    "+optimizer=sgd": r"\+optimizer: is chosen already; leave the plus out to choose another: optimizer=sgd",
    "++experiment=xor": "is chosen already",
    "hydra.verbose=3": "hydra.verbose: must be true or false, but got '3'",
    "--help seed=1,2": "seed=1,2: --help takes one config",
    "tuning.trials=3": "tuning.trials: is no setting of what was chosen, but of .*tuning=lr_depth",
    "~nope": "~nope: cannot be taken out, as it is not there",
    "~sed": "~sed: .* did you mean seed",
    "~optimizer": "optimizer: is missing",
    "tunning=lr_depth": "tunning: there is no such setting; did you mean tuning",
    "tuning.sampler.options.x=1 tuning=lr_depth": r"a plus adds it: \+tuning.sampler.options.x=VALUE",
    "tuning=lr_depth tuning.space=[]": "tuning.space=\\[\\]: Cannot merge",
    "optimizer.kind=[a]": r"optimizer.kind: unknown \['a'\]",
    "optimizer.learning_rate=1" + "0" * 400: "optimizer.learning_rate: must be a finite number",
    "network={a: 1}": "network.a: there is no such setting",
    "comparison.factor=nope": "comparison.factor: unknown 'nope'",
    "output=": "output: must name a folder",
    "tracking.uri=": "tracking.uri names a store",
    "name=": "name: must have 1 to 200 characters",
    "name=" + "x" * 20_000: "name: must have 1 to 200 characters, not all of them spaces, but has 20000",
    "executor.environment={A: 1}": "executor.environment.A: must be text, but got 1; in quotes it is text: \"1\"",
    "data.path=??? experiment=custom": r"data.path: must be stated, but is '\?\?\?'",
    "seed=???": r"seed: must be stated, but is '\?\?\?'",
    "description=${oc.env:HOME}": r"description: `\$\{oc.env:...\}` cannot stand in a setting",
    "data.path=${oc.env:NOPE} experiment=custom": "data.path: .*let the shell fill it in",
    "name=${hydra:job.num}": r"name: `\$\{hydra:...\}` cannot stand",
    "name=${now:%Y}": "name: .*times pass",
    "name=${oc.${action}:HOME}": "name: .*cannot stand",
    "name=${nope}": "name: Interpolation key 'nope' not found",
    "name=${description} description=${name}": "(name|description): Recursive interpolation detected",
    "name=${": "name=",
    "+optimizer._target_=os.system": "optimizer._target_: unknown '_target_' of kind adam",
    "action=foo": "action: unknown 'foo'. Available: doctor, parity, report, train",
}  # fmt: skip


@pytest.mark.parametrize(("typed", "sentence"), REFUSED.items())
def test_what_would_make_nothing_happen_is_refused_with_what_does(tmp_path, cache, monkeypatch, typed, sentence):
    """With one seed and one framework each, so that two jobs are composed at most."""
    refuse_to_start(monkeypatch)
    words = shlex.split(typed) if "{" not in typed else re.split(r" (?=\w+=)", typed)
    few = [] if re.search(r"seed|framework|-[a-z-]+|mode", typed) else ["hydra.mode=RUN"]
    done = command("experiment=digits_mlp", *few, *words, cwd=tmp_path, cache=cache)
    assert done.returncode == 2, done.stdout
    assert re.search(sentence, done.stderr), done.stderr
    assert "Traceback" not in done.stderr or "verbose" in typed


def test_options_stand_anywhere_and_the_last_of_a_key_counts(tmp_path, cache):
    typed = ("experiment=xor", "--cfg", "job", "seed=1", "experiment=digits_mlp", "-p", "seed", "--", "seed=2")
    assert command(*typed, cwd=tmp_path, cache=cache).stdout == "2\n"
    typed = ("--cfg", "job", "experiment=digits_mlp", "--package", "optimizer")
    assert yaml.safe_load(command(*typed, cwd=tmp_path, cache=cache).stdout)["kind"] == "adam"
    assert command(*typed[:-1], "nope", cwd=tmp_path, cache=cache).returncode == 2
    for typed in (("--hydra-help",), ("--version",), ("--info", "searchpath"), ("--cfg", "job", "--resolve")):
        assert command(*typed, cwd=tmp_path, cache=cache).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_workers_variables_can_be_typed():
    line = read("executor.environment={MY_FLAG: on}", "executor.environment.OTHER=a=b (1)", "executor.environment={}")
    assert [each.value() for each in line.overrides] == [{"MY_FLAG": "on"}, "a=b (1)", {}]
    assert all(word.startswith("++executor.environment") for word in line.words)


def test_a_variable_that_cannot_be_one_is_refused():
    with pytest.raises(
        ValueError, match=r"`names of variables that are not empty and hold no =` must hold, but got \['A=B'\]"
    ):
        dataclasses.replace(EXECUTOR, environment={"A=B": "x", "C": "d"})


def test_what_is_typed_is_utf8():
    with pytest.raises(SettingsError, match="must be UTF-8"):
        read("name=\udcff")


def test_every_text_of_the_settings_is_known_as_one():
    found = settings.text_keys()
    assert {"name", "description", "output", "sweep", "data.path", "tracking.uri", "tuning.storage"} <= found
    assert not found & {"seed", "optimizer.kind", "executor.device", "regularization.exclude", "data.source"}


HEAD = "# @package _global_\ndefaults: [/experiment/digits_mlp, {override /framework: numpy}, _self_]\nname: tiny\n"
ALIASES = "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)
FILES = {
    "training: {epochs: 1\n": ":5: must be YAML, but: ",
    "seed: 1\nseed: 2\n": ":5: must be YAML, but: found duplicate key seed",
    "seed: !!python/object:os.system {}\n": ":4: must be YAML, but: could not determine a constructor",
    "seed: !!set {a, b}\n": ": must hold settings, but: ",
    f"a: &a [x,x,x,x,x,x,x,x,x,x]\n{ALIASES}": r":\d+: must hold at most 10000 values, 30 deep, with its aliases",
    "a: &a\n  b: *a\n": r":\d+: must hold at most 10000 values, 30 deep",
    f"a: {'[' * 40}{']' * 40}\n": r":\d+: must hold at most 10000 values, 30 deep",
    f"a: {'[' * 3000}{']' * 3000}\n": ": must be YAML, but: maximum recursion",
    f"a: {'y' * 1_000_000}\n": ": must be a file of settings, but has more than 1000000 bytes",
    "a: \udcff\n": ": must be a file of settings in UTF-8",
    "optimizer: {_target_: os.system}\n": ":4: optimizer._target_: a class to call cannot be stated",
    "hydra: {callbacks: {a: {_target_: os.getcwd}}}\n": ":4: hydra.callbacks.a._target_: a class to call",
    "hydra: {run: {dir: /tmp/x}}\n": ":4: hydra.run.dir: .*goes to output=FOLDER",
    "hydra: 3\n": ":4: hydra: .*has no effect",
    "hydra: {sweeper: {params: {seed: '((('}}}\n": ":4: hydra.sweeper.params.seed: must be as it is typed",
    "hydra: {sweeper: {params: {seed: [0, 1]}}}\n": ":4: hydra.sweeper.params.seed: must be as it is typed",
    "description: ${oc.env:HOME}\n": r":4: description: `\$\{oc.env:...\}` cannot stand in a setting",
    "description: ${nope}\n": "description: Interpolation key 'nope' not found",
    "optimizer: [1, 2]\n": "In 'experiment/tiny': .* Cannot merge DictConfig with ListConfig",
    "optimizer: 3\n": "optimizer.kind: unknown 3",
    "training: null\n": "training: must be a group of settings, but got None",
    "training: {epochs: {a: 1}}\n": "training.epochs: must be a whole number, but got {'a': 1}",
    "regularization: {clip: {kind: [norm]}}\n": r"regularization.clip.kind: unknown \['norm'\]",
    "3: 4\n": "unknown 3. Available: action",
}
WHOLE_FILES = {
    "- a\n": ":1: must be settings, `KEY: value`",
    "": "name: is missing",
    "name: x\n": ":1: an experiment must begin with the line `# @package _global_`",
    "# @package hydra.callbacks\na: {_target_: x}\n": ":1: an experiment must begin",
    "# @package _global_\ndefaults: 3\n": ":2: defaults: must be a list of names of files",
    "# @package _global_\ndefaults: [3]\n": ":2: defaults: must be a list of names of files",
    "# @package _global_\ndefaults: [/experiment/tiny]\n": "lead back to themselves",
    "# @package _global_\ndefaults: [/experiment/nope]\n": "In 'experiment/tiny': Could not load 'experiment/nope'",
    "# @package _global_\ndefaults: [{override /optimizer: adm}]\n": "optimizer: unknown 'adm'; did you mean adam",
    "# @package _global_\ndefaults: [{override hydra/launcher: joblib}]\n": ":2: hydra/launcher: joblib: .*workers=N",
    "# @package _global_\ndefaults: [{override hydra/sweeper: optuna}]\n": ":2: hydra/sweeper: optuna: .*tuning=NAME",
}


@pytest.mark.parametrize(
    ("text", "sentence"), [*((HEAD + text, told) for text, told in FILES.items()), *WHOLE_FILES.items()]
)
def test_a_file_of_ones_own_is_refused_with_its_line(tmp_path, cache, monkeypatch, text, sentence):
    refuse_to_start(monkeypatch)
    path = tmp_path / "own" / "experiment" / "tiny.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, errors="surrogateescape")
    done = command("--config-dir", "own", "experiment=tiny", "hydra.mode=RUN", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    place = re.escape(str(path)) if sentence.startswith(":") else ""
    assert re.search(place + sentence, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text", ["output: {\n", "output: [1]\n", "output: ''\n", "output: ${nope}\n", "output: ${oc.env:HOME}\n", "- x\n"]
)
def test_settings_of_this_machine_are_refused_with_their_file(tmp_path, cache, text):
    path = tmp_path / "own" / "local" / "default.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    done = command("--config-dir", "own", "experiment=digits_mlp", "hydra.mode=RUN", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert done.stderr.startswith("own/local/default.yaml:"), done.stderr


def test_names_of_files_are_apart_where_names_are():
    names = ["a/b", "a-b", "a b", "a_b", "../../x", "実験", "🚀", "CON", "-x", "x\ny", "\u202ex", "x" * 200, "x" * 199]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", name) for name in files), files
    assert [file_name(name) for name in ("digits_mlp", "mnist-cnn", "a_b")] == ["digits_mlp", "mnist-cnn", "a_b"]


def test_the_last_step_of_a_stepped_space_is_its_edge():
    stepped = Dimension(kind="int", low=1, high=10, step=4)
    assert [stepped.is_near_edge(value) for value in (1, 5, 9)] == [True, False, True]


def test_a_mistyped_tuned_setting_lists_those_of_the_experiment(tmp_path, cache, monkeypatch):
    refuse_to_start(monkeypatch)
    folder = tmp_path / "outputs" / "tuned" / "tuned"
    folder.mkdir(parents=True)
    for name in ("digits_mlp-keras", "xor-keras"):
        (folder / f"{name}.yaml").write_text("# @package _global_\noptimizer: {learning_rate: 0.125}\n")
    typed = ("experiment=digits_mlp", "hydra.mode=RUN", "+tuned=digits_mlp-kera")
    done = command(*typed, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "did you mean digits_mlp-keras? Available: digits_mlp-keras\n" in done.stderr


@pytest.mark.slow
def test_a_name_is_data_and_its_search_stays_below_output(tmp_path, cache, local):
    name = "../../team/日本\n\u202e'🚀\" x"
    typed = (
        "experiment=digits_mlp", f"name={name}", "framework=numpy", "training.precision=float64", "training.epochs=1",
    )  # fmt: skip
    search = ("tuning=learning_rate", "tuning.trials=2", "seed=0", "tuning.workers=1")
    inside = tmp_path / "here"
    inside.mkdir()
    done = command(*typed, *search, cwd=inside, cache=cache)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    (tuned,) = {each for each in re.findall(r"\+tuned=(\S+)", done.stdout)}
    done = command(*typed, f"+tuned={tuned}", "--cfg", "job", cwd=inside, cache=cache)
    assert yaml.safe_load(done.stdout)["name"] == name, done.stderr
