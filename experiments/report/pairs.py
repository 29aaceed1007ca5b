"""Which arms are compared, and what each comparison finds: verdicts on score and loss, times, memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments import metrics, statistics
from experiments.records import RunRecord, SweepRecord, TunedValue
from experiments.report import formatting
from experiments.report.arms import Arm, as_number, choice
from experiments.report.sanitize import clean
from experiments.statistics import SpeedComparison, Verdict

CONTROL_ALPHA = 0.01
LONGEST_WAIT = (
    0.1  # of the time of training, beyond which it says more of the machine's other programs than of a framework
)
MOST_WITH_LOSSES = 3  # pairs that have their losses among the claims; with more, losses are exploratory


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms that are compared, and what the comparison found; differences are oriented: + means `first` is better.

    `score` and `loss` are claims of one family; there is no `loss` where it is the score itself or no claim. `speed`
    and `memory` (MiB, first minus second) are there where the frameworks are compared.
    """

    first: Arm
    second: Arm
    score: Verdict
    loss: Verdict | None
    speed: SpeedComparison | None
    memory: statistics.Estimate | None

    @property
    def title(self) -> str:
        """Both names; what they share stands once before them."""
        first, second = self.first.factors, self.second.factors
        shared = {key: value for key, value in first.items() if second.get(key) == value}
        apart = [{key: value for key, value in each.items() if key not in shared} for each in (first, second)]
        if not shared or not all(apart):
            return f"{self.first.name} against {self.second.name}"
        names = [" · ".join(choice(key, value) for key, value in each.items()) for each in apart]
        return f"{', '.join(choice(key, value) for key, value in shared.items())}: {names[0]} against {names[1]}"


def pairs_of_arms(
    arms: Sequence[Arm], *, factor: str = "framework", baseline: str | None = None
) -> list[tuple[Arm, Arm]]:
    """Which arms are compared: those that differ in `factor` alone, all with the baseline or each with each.

    Where frameworks are to be compared and there is only one: every other arm with the first.
    """
    pairs = []
    for number, first in enumerate(arms):
        for second in arms[number + 1 :]:
            levels = first.factors.get(factor), second.factors.get(factor)
            if levels[0] == levels[1] or not first.matches(second, except_for=factor):
                continue
            if baseline is None or is_same_level(levels[1], baseline):
                pairs.append((first, second))
            elif is_same_level(levels[0], baseline):
                pairs.append((second, first))
    if not pairs and factor == "framework" and len({arm.framework for arm in arms}) == 1:
        return [(arm, arms[0]) for arm in arms[1:] if arm.data == arms[0].data]
    return pairs


def is_same_level(first: str | None, second: str | None) -> bool:
    """Whether two choices are the same, numbers by value: 0.0 is 0."""
    if first is None or second is None:
        return first is second
    numbers = as_number(first), as_number(second)
    return first == second if None in numbers else numbers[0] == numbers[1]


def compare(
    first: Arm,
    second: Arm,
    record: SweepRecord,
    *,
    metric: str,
    n_pairs: int,
    harness: tuple[float, float] | None = None,
    remark: str = "",
) -> Pair:
    """All that is claimed of a pair: one family over all pairs, of scores and, for a few pairs, losses.

    Args:
        first: One arm.
        second: The other, on the same data.
        record: The sweep, for its margins, chance levels, planned seeds and looks.
        metric: Whole name of the score, such as test/accuracy.
        n_pairs: How many pairs the report compares: the size of the family.
        harness: Seconds per step of each arm that are the harness', where they are known.
        remark: What follows a claim on times.
    """
    has_loss = metric != metrics.LOSS and n_pairs <= MOST_WITH_LOSSES
    n_claims = n_pairs * (1 + has_loss)
    are_frameworks = first.framework != second.framework
    return Pair(
        first=first,
        second=second,
        score=_verdict(first, second, record, metric=metric, n_claims=n_claims),
        loss=_verdict(first, second, record, metric=metrics.LOSS, n_claims=n_claims) if has_loss else None,
        speed=speed_of(first, second, record, harness=harness, remark=remark) if are_frameworks else None,
        memory=_difference(first, second, metrics.MEMORY) if are_frameworks else None,
    )


def unsettled_at_edge(pair: Pair, choices: Sequence[TunedValue]) -> Pair:
    """A difference is not settled where an arm's search ended at the edge of its space: it may have been cut short."""
    narrow = [arm.name for arm in (pair.first, pair.second) if any(_is_of(each, arm) for each in choices)]
    if not narrow:
        return pair
    said = f"Not settled: the search for {' and '.join(narrow)} ended at the edge of its space."

    def unsettled(verdict: Verdict) -> Verdict:
        if verdict.shows_difference_in_favour_of is None:
            return verdict
        return dataclasses.replace(verdict, id="inconclusive", sentence=f"{said} {verdict.sentence}")

    loss = None if pair.loss is None else unsettled(pair.loss)
    return dataclasses.replace(pair, score=unsettled(pair.score), loss=loss)


