"""What Optuna's studies found, in numbers and words: tables, one sentence for each figure, and what both rest on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from experiments import statistics
from experiments.records import StudyRecord, TrialRecord
from experiments.report import formatting
from experiments.report.sanitize import clean
from experiments.report.tables import Table
from experiments.task.search_space import INDEPENDENT, Dimension

FEWEST_TRIALS = 20  # complete ones; with fewer, importances are mostly noise
SENTENCES = 3  # in a title
TOP = 3  # trials whose values a title tells


@dataclass(frozen=True, kw_only=True)
class KeyAxis:
    """How the values of one key are drawn.

    Attributes:
        name: What a person calls the key.
        low, high: Bounds of the space, wider where a tried value lies outside.
        choices: Texts of a categorical dimension in the order of the space; empty for numbers.
    """

    key: str
    name: str
    low: float
    high: float
    is_log: bool
    is_integer: bool
    choices: tuple[str, ...]

    def place(self, trial: TrialRecord) -> float:
        """Where the trial's value stands: the number, or the position of its choice; NaN where the key is missing."""
        value = trial.values.get(self.key)
        if self.choices:
            return float(self.choices.index(str(value))) if self.key in trial.values else math.nan
        return float(value) if is_number(value) else math.nan

    def share(self, trial: TrialRecord) -> float:
        """The place as a share of the axis, in [0, 1]; one half where the axis has no length."""
        low, place, high = (math.log(x) if self.is_log else x for x in (self.low, self.place(trial), self.high))
        return (place - low) / (high - low) if high > low else place - low + 0.5


