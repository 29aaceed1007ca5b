"""Folders and addresses: looked at before data are read, and shown without passwords."""

import dataclasses
import errno
import os
import pwd
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import cases
import pytest
from cases import PROJECT
from commands import command, refuse_to_start
from conftest import EXECUTOR
from sqlalchemy import create_engine, text

from experiments import data, folders
from experiments.data import download
from experiments.errors import DiskFull, SettingsError, StoreUnavailable
from experiments.execution import environment
from experiments.uris import problem_with, sqlite_file, without_password


@pytest.fixture
def job(tmp_path):
    task = cases.task("experiment=digits_mlp", precision="float32")
    (made,) = cases.jobs(task, tmp_path, names=("numpy",), seeds=(0,), executor=EXECUTOR)
    return with_uri(made, f"sqlite:///{tmp_path}/mlflow.db")


def with_uri(job, uri):
    return dataclasses.replace(job, tracking=dataclasses.replace(job.tracking, uri=uri))


def refused(job, cache):
    with pytest.raises(SettingsError) as told:
        folders.require_folders(job, cache=cache)
    return str(told.value)


def test_folders_are_made_and_nothing_is_left_in_them(job, tmp_path):
    job = with_uri(dataclasses.replace(job, output=str(tmp_path / "a" / "b")), f"sqlite:///{tmp_path}/c/mlflow.db")
    folders.require_folders(job, cache=tmp_path / "d")
    assert [list((tmp_path / name).iterdir()) for name in ("a/b", "c", "d")] == [[], [], []]


@pytest.mark.parametrize("place", ["/proc/nope", "/etc/passwd/x", "/etc/hostname", "~/x", "a" * 300])
def test_a_folder_that_cannot_be_written_is_named_with_the_fix(job, tmp_path, place):
    told = refused(dataclasses.replace(job, output=place), cache=Path(place)).splitlines()
    assert told[0].startswith(f"`output` must be a folder that can be written, but for '{place}': ")
    assert told[1].startswith(f"`TANDEM_CACHE` must be a folder that can be written, but for '{place}': ")
    if place != "~/x":
        assert told[1].endswith("; name another with TANDEM_CACHE=FOLDER")
        uri = f"sqlite:///{place}/mlflow.db"
        assert "`tracking.uri` must lie in a folder that can be written" in refused(with_uri(job, uri), cache=None)


def test_a_folder_without_room_is_named(job, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "ROOM_MIB", 2**40)
    assert "MiB are free of the 1099511627776 needed; make room, or name another with output=" in refused(job, None)


