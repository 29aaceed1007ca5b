"""Hostile settings, variables and stores, drawn by hypothesis: a sentence and an exit code, never a traceback.

What is drawn is the same each time, as hypothesis derandomizes it here; what a longer search found stands beside it as
an example.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from cases import PROJECT
from commands import Done, command, in_a_process
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from experiments.execution.executor import LocalExecutor
from experiments.task.keys import leaves

BASE = ("experiment=digits_mlp", "hydra.mode=RUN", "framework=numpy", "training.precision=float64", "training.epochs=1")


def few(n: int, *, slow: bool = False):
    """So many examples, drawn alike each time."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    marks = [pytest.mark.slow] if slow else []
    drawn = settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=checks)
    return lambda test: functools.reduce(lambda marked, mark: mark(marked), marks, drawn(test))


@functools.cache
def all_keys() -> tuple[str, ...]:
    """Every key that `--cfg job` prints, and every group of keys: of digits and of custom data, with a search."""
    found: dict[str, None] = {}
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        for experiment in ("digits_mlp", "custom"):
            composed = compose("config", overrides=[f"experiment={experiment}", "tuning=lr_depth"])
            content = OmegaConf.to_container(composed, resolve=False)
            for key in leaves({name: value for name, value in content.items() if name != "hydra"}):
                parts = key.partition("[")[0].split(".")
                found |= {".".join(parts[:length]): None for length in range(1, len(parts) + 1)}
    return tuple(found)


ODD = (
    "", " ", "nan", "inf", "-inf", "-1", "0", "1e400", "-1e400", "1" + "0" * 400, "9" * 5000, "1e-320", "0.5", "true",
    "null", "[]", "[[]]", "{}", "{a: 1}", "{a: {b: [1, {c: null}]}}", "[1, a, null, nan]", "???", "${seed}", "${nope}",
    "${", "${oc.env:HOME}", "${oc.env:NOPE}", "${hydra:job.num}", "$${x}", "\\", "'", '"', "''", "'a", "a'b", "ü", "🚀",
    "\u202ex", "\n", "\t", "a,b", ",", "0,1", "range(3)", "range(0)", "range(0,1,0)", "choice(a,b)", "glob(*)",
    "interval(0,1)", "sort(3,2)", "shuffle(1,2)", "tag(x,1)", "int(3.5)", "float(x)", "f(x)", "(", ")", "[", "]", "{",
    "}", "[" * 300, "x" * 20_000, "../../x", "/etc/passwd", "/proc/x", "~", "~/x", "-x", "--help", "=", "a=b", "a:b",
    "%00", "%s", "{0}", "<b>", "__class__", "os.system", "adam", "none", "no", "1_000", "0x10", "1e3", "0.1,0.2",
    "file:///x", "sqlite:///", "http://", "postgresql://x",
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.lists(st.one_of(st.integers(), st.floats(), st.none(), st.text("abc,'", max_size=3)), max_size=3).map(str),
)


class Reached(BaseException):
    """All is checked, and training would begin."""


def carried_out(*arguments: str, cwd: Path, cache: Path, until_training: bool = True) -> Done | None:
    """The command, or None where it went as far as training."""

    def reached(self: LocalExecutor) -> None:
        raise Reached

    with pytest.MonkeyPatch.context() as patch:
        if until_training:
            patch.setattr(LocalExecutor, "warm_up", reached)
        try:
            return command(*arguments, cwd=cwd, cache=cache)
        except Reached:
            return None


def is_told(done: Done | None, *, key: str = "") -> None:
    """Nothing but a sentence, with an exit code that says whose turn it is; it names the key."""
    if done is None:
        return
    assert done.returncode in (0, 1, 2, 3, 4), done
    assert "Traceback" not in done.stderr, done.stderr
    assert "fault of Tandem" not in done.stderr, done.stderr
    if done.returncode == 2 and key:
        assert any(part in done.stderr for part in key.split(".")), done.stderr


