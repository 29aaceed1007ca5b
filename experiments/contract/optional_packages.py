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
    """Python's own finder of modules, and of distributions by name, to which `names` are not installed."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if name in self.names else PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        find = getattr(PathFinder, "find_distributions", None)  # the package importlib_metadata takes it, and answers
        return [] if context.name in self.names or find is None else find(context)


@contextlib.contextmanager
def hidden(*, also: Iterable[str] = (), but: Iterable[str] = ()) -> Iterator[None]:
    """As if OPTIONAL, and `also`, were not installed, `but` some, whichever way it is asked.

    What is imported already stays.
    """
    finders, finder = sys.meta_path, _Finder((OPTIONAL | set(also)) - set(but))
    finders[finders.index(PathFinder)] = finder
    try:
        yield
    finally:
        finders[finders.index(finder)] = PathFinder
