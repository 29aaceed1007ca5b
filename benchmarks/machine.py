"""What was measured on: the machine, the libraries, the code."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess

from experiments.execution import environment
from experiments.execution.devices import available_cores

LIBRARIES = (
    "torch", "pytorch-lightning", "tensorflow", "keras", "numpy", "scipy", "hydra-core", "omegaconf", "mlflow",
    "optuna", "matplotlib",
)  # fmt: skip
MEASURED = ("run.py", "experiments", "frameworks", "conf", "benchmarks/plain", "benchmarks/programs.py")


def conditions() -> dict[str, str]:
    """All that may not change between two pairs of a part."""
    facts = environment.facts()
    return {
        "cpu": facts["cpu"],
        "cores": str(available_cores()),
        "instruction sets": facts["instruction_sets"],
        "RAM": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": facts["platform"],
        "python": facts["python"],
        "code": code(),
    } | {name: importlib.metadata.version(name) for name in LIBRARIES}


def code() -> str:
    """The last commit that changed what is measured, "+changes" where files differ from it, or "unknown"."""
    try:
        commit = _git("log", "-1", "--format=%h", "--abbrev=12")
        return commit + ("+changes" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    asked = ["git", *words, "--", *MEASURED]
    done = subprocess.run(asked, cwd=environment.PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
