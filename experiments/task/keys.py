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


def leaves(content: Any, key: str = "") -> dict[str, Any]:
    """The values of nested settings, in lists too: {"tuning.objectives[0].metric": "val/loss", ...}."""
    if isinstance(content, Mapping):
        inner = [leaves(value, f"{key}.{name}".removeprefix(".")) for name, value in content.items()]
    elif isinstance(content, (list, tuple)):
        inner = [leaves(value, f"{key}[{place}]") for place, value in enumerate(content)]
    else:
        return {key: content}
    return {name: value for each in inner for name, value in each.items()}


def format_value(value: Any) -> str:
    """A value as it is typed: 0.0001, 3, relu; another value is never written alike."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def describe_choice(key: str, value: str) -> str:
    """A choice as a person says it: the file of a group by its name, a key with its value."""
    return f"{short_key(key)} {value}" if "." in key else value


def short_key(key: str) -> str:
    """A key as a person says it: a file of a group by the group ("optimizer.kind"), else by its last word."""
    group, _, leaf = key.rpartition(".")
    return group if group and leaf == "kind" else leaf
