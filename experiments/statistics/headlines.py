"""A verdict as one says it: who, by how much; its statistics stand in `sentence`, which must be read beside it."""

from __future__ import annotations

from experiments.statistics.outcome import Verdict
from experiments.statistics.power import MOST_PAIRS, pairs_for_difference
from experiments.statistics.speed import SpeedComparison, margin_words
from experiments.statistics.wording import decimals_for, fixed, format_number, known

POINTS = {"pp": "points"}  # of a difference in per cent


def headline_of(verdict: Verdict) -> str:
    """Write what a verdict says, without its statistics: "adam beats sgd by 21 points"."""
    names = first, second = verdict.names
    both = f"{first} and {second}"
    winner = verdict.shows_difference_in_favour_of
    if winner is not None:
        loser = second if winner == first else first
        return f"{winner} beats {loser} by {size_of(verdict)}{_of_what(verdict)}{_doubt(verdict)}"
    match verdict.id:
        case "identical":
            rounding = ", to rounding" if any(verdict.differences) else ""
            return f"{both} {_same(verdict)}{rounding}, on every seed"
        case "equivalent" | "equivalent_nonzero":
            return f"{both} {_same(verdict)}, within {_margin(verdict)}"
        case "constant_difference":
            return f"{both} differ by the same {size_of(verdict)} on every seed: check determinism"
        case "inconclusive" if _is_beyond_margin(verdict):
            ahead, behind = names if known(verdict.mean_difference) > 0 else names[::-1]
            by = f"by {size_of(verdict)}{_of_what(verdict)}"
            return f"{ahead} is ahead of {behind} {by}, which {verdict.n} seeds do not settle{_outlook_if_so(verdict)}"
        case "inconclusive":
            return f"{both}: no difference{_of_what(verdict)} shown, nor that there is none{_outlook(verdict)}"
        case _:
            return f"{both}: not assessed{_of_what(verdict)}{_remedy(verdict)}"


def speed_headline_of(record: SpeedComparison) -> str:
    """Write what a comparison of times says, without its statistics."""
    first, second = record.names
    if record.disturbance:
        return f"{first} and {second}: times not assessed"
    match record.id:
        case "A_better" | "A_better_practical" | "B_better" | "B_better_practical":
            ratio = known(record.ratio)
            slower, share = (second, ratio - 1) if ratio > 1 else (first, 1 / ratio - 1)
            return f"{slower} takes {fixed(100 * share, decimals=0 if share >= 0.1 else 1)} % longer {record.what}"
        case "equivalent" | "equivalent_nonzero":
            return f"{first} and {second} are equally fast {record.what}, within {margin_words(record)}"
        case "inconclusive":
            return f"{first} and {second}: no difference in time {record.what} shown"
        case _:
            return f"{first} and {second}: times not assessed"


def size_of(verdict: Verdict) -> str:
    """Write how far two arms are apart, to the digits that its interval has: "21 points"."""
    size = abs(known(verdict.mean_difference)) * verdict.scale
    if verdict.ci95 is None:
        number = f"{size:.3g}"
    else:
        low, high = (verdict.scale * bound for bound in verdict.ci95)
        number = format_number(size, decimals=decimals_for((low, high), margin=None))
    return _with_unit(number, verdict)


def _margin(verdict: Verdict) -> str:
    return _with_unit(f"{known(verdict.margin) * verdict.scale:g}", verdict)


def _with_unit(number: str, verdict: Verdict) -> str:
    unit = POINTS.get(verdict.unit, verdict.unit)
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}".strip()


def _metric(verdict: Verdict) -> str:
    return verdict.metric.removeprefix("test ")


def _of_what(verdict: Verdict) -> str:
    """Points are those of the score; another metric is named."""
    return "" if verdict.unit in POINTS else f" in {_metric(verdict)}"


def _same(verdict: Verdict) -> str:
    return "score the same" if verdict.unit in POINTS else f"have the same {_metric(verdict)}"


def _doubt(verdict: Verdict) -> str:
    beyond = verdict.id in ("A_better_practical", "B_better_practical")
    return "" if beyond or verdict.margin is None else f"; whether by more than {_margin(verdict)} is not settled"


def _is_beyond_margin(verdict: Verdict) -> bool:
    """Whether what was seen would matter, were it so; then a reader asks how many seeds show it, not its absence."""
    return verdict.margin is not None and abs(known(verdict.mean_difference)) > verdict.margin


def _outlook_if_so(verdict: Verdict) -> str:
    if not verdict.sd or verdict.pairs_needed is None:
        return ""
    alpha, difference = 1 - verdict.difference_level, known(verdict.mean_difference)
    needed = max(pairs_for_difference(difference=difference, sd=verdict.sd, alpha=alpha), verdict.n + 1)
    many = needed >= MOST_PAIRS
    return f" ({f'more than {MOST_PAIRS:,}' if many else f'about {needed}'} would, if it is that large)"


def _outlook(verdict: Verdict) -> str:
    if verdict.pairs_needed is None or verdict.pairs_needed <= verdict.n:
        return ""
    many = verdict.pairs_needed >= MOST_PAIRS
    how_many = f"more than {MOST_PAIRS:,}" if many else f"about {verdict.pairs_needed}"
    return f" ({how_many} seeds would show that there is none, if so)"


def _remedy(verdict: Verdict) -> str:
    return ": every run failed" if verdict.every_run_failed else f" with {verdict.n} seed(s); add seeds: seed=range(10)"
