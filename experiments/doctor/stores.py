"""The tracking store: whether it is there, may be written, and has a schema that this MLflow reads."""

from __future__ import annotations

import base64
import http.client
import importlib.metadata
import os
import socket
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from experiments.doctor.check import Check, judged
from experiments.errors import TandemError
from experiments.uris import problem_with, sqlite_file, without_password

PART = "Store"
PATIENCE_SECONDS = 3.0
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def checks(uri: str) -> list[Check]:
    """How the store is, without opening it through MLflow, which would make or migrate it."""
    shown = without_password(uri)
    if problem := problem_with(uri, setting="tracking.uri"):
        return [judged(PART, problem, wrong=True, fix="state another tracking.uri")]
    file = sqlite_file(uri)
    if file is not None:
        return [_of_file(file)]
    try:
        parts = urlsplit(uri)
        return [_of_server(parts, shown) if parts.scheme in ("http", "https") else _of_database(parts, shown)]
    except (ValueError, http.client.HTTPException) as error:  # its text, or the address, may hold the password
        told = f"what tracking.uri names cannot be asked, or answers in no way that is known: {type(error).__name__}"
        return [judged(PART, told, wrong=True, fix="write scheme://HOST:PORT; a sign in a password as %XX")]


def _of_file(file: Path) -> Check:
    fix = "name another with tracking.uri=sqlite:///FILE"
    folder = next((each for each in (file.parent, *file.parent.parents) if each.exists()), file.parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        return judged(PART, f"{file}: its folder {folder} cannot be written", wrong=True, fix=fix)
    from experiments.tracking import database  # sets variables for MLflow

    try:
        revision = database.revision_of(file)
    except sqlite3.OperationalError as error:
        return judged(PART, f"{file}: {error}", note=True, fix="another command has it; it will be waited for")
    except TandemError as error:
        return judged(PART, str(error), wrong=True, fix=fix)
    if revision is None:
        return judged(PART, f"{file} is not there yet; the first sweep makes it")
    version, is_known = _reads(revision)
    told = f"{file}, {file.stat().st_size / 2**20:.0f} MiB, schema {revision}"
    told += f", which MLflow {version} {'has' if is_known else 'does not know'}"
    return judged(PART, told, wrong=not is_known, fix=f"install the MLflow that made it, or {fix}")


def _reads(revision: str) -> tuple[str, bool]:
    """The installed MLflow's version, and whether that schema is one of its own, as its files of migrations say."""
    files = importlib.metadata.files("mlflow") or []
    known = [each.name for each in files if "db_migrations/versions/" in str(each)]
    return importlib.metadata.version("mlflow"), any(name.startswith(revision) for name in known)


def _of_server(parts: SplitResult, shown: str) -> Check:
    try:
        with urllib.request.urlopen(_health(parts), timeout=PATIENCE_SECONDS) as answer:
            return judged(PART, f"{shown} answers with {answer.status}")
    except urllib.error.HTTPError as error:
        return judged(PART, f"{shown} answers with {error.code}", note=True, fix="look whether MLflow is what answers")
    except OSError as error:
        reason = getattr(error, "reason", error)
        return judged(PART, f"{shown} does not answer: {reason}", wrong=True, fix="start it, or mend tracking.uri")


def _health(parts: SplitResult) -> urllib.request.Request:
    """Name and password become Basic auth, as requests does it for MLflow: urllib takes them for the host's name."""
    account, _, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit((parts.scheme, place, f"{parts.path.rstrip('/')}/health", "", "")))
    if account:
        name, _, password = account.partition(":")
        told = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode("latin-1")).decode()
        request.add_unredirected_header("Authorization", f"Basic {told}")
    return request


def _of_database(parts: SplitResult, shown: str) -> Check:
    if not parts.hostname:
        return judged(PART, f"{shown} is reached by a way that is not looked at here", note=True)
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0], 0)
    try:
        with socket.create_connection((parts.hostname, port), timeout=PATIENCE_SECONDS):
            return judged(PART, f"{shown}: something listens there")
    except OSError as error:
        return judged(PART, f"{shown} does not answer: {error}", wrong=True, fix="start it, or mend tracking.uri")