def test_nothing_is_read_where_a_folder_cannot_be_written(tmp_path, monkeypatch):
    refuse_to_start(monkeypatch)
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("data were read"))
    typed = ("experiment=digits_mlp", "seed=0")
    done = command(*typed, cwd=tmp_path, cache=Path("/proc/x"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "`TANDEM_CACHE` must be a folder that can be written, but for '/proc/x': No such file"
    )
    monkeypatch.setenv("TANDEM_DEBUG", "1")
    assert "Traceback" in command(*typed, cwd=tmp_path, cache=Path("/proc/x")).stderr


def test_a_temporary_folder_of_no_use_is_said_and_another_taken(job, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TMPDIR", "/proc/nope")
    monkeypatch.setattr(tempfile, "tempdir", None)
    folders.require_folders(job, cache=tmp_path)
    told = f"TMPDIR=/proc/nope cannot be written: temporary files go to {tempfile.gettempdir()}.\n"
    assert capsys.readouterr().err == told


def test_without_a_home_data_are_kept_in_the_output(tmp_path, monkeypatch, capsys):
    for name in ("TANDEM_CACHE", "XDG_CACHE_HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nope")
    assert download.cache_folder(otherwise=tmp_path / "x") == tmp_path / "x"
    assert "TANDEM_CACHE=FOLDER names another" in capsys.readouterr().err
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[f"uid not found: {number}"])
    assert download.cache_folder(otherwise=tmp_path / "x") == tmp_path / "x"
    environment.make_up_for_no_account()
    assert (os.environ["HOME"], os.environ["USER"], environment.user()) == (os.devnull, *[str(os.getuid())] * 2)
    monkeypatch.setenv("TANDEM_CACHE", "/proc/stated")  # what is stated is never replaced
    assert download.cache_folder(otherwise=tmp_path / "x") == Path("/proc/stated")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        (
            "mlflow.db",
            "must begin .* got 'mlflow.db'; for instance tracking.uri=sqlite:///mlflow.db",
        ),
        ("./mlruns", "must begin with sqlite:///"),
        ("ftp://u:hunter2@h/x", r"must begin .* but got 'ftp://u:\*\*\*@h/x'"),
        ("sqlite://", "must be a database that is kept in a file"),
        ("sqlite:///", "must be a database that is kept in a file"),
        ("sqlite:///:memory:", "must be a database that is kept in a file"),
        ("sqlite:////tmp", "must be a file, but got 'sqlite:////tmp'; say tracking.uri=sqlite:////tmp/mlflow.db"),
        ("sqlite:///~/x.db", "must be the whole path .* only a shell reads ~, .* say tracking.uri=sqlite:////.*/x.db"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_one_that_can(job, uri, told):
    with pytest.raises(SettingsError, match=f"^`tracking.uri` {told}"):
        folders.require_folders(with_uri(job, uri), cache=None)


@pytest.mark.parametrize("setting", ["tracking.uri", "tuning.storage"])
@pytest.mark.parametrize(
    ("uri", "rule", "file"),
    [
        ("sqlite+pysqlite:///a/m.db", "written as sqlite:///FILE", "a/m.db"),
        ("SQLite:////a/m%20n.db", "written as sqlite:///FILE", "/a/m%20n.db"),
        ("sqlite:///file:m.db", "the path of a file", "m.db"),
        ("sqlite:///file:m.db?mode=ro&uri=true", "the path of a file", "m.db"),
        ("sqlite:///m.db?mode=memory&uri=true", "the path of a file", "m.db"),
        ("sqlite:///m.db?timeout=soon", "the path of a file", "m.db"),
        ("sqlite:m.db", "a database that is kept in a file", None),
        ("sqlite://m.db", "a database that is kept in a file", None),
        ("sqlite:///a%00b.db", "a database that is kept in a file", None),
    ],
)
def test_a_file_of_sqlite_is_written_in_one_way(setting, uri, rule, file):
    told = str(problem_with(uri, setting=setting))
    default = {"tracking.uri": "mlflow.db", "tuning.storage": "optuna.db"}[setting]
    assert told.startswith(f"`{setting}` must be {rule}")
    assert told.endswith(f"; say {setting}=sqlite:///{file or default}")
    assert problem_with(f"sqlite:///{file or default}", setting=setting) is None


def test_an_address_that_cannot_be_makes_nothing(tmp_path, cache):
    uri = "sqlite:///file:sub/m.db?uri=true"
    typed = ("experiment=digits_mlp", "tuning=learning_rate", "output=made", f"tracking.uri={uri}")
    done = command(*typed, f"tuning.storage={uri}", cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line[:16] for line in done.stderr.splitlines()] == ["`tracking.uri` m", "`tuning.storage`"]
    assert not list(tmp_path.glob("*sub*"))


@pytest.mark.parametrize("storage", ["optuna.db", "http://h:5", "redis://h", "databricks"])
def test_a_storage_that_optuna_does_not_open_is_refused(storage):
    told = str(problem_with(storage, setting="tuning.storage"))
    assert told.startswith("`tuning.storage` must begin with sqlite:///, postgresql://")
    assert told.endswith("; for instance tuning.storage=sqlite:///optuna.db")


@pytest.mark.parametrize("path", ["m.db", "./m.db", "a/../m.db", "{0}/m.db", "{0}//m.db", "link/../m.db", "one%20m.db"])
def test_every_way_to_write_a_file_means_the_one_that_sqlite_opens(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")
    (tmp_path / "one m.db").symlink_to("m.db")
    uri = f"sqlite:///{path.format(tmp_path)}"
    engine = create_engine(uri)
    with engine.connect() as connection:
        (opened,) = connection.execute(text("SELECT file FROM pragma_database_list")).scalars()
    engine.dispose()
    assert sqlite_file(uri) == Path(opened) == tmp_path / "m.db"


def test_one_database_is_not_both_store_and_storage(job, tmp_path):
    (tmp_path / "link.db").symlink_to("mlflow.db")
    tuning = SimpleNamespace(storage=f"sqlite:///{tmp_path}/link.db")
    with pytest.raises(SettingsError, match="^`tuning.storage` must not be the database of `tracking.uri`"):
        folders.require_folders(dataclasses.replace(job, tuning=tuning), cache=None)


@pytest.mark.parametrize("uri", ["sqlite:///x.db?timeout=9", "http://h:5", "postgresql+psycopg2://u@h/d", "databricks"])
def test_an_address_that_may_be_is_left_to_mlflow(uri):
    assert problem_with(uri, setting="tracking.uri") is None


def test_a_file_that_is_no_database_is_said_before_data_are_read(job, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"\x07garbage" * 1000)
    with pytest.raises(StoreUnavailable, match="mlflow.db is damaged or no database .* move it away, or name another"):
        folders.require_folders(with_uri(job, f"sqlite:///{tmp_path}/mlflow.db"), cache=None)
    assert (tmp_path / "mlflow.db").read_bytes().startswith(b"\x07garbage")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://bob:hun:t@er2@h:5/x?y", "at http://bob:***@h:5/x?y"),
        ("postgresql://h/d?user=u&password=s3 z", "postgresql://h/d?user=u&password=*** z"),
        ("https://h:80/a@b", "https://h:80/a@b"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
    ],
)
def test_passwords_are_not_shown(text, shown):
    assert without_password(text) == shown


def test_a_password_typed_is_kept_nowhere(tmp_path, cache, monkeypatch):
    refuse_to_start(monkeypatch)
    done = command("experiment=digits_mlp", "seed=0", "tracking.uri=ftp://bob:hunter2@h/x", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_limit_of_file_sizes_leaves_no_partial_file(tmp_path):
    code = (
        "import numpy as np, pathlib; from experiments.data.spec import write_npz;"
        f"write_npz(pathlib.Path({str(tmp_path / 'x.npz')!r}), {{'x': np.zeros(100_000)}})"
    )

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    python = [sys.executable, "-c", code]
    done = subprocess.run(python, cwd=PROJECT, capture_output=True, text=True, preexec_fn=limited)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_not_told_as_a_server_that_is_not_there(tmp_path, monkeypatch):
    import pooch

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch, "retrieve", full)
    with pytest.raises(DiskFull, match=f"no room left to write in {tmp_path} .*the same command goes on"):
        download.download("http://127.0.0.1:9/", {"a": "b"}, tmp_path)
