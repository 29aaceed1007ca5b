"""Folders that a command writes into: there, writable and with room, before it reads data or starts anything."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import SettingsError, is_no_room, notice
from experiments.execution import own_process
from experiments.job import Job
from experiments.uris import problem_with, sqlite_file

ROOM_MIB = 8  # what the smallest run, its report and the store's log of writes take


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder, the rule for what states it, and how another is stated."""

    rule: str
    path: Path
    fix: str

    def problem(self) -> str | None:
        """Why it cannot be used, in a sentence; None where it can. It is made if need be."""
        if str(self.path).startswith("~"):
            return self._told("only a shell reads ~; write the whole path")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"\0" * 4096)
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            if is_no_room(error):
                return self._told(f"there is no room in it ({error.strerror}); make some, or {self.fix}")
            return self._told(f"{error.strerror or error} for user {os.getuid()}; {self.fix}")
        if free < ROOM_MIB * 2**20:
            return self._told(
                f"only {free / 2**20:.1f} MiB are free of the {ROOM_MIB} needed; make room, or {self.fix}"
            )
        return None

    def _told(self, what: str) -> str:
        return f"{self.rule}, but for {str(self.path)!r}: {what}"


def require_folders(job: Job, *, cache: Path | None) -> None:
    """Check every folder that a command writes into, and what its databases' addresses say.

    Args:
        job: Any of the command's jobs: they share all of this.
        cache: Where data are kept; None where none are read.

    Raises:
        SettingsError: All that cannot be used, a line each: the setting, the path, the reason, the fix.
        StoreUnavailable: If the file of the tracking store is none.
    """
    problems = [problem_with(job.tracking.uri, setting="tracking.uri")]
    databases = {"tracking.uri": job.tracking.uri}
    if job.tuning is not None and job.action == "train":
        problems.append(problem_with(job.tuning.storage, setting="tuning.storage"))
        databases["tuning.storage"] = job.tuning.storage
        if not any(problems) and _is_same(job.tuning.storage, job.tracking.uri):
            problems.append("`tuning.storage` must not be the database of `tracking.uri`; name another for one of them")
    if not any(problems):
        folders = [_stated("output", Path(job.output)), *itertools.starmap(_beside_database, databases.items())]
        folders += [_stated("TANDEM_CACHE", cache)] if cache is not None else []
        problems += [folder.problem() for folder in folders if folder is not None]
    problems.append(_problem_of_temporary_folder())
    if not any(problems) and (file := sqlite_file(job.tracking.uri)):
        from experiments.tracking import database  # sets variables for MLflow, once those of the shell are gone

        with contextlib.suppress(sqlite3.OperationalError):  # it is locked: when it is opened, it is waited for
            database.revision_of(file)
    found = [problem for problem in problems if problem is not None]
    if found:
        raise SettingsError("\n".join(dict.fromkeys(found)))


def _is_same(storage: str, tracking: str) -> bool:
    file = sqlite_file(storage)
    return storage == tracking or (file is not None and file == sqlite_file(tracking))


def _beside_database(setting: str, uri: str) -> Folder | None:
    file = sqlite_file(uri)
    if file is None:
        return None
    fix = f"name another file with {setting}=sqlite:////FOLDER/{file.name}"
    return Folder(rule=f"`{setting}` must lie in a folder that can be written", path=file.parent, fix=fix)


def _stated(setting: str, path: Path) -> Folder:
    rule = f"`{setting}` must be a folder that can be written"
    return Folder(rule=rule, path=path, fix=f"name another with {setting}=FOLDER")


def _problem_of_temporary_folder() -> str | None:
    """Check the folder of temporary files; Python takes another for a useless one, which is said."""
    stated = own_process.inherited().get("TMPDIR")
    try:
        used = tempfile.gettempdir()
    except OSError as error:
        return f"`TMPDIR` must be a folder that can be written, but: {error.strerror}; name another with TMPDIR=FOLDER"
    place = Path(used).absolute()
    if stated and Path(stated).absolute() not in (place, place.parent):  # a command's own folder is in it
        notice(f"TMPDIR={stated} cannot be written: temporary files go to {used}.")
    return _stated("TMPDIR", Path(used)).problem()
