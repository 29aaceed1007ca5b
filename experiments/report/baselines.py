"""What scores without a network, beside the arms: in one line, and a warning where a mere guess scores as well."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import metrics
from experiments.records import BaselineRecord, SweepRecord
from experiments.report import formatting
from experiments.report.arms import Arm


def sentence(record: SweepRecord, *, metric: str) -> str:
    """All baselines in one line: "baseline: majority class 39.89 %, logistic regression 97.22 %"; "" without any."""
    by_data: dict[str, list[str]] = {}
    for each in record.baselines:
        if metric in each.metrics:
            of = f" (fit on {each.n_examples:,} examples)" if each.n_examples else ""
            said = f"{each.name} {_shown(each.metrics[metric], metric)}{of}"
            told = by_data.setdefault(each.origin, [])
            told += [said] if said not in told else []
    if len(by_data) == 1:
        return "".join(f"baseline: {', '.join(told)}" for told in by_data.values())
    return "; ".join(f"baseline on {origin}: {', '.join(told)}" for origin, told in by_data.items())


def warnings_of(arms: Sequence[Arm], record: SweepRecord, *, metric: str) -> list[str]:
    """A sentence for each arm whose mean score is no better than the guess that looks at no input."""
    said = []
    for arm in arms:
        mean = arm.interval(metric)
        guess = next((each for each in _of_arm(arm, record) if each.is_guess and metric in each.metrics), None)
        if mean is None or guess is None:
            continue
        lead = mean.value - guess.metrics[metric]
        if (lead if metrics.metric_of(metric).higher_is_better else -lead) <= 0:
            score, of_guess = _shown(mean.value, metric), _shown(guess.metrics[metric], metric)
            said.append(
                f"{arm.name}: {formatting.in_words(metric)} {score} is no better than answering the {guess.name} "
                f"whatever the input ({of_guess}): nothing of use was learned"
            )
    return said


def better_than_all(arms: Sequence[Arm], record: SweepRecord, *, metric: str) -> list[str]:
    """A sentence where what needs no network scores above every arm's mean."""
    sign = 1.0 if metrics.metric_of(metric).higher_is_better else -1.0
    means = {arm.name: mean.value for arm in arms if (mean := arm.interval(metric)) is not None}
    known = [each for arm in arms for each in _of_arm(arm, record) if not each.is_guess and metric in each.metrics]
    if not means or not known or len({each.data for each in known}) > 1:
        return []
    name, highest = max(means.items(), key=lambda each: sign * each[1])
    best = max(known, key=lambda each: sign * each.metrics[metric])
    if sign * (best.metrics[metric] - highest) <= 0:
        return []
    said = f"{best.name}, without a network, scores {_shown(best.metrics[metric], metric)}"
    return [f"{said}: better than every network here, of which {name} is the best with {_shown(highest, metric)}"]


def _of_arm(arm: Arm, record: SweepRecord) -> list[BaselineRecord]:
    """The baselines on the arm's data under its loss."""
    loss = arm.settings.get("training.loss")
    return [each for each in record.baselines if arm.data == {each.data} and each.loss == loss]


def _shown(value: float, metric: str) -> str:
    return f"{formatting.score(value, metric)} {metrics.metric_of(metric).unit}".strip()