def _is_of(choice: TunedValue, arm: Arm) -> bool:
    """Whether a choice at the edge was made for that arm; beside its own default a warning says it."""
    mine = {key: value for key, value in choice.labels.items() if key in arm.factors and key != "framework"}
    belongs_to = choice.labels.get("framework", arm.framework) in arm.framework.split(" + ")
    is_named = bool(mine) or "framework" in arm.factors
    return (
        choice.at_edge
        and belongs_to
        and is_named
        and "setting" not in arm.factors
        and all(arm.factors[key] == value for key, value in mine.items())
    )


def n_planned_pairs(first: Arm, second: Arm, record: SweepRecord) -> int:
    """How many seeds both arms were to be trained with."""
    return len(record.planned_seeds(first.runs) & record.planned_seeds(second.runs))


def _verdict(first: Arm, second: Arm, record: SweepRecord, *, metric: str, n_claims: int = 1) -> Verdict:
    chance = record.chance.get(metrics.base_name(metric))
    return statistics.verdict(
        first.counted(metric, failure_score=chance),
        second.counted(metric, failure_score=chance),
        margin=record.margins[metrics.base_name(metric)],
        failure_score=chance,
        n_planned=n_planned_pairs(first, second, record),
        names=(first.name, second.name),
        n_claims=n_claims,
        n_looks=record.looks,
        **formatting.of_verdict(metric),
    )


def speed_of(
    first: Arm, second: Arm, record: SweepRecord, *, harness: tuple[float, float] | None = None, remark: str = ""
) -> SpeedComparison | None:
    """Steady step times, a pair of processes per seed; the arguments are those of `compare`."""
    margin = record.margins["time_ratio"]
    times = [arm.scores("time/steady_step") for arm in (first, second)]
    seeds = [seed for seed in times[0] if times[0][seed] > 0 and times[1].get(seed, 0.0) > 0]
    runs = [run for arm in (first, second) for run in arm.finished if run.seed in seeds]
    if not seeds or margin is None:
        return None
    return statistics.compare_speed(
        np.array([times[0][seed] for seed in seeds]),
        np.array([times[1][seed] for seed in seeds]),
        n_planned=n_planned_pairs(first, second, record),
        names=(first.name, second.name),
        conditions=conditions_of(runs),
        margin=margin,
        largest_cv=max(map(_spread, runs)),
        disturbance=disturbance_of(runs),
        harness=harness,
        remark=remark,
    )


def _spread(run: RunRecord) -> float:
    """How far the times of its steps vary, as a share: of its epochs after the first, else of what it told of steps.

    A framework that trains many batches in a call tells of so few, and so unlike, that they vary on a quiet machine.
    """
    epochs = np.array([seconds for _, seconds in run.curves.get("time/epoch", [])[1:]])
    if epochs.size > 1 and np.isfinite(epochs).all() and epochs.min() > 0:
        return statistics.variation(epochs)
    return run.metrics.get("time/step_spread", 0.0)


def conditions_of(runs: Sequence[RunRecord]) -> str:
    """What times hold for: device, processor with its instruction sets, threads, batch, precision, as far as known."""
    facts, training = runs[0].facts, runs[0].config.get("training", {})
    device, cpu, sets = (facts.get(key, "") for key in ("device", "cpu", "instruction_sets"))
    machine = f"{(device or 'cpu').upper()}{' of a host with' if device == 'gpu' and cpu else ''} {cpu}".strip()
    threads = facts.get("threads", "?")
    parts = [
        clean(f"{machine} ({sets})" if sets else machine, 100),
        f"{threads} thread{'' if threads == '1' else 's'}",
        f"batch {training['batch_size']}" if "batch_size" in training else "",
        str(training.get("precision", "")),
    ]
    return ", ".join(filter(None, parts))


def disturbance_of(runs: Sequence[RunRecord]) -> str:
    """Why the times of these runs cannot be compared; empty where they can."""
    if any(run.facts.get("workers") != "1" for run in runs):
        return "several runs shared the machine (executor.workers=1 gives each the machine's share to itself)"
    machines = {tuple(run.facts.get(key, "") for key in ("host", "cpu", "threads", "device")) for run in runs}
    known = {run.facts["instruction_sets"] for run in runs if "instruction_sets" in run.facts}  # later than the others
    if len(machines) > 1 or len(known) > 1:
        return "the runs were made on different machines, instruction sets or thread counts"
    waited = longest_wait(runs)
    if waited > LONGEST_WAIT:
        return (
            f"other programs kept the cores busy (a run waited {min(waited, 1.0):.0%} of its time for one, above "
            f"{LONGEST_WAIT:.0%}; a quiet machine tells)".replace("%", " %")
        )
    return ""


