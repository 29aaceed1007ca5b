"""Every offline experiment with 3 seeds in both frameworks, certified; what each reached, as docs/tasks.md.

python -m benchmarks.tasks FOLDER [EXPERIMENT ...]    an hour or more on two cores; FOLDER keeps what is done

The same command goes on where it stopped. Exit code 1 if a task misses what it must reach.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.execution.environment import PROJECT

Report = Mapping[str, Any]
FRAMEWORKS = ("lightning", "keras")
PARAMETERS_2C2D = 3_274_634


@dataclass(frozen=True, kw_only=True)
class Row:
    """A task: what it learns from, what learns it, and what the mean of 3 seeds must reach in each framework."""

    data: str
    network: str
    metric: str
    must: float
    shown: Callable[[float], str] = lambda value: f"{100 * value:.1f} %"
    above: bool = True
    note: str = ""

    def is_reached(self, value: float) -> bool:
        """Whether a mean is good enough."""
        return value >= self.must if self.above else value <= self.must


def _plain(value: float) -> str:
    return f"{value:.3f}"


MNIST, FASHION = "MNIST, 5,000 images", "Fashion-MNIST, 60,000 images"
SPEECH = "Japanese Vowels, 270 utterances of 7 to 29 frames"
ACCURACY = "test/accuracy"
ROWS = {
    "mnist_mlp": Row(data=MNIST, network="784-128-10, SGD, 10 epochs", metric=ACCURACY, must=0.84),
    "mnist_mlp_adam": Row(data=MNIST, network="784-128-10, Adam, 5 epochs", metric=ACCURACY, must=0.88),
    "mnist_cnn": Row(data=MNIST, network="conv 32, conv 64, dense 128, Adam, 5 epochs", metric=ACCURACY, must=0.94),
    "fashion_mnist_cnn": Row(data=FASHION, network="as mnist_cnn", metric=ACCURACY, must=0.90),
    "fashion_mnist_2c2d": Row(
        data=FASHION, network=f"DeepOBS's 2c2d, {PARAMETERS_2C2D:,} parameters, Adam, 3 epochs", metric=ACCURACY,
        must=0.905,
    ),
    "fashion_mnist_resnet": Row(
        data=FASHION, network="3 residual stages with batch normalization, momentum, 1 epoch", metric="test/loss",
        must=2.302585, above=False, shown=_plain, note="falls from ln 10",
    ),
    "digits_mlp": Row(data="digits, 1,797 images of 8x8", network="64-64-32-10, Adam, 10 epochs", metric=ACCURACY,
                      must=0.95),
    "xor": Row(data="four points", network="2-3-1, SGD, 5,000 epochs", metric=ACCURACY, must=1.0,
               note="all four in every seed"),
    "vowels_lstm": Row(data=SPEECH, network="masked LSTM, 64 units, Adam, 40 epochs", metric=ACCURACY, must=0.93),
    "vowels_gru": Row(data=SPEECH, network="masked GRU, 64 units, Adam, 40 epochs", metric=ACCURACY, must=0.93),
    "surnames_lstm": Row(
        data="6,697 surnames, 11 languages", network="letters embedded, LSTM, 128 units, Adam, 12 epochs",
        metric=ACCURACY, must=0.65,
    ),
    "sunspots_lstm": Row(
        data="yearly sunspots, 309 years", network="LSTM, 32 units, the best of 150 epochs", metric="test/skill",
        must=0.0, shown=_plain, note="1 - MSE / MSE of persistence",
    ),
}  # fmt: skip


def command(folder: Path, *overrides: str) -> None:
    """Run the command in `folder`; its screen goes to screen.txt."""
    with (folder / "screen.txt").open("a") as screen:
        subprocess.run(
            [sys.executable, str(PROJECT / "run.py"), *overrides], cwd=folder, check=True, stdout=screen, stderr=screen
        )


def latest_report(folder: Path, experiment: str) -> Report:
    """The newest report of an experiment."""
    paths = sorted(folder.glob(f"outputs/{experiment.replace('_', '-')}/*/report/report.json"))
    found: Report = json.loads(paths[-1].read_text())
    return found


def train(folder: Path, experiment: str) -> Report:
    """Three seeds in both frameworks, and the certificate where there is none yet."""
    asked = [f"experiment={experiment}", "executor.workers=2", f"framework={','.join(FRAMEWORKS)}"]
    command(folder, *asked)
    if not all(each["rows"] for each in latest_report(folder, experiment)["certificates"]):
        command(folder, *asked, "action=parity")
        command(folder, *asked)
    return latest_report(folder, experiment)


def values(report: Report, framework: str, metric: str) -> list[float]:
    """The metric of each run of a framework."""
    return [run["metrics"][metric] for run in report["runs"] if run["name"].startswith(f"{framework} · ")]


def cell(row: Row, found: list[float]) -> str:
    """Mean, and the range over seeds."""
    mean = sum(found) / len(found)
    return f"{row.shown(mean)} ({row.shown(min(found))} to {row.shown(max(found))})"


def more(report: Report) -> str:
    """Further scores of the first framework, where the task is one on which accuracy does not say it all."""
    names = {"test/macro_f1": "macro-F1", "test/rmse": "RMSE"}
    wanted = {"surnames_lstm": ["test/macro_f1"], "sunspots_lstm": ["test/rmse"]}.get(report["experiment"], [])
    found = {name: values(report, FRAMEWORKS[0], name) for name in wanted}
    return ", ".join(f"{names[name]} {sum(each) / len(each):.3g}" for name, each in found.items())


def line(experiment: str, row: Row, report: Report) -> tuple[str, bool]:
    """A line of the table, and whether the task reached what it must."""
    found = {framework: values(report, framework, row.metric) for framework in FRAMEWORKS}
    reached = all(row.is_reached(sum(each) / len(each)) for each in found.values()) and not report["is_partial"]
    if experiment == "xor":
        reached = reached and all(value == 1.0 for each in found.values() for value in each)
    certified = all(each["passed"] for each in report["certificates"]) and bool(report["certificates"])
    sign = "≥" if row.above else "<"
    must = f"{sign} {row.shown(row.must)}" + (f", {row.note}" if row.note else "")
    extra = f"; {more(report)}" if more(report) else ""
    cells = [
        f"`{experiment}`",
        row.data,
        row.network,
        f"{row.metric.partition('/')[2]} {must}",
        *(cell(row, found[framework]) + (extra if framework == FRAMEWORKS[0] else "") for framework in FRAMEWORKS),
        "yes" if reached else "**no**",
        "yes" if certified else "**no**",
    ]
    return f"| {' | '.join(cells)} |", reached and certified


def main(folder: Path, experiments: list[str]) -> bool:
    """Run all, print the table and write it; return whether everything was reached and certified."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, all_reached, environment = [], True, {}
    for experiment in experiments:
        report = train(folder, experiment)
        text, reached = line(experiment, ROWS[experiment], report)
        print(text, flush=True)
        lines.append(text)
        all_reached, environment = all_reached and reached, report["environment"]
    if set(experiments) == set(ROWS):
        path = PROJECT / "docs" / "tasks.md"
        path.write_text(page(lines, environment))
        print(f"written: {path}")
    return all_reached