def axis_of(study: StudyRecord, key: str) -> KeyAxis:
    """The axis as the space has it; what is missing there follows from the values tried."""
    spec = study.space.get(key) or {}
    tried = [trial.values[key] for trial in ordered(study) if key in trial.values]
    choices: tuple[str, ...] = ()
    if spec.get("kind") == "categorical" or not all(map(is_number, tried)):
        named = [str(choice) for choice in spec.get("choices") or ()]
        choices = tuple(dict.fromkeys([*named, *sorted(map(str, tried))]))
    bounds = [spec.get("low"), spec.get("high"), *tried]
    numbers = [0.0, len(choices) - 1.0] if choices else [float(each) for each in bounds if is_number(each)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    is_log = bool(spec.get("log")) and low > 0 and not choices
    is_integer = spec.get("kind", "int") == "int" and all(isinstance(each, int) for each in tried)
    return KeyAxis(key=key, name=spoken(key), low=low, high=high, is_log=is_log, is_integer=is_integer, choices=choices)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def spoken(key: str, limit: int = 24) -> str:
    """A key as a person says it: a file of a group by the group, else its last word."""
    group, _, leaf = key.rpartition(".")
    return one_line(group if group and leaf == "kind" else leaf, limit).replace("_", " ")


def one_line(name: Any, limit: int = 40) -> str:
    """A name without control characters and line breaks."""
    return clean(" ".join(str(name).split()), limit)


def keys_of(studies: Sequence[StudyRecord]) -> list[str]:
    """Keys that some trial tried, the most important ones over all studies first."""
    tried = {key for study in studies for trial in study.trials for key in trial.values}
    weights = {key: math.fsum(study.importances.get(key, 0.0) for study in studies) for key in tried}
    return sorted(tried, key=lambda key: (-weights[key], key))


def ordered(study: StudyRecord) -> list[TrialRecord]:
    """Trials by number."""
    return sorted(study.trials, key=lambda trial: trial.number)


def objective(study: StudyRecord, index: int = 0) -> tuple[str, bool]:
    """What is scored, as a person says it, and whether more is better."""
    metric, direction = study.objectives[index] if index < len(study.objectives) else ("score", "minimize")
    return one_line(formatting.in_words(metric), 30), direction == "maximize"


def fate(trial: TrialRecord) -> str:
    """Optuna's state, but FAIL for a complete trial with a score that is not finite: Optuna lets infinity pass."""
    is_lost = trial.state == "COMPLETE" and not (trial.scores and all(map(math.isfinite, trial.scores)))
    return "FAIL" if is_lost else trial.state


def score(trial: TrialRecord, index: int = 0) -> float:
    """The final score, or what a pruned trial reported last; NaN where there is none."""
    if fate(trial) == "COMPLETE":
        return trial.scores[index] if index < len(trial.scores) else math.nan
    finite = [value for _, value in trial.reported if math.isfinite(value)]
    return finite[-1] if trial.state == "PRUNED" and index == 0 and finite else math.nan


def complete(study: StudyRecord) -> list[TrialRecord]:
    """Trials that came to their end with finite scores, by number."""
    return [trial for trial in ordered(study) if fate(trial) == "COMPLETE"]


def ranked(study: StudyRecord) -> list[TrialRecord]:
    """Complete trials from the best to the worst first objective; of equal ones the earlier is first."""
    sign = -1 if objective(study)[1] else 1
    return sorted(complete(study), key=lambda trial: (sign * trial.scores[0], trial.number))


def best_of(study: StudyRecord) -> TrialRecord | None:
    """The best trial, by its first objective where there are several."""
    found = ranked(study)
    chosen = [trial for trial in found if trial.number in study.best]
    return next(iter(chosen or found), None)


def front_of(study: StudyRecord) -> list[TrialRecord]:
    """The Pareto front, by the first objective."""
    chosen = [trial for trial in complete(study) if trial.number in study.best]
    return sorted(chosen, key=lambda trial: trial.scores)


def best_so_far(study: StudyRecord) -> list[float]:
    """Best first objective after each complete trial."""
    keep = np.maximum if objective(study)[1] else np.minimum
    return [float(each) for each in keep.accumulate([trial.scores[0] for trial in complete(study)] or [math.nan])]


def is_independent(study: StudyRecord) -> bool:
    """Whether no trial depended on earlier ones, so that an expectation can be had."""
    return study.sampler in INDEPENDENT


def expected_best(study: StudyRecord) -> list[float]:
    """Expected best first objective after 1 ... n complete trials."""
    scores = np.array([trial.scores[0] for trial in complete(study)])
    return [float(each) for each in statistics.budget_curve(scores, higher_is_better=objective(study)[1])]


def label_of(study: StudyRecord, studies: Sequence[StudyRecord], limit: int = 40) -> str:
    """The arm, with the name of the study where an arm has several."""
    is_alone = sum(other.arm == study.arm for other in studies) <= 1
    return one_line(study.arm if is_alone else f"{study.arm} · {study.name}", limit)


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
                f"{_total(study.trials):.1f}",
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


def _total(trials: Iterable[TrialRecord]) -> float:
    return math.fsum(trial.seconds for trial in trials if math.isfinite(trial.seconds))


def _scores_text(trial: TrialRecord) -> str:
    scores = trial.scores if trial.state == "COMPLETE" else (score(trial),)
    return " / ".join(f"{each:.4g}" for each in scores if not math.isnan(each)) or "–"


def _directed(study: StudyRecord) -> str:
    name, is_maximized = objective(study)
    return f"{name} ({'higher' if is_maximized else 'lower'} is better)"


def said_values(trial: TrialRecord, keys: Iterable[str]) -> str:
    """The values of some keys in words: "learning rate 0.001, depth 2"."""
    return ", ".join(f"{spoken(key)} {_said(trial.values[key])}" for key in keys if key in trial.values)


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else one_line(value)


Finding = Callable[[StudyRecord], str]


def finding(studies: Sequence[StudyRecord], said: Finding, *, most: int = SENTENCES) -> str:
    """What figures of some studies show: a sentence for each of the first ones."""
    texts = [f"{label_of(study, studies)}: {said(study)}" for study in studies[:most]]
    more = len(studies) - len(texts)
    return "; ".join([*texts, *([f"{more} more {'studies' if more > 1 else 'study'}"] if more else [])])


def found_best(study: StudyRecord) -> str:
    """The best score, when it was found, and what became of the others."""
    best, n = best_of(study), len(study.trials)
    states = [fate(trial) for trial in study.trials]
    counted = {"pruned": states.count("PRUNED"), "failed": states.count("FAIL"), "running": states.count("RUNNING")}
    lost = ", ".join(f"{count} {word}" for word, count in counted.items() if count)
    name = f"{objective(study)[0]} " if len(study.objectives) > 1 else ""
    start = f"best {name}{best.scores[0]:.4g} at trial {best.number} of {n}" if best else f"none of {n} trials complete"
    return f"{start}; {lost}" if lost else start


def found_importance(study: StudyRecord) -> str:
    """The most important key."""
    key = min(study.importances, key=lambda each: (-study.importances[each], each))
    care = " (few trials: read with care)" if len(complete(study)) < FEWEST_TRIALS else ""
    return f"{spoken(key)} has {100 * study.importances[key]:.0f} % of the importance{care}"


def found_values(study: StudyRecord) -> str:
    """The best trial's values, and which lie at the edge of the space."""
    best = best_of(study)
    if best is None:
        return "no trial complete"
    keys = keys_of([study])[:4]
    edges = [spoken(key) for key in keys if _is_near_edge(study, key, best)]
    at_edge = f" ({' and '.join(edges)} at the edge of the space)" if edges else ""
    return f"best at {said_values(best, keys)}{at_edge}"


def _is_near_edge(study: StudyRecord, key: str, trial: TrialRecord) -> bool:
    spec, value = study.space.get(key), trial.values.get(key)
    return spec is not None and is_number(value) and Dimension(**spec).is_near_edge(value)


def found_top(study: StudyRecord) -> str:
    """The range of each key over the best trials."""
    top = ranked(study)[:TOP]
    if len(top) < TOP:
        return found_values(study)
    ranges = []
    for key in keys_of([study])[:3]:
        axis = axis_of(study, key)
        own = sorted((trial for trial in top if key in trial.values), key=axis.place)
        ends = list(dict.fromkeys(_said(trial.values[key]) for trial in (own if axis.choices else own[:: TOP - 1])))
        ranges += [f"{spoken(key)} {(' or ' if axis.choices else ' to ').join(ends)}"] if ends else []
    return f"the best {TOP} of {len(study.trials)} trials have {', '.join(ranges)}"


def found_pruning(study: StudyRecord) -> str:
    """How many trials were cut short, and when."""
    epochs = [trial.reported[-1][0] for trial in study.trials if trial.state == "PRUNED" and trial.reported]
    n_pruned = sum(trial.state == "PRUNED" for trial in study.trials)
    when = f", at epochs {min(epochs)} to {max(epochs)}" if epochs and min(epochs) < max(epochs) else ""
    when = f", at epoch {min(epochs)}" if epochs and not when else when
    return f"{n_pruned} of {len(study.trials)} trials pruned{when}"


def found_budget(study: StudyRecord) -> str:
    """What half of the trials bought, and all of them."""
    curve = expected_best(study) if is_independent(study) else best_so_far(study)
    half, n = (len(curve) + 1) // 2, len(curve)
    word = "expected best" if is_independent(study) else "one observed path, best"
    start = f"{word} {curve[half - 1]:.4g} after {half} complete {'trials' if half > 1 else 'trial'}"
    return f"{start}, {curve[-1]:.4g} after {n}" if n > half else start


def found_time(study: StudyRecord) -> str:
    """How long it took, and how much of that pruned and failed trials took."""
    ends = [each for trial in study.trials for each in (trial.began, trial.ended) if is_number(each)]
    total = _total(study.trials)
    parts = {word: _total(t for t in study.trials if fate(t) == state) for state, word in
             (("PRUNED", "pruned"), ("FAIL", "failed"))}  # fmt: skip
    shares = [f"{100 * part / total:.0f} % in {word} trials" for word, part in parts.items() if part > 0]
    spent = f"; of {total:.0f} s of work {' and '.join(shares)}" if shares else ""
    return (
        f"{len(study.trials)} {'trials' if len(study.trials) > 1 else 'trial'} in {max(ends) - min(ends):.0f} s{spent}"
    )


def found_front(study: StudyRecord) -> str:
    """How many trials no other beats in both."""
    return f"{len(front_of(study))} of {len(complete(study))} complete trials on the Pareto front"
