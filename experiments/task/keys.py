"""Keys and values of settings as people type and read them: "optimizer.learning_rate", 0.0001."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"optimizer.learning_rate": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def format_value(value: Any) -> str:
    """A value as it is typed: 0.0001, 3, relu; another value is never written alike."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def describe_choice(key: str, value: str) -> str:
    """A choice as a person says it: the file of a group by its name, a key with its value."""
    group, _, leaf = key.rpartition(".")
    return f"{group if leaf == 'kind' else leaf} {value}" if "." in key else value
