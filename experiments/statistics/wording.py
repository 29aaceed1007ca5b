"""The sentences. Every verdict that a report prints is written here, and nowhere by hand."""

from __future__ import annotations

import math
from typing import TypeVar

from experiments.statistics.intervals import MINIMUM_RUNS
from experiments.statistics.outcome import Interval, Verdict
from experiments.statistics.power import MOST_PAIRS

MINUS = "\N{MINUS SIGN}"
_LONGEST = 1e12
_T = TypeVar("_T")


def sentence_of(verdict: Verdict) -> str:
    """Write the verdict: failures first, then metric and scope, then what was shown."""
    metric = verdict.metric.removeprefix("test ")  # the scope says so
    return f"{_failures(verdict)}{metric} {verdict.scope}: {_statement(verdict)}"


def details_of(verdict: Verdict) -> str:
    """Write what stands beside every verdict: n, unit, margin, failures, correction, pairing, sign."""
    margin = "none declared" if verdict.margin is None else f"±{_with_unit(verdict.margin, verdict)}"
    parts = [
        f"n = {verdict.n} paired seeds",
        f"unit: {verdict.unit or 'that of the metric'}",
        f"margin: {margin}",
        f"{verdict.n_failed}/{verdict.n_runs} runs failed",
        f"{verdict.n_unpaired} run{'' if verdict.n_unpaired == 1 else 's'} without a partner",
        _correction(verdict),
        _pairing(verdict),
        f"scope: {verdict.scope}",
        f"positive = {verdict.names[0]} better",
    ]
    if verdict.sd is not None and verdict.ci95 is not None:
        parts.insert(1, f"sd of the differences {_number(verdict.sd, verdict, decimals=_decimals(verdict) + 1)}")
    return "; ".join(parts)


def fixed(value: float, *, decimals: int) -> str:
    """Write a number with so many decimals; one of more than twelve digits as a power of ten: 1.23e+30."""
    return f"{value:.{decimals}f}" if abs(value) < _LONGEST else f"{value:.3g}"


def signed(value: float, *, decimals: int) -> str:
    """Write a number with its sign and a true minus; what rounds to zero has no sign."""
    text = fixed(abs(value), decimals=decimals)
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+") + text


def format_number(value: float, *, decimals: int) -> str:
    """Write a number with a true minus where it is negative."""
    return signed(value, decimals=decimals).removeprefix("+")


def p_text(p: float) -> str:
    """Write a p-value: one digit where it is small, two where it is near the level."""
    return f"{p:.1g}" if p < 0.01 else f"{p:.2g}"


def percent(level: float) -> str:
    """Write a level: 0.95 as '95 %', 1 - .05/3 as '98.33 %'."""
    return f"{100 * level:.4g} %"


def planned(n: int) -> str:
    """Write how many pairs the plan has."""
    return "1 is planned" if n == 1 else f"{n} are planned"


def decimals_for(bounds: Interval, *, margin: float | None) -> int:
    """Decimals that show the half-width and the margin, and never round a bound onto the mark that it clears."""
    half_width = (bounds[1] - bounds[0]) / 2
    needed = math.ceil(-math.log10(half_width / 2)) if half_width > 0 else 2
    if margin is not None:
        needed = max(needed, math.floor(-math.log10(margin)) + 2)
    lowest = max(0, min(needed, 12))
    for decimals in range(lowest, lowest + 4):
        if all(round(bound, decimals) != round(mark, decimals) for bound, mark in _cleared(bounds, margin=margin)):
            return decimals
    return lowest + 4


def known(value: _T | None) -> _T:
    """Return a figure that a verdict with an interval must hold.

    Raises:
        ValueError: If it is None.
    """
    if value is None:
        raise ValueError("a verdict with an interval must hold all its figures, but got None")
    return value


