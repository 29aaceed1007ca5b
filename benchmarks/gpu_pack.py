"""Collect as wheels what the run on a GPU needs and its machine lacks; that machine has no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from experiments.data.images import DEBIAN_FASHION_MNIST, IDX_FILES
from experiments.execution.environment import PROJECT

# There already, in versions of that machine's: what brings CUDA, and what it was built against.
PRESENT = ("torch", "pytorch-lightning", "jax", "jaxlib", "numpy", "scipy", "tensorflow")
SOURCE_ONLY = "antlr4-python3-runtime==4.9.3"  # of hydra-core and omegaconf: pure Python, but no wheel is published
ALONE = ("mlflow", "mlflow-tracing", "mlxtend")  # without what they require: servers, models, scikit-learn
BESIDE = ("mlflow-skinny", "alembic", "sqlalchemy", "pandas", "packaging")  # what MLflow's client for SQLite imports
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
FASHION = "fashion-mnist"  # as the cache has it


def wanted() -> tuple[list[str], list[str]]:
    """What is fetched with what it requires, and what without: as pyproject.toml has it, less what is there."""
    stated = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    needed = {each.name: each for each in map(Requirement, stated) if each.name not in PRESENT}
    mlflow = needed["mlflow"].specifier
    whole = [str(each) for name, each in needed.items() if name not in ALONE]
    whole += [f"{name}{mlflow if name.startswith('mlflow') else ''}" for name in BESIDE]
    alone = [f"{name}{mlflow if name.startswith('mlflow') else needed[name].specifier}" for name in ALONE]
    return whole, alone


def pack(folder: Path, *, python: str, cache: Path) -> str:
    """Fill `folder`; return what lies there, in a sentence.

    Args:
        folder: Where the wheels go, and Fashion-MNIST's files where the cache has them.
        python: The version of Python that they are for, such as "3.12"; Linux on x86-64.
        cache: Where data are kept; Debian's package is another place for Fashion-MNIST.
    """
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    whole, alone = wanted()
    _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), SOURCE_ONLY)
    there = ["--dest", str(wheels), "--find-links", str(wheels), "--only-binary=:all:", f"--python-version={python}"]
    there += [f"--platform={each}" for each in PLATFORMS]
    _pip("download", *there, *whole)
    _pip("download", *there, "--no-deps", *alone)
    for path in wheels.iterdir():
        if path.name.partition("-")[0].replace("_", "-").lower() in PRESENT:
            path.unlink()
    found = list(wheels.glob("*.whl"))
    return f"{len(found)} wheels for Python {python}, {_mib(found)}, and {_fashion(folder / FASHION, cache=cache)}"


def _fashion(into: Path, *, cache: Path) -> str:
    """Copy Fashion-MNIST's four files; say how large they are, or that they are nowhere."""
    for place in (cache / FASHION, DEBIAN_FASHION_MNIST):
        found = [path for path in place.glob("*") if path.name.removesuffix(".gz") + ".gz" in IDX_FILES.values()]
        if len(found) == len(IDX_FILES):
            into.mkdir(exist_ok=True)
            for path in found:
                shutil.copy(path, into)
            return f"Fashion-MNIST's files, {_mib(found)}"
    return "no file of Fashion-MNIST, which neither the cache nor Debian's package has: MNIST is tiled instead"


def _mib(paths: Sequence[Path]) -> str:
    return f"{sum(path.stat().st_size for path in paths) / 2**20:.0f} MiB"


def _pip(*words: str) -> None:
    """Run pip.

    Raises:
        RuntimeError: If it fails; says what it said last.
    """
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip {words[0]} failed: {done.stderr.strip()[-1000:]}")
