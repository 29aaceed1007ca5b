"""Runs -> arms -> comparisons: what a report says, before anyone decides how it looks."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments import divergence, metrics
from experiments.fingerprint import slug
from experiments.records import SweepRecord
from experiments.report import baselines, formatting
from experiments.report.arms import Arm, arms_of, choice, in_order, pooled
from experiments.report.axes import Axis, axes_of, is_grid, with_pairs
from experiments.report.effects import Dose, Effects, Gap, dose_of, effects_of, gaps_of
from experiments.report.ladder import FACTOR as ALIGNMENT
from experiments.report.ladder import MetricLadder, is_rung_of, ladders_of
from experiments.report.loops import LOOP, LoopPair, bare_speeds, harness_of, is_bare, loop_pairs, remark_on
from experiments.report.pairs import (
    Pair,
    compare,
    control_outcome,
    control_pairs,
    exploratory_of,
    is_same_level,
    members_of,
    pairs_of_arms,
    unsettled_at_edge,
    with_holm,
)
from experiments.report.predictions import Predictions
from experiments.statistics import Estimate, SpeedComparison, Verdict
from experiments.task import Chance, Margins
from experiments.task.checks import require
from experiments.task.keys import format_value

SCORES = (metrics.ACCURACY, metrics.LOSS, "time/steady_epoch", metrics.MEMORY)
SKILL = "test/skill"
# Of the environment, beside versions.
FACTS = (
    "data", "cpu", "instruction_sets", "cores", "threads", "workers", "device", "start_method", "platform", "python",
    "git_commit",
)  # fmt: skip
SOUND: dict[str, dict[str, float | None]] = {  # beside which each is checked alone
    "margins": {"accuracy": None, "loss": 1.0, "time_ratio": 0.05},
    "chance": {"accuracy": None, "loss": None},
}
FIRST_COLUMNS = 4  # of page one
SEEDS_OF_AN_INTERVAL = 3
VERDICT_WORDS = {  # of a verdict, in one word
    "not_assessed": "not assessed",
    "A_better": "difference",
    "B_better": "difference",
    "A_better_practical": "difference",
    "B_better_practical": "difference",
    "equivalent": "equivalent",
    "equivalent_nonzero": "equivalent",
    "inconclusive": "inconclusive",
    "identical": "identical",
    "constant_difference": "check determinism",
}


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A sweep, analysed: the model behind terminal, HTML, Markdown and JSON.

    Attributes:
        pairs: The claims: what the comparison was made for.
        exploratory: Title -> differences beside the claims; intervals, no verdict words.
        shown: The two arms of one framework each whose answers are shown.
        predictions: The first pair's answers on the test set, where its logits are kept.
        axes: What varies, where a grid was typed and no comparison was named; `pairs` are those of its levels.
        loops: Arms beside the bare loops of their frameworks, which are no arms of this report.
        bare_speeds: Times of the bare loops of two frameworks, of each pair that has them; exploratory.
        ladders: What each default adds to the frameworks' difference, of each metric that has it.
        control: passed, repeat, invalid or not assessed for a control; else what the newest control found, or "".
    """

    record: SweepRecord
    metric: str
    factor: str
    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    exploratory: Mapping[str, tuple[Verdict, ...]]
    shown: tuple[Arm, Arm] | None
    gaps: tuple[Gap, ...]
    dose: Dose | None
    effects: Effects | None
    control: str
    warnings: tuple[str, ...]
    predictions: Predictions | None = None
    loops: tuple[LoopPair, ...] = ()
    axes: tuple[Axis, ...] = ()
    bare_speeds: tuple[SpeedComparison, ...] = ()
    ladders: tuple[MetricLadder, ...] = ()

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts on the score, then those on the loss."""
        losses = tuple(pair.loss for pair in self.pairs if pair.loss is not None)
        return tuple(pair.score for pair in self.pairs) + losses

    @property
    def columns(self) -> tuple[str, ...]:
        """Metrics of page one, four: the same for every sweep of a task, whatever it scored; tables hold them all."""
        if self.metric == metrics.ACCURACY:
            return SCORES
        forecast = [SKILL] if any(arm.scores(SKILL) for arm in self.arms) else []  # which the task's data decide
        return (metrics.LOSS, "test/rmse", "test/r2", *forecast, *SCORES[2:])[:FIRST_COLUMNS]

    @property
    def skills(self) -> tuple[tuple[str, str], ...]:
        """For each arm that is held against a reference forecast: a verdict word and a sentence. Exploratory."""
        estimates = [(arm, arm.interval(SKILL)) for arm in self.arms]
        return tuple(_skill(arm, estimate) for arm, estimate in estimates if estimate is not None)

    @property
    def headline(self) -> str:
        """All claims in one line, where there are several and neither a grid answered axis by axis nor a ladder."""
        if len(self.pairs) < 2 or self.axes or self.ladders:
            return ""
        outcomes = Counter(_outcome(pair) for pair in self.pairs)
        counts = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items(), key=lambda item: -item[1]))
        return f"{len(self.pairs)} comparisons of {formatting.in_words(self.metric)}: {counts}."

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said, a sentence per comparison: scores, then losses, then times, then bare loops."""
        said = [f"{verdict.names[0]} against {verdict.names[1]}: {verdict.sentence}" for verdict in self.verdicts]
        said += [f"{pair.title}: time per step: {pair.speed.sentence}" for pair in self.pairs if pair.speed is not None]
        said += [each.sentence for each in self.loops]
        return tuple(said + [each.sentence for each in self.ladders])

    @property
    def tags(self) -> dict[str, str]:
        """The verdicts as tags of the sweep, so that a search in MLflow finds them."""
        tags: dict[str, str] = {"verdict": self.pairs[0].score.id} if self.pairs else {}
        if self.record.comparison["factor"] == "seed":
            tags["control"] = self.control
        return tags | {f"verdict.{number}": sentence for number, sentence in enumerate(self.sentences, start=1)}

    @property
    def means(self) -> dict[str, float]:
        """Mean score, loss and time of each arm: what a list of sweeps shows of them."""
        shown = dict.fromkeys([self.metric, metrics.LOSS, "time/steady_epoch"])
        found = {(arm.name, metric): arm.interval(metric) for metric in shown for arm in self.arms}
        return {f"{metric}/{slug(name)}": mean.value for (name, metric), mean in found.items() if mean is not None}

    @property
    def facts(self) -> dict[str, str]:
        """Environment of the runs: a value where all agree, else all values."""
        keys = [*FACTS, *sorted({key for run in self.record.runs for key in run.facts if key.startswith("version.")})]
        values = {
            key: list(dict.fromkeys(run.facts[key] for run in self.record.runs if key in run.facts)) for key in keys
        }
        return {key.removeprefix("version."): "; ".join(seen) for key, seen in values.items() if seen}


