"""Who may import what: read from the source, so that a breach is red before it runs."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import frameworks

PROJECT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"torch", "pytorch_lightning", "lightning", "tensorflow", "keras", "jax", "torchmetrics"}
ONLY_IN = {  # a file, or a room and all that is in it
    "mlflow": {f"experiments/tracking/{name}.py" for name in ("client", "files", "reader", "store")},
    "optuna": {"experiments/tuning/"},
    "tensorboardX": {"experiments/tracking/tensorboard.py"},
    "omegaconf": {f"experiments/{name}.py" for name in ("composer", "composition", "settings")},
    "hydra": {f"experiments/{name}.py" for name in ("command_line", "composer", "config_files", "overrides")}
    | {"run.py"},
}
BACKENDS = "frameworks/keras/backends/"
ALLOWED_IN_FRAMEWORKS = {"task", "contract"}
OUTSIDE = {"run", "benchmarks", "tests"}  # they import the two packages, never the other way


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
            own = {"lightning": {"torch", "pytorch_lightning"}, "keras": {"keras"}}
            if place.startswith(BACKENDS):  # each imports the library that it is named after
                own["keras"] |= {place.removeprefix(BACKENDS).removesuffix(".py").partition("_")[0]}
            room = place.split("/")[1] if place.startswith("frameworks/") and place.count("/") > 1 else ""
            if top in FRAMEWORKS and top not in own.get(room, set()):
                found.append(f"{place} imports {name}")
            if top == "relative":
                found.append(f"{place} imports {name}")
            if top in ONLY_IN and not place.startswith(tuple(ONLY_IN[top])):
                found.append(f"{place} imports {name}")
            if place.startswith("experiments/") and top in {"frameworks", *OUTSIDE}:
                found.append(f"{place} imports {name}")
            if place.startswith("frameworks/") and top == "experiments":
                module = name.split(".")[1] if "." in name else ""
                if module not in ALLOWED_IN_FRAMEWORKS:
                    found.append(f"{place} imports {name}")
            if place.startswith("frameworks/") and top in OUTSIDE:
                found.append(f"{place} imports {name}")
            if room and top == "frameworks" and name.split(".")[1:2] != [room]:
                found.append(f"{place} imports {name}")
    return found


def modules_of(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of ours below `root`."""
    paths = [*root.glob("experiments/**/*.py"), *root.glob("frameworks/**/*.py"), *root.glob("run.py")]
    names = {path: path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def reached_from(prefix: str, *, root: Path = PROJECT) -> set[str]:
    """What importing every module below `prefix` may load: ours, and the libraries' top names; late imports count.

    Python runs the `__init__.py` of every package on the way to a module; those count as well.
    """
    modules = modules_of(root)
    waiting = [name for name in modules if name == prefix or name.startswith(f"{prefix}.")]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for imported in imports_of(modules[name]):
            parts = imported.split(".")
            ours = {".".join(parts[:length]) for length in range(1, len(parts) + 1)} & set(modules)
            waiting += ours
            reached |= set() if ours else {parts[0]}
    return reached


def cycles(root: Path = PROJECT) -> list[list[str]]:
    """A cycle of modules and a cycle of rooms, where there is one; late imports count.

    A room is a folder of experiments/ or frameworks/, or a file beside them.
    """
    modules = modules_of(root)
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        imported = {name_of for each in imports_of(path) if (name_of := _module_of(each, modules))}
        graph[name] = imported - {name}
    rooms: dict[str, set[str]] = {}
    for name, imported in graph.items():
        rooms.setdefault(_room_of(name), set()).update({_room_of(each) for each in imported} - {_room_of(name)})
    return [found for each in (graph, rooms) if (found := _cycle_in(each))]


def _module_of(imported: str, modules: Collection[str]) -> str:
    """experiments.task.keys.flatten -> experiments.task.keys; "" for what is not ours."""
    while imported and imported not in modules:
        imported = imported.rpartition(".")[0]
    return imported


def _room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _cycle_in(graph: Mapping[str, Collection[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


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
        ("experiments/sweep.py", "from optuna.trial import TrialState"),
        ("frameworks/keras/networks.py", "import hydra"),
        ("frameworks/keras/networks.py", "import torch"),
        ("frameworks/keras/training.py", "import tensorflow as tf"),
        ("frameworks/keras/backends/jax.py", "import tensorflow as tf"),
        ("frameworks/keras/backends/__init__.py", "import jax"),
        ("frameworks/lightning/networks.py", "from frameworks.keras import networks"),
        ("frameworks/lightning/training.py", "from experiments.tracking import Store"),
        ("frameworks/lightning/training.py", "from ..numpy import training"),
        ("frameworks/lightning/training.py", "import experiments"),
        ("frameworks/keras/training.py", "from frameworks.keras2 import training"),
        ("frameworks/keras/more/training.py", "from frameworks.lightning import training"),
        ("frameworks/keras/training.py", "import run"),
        ("experiments/sweep.py", "from benchmarks import tasks"),
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
    assert {"adapter.py", "networks.py", "training.py", "weights.py"} <= files["keras"]
    # Keras' replicas are one backend's.
    assert files["lightning"] - files["keras"] == {"replicas.py", "replica_process.py"}
    assert files["keras"] <= files["lightning"]


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("run", {"mlflow", "optuna", "scipy", "matplotlib", "sklearn"}),
        ("experiments.preparation, experiments.training", {"optuna"}),  # nothing is searched in a plain sweep
    ],
)
def test_importing_what_a_command_begins_with_imports_no_framework_and_nothing_heavy(modules, without):
    code = f"import {modules}, sys; print([name for name in sys.modules if name in {FRAMEWORKS | without!r}])"
    out = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_nothing_is_imported_in_a_circle():
    assert cycles() == []


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        (
            {"sweep": "from experiments.tuning import search", "tuning/search": "from experiments.sweep import Sweep"},
            [{"experiments.sweep", "experiments.tuning.search"}, {"experiments.sweep", "experiments.tuning"}],
        ),
        (
            {
                "data/load": "from experiments.task import keys",
                "data/spec": "",
                "task/keys": "",
                "task/checks": "from experiments.data.spec import ExampleSpec",
            },
            [{"experiments.data", "experiments.task"}],
        ),
    ],
    ids=["two modules", "two rooms"],
)
def test_a_circle_is_seen(tmp_path, files, seen):
    for name, line in files.items():
        path = tmp_path / "experiments" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def late():\n    {line or 'pass'}\n")
    assert [set(each) for each in cycles(tmp_path)] == seen


