"""Who may import what: read from the source, so that a breach is red before it runs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"torch", "pytorch_lightning", "lightning", "tensorflow", "keras", "jax", "torchmetrics"}
ONLY_IN = {
    "mlflow": {"experiments/tracking/store.py"},
    "optuna": {"experiments/tuning/studies.py"},
    "tensorboardX": {"experiments/tracking/tensorboard.py"},
    "omegaconf": {"experiments/settings.py", "experiments/composition.py", "run.py"},
    "hydra": {"run.py"},
}
ALLOWED_IN_FRAMEWORKS = {"task", "contract"}


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports; relative imports, which would hide theirs, as "relative.NAME"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = "relative" if node.level else node.module
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def breaches(root: Path) -> list[str]:
    """Every import below `root` that its room does not allow."""
    found = []
    for path in sorted([*root.glob("experiments/**/*.py"), *root.glob("frameworks/**/*.py"), *root.glob("run.py")]):
        place = path.relative_to(root).as_posix()
        for name in imports_of(path):
            top = name.partition(".")[0]
            own = {"lightning": {"torch", "pytorch_lightning"}, "keras": {"keras", "tensorflow"}}
            room = place.split("/")[1] if place.startswith("frameworks/") and place.count("/") == 2 else ""
            if top in FRAMEWORKS and top not in own.get(room, set()):
                found.append(f"{place} imports {name}")
            if top == "relative":
                found.append(f"{place} imports {name}")
            if top in ONLY_IN and place not in ONLY_IN[top]:
                found.append(f"{place} imports {name}")
            if place.startswith("experiments/") and top in {"frameworks", "run"}:
                found.append(f"{place} imports {name}")
            if place.startswith("frameworks/") and top == "experiments":
                module = name.split(".")[1]
                if module not in ALLOWED_IN_FRAMEWORKS:
                    found.append(f"{place} imports {name}")
            if room and top == "frameworks" and not name.startswith(f"frameworks.{room}"):
                found.append(f"{place} imports {name}")
    return found


def test_no_room_is_breached():
    assert len(list(PROJECT.glob("experiments/**/*.py"))) > 10
    assert len(list(PROJECT.glob("frameworks/*/*.py"))) >= 10
    assert breaches(PROJECT) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("experiments/metrics.py", "import torch"),
        ("experiments/execution/run.py", "from frameworks import load"),
        ("experiments/sweep.py", "from mlflow import MlflowClient"),
        ("frameworks/keras/networks.py", "import hydra"),
        ("frameworks/keras/networks.py", "import torch"),
        ("frameworks/lightning/networks.py", "from frameworks.keras import networks"),
        ("frameworks/lightning/training.py", "from experiments.tracking import Store"),
        ("frameworks/lightning/training.py", "from ..numpy import training"),
        ("run.py", "import keras"),
    ],
)
def test_a_breach_is_seen(tmp_path, place, line):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"def late():\n    {line}\n")
    assert len(breaches(tmp_path)) == 1


def test_the_frameworks_have_the_same_files():
    files = {
        name: {path.name for path in (PROJECT / "frameworks" / name).glob("*.py")} for name in ("lightning", "keras")
    }
    assert {"adapter.py", "networks.py", "training.py", "weights.py"} <= files["lightning"]
    assert {"adapter.py", "networks.py", "training.py", "weights.py"} <= files["keras"]


def test_importing_run_imports_no_framework_and_no_heavy_library():
    heavy = FRAMEWORKS | {"mlflow", "optuna", "scipy", "matplotlib", "sklearn"}
    code = f"import run, sys; print([name for name in sys.modules if name in {heavy!r}])"
    out = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
