"""Names as a page or figure can bear them: users' text may hold anything."""

from __future__ import annotations

import re
from typing import Any

# Control characters, halves of surrogate pairs and U+FFFE, U+FFFF make ill-formed XML, bidirectional overrides
# misleading text.
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
NAMES = r"(?:[^\s/'\"`<>|()\[\]:;,=]+/)+"  # of folders
ABSOLUTE_PATH = re.compile(
    rf"(?<=sqlite:///)/{NAMES}|(?<=sqlite\\:///)/{NAMES}|(?<=file://)/{NAMES}|(?<![\w.…/~<)#])/{NAMES}"
)
OUR_SCRIPT = re.compile(r"\bpython (?:'/[^']*/run\.py'|/\S*/run\.py)")


def clean(name: Any, limit: int = 60) -> str:
    """A name without what neither XML nor a reader can bear, cut in the middle where it is longer than `limit`."""
    text = FORBIDDEN.sub("", str(name))
    half = limit // 2 - 1
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def markdown(name: Any, limit: int = 2000) -> str:
    """Text that Markdown leaves alone."""
    text = clean(name, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`\[\]*_])", r"\\\1", text)


def without_paths(text: str) -> str:
    """The text with … for the folders of every absolute path: a report is read on other machines."""
    return ABSOLUTE_PATH.sub("…/", OUR_SCRIPT.sub("python run.py", text))
