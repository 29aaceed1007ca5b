"""What the harness takes beyond each framework's bare loop, where a sweep holds both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments import statistics
from experiments.contract.arrays import Array
from experiments.job import broken_by_bare_loop
from experiments.records import RunRecord, SweepRecord
from experiments.report.arms import Arm
from experiments.report.pairs import conditions_of, disturbance_of, n_planned_pairs, speed_of
from experiments.statistics import HarnessShare, SpeedComparison
from experiments.task.keys import flatten

EPOCH, LOOP = "time/epoch", "loop"
NOT_TO_REPEAT = (  # keys of a command
    "comparison", "seed", "loop", "action", "sweep", "tuning", "executor.workers", "executor.devices",
    "training.keep", "training.evaluate_every",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LoopPair:
    """An arm of ours and the bare loop of its framework; no `share` where no process pair has two whole epochs."""

    ours: Arm
    bare: Arm
    share: HarnessShare | None

    @property
    def bare_loop(self) -> str:
        """What the bare loop does, in words."""
        return self.bare.runs[0].facts.get("bare_loop", "")

    @property
    def sentence(self) -> str:
        """What may be said."""
        if self.share is None:
            return f"{self.ours.name} against its bare loop: Not assessed: no two runs of a seed came to their end."
        return self.share.sentence


def is_bare(arm: Arm) -> bool:
    """Whether its runs are bare loops: nothing but their times is compared."""
    return all(run.is_bare for run in arm.runs)


def loop_pairs(arms: Sequence[Arm], record: SweepRecord) -> tuple[LoopPair, ...]:
    """Each arm of ours that has one beside its bare loop, all else equal."""
    return tuple(
        LoopPair(ours=ours, bare=bare, share=_share(bare, ours, record))
        for ours in arms
        for bare in arms
        if is_bare(bare) and not is_bare(ours) and ours.matches(bare, except_for=LOOP)
    )


def _share(bare: Arm, ours: Arm, record: SweepRecord) -> HarnessShare | None:
    margin = record.margins["time_ratio"]
    sides = [{run.seed: run for run in arm.finished} for arm in (bare, ours)]
    times = [{seed: epochs for seed, run in side.items() if (epochs := _epochs(run)) is not None} for side in sides]
    n_epochs = min((len(epochs) for side in times for epochs in side.values()), default=0)
    seeds = [seed for seed in times[0] if seed in times[1]]
    if margin is None or not seeds or n_epochs < 2:
        return None
    runs = [side[seed] for side in sides for seed in seeds]
    bare_epochs, our_epochs = (np.array([side[seed][:n_epochs] for seed in seeds]) for side in times)
    return statistics.harness_share(
        bare_epochs,
        our_epochs,
        steps_per_epoch=_steps_per_epoch(runs[0]),
        margin=margin,
        n_planned=n_planned_pairs(bare, ours, record),
        name=ours.name,
        conditions=conditions_of(runs),
        disturbance=disturbance_of(runs),
    )


def _epochs(run: RunRecord) -> Array | None:
    """Seconds of its epochs 1, 2, ..., shape (n_epochs,), if they are all kept."""
    curve = run.curves.get(EPOCH, [])
    is_whole = [epoch for epoch, _ in curve] == list(range(1, len(curve) + 1)) and _steps_per_epoch(run) > 0
    seconds = np.array([value for _, value in curve])
    return seconds if is_whole and seconds.size and np.isfinite(seconds).all() and seconds.min() > 0 else None


def _steps_per_epoch(run: RunRecord) -> int:
    """Of the optimizer."""
    first = dict(run.curves.get("step", [])).get(1, 0.0)
    return int(first)


def harness_of(first: Arm, second: Arm, loops: Sequence[LoopPair]) -> tuple[float, float] | None:
    """Seconds per step of the harness in both arms, where they were measured with an interval."""
    shares = {each.ours.name: each.share for each in loops}
    found = [shares.get(arm.name) for arm in (first, second)]
    measured = [each.share.value for each in found if each is not None and each.comparison.ratio is not None]
    return (measured[0], measured[1]) if len(measured) == 2 else None


def bare_speeds(
    pairs: Sequence[tuple[Arm, Arm]], loops: Sequence[LoopPair], record: SweepRecord
) -> tuple[SpeedComparison, ...]:
    """Times of the bare loops alone, of the pairs of frameworks that have both."""
    bare = {each.ours.name: each.bare for each in loops}
    found = [
        speed_of(bare[first.name], bare[second.name], record)
        for first, second in pairs
        if first.framework != second.framework and first.name in bare and second.name in bare
    ]
    return tuple(each for each in found if each is not None)


def needs_our_loop(config: Mapping[str, Any]) -> bool:
    """Whether a run's task has what no bare loop does, but for what `comparison=speed` states itself."""
    stated = flatten({name: config.get(name) or {} for name in ("training", "regularization")})
    return bool(broken_by_bare_loop({key: value for key, value in stated.items() if key not in NOT_TO_REPEAT}))


def remark_on(record: SweepRecord) -> str:
    """What a claim on times says where no bare loop was timed beside it: what it includes, and how to tell it apart."""
    try:
        words = shlex.split(record.command.partition("; ")[0])
    except ValueError:  # a command that was cut
        words = []
    kept = [word for word in words if word.lstrip("+~").partition("=")[0] not in NOT_TO_REPEAT]
    can_be_told = kept[:1] == ["python"] and not any(needs_our_loop(run.config) for run in record.runs)
    how = f"; `{shlex.join([*kept, 'comparison=speed'])}` tells it apart" if can_be_told else ""
    return f"Steps include the harness{how}."