def _statement(verdict: Verdict) -> str:
    writers = {
        "not_assessed": _not_assessed,
        "A_better_practical": _better,
        "B_better_practical": _better,
        "A_better": _better,
        "B_better": _better,
        "equivalent": _equivalent,
        "equivalent_nonzero": _equivalent_nonzero,
        "inconclusive": _inconclusive,
        "identical": _identical,
        "constant_difference": _constant_difference,
    }
    return writers[verdict.id](verdict)


def _not_assessed(verdict: Verdict) -> str:
    if verdict.every_run_failed:
        return "Not assessed: every run failed."
    pairs = "1 paired run" if verdict.n == 1 else f"{verdict.n} paired runs"
    return f"Not assessed: {pairs}; at least {MINIMUM_RUNS} are needed for any interval, {planned(verdict.n_planned)}."


def _better(verdict: Verdict) -> str:
    name = verdict.shows_difference_in_favour_of
    low, high = known(verdict.ci95)
    if name == verdict.names[1]:
        low, high = -high, -low
    decimals, size = _decimals(verdict), abs(known(verdict.mean_difference))
    better = f"{name} is better by {_with_unit(size, verdict, decimals)} {_bounds((low, high), verdict)}"
    return f"{better} ({_band(verdict)}, {_sample(verdict)}); {_size_against_margin(verdict)}"


def _size_against_margin(verdict: Verdict) -> str:
    if verdict.margin is None:
        return "no margin was declared, so its practical size is not judged."
    margin = _with_unit(verdict.margin, verdict)
    if verdict.id in ("A_better_practical", "B_better_practical"):
        return f"the whole interval exceeds the {margin} margin."
    return f"whether by more than the {margin} margin is not settled."


def _equivalent(verdict: Verdict) -> str:
    low, high = known(verdict.ci90)
    decimals = decimals_for(_shown((low, high), verdict), margin=_shown_margin(verdict))
    band = ", ".join(signed(verdict.scale * bound, decimals=decimals) for bound in (low, high))
    difference = signed(verdict.scale * known(verdict.mean_difference), decimals=decimals)
    return (
        f"Equivalent within ±{_with_unit(known(verdict.margin), verdict)} "
        f"(TOST p = {p_text(known(verdict.p_equivalence))}); difference {difference}{_unit(verdict)} "
        f"[{percent(verdict.equivalence_level)} CI {band}]."
    )


def _equivalent_nonzero(verdict: Verdict) -> str:
    size = _with_unit(abs(known(verdict.mean_difference)), verdict, _decimals(verdict))
    return (
        f"Equivalent within ±{_with_unit(known(verdict.margin), verdict)}; "
        f"a difference of {size} was detected but is smaller than the margin."
    )


def _inconclusive(verdict: Verdict) -> str:
    low, high = known(verdict.ci95)
    decimals = _decimals(verdict)
    band = ", ".join(signed(verdict.scale * bound, decimals=decimals) for bound in (low, high))
    difference = signed(verdict.scale * known(verdict.mean_difference), decimals=decimals)
    shown = f"{difference}{_unit(verdict)} [{_band(verdict)} {band}]; n = {verdict.n}."
    if verdict.margin is None:
        return f"Neither a difference nor equivalence is shown: {shown} No margin was declared for equivalence."
    return f"No difference shown, and equivalence not shown either: {shown} {_outlook(verdict)}"


def _outlook(verdict: Verdict) -> str:
    if verdict.pairs_needed is None:
        return "The examples of the test set limit this as well as the seeds."
    if verdict.pairs_needed > verdict.n:
        how_many = f"About {verdict.pairs_needed}" if verdict.pairs_needed < MOST_PAIRS else f"More than {MOST_PAIRS:,}"
        return f"{how_many} pairs would be needed to show equivalence at this spread if there is truly no difference."
    return (
        f"About {verdict.pairs_needed} pairs mostly show equivalence at this spread if there is truly no difference, "
        "so a true difference remains plausible."
    )


