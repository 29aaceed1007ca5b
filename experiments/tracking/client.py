"""A store of MLflow, opened: what its writer and its reader share.

One parent run per sweep, one child run per training. Metric names are the same for every framework; the step of
a metric is its epoch. Tags that begin with "tandem." are ours.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils

from experiments.errors import GOES_ON, DiskFull, StoreUnavailable, TandemError, is_no_room, notice
from experiments.execution.locks import creation_lock
from experiments.interruption import is_stopping, whole_write
from experiments.tracking import database, places
from experiments.uris import sqlite_file, without_password

schema: Any = utils  # without types
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises anyway
logging.getLogger("mlflow.utils.databricks_utils").setLevel(logging.CRITICAL)  # likewise
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
schema.MAX_RETRY_COUNT = 2  # MLflow's own 10 wait for 102 s, whatever is wrong

PAGE = 500  # runs that are asked for at once
MOST_VALUES = 2**31 - 1  # MLflow wants to be told
TAG = "tandem."
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
PATIENCE_SECONDS = 120.0  # a server's restart, a backup of the database
PASSING = (
    "TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED",
)  # fmt: skip
SAID_BY_DRIVER = re.compile(r"(?<=Error\) )[^\n]+")  # after SQLAlchemy's "(sqlite3.OperationalError)"
SAID_BY_SYSTEM = re.compile(r"\[Errno -?\d+\] [^'\")]+|Read timed out|Remote end closed|too many \d+ error responses")
HINTS = {
    "error code 401": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, say who asks",
    "error code 403": "this user may not use it",
    "error code 404": "it is no MLflow server, or its path is another",
    "not in a valid JSON": "it is no MLflow server, or its path is another",
    "readonly database": "make the file and its folder writable",
}
ANSWERS = ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE")


class PatientClient:
    """MLflow's client, which waits for a store that is locked or does not answer, for a time.

    It has every method of MlflowClient. What cannot be waited for, or was in vain, is `StoreUnavailable` or `DiskFull`;
    what MLflow answers (there is no such run) and what concerns a file of ours is raised as it is.
    """

    def __init__(self, client: MlflowClient, /, *, uri: str) -> None:
        """Wrap an open client."""
        self._client = client
        self._uri = uri
        self._patience = PATIENCE_SECONDS

    def __getattr__(self, name: str) -> Any:
        """An attribute of MlflowClient; a method is patient."""
        value = getattr(self._client, name)
        return functools.partial(self.patiently, value) if callable(value) else value

    @property
    def underlying_store(self) -> Any:
        """What MLflow's client asks: of some of its answers the client has no method."""
        return self._client._tracking_client.store

    def patiently(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """The result of a call that reaches the store.

        Raises:
            StoreUnavailable: If it does not answer in time, or answers what no waiting mends.
            DiskFull: If there is no room for what it is to keep.
        """
        asked = functools.partial(call, *arguments, **named)
        try:
            return _wait_for(asked, uri=self._uri, seconds=0.0 if is_stopping() else self._patience, is_open=True)
        except StoreUnavailable:
            self._patience = 0.0  # who gave up waiting waits no second time to close what is open
            raise


def open_client(uri: str, *, cache: Path | None) -> PatientClient:
    """Open a store; a database that is not there is made, once, under a lock, and an older one is migrated.

    Args:
        uri: Where it is.
        cache: Where an empty database is kept, for the next one that is not there; None: MLflow makes each anew.

    Raises:
        StoreUnavailable: If it cannot be reached or opened.
        DiskFull: If there is no room for it.
    """
    mlflow.set_tracking_uri(uri)
    file = sqlite_file(uri)
    seconds = PATIENCE_SECONDS if file else 0.0  # a server that is not there is told at once; a lock is opened again
    opened = functools.partial(_opened, uri, file, cache)
    client = _wait_for(opened, uri=uri, seconds=seconds, is_open=False)
    return PatientClient(client, uri=uri)


def search(
    client: PatientClient,
    experiment_id: str,
    query: str,
    *,
    view: int = ViewType.ACTIVE_ONLY,
    limit: int | None = None,
) -> list[Run]:
    """Runs of an experiment, the newest first, however many there are.

    Args:
        client: Of the store.
        experiment_id: Where to look.
        query: What they have, as MLflow has it filtered.
        view: Whether deleted ones are wanted.
        limit: How many are enough; None for all.
    """
    found: list[Run] = []
    token = None
    while True:
        size = min(PAGE, limit - len(found)) if limit else PAGE
        page = client.search_runs([experiment_id], query, run_view_type=view, max_results=size, page_token=token)
        found += page
        token = page.token
        if not token or len(found) == limit:
            return found


def runs_of(client: PatientClient, experiment_id: str, run_ids: Collection[str]) -> dict[str, Run]:
    """Those of an experiment's runs that there are, deleted ones too, by their identifiers."""
    found: dict[str, Run] = {}
    for ids in _pages(run_ids):
        query = f"attributes.run_id IN ({', '.join(map(repr, ids))})"
        with _no_collection():
            found |= {run.info.run_id: run for run in search(client, experiment_id, query, view=ViewType.ALL)}
    return found


def histories(client: PatientClient, run_ids: Collection[str], name: str) -> list[tuple[str, Metric]]:
    """All values of a metric of several runs, each with its run.

    A database answers for many at once; MLflow's servers do not, and are asked for each.
    """
    ask = getattr(client.underlying_store, "get_metric_history_bulk", None)
    if ask is None:
        return [(run_id, metric) for run_id in run_ids for metric in client.get_metric_history(run_id, name)]
    found = []
    for ids in _pages(run_ids):
        with _no_collection():
            found += [(each.run_id, each) for each in client.patiently(ask, ids, name, max_results=MOST_VALUES)]
    return found


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Have Python not look for cycles: while a page makes 70,000 objects, it takes more than half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _pages(run_ids: Collection[str]) -> Iterator[list[str]]:
    ids = list(dict.fromkeys(run_ids))
    return (ids[first : first + PAGE] for first in range(0, len(ids), PAGE))


def _opened(uri: str, file: Path | None, cache: Path | None) -> MlflowClient:
    with creation_lock(uri):
        if file is not None:
            _migrate(file, uri=uri, cache=cache)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        if file is not None:
            _settle(file)
    if file is not None and (mended := places.mend(file, mark=TAG + "kind")):
        notice(mended)
    return client


def _migrate(file: Path, *, uri: str, cache: Path | None) -> None:
    """Bring an older database to MLflow's present schema, a copy of it kept; refuse one that is not MLflow's."""
    revision = database.revision_of(file)
    if revision is None and cache is not None:
        database.begin(file, empty=cache / "stores" / f"mlflow-{mlflow.__version__}.db", make=_make_empty)
        return
    script = schema.ScriptDirectory.from_config(schema._get_alembic_config(""))
    if revision in (None, script.get_current_head()):
        return
    if revision not in {known.revision for known in script.walk_revisions()}:
        raise StoreUnavailable(
            f"the tracking store {uri} has the schema {revision}, which MLflow {mlflow.__version__} does not know: a "
            "newer MLflow made it, or another program; install what made it, or name another file with "
            "tracking.uri=sqlite:///FILE"
        )
    copy = database.keep_copy(file, revision=str(revision))
    notice(f"{file} is of an older MLflow: brought up to {mlflow.__version__}; as it was, it is kept in {copy}.")
    schema._upgrade_db(schema.create_sqlalchemy_engine(uri))


def _make_empty(path: Path) -> None:
    engine = schema.create_sqlalchemy_engine(f"sqlite:///{path}")
    schema._initialize_tables(engine)
    engine.dispose()


def _settle(file: Path) -> None:
    """Five times the metrics per second, and readers do not wait; the setting stays with the file.

    What is known of its tables is brought up to date: without that, what is asked of some runs is looked for in all.
    """
    with contextlib.closing(sqlite3.connect(file, timeout=20)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA analysis_limit=400")  # rows of a table, and 0.02 s for 10,000 runs
        connection.execute("PRAGMA optimize=0x10002")


def _wait_for(call: Callable[[], Any], *, uri: str, seconds: float, is_open: bool) -> Any:
    """Call until it succeeds, for `seconds` at most and only where waiting may help.

    Args:
        call: What reaches the store.
        uri: The store's.
        seconds: How long to wait for it.
        is_open: Whether the store was opened: until then, whatever is raised is its fault.
    """
    began, is_told = time.monotonic(), False
    what = f"the tracking store {without_password(uri)} {'does not answer any more' if is_open else 'cannot be opened'}"
    while True:
        try:
            with whole_write():
                return call()
        except TandemError:
            raise
        except Exception as error:
            if is_open and not _is_fault(error):
                raise
            waited = time.monotonic() - began
            if not _may_pass(error) or waited >= seconds:
                raise _in_words(error, what=what, uri=uri, waited=waited) from error
            if not is_told:
                notice(f"Waiting, for {seconds:.0f} s at most: {what}: {_reason(error)}.")
                is_told = True
        time.sleep(min(1.0, seconds / 20))


def _is_fault(error: Exception) -> bool:
    """Whether the store is at fault: it did not answer, and neither we nor a file of ours are concerned."""
    if isinstance(error, MlflowException):
        return error.error_code not in ANSWERS
    return isinstance(error, ImportError) or (isinstance(error, OSError) and error.filename is None)


def _may_pass(error: Exception) -> bool:
    """Whether it is worth waiting: for a lock, or a server that is not there, restarts or has too much to do."""
    text = str(error)
    if "sqlite3." in text or isinstance(error, sqlite3.Error):
        return "is locked" in text
    return isinstance(error, MlflowException) and error.error_code in PASSING


def _in_words(error: Exception, *, what: str, uri: str, waited: float) -> StoreUnavailable | DiskFull:
    if is_no_room(error):
        return DiskFull.because_of(error, place=without_password(uri))
    since = f" (tried for {waited:.0f} s)" if waited >= 1 else ""
    return StoreUnavailable(f"{what}{since}: {_reason(error)}. Once that is mended, {GOES_ON}.")


def _reason(error: Exception) -> str:
    """What is wrong, in a line, without passwords and without what a server wrote."""
    if isinstance(error, ModuleNotFoundError):
        return f"its driver is not installed, `import {error.name}` fails"
    text = str(error).strip()
    line = (text.splitlines() or [type(error).__name__])[0].partition(" Response body:")[0]
    if found := SAID_BY_DRIVER.search(text) or SAID_BY_SYSTEM.search(text):
        line = found.group()
    hints = [hint for words, hint in HINTS.items() if words in text]
    return without_password("; ".join([line[:300].rstrip(". "), *hints]))
