"""Whatever a shell says, wherever a command is started: the report is the same bytes, the store the stated one."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import PROJECT
from commands import RUN, command
from read_variables import read_by

from experiments.execution import environment, own_process
from experiments.execution.worker_environment import KEPT
from experiments.report.figures.style import STYLE, styled

REFEREE = ("experiment=digits_mlp", "framework=numpy", "training.precision=float64", "training.epochs=1", "seed=0")
RC = "text.usetex: True\nfont.size: 30\nlines.linewidth: 9\naxes.formatter.use_locale: True\nbackend: no such\n"
SHELL = {
    "MPLBACKEND": "no such",
    "MLFLOW_TRACKING_URI": "sqlite:////no/such/place.db",
    "MLFLOW_REGISTRY_URI": "http://127.0.0.1:1",
    "MLFLOW_RUN_ID": "0123",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_EXPERIMENT_NAME": "another",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "maybe",
    "HYDRA_MAIN_MODULE": "no.such",
    "OPTUNA_STORAGE": "sqlite:////no/such/place.db",
    "NUMPY_MADVISE_HUGEPAGE": "x",
    "JOBLIB_START_METHOD": "no such",
    "LOKY_PICKLER": "no such",
    "FB_PAR_MAIN_MODULE": "no.such",
    "NPY_DISABLE_CPU_FEATURES": "no such",
    "TZ": "Asia/Kathmandu",
    "COLUMNS": "40",
    "FORCE_COLOR": "1",
    "TERM": "dumb",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    "PYTHONSAFEPATH": "1",
    "PYTHONINSPECT": "1",
    "OTEL_PROPAGATORS": "tracecontext,baggage,b3",
    "OTEL_PYTHON_CONTEXT": "no such",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "cpp",
    "SOURCE_DATE_EPOCH": "no such",
}
# The libraries of this process: whatever variable they may read says nonsense, but for those that are meant for it.
LIBRARIES = (
    "PIL", "alembic", "fastapi", "fontTools", "google.protobuf", "hydra", "joblib", "matplotlib", "mlflow", "numpy",
    "omegaconf", "opentelemetry.context", "opentelemetry.environment_variables", "opentelemetry.propagate",
    "opentelemetry.trace", "pandas", "pyarrow", "pydantic", "requests", "rich", "scipy", "sklearn", "sqlalchemy",
    "starlette", "tqdm", "urllib3",
)  # fmt: skip
MEANT = (*own_process.KEPT_HERE, *KEPT, "LD_", "DYLD_", "PYTHON", "__PYVENV_LAUNCHER__")
SHADOWS = ("random", "signal", "pathlib", "numpy", "hydra", "matplotlib", "mlflow", "keras", "experiments/__init__")


@pytest.fixture(scope="module")
def kept(tmp_path_factory, cache, local):
    """A folder with a finished sweep, and its report as a tidy shell has it: file -> bytes."""
    folder = tmp_path_factory.mktemp("kept")
    assert command(*REFEREE, cwd=folder, cache=cache).returncode == 0
    assert command(*REFEREE, "action=report", cwd=folder, cache=cache).returncode == 0
    return folder, taken(folder)


@pytest.mark.parametrize("options", ["-Xdev", "-b", "-bb", "-Werror", "-Xdev -bb -W error", "-I", "-E -s -OO"])
def test_workers_are_started_whatever_options_python_has(options):
    """What is asked of the whole process stays; no option makes a warning an error, in it or in workers."""
    started = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
        "from experiments.execution import own_process\n"
        "import multiprocessing.forkserver, multiprocessing.util, warnings\n"
        "multiprocessing.forkserver.ensure_running()\n"
        "print(multiprocessing.util._args_from_interpreter_flags())\n"
        "warnings.warn('harmless')\n"
    )
    shell = os.environ | {"PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *options.split(), "-c", started],
        env=shell, timeout=60, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "-W" not in done.stdout


def taken(folder):
    """The files of the report that was made again, taken away."""
    (report,) = folder.glob("outputs/reports/*")
    files = [path for path in report.rglob("*") if path.is_file()]
    found = {str(path.relative_to(report)): path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    assert "report.html" in found
    return found


def report_again(folder, *start, cwd, cache, env=(), **streams):
    """`action=report` of what `folder` keeps, in a process of its own, started in `cwd`."""
    words = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"output={folder}/outputs", "action=report"]
    return subprocess.run(
        [sys.executable, *(start or [RUN]), *REFEREE, *words],
        cwd=cwd,
        env=os.environ | {"TANDEM_CACHE": str(cache)} | dict(env),
        timeout=600,
        check=False,
        **streams,
    )


def test_neither_variables_nor_folders_nor_an_ascii_log_change_a_report(kept, tmp_path, cache):
    folder, clean = kept
    for name in SHADOWS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)\n")
    home = tmp_path / "home"
    for place in (tmp_path / "matplotlibrc", tmp_path / "rc", home / ".config/matplotlib/matplotlibrc"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(RC)
    (home / ".netrc").write_text("machine")
    read = {name for library in LIBRARIES for name in read_by(library) if name.isupper() and "_" in name}
    assert read > {"OTEL_PROPAGATORS", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "SOURCE_DATE_EPOCH"}
    nonsense = {name: "no such" for name in read if not name.startswith(MEANT)}
    shell = nonsense | SHELL | {"MATPLOTLIBRC": str(tmp_path / "rc"), "PYTHONPATH": f".:{tmp_path}:", "HOME": str(home)}
    with (tmp_path / "log").open("wb") as log:
        done = report_again(folder, cwd=tmp_path, cache=cache, env=shell, stdout=log, stderr=subprocess.STDOUT)
    said = (tmp_path / "log").read_text(encoding="ascii")
    assert done.returncode == 0, said
    assert "mean +/- half-width" in said
    assert "Traceback" not in said
    assert "Downloading" not in said  # our own settings of MLFLOW_* hold
    assert taken(folder) == clean


def test_a_report_is_made_though_nobody_hears_of_it(kept, tmp_path, cache):
    """A reader that left, as in `| head -1`, no standard input and no standard error, and the module as a program."""
    folder, clean = kept
    for name in SHADOWS[:2]:
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)\n")
    reader, writer = os.pipe()
    os.close(reader)
    shell = {"PYTHONPATH": str(PROJECT)}
    done = report_again(
        folder, "-m", "run", cwd=tmp_path, cache=cache, env=shell, stdout=writer, preexec_fn=_close_the_others
    )
    os.close(writer)
    assert done.returncode == 0
    assert taken(folder) == clean


def _close_the_others():
    os.close(0)
    os.close(2)


@pytest.mark.parametrize(("place", "is_said"), [("/dev/full", True), ("a pipe", False)])
def test_a_stream_that_cannot_be_written_ends_nothing(place, is_said, capsys):
    if place == "a pipe":
        reader, number = os.pipe()
        os.close(reader)
    else:
        number = os.open(place, os.O_WRONLY)
    text = open(number, "w", encoding="latin-1")  # noqa: SIM115, PTH123
    with own_process._Patient.around(text, errors="replace") as stream:
        stream.write("≡ keras\n" * 10_000)
        stream.flush()
        stream.write("more")
    said = capsys.readouterr().err
    assert (os.strerror(errno.ENOSPC) in said) == is_said
    assert said.count("lost") == int(is_said)


def test_a_stream_keeps_what_its_encoding_has(tmp_path):
    with own_process._Patient.around((tmp_path / "log").open("w", encoding="latin-1"), errors="replace") as stream:
        stream.write("± ≡")
    assert (tmp_path / "log").read_bytes() == b"\xb1 ?"


def test_figures_take_nothing_from_a_matplotlibrc_that_was_read_before():
    import matplotlib as mpl

    with styled():
        stated = dict(mpl.rcParams)
    changed = {name for name in stated if repr(stated[name]) != repr(mpl.rcParamsDefault[name])}
    assert changed <= STYLE.keys() | {"backend", "backend_fallback"}


def test_workers_do_not_look_where_pythonpath_says(monkeypatch, tmp_path):
    monkeypatch.setattr(own_process, "TOLD_FOLDERS", frozenset({str(tmp_path)}))
    monkeypatch.setattr(sys, "path", [str(PROJECT), str(tmp_path), *sys.path])
    assert str(tmp_path) not in own_process.module_path()
    assert str(PROJECT) in own_process.module_path()
    assert Path(own_process.PROJECT) == PROJECT


def test_the_commit_is_this_projects_whatever_git_is_told(monkeypatch, tmp_path):
    commit = environment.git_commit()
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    environment.git_commit.cache_clear()
    assert environment.git_commit() == commit != "unknown"
