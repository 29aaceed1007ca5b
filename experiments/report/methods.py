"""The methods paragraph, to be cited: how the numbers of a report came to be. Written from its own records."""

from __future__ import annotations

from experiments import metrics
from experiments.report.analysis import FACTS, Analysis
from experiments.report.pairs import CONTROL_ALPHA
from experiments.report.sanitize import clean
from experiments.task.search_space import INDEPENDENT
from experiments.words import count


def paragraph(analysis: Analysis) -> str:
    """One paragraph: design, tests, corrections, failures, search, control, machine and versions."""
    parts = (_design, _tests, _failures, _search, _control, _machine)
    return " ".join(filter(None, (part(analysis) for part in parts)))


def _design(analysis: Analysis) -> str:
    record = analysis.record
    seeds = sorted({run.seed for run in record.runs})
    shown = ", ".join(map(str, seeds)) if len(seeds) <= 12 else f"{seeds[0]} to {seeds[-1]}, {len(seeds)} in all"
    arms = "The one arm" if len(analysis.arms) == 1 else f"Each of {len(analysis.arms)} arms"
    return (
        f"{arms} of {clean(record.experiment)} was trained with the seeds "
        f"{shown or 'none'}, a process each, in an order that alternates between arms. A seed fixes initial "
        "weights (drawn once in NumPy), the order of the batches and augmentation, the same in every framework; "
        "dropout masks are each framework's own. All scores come from one evaluator, on the logits of the last "
        "weights; the test set was read once, at the end."
    )


def _tests(analysis: Analysis) -> str:
    if not analysis.pairs:
        return ""
    first = analysis.pairs[0].score
    margin = "" if first.margin is None else f"{first.margin * first.scale:g} {first.unit}".strip()
    stated = f" The margin, {margin}, was stated before any run." if margin else ""
    return (
        f"Arms are compared by {first.metric}, paired by seed: differences by the paired t test (interval at "
        f"{100 * first.difference_level:.4g} %), equivalence by two one-sided tests (Schuirmann 1987; interval at "
        f"{100 * first.equivalence_level:.4g} %).{stated} Claims on score and loss: {first.n_claims}, one family, "
        f"with simultaneous intervals at alpha = {first.alpha:g}; Holm-adjusted p-values are given beside them. Times "
        "are a family of their own, all else is exploratory. Scope: this test set, unless new data are "
        f"named. Looks at the data: {analysis.record.looks}."
    )


def _failures(analysis: Analysis) -> str:
    chance = analysis.record.chance.get(metrics.base_name(analysis.metric))
    lost = sum(arm.n_lost for arm in analysis.arms)
    scored = "left out" if chance is None else f"scored at the chance level, {chance:g}"
    return (
        f"{lost} of {len(analysis.record.runs)} runs diverged or failed; in claims such runs stay in n, {scored}; "
        "tables of means are conditional on success."
    )


def _search(analysis: Analysis) -> str:
    studies = analysis.record.studies
    if not studies:
        return ""
    first, counts = studies[0], sorted({len(study.trials) for study in studies})
    best = " and ".join(
        f"{'highest' if direction == 'maximize' else 'lowest'} {metric}" for metric, direction in first.objectives
    )
    shared = ", beyond the first the same points in every study" if first.sampler in INDEPENDENT else ""
    n_studies = count(len(studies), "Optuna study", "Optuna studies")
    trials = f"{' to '.join(map(str, counts))} {'trial' if counts == [1] else 'trials'}"
    return (
        f"Before that, {', '.join(first.space)} were chosen in {n_studies} of {trials} each "
        f"({first.sampler}, {first.pruner}{shared}) by the {best}, on a "
        "seed of their own; the first trial had the config's own values. Results are conditional on this one search."
    )


def _control(analysis: Analysis) -> str:
    if analysis.factor == "seed":
        return f"This is the control of a framework against itself on disjoint seeds, at alpha = {CONTROL_ALPHA:g}."
    return f"Control of a framework against itself: {analysis.control or 'not run'}."


def _machine(analysis: Analysis) -> str:
    facts = analysis.facts
    versions = ", ".join(f"{name} {facts[name]}" for name in facts if name not in FACTS)
    return (
        f"Machine: {facts.get('cpu', 'unknown CPU')}, {facts.get('device', 'cpu')}, {facts.get('threads', '?')} "
        f"thread(s) per run, {facts.get('workers', '?')} run(s) at a time; Python {facts.get('python', '?')}, "
        f"{versions}; code {facts.get('git_commit', 'unknown')}."
    )