def _skill(arm: Arm, skill: Estimate) -> tuple[str, str]:
    """Whether the 95 % interval of 1 - MSE / MSE of persistence lies on one side of 0; lost runs are told."""
    name, lost = arm.name, f"; {arm.n_lost}/{len(arm.runs)} runs lost" if arm.n_lost else ""
    what = f"1 − MSE / MSE of the reference forecast (persistence){lost}; exploratory"
    if skill.n < SEEDS_OF_AN_INTERVAL or skill.low is None or skill.high is None:
        size = f"skill {formatting.bounds(skill, decimals=2)}, {what}"
        return "not assessed", f"{name} against persistence: not assessed with {skill.n} run(s); {size}."
    size = f"skill {formatting.bounds(skill, decimals=2)}, 95 % t interval over {skill.n} seeds; {what}"
    if skill.low > 0:
        return "difference", f"{name} beats persistence: {size}."
    if skill.high < 0:
        return "difference", f"{name} is worse than persistence: {size}."
    return "inconclusive", f"{name} is not shown to beat persistence: {size}."


def _outcome(pair: Pair) -> str:
    better = pair.score.shows_difference_in_favour_of
    if better is None:
        return VERDICT_WORDS[pair.score.id]
    return f"in favour of {'the first' if better == pair.first.name else 'the second'} arm"


