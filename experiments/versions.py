"""What is installed: the versions that a question about a run should come with."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from pathlib import Path


def told(project: Path) -> str:
    """The project's version, Python's, and those of the packages that it needs, a line each; none is imported.

    Args:
        project: Its pyproject.toml.
    """
    stated = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    needed = [re.split(r"[^\w.-]", requirement)[0] for requirement in stated["dependencies"]]
    lines = [f"{stated['name']} {stated['version']}", f"python {platform.python_version()}"]
    return "\n".join([*lines, *(f"{name} {_version(name)}" for name in needed)])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
