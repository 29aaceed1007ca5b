"""Options that are there for speed: what each does to an epoch, a run and a command, as ratios to the default."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from benchmarks import programs
from benchmarks.epoch import CASES
from benchmarks.measuring import Figure, Pair, Part, Row, in_turn, ratios

TEXT = """Each option beside the default, one right after the other, the order turned by one from pair to pair.
"Epoch" is the median epoch after the first, "run" all that a worker does for the run, compiling included; for two
workers, "command" is the wall time of two runs, seeds 0 and 1, with the report. Below 1 the option helps. Nothing is
required."""
NETWORKS = ("cnn", "mlp")
OPTIONS = {
    "jit": ("training.jit=true",),
    "bfloat16": ("training.precision=mixed_bfloat16",),
    "threads": ("executor.threads=2",),
}
WORKERS = {"one_worker": ("seed=0,1",), "two_workers": ("seed=0,1", "executor.workers=2")}


def pair(network: str, framework: str, turn: int, *, epochs: int | None) -> Pair:
    """The default and every option."""
    case = CASES[network]
    shared = [*case.experiment, f"framework={framework}", f"training.epochs={epochs or case.epochs}"]
    arms = {name: (f"seed={turn}", *words) for name, words in {"default": (), **OPTIONS}.items()} | WORKERS
    return in_turn({name: functools.partial(programs.ours, *shared, *more) for name, more in arms.items()}, turn)


def figures(network: str, framework: str, pairs: Sequence[Pair]) -> list[Figure]:
    """Epoch and run of each option; the command with two workers."""
    return [
        *(
            Figure(
                what=f"{network}, {framework}: `{' '.join(words)}`, {of}",
                values=ratios(pairs, of, arm=name, base="default"),
            )
            for name, words in OPTIONS.items()
            for of in ("epoch", "run")
        ),
        Figure(
            what=f"{network}, {framework}: `executor.workers=2`, command",
            values=ratios(pairs, "wall", arm="two_workers", base="one_worker"),
        ),
    ]


def rows(_: Path, epochs: int | None) -> list[Row]:
    """Both networks in both frameworks."""
    return [
        Row(
            name=f"{network}_{framework}",
            pairs=2,
            seconds=130 if network == "cnn" else 80,
            measure=functools.partial(pair, network, framework, epochs=epochs),
            figures=functools.partial(figures, network, framework),
        )
        for network in NETWORKS
        for framework in programs.PROGRAMS
    ]


PART = Part(title="Options that are there for speed", text=TEXT, rows=rows)
