"""Where raw examples come from: a path the user gives, the cache, a download, what packages or the project ship.

A source is a word that `conf/data/*.yaml` may use: a class in `experiments/task/datasets.py`, a function that reads
it and a line in the SOURCES of its module.
"""

from __future__ import annotations

from typing import Any

from experiments.data import custom, images, sequences
from experiments.data.spec import Source

SOURCES: dict[str, Source[Any]] = {**images.SOURCES, **sequences.SOURCES, **custom.SOURCES}
