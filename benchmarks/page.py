"""docs/benchmarks.md from what FOLDER holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.measuring import Figure, Kept, Part, interval

HEAD = """# Benchmarks

Written by `python -m benchmarks FOLDER`, which goes on where it stopped; `python -m benchmarks --list` names the parts.

A value is the median of n pairs; what a pair compares was measured right after each other, who is first changing from
pair to pair. In brackets is a 95 % interval of the median from its order statistics (Conover 1999, section 3.2); fewer
than 6 pairs have none, and smallest to largest stand in parentheses. "Met" and "missed" are the median's; "not settled"
is added where the interval, or the range, reaches to the other side.
"""


def verdict(figure: Figure) -> str:
    """Whether what is required holds, in words; the figure's note where nothing is."""
    if figure.at_most is None:
        return figure.note
    if not figure.values:
        return "not measured"
    low, high = interval(figure.values) or (min(figure.values), max(figure.values))
    word = "**missed**" if figure.is_missed else "met"
    return f"{word}, not settled" if low <= figure.at_most < high else word


def value(figure: Figure) -> str:
    """Median and interval, or range."""
    if not figure.values:
        return ""
    found = interval(figure.values)
    low, high = found or (min(figure.values), max(figure.values))
    unit = f" {figure.unit}" if figure.unit else ""
    middle, low_text, high_text = (f"{each:.{figure.digits}f}" for each in (median(figure.values), low, high))
    between = f"[{low_text}, {high_text}]" if found else f"({low_text} to {high_text})"
    return f"{middle}{unit} {between}"


def table(figures: Sequence[Figure]) -> list[str]:
    """The lines of a part."""
    titles = list(dict.fromkeys(title for each in figures for title in each.beside))
    head = ["", *titles, "value", "at most", "n", ""]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for each in figures:
        at_most = "" if each.at_most is None else f"{each.at_most:g}" + (f" {each.unit}" if each.unit else "")
        n = str(len(each.values)) if each.values else ""
        cells = [each.what, *(each.beside.get(title, "") for title in titles), value(each), at_most, n, verdict(each)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def told(conditions: Mapping[str, str]) -> str:
    """What was measured on, as a line."""
    return "; ".join(f"{name} {text}" for name, text in conditions.items())


def figures_of(part: Part, kept: Kept, folder: Path) -> list[Figure]:
    """All lines of a part, from what is kept."""
    return [figure for row in part.rows(folder, None) for figure in row.figures(kept.pairs(row.name))]


def section(name: str, part: Part, kept: Kept, *, shared: Mapping[str, str], figures: Sequence[Figure]) -> list[str]:
    """A part's heading, text and table.

    Args:
        name: As it is typed.
        part: What it is.
        kept: Its pairs.
        shared: What all parts were measured on, and the page says once.
        figures: Its lines.
    """
    lines = [f"## {part.title} (`{name}`)", "", part.text, ""]
    if not kept.last_date():
        return [*lines, f"Not measured yet: `python -m benchmarks FOLDER {name}`.", ""]
    own = {key: text for key, text in kept.conditions().items() if key not in shared}
    why = [part.why, ""] if part.why else []
    return [*lines, *table(figures), "", *why, f"Last pair on {kept.last_date()}{'; ' if own else ''}{told(own)}.", ""]


def write(parts: Mapping[str, Part], folder: Path, path: Path) -> list[Figure]:
    """Write the page; return the lines that miss what is required."""
    kept = {name: Kept(path=folder / f"{name}.jsonl") for name in parts}
    figures = {name: figures_of(part, kept[name], folder) for name, part in parts.items()}
    measured = [set(found.items()) for each in kept.values() if (found := each.conditions())]
    first = next((each.conditions() for each in kept.values() if each.conditions()), {})
    shared = {key: text for key, text in first.items() if all((key, text) in found for found in measured)}
    lines = [
        line
        for name, part in parts.items()
        for line in section(name, part, kept[name], shared=shared, figures=figures[name])
    ]
    machine = [f"Measured on: {told(shared)}.", ""] if shared else []
    path.write_text("\n".join([HEAD, *machine, *lines]).rstrip() + "\n")
    return [figure for found in figures.values() for figure in found if figure.is_missed]
