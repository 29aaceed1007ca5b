"""Packages that frameworks, and MLflow, import where they find them, for plots, wrappers and other kinds of input.

No run needs one, and together they are a third of what a worker's imports take, in time and memory.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from types import ModuleType

OPTIONAL = frozenset({"jax", "matplotlib", "pandas", "scipy", "sklearn", "torchvision", "transformers"})


class _Finder:
    """Python's own finder of modules, and of distributions by name, to which OPTIONAL are not installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return None if name in OPTIONAL else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context: DistributionFinder.Context) -> Iterable[Distribution]:
        find = getattr(PathFinder, "find_distributions", None)  # the package importlib_metadata takes it, and answers
        return [] if context.name in OPTIONAL or find is None else find(context)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """As if they were not installed, whichever way it is asked; what is imported already stays."""
    finders = sys.meta_path
    finders[finders.index(PathFinder)] = _Finder
    try:
        yield
    finally:
        finders[finders.index(_Finder)] = PathFinder
