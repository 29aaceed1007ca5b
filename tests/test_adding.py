"""docs/adding.md, followed word for word in a copy of the project: what it says to add works and is certified."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from cases import PROJECT

GUIDE = (PROJECT / "docs" / "adding.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(
    r"^In `(?P<path>[^`]+)`(?: \(new\)|, (?P<how>after|before|instead of) `(?P<anchor>[^`]+)`):\n\n"
    r"```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMANDS = re.compile(r"^Try it:\n\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def changed(content, *, how, anchor, text):
    """`content` with `text` after, before or instead of the one line that begins with `anchor`."""
    lines = content.splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if line.strip().startswith(anchor.strip())]
    if len(places) != 1:
        raise ValueError(f"one line must begin with {anchor!r}, but {len(places)} do")
    place = places[0]
    first, last = {"after": (place + 1, place + 1), "before": (place, place), "instead of": (place, place + 1)}[how]
    if how == "instead of":  # a statement in brackets ends with the line that closes them
        while "".join(lines[first:last]).count("(") > "".join(lines[first:last]).count(")"):
            last += 1
    return "".join([*lines[:first], text, *lines[last:]])


def apply(section, root):
    """Follow every block of a section below `root`; return how many there were."""
    blocks = list(BLOCK.finditer(section))
    for block in blocks:
        path, text = root / block["path"], block["text"]
        if block["how"] is None:
            assert not path.exists(), path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            content = path.read_text(encoding="utf-8")
            path.write_text(changed(content, how=block["how"], anchor=block["anchor"], text=text), encoding="utf-8")
    return len(blocks)


def test_the_guide_has_five_sections_whose_every_block_says_where_it_goes():
    assert list(SECTIONS) == ["A task", "A data source", "A network kind", "An optimizer", "A framework"]
    for name, section in SECTIONS.items():
        fences = len(re.findall(r"^```\w+$", section, re.MULTILINE))
        assert fences == len(BLOCK.findall(section)) + 1, name  # and the commands
        assert "Files touched: " in section
        assert len(COMMANDS.findall(section)) == 1, name


@pytest.mark.parametrize(("anchor", "message"), [("x = ", "but 2 do"), ("y = ", "but 0 do")])
def test_a_place_that_is_not_unique_is_refused(anchor, message):
    with pytest.raises(ValueError, match=message):
        changed("x = 1\nx = 2\n", how="after", anchor=anchor, text="")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project's own files, in a folder of their own, with the whole guide followed."""
    root = tmp_path_factory.mktemp("guide") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, listed):
        if (PROJECT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, root / name)
    for section in SECTIONS.values():
        assert apply(section, root) >= 1
    return root


def ran(arguments, *, root, cwd):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=900,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SECTIONS))
def test_what_a_section_says_to_try_works(copy, tmp_path, name):
    commands = COMMANDS.findall(SECTIONS[name])[0].splitlines()
    assert any("action=parity" in command for command in commands)
    for command in commands:
        python, script, *overrides = command.split()
        assert (python, script) == ("python", "run.py")
        told = ran([str(copy / "run.py"), *overrides], root=copy, cwd=tmp_path)
        if "action=parity" in overrides:
            assert "\nCertified: " in told


@pytest.mark.slow
def test_the_project_is_still_in_order_after_the_guide(copy):
    """Rooms, experiments and, for the new framework, the contract; and the linters, for what a reader would copy."""
    quick = ["-q", "-p", "no:cacheprovider", "tests/test_rooms.py", "tests/test_settings.py", "-k",
             "rooms or rooms or room or composes"]  # fmt: skip
    ran(["-m", "pytest", *quick], root=copy, cwd=copy)
    ran(["-m", "ruff", "check", "."], root=copy, cwd=copy)
    ran(["-m", "mypy"], root=copy, cwd=copy)