def a_setting_is_told(key: str, value: str, *, prefix: str, cache: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        typed = (*BASE, f"{prefix}{key}={value}", *(["tuning=lr_depth"] if key.startswith("tuning.") else []))
        typed += (f"tracking.uri=sqlite:///{folder}/mlflow.db",) if key != "tracking.uri" else ()
        is_told(carried_out(*typed, cwd=Path(folder), cache=cache), key=key)


hostile = given(
    key=st.deferred(lambda: st.sampled_from(all_keys())),
    value=VALUES,
    prefix=st.sampled_from(["", "", "", "+", "++", "~"]),
)


@example(key="framework", value="$${x}", prefix="")
@example(key="output", value="[" * 300, prefix="++")
@example(key="data.path", value="~nobody,x", prefix="")
@example(key="optimizer.learning_rate", value="1" + "0" * 400, prefix="")
@hostile
@few(10)
def test_hostile_settings_are_told_in_a_sentence(cache, key, value, prefix):
    a_setting_is_told(key, value, prefix=prefix, cache=cache)


@hostile
@few(40, slow=True)
def test_many_hostile_settings_are_told_in_a_sentence(cache, key, value, prefix):
    a_setting_is_told(key, value, prefix=prefix, cache=cache)


VARIABLES = {
    "TANDEM_CACHE": ("", "~", "/proc/x", "/etc/passwd/x", "relative", "\n", "x" * 5000),
    "TANDEM_DEBUG": ("", "0"),
    "HYDRA_FULL_ERROR": ("", "0", "1", "x"),
    "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE": ("*",),
    "COLUMNS": ("", "0", "-1", "1", "nan", "9" * 30),
    "LINES": ("0", "x"),
    "TERM": ("", "dumb", "x"),
    "NO_COLOR": ("1",),
    "FORCE_COLOR": ("1",),
    "LANG": ("", "C", "tr_TR.UTF-8", "x"),
    "HOME": ("", "/proc/x", "relative", "\n"),
    "TMPDIR": ("", "/proc/x", "relative"),
    "MLFLOW_TRACKING_URI": ("", "http://x.invalid", "postgresql://x/y", "nope"),
    "MLFLOW_EXPERIMENT_NAME": ("", "x"),
    "MLFLOW_EXPERIMENT_ID": ("nope",),
    "MLFLOW_RUN_ID": ("nope",),
    "MLFLOW_HTTP_REQUEST_TIMEOUT": ("", "x", "-1"),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": ("x", "1000000"),
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": ("x", "-1", "0"),
    "MLFLOW_ENABLE_ASYNC_LOGGING": ("true", "x"),
    "MLFLOW_TRUNCATE_LONG_VALUES": ("false", "x"),
    "PYTHONWARNINGS": ("error", "x"),
}
SOME_VARIABLES = st.fixed_dictionaries({}, optional={name: st.sampled_from(odd) for name, odd in VARIABLES.items()})


@given(variables=SOME_VARIABLES)
@few(2)
def test_hostile_variables_are_told_in_a_sentence(cache, empty_database, variables):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        shutil.copy(empty_database, folder)
        data = Path(variables.get("TANDEM_CACHE", str(cache)))
        is_told(carried_out(*BASE, "action=report", cwd=Path(folder), cache=data))
        is_told(carried_out(*BASE, cwd=Path(folder), cache=data))


@given(variables=SOME_VARIABLES)
@few(2, slow=True)
def test_a_process_with_hostile_variables_ends_in_a_sentence(cache, empty_database, variables):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        shutil.copy(empty_database, folder)
        data = Path(variables.get("TANDEM_CACHE", str(cache)))
        is_told(in_a_process(*BASE, cwd=Path(folder), cache=data))


@pytest.fixture(scope="session")
def searched(cache, local, tmp_path_factory):
    """A store with a search and its runs, the storage of the search, and the command that made them."""
    folder = tmp_path_factory.mktemp("searched")
    typed = (
        *BASE,
        "tuning=learning_rate",
        "tuning.trials=1",
        "tuning.workers=1",
        f"tuning.storage=sqlite:///{folder}/optuna.db",
    )
    done = command(*typed, cwd=folder, cache=cache)
    assert done.returncode == 0, done.stderr
    return folder, typed


@st.composite
def damages(draw):
    """What happens to a file: bytes that are changed, an end that is lost, nothing that is left of it."""
    kind = draw(st.sampled_from(["flip", "cut", "garbage", "empty", "gone"]))
    place, byte = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(0, 255))

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        at = int(place * len(content))
        if kind == "gone":
            return path.unlink()
        if kind == "flip":
            content[at : at + 64] = bytes([byte]) * len(content[at : at + 64])
        changed = {"flip": content, "cut": content[:at], "garbage": bytes([byte]) * 5000, "empty": b""}[kind]
        path.write_bytes(changed)
        return None

    return damage


broken = given(damage=damages(), pick=st.integers(0, 10**6), again=st.booleans())


def a_broken_store_is_told(searched, damage, pick, *, again, cache):
    kept, typed = searched
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "kept"
        shutil.copytree(kept, folder)
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                moved = f"UPDATE {table} SET {column} = replace({column}, '{kept}', '{folder}')"
                assert database.execute(moved).rowcount > 0
        kept_files = (path for path in folder.rglob("*") if path.is_file() and "outputs" not in path.parts)
        files = sorted(kept_files, key=lambda path: (path.name, path.stat().st_mtime_ns))  # identifiers are drawn
        path = files[pick % len(files)] if pick % 3 else folder / ("mlflow.db" if pick % 2 else "optuna.db")
        damage(path)
        words = [word.replace(str(kept), str(folder)) for word in typed]
        is_told(
            carried_out(*words, *([] if again else ["action=report"]), cwd=folder, cache=cache, until_training=False)
        )


@broken
@few(3, slow=True)
def test_broken_stores_are_told_in_a_sentence(searched, cache, damage, pick, again):
    a_broken_store_is_told(searched, damage, pick, again=again, cache=cache)
