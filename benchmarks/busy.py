"""An epoch while a neighbour has a process spinning on each core, beside the same epoch on the quiet machine."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import programs
from benchmarks.measuring import Figure, Pair, Part, Row, in_turn, medians, ratios
from experiments.execution.devices import available_cores

EPOCHS = 2
TEXT = """The second epoch of `experiment=mnist_cnn` with one process spinning on each core, against the same on
the quiet machine, right before or after it; values are ratios, busy / quiet. By hand: the program of
`benchmarks/plain/` with as many threads as its framework takes where nothing is said, which is one for each core."""
AT_MOST = 1.5


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """A process on each core that does nothing, as fast as it can."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(available_cores())]
    try:
        yield
    finally:
        for each in processes:
            each.kill()
        for each in processes:
            each.wait()


def pair(train: Callable[[int], dict[str, Any]], turn: int) -> Pair:
    """Seconds of the epoch on the quiet machine and on the busy one."""

    def busy() -> dict[str, Any]:
        with spinning():
            return train(turn)

    return in_turn({"quiet": lambda: train(turn), "busy": busy}, turn)


def figures(what: str, at_most: float | None, pairs: Sequence[Pair]) -> list[Figure]:
    """One line."""
    values = ratios(pairs, "epoch", arm="busy", base="quiet")
    beside = medians(pairs, "epoch", titles={"quiet": "quiet", "busy": "busy"}, shown="{:.2f} s")
    return [Figure(what=what, values=values, at_most=at_most, beside=beside)]


def rows(folder: Path, epochs: int | None) -> list[Row]:
    """Ours, then those by hand."""
    n_epochs = epochs or EPOCHS

    def ours(framework: str, seed: int) -> dict[str, Any]:
        words = (f"framework={framework}", f"seed={seed}", f"training.epochs={n_epochs}")
        return programs.ours(*programs.MNIST_CNN, *words)

    def by_hand(framework: str, seed: int) -> dict[str, Any]:
        task = programs.task_of(*programs.MNIST_CNN)
        arrays = programs.arrays_of(task, folder=folder)
        return programs.plain(
            task, network="cnn", framework=framework, arrays=arrays, seed=seed, epochs=n_epochs, threads=None
        )

    arms = ((ours, "ours", AT_MOST, 45.0), (by_hand, "by_hand", None, 35.0))
    return [
        Row(
            name=f"{name}_{framework}",
            pairs=3,
            seconds=seconds,
            measure=functools.partial(pair, functools.partial(train, framework)),
            figures=functools.partial(figures, f"{name.replace('_', ' ')}, {framework}", at_most),
        )
        for train, name, at_most, seconds in arms
        for framework in programs.PROGRAMS
    ]


WHY = """\
Profiles. A run has one thread that computes, and beside two that spin on two cores a fair scheduler gives it two
thirds of a core: 1.5 is the least that can be asked of it. Its processor time does not grow, and the command wakes up
for a hundredth of a second between two epochs. With its two threads the program by hand waits for the slower of both
in every operation."""
PART = Part(title="A busy neighbour", text=TEXT, rows=rows, why=WHY)
