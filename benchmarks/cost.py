"""What a run costs beside its training, and what a store of thousands of runs costs those who read it."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

import frameworks
import run
from benchmarks import big_store, programs
from benchmarks.measuring import Figure, Pair, Part, Row
from experiments import preparation
from experiments.data import download
from experiments.execution.environment import PROJECT
from experiments.fingerprint import fingerprint_of

TEXT = """`digits_mlp` in the NumPy referee, where next to nothing is trained. The cost of a run is the time from the
opening of the store to the end of reading it back, less what the runs took by their own clock, for each of 200 runs.
Tracking on and off: the same run's training with its events kept in MLflow and thrown away, turn by turn; the value is
the median of 12 ratios. The store of 10,000 runs is made of 8 that were trained, by copying their database rows;
`report` is the whole command with all of its imports, less the drawing. `resume` is the same command again where all of
its 1,000 runs are done: from the opening of the sweep until every run is found, seen to be whole and read; composing,
drawing, and the whole command stand beside it."""
AT_MOST_COST, AT_MOST_TRACKING, AT_MOST_REPORT, AT_MOST_RESUME = 0.6, 1.02, 5.0, 10.0
REFEREE = ["experiment=digits_mlp", "framework=numpy", "training.precision=float64", "executor.device=cpu"]
N_RUNS, N_RESUMED, N_OTHERS = 200, 1000, 9000


def timed(way: str, *words: str, folder: Path) -> dict[str, Any]:
    """What `benchmarks.timed_command` prints of a command in `folder`; and its whole wall seconds."""
    cache = str(download.cache_folder(otherwise=folder / "cache"))
    ended = programs.process(
        [sys.executable, "-P", "-m", "benchmarks.timed_command", way, *words],
        folder=folder,
        TANDEM_CACHE=cache,
        PYTHONPATH=str(PROJECT),
    )
    found: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    return found | {"wall": ended.wall}


def runs(turn: int) -> Pair:
    """One command that trains 200 runs."""
    with tempfile.TemporaryDirectory() as name:
        words = (*REFEREE, "training.epochs=1", f"seed=range({N_RUNS})")
        found = timed("run", *words, folder=Path(name))
    per_run = (found["carrying_out"] - found["trained"]) / N_RUNS
    return {"ours": {"per_run": per_run, "growth": found["memory"][-1] - found["memory"][49]}}


def tracking(turn: int) -> Pair:
    """Twelve runs of 150 epochs, each with its events kept and thrown away."""
    with tempfile.TemporaryDirectory() as name:
        found = timed("tracking", *REFEREE, "training.epochs=150", "seed=range(12)", folder=Path(name))
    ratios = [on / off for on, off in zip(found["on"], found["off"], strict=True)]
    return {"ours": {"ratio": median(ratios)}} | {arm: {"training": found[arm]} for arm in ("on", "off")}


def store_of(folder: Path) -> Path:
    """The folder of the big store, made once."""
    place = folder / f"store-{N_RESUMED + N_OTHERS}"
    if (place / "made").exists():
        return place
    place.mkdir()
    timed("run", *REFEREE, "training.epochs=5", "seed=range(8)", folder=place)
    jobs = run.jobs_from([run.__file__, *REFEREE, "training.epochs=5", "seed=0", f"output={place / 'outputs'}"])
    cache = download.cache_folder(otherwise=place / "cache")
    console = Console(file=sys.stderr)
    sweep = preparation.prepare(jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="", console=console)
    asked = [dataclasses.replace(sweep.runs[0], seed=seed).fingerprint for seed in range(N_RESUMED)]
    database = place / "mlflow.db"
    (original,) = big_store.sweeps(database)
    add = functools.partial(big_store.add_sweep, database, original)
    for number in range(N_OTHERS // 100):
        others = [fingerprint_of([number, seed]) for seed in range(100)]
        add(seeds=range(100), fingerprints=others, fingerprint=fingerprint_of(number))
    add(seeds=range(N_RESUMED), fingerprints=asked, fingerprint=fingerprint_of(sorted(asked)))
    (place / "made").write_text(original)
    return place


def big_report(folder: Path, turn: int) -> Pair:
    """The report of the sweep that was trained."""
    place = store_of(folder)
    words = ("experiment=digits_mlp", "action=report", f"sweep={(place / 'made').read_text()}")
    found = timed("run", *words, folder=place)
    return {"ours": {"beyond": found["wall"] - found["drawing"], "drawing": found["drawing"]}}


def resume(folder: Path, turn: int) -> Pair:
    """The command whose 1,000 runs are done."""
    words = (*REFEREE, "training.epochs=5", f"seed=range({N_RESUMED})")
    found = timed("run", *words, folder=store_of(folder))
    if found["trained"]:
        raise RuntimeError("every run was to be done already, but some were trained")
    return {"ours": {name: found[name] for name in ("carrying_out", "composing", "drawing", "wall")}}


def lines(name: str, pairs: Sequence[Pair]) -> list[Figure]:
    """What the pairs of a row come to."""

    def of(key: str) -> list[float]:
        return [pair["ours"][key] for pair in pairs]

    def beside(*keys: str) -> dict[str, str]:
        return {key: f"{median(of(key)):.1f} s" for key in keys} if pairs else {}

    if name == "runs":
        cost = Figure(what=f"each of {N_RUNS} runs", values=of("per_run"), unit="s", at_most=AT_MOST_COST)
        told = "memory of the command after 200 runs, less that after 50"
        return [cost, Figure(what=told, values=of("growth"), unit="MiB", digits=1)]
    if name == "tracking":
        what = "training with tracking on, over off"
        return [Figure(what=what, values=of("ratio"), at_most=AT_MOST_TRACKING, digits=3)]
    if name == "report":
        what = "report of 8 runs, in a store of 10,000"
        return [Figure(what=what, values=of("beyond"), unit="s", at_most=AT_MOST_REPORT, beside=beside("drawing"))]
    what = f"the same command again, its {N_RESUMED:,} runs done"
    more = beside("composing", "drawing", "wall")
    return [Figure(what=what, values=of("carrying_out"), unit="s", at_most=AT_MOST_RESUME, beside=more)]


def rows(folder: Path, _: int | None) -> list[Row]:
    """Runs, tracking, report, resume."""
    measures: dict[str, tuple[Callable[[int], Pair], float]] = {
        "runs": (runs, 60),
        "tracking": (tracking, 60),
        "report": (functools.partial(big_report, folder), 12),
        "resume": (functools.partial(resume, folder), 90),
    }
    return [
        Row(name=name, pairs=3, seconds=seconds, measure=measure, figures=functools.partial(lines, name))
        for name, (measure, seconds) in measures.items()
    ]


PART = Part(title="The cost of a run", text=TEXT, rows=rows)
