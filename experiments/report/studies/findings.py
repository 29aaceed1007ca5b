"""One sentence for each figure of studies: what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.records import StudyRecord, TrialRecord
from experiments.report.studies.facts import (
    FEWEST_TRIALS,
    axis_of,
    best_of,
    best_so_far,
    complete,
    effective_state,
    expected_best,
    front_of,
    is_independent,
    is_number,
    key_title,
    keys_of,
    label_of,
    objective,
    ranked,
    said_values,
    total_seconds,
    value_text,
)
from experiments.report.studies.selection import STATE_WORDS
from experiments.task.search_space import Dimension

SENTENCES = 3  # in a title
TOP = 3  # trials whose values a title tells
Finding = Callable[[StudyRecord], str]


def sentences(studies: Sequence[StudyRecord], said: Finding, *, most: int = SENTENCES) -> str:
    """What figures of some studies show: a sentence for each of the first ones."""
    texts = [f"{label_of(study, studies)}: {said(study)}" for study in studies[:most]]
    more = len(studies) - len(texts)
    return "; ".join([*texts, *([f"{more} more {'studies' if more > 1 else 'study'}"] if more else [])])


def best(study: StudyRecord) -> str:
    """The best score, when it was found, and what became of the others."""
    best, n = best_of(study), len(study.trials)
    states = [effective_state(trial) for trial in study.trials]
    counted = {"pruned": states.count("PRUNED"), "failed": states.count("FAIL"), "running": states.count("RUNNING")}
    lost = ", ".join(f"{count} {word}" for word, count in counted.items() if count)
    name = f"{objective(study)[0]} " if len(study.objectives) > 1 else ""
    start = f"best {name}{best.scores[0]:.4g} at trial {best.number} of {n}" if best else f"none of {n} trials complete"
    return f"{start}; {lost}" if lost else start


def importance(study: StudyRecord) -> str:
    """The most important key."""
    key = min(study.importances, key=lambda each: (-study.importances[each], each))
    care = " (few trials: read with care)" if len(complete(study)) < FEWEST_TRIALS else ""
    return f"{key_title(key)} has {100 * study.importances[key]:.0f} % of the importance{care}"


def values(study: StudyRecord) -> str:
    """The best trial's values, and which lie at the edge of the space."""
    best = best_of(study)
    if best is None:
        return "no trial complete"
    keys = keys_of([study])[:4]
    edges = [key_title(key) for key in keys if _is_near_edge(study, key, best)]
    at_edge = f" ({' and '.join(edges)} at the edge of the space)" if edges else ""
    return f"best at {said_values(best, keys)}{at_edge}"


def _is_near_edge(study: StudyRecord, key: str, trial: TrialRecord) -> bool:
    spec, value = study.space.get(key), trial.values.get(key)
    return spec is not None and is_number(value) and Dimension(**spec).is_near_edge(value)


def top(study: StudyRecord) -> str:
    """The range of each key over the best trials."""
    top = ranked(study)[:TOP]
    if len(top) < TOP:
        return values(study)
    ranges = []
    for key in keys_of([study])[:3]:
        axis = axis_of(study, key)
        own = sorted((trial for trial in top if key in trial.values), key=axis.place)
        ends = list(
            dict.fromkeys(value_text(trial.values[key]) for trial in (own if axis.choices else own[:: TOP - 1]))
        )
        ranges += [f"{key_title(key)} {(' or ' if axis.choices else ' to ').join(ends)}"] if ends else []
    return f"the best {TOP} of {len(study.trials)} trials have {', '.join(ranges)}"


def pruning(study: StudyRecord) -> str:
    """How many trials were cut short, and when."""
    epochs = [trial.reported[-1][0] for trial in study.trials if trial.state == "PRUNED" and trial.reported]
    n_pruned = sum(trial.state == "PRUNED" for trial in study.trials)
    when = f", at epochs {min(epochs)} to {max(epochs)}" if epochs and min(epochs) < max(epochs) else ""
    when = f", at epoch {min(epochs)}" if epochs and not when else when
    return f"{n_pruned} of {len(study.trials)} trials pruned{when}"


def budget(study: StudyRecord) -> str:
    """What half of the trials bought, and all of them."""
    curve = expected_best(study) if is_independent(study) else best_so_far(study)
    half, n = (len(curve) + 1) // 2, len(curve)
    word = "expected best" if is_independent(study) else "one observed path, best"
    start = f"{word} {curve[half - 1]:.4g} after {half} complete {'trials' if half > 1 else 'trial'}"
    return f"{start}, {curve[-1]:.4g} after {n}" if n > half else start


def time(study: StudyRecord) -> str:
    """How long it took, and how much of that pruned and failed trials took."""
    ends = [each for trial in study.trials for each in (trial.began, trial.ended) if is_number(each)]
    total = total_seconds(study.trials)
    parts = {
        state: total_seconds(t for t in study.trials if effective_state(t) == state) for state in ("PRUNED", "FAIL")
    }
    shares = [f"{100 * part / total:.0f} % in {STATE_WORDS[state]} trials" for state, part in parts.items() if part > 0]
    spent = f"; of {total:.0f} s of work {' and '.join(shares)}" if shares else ""
    return (
        f"{len(study.trials)} {'trials' if len(study.trials) > 1 else 'trial'} in {max(ends) - min(ends):.0f} s{spent}"
    )


def front(study: StudyRecord) -> str:
    """How many trials no other beats in both."""
    return f"{len(front_of(study))} of {len(complete(study))} complete trials on the Pareto front"