def page(lines: list[str], environment: Mapping[str, str]) -> str:
    """The table with what it says and how it came to be."""
    head = ["task", "data", "network", "must reach", *FRAMEWORKS, "reached", "certified"]
    machine = ", ".join(
        f"{key} {environment[key]}" for key in ("cpu", "python", "torch", "keras") if key in environment
    )
    return f"""# Tasks

Written by `python -m benchmarks.tasks FOLDER`: seeds 0, 1, 2 of every task that needs no network, on {machine}.
Mean over the seeds on the test set (smallest to largest); "certified": `action=parity` passed. Inputs are described in
`experiments/data/`, what "test/..." means in `experiments/metrics.py`.

| {" | ".join(head)} |
|{"---|" * len(head)}
{chr(10).join(lines)}

Not in the table, because their data must be downloaded, which was not possible where it was written:
`cifar10_resnet` and `imdb_lstm` (their loaders are tested on files of the same format), and the full MNIST. On its
60,000 images networks like `mnist_cnn` are known to reach about 99 %, perceptrons like `mnist_mlp_adam` 97 to 98 %; no
run here shows it. DeepOBS published for 2c2d, after 100 epochs: Adam 92.34 ± 0.29 %, SGD 92.27 ± 0.18 % (10 seeds).
"""


if __name__ == "__main__":
    chosen = sys.argv[2:] or list(ROWS)
    sys.exit(0 if main(Path(sys.argv[1]), chosen) else 1)
