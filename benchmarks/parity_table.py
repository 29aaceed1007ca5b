"""The tables of docs/parity.md: every network with every optimizer, 200 steps, a part for each way of comparing.

    python -m benchmarks.parity_table keras       both precisions and noise floors: an hour on two cores
    python -m benchmarks.parity_table backends    keras_jax and keras_torch, float64: half an hour on one core

Writes each row into the page when it is there, and goes on where it stopped: a row that the page has is kept; take it
out of the page to have it made again. Small networks on scikit-learn's digits and on speech.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import frameworks
from benchmarks import parity_backends
from benchmarks.programs import task_of
from experiments import data, job
from experiments.data import download
from experiments.execution.environment import PROJECT, facts
from experiments.execution.executor import LocalExecutor
from experiments.parity import certify
from experiments.parity.certificate import Certificate
from experiments.task import Task

PAGE = PROJECT / "docs" / "parity.md"
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
Key = tuple[str, str]  # network, optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A table: its heading, what it says of itself, its columns, and the figures of a row."""

    heading: str
    text: str
    columns: tuple[str, ...]
    frameworks: tuple[str, ...]
    workers: int
    figures: Callable[[Task, LocalExecutor, Path], list[str]]


def keras(task: Task, executor: LocalExecutor, folder: Path) -> list[str]:
    """A certificate in both precisions."""
    cache = download.cache_folder(otherwise=folder)
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
    return figures_of(certificate)


def figures_of(certificate: Certificate) -> list[str]:
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
    return [*cells, "certified" if certificate.passed else "**not certified**"]


def backends(task: Task, executor: LocalExecutor, folder: Path) -> list[str]:
    """Both backends, one after the other."""
    by_backend = parity_backends.rows_of_levels(task, executor=executor, folder=folder)
    return [cell for rows in by_backend.values() for cell in parity_backends.cells(rows)]


def kept(page: str, part: Part) -> dict[Key, str]:
    """The rows that the page has in a part, with their ends."""
    inside = page.partition(f"\n## {part.heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")] for line in inside.splitlines()]
    return {
        (row[1], row[2]): line
        for row, line in zip(cells, inside.splitlines(), strict=True)
        if len(row) > 2 and row[1] in NETWORKS and row[2] in OPTIMIZERS
    }


def written(rows: Mapping[str, Mapping[Key, str]], machine: Mapping[str, str]) -> str:
    """The page.

    Args:
        rows: Name of a part -> its rows, which stand in the order of NETWORKS and OPTIMIZERS.
        machine: Where they were made.
    """
    lines = [HEAD.format(**machine)]
    for name, part in PARTS.items():
        columns = ("network", "optimizer", *part.columns, "commit")
        lines += ["", f"## {part.heading}", "", part.text, ""]
        lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines += [rows[name][key] for key in KEYS if key in rows[name]]
        if len(rows[name]) < len(KEYS):
            lines += ["", f"{len(rows[name])} of {len(KEYS)} rows: the same command makes the others."]
    return "\n".join(lines) + "\n"


def _commit() -> str:
    """Of the code that makes rows; "+changes" where files differ from it, but for the page."""
    words = ("rev-parse --short=7 HEAD", f"status --porcelain --untracked-files=no -- . :!{PAGE.relative_to(PROJECT)}")
    said = [subprocess.check_output(["git", *each.split()], cwd=PROJECT, text=True).strip() for each in words]
    return said[0] + ("+changes" if said[1] else "")


def main(name: str) -> None:
    """Make the rows of a part that the page lacks."""
    part, page, machine, commit = PARTS[name], PAGE.read_text(encoding="utf-8"), facts(), _commit()
    rows = {each: kept(page, PARTS[each]) for each in PARTS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = job.ExecutorSettings(
            workers=part.workers, threads=1, device="cpu", start_method="auto", time_limit_seconds=600
        )
        chosen = {each: frameworks.FRAMEWORKS[each] for each in part.frameworks}
        executor = LocalExecutor(settings=settings, device="cpu", frameworks=chosen, folder=folder)
        executor.warm_up()
        for network, optimizer in [key for key in KEYS if key not in rows[name]]:
            task = task_of("experiment=digits_mlp", "network.depth=1", *NETWORKS[network], f"optimizer={optimizer}")
            cells = [network, optimizer, *part.figures(task, executor, folder), commit]
            rows[name][network, optimizer] = f"| {' | '.join(cells)} |"
            print(rows[name][network, optimizer], flush=True)
            PAGE.write_text(written(rows, machine), encoding="utf-8")


HEAD = """# Parity: measured against Lightning

Made by `python -m benchmarks.parity_table keras` and `... backends` on {cpu}, Python {python}; each row by the commit
that it names. Small networks on scikit-learn's digits (lstm, gru: Japanese Vowels), batch 32, 200 steps of the recipe,
one thread. Columns: largest relative difference of logits (C1), gradients at 20 synced checkpoints (C2), optimizer
alone over 300 steps (C3), losses of the free run where they come nearest to their bound (C4), and predictions flipped,
all in float64. Flips with *: predictions nearer to a tie than the bound of the logits, a thousand times the floor, are
left open."""

KERAS = """The floor is that of C4: three one-ulp starts of Lightning against itself. Then, in float32, the optimizer
alone, the losses of the free run, and the spread of six one-ulp starts (1e-5 where it is less), which says how chaotic
the network is."""

BACKENDS = """First the columns of `keras_jax`, then those of `keras_torch`: C0 to C4, held to the bounds of a
certificate and to the same noise floors. That a run repeats bit for bit (C6) is part of `action=parity`, and is not
asked here."""

PARTS = {
    "keras": Part(
        heading="Keras on TensorFlow",
        text=KERAS,
        columns=("C1", "C2", "C3", "C4", "floor", "flips", "C3 f32", "run f32", "spread f32", ""),
        frameworks=PAIR,
        workers=os.cpu_count() or 1,
        figures=keras,
    ),
    "backends": Part(
        heading="Keras on JAX and on PyTorch",
        text=BACKENDS,
        columns=tuple(
            column for name in parity_backends.BACKENDS for column in ("C1", "C2", "C3", "C4", "flips", name)
        ),
        frameworks=(parity_backends.REFERENCE, *parity_backends.BACKENDS),
        workers=1,
        figures=backends,
    ),
}
KEYS = [(network, optimizer) for network in NETWORKS for optimizer in OPTIMIZERS]

if __name__ == "__main__":
    main(sys.argv[1])
