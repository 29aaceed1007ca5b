"""What a command takes before it trains: help, errors, printing, composing, and the first epoch."""

from __future__ import annotations

import functools
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import programs
from benchmarks.measuring import Figure, Pair, Part, Row, in_turn, ratios
from experiments.errors import ExitCode
from experiments.execution.environment import PROJECT

TEXT = """Seconds of user and system together, which do not grow with what else the machine does, and wall seconds
beside them; the ratio is that of user and system to those of `python -c "import hydra"`, measured before or after.
Then, in wall seconds on a warm disk, how long after the start of the command its first epoch was over; and what
composing and checking 160 jobs takes, for each."""
AT_MOST_OF_HYDRA, AT_MOST_FIRST_EPOCH, AT_MOST_JOB = 2.0, 6.0, 0.03
COMMANDS = {
    "help": ["--help"],
    "cfg_job": ["--cfg", "job"],
    "unknown_key": ["experiment=mnist_cnn", "optimizer.learning_rat=0.1"],
    "unknown_choice": ["experiment=mnist_cn"],
    "wrong_value": ["experiment=mnist_cnn", "training.epochs=-1"],
    "wrong_type": ["experiment=mnist_cnn", "optimizer.learning_rate=fast"],
    "wrong_grammar": ["experiment=mnist_cnn", "seed=range("],
    "unknown_flag": ["--hlep"],
    "no_fit": ["experiment=mnist_cnn", "data=vowels"],
    "no_file": ["experiment=custom", "data.path=nowhere.npz"],
    "no_folder": ["experiment=mnist_cnn", "data.path=nowhere"],
    "no_factor": ["experiment=mnist_cnn", "comparison.factor=nothing"],
    "no_store": ["experiment=mnist_cnn", "tracking.uri=nowhere"],
    "no_cores": ["experiment=mnist_cnn", "executor.threads=1000"],
    "no_network": ["experiment=mnist_cnn", "framework=numpy"],
    "no_sampler": ["experiment=mnist_cnn", "tuning=learning_rate", "tuning.sampler.name=NoSampler"],
}
FIRST = [f"{name}_{framework}" for name in ("digits_mlp", "mnist_cnn") for framework in programs.PROGRAMS]
MANY = [
    "experiment=mnist_cnn", "seed=range(8)", "optimizer=sgd,momentum,adam,rmsprop,adagrad", "network.depth=1,2",
    "framework=lightning,keras",
]  # fmt: skip
COMPOSE = """
import json, sys, time
sys.path.insert(0, {project!r})
import run
began = time.perf_counter()
n_jobs = len(run.jobs_from(["run.py", *{words!r}]))
print(json.dumps([time.perf_counter() - began, n_jobs]))
"""


def command(name: str, turn: int) -> Pair:
    """The command, and Python with Hydra alone."""
    expected = ExitCode.ALL_GOOD if name in ("help", "cfg_job") else ExitCode.BAD_INPUT
    with tempfile.TemporaryDirectory() as folder:

        def seconds(*words: str, code: ExitCode = ExitCode.ALL_GOOD) -> dict[str, float]:
            ended = programs.process([sys.executable, *words], folder=Path(folder), codes=(code,))
            return {"cpu": ended.cpu, "wall": ended.wall}

        ours = functools.partial(seconds, programs.RUN, *COMMANDS[name], code=expected)
        return in_turn({"hydra": functools.partial(seconds, "-c", "import hydra"), "ours": ours}, turn)


def command_figures(name: str, pairs: Sequence[Pair]) -> list[Figure]:
    """One line."""

    def shown(arm: str) -> str:
        cpu, wall = (median(each[arm][clock] for each in pairs) for clock in ("cpu", "wall"))
        return f"{cpu:.2f} s (wall {wall:.2f} s)"

    return [
        Figure(
            what=f"`run.py {' '.join(COMMANDS[name])}`",
            values=ratios(pairs, "cpu", arm="ours", base="hydra"),
            at_most=AT_MOST_OF_HYDRA,
            beside={"import hydra": shown("hydra"), "ours": shown("ours")} if pairs else {},
        )
    ]


def first_epoch(name: str, _: int) -> Pair:
    """When it was over, on a disk that is warm because the command has just been there."""
    experiment, framework = name.rsplit("_", 1)
    task = programs.MNIST_CNN if experiment == "mnist_cnn" else (f"experiment={experiment}",)
    words = (*task, f"framework={framework}", "seed=0", "training.epochs=1")
    return {"ours": programs.ours(*words)}


def compose(_: int) -> Pair:
    """Seconds of each job."""
    code = COMPOSE.format(project=str(PROJECT), words=MANY)
    with tempfile.TemporaryDirectory() as folder:
        ended = programs.process([sys.executable, "-c", code], folder=Path(folder))
    spent, n_jobs = json.loads(ended.out.splitlines()[-1])
    if n_jobs != 160:
        raise RuntimeError(f"there must be 160 jobs, but there are {n_jobs}")
    return {"ours": {"job": spent / n_jobs}}


def seconds_figure(what: str, of: str, at_most: float, pairs: Sequence[Pair]) -> list[Figure]:
    """One line, of wall seconds."""
    values = [each["ours"][of] for each in pairs]
    return [Figure(what=what, values=values, unit="s", at_most=at_most, digits=1 if at_most > 1 else 4)]


def rows(_: Path, __: int | None) -> list[Row]:
    """Commands that train nothing, first epochs, composing."""
    of_commands = [
        Row(
            name=name,
            pairs=6,
            seconds=3,
            measure=functools.partial(command, name),
            figures=functools.partial(command_figures, name),
        )
        for name in COMMANDS
    ]
    of_epochs = [
        Row(
            name=f"first_epoch_{name}",
            pairs=3,
            seconds=12,
            measure=functools.partial(first_epoch, name),
            figures=functools.partial(
                seconds_figure,
                f"first epoch of `{'`, '.join(name.rsplit('_', 1))}",
                "first_epoch_end",
                AT_MOST_FIRST_EPOCH,
            ),
        )
        for name in FIRST
    ]
    told = f"each of 160 jobs of `{' '.join(MANY)}`"
    of_jobs = Row(
        name="compose",
        pairs=3,
        seconds=20,
        measure=compose,
        figures=functools.partial(seconds_figure, told, "job", AT_MOST_JOB),
    )
    return list(itertools.chain(of_commands, of_epochs, [of_jobs]))


WHY = """\
Profiles. What is left, in the order of its size: Python with Hydra itself; composing the config, most of it
OmegaConf's merging; the task's dataclasses; the second framework's files; parsing the overrides; Hydra's scan for
plugins; the end of the interpreter. NumPy, rich, MLflow, Optuna and the frameworks are not imported."""
PART = Part(title="Starting", text=TEXT, rows=rows, why=WHY)