def longest_wait(runs: Sequence[RunRecord]) -> float:
    """Largest share of its time that a run's threads waited for a core, in [0, 1] but for what the clock rounds."""
    return max((run.metrics.get("time/waited", 0.0) for run in runs), default=0.0)


def _difference(first: Arm, second: Arm, metric: str) -> statistics.Estimate | None:
    """Mean of first minus second over shared seeds, with its 95 % interval."""
    scores = [arm.scores(metric) for arm in (first, second)]
    differences = {seed: scores[0][seed] - scores[1][seed] for seed in scores[0] if seed in scores[1]}
    return statistics.mean_interval(differences) if differences else None


def with_holm(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Holm-adjusted p-values within the one family of claims, scores and losses, beside the simultaneous intervals."""
    if not pairs:
        return ()
    losses = [pair.loss for pair in pairs if pair.loss is not None]
    adjusted = iter(statistics.with_holm([*(pair.score for pair in pairs), *losses]))
    pairs = [dataclasses.replace(pair, score=next(adjusted)) for pair in pairs]
    return tuple(dataclasses.replace(pair, loss=next(adjusted)) if pair.loss is not None else pair for pair in pairs)


def exploratory_of(
    arms: Sequence[Arm], record: SweepRecord, *, metric: str, claims: Sequence[Pair]
) -> dict[str, tuple[Verdict, ...]]:
    """What stands beside the claims, each with its own 95 % interval and without a verdict word; title -> differences.

    The losses of pairs whose loss is no claim; where frameworks were pooled, the same pairs in each framework; and
    frameworks where all else is equal.

    Args:
        arms: All arms of the sweep, not pooled.
        record: The sweep.
        metric: Whole name of the score, such as test/accuracy.
        claims: The pairs that are claims; they are left out.
    """
    claimed = {(pair.first.name, pair.second.name) for pair in claims}
    by_title = {
        "Test loss": [
            _verdict(pair.first, pair.second, record, metric=metrics.LOSS)
            for pair in claims
            if pair.loss is None and metric != metrics.LOSS
        ],
        "Frameworks where all else is equal": [
            _verdict(first, second, record, metric=metric)
            for first, second in pairs_of_arms(arms)
            if first.framework != second.framework and (first.name, second.name) not in claimed
        ],
        "In each framework": [
            _verdict(first, second, record, metric=metric)
            for pair in claims
            for first, second in members_of(pair, arms)
            if (first.name, second.name) not in claimed
        ],
    }
    return {title: tuple(verdicts) for title, verdicts in by_title.items() if verdicts}


def members_of(pair: Pair, arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """The pairs of single frameworks that a pair of pooled arms consists of; a pair of plain arms itself."""
    if pair.first in arms:
        return [(pair.first, pair.second)]
    return [
        (first, second)
        for first in arms
        for second in arms
        if first.framework == second.framework and (first.rest, second.rest) == (pair.first.name, pair.second.name)
    ]


def control_pairs(arms: Sequence[Arm], record: SweepRecord, *, metric: str) -> list[Pair]:
    """Each arm's first half of the seeds against its second; no seed is shared, so rows are paired in order."""
    halves = []
    for arm in arms:
        runs = [run for run in arm.runs if not run.was_killed]
        middle = len(runs) // 2
        parts = runs[:middle], runs[middle : 2 * middle]
        if middle:
            halves.append([dataclasses.replace(arm, name=f"{arm.name} · {_seeds(p)}", runs=tuple(p)) for p in parts])
    return [_control_pair(first, second, record, metric=metric, n_claims=len(halves)) for first, second in halves]


def _control_pair(first: Arm, second: Arm, record: SweepRecord, *, metric: str, n_claims: int) -> Pair:
    score = statistics.verdict(
        np.array(list(first.counted(metric).values())),
        np.array(list(second.counted(metric).values())),
        margin=record.margins[metrics.base_name(metric)],
        failure_score=record.chance.get(metrics.base_name(metric)),
        n_planned=len(record.planned_seeds(first.runs)) // 2,
        names=(first.name, second.name),
        n_claims=n_claims,
        alpha=CONTROL_ALPHA,
        **formatting.of_verdict(metric),
    )
    return Pair(first=first, second=second, score=score, loss=None, speed=None, memory=None)


def _seeds(runs: Sequence[RunRecord]) -> str:
    return f"seeds {runs[0].seed} to {runs[-1].seed}"


def control_outcome(pairs: Sequence[Pair], *, before: str) -> str:
    """The worst of the arms' outcomes; a second find in a row is the second attempt."""
    outcomes: set[str] = {statistics.control_outcome([pair.score]) for pair in pairs}
    if "repeat" in outcomes:
        return "invalid" if before in ("repeat", "invalid") else "repeat"
    return "not assessed" if not outcomes or "not_assessed" in outcomes else "passed"
