"""The whole command beside six programs written by hand, one after the other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from benchmarks import programs
from benchmarks.measuring import Figure, Pair, Part, Row, in_turn, medians, ratios

TEXT = """`python run.py experiment=mnist_cnn` in a fresh folder: 3 seeds in each framework, with the database, the
report and its pictures; wall seconds from start to end, and values are ratios, ours / six by hand. Beside it the
program of `benchmarks/plain/` for each framework and seed, one after the other, with the same data, epochs and one
thread, which train, score the test set and print one line."""
AT_MOST = 0.6
SEEDS = range(3)


def pair(folder: Path, turn: int, *, epochs: int | None) -> Pair:
    """Wall seconds of both."""
    task = programs.task_of(*programs.MNIST_CNN)
    arrays = programs.arrays_of(task, folder=folder)
    n_epochs = epochs or task.training.epochs

    def plain() -> dict[str, float]:
        ended = [
            programs.plain(task, network="cnn", framework=framework, arrays=arrays, seed=seed, epochs=n_epochs)
            for seed in SEEDS
            for framework in programs.PROGRAMS
        ]
        return {"wall": sum(each["wall"] for each in ended)}

    return in_turn(
        {"plain": plain, "ours": lambda: programs.ours(*programs.MNIST_CNN, f"training.epochs={n_epochs}")}, turn
    )


def figures(pairs: Sequence[Pair]) -> list[Figure]:
    """One line."""
    values = ratios(pairs, "wall", arm="ours", base="plain")
    beside = medians(pairs, "wall", titles={"plain": "six by hand", "ours": "ours"}, shown="{:.1f} s")
    return [Figure(what="`experiment=mnist_cnn`", values=values, at_most=AT_MOST, beside=beside)]


def rows(folder: Path, epochs: int | None) -> list[Row]:
    """One."""
    measure = functools.partial(pair, folder, epochs=epochs)
    return [Row(name="mnist_cnn", pairs=3, seconds=140, measure=measure, figures=figures)]


WHY = """\
Profiles. By far the most is the six runs' own training; beside it the command imports both frameworks and MLflow
once, at the same time, and its own parts are the report with its pictures and the end of each run: scores on the
test set and on training examples, the model's files, their copies in the store."""
PART = Part(title="The whole command beside six programs", text=TEXT, rows=rows, why=WHY)
