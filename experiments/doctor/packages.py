"""What is installed against what this project was tested with: pyproject.toml, and no second list."""

from __future__ import annotations

import importlib.metadata
import platform
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from experiments.doctor.check import Check, judged

PART = "Packages"
INSTALL = "pip install -e . in the project's folder, or an environment of its own"


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What pyproject.toml states: Python, what is needed, and what is needed for an extra."""

    python: SpecifierSet
    needed: tuple[Requirement, ...]
    extras: tuple[Requirement, ...]

    @classmethod
    def of(cls, project: Path) -> Pins:
        """Those of a pyproject.toml."""
        stated = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        extras = [word for words in stated.get("optional-dependencies", {}).values() for word in words]
        return cls(
            python=SpecifierSet(stated["requires-python"]),
            needed=tuple(Requirement(word) for word in stated["dependencies"]),
            extras=tuple({Requirement(word).name: Requirement(word) for word in extras}.values()),
        )


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A package that is installed: its name, its version, what it requires, and the modules that it brings."""

    name: str
    version: str
    requires: tuple[Requirement, ...] = ()
    modules: frozenset[str] = frozenset()


def versions(pins: Pins) -> dict[str, str]:
    """Name -> version of what is stated and installed; some milliseconds."""
    found = {}
    for each in (*pins.needed, *pins.extras):
        try:
            found[each.name] = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def installed() -> list[Installed]:
    """All that is installed; some tenths of a second."""
    modules: dict[str, set[str]] = {}
    for module, names in importlib.metadata.packages_distributions().items():
        for name in names if module != "__pycache__" else ():  # compiled files of single modules, since Python 3.12
            modules.setdefault(canonicalize_name(name), set()).add(module)
    found: dict[str, Installed] = {}
    for each in importlib.metadata.distributions():
        name = canonicalize_name(each.metadata["Name"] or "")
        if not name or name in found:  # the first one found is the one that is imported
            continue
        requires = tuple(filter(None, map(_requirement, each.requires or ())))
        brought = frozenset(modules.get(name, ()))
        found[name] = Installed(name=name, version=each.version, requires=requires, modules=brought)
    return list(found.values())


def _requirement(word: str) -> Requirement | None:
    """What a package states that holds here without an extra; None where it does not, or cannot be read."""
    try:
        each = Requirement(word)
    except InvalidRequirement:
        return None
    return each if each.marker is None or each.marker.evaluate({"extra": ""}) else None


def in_range(pins: Pins, found: Mapping[str, str], *, python: str = platform.python_version()) -> list[Check]:
    """Whether each version is one that was tested.

    Args:
        pins: What is stated.
        found: Name -> version of what is installed.
        python: Its version.
    """
    checks = [
        judged(PART, f"Python {python} is not in {pins.python}, which was tested", wrong=True, fix="use another Python")
        for _ in (1,)
        if not pins.python.contains(python, prereleases=True)
    ]
    missing = [each for each in pins.needed if each.name not in found]
    checks += [judged(PART, f"{each} is needed, and not installed", wrong=True, fix=INSTALL) for each in missing]
    known = [each for each in (*pins.needed, *pins.extras) if each.name in found]
    outside = [each for each in known if not each.specifier.contains(found[each.name], prereleases=False)]
    for each in dict.fromkeys(outside):
        told = f"{each.name} {found[each.name]} is not in its tested range, {each.specifier}"
        checks.append(judged(PART, told, wrong=True, fix=INSTALL))
    good = [f"{each.name} {found[each.name]}" for each in pins.needed if each in known and each not in outside]
    told = f"Python {python}; in their tested range: {', '.join(good) or 'none'}"
    return [*checks, judged(PART, told)]


def conflicts(pins: Pins, packages: Sequence[Installed]) -> list[Check]:
    """Who asks for another version of what this project needs, and who brings the same modules.

    A package that is installed later may drag a version down, silently: pip asks the packages of one command only.
    """
    ours = {canonicalize_name(each.name): each for each in pins.needed}
    found = {each.name: each.version for each in packages}
    checks = []
    for package in packages:
        for asked in package.requires:
            name = canonicalize_name(asked.name)
            if name not in ours or name not in found:
                continue
            fits = asked.specifier.contains(found[name], prereleases=True)
            tested = ours[name].specifier.contains(found[name], prereleases=True)
            if not fits or (not tested and asked.specifier):
                does = "asks for" if not fits else "may have brought it: it asks for"
                told = f"{name} {found[name]} is installed, and {package.name} {package.version} {does} {asked}"
                fix = f"pip uninstall {package.name}, then {INSTALL}"
                checks.append(judged(PART, told, wrong=not fits, note=fits, fix=fix))
    return checks + _twins(ours, packages)


def _twins(ours: Collection[str], packages: Sequence[Installed]) -> list[Check]:
    """Two packages that bring the same module, of which the one installed last has overwritten the other."""
    checks = []
    for package in (each for each in packages if each.name in ours):
        asked = {canonicalize_name(each.name) for each in package.requires}
        for other in packages:
            shared = sorted(package.modules & other.modules)
            is_part = other.name in asked or package.name in {canonicalize_name(each.name) for each in other.requires}
            if other is not package and shared and not is_part:
                told = f"{package.name} {package.version} and {other.name} {other.version} both bring {shared[0]}"
                fix = f"pip uninstall {package.name} {other.name}, then {INSTALL}"
                checks.append(judged(PART, told, wrong=True, fix=fix))
    return checks


def shadows(modules: Collection[str], *, folders: Sequence[Path], project: Path) -> list[Check]:
    """Files that are called as a module of ours or of a library: Python may take them for it.

    Args:
        modules: The names of modules that are imported.
        folders: The current one and those of PYTHONPATH; this project looks there last, workers not at all.
        project: Where this project looks first.
    """
    own = {"experiments", "frameworks", "run", "benchmarks", "tests"}
    checks = []
    for folder in dict.fromkeys([project, *folders]):
        is_project = folder == project
        names = set(modules) - own if is_project else {*modules, "experiments", "frameworks"}
        for path in sorted(_called(names, folder)):
            told = f"{path} is called as a module that is imported here"
            told += "" if is_project else "; commands and workers pass it over, other programs in that folder may not"
            checks.append(judged(PART, told, wrong=is_project, note=not is_project, fix="give it another name"))
    return checks


def _called(names: Collection[str], folder: Path) -> list[Path]:
    """Modules and packages of these names in a folder."""
    if not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if path.stem in names and (path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))))
    ]
