"""What page one says: each question that was asked with its answer in plain words, and under it the statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments import metrics, statistics
from experiments.report import formatting
from experiments.report.analysis import VERDICT_WORDS, Analysis
from experiments.report.arms import Arm, choice, pooled
from experiments.report.axes import FRAMEWORK, Axis, best_first
from experiments.report.effects import best_and_plausible
from experiments.report.ladder import FACTOR as ALIGNMENT
from experiments.report.ladder import MetricLadder
from experiments.report.loops import LOOP, LoopPair
from experiments.report.pairs import MOST_WITH_LOSSES, Pair
from experiments.statistics import Verdict

ICONS = {
    "difference": "▲",
    "equivalent": "≡",
    "identical": "=",
    "inconclusive": "?",
    "not assessed": "–",
    "check determinism": "!",
}
MEANINGS = {
    "difference": "a difference is shown",
    "equivalent": "the same, within the margin",
    "identical": "the same",
    "inconclusive": "not settled",
    "not assessed": "not assessed",
    "check determinism": "check determinism",
}
SMALLEST_SHARE = 0.01  # of the variance, that is told
QUESTIONS = {
    "framework": "does the framework change the result?",
    LOOP: "what does the harness cost?",
    "seed": "does a framework differ from itself?",
    ALIGNMENT: "what do the frameworks' own defaults cost?",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An answer in plain words with the word of its verdict; under it the statistics, a sentence each."""

    word: str
    headline: str = ""
    texts: tuple[str, ...]

    @property
    def icon(self) -> str:
        """A sign beside the word, for who skims."""
        return ICONS[self.word]

    @property
    def text(self) -> str:
        """The statistics."""
        return " ".join(self.texts)


def claims_of(analysis: Analysis) -> list[Claim]:
    """All claims of page one: what was asked for first, what could not be assessed last.

    First what the harness costs where bare loops were timed, and which default explains a gap where there is a ladder.
    With few pairs also losses and times, and what beats a reference forecast.
    """
    claims = [_of_loops(each) for each in analysis.loops]
    claims += [_of_ladder(each) for each in analysis.ladders]
    claims += [_of_axis(axis, analysis) for axis in analysis.axes]
    for pair in analysis.pairs:
        if not analysis.axes:
            claims.append(_of_score(pair, pair.score))
        if len(analysis.pairs) <= MOST_WITH_LOSSES and pair.loss is not None and not analysis.axes:
            claims.append(_of_score(pair, pair.loss))
        if len(analysis.pairs) <= MOST_WITH_LOSSES or analysis.axes:
            claims += _of_speed(pair, is_only=len(analysis.pairs) == 1 or bool(analysis.axes))
    if analysis.skills and not claims:  # a skill is no comparison of arms
        claims.append(Claim(word="not assessed", texts=(nothing(analysis),)))
    claims += [Claim(word=word, texts=(text,)) for word, text in analysis.skills]
    return sorted(claims, key=lambda claim: claim.word == "not assessed")


def _of_loops(pair: LoopPair) -> Claim:
    outcome = "not_assessed" if pair.share is None else pair.share.comparison.id
    return Claim(word=VERDICT_WORDS[outcome], texts=(pair.sentence,))


def _of_ladder(ladder: MetricLadder) -> Claim:
    word = "difference" if ladder.names_a_cause else "inconclusive"
    return Claim(word=word, headline=ladder.headline, texts=(ladder.sentence,))


def _of_score(pair: Pair, verdict: Verdict) -> Claim:
    return Claim(
        word=VERDICT_WORDS[verdict.id],
        headline=statistics.headline_of(verdict),
        texts=(f"{pair.title}: {verdict.sentence}",),
    )


def _of_speed(pair: Pair, *, is_only: bool) -> list[Claim]:
    if pair.speed is None or (pair.speed.disturbance and not is_only):  # of several, a disturbed one says nothing
        return []
    said = statistics.speed_headline_of(pair.speed)
    return [Claim(word=VERDICT_WORDS[pair.speed.id], headline=said, texts=(f"{pair.title}: {pair.speed.sentence}",))]


def _of_axis(axis: Axis, analysis: Analysis) -> Claim:
    """The best level against each other one; all levels with each other are the family, and stand in the tables."""
    best, *others = best_first(axis, metric=analysis.metric)
    pairs = [_between(axis, best, other) for other in others]
    verdicts = [pair.score for pair in pairs]
    texts = [
        f"{pair.title}: {verdict.sentence}"
        for pair in pairs
        for verdict in (pair.score, pair.loss)
        if verdict is not None
    ]
    return Claim(
        word=_word_of([VERDICT_WORDS[each.id] for each in verdicts]),
        headline=_headline_of(axis, best, others, pairs),
        texts=(*texts, *_share(axis, analysis)),
    )


def _word_of(words: Sequence[str]) -> str:
    """One for several: a difference where there is one, the same where all are."""
    if set(words) <= {"equivalent", "identical"}:
        return "equivalent" if "equivalent" in words else "identical"
    return next(word for word in ("difference", "check determinism", "inconclusive", "not assessed") if word in words)