def _identical(verdict: Verdict) -> str:
    apart = verdict.scale * max(map(abs, verdict.differences))
    if apart == 0:
        return f"Identical on all {verdict.n} seeds."
    return f"Identical to rounding on all {verdict.n} seeds (at most {apart:.1g}{_unit(verdict)} apart)."


def _constant_difference(verdict: Verdict) -> str:
    constant = known(verdict.mean_difference) * verdict.scale
    return (
        f"{verdict.names[0] if constant > 0 else verdict.names[1]} is better by exactly {abs(constant):.6g}"
        f"{_unit(verdict)} on all {verdict.n} seeds; a constant difference gets no p-value: check determinism."
    )


def _failures(verdict: Verdict) -> str:
    parts = []
    if verdict.n_failed and verdict.failure_score is None:
        parts.append(f"{verdict.n_failed}/{verdict.n_runs} runs failed, so this is conditional on success")
    elif verdict.n_failed:
        parts.append(f"{verdict.n_failed}/{verdict.n_runs} runs failed and are scored at chance level")
    if verdict.n_unpaired:
        runs = "1 run has" if verdict.n_unpaired == 1 else f"{verdict.n_unpaired} runs have"
        parts.append(f"{runs} no partner of the same seed")
    return "; ".join(parts) + "; " if parts else ""


def _correction(verdict: Verdict) -> str:
    claims = "1 claim, no correction" if verdict.n_claims == 1 else f"simultaneous over {verdict.n_claims} claims"
    return claims if verdict.n_looks == 1 else f"{claims}, alpha divided by {verdict.n_looks} looks"


def _pairing(verdict: Verdict) -> str:
    if verdict.correlation is None:
        return "pairing r not defined"
    brought_nothing = ", pairing brought nothing" if verdict.correlation < 0.1 else ""
    return f"pairing r = {format_number(verdict.correlation, decimals=2)}{brought_nothing}"


def _band(verdict: Verdict) -> str:
    simultaneous = "" if verdict.n_claims == 1 else f", simultaneous over {verdict.n_claims} claims"
    return f"{percent(verdict.difference_level)} CI{simultaneous}"


def _sample(verdict: Verdict) -> str:
    seeds = f"{verdict.n} paired seeds"
    return seeds if verdict.n_examples is None else f"{seeds} x {verdict.n_examples} examples"


def _bounds(bounds: Interval, verdict: Verdict) -> str:
    low, high = (format_number(verdict.scale * bound, decimals=_decimals(verdict)) for bound in bounds)
    return f"[{low}, {high}]"


def _decimals(verdict: Verdict) -> int:
    return decimals_for(_shown(known(verdict.ci95), verdict), margin=_shown_margin(verdict))


def _shown(bounds: Interval, verdict: Verdict) -> Interval:
    return bounds[0] * verdict.scale, bounds[1] * verdict.scale


def _shown_margin(verdict: Verdict) -> float | None:
    return None if verdict.margin is None else verdict.margin * verdict.scale


def _number(value: float, verdict: Verdict, *, decimals: int | None) -> str:
    shown = value * verdict.scale
    return f"{shown:.6g}" if decimals is None else format_number(shown, decimals=decimals)


def _with_unit(value: float, verdict: Verdict, decimals: int | None = None) -> str:
    return _number(value, verdict, decimals=decimals) + _unit(verdict)


def _unit(verdict: Verdict) -> str:
    return f" {verdict.unit}" if verdict.unit else ""


def _cleared(bounds: Interval, *, margin: float | None) -> list[tuple[float, float]]:
    """Each bound that decides something, with the mark (0 or a margin) on whose far side it lies."""
    low, high = bounds
    cleared = [(low, 0.0)] if low > 0 else [(high, 0.0)] if high < 0 else []
    if margin is None:
        return cleared
    if low > margin or high < -margin:
        return [*cleared, (low, margin) if low > margin else (high, -margin)]
    return [*cleared, (low, -margin), (high, margin)] if -margin < low and high < margin else cleared
