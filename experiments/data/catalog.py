"""Where raw examples come from: a path the user gives, the cache, a download, what packages or the project ship.

A source is a word that `conf/data/*.yaml` may use; adding one is a function and a line in the SOURCES of its module.
"""

from __future__ import annotations

from experiments.data import custom, images, sequences
from experiments.data.spec import Source

SOURCES: dict[str, Source] = {**images.SOURCES, **sequences.SOURCES, **custom.SOURCES}
