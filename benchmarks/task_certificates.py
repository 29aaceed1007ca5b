"""Every offline experiment certified for Lightning and Keras' other backends, each two of them, as docs/backends.md.

    python -m benchmarks.task_certificates FOLDER [EXPERIMENT ...]    minutes each; FOLDER keeps what is done

Runs the command where FOLDER lacks a certificate, and writes all that FOLDER has. Exit code 1 if one did not pass.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import parity_backends, tasks
from experiments.execution.environment import PROJECT, facts
from experiments.parity.certificate import Row

PAGE = PROJECT / "docs" / "backends.md"
HEADING = "## Shipped tasks\n"
FRAMEWORKS = (parity_backends.REFERENCE, *parity_backends.BACKENDS)
PAIRS = tuple(itertools.combinations(FRAMEWORKS, 2))
Certificates = Mapping[tuple[str, ...], Mapping[str, Any]]


def certificates(folder: Path, experiment: str) -> Certificates:
    """Pair -> the newest certificate that the folder's store has of the experiment, as it is kept."""
    paths = sorted(folder.glob("mlruns/**/certificate.json"), key=lambda path: path.stat().st_mtime)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return {tuple(each["frameworks"]): each for each in found if each["task"] == experiment}


def line(experiment: str, made: Certificates, *, commit: str = "") -> str:
    """A line of the table: both backends against Lightning, then one against the other.

    Args:
        experiment: Its name.
        made: Its certificates.
        commit: Of the code that made them.
    """
    cells = [f"`{experiment}`"]
    for pair in PAIRS:
        certificate = made.get(pair)
        if certificate is None:
            cells += ["not made"] if pair == PAIRS[-1] else ["", "", "", "", "", "not made"]
            continue
        verdict = "certified" if certificate["passed"] else "**not certified**"
        rows = [Row(**{key: value for key, value in row.items() if key != "passed"}) for row in certificate["rows"]]
        exact = [row for row in rows if row.precision == "float64"]
        cells += [verdict] if pair == PAIRS[-1] else [*parity_backends.cells(exact)[:-1], verdict]
    return f"| {' | '.join([*cells, commit])} |"


def section(lines: list[str], machine: Mapping[str, str]) -> str:
    """What stands below the heading."""
    levels = ("C1", "C2", "C3", "C4", "flips")
    columns = ["task", *levels, PAIRS[0][1], *levels, PAIRS[1][1], "each other", "commit"]
    return f"""
Written by `python -m benchmarks.task_certificates FOLDER` on {machine["cpu"]}, Python {machine["python"]}:
`python run.py experiment=TASK framework={",".join(FRAMEWORKS)} action=parity`, 200 steps, one thread, by the code of
the commit that is named. Figures against Lightning in float64, as in [parity.md](parity.md). "certified" is the verdict
of the whole certificate: C0 to C4 and C6 in float64, C6 in float32, and that float32 reads the data alike; in the last
column but one that of the two backends with each other.

| {" | ".join(columns)} |
|{"---|" * len(columns)}
{chr(10).join(lines)}
"""


def _commit_file(folder: Path, experiment: str) -> Path:
    return folder / f"{experiment}.commit"


def _line_of(folder: Path, experiment: str) -> str:
    file = _commit_file(folder, experiment)
    commit = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return line(experiment, certificates(folder, experiment), commit=commit)


def main(folder: Path, experiments: list[str]) -> bool:
    """Certify, and write the page; return whether all of the experiments passed."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, machine = f"framework={','.join(FRAMEWORKS)}", facts()
    for experiment in experiments:
        if not certificates(folder, experiment).keys() >= set(PAIRS):
            tasks.command(folder, f"experiment={experiment}", asked, "action=parity")
            _commit_file(folder, experiment).write_text(machine["git_commit"][:7], encoding="utf-8")
        print(_line_of(folder, experiment), flush=True)
    lines = [_line_of(folder, each) for each in tasks.ROWS]
    above = PAGE.read_text(encoding="utf-8").partition(HEADING)[0].rstrip("\n")
    PAGE.write_text(f"{above}\n\n{HEADING}{section(lines, machine)}", encoding="utf-8")
    made = {each: certificates(folder, each) for each in experiments}
    return all(pair in each and each[pair]["passed"] for each in made.values() for pair in PAIRS)


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]), sys.argv[2:] or list(tasks.ROWS)) else 1)
