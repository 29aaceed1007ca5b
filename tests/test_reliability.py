"""docs/reliability.md is held by tests: every one that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
TEST = re.compile(r"`(test_\w+)::(test_\w+)`")


def test_every_row_names_a_test_that_is_there():
    defined = {
        (path.stem, node.name)
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(ROWS) > 80
    for row in ROWS:
        named = TEST.findall(row.rsplit("|", 2)[-2])
        assert named, f"names no test: {row}"
        assert not set(named) - defined, row
