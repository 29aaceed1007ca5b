"""docs/adding.md, followed word for word: each section in a fresh copy of the checkout, its commands run there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
GUIDE = (PROJECT / "docs" / "adding.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: section.partition("\n")[2] for section in re.split("^## ", GUIDE, flags=re.M)[1:]
}
FENCED = re.compile(r"^(?P<announced>[^\n]+)\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
PLACE = re.compile(r"In `([^`]+)`, (?:(new)|(after|before|instead of) `([^`]+)`):")
TRY_IT = "Try it:"
AS_IT_MUST_BE = "tests/test_rooms.py tests/test_settings.py -k 'room_is_breached or same_files or composes'"

each_section = pytest.mark.parametrize("title", list(SECTIONS))


@dataclass(frozen=True)
class Block:
    """A code block, and the line above it."""

    announced: str
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    return [Block(**found.groupdict()) for found in FENCED.finditer(text)]


def apply(block: Block, root: Path) -> str:
    """Put a block where the line above it says; returns the file.

    Raises:
        ValueError: If that line says no place, or a place that is not there, or is there more than once.
    """
    place = PLACE.fullmatch(block.announced)
    if place is None:
        raise ValueError(f"a block must say where it goes, but its line is {block.announced!r}")
    file, is_new, where, anchor = place.groups()
    path = root / file
    if is_new:
        if path.exists():
            raise ValueError(f"{file} must be new, but exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return file
    lines = path.read_text().splitlines()
    found = [number for number, line in enumerate(lines) if line.strip().startswith(anchor)]
    if len(found) != 1:
        raise ValueError(f"one line of {file} must begin with `{anchor}`, but {len(found)} do")
    start, end = {"before": (0, 0), "after": (1, 1), "instead of": (0, 1)}[where]
    lines[found[0] + start : found[0] + end] = block.text.splitlines()
    path.write_text("\n".join(lines) + "\n")
    return file


def checkout(folder: Path) -> Path:
    """A copy of what git knows of, and of what it would take."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (PROJECT / name).is_file():  # not one that is deleted and not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    return folder


def run(command: str, root: Path) -> str:
    """Output of a command of the guide, in the copy; only the copy's packages are imported."""
    program, *arguments = shlex.split(command)
    assert program == "python"
    environment = os.environ | {"PYTHONPATH": str(root), "TANDEM_CACHE": str(root / ".cache")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def followed(title, tmp_path):
    """A copy in which a section has been followed, and the files that were touched."""
    root = checkout(tmp_path / "copy")
    *given, _ = blocks(SECTIONS[title])
    return root, {apply(block, root) for block in given}


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory):
    """For all copies: most of what mypy reads is the same in each."""
    return tmp_path_factory.mktemp("mypy")


def test_no_block_of_the_guide_is_passed_over():
    found = [block for text in SECTIONS.values() for block in blocks(text)]
    assert len(SECTIONS) == 5
    assert 2 * len(found) == GUIDE.count("```")
    assert [block.announced for block in found].count(TRY_IT) == len(SECTIONS)


@each_section
def test_every_block_has_its_place_and_every_touched_file_is_listed(title, followed):
    _, touched = followed
    listed = SECTIONS[title].partition("Files touched:")[2].partition("\n\nIn ")[0]
    heads = [line.partition(": ")[0] for line in listed.splitlines() if line.startswith("- ")]
    assert touched == set(re.findall("`([^`]+)`", " ".join(heads)))


@each_section
@pytest.mark.slow
def test_a_section_works_as_it_is_printed(title, followed, mypy_cache):
    root, touched = followed
    run("python -m ruff format .", root)
    run("python -m ruff check .", root)
    if any(file.startswith("experiments/") for file in touched):
        run(f"python -m mypy --cache-dir {mypy_cache}", root)
    run(f"python -m pytest -q {AS_IT_MUST_BE}", root)
    *_, last = blocks(SECTIONS[title])
    assert (last.announced, last.language) == (TRY_IT, "sh")
    outputs = {command: run(command, root) for command in last.text.splitlines()}
    certified = [output for command, output in outputs.items() if "action=parity" in command]
    assert len(outputs) >= 2
    assert len(certified) == 1
    assert "\nCertified: " in certified[0]


@pytest.mark.parametrize(
    ("announced", "message"),
    [
        ("In `a.py`, after `c = 3`:", "one line of a.py must begin with `c = 3`, but 0 do"),
        ("In `a.py`, before `a =`:", "one line of a.py must begin with `a =`, but 2 do"),
        ("In `a.py`, new:", "a.py must be new, but exists"),
        ("In a.py, somewhere:", "a block must say where it goes"),
    ],
)
def test_a_place_that_is_not_there_or_not_clear_is_refused(tmp_path, announced, message):
    (tmp_path / "a.py").write_text("a = 1\nif a:\n    a = 1\n    b = 2\n")
    with pytest.raises(ValueError, match=message):
        apply(Block(announced, "python", "d = 4\n"), tmp_path)


def test_a_block_goes_where_its_line_says(tmp_path):
    (tmp_path / "a.py").write_text("a = 1\nb = 2\n")
    for announced, text in (("after `a = 1`", "c = 3\n"), ("before `a = 1`", "d = 4\n"), ("instead of `b = 2`", "e\n")):
        apply(Block(f"In `a.py`, {announced}:", "python", text), tmp_path)
    assert (tmp_path / "a.py").read_text() == "d = 4\na = 1\nc = 3\ne\n"