def analyse(record: SweepRecord) -> Analysis:
    """Group runs into arms and compare them; the order of the runs changes nothing."""
    record, unusable = _with_usable_levels(divergence.judged(record))
    record = dataclasses.replace(record, runs=tuple(sorted(record.runs, key=lambda run: (run.name, run.seed))))
    every = arms_of(record.runs)
    loops = loop_pairs(every, record)
    arms = tuple(arm for arm in every if not is_bare(arm) and not is_rung_of(arm, record))
    metric = metrics.ACCURACY if _has_accuracy(record) else metrics.LOSS
    chance = record.chance.get(metrics.base_name(metric))
    warnings = [*_warnings(record), *unusable, *baselines.warnings_of(arms, record, metric=metric)]
    warnings += baselines.better_than_all(arms, record, metric=metric)
    if n_repeated := len(record.runs) - sum(len(arm.runs) for arm in every):
        warnings.append(f"{n_repeated} run(s) repeat a seed of their arm: of each seed the first one counts")
    ladders = ladders_of(every, record)
    if record.comparison.get("ladder") and not ladders:
        warnings.append("no default was taken apart: none changes a step, or no seed has every run of both paths")
    factor, baseline = _factor_and_baseline(record, arms, warnings)
    axes = axes_of(arms, record, metric=metric) if is_grid(arms, record) else ()
    if axes:
        factor = axes[0].factor
        pairs = [unsettled_at_edge(pair, record.tuned_values) for axis in axes for pair in axis.pairs]
        control = record.control
    elif factor == "seed":
        pairs = control_pairs(arms, record, metric=metric)
        control = control_outcome(pairs, before=record.control)
    else:
        compared = pairs_of_arms(arms if factor == "framework" else pooled(arms), factor=factor, baseline=baseline)
        pairs = [_compared(*pair, record, metric=metric, n_pairs=len(compared), loops=loops) for pair in compared]
        pairs = [unsettled_at_edge(pair, record.tuned_values) for pair in pairs]
        control = record.control
    pairs = list(with_holm(pairs))
    if axes:
        members = pairs_of_arms(arms, factor=factor)
    else:
        members = [each for pair in pairs for each in members_of(pair, arms)] if factor != "seed" else []
    return Analysis(
        record=record,
        metric=metric,
        factor=factor,
        arms=arms,
        pairs=tuple(pairs),
        exploratory=exploratory_of(arms, record, metric=metric, claims=pairs) if factor != "seed" else {},
        gaps=gaps_of(arms, pairs=members),
        dose=_dose(arms, factor=factor, metric=metric, chance=chance),
        effects=effects_of(arms, metric=metric, failure_score=chance) if factor != "seed" else None,
        control=control,
        warnings=tuple(warnings),
        shown=_shown(arms, members, metric=metric) if axes else next(iter(members), None),
        axes=with_pairs(axes, pairs),
        loops=loops,
        ladders=ladders,
        bare_speeds=bare_speeds([(pair.first, pair.second) for pair in pairs], loops, record),
    )


def _compared(
    first: Arm, second: Arm, record: SweepRecord, *, metric: str, n_pairs: int, loops: Sequence[LoopPair]
) -> Pair:
    """A pair, its times judged by what the harness takes of them, or with the word that this is not known."""
    harness = harness_of(first, second, loops)
    remark = "" if harness else remark_on(record)
    return compare(first, second, record, metric=metric, n_pairs=n_pairs, harness=harness, remark=remark)


def _shown(arms: Sequence[Arm], otherwise: Sequence[tuple[Arm, Arm]], *, metric: str) -> tuple[Arm, Arm] | None:
    """Of a grid, the frameworks with the best settings; where there is one framework, the first two of `otherwise`."""
    sign = 1.0 if metrics.metric_of(metric).higher_is_better else -1.0
    frameworks = [pair for pair in pairs_of_arms(arms) if pair[0].framework != pair[1].framework]
    scored = [(pair, pair[0].interval(metric)) for pair in frameworks]
    known = [(sign * found.value, pair) for pair, found in scored if found is not None]
    return max(known, key=lambda each: each[0])[1] if known else next(iter(otherwise), None)


