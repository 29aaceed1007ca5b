"""The files of runs: where they lie, what was kept of each, and what is missing of it.

A database in a file has them in the folder `mlruns` beside it, wherever the two are; elsewhere MLflow's server knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from experiments.errors import NotKept
from experiments.fingerprint import hyphenated
from experiments.tracking.client import TAG, PatientClient
from experiments.tracking.places import FOLDER, as_path, beside
from experiments.uris import sqlite_file

CONFIG, LOGITS = "config.yaml", "test_logits.npz"
READ_AGAIN = (CONFIG, LOGITS)  # what a report is made of: kept with a digest; other files with their size
LOG = "worker.log"  # no result: a run without it is whole
TAG_LIMIT = 5000  # characters: MLflow cuts a tag at 8000


class Files:
    """The files of the runs of one store."""

    def __init__(self, client: PatientClient, /) -> None:
        """Of an open client."""
        self.client = client
        database = sqlite_file(client.tracking_uri)
        self.folder = database and database.parent
        self._known: dict[str, tuple[str, bool]] = {}  # run -> its place, and whether it was deleted

    def place(self, run: Run) -> str:
        """The URI of a run's folder."""
        uri = str(run.info.artifact_uri)
        return (self.folder and beside(uri, n_parts=4, folder=self.folder)) or uri

    def new_place(self, name: str) -> str | None:
        """Where the files of a new experiment go; None where a server knows."""
        return (self.folder / FOLDER / hyphenated(name)).as_uri() if self.folder else None

    def know(self, run: Run) -> None:
        """Remember where a run's files lie, so that the store is not asked for each of them."""
        self._known[run.info.run_id] = self.place(run), run.info.lifecycle_stage == "deleted"

    def forget(self, run_id: str) -> None:
        """A run is over, one of thousands."""
        self._known.pop(run_id, None)

    def write(self, run_id: str, name: str, text: str) -> str:
        """Keep a text as a file of a run; return what `inventory` says of it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(text, encoding="utf-8")
            self.copy(run_id, path)
            return _described(path, name)

    def copy(self, run_id: str, path: Path) -> None:
        """Keep a file with a run."""
        self._ask(run_id, "log_artifact", str(path))

    def copy_all(self, run_id: str, folder: Path, into: str | None = None) -> None:
        """Keep all files of a folder with a run."""
        self._ask(run_id, "log_artifacts", str(folder), into)

    def path(self, run_id: str, name: str) -> Path:
        """Where a file of a run can be read.

        Raises:
            NotKept: If it is not there.
        """
        place, is_deleted = self._known_of(run_id)
        if is_deleted:
            raise NotKept(_deleted(run_id))
        if not self.has(run_id, name):
            raise NotKept(f"{name} is missing from {as_path(place)}")
        here = _folder_at(place)
        return here / name if here else Path(self._ask(run_id, "download_artifacts", name))

    def has(self, run_id: str, name: str) -> bool:
        """Whether a file lies in a run's folder."""
        return name in self._sizes(run_id, "")

    def missing(self, run: Run) -> str:
        """What is missing of an ended run's files, in words; empty where all are there as they were kept."""
        if run.info.lifecycle_stage == "deleted":
            return _deleted(run.info.run_id)
        kept = _inventory_of(run)
        there = self._sizes_of(run.info.run_id, kept)
        lost = [name for name in kept if name not in there]
        changed = [name for name in kept if name in there and not self._is_whole(run, name, there[name], kept[name])]
        parts = [f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} missing from"] if lost else []
        parts += [f"{' and '.join(changed)} {'is' if len(changed) == 1 else 'are'} not as kept in"] if changed else []
        return f"{', '.join(parts)} {as_path(self.place(run))}" if parts else ""

    def _is_whole(self, run: Run, name: str, size: int | None, kept: str) -> bool:
        expected, _, digest = kept.partition(" ")
        if expected and size is not None and size != int(expected):
            return False
        if not digest or self.folder is None:  # a server's are not fetched to be looked at
            return True
        return _described(self.path(run.info.run_id, name), name) == kept

    def _sizes_of(self, run_id: str, kept: Mapping[str, str]) -> dict[str, int | None]:
        """The sizes of all files in the folders of `kept`, as far as they are known."""
        folders = sorted({"" if "/" not in name else name.rpartition("/")[0] for name in kept})
        return {name: size for folder in folders for name, size in self._sizes(run_id, folder).items()}

    def _sizes(self, run_id: str, folder: str) -> dict[str, int | None]:
        here = _folder_at(self._known_of(run_id)[0])
        if here is None:
            listed = self._ask(run_id, "list_artifacts", folder or None)
            return {each.path: each.file_size for each in listed if not each.is_dir}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(here / folder) as entries:
            return {str(Path(folder, each.name)): each.stat().st_size for each in entries if each.is_file()}
        return {}

    def _ask(self, run_id: str, method: str, *arguments: Any) -> Any:
        place, _ = self._known_of(run_id)
        repository = get_artifact_repository(place, tracking_uri=self.client.tracking_uri)
        return self.client.patiently(getattr(repository, method), *arguments)

    def _known_of(self, run_id: str) -> tuple[str, bool]:
        if run_id not in self._known:
            self.know(self.client.get_run(run_id))
        return self._known[run_id]


def inventory(folder: Path, known: Mapping[str, str]) -> str:
    """What is kept of an ended run, as a tag: file -> its size in bytes, and the digest of what a report reads.

    Args:
        folder: What is kept beside what is known.
        known: File -> what is known of it already.
    """
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    names = sorted(paths.keys() - {LOG}, key=lambda name: (name not in READ_AGAIN, name))
    kept = dict(known)
    for name in names:
        entry = {name: _described(paths[name], name)}
        if len(json.dumps(kept | entry)) > TAG_LIMIT:
            break
        kept |= entry
    return json.dumps(kept)


def _inventory_of(run: Run) -> dict[str, str]:
    """File -> size and digest, as `inventory` wrote it; what any earlier version kept, without."""
    tags = run.data.tags
    if TAG + "files" in tags:
        kept: dict[str, str] = json.loads(tags[TAG + "files"])
        return kept
    is_result = tags.get(TAG + "outcome") == "finished" and tags.get(TAG + "kind", "run") == "run"
    return dict.fromkeys(READ_AGAIN if is_result else (CONFIG,), "")


def _folder_at(place: str) -> Path | None:
    """A run's folder where it is one of this machine, which is looked at without MLflow; else None."""
    path = as_path(place)
    return Path(path) if path.startswith("/") else None


def _deleted(run_id: str) -> str:
    return f"it was deleted; `mlflow runs restore --run-id {run_id}` brings it back"


def _described(path: Path, name: str) -> str:
    size = str(path.stat().st_size)
    return f"{size} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" if name in READ_AGAIN else size
