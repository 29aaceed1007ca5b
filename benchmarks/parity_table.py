"""The whole table of docs/parity.md: every network with every optimizer, 200 steps, both precisions, noise floors.

    python -m benchmarks.parity_table > docs/parity.md

Small networks on scikit-learn's digits and on speech, so that it ends within the hour on two cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import open_dict

import frameworks
from experiments import data, job, settings
from experiments.data import download
from experiments.execution.environment import PROJECT, facts
from experiments.execution.executor import LocalExecutor
from experiments.parity import certify
from experiments.parity.certificate import Certificate
from experiments.task import Task

PAIR = ("lightning", "keras")
VOWELS = ["data=vowels", "training.epochs=40"]
NETWORKS = {
    "mlp": ["network=mlp", "network.width=64"],
    "cnn": ["network=cnn", "network.depth=1", "network.width=16", "network.dense_width=32"],
    "cnn_bn": ["network=cnn_bn", "network.depth=1", "network.width=16", "network.dense_width=32"],
    "lstm": ["network=lstm", "network.width=32", *VOWELS],
    "gru": ["network=gru", "network.width=32", *VOWELS],
}
OPTIMIZERS = sorted(path.stem for path in (PROJECT / "conf" / "optimizer").glob("*.yaml"))


def task_of(*overrides: str) -> Task:
    """A task on digits, composed from conf/."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = compose("config", overrides=["experiment=digits_mlp", "network.depth=1", *overrides])
    with open_dict(config):
        config.pop("hydra", None)
    return settings.task_from(config)


def rows(executor: LocalExecutor, folder: Path) -> Iterator[str]:
    """One line per network and optimizer."""
    cache = download.cache_folder(otherwise=folder)
    for network, words in NETWORKS.items():
        for optimizer in OPTIMIZERS:
            task = task_of(*words, f"optimizer={optimizer}")
            dataset = data.load(task.data, cache=cache)
            certificate = certify.certify(
                task,
                frameworks=PAIR,
                seed=0,
                data_path=data.write(dataset, cache / "prepared"),
                data_fingerprint=dataset.fingerprint,
                folder=folder,
                executor=executor,
                load=frameworks.load,
                with_floors=True,
            )
            yield line(network, optimizer, certificate)


def line(network: str, optimizer: str, certificate: Certificate) -> str:
    """The figures of one certificate."""
    by_level: dict[tuple[str, str], list[float]] = {}
    for row in certificate.rows:
        if row.level != "C4" or "losses" in row.what or row.precision == "float32":
            by_level.setdefault((row.level, row.precision), []).append(row.measured)
    floors = [row.bound for row in certificate.rows if row.precision == "float32" and "one-ulp" in row.what]
    flips = next(row for row in certificate.rows if "flipped" in row.what)
    cells = [f"{max(by_level[key]):.0e}" for key in (("C1", "float64"), ("C2", "float64"), ("C3", "float64"))]
    cells += [f"{by_level['C4', 'float64'][0]:.0e}", f"{certificate.floor:.0e}"]
    cells.append(f"{flips.measured:.0f}{' *' if 'left open' in flips.what else ''}")
    late = by_level.get(("C5", "float32")) or by_level["C4", "float32"]
    cells += [f"{max(by_level['C3', 'float32']):.0e}", f"{late[-1]:.0e}", f"{floors[0]:.0e}" if floors else "smooth"]
    verdict = "certified" if certificate.passed else "**not certified**"
    return f"| {network} | {optimizer} | " + " | ".join(cells) + f" | {verdict} |"


def main() -> None:
    """Print the page."""
    with tempfile.TemporaryDirectory() as name:
        executor = LocalExecutor(
            settings=job.ExecutorSettings(
                workers=os.cpu_count() or 1,
                threads=1,
                device="cpu",
                start_method="auto",
                time_limit_seconds=600,
            ),
            device="cpu",
            frameworks={name: frameworks.FRAMEWORKS[name] for name in PAIR},
            folder=Path(name),
        )
        executor.warm_up()
        machine = facts()
        print(HEAD.format(cpu=machine["cpu"], python=machine["python"], git_commit=machine["git_commit"]))
        for row in rows(executor, Path(name)):
            print(row)
            sys.stdout.flush()


HEAD = """# Parity: Lightning against Keras, measured

Made by `python -m benchmarks.parity_table > docs/parity.md` on {cpu}, Python {python},
commit {git_commit}. Small networks on scikit-learn's digits (lstm, gru: Japanese Vowels), batch 32, 200 steps of the
recipe, one thread. Columns: largest relative difference of logits (C1), gradients at 20 synced checkpoints (C2),
optimizer alone over 300 steps (C3), losses of the free run (C4), its noise floor (three one-ulp starts of Lightning
against itself) and predictions flipped, all in float64; then, in float32, the optimizer alone, the losses of the free
run, and the spread of six one-ulp starts (1e-5 where it is less), which says how chaotic the network is. Flips with *:
predictions nearer to a tie than the bound of the logits, a thousand times the floor, are left open.

| network | optimizer | C1 | C2 | C3 | C4 | floor | flips | C3 f32 | run f32 | spread f32 | |
|---|---|---|---|---|---|---|---|---|---|---|---|"""

if __name__ == "__main__":
    main()
