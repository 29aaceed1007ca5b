"""A store of MLflow, opened: what its writer and its reader share.

One parent run per sweep, one child run per training. Metric names are the same for every framework; the step of
a metric is its epoch. Tags that begin with "tandem." are ours.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from experiments.errors import StoreUnavailable
from experiments.execution.locks import creation_lock

logging.getLogger("mlflow").setLevel(logging.WARNING)

TAG = "tandem."
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"


def open_client(uri: str) -> MlflowClient:
    """Open a store; a database that is not there is made, once, under a lock.

    Raises:
        StoreUnavailable: If it cannot be reached or opened.
    """
    mlflow.set_tracking_uri(uri)
    try:
        with creation_lock(uri):
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
        _use_write_ahead_log(uri)
    except (MlflowException, OSError, sqlite3.Error) as error:
        reason = str(error).splitlines()[0]
        raise StoreUnavailable(f"the tracking store {uri} cannot be opened: {reason}") from error
    return client


def search(client: MlflowClient, experiment_id: str, query: str) -> list[Run]:
    """Runs of an experiment, the newest first."""
    return list(client.search_runs([experiment_id], query, max_results=1000))


def _use_write_ahead_log(uri: str) -> None:
    """Five times the metrics per second, and readers do not wait; the setting stays with the file."""
    if uri.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
