"""A sweep: the runs that one command asks for, and what they are compared for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments import data
from experiments.execution.executor import LocalExecutor
from experiments.execution.run import Run
from experiments.fingerprint import fingerprint_of, plain
from experiments.job import ComparisonSettings
from experiments.task.search_space import TuningSettings
from experiments.tracking.tensorboard import Board
from experiments.words import count


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs of one command, checked, with their data at hand; nothing has been started.

    `datasets` are found by `Run.data_fingerprint`; `output` holds what all commands leave, `folder` what this one does;
    `reuse` lets a run that is kept already stand for one of these.
    """

    name: str
    description: str
    command: str
    runs: tuple[Run, ...]
    comparison: ComparisonSettings
    tuning: TuningSettings | None
    datasets: Mapping[str, data.Dataset]
    output: Path
    folder: Path
    executor: LocalExecutor
    reuse: bool
    board: Board | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of what is asked for: the same runs, whatever their order, after the same search."""
        runs = sorted(run.fingerprint for run in self.runs)
        is_plain = self.comparison.factor == "framework" and self.tuning is None
        return fingerprint_of(runs if is_plain else [*runs, plain(self.comparison), plain(self.tuning)])

    @property
    def params(self) -> dict[str, str]:
        """What a list of sweeps shows: each choice with all of its values, the seeds, what is compared."""
        keys = dict.fromkeys(key for run in self.runs for key in run.labels)
        chosen = {key: ", ".join(dict.fromkeys(run.labels.get(key, "-") for run in self.runs)) for key in keys}
        seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in self.runs}))
        return chosen | {"seeds": seeds, "comparison": self.comparison.name}

    @property
    def title(self) -> str:
        """What a person sees it listed as."""
        n_runs, trials = len(self.runs), ""
        if self.tuning is not None:
            n_studies = len({tuple(sorted(run.labels.items())) for run in self.runs})
            n_runs, trials = n_runs * (1 + self.tuning.default), f" + {count(n_studies * self.tuning.trials, 'trial')}"
        is_plain = self.comparison.name == "frameworks"
        return f"{'sweep of ' if is_plain else f'{self.comparison.name}, '}{count(n_runs, 'run')}{trials}"