BEHIND_THE_REPORT = (
    "mlflow",
    "omegaconf",
    "optuna",
    "experiments.execution",
    "experiments.preparation",
    "experiments.recording",
    "experiments.settings",
    "experiments.sweep",
    "experiments.training",
    "experiments.tuning",
    "experiments.tracking.client",
    "experiments.tracking.reader",
    "experiments.tracking.store",
    "experiments.training",
    "frameworks",
)


def test_a_report_is_made_from_records_alone():
    reached = reached_from("experiments.report")
    assert {"experiments.report.tables", "experiments.records", "experiments.statistics", "matplotlib"} <= reached
    assert [name for name in sorted(reached) if name.startswith(BEHIND_THE_REPORT)] == []


def test_a_closure_counts_late_imports_and_the_packages_on_the_way(tmp_path):
    files = {"report/page": "def late():\n    from experiments.a.b import c", "a/__init__": "import mlflow", "a/b": ""}
    for name, text in files.items():
        path = tmp_path / "experiments" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert reached_from("experiments.report", root=tmp_path) == {
        "experiments.report.page",
        "experiments.a",
        "experiments.a.b",
        "mlflow",
    }


def test_the_judge_does_not_know_the_contestants():
    """No framework's name stands in the code of experiments/: limits and colours come from its row, by a parameter."""
    texts = [
        (path.name, re.sub("drawn once in NumPy|NUMPY_MADVISE_HUGEPAGE", "", node.value).lower())
        for path in sorted(PROJECT.glob("experiments/**/*.py"))
        for tree in [ast.parse(path.read_text())]
        for said in [{id(node.body[0].value) for node in ast.walk(tree) if has_docstring(node)}]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
    ]
    assert len(texts) > 1000
    assert [text for text in texts if any(name in text[1] for name in frameworks.FRAMEWORKS)] == []


def has_docstring(node: ast.AST) -> bool:
    return isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None


SOMEBODY_ELSES = re.compile(r"tandem\[|pip install[^\n]*\btandem\b")  # a project of this name is on the index
HINTS_IN = ("*.md", "*.toml", "run.py", "docs/*.md", "conf/**/*.yaml", "experiments/**/*.py", "frameworks/**/*.py")


def test_no_hint_installs_what_is_somebody_elses():
    paths = {path for pattern in HINTS_IN for path in PROJECT.glob(pattern)}
    texts = {path: path.read_text() for path in paths}
    assert sum('pip install ".[' in text for text in texts.values()) >= 3  # it does read the hints
    assert [str(path) for path, text in texts.items() if SOMEBODY_ELSES.search(text)] == []


@pytest.mark.parametrize("hint", ["pip install 'tandem[cmaes]'", "pip install tandem", 'pip install "tandem>=0.4"'])
def test_a_hint_that_installs_what_is_somebody_elses_is_seen(hint):
    assert SOMEBODY_ELSES.search(f"CmaEsSampler needs cmaes; {hint}")
    assert not SOMEBODY_ELSES.search("cd tandem && pip install '.[cmaes]'")
