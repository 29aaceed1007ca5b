"""ARCHITECTURE.md's table of rooms against the code: every module is named, every import rule is what the code does."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_rooms import PROJECT, imports_of

PAGE = PROJECT / "ARCHITECTURE.md"
HEAD = "| room | modules | imports of ours | libraries |"


@dataclass
class Room:
    """A folder of experiments/ or frameworks/, or a file that stands alone; what it holds and imports."""

    modules: set[str] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)


def room_of(parts: tuple[str, ...]) -> str:
    """("experiments", "task", "keys.py") -> experiments/task/; a file that stands alone is its own room."""
    return "/".join(parts) if len(parts) < 3 else "/".join(parts[:2]) + "/"


def room_of_import(name: str, root: Path) -> str:
    """experiments.task.keys.flatten -> experiments/task/."""
    top, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    if second and (root / top / second).is_dir():
        return f"{top}/{second}/"
    return f"{top}/{second}.py" if (root / top / f"{second}.py").is_file() else f"{top}/__init__.py"


def rooms_of(root: Path) -> dict[str, Room]:
    """What the code is: every room that holds anything but a docstring."""
    rooms: dict[str, Room] = {}
    for path in sorted([root / "run.py", *root.glob("experiments/**/*.py"), *root.glob("frameworks/**/*.py")]):
        parts = path.relative_to(root).parts
        room = rooms.setdefault(room_of(parts), Room())
        if len(parts) > 2 and path.name != "__init__.py":
            room.modules.add("/".join(parts[2:]).removesuffix(".py"))
        for name in imports_of(path):
            top = name.partition(".")[0]
            if top in ("experiments", "frameworks"):
                room.ours |= {room_of_import(name, root)} - {room_of(parts)}
            elif top not in sys.stdlib_module_names:
                room.libraries.add(top)
    del rooms["experiments/__init__.py"]  # a docstring
    return rooms


def words(cell: str) -> set[str]:
    return set(cell.replace("`", "").split())


def rooms_in(page: str) -> dict[str, Room]:
    """What the table says."""
    assert HEAD in page
    lines = page.partition(HEAD)[2].strip().splitlines()[1:]
    rows = [line.strip("|").split("|") for line in lines[: lines.index("")]]
    return {row[0].strip().strip("`"): Room(*map(words, row[1:])) for row in rows}


def as_row(name: str, room: Room) -> str:
    def cell(found: Iterable[str]) -> str:
        return " ".join(f"`{each}`" for each in sorted(found))

    return f"| `{name}` | {cell(room.modules)} | {cell(room.ours)} | {cell(room.libraries)} |"


def wrong_rows(root: Path, page: str) -> list[str]:
    """The rows that the table lacks or has otherwise, as they must be; and those of rooms that are not there."""
    code, told = rooms_of(root), rooms_in(page)
    return [as_row(name, room) for name, room in code.items() if told.get(name) != room] + sorted(told.keys() - code)


def test_the_table_of_rooms_is_what_the_code_is():
    assert len(rooms_of(PROJECT)) > 15
    assert wrong_rows(PROJECT, PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("experiments/task/extra.py", ""),
        ("experiments/records.py", "import scipy\n"),
        ("experiments/records.py", "from experiments import sweep\n"),
        ("experiments/alone.py", ""),
    ],
)
def test_a_module_or_an_import_that_it_does_not_name_is_seen(tmp_path, place, text):
    for path in [PROJECT / "run.py", *PROJECT.glob("experiments/**/*.py"), *PROJECT.glob("frameworks/**/*.py")]:
        copy = tmp_path / path.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text() if path.name != Path(place).name else path.read_text() + text)
    (tmp_path / place).touch()
    assert len(wrong_rows(tmp_path, PAGE.read_text())) == 1
