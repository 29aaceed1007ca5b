"""Names of things: hashes of a task, data, a run; names of files. Equal content, equal name, on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rises whenever a change moves numbers, so that old runs are never compared with new ones; see CHANGELOG.md.
RESULTS_VERSION = 2
ONLY_IF_CHANGED = "only_if_changed"  # metadata of a field that is part of its dataclass's content unless at its default


def fingerprint_of(content: Any, /) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_of_arrays(arrays: dict[str, NDArray[Any]], /) -> str:
    """The same for named arrays: name, type, shape and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def plain(content: Any, /) -> Any:
    """Dataclasses as dicts with their `kind` or `source`, tuples as lists: what JSON and YAML can hold."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        tag = tag_of(content)
        tagged = {tag: getattr(content, tag)} if tag else {}
        return tagged | {
            field.name: plain(getattr(content, field.name))
            for field in dataclasses.fields(content)
            if not (field.metadata.get(ONLY_IF_CHANGED) and getattr(content, field.name) == field.default)
        }
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    return content


def slug(name: str, /, *, limit: int | None = 80) -> str:
    """A file name: ASCII letters, digits and single hyphens, at most `limit` of them, "unnamed" where none is left."""
    parts = [part for part in hyphenated(name).split("-") if part]
    return "-".join(parts)[:limit] or "unnamed"


def file_name(name: str, /, *, limit: int = 80) -> str:
    """The name itself where it can be a file's, else its slug with six digits of its hash: no two names are one."""
    is_plain = re.fullmatch(r"\w[\w-]*", name, flags=re.ASCII) and len(name) <= limit
    return name if is_plain else f"{slug(name, limit=limit - 7)}-{fingerprint_of(name)[:6]}"


def hyphenated(name: str, /) -> str:
    """A hyphen for each character that is no ASCII letter or digit."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


def tag_of(content: Any, /) -> str:
    """The name under which a dataclass, or one of its kind, says which of several it is; empty where it is no such."""
    return next((name for name in ("kind", "source") if hasattr(content, name)), "")
