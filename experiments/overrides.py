"""One KEY=VALUE in Hydra's grammar."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString


def parse(word: str) -> Override | None:
    """A word as Hydra reads it, or None where its grammar has no place for it."""
    try:
        return OverridesParser.create().parse_override(word)
    except Exception:  # HydraException, ValueError of a number with too many digits, RecursionError of brackets
        return None


def quoted(text: str) -> str:
    """A text as a value that Hydra reads, between quotes."""
    return QuotedString(text, Quote.double).with_quotes()
