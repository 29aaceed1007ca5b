"""One thing that was looked at, and how it came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "worth knowing", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A line of the page.

    Attributes:
        part: The section that it belongs to.
        state: How it came out; one that is wrong makes the command leave with 1.
        told: What was found, in a sentence.
        fix: What mends it, or tells more; empty where nothing is to be done.
    """

    part: str
    state: State
    told: str
    fix: str = ""


def judged(part: str, told: str, *, wrong: bool = False, note: bool = False, fix: str = "") -> Check:
    """A check that is ok, unless it is `wrong` or worth a `note`; only then does it come with the fix.

    Args:
        part: The section.
        told: What was found.
        wrong: Whether that is wrong.
        note: Whether that is worth knowing.
        fix: What mends it.
    """
    state: State = "wrong" if wrong else "worth knowing" if note else "ok"
    return Check(part=part, state=state, told=told, fix=fix if wrong or note else "")


def has_wrong(checks: Sequence[Check]) -> bool:
    """Whether anything is wrong."""
    return any(check.state == "wrong" for check in checks)
