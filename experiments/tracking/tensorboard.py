"""A second tracker, beside MLflow: each run's metrics as TensorBoard's event files. The only module with tensorboardX.

Names and steps are MLflow's: the step of a metric is its epoch. Nothing reads them back.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError


@dataclass(kw_only=True)
class Board:
    """Event files below `folder`, one folder per run; `tensorboard --logdir FOLDER` shows them.

    Raises:
        SettingsError: If tensorboardX is not installed.
    """

    folder: Path
    _writers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse early what could not be written later."""
        if importlib.util.find_spec("tensorboardX") is None:
            raise SettingsError(
                "`tracking.tensorboard=true` needs tensorboardX, but it is not installed; "
                'pip install ".[tensorboard]", or set tracking.tensorboard=false'
            )

    def log(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None:
        """Write metrics of a run, the step is the epoch."""
        from tensorboardX import SummaryWriter

        if run not in self._writers:
            self._writers[run] = SummaryWriter(str(self.folder / run), write_to_disk=True)
        for name, value in metrics.items():
            self._writers[run].add_scalar(name, value, epoch)
        self._writers[run].flush()

    def close(self, run: str) -> None:
        """A run is over."""
        if run in self._writers:
            self._writers.pop(run).close()