def _with_usable_levels(record: SweepRecord) -> tuple[SweepRecord, list[str]]:
    """The sweep without margins and chance levels that settings refuse today, and what is said of them."""
    refused: dict[str, str] = {}
    checks: dict[str, Callable[..., object]] = {"margins": Margins, "chance": Chance}
    kept = {what: {**dict.fromkeys(SOUND[what]), **getattr(record, what)} for what in checks}
    for what, check in checks.items():
        for name, value in kept[what].items():
            try:
                if value is not None:
                    require(math.isfinite(value), f"{what}.{name} is finite", value)
                    check(**{**SOUND[what], name: value})
            except ValueError as error:
                refused[f"{what}.{name}"] = str(error)
                kept[what][name] = None
    said = [f"{name} is left out: {reason}" for name, reason in refused.items()]
    return dataclasses.replace(record, margins=kept["margins"], chance=kept["chance"]), said


def _factor_and_baseline(record: SweepRecord, arms: Sequence[Arm], warnings: list[str]) -> tuple[str, str | None]:
    """Factor and baseline as far as these arms have them; what is not as asked for is said."""
    factor, baseline = str(record.comparison["factor"]), record.comparison.get("baseline")
    levels = {arm.factors.get(factor) for arm in arms}
    if factor == ALIGNMENT:  # frameworks are compared as shipped and aligned; the steps between are a ladder
        return "framework", None
    if factor == LOOP:  # the harness is compared by times alone, in `loops`; scores are the frameworks'
        return "framework", None
    if factor not in ("framework", "seed") and len(levels) < 2:
        warnings.append(f"nothing varies {factor}, which this comparison is about: frameworks are compared")
        factor, baseline = "framework", None
    elif baseline is not None and not any(is_same_level(level, baseline) for level in levels):
        warnings.append(f"the baseline {factor}={baseline} was not run: each is compared with each")
        baseline = None
    return factor, baseline


def _dose(arms: Sequence[Arm], *, factor: str, metric: str, chance: float | None) -> Dose | None:
    """Dose and response along the factor that is compared, else along the first other one that has doses."""
    others = sorted({key for arm in arms for key in arm.factors} - {factor})
    for key in (factor, *others):
        levels = in_order(arm.factors[key] for arm in arms if key in arm.factors)
        dose = dose_of(arms, factor=key, levels=levels, metric=metric, failure_score=chance)
        if dose is not None:
            return dose
    return None


def _has_accuracy(record: SweepRecord) -> bool:
    """Whether the task is a classification: runs say so, and where none ended its chance level does."""
    finished = [run for run in record.runs if run.outcome == "finished"]
    return any(metrics.ACCURACY in run.metrics for run in finished) or (
        not finished and record.chance.get(metrics.base_name(metrics.ACCURACY), 0.0) is not None
    )


def _warnings(record: SweepRecord) -> list[str]:
    """What a reader must know before the numbers."""
    warnings = []
    finished = [run for run in record.runs if run.outcome == "finished"]
    if record.is_partial:
        warnings.append(f"partial: {len(finished)} of {record.n_planned} runs")
    warnings += [f"{run.name} {run.outcome}: {run.reason}" for run in record.runs if run.outcome != "finished"]
    warnings += record.lost
    if len({run.facts.get("data", "") for run in record.runs}) > 1:
        warnings.append("the runs were trained on different data: only runs on the same data are compared")
    if any(run.facts.get("workers") != "1" for run in record.runs):
        warnings.append(
            "several runs shared the machine: their times are not comparable (executor.workers=1 makes them so)"
        )
    for each in record.tuned_values:
        what = labels_of(each.labels, record)
        if each.value is None:
            warnings.append(f"nothing was chosen for {what}: no trial of its study came to its end")
        elif each.at_edge:
            warnings.append(
                f"the best {each.key} for {what} ({format_value(each.value)}) lies at the edge of what was tried "
                f"({each.low:g} to {each.high:g}): the search space may be too narrow"
            )
    return list(dict.fromkeys(warnings))


def labels_of(labels: Mapping[str, str], record: SweepRecord) -> str:
    """The choices among `labels` that vary over the sweep's searches, as a person says them."""
    all_labels = [each.labels for each in record.tuned_values]
    varying = [key for key in sorted(labels) if len({each.get(key) for each in all_labels}) > 1]
    varying.sort(key=lambda key: key != "framework")
    return " · ".join(choice(key, labels[key]) for key in varying) or record.experiment
