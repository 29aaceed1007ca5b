"""A store of thousands of runs in seconds: some that were trained, and copies of them under other seeds and names.

The rows of MLflow's tables are copied by SQL and the files linked, so that what reads the store finds what thousands of
commands would have left. A copied sweep is what the same command with more seeds would have made: that command goes on
with it, and finds every run done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OF_RUN = ("tags", "params", "metrics", "latest_metrics")  # MLflow's tables with a column `run_uuid`, beside `runs`


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of a run: its identifier, and what its tags say instead."""

    run_id: str
    name: str
    tags: dict[str, str]


@contextlib.contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are kept at its end."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        yield connection


def sweeps(database: Path) -> list[str]:
    """Identifiers of the sweeps, the newest first."""
    query = "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE key = 'tandem.kind' AND value = 'sweep'"
    with opened(database) as connection:
        return [run_id for (run_id,) in connection.execute(f"{query} ORDER BY start_time DESC")]


def runs_of(database: Path, sweep_id: str) -> list[str]:
    """Identifiers of a sweep's runs, the oldest first."""
    query = "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE key = 'mlflow.parentRunId' AND value = ?"
    with opened(database) as connection:
        return [run_id for (run_id,) in connection.execute(f"{query} ORDER BY start_time", (sweep_id,))]


def add_sweep(
    database: Path, sweep_id: str, *, seeds: Sequence[int], fingerprints: Sequence[str], fingerprint: str
) -> str:
    """Copy a sweep and its runs in turn, one for each seed; return the copy's identifier.

    Args:
        database: Of the store.
        sweep_id: What is copied.
        seeds: Of the copied runs.
        fingerprints: Of the copied runs.
        fingerprint: Of the copied sweep.
    """
    originals, new_id = runs_of(database, sweep_id), uuid.uuid4().hex
    tags = {"tandem.sweep_fingerprint": fingerprint}
    folder = database.parent
    with opened(database) as connection:
        place = _place(connection, sweep_id, folder)
        _copy_run(connection, sweep_id, Copy(run_id=new_id, name=f"sweep of {len(seeds)} runs", tags=tags))
        manifest = json.loads((place / "sweep.json").read_text())
        entries = {entry["id"]: entry for entry in manifest["runs"]}
        made = []
        for number, (seed, run_fingerprint) in enumerate(zip(seeds, fingerprints, strict=True)):
            original = originals[number % len(originals)]
            entry = entries[original]
            name = re.sub(r"seed \d+", f"seed {seed}", entry["name"])
            run_id = uuid.uuid4().hex
            digest = _link_files(_place(connection, original, folder), _sibling(place, run_id), seed=seed)
            own = {"mlflow.parentRunId": new_id, "tandem.fingerprint": run_fingerprint, "tandem.files": digest}
            _copy_run(connection, original, Copy(run_id=run_id, name=name, tags=own))
            made.append({**entry, "id": run_id, "name": name, "overrides": _with_seed(entry["overrides"], seed)})
    manifest |= {"n_planned": len(seeds), "seeds": sorted(seeds), "runs": made}
    copied = _sibling(place, new_id)
    copied.mkdir(parents=True)
    (copied / "sweep.json").write_text(json.dumps(manifest))
    return new_id


def _with_seed(overrides: Sequence[str], seed: int) -> list[str]:
    return [f"seed={seed}" if each.startswith("seed=") else each for each in overrides]


def _place(connection: sqlite3.Connection, run_id: str, folder: Path) -> Path:
    (uri,) = connection.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    return folder.joinpath(*Path(uri).parts[-4:])


def _sibling(place: Path, run_id: str) -> Path:
    return place.parents[1] / run_id / place.name


def _link_files(original: Path, copy: Path, *, seed: int) -> str:
    """Link a run's files, but write its configuration with another seed; return what the store knows of them."""
    known = {}
    for path in sorted(original.rglob("*")):
        target = copy / path.relative_to(original)
        if path.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        name = str(path.relative_to(original))
        if name == "config.yaml":
            target.write_text(re.sub(r"^seed: \d+", f"seed: {seed}", path.read_text(), flags=re.MULTILINE))
        else:
            os.link(path, target)
        if name != "worker.log":
            digest = hashlib.sha256(target.read_bytes()).hexdigest()[:16]
            known[name] = f"{target.stat().st_size} {digest}" if "/" not in name else str(target.stat().st_size)
    return json.dumps(known)


def _copy_run(connection: sqlite3.Connection, original: str, copy: Copy) -> None:
    """Copy all rows of a run in MLflow's tables."""
    changes: dict[str, Any] = {"run_uuid": copy.run_id, "name": copy.name}
    (uri,) = connection.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (original,)).fetchone()
    _copy_rows(connection, "runs", original, changes | {"artifact_uri": uri.replace(original, copy.run_id)})
    for table in OF_RUN:
        _copy_rows(connection, table, original, {"run_uuid": copy.run_id})
    for key, value in {"mlflow.runName": copy.name, **copy.tags}.items():
        row = (value, copy.run_id, key)
        connection.execute("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", row)
    query = "SELECT input_uuid FROM inputs WHERE destination_type = 'RUN' AND destination_id = ?"
    for (input_id,) in connection.execute(query, (original,)).fetchall():
        new = uuid.uuid4().hex
        _copy_rows(connection, "inputs", input_id, {"input_uuid": new, "destination_id": copy.run_id}, by="input_uuid")
        _copy_rows(connection, "input_tags", input_id, {"input_uuid": new}, by="input_uuid")


def _copy_rows(
    connection: sqlite3.Connection, table: str, original: str, changes: dict[str, Any], *, by: str = "run_uuid"
) -> None:
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    named = ", ".join(f'"{name}"' for name in columns)
    taken = ", ".join(f":{name}" if name in changes else f'"{name}"' for name in columns)
    query = f"INSERT INTO {table} ({named}) SELECT {taken} FROM {table} WHERE {by} = :original"
    connection.execute(query, changes | {"original": original})
