"""The frameworks. Importing this package imports none of them."""

from __future__ import annotations

import importlib

from experiments.contract import Framework

# name in conf/framework/*.yaml -> module; a new framework is one line here, a folder, a YAML and an extra.
MODULES = {
    "lightning": "frameworks.lightning.adapter",
    "keras": "frameworks.keras.adapter",
    "numpy": "frameworks.numpy.adapter",
}


def load(name: str) -> Framework:
    """Import one framework.

    Raises:
        KeyError: If there is no framework of that name.
        ImportError: If its packages are not installed.
    """
    adapter = importlib.import_module(MODULES[name])
    framework: Framework = adapter.FRAMEWORK
    return framework
