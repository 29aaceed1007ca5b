"""What pruning saves, and what a second worker brings, on the real command. Ratios; each in one interleaved run.

python -m benchmarks.tuning cost       lr_depth on mnist_cnn, with the pruner and without
python -m benchmarks.tuning workers    the same random points with one worker and two, beside two plain processes
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.execution.environment import PROJECT
from experiments.execution.worker_environment import THREAD_VARIABLES

PINNED = dict.fromkeys(THREAD_VARIABLES, "1")
ALONE = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {project!r}]
import cases, frameworks
from experiments import data
from experiments.execution import run, worker
task = cases.task("experiment=mnist_cnn", "training.batch_size=64", "training.epochs=5", precision="float32")
cache = Path({cache!r})
path = data.write(data.load(task.data, cache=cache), cache / "prepared")
one = run.Run(task=task, framework="lightning", seed=0, device="cpu", data_fingerprint="x", data_path=path,
              folder=Path({folder!r}), is_trial=True)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2):
    worker.train(one, frameworks.load, lambda event: None)
"""


def command(folder: Path, *overrides: str) -> float:
    """Run the command in `folder`; return its seconds."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, str(PROJECT / "run.py"), "experiment=mnist_cnn", *overrides],
        cwd=folder, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def studies(folder: Path) -> list[dict[str, Any]]:
    """The studies of the only report in `folder`."""
    (path,) = folder.glob("outputs/*/*/report/report.json")
    found: list[dict[str, Any]] = json.loads(path.read_text())["search"]["studies"]
    return found


def cost(trials: int = 20) -> None:
    """Trials, epochs, seconds and best score of the same search with and without pruning."""
    search = ["tuning=lr_depth", f"tuning.trials={trials}", "tuning.default=false", "seed=0"]
    plain = ["tuning.pruner.name=NopPruner", "~tuning.pruner.options"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, more in (("median pruner", []), ("no pruner", plain)):
            place = Path(folder) / name.split()[0]
            place.mkdir()
            command(place, *search, *more)
            found[name] = studies(place)
    for name, each in found.items():
        for study in each:
            states = Counter(trial["state"] for trial in study["trials"])
            epochs = sum(trial["epochs"] for trial in study["trials"])
            seconds = sum(trial["seconds"] for trial in study["trials"])
            best = min(trial["scores"][0] for trial in study["trials"] if trial["scores"])
            share = states["PRUNED"] / len(study["trials"])
            print(
                f"{name:13} {study['arm']:9} {dict(states)}, pruned {share:.0%}, {epochs} epochs, {seconds:.0f} s, "
                f"best val/loss {best:.4f}"
            )
    spent = {name: sum(t["seconds"] for s in each for t in s["trials"]) for name, each in found.items()}
    epochs = {name: sum(t["epochs"] for s in each for t in s["trials"]) for name, each in found.items()}
    print(
        f"with / without pruner: {spent['median pruner'] / spent['no pruner']:.2f} of the seconds, "
        f"{epochs['median pruner'] / epochs['no pruner']:.2f} of the epochs"
    )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A plain process that has its data and framework, and trains twice once it is told to."""
    text = ALONE.format(tests=str(PROJECT / "tests"), project=str(PROJECT), cache=str(folder), folder=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, **PINNED}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.wait()


def plain_speed_up(folder: Path) -> float:
    """How much sooner two plain, pinned processes end than the same work one after the other."""
    seconds: dict[int, list[float]] = {}
    for count in (1, 2, 1, 2):
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(alone(folder)) for _ in range(count)]
            began = time.perf_counter()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            for process in processes:
                process.wait()
            seconds.setdefault(count, []).append(time.perf_counter() - began)
    return 2 * min(seconds[1]) / min(seconds[2])


def workers(trials: int = 8) -> None:
    """Speed-up of a second worker, beside what two plain processes reach; and that the points are the same."""
    search = ["tuning=learning_rate", f"tuning.trials={trials}", "tuning.default=false", "seed=0"]
    search += ["framework=lightning", "tuning.sampler.name=RandomSampler", "~tuning.sampler.options"]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    points = []
    with tempfile.TemporaryDirectory() as folder:
        ceiling = plain_speed_up(Path(folder))
        for turn, count in enumerate((1, 2, 2, 1)):
            place = Path(folder) / str(turn)
            place.mkdir()
            command(place, *search, f"tuning.workers={count}")
            (study,) = studies(place)
            trial_times = [trial for trial in study["trials"] if trial["began"] is not None]
            seconds[count].append(max(t["ended"] for t in trial_times) - min(t["began"] for t in trial_times))
            points.append([trial["values"] for trial in sorted(study["trials"], key=lambda each: each["number"])])
    gain = min(seconds[1]) / min(seconds[2])
    same = all(each == points[0] for each in points)
    print(
        f"{trials} trials: one worker {min(seconds[1]):.0f} s, two {min(seconds[2]):.0f} s, speed-up {gain:.2f}; two "
        f"plain processes reach {ceiling:.2f}: {gain / ceiling:.2f} of that; same points: {same}"
    )


if __name__ == "__main__":
    {"cost": cost, "workers": workers}[sys.argv[1]]()
