"""Addresses of databases and servers: which they may be, the file they mean, and how they are shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

SQLITE = "sqlite:///"
OPENED = {  # beside files of SQLite: what MLflow opens, and Optuna
    "tracking.uri": ("postgresql", "mysql", "mssql", "http", "https", "databricks"),
    "tuning.storage": ("postgresql", "mysql", "mariadb", "mssql", "oracle"),
}
DEFAULT = {"tracking.uri": "mlflow.db", "tuning.storage": "optuna.db"}
LIKE_SQLITE = re.compile(r"(?i)sqlite(\+[^:/]*)?:///")
TIMEOUT = re.compile(r"timeout=\d+(\.\d*)?")  # `uri=true`, `mode` and others open another file, or none
PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/]*@")
PARAMETER = re.compile(r"(?i)\b(password|passwd|pwd|token|secret)=[^\s&'\"]+")


def without_password(text: str, /) -> str:
    """The text with *** for the password of every address in it."""
    return PARAMETER.sub(r"\1=***", PASSWORD.sub(r"\1:***@", text))


def sqlite_file(uri: str, /) -> Path | None:
    """The file of a SQLite address, the one that SQLite itself opens; None where the address is another's.

    Locks, owners, the log of writes and the files of runs lie beside it: it is absolute, and the target of any link.
    SQLAlchemy takes `..` out of what is written before links are followed.
    """
    written = _written_file(uri)
    return Path(os.path.realpath(os.path.abspath(written))) if written is not None else None  # noqa: PTH100


def problem_with(uri: str, /, *, setting: str) -> str | None:
    """Why an address cannot be what `setting` states, whoever listens there; None where it can."""
    scheme, separator, _ = uri.partition(":")
    if scheme.partition("+")[0].lower() == "sqlite":
        rule, file = _problem_with_file(uri, default=DEFAULT[setting]) or ("", "")
        return f"`{setting}` must be {rule}, but got {uri!r}; say {setting}={SQLITE}{file}" if rule else None
    if scheme.partition("+")[0] in OPENED[setting] and (separator or scheme == "databricks"):
        return None
    *others, last = (f"{each}://" for each in OPENED[setting] if each != "databricks")
    example = uri if uri.endswith(".db") and "://" not in uri else DEFAULT[setting]
    return (
        f"`{setting}` must begin with sqlite:///, {', '.join(others)} or {last}, "
        f"but got {without_password(uri)!r}; for instance {setting}={SQLITE}{example}"
    )


def _problem_with_file(uri: str, *, default: str) -> tuple[str, str | Path] | None:
    """What a SQLite address must be and the path of one that is; None where it is."""
    written, (path, _, query) = _written_file(uri), uri.partition("?")
    if written is None and LIKE_SQLITE.match(path):
        return "written as sqlite:///FILE, without a driver and in small letters", LIKE_SQLITE.sub("", path) or default
    if written is None or Path(written).name in ("", ":memory:") or "\0" in written:
        return "a database that is kept in a file", default
    if written.startswith("file:") or (query and not TIMEOUT.fullmatch(query)):
        file = path.removeprefix(SQLITE).removeprefix("file:")
        return "the path of a file, with nothing behind it but ?timeout=SECONDS", file or default
    if written.startswith("~"):
        return "the whole path of its file, since only a shell reads ~", _at_home(Path(written))
    if _is_folder(Path(written)):
        return "a file", Path(written) / default
    return None


def _written_file(uri: str) -> str | None:
    """The path in a SQLite address, as SQLAlchemy reads it: %20 is a space."""
    return unquote(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # its name is too long
        return False


def _at_home(file: Path) -> Path:
    try:
        return file.expanduser()
    except RuntimeError:  # there is no such home
        return file
