"""Which `${...}` a setting may hold."""

from __future__ import annotations

import re

RESOLVERS = ("oc.select", "oc.dict.keys", "oc.dict.values")  # those that look nowhere but into the config


def refused_interpolation(value: str) -> str:
    """Why the interpolation in a text is refused; empty where there is none, or one of keys alone.

    What a setting holds is kept with every run, and is to be the same when the command is given again.
    """
    for found in re.finditer(r"\$\{(.*?)(?=:|\}|\$\{|$)", value, flags=re.DOTALL):
        after = value[found.end() :]
        name = found.group(1).strip()
        if after.startswith("${") or (after.startswith(":") and name not in RESOLVERS):
            return (
                f"`${{{name}:...}}` cannot stand in a setting, which is kept with every run: variables may be "
                "secret, and times pass; type the value, or let the shell fill it in"
            )
    return ""
