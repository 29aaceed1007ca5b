"""Addresses of databases and servers: which they may be, the file they mean, and how they are shown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

SQLITE = "sqlite:///"
TRACKING = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")  # what MLflow opens
PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/]*@")
PARAMETER = re.compile(r"(?i)\b(password|passwd|pwd|token|secret)=[^\s&'\"]+")


def without_password(text: str, /) -> str:
    """The text with *** for the password of every address in it."""
    return PARAMETER.sub(r"\1=***", PASSWORD.sub(r"\1:***@", text))


def sqlite_file(uri: str, /) -> Path | None:
    """The file of a SQLite address, as SQLAlchemy reads it: %20 is a space; None where the address is another's."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None


def problem_with(uri: str, /, *, setting: str) -> str | None:
    """Why an address cannot be what `setting` states, whoever listens there; None where it can."""
    file = sqlite_file(uri)
    if uri.startswith("sqlite:") and (file is None or file.name in ("", ":memory:")):
        rule, example = "a database that is kept in a file", Path(f"{setting.partition('.')[0]}.db")
    elif file is None:
        return None
    elif str(file).startswith("~"):
        rule, example = "the whole path of its file, since only a shell reads ~", _at_home(file)
    elif _is_folder(file):
        rule, example = "a file", file / f"{setting.partition('.')[0]}.db"
    else:
        return None
    return f"`{setting}` must be {rule}, but got {uri!r}; say {setting}={SQLITE}{example}"


def problem_with_tracking(uri: str, /) -> str | None:
    """The same for `tracking.uri`, which MLflow opens."""
    scheme, separator, _ = uri.partition(":")
    if scheme.partition("+")[0] in TRACKING and (separator or scheme == "databricks"):
        return problem_with(uri, setting="tracking.uri")
    example = f"{SQLITE}{uri}" if uri.endswith(".db") else f"{SQLITE}mlflow.db"
    return (
        "`tracking.uri` must begin with sqlite:///, postgresql://, mysql://, mssql://, http:// or https://, "
        f"but got {without_password(uri)!r}; for instance tracking.uri={example}"
    )


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
