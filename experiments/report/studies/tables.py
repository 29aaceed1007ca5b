"""Tables of searches: studies and trials in Optuna's words, and what was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.records import StudyRecord, TrialRecord, TunedValue
from experiments.report.analysis import Analysis, labels_of
from experiments.report.studies.facts import (
    best_of,
    label_of,
    objective,
    one_line,
    ordered,
    said_values,
    score,
    total_seconds,
)
from experiments.report.tables import Table, table_of
from experiments.statistics.wording import fixed, signed
from experiments.task.keys import format_value


def studies_table(studies: Sequence[StudyRecord]) -> Table:
    """A row per study: what it did, what it cost and what it found."""
    rows = []
    for study in studies:
        states = [trial.state for trial in study.trials]
        best = best_of(study)
        rows.append(
            (
                label_of(study, studies, 200),
                one_line(study.sampler),
                one_line(study.pruner),
                str(len(states)),
                *(str(states.count(state)) for state in ("COMPLETE", "PRUNED", "FAIL")),
                str(sum(trial.epochs for trial in study.trials)),
                f"{total_seconds(study.trials):.1f}",
                "–" if best is None else f"{best.scores[0]:.4g}",
            )
        )
    head = ("arm", "sampler", "pruner", "trials", "complete", "pruned", "failed", "epochs", "seconds", "best score")
    names = " or ".join(dict.fromkeys(_directed(study) for study in studies)) or "score"
    title = f"Studies and what they spent; best {names}"
    return Table(title=title, head=head, rows=tuple(rows), numeric=tuple(range(3, len(head))))


def trials_table(studies: Sequence[StudyRecord]) -> Table:
    """A row per trial; the score of a pruned one is what it reported last."""
    rows = [
        (
            label_of(study, studies, 200),
            str(trial.number),
            trial.state.lower(),
            said_values(trial, sorted(trial.values)) or "–",
            _scores_text(trial),
            str(trial.epochs),
            f"{trial.seconds:.1f}" if math.isfinite(trial.seconds) else "–",
            one_line(trial.reason, 200) or "–",
        )
        for study in studies
        for trial in ordered(study)
    ]
    head = ("arm", "trial", "state", "values", "score", "epochs", "seconds", "reason")
    title = "Trials of the studies (score of a pruned trial: its last report)"
    return Table(title=title, head=head, rows=tuple(rows), numeric=(1, 4, 5, 6))


def _scores_text(trial: TrialRecord) -> str:
    scores = trial.scores if trial.state == "COMPLETE" else (score(trial),)
    return " / ".join(f"{each:.4g}" for each in scores if not math.isnan(each)) or "–"


def _directed(study: StudyRecord) -> str:
    name, is_maximized = objective(study)
    return f"{name} ({'higher' if is_maximized else 'lower'} is better)"


def search_trials(analysis: Analysis) -> Table:
    """A row per trial of the search."""
    rows = []
    for each in analysis.record.trials:
        choices = [one for one in analysis.record.tuned_values if one.key in each.labels]
        key = choices[0].key if choices else ""
        metric = choices[0].metric if choices else "val/loss"
        score = (
            fixed(each.metrics[metric], decimals=4) if each.outcome == "finished" and metric in each.metrics else "–"
        )
        rows.append((each.name, each.labels.get(key, "–"), str(each.seed), each.outcome, score))
    return table_of("Trials of the search", ("trial", "value", "seed", "outcome", "score"), rows, texts=(0, 3))


def tuned_values(analysis: Analysis) -> Table:
    """A row per search: what was chosen among what."""
    rows = [
        (
            labels_of(each.labels, analysis.record),
            each.key,
            "none" if each.value is None else format_value(each.value),
            "–" if each.low == each.high else f"{each.low:g} to {each.high:g}",
            str(each.n_trials),
            "–" if each.score is None else fixed(each.score, decimals=4),
            *_optimism(analysis, each),
            "at the edge" if each.at_edge else "inside",
        )
        for each in analysis.record.tuned_values
    ]
    head = ("for", "key", "chosen", "tried", "trials", "trial's score", "on the report's seeds", "optimism", "place")
    return table_of(f"What the search chose, by {_metrics(analysis)}", head, rows, texts=(0, 1, 8))


def _metrics(analysis: Analysis) -> str:
    return ", ".join(dict.fromkeys(each.metric for each in analysis.record.tuned_values))


def _optimism(analysis: Analysis, each: TunedValue) -> tuple[str, str]:
    """Mean score of the chosen setting on the report's seeds, and by how much the trial's looked better than it."""
    is_maximized = any((each.metric, "maximize") in study.objectives for study in analysis.record.studies)
    siblings = {other.key: other.value for other in analysis.record.tuned_values if other.group == each.group}
    for arm in analysis.arms:
        belongs_to = arm.framework == each.labels.get("framework", arm.framework) and all(
            arm.factors[key] == value for key, value in each.labels.items() if key in arm.factors
        )
        if (
            belongs_to
            and all(arm.settings.get(key) == value for key, value in siblings.items())
            and each.score is not None
        ):
            estimate = arm.interval(each.metric)
            if estimate is not None:
                worse = estimate.value - each.score
                return f"{fixed(estimate.value, decimals=4)} (n = {estimate.n})", signed(
                    -worse if is_maximized else worse, decimals=4
                )
    return "–", "–"