def _between(axis: Axis, first: Arm, second: Arm) -> Pair:
    return next(pair for pair in axis.pairs if {pair.first.name, pair.second.name} == {first.name, second.name})


def _headline_of(axis: Axis, best: Arm, others: Sequence[Arm], pairs: Sequence[Pair]) -> str:
    verdicts = [pair.score for pair in pairs]
    if len(others) == 1:
        return statistics.headline_of(verdicts[0]) + _although(verdicts[0], pairs[0].loss)
    beaten, same, open_ = [], [], []
    for other, verdict in zip(others, verdicts, strict=True):
        if verdict.shows_difference_in_favour_of == best.name:
            beaten.append(f"{other.name} by {statistics.size_of(verdict)}")
        elif VERDICT_WORDS[verdict.id] in ("equivalent", "identical"):
            same.append(other.name)
        else:
            open_.append(other.name)
    if not beaten and not open_:
        return f"{axis.name} makes no difference here: {listed([best.name, *same])} score the same"
    parts = [f"beats {listed(beaten)}"] if beaten else []
    parts += [f"scores the same as {listed(same)}"] if same else []
    parts += [f"is not settled against {listed(open_)}"] if open_ else []
    return f"{best.name} {'; '.join(parts)}"


def _although(score: Verdict, loss: Verdict | None) -> str:
    """What the loss shows where the score shows no difference."""
    if score.shows_difference_in_favour_of or loss is None or not loss.shows_difference_in_favour_of:
        return ""
    return f"; {statistics.headline_of(loss)}"


def listed(words: Sequence[str]) -> str:
    """The words as a sentence lists them: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _share(axis: Axis, analysis: Analysis) -> tuple[str, ...]:
    shares = [] if analysis.effects is None else analysis.effects.shares
    return tuple(
        f"{axis.name} explains {100 * term.share:.0f} % of the variance of all runs (exploratory)."
        for term in shares
        if term.factors == (axis.factor,) and term.share >= SMALLEST_SHARE
    )


def best_of(analysis: Analysis) -> str:
    """The best arm with its settings, its score and all that are not shown to be worse; "" where there is no choice.

    Where one axis alone varies beside the framework, that is what its claims say; else it is exploratory.
    """
    arms = pooled(analysis.arms)
    if not analysis.axes or len(arms) < 2:
        return ""
    chance = analysis.record.chance.get(metrics.base_name(analysis.metric))
    found = best_and_plausible(arms, analysis.metric, failure_score=chance)
    if found is None:
        return ""
    best, plausible = found
    kind = "exploratory, arm against arm, Holm over the others: "
    if [axis.factor == FRAMEWORK for axis in analysis.axes].count(False) == 1:
        kind, plausible = "", [arm for arm in arms if not _is_beaten(arm, best, analysis.axes[0])]
    rate = best.settings.get("optimizer.learning_rate")
    varies = any("learning_rate" in key for key in best.factors)
    settings = "" if rate is None or varies else f" (learning rate {rate:g})"
    score = f"{formatting.interval(best.interval(analysis.metric), analysis.metric)} {_unit(analysis.metric)}".strip()
    scores = best.scores(analysis.metric)
    ties = [arm.name for arm in plausible if arm is not best and arm.scores(analysis.metric) == scores]
    others = [arm.name for arm in plausible if arm is not best and arm.name not in ties]
    doubts = [f"the same scores: {listed(ties)}"] if ties else []
    doubts += [f"not shown worse: {listed(others)}"] if others else []
    doubt = "; ".join(doubts) or "all others are shown to be worse"
    return f"Best of {len(arms)}: {best.name}{settings}, {formatting.in_words(analysis.metric)} {score}; {kind}{doubt}."


def _is_beaten(arm: Arm, best: Arm, axis: Axis) -> bool:
    """Whether the axis' own claim says so, of the levels that the two arms are."""
    names = {choice(axis.factor, each.factors[axis.factor]) for each in (arm, best)}
    pair = next((pair for pair in axis.pairs if {pair.first.name, pair.second.name} == names), None)
    won = choice(axis.factor, best.factors[axis.factor])
    return pair is not None and pair.score.shows_difference_in_favour_of == won


def _unit(metric: str) -> str:
    return "%" if math.isclose(metrics.metric_of(metric).factor, 100.0) else ""


def question(analysis: Analysis) -> str:
    """What the report answers."""
    asked = str(analysis.record.comparison["factor"])
    if asked in (LOOP, ALIGNMENT):  # whose pairs are frameworks
        return QUESTIONS[asked]
    if analysis.axes:
        return (
            f"what do {listed([axis.name for axis in analysis.axes])} change?"
            if len(analysis.axes) > 1
            else (f"what does {analysis.axes[0].name} change?")
        )
    leaf = analysis.factor.rpartition(".")[2].replace("_", " ")
    return QUESTIONS.get(analysis.factor, f"does the {leaf} change the result?")


def nothing(analysis: Analysis) -> str:
    """Why there is no claim."""
    count = len(analysis.arms)
    if not any(arm.finished for arm in analysis.arms):
        return f"Nothing to compare: {count} arm{'' if count == 1 else 's'}, and no run has come to its end."
    return f"Nothing to compare: {count} arm{'' if count == 1 else 's'}."
