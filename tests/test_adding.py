"""docs/adding.md, followed word for word in fresh copies of the checkout, where its commands are run."""

import json
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


def python(arguments: list[str], root: Path, asked: str = "") -> str:
    """Output of Python in the copy; only the copy's packages are imported."""
    environment = os.environ | {"PYTHONPATH": str(root), "TANDEM_CACHE": str(root / ".cache")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, input=asked, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def run(command: str, root: Path) -> str:
    """Output of a command of the guide, in the copy."""
    program, *arguments = shlex.split(command)
    assert program == "python"
    return python(arguments, root)


# In the copy, in one process: each command's line is answered by what it printed.
ONE_AFTER_ANOTHER = """
import json, shlex, sys
from pathlib import Path
sys.path.insert(0, "tests")
from commands import command
answers = {}
for line in json.load(sys.stdin):
    program, script, *arguments = shlex.split(line)
    assert (program, script) == ("python", "run.py"), line
    done = command(*arguments, cwd=Path.cwd(), cache=Path(".cache").resolve())
    assert done.returncode == 0, f"{line}\\n{done.stdout[-3000:]}\\n{done.stderr[-3000:]}"
    answers[line] = done.stdout
json.dump(answers, sys.stdout)
"""


def run_all(lines: list[str], root: Path) -> dict[str, str]:
    """Each line -> its output. Those that start run.py share a process, the others have one each."""
    of_ours = [line for line in lines if line.startswith("python run.py ")]
    others = {line: run(line, root) for line in lines if line not in of_ours}
    assert len(of_ours) >= 2 * len(SECTIONS) - 1
    return others | json.loads(python(["-c", ONE_AFTER_ANOTHER], root, json.dumps(of_ours)).splitlines()[-1])


@pytest.fixture
def followed(title, tmp_path):
    """A copy in which a section has been followed, and the files that were touched."""
    root = checkout(tmp_path / "copy")
    *given, _ = blocks(SECTIONS[title])
    return root, {apply(block, root) for block in given}


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory):
    """For all copies, begun with what mypy kept here, if it ran: most of what it reads is the same in each."""
    folder = tmp_path_factory.mktemp("mypy")
    if (kept := PROJECT / ".mypy_cache").is_dir():
        shutil.copytree(kept, folder, dirs_exist_ok=True)
    return folder


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
def test_a_section_alone_is_as_it_must_be(followed, mypy_cache):
    root, touched = followed
    run("python -m ruff format .", root)
    run("python -m ruff check .", root)
    if any(file.startswith("experiments/") for file in touched):
        run(f"python -m mypy --cache-dir {mypy_cache}", root)
    run(f"python -m pytest -q {AS_IT_MUST_BE}", root)


@pytest.mark.slow
def test_what_stands_under_try_it_works_as_it_is_printed(tmp_path, empty_database):
    """All sections in one copy, its commands in one process: most of what one takes is the import of two frameworks."""
    root = checkout(tmp_path / "copy")
    shutil.copy(empty_database, root / "mlflow.db")
    for section in SECTIONS.values():
        *given, _ = blocks(section)
        for block in given:
            apply(block, root)
    lines = []
    for section in SECTIONS.values():
        *_, last = blocks(section)
        assert (last.announced, last.language) == (TRY_IT, "sh")
        assert len(last.text.splitlines()) >= 2
        assert [line.endswith(" action=parity") for line in last.text.splitlines()].count(True) == 1
        lines += last.text.splitlines()
    outputs = run_all(lines, root)
    certified = [output for line, output in outputs.items() if line.endswith(" action=parity")]
    assert len(certified) == len(SECTIONS)
    for output in certified:
        assert "\nCertified: " in output


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
