"""An epoch, and the memory of a run, beside programs written by hand: the same data, network, batches and threads."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import programs
from benchmarks.measuring import Figure, Pair, Part, Row, in_turn, medians, ratios

TEXT = """The median epoch after the first of a run of the command with `framework=...`, and of the same network in
`benchmarks/plain/`, written by hand as the tutorials of PyTorch and the examples of Keras write it; one thread
each; values are ratios, ours / by hand; every pair with a seed of its own, every other pair in reverse order.
Memory is the peak of the process that trains. The networks are the same if their weights are as many, which is
checked, and if they learn as well, which the accuracies on the test set show: median over the seeds (smallest to
largest). Where the formulas differ, as in initial weights, they are the framework's own in the programs by hand."""
AT_MOST_MEMORY = 1.1
TITLES = {"plain": "by hand", "ours": "ours"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network: the words that train it, the program's word, and for each framework what must hold.

    Attributes:
        experiment: Words of the command.
        epochs: Of each run; many where they are short, or the command's own start is still in half of them.
        at_most: Framework -> ratio.
        seconds: Framework -> those of a pair, about.
        more: Framework -> weights that only the program by hand has.
    """

    experiment: tuple[str, ...]
    epochs: int
    at_most: dict[str, float]
    seconds: dict[str, float]
    more: dict[str, int]


CASES = {
    "mlp": Case(
        experiment=programs.MNIST_MLP, epochs=40, at_most={"lightning": 1.0, "keras": 0.6},
        seconds={"lightning": 23, "keras": 24}, more={},
    ),
    "cnn": Case(
        experiment=programs.MNIST_CNN, epochs=3, at_most={"lightning": 0.7, "keras": 1.0},
        seconds={"lightning": 24, "keras": 24}, more={},
    ),
    "lstm": Case(
        experiment=("experiment=vowels_lstm",), epochs=40, at_most={"lightning": 1.0, "keras": 1.0},
        seconds={"lightning": 25, "keras": 26}, more={"lightning": 4 * 64},  # PyTorch's second bias
    ),
    "resnet": Case(
        experiment=(*programs.MNIST_CNN, "network=resnet"), epochs=2, at_most={"lightning": 1.0, "keras": 1.0},
        seconds={"lightning": 52, "keras": 45}, more={},
    ),
}  # fmt: skip


def pair(name: str, framework: str, folder: Path, turn: int, *, epochs: int | None) -> Pair:
    """Ours and the one by hand, with the same seed.

    Raises:
        RuntimeError: If they are not the same network.
    """
    case = CASES[name]
    task, n_epochs = programs.task_of(*case.experiment), epochs or case.epochs
    arrays = programs.arrays_of(task, folder=folder)
    words = [*case.experiment, f"framework={framework}", f"seed={turn}", f"training.epochs={n_epochs}"]
    plain = functools.partial(programs.plain, task, network=name, framework=framework, arrays=arrays, seed=turn)
    measured = in_turn(
        {"plain": functools.partial(plain, epochs=n_epochs), "ours": lambda: programs.ours(*words)}, turn
    )
    expected = measured["ours"]["n_weights"] + case.more.get(framework, 0)
    if measured["plain"]["n_weights"] != expected:
        found = measured["plain"]["n_weights"]
        raise RuntimeError(f"{name}, {framework}: by hand it has {found} weights, and must have {expected}")
    return measured


def figures(name: str, framework: str, pairs: Sequence[Pair]) -> list[Figure]:
    """Seconds, memory, and what was learned."""
    measures = (("epoch", "{:.3f} s", CASES[name].at_most[framework]), ("mib", "{:.0f} MiB", AT_MOST_MEMORY))
    compared = [
        Figure(
            what=f"{name}, {framework}: {'memory' if of == 'mib' else of}",
            values=ratios(pairs, of, arm="ours", base="plain"),
            at_most=at_most,
            beside=medians(pairs, of, titles=TITLES, shown=shown),
        )
        for of, shown, at_most in measures
    ]
    return [*compared, learned(f"{name}, {framework}: accuracy", pairs)]


def learned(what: str, pairs: Sequence[Pair]) -> Figure:
    """The accuracies of both on the test set, and whether seeds of one lie among seeds of the other."""
    if not pairs:
        return Figure(what=what, values=[])
    found = {arm: [each[arm]["accuracy"] for each in pairs] for arm in TITLES}
    overlap = max(map(min, found.values())) <= min(map(max, found.values()))
    cells = {
        title: f"{median(found[arm]):.3f} ({min(found[arm]):.3f} to {max(found[arm]):.3f})"
        for arm, title in TITLES.items()
    }
    noise = "within the seeds' noise" if overlap else "**apart**"
    return Figure(what=what, values=[], beside=cells, note=noise if len(pairs) > 1 else "one seed says nothing")


def rows(folder: Path, epochs: int | None) -> list[Row]:
    """Every network in both frameworks."""
    return [
        Row(
            name=f"{name}_{framework}",
            pairs=10,
            seconds=case.seconds[framework],
            measure=functools.partial(pair, name, framework, folder, epochs=epochs),
            figures=functools.partial(figures, name, framework),
        )
        for name, case in CASES.items()
        for framework in programs.PROGRAMS
    ]


WHY = """\
Profiles. Keras' residual network: the padding of its 3x3 convolutions is a layer of its own (`ZeroPadding2D`), as
PyTorch pads, where the program by hand says `padding="same"`; given such layers, the program by hand is the slower of
the two, while TensorFlow's determinism alone costs it next to nothing."""
PART = Part(title="An epoch beside programs written by hand", text=TEXT, rows=rows, why=WHY)
