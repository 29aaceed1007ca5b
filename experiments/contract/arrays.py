"""What crosses the border between experiments and frameworks, by name."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Weights = dict[str, Array]  # canonical name "layer/role" -> weight, or its gradient
