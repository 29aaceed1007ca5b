"""A tracking store in a SQLite file, looked at before MLflow does: MLflow waits, migrates and writes before it asks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from experiments.errors import StoreUnavailable

ANOTHER = "or name another with tracking.uri=sqlite:///FILE"


def revision_of(path: Path) -> str | None:
    """The revision of MLflow's schema in a file; None where there is no database yet.

    Raises:
        StoreUnavailable: If the file is something else, damaged, or not to be written.
        sqlite3.OperationalError: If it is locked.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnavailable(f"{_told(path)} may not be written by this user; chmod u+w {path}, {ANOTHER}")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            query = "SELECT version_num FROM alembic_version"
            revisions = connection.execute(query).fetchall() if "alembic_version" in tables else []
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        raise StoreUnavailable(f"{_told(path)} cannot be opened: {error}; {ANOTHER}") from error
    except sqlite3.DatabaseError as error:
        raise StoreUnavailable(f"{_told(path)} is damaged or no database ({error}); move it away, {ANOTHER}") from error
    if tables and len(revisions) != 1:
        raise StoreUnavailable(f"{_told(path)} is a database of something else than MLflow; {ANOTHER}")
    return str(revisions[0][0]) if revisions else None


def _told(path: Path) -> str:
    return f"the tracking store {path}"


def begin(path: Path, *, empty: Path, make: Callable[[Path], None]) -> None:
    """Make a database a copy of an empty one: MLflow's own way, all migrations since its first schema, takes seconds.

    Args:
        path: Where there is none yet.
        empty: What is copied; it is made if need be.
        make: What makes one, at another path.
    """
    if not empty.exists():
        empty.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=empty.parent) as folder:
            made = Path(folder) / empty.name
            make(made)
            made.replace(empty)
    _copy(empty, path)


def _copy(path: Path, other: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(other)) as target:
        source.backup(target)


def keep_copy(path: Path, *, revision: str) -> Path:
    """Copy a database before it is migrated; return the copy, which is made once."""
    copy = path.with_name(f"{path.name}.{revision}.bak")
    if not copy.exists():
        partial = copy.with_name(f".{copy.name}")
        partial.unlink(missing_ok=True)
        _copy(path, partial)
        partial.replace(copy)
    return copy


def has_results(path: Path, fingerprints: Collection[str]) -> bool:
    """Whether runs with all of these fingerprints have come to a result, as far as a file tells that is not opened.

    Their files are not looked at, and a file that cannot be read holds none: this is for a guess in a millisecond.
    """
    wanted = ", ".join("?" for _ in fingerprints)
    query = f"""
        SELECT COUNT(DISTINCT known.value) FROM tags known JOIN tags ended USING (run_uuid)
        WHERE known.key = 'tandem.fingerprint' AND known.value IN ({wanted})
        AND ended.key = 'tandem.outcome' AND ended.value IN ('finished', 'diverged')
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_existing(path)) as connection:
        (n_found,) = connection.execute(query, list(fingerprints)).fetchone()
        return bool(n_found == len(set(fingerprints)))
    return False


def _existing(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=1.0)
