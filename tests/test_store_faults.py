"""A tracking store that is locked, silent, somebody else's, damaged, older or newer: waited for, migrated or told."""

import contextlib
import functools
import http.server
import re
import sqlite3
import threading
import time

import optuna
import pytest
from alembic import command as alembic
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as schema
from mlflow.store.tracking.dbmodels.initial_models import Base

from experiments.errors import DiskFull, Locked, StoreUnavailable
from experiments.execution import locks
from experiments.tracking import client
from experiments.tracking.store import Store


def file_of(store):
    return store.uri.removeprefix("sqlite:///")


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def impatient(monkeypatch):
    """MLflow itself waits 20 s for a lock, before we begin to."""
    own = schema.sql.text
    monkeypatch.setattr(schema.sql, "text", lambda text: own(text.replace("20000", "50")))


def test_a_store_that_is_locked_is_waited_for(store, impatient, monkeypatch, capfd):
    experiment_id, told, notice = store.experiment("e", description=""), threading.Event(), client.notice
    monkeypatch.setattr(client, "notice", lambda text: (notice(text), told.set()))
    with locked(file_of(store)):
        waiting = threading.Thread(target=store.client.create_run, args=(experiment_id,))
        waiting.start()
        assert told.wait(timeout=100)
        assert waiting.is_alive()
    waiting.join(timeout=100)
    assert len(store.client.search_runs([experiment_id])) == 1
    said = capfd.readouterr().err
    assert said.startswith("Waiting, for 120 s at most: the tracking store sqlite:///")
    assert said.endswith("does not answer any more: database is locked.\n")


def test_a_store_that_stays_locked_is_told_and_waited_for_once(store, impatient, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.5)
    again = Store(store.uri)
    experiment_id = again.experiment("e", description="")
    with locked(file_of(store)):
        with pytest.raises(StoreUnavailable, match=r"any more.*: database is locked\. .*the same command"):
            again.client.create_run(experiment_id)
        monkeypatch.setattr(client.time, "sleep", lambda _: pytest.fail("what is still to be closed waited once more"))
        with pytest.raises(StoreUnavailable):
            again.client.create_run(experiment_id)
    again.client.create_run(experiment_id)


def test_what_the_store_answers_is_no_fault_of_it(store):
    with pytest.raises(MlflowException, match="not found"):
        store.client.get_run("0" * 32)
    with pytest.raises(FileNotFoundError):
        store.client.patiently(open, "/proc/nope")


def test_a_store_without_room_is_told_so(store):
    def full():
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")

    with pytest.raises(DiskFull, match="no room left to write in sqlite:///"):
        store.client.patiently(full)


def test_a_lock_that_another_process_holds_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    uri = f"sqlite:///{tmp_path}/x.db"
    with locks.creation_lock(uri), pytest.raises(Locked, match=r"has been opening .*/x\.db for 0 s"):
        Store(uri)


# What is not MLflow's


class Answer(http.server.BaseHTTPRequestHandler):
    def answer(self, code=500, body=b"<html>secret</html>", wait=0.0):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        time.sleep(wait)
        with contextlib.suppress(OSError):
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def server(**answers):
    answer = functools.partialmethod(Answer.answer, **answers)
    handler = type("Handler", (Answer,), {"do_GET": answer, "do_POST": answer})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_port
        listening.shutdown()


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"code": 401}, "error code 401 .*MLFLOW_TRACKING_PASSWORD"),
        ({"code": 403}, "error code 403 .*this user may not use it"),
        ({"code": 404}, "error code 404 .*it is no MLflow server"),
        ({"code": 500}, "too many 500 error responses"),
        ({"code": 302}, "error code 302"),
        ({"code": 200}, "not in a valid JSON format; it is no MLflow server"),
        ({"wait": 300.0}, "Read timed out"),
    ],
)
def test_a_server_that_is_none_of_mlflows_is_told_without_what_it_says(monkeypatch, answers, told):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1" if "wait" in answers else "100")
    uri, shown = "http://bob:hunter2@127.0.0.1:{}", r"http://bob:\*\*\*@127\.0\.0\.1:{}"
    with server(**answers) as port, pytest.raises(StoreUnavailable) as error:
        Store(uri.format(port))
    assert re.search(rf"^the tracking store {shown.format(port)} cannot be .*{told}", str(error.value))
    assert "secret" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_server_that_answers_nothing_is_no_store(monkeypatch):
    with server(code=200, body=b"") as port, pytest.raises(StoreUnavailable, match="answers, but not as MLflow does"):
        Store(f"http://127.0.0.1:{port}").experiment("e", description="")


@pytest.mark.parametrize("uri", ["postgresql://u:hunter2@localhost/d", "mysql+pymysql://u:hunter2@localhost/d"])
def test_a_driver_that_is_not_installed_is_named(uri):
    with pytest.raises(
        StoreUnavailable, match=r"u:\*\*\*@localhost/d cannot be .* its driver is not installed, `import"
    ):
        Store(uri)


def test_a_database_of_something_else_is_left_as_it_is(tmp_path):
    theirs, optunas = tmp_path / "theirs.db", tmp_path / "optuna.db"
    with contextlib.closing(sqlite3.connect(theirs)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    optuna.storages.RDBStorage(f"sqlite:///{optunas}")
    for path, told in ((theirs, "is a database of something else"), (optunas, "does not know: a newer MLflow")):
        before = path.read_bytes()
        with pytest.raises(StoreUnavailable, match=told):
            Store(f"sqlite:///{path}")
        assert path.read_bytes() == before


def test_a_database_of_a_newer_mlflow_is_told_without_advice_to_upgrade_it(store):
    with contextlib.closing(sqlite3.connect(file_of(store))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
    with pytest.raises(StoreUnavailable, match="schema fffffffffff0, which MLflow .* does not know") as told:
        Store(store.uri)
    assert "upgrade" not in str(told.value)


def test_a_database_of_an_older_mlflow_is_brought_up_and_its_copy_kept(tmp_path, capfd):
    path = tmp_path / "mlflow.db"
    script = schema.ScriptDirectory.from_config(schema._get_alembic_config(""))
    older = script.get_revision(script.get_current_head()).down_revision
    engine = schema.create_sqlalchemy_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    config = schema._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, older)
    before = path.read_bytes()
    store = Store(f"sqlite:///{path}")
    copy = tmp_path / f"mlflow.db.{older}.bak"
    assert f"{path} is of an older MLflow: brought up to " in capfd.readouterr().err
    assert len(copy.read_bytes()) == len(before)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(older,)]
    assert store.experiment("e", description="")
