"""What each arm was set to: what differs between arms, what every setting is, and what trains one run alone."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.report import tables
from experiments.report.analysis import Analysis
from experiments.report.arms import Arm, as_number
from experiments.report.sanitize import clean
from experiments.report.tables import Table, table_of
from experiments.task.keys import format_value, short_key

ALWAYS = ("optimizer.learning_rate", "training.batch_size", "training.epochs")  # shown where all arms agree, too
FRAMEWORK = "framework"  # the first word of an arm's name
PARAMETERS = "n_parameters"  # a fact of each run
LONGEST = 80  # characters of a value
MOST_NAMED = 4  # arms that share a value; more are counted


def of_arms(analysis: Analysis) -> Table:
    """A row per arm: what differs, and always learning rate, batch size, epochs and number of parameters."""
    arms = analysis.arms
    keys = [*(key for key in _keys(arms) if key not in ALWAYS and len(_by_value(arms, key)) > 1), *ALWAYS]
    keys = [key for key in keys if key != FRAMEWORK and any(key in arm.settings for arm in arms)]
    rows = [
        (arm.name, *(_value(arm, key) for key in keys), " / ".join(map(str, parameters_of(arm))) or "–") for arm in arms
    ]
    head = ("arm", *_heads(keys), "parameters")
    texts = [column for column in range(len(head)) if not all(_is_number(row[column]) for row in rows)]
    return table_of("What differs between the arms; and learning rate, batch size, epochs, parameters", head, rows,
                    texts=texts)  # fmt: skip


def every(analysis: Analysis) -> Table:
    """A row per setting, folded: its value where all arms agree, else each value with the arms that have it."""
    arms = analysis.arms
    rows = []
    for key in _keys(arms):
        values = _by_value(arms, key)
        said = [text if len(values) == 1 else f"{text} ({_named(names)})" for text, names in values.items()]
        rows.append((key, "; ".join(said)))
    table = table_of("Every setting of every arm", ("setting", "value"), rows, texts=(0, 1))
    return replace(table, folded=True)


def commands(analysis: Analysis) -> list[tuple[str, str]]:
    """For each arm of which it is known, the command that trains its first run alone."""
    return [(arm.name, tables.command(arm.runs[0].overrides)) for arm in analysis.arms if arm.runs[0].overrides]


def _keys(arms: Sequence[Arm]) -> list[str]:
    return sorted({key for arm in arms for key in arm.settings})


def _by_value(arms: Sequence[Arm], key: str) -> dict[str, list[str]]:
    """Value of a setting as it is read -> names of the arms that have it."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    for arm in arms:
        found[_value(arm, key)].append(arm.name)
    return found


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} arms"


def _value(arm: Arm, key: str) -> str:
    """A setting as it is typed; – where the arm has none: not every optimizer has a momentum."""
    return clean(_typed(arm.settings[key]), LONGEST) if key in arm.settings else "–"


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_typed, value))}]"
    return format_value(value)


def parameters_of(arm: Arm) -> list[int]:
    """Numbers of weights, as the workers counted them; more than one where the runs do not agree."""
    told = [run.facts.get(PARAMETERS, "") for run in arm.runs]
    return sorted({int(count) for count in told if count.isdecimal()})


def _heads(keys: Sequence[str]) -> list[str]:
    """Keys as a person says them, whole where two would be said alike."""
    short = [short_key(key).replace("_", " ") for key in keys]
    return [said if short.count(said) == 1 else key for said, key in zip(short, keys, strict=True)]


def _is_number(cell: str) -> bool:
    return cell == "–" or as_number(cell) is not None
