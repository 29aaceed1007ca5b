"""Early stopping: one rule for every framework, on the harness's own validation loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from experiments.task import EarlyStopping


@dataclass(kw_only=True)
class Patience:
    """Counts evaluations in a row without a loss below the best by more than `min_delta`."""

    settings: EarlyStopping
    best: float = math.inf
    waited: int = 0

    def should_stop(self, loss: float) -> bool:
        """Take the validation loss of one more evaluation; say whether to stop."""
        if loss < self.best - self.settings.min_delta:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return 0 < self.settings.patience <= self.waited
