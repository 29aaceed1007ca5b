"""What was measured on: the machine, the libraries, the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from experiments.execution import environment
from experiments.execution.devices import available_cores

LIBRARIES = (
    "torch", "pytorch-lightning", "tensorflow", "keras", "numpy", "scipy", "hydra-core", "omegaconf", "mlflow",
    "optuna", "matplotlib",
)  # fmt: skip
INSTRUCTION_SETS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "bf16",
)  # fmt: skip
MEASURED = ("run.py", "experiments", "frameworks", "conf", "benchmarks/plain")


def conditions() -> dict[str, str]:
    """All that may not change between two pairs of a part."""
    return {
        "cpu": environment.facts()["cpu"],
        "cores": str(available_cores()),
        "instruction sets": instruction_sets(),
        "RAM": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "code": code(),
    } | {name: importlib.metadata.version(name) for name in LIBRARIES}


def instruction_sets() -> str:
    """Those that numerical kernels are chosen by, of those that the processor has."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return " ".join(name for name in INSTRUCTION_SETS if name in flags) or "unknown"


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
