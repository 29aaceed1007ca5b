"""Measure on the real commands, and write docs/benchmarks.md.

    python -m benchmarks FOLDER [PART ...] [--pairs N]    PART: a part, or PART/ROW; all where none is named
    python -m benchmarks --list                           the parts, and the other benchmarks

FOLDER keeps every pair, so that the same command goes on where it stopped. Leave the machine alone meanwhile.
Exit code 1 where a line of the page misses what it must hold, 2 where something was typed wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import busy, command, cost, epoch, machine, options, page, programs, start
from benchmarks.measuring import Kept, Part, Row, missing
from experiments.errors import ExitCode, SettingsError, TandemError
from experiments.execution.environment import PROJECT

PARTS: dict[str, Part] = {
    "epoch": epoch.PART,
    "command": command.PART,
    "busy": busy.PART,
    "start": start.PART,
    "cost": cost.PART,
    "options": options.PART,
}
OTHERS = {
    "tasks": "every offline experiment, certified, as docs/tasks.md",
    "task_certificates": "every offline experiment, certified for Keras' other backends, as docs/backends.md",
    "parity_table": "every network with every optimizer, as docs/parity.md: `keras` or `backends`",
    "tuning": "what pruning saves, and what a second worker brings to a search",
    "timed_command": "what the parts of one command take, as `cost` measures them",
    "report_time": "the report of 200 runs",
    "defaults": "every default of both frameworks, as conf/defaults.yaml and docs/defaults.md",
    "gpu": "what a run on a GPU is like, as docs/gpu.md; `python -m benchmarks.gpu --help`",
    "screenshots": "docs/img/",
    "dashboard": "`mlflow ui`, for screenshots (no command)",
}


def chosen_rows(
    parts: Mapping[str, Part], words: Sequence[str], *, folder: Path, epochs: int | None
) -> dict[str, list[Row]]:
    """Part -> its rows that `words` name, as PART or PART/ROW; all, where there are none.

    Raises:
        SettingsError: If there is no such part or row.
    """
    known = {name: list(part.rows(folder, epochs)) for name, part in parts.items()}
    chosen: dict[str, list[Row]] = {}
    for word in words or known:
        name, _, row = word.partition("/")
        rows = [each for each in known.get(name, []) if row in ("", each.name)]
        if not rows:
            there = [each.name for each in known[name]] if name in known else list(known)
            raise SettingsError(f"there is no {word!r}; there are {', '.join(there)}")
        chosen[name] = [*chosen.get(name, []), *(each for each in rows if each not in chosen.get(name, []))]
    return chosen


def measure(name: str, rows: Sequence[Row], *, kept: Kept, pairs: int | None) -> None:
    """Measure what is missing of a part, and keep it."""
    to_do = missing(rows, kept=kept, pairs=pairs)
    took: dict[str, list[float]] = {}
    for place, row in enumerate(to_do):
        left = sum(median(took.get(each.name, [each.seconds])) for each in to_do[place:])
        print(f"{name}/{row.name}: {len(to_do) - place} pairs to go, about {left / 60:.0f} min", flush=True)
        began = time.perf_counter()
        kept.add(row.name, row.measure(len(kept.pairs(row.name))))
        took.setdefault(row.name, []).append(time.perf_counter() - began)


def listing() -> str:
    """Every part with its rows and the minutes that it takes on two slow cores; the other benchmarks."""
    lines = []
    for name, part in PARTS.items():
        rows = part.rows(Path(), None)
        minutes = sum(row.pairs * row.seconds for row in rows) / 60
        lines.append(f"{name:14} {part.title}; about {minutes:.0f} min: {' '.join(row.name for row in rows)}")
    lines += ["", "the others, python -m benchmarks.NAME:"]
    return "\n".join([*lines, *(f"{name:14} {what}" for name, what in OTHERS.items())])


def arguments(typed: Sequence[str]) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--pairs", type=int, help="of every row, instead of its own number")
    parser.add_argument("--epochs", type=int, help="of every run, instead of the row's own number: for a try")
    parser.add_argument("--page", type=Path, default=PROJECT / "docs" / "benchmarks.md", help="instead of docs/")
    parser.add_argument("--list", action="store_true", help="say what there is")
    asked = parser.parse_intermixed_args(typed)
    for name in ("pairs", "epochs"):
        if (number := getattr(asked, name)) is not None and number < 1:
            parser.error(f"`--{name} >= 1` must hold, but got {number}")
    if asked.folder is None and not asked.list:
        parser.error("FOLDER is missing: where the pairs are kept")
    return asked


def main(typed: Sequence[str]) -> ExitCode:
    """Measure and write."""
    asked = arguments(typed)
    if asked.list:
        print(listing())
        return ExitCode.ALL_GOOD
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        chosen = chosen_rows(PARTS, asked.parts, folder=folder, epochs=asked.epochs)
        found = machine.conditions() | {"MNIST": programs.mnist()}
        found |= {"epochs": "the rows' own" if asked.epochs is None else str(asked.epochs)}
        for name in chosen:
            Kept(path=folder / f"{name}.jsonl").require(found)
        for name, rows in chosen.items():
            measure(name, rows, kept=Kept(path=folder / f"{name}.jsonl"), pairs=asked.pairs)
    except TandemError as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_INPUT
    missed = page.write(PARTS, folder, asked.page)
    print(f"written: {asked.page}")
    for figure in missed:
        print(f"missed: {figure.what}: {page.value(figure)}, and at most {figure.at_most:g} {figure.unit}".rstrip())
    return ExitCode.SOME_FAILED if missed else ExitCode.ALL_GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
