"""What `benchmarks.gpu` found, as docs/gpu.md: failures too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean, median
from typing import Any

RESULTS = "gpu.json"
# Seconds that a part may take on a GPU, and all together: the last ones have what is left.
LIMITS = {"steps": 60.0, "doctor": 90.0, "certificates": 170.0, "mnist": 90.0, "fashion": 90.0, "gpus": 60.0}
MOST_SECONDS = 470.0
HEAD = f"""# On a GPU

Made by `python -m benchmarks.gpu run FOLDER`; how it is prepared, `python -m benchmarks.gpu --help` says. Its parts
may take {", ".join(f"{name} {limit:.0f}" for name, limit in LIMITS.items())} s, and all together
{MOST_SECONDS:.0f} s. A part that failed, was skipped, or was stopped at its time limit, says so; the same command
again does what is not done yet.

"""
NOT_RUN = """Not run yet: no GPU was at hand. It is not known yet whether
certificates hold (float64, float32 with and without TF32, bfloat16), whether runs repeat bit by bit, what steps take
beside loops by hand, what peaks of memory on the device `memory/device_peak_mib` tells, and that several GPUs have a
run each. On a CPU, from the packed wheels and without a network (Python 3.12.1, PyTorch 2.11.0, JAX 0.11.2, Lightning
2.6.6), the same command with `--device cpu` came to its end in 5 min 11 s: steps 21, doctor 26, certificates 183, mnist
42, fashion 38 s. All 12 float64 certificates passed, of mnist_cnn, vowels_lstm, cnn_bn and resnet.
"""
LEVELS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6")


def page(results: Mapping[str, Any] | None) -> str:
    """The page; None: before there is anything."""
    if results is None:
        return HEAD + NOT_RUN
    facts = results["facts"]
    lines = [
        HEAD + f"On a {results['device'].upper()}: {facts['cpu']}, Python {facts['python']}, {facts['git_commit']}.",
        "",
    ]
    for name, part in results["parts"].items():
        lines += [f"## {name}", "", f"{part['status'].capitalize()}, {part['seconds']:.0f} s.", ""]
        if part.get("said"):
            lines += ["```text", *part["said"], "```", ""]
        if part["found"] is not None:
            lines += [*TABLES[name](part["found"]), ""]
    return "\n".join(lines)


def _steps(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "Batches of 64, the network of mnist_cnn, arrays on the device:",
        "",
        "| loop | us per step | MiB on the device |",
        "|---|---|---|",
    ]
    for name, each in found.items():
        told = f"{1e6 * each['seconds']:.0f}" if "seconds" in each else f"failed: {each['failed'].splitlines()[-1]}"
        lines.append(f"| {name} | {told} | {_number(each.get('peak_mib'))} |")
    return lines


def _doctor(found: Mapping[str, Any]) -> list[str]:
    lines = [f"It left with {found['code']}.", "", "| | | |", "|---|---|---|"]
    return lines + [f"| {each['part']} | {each['state']} | {_cell(each['told'])} |" for each in found["checks"]]


def _certificates(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "Largest of each level, in units of its own; *: over its bound, which is that of a CPU.", "",
        f"| certificate | | precision | {' | '.join(LEVELS)} |", "|---|---|---|" + "---|" * len(LEVELS),
    ]  # fmt: skip
    for name, each in found.items():
        if "failed" in each:
            lines.append(f"| {name} | no certificate | {_cell(each['failed'])} |" + " |" * len(LEVELS))
            continue
        by: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in each["rows"]:
            by[row["precision"]][row["level"]].append(row)
        verdict = {True: "certified", False: "**not certified**", None: ""}[each["passed"]]
        lines += [
            f"| {name} | {verdict} | {precision} | " + " | ".join(_level(levels.get(level)) for level in LEVELS) + " |"
            for precision, levels in by.items()
        ]
    return lines


def _level(rows: list[Mapping[str, Any]] | None) -> str:
    if not rows:
        return ""
    return f"{max(row['measured'] for row in rows):.0e}" + ("" if all(row["passed"] for row in rows) else " *")


def _trained(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"`python run.py {found['command']}` left with {found['code']}.", "",
        "| framework | runs finished | test accuracy | us per step | first step, s | import, s | MiB on the device |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    arms: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for run in found["runs"]:
        arms[run["name"].partition(" ")[0]] += [run["metrics"]] if run["status"] == "FINISHED" else []
    for name, runs in arms.items():
        if not runs:
            lines.append(f"| {name} | 0 | | | | | |")
            continue
        device = [run["memory/device_peak_mib"] for run in runs if "memory/device_peak_mib" in run]
        lines.append(
            f"| {name} | {len(runs)} | {mean(run['test/accuracy'] for run in runs):.4f} "
            f"| {1e6 * median(run['time/steady_step'] for run in runs):.0f} "
            f"| {median(run['time/first_step'] for run in runs):.1f} "
            f"| {median(run['time/import'] for run in runs):.1f} "
            f"| {_number(max(device) if device else None)} |"
        )
    return lines


def _gpus(found: Mapping[str, Any]) -> list[str]:
    lines = ["| framework | told, each worker | sees, each worker |", "|---|---|---|"]
    for name, each in found["told"].items():
        told, sees = (each["told"], each["sees"]) if "failed" not in each else ([], [[_cell(each["failed"])]])
        lines.append(f"| {name} | {'; '.join(told)} | {'; '.join(', '.join(one) for one in sees)} |")
    return [*lines, "", *_trained(found)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


TABLES = {
    "steps": _steps,
    "doctor": _doctor,
    "certificates": _certificates,
    "mnist": _trained,
    "fashion": _trained,
    "gpus": _gpus,
}
