"""Where the files of a SQLite store lie: in the folder `mlruns` beside the database, wherever the two are.

MLflow writes absolute paths down, which a project leaves behind when it is moved, copied or mounted elsewhere: we never
follow them, and mend them when the store is opened, for MLflow's own page and clients.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path, PurePath
from urllib.parse import urlsplit
from urllib.request import url2pathname

FOLDER = "mlruns"


def mend(database: Path, *, mark: str) -> str:
    """Have MLflow find the files of a SQLite store where they lie now; return what was mended, in a sentence, or "".

    Only experiments that hold runs with the tag `mark`, or none yet, and lie in a folder `mlruns`; in one transaction.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        located = connection.execute(
            "SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id != 0"  # MLflow's default
        ).fetchall()
        old: dict[str, None] = {}
        for experiment_id, location in located:
            place = beside(location, n_parts=2, folder=database.parent)
            if place and _may_be_ours(connection, experiment_id, mark):
                _mend_runs(connection, experiment_id, folder=database.parent)
                if place != location:
                    old[str(PurePath(as_path(location)).parents[1])] = None
                    where = (place, experiment_id)
                    connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", where)
    return f"This store was in {', '.join(old)} before; its files are looked for beside {database} now." if old else ""


def _may_be_ours(connection: sqlite3.Connection, experiment_id: int, mark: str) -> bool:
    any_run = "SELECT 1 FROM runs WHERE experiment_id = ? LIMIT 1"
    tagged = "SELECT 1 FROM runs JOIN tags USING (run_uuid) WHERE experiment_id = ? AND key = ? LIMIT 1"
    has_tagged = connection.execute(tagged, (experiment_id, mark)).fetchone() is not None
    return has_tagged or connection.execute(any_run, (experiment_id,)).fetchone() is None


def _mend_runs(connection: sqlite3.Connection, experiment_id: int, *, folder: Path) -> None:
    here = folder.joinpath(FOLDER).as_uri() + "/"
    elsewhere = "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) != ?"
    located = connection.execute(elsewhere, (experiment_id, len(here), here))
    places = [(run_id, uri, beside(uri, n_parts=4, folder=folder)) for run_id, uri in located]
    connection.executemany(
        "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?",
        [(place, run_id) for run_id, uri, place in places if place and place != uri],
    )


def beside(location: str | None, *, n_parts: int, folder: Path) -> str | None:
    """The same place in another folder, if its last parts begin with the folder of runs: mlruns/NAME[/ID/artifacts]."""
    path = as_path(location or "")
    parts = PurePath(path).parts[-n_parts:]
    is_local = path.startswith("/") and len(parts) == n_parts
    return folder.joinpath(*parts).as_uri() if is_local and parts[0] == FOLDER else None


def as_path(location: str) -> str:
    """A local place as people write it; any other as it is."""
    return url2pathname(urlsplit(location).path) if location.startswith("file:") else location
