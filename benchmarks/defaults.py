"""Every default of the installed frameworks: the file that a test holds to the classes, and its table.

    python -m benchmarks.defaults > conf/defaults.yaml
    python -m benchmarks.defaults --table > docs/defaults.md

Each framework reads its own classes, in a process of its own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from experiments.contract.catalogue import Catalogue

FILE = Path(__file__).parents[1] / "conf" / "defaults.yaml"
NAMES = ("lightning", "keras")
HEAD = """# Defaults of {versions}: made by `python -m benchmarks.defaults`, held to the classes by a test.
# word of `alignment` -> what it is of -> each framework's value and where it was read. No run reads this file.
"""
TABLE = """# What a default is

Made by `python -m benchmarks.defaults --table` from conf/defaults.yaml. `alignment=WORD` leaves that default to the
frameworks; `alignment=as_shipped` all that a task touches. Where no argument states a rule, the number is what the
installed class does in the case that is named.

| word | of | PyTorch Lightning | Keras | differs | PyTorch's from | Keras' from |
|---|---|---|---|---|---|---|
"""


def merged(catalogues: Mapping[str, Catalogue]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the file holds, from what each framework read.

    Raises:
        ValueError: If the frameworks do not tell of the same things.
    """
    shapes = {name: {word: set(items) for word, items in found.items()} for name, found in catalogues.items()}
    if any(shape != shapes[NAMES[0]] for shape in shapes.values()):
        raise ValueError(f"each framework must tell of the same defaults, but got {shapes}")
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for word, items in catalogues[NAMES[0]].items():
        for item in items:
            sides = {name: catalogues[name][word][item] for name in NAMES}
            values = {str(value) for value, _ in sides.values()}
            entry: dict[str, Any] = {
                name: {"value": value, "source": source} for name, (value, source) in sides.items()
            }
            content.setdefault(word, {})[item] = entry | {"differs": len(values) > 1}
    return content


def _read(name: str) -> Catalogue:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.defaults", name]
    read = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: Catalogue = yaml.safe_load(read.stdout)
    return found


def table(content: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The file's content as Markdown."""
    lines = []
    for word, items in content.items():
        for item, entry in items.items():
            sides = [entry[name] for name in NAMES]
            cells = [f"`{word}`", item, *(str(side["value"]) for side in sides), "yes" if entry["differs"] else "",
                     *(f"`{side['source']}`" for side in sides)]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |\n")
    return TABLE + "".join(lines)


def main() -> None:
    """Print the file, with --table the table, with a framework's name what that one read."""
    if sys.argv[1:] == ["--table"]:
        sys.stdout.write(table(yaml.safe_load(FILE.read_text(encoding="utf-8"))))
    elif sys.argv[1:]:
        found = importlib.import_module(f"frameworks.{sys.argv[1]}.catalogue").catalogue()
        told = {word: {item: list(pair) for item, pair in items.items()} for word, items in found.items()}
        sys.stdout.write(yaml.safe_dump(told, sort_keys=False))
    else:
        from importlib.metadata import version

        versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "keras"))
        content = merged({name: _read(name) for name in NAMES})
        sys.stdout.write(HEAD.format(versions=versions))
        yaml.safe_dump(content, sys.stdout, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    main()
