"""Tables of a report, their cells written as a person reads them; the raw numbers stand in the CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from experiments import metrics, statistics, words
from experiments.parity.certificate import cells
from experiments.records import CertificateRecord
from experiments.report import formatting
from experiments.report.analysis import SCORES, Analysis
from experiments.report.arms import choice
from experiments.report.predictions import Predictions
from experiments.report.sanitize import without_paths
from experiments.statistics import Verdict
from experiments.statistics.wording import fixed, format_number, p_text, signed
from experiments.task.keys import format_value

TIMES = tuple(name for name in metrics.COSTS if name.startswith("time/") and name != "time/steady_epoch")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Head and rows of text.

    `bold` holds (column, first cell of the row); `numeric` and `code` are columns; `links` lead from cells' texts.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    code: tuple[int, ...] = ()
    bold: frozenset[tuple[int, str]] = frozenset()
    folded: bool = False
    links: Mapping[str, str] = field(default_factory=dict)


def table_of(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Sequence[int] = (0,)) -> Table:
    """A table most of whose columns are numbers.

    Args:
        title: Of the table.
        head: Of the columns.
        rows: Cells as they are read.
        texts: The columns that are not numbers.
    """
    numeric = tuple(column for column in range(len(head)) if column not in texts)
    return Table(title=title, head=tuple(head), rows=tuple(tuple(row) for row in rows), numeric=numeric)


def results(analysis: Analysis) -> Table:
    """A row per arm: mean ± half-width of the 95 % interval; bold only where a verdict supports it."""
    searched = list(dict.fromkeys(each.key for each in analysis.record.tuned_values))
    head = ["arm", "n", "lost", *searched, *(["trials"] if searched else [])]
    columns = dict.fromkeys([*analysis.columns, *SCORES, "time/steady_step", "time/total"])
    shown = [
        metric for metric in columns if metric in analysis.columns or any(arm.scores(metric) for arm in analysis.arms)
    ]
    trials = {each.value: str(each.n_trials) for each in analysis.record.tuned_values}
    rows = [
        [
            arm.name,
            str(len(arm.runs)),
            str(arm.n_lost),
            *(format_value(arm.settings.get(key, "–")) for key in searched),
            *([trials.get(arm.settings.get(searched[0]), "–")] if searched else []),
            *(formatting.interval(arm.interval(metric), metric) for metric in shown),
        ]
        for arm in analysis.arms
    ]
    head += [formatting.head_of(metric) for metric in shown]
    table = table_of("Mean ± half-width of the 95 % t interval over seeds", head, rows)
    score = formatting.head_of(analysis.metric)
    column = head.index(score) if score in head else 0
    better = {pair.score.shows_difference_in_favour_of for pair in analysis.pairs} - {None}
    bold = {(column, arm.name) for arm in analysis.arms if arm.name in better or arm.rest in better}
    return replace(table, bold=frozenset(bold))


def scores(analysis: Analysis) -> Table | None:
    """A row per arm: every score on the test set that some arm has; None where there is but the loss and accuracy."""
    known = [metric for metric in metrics.in_tables() if metric.startswith("test/")]
    shown = [metric for metric in known if any(arm.scores(metric) for arm in analysis.arms)]
    if not set(shown) - set(SCORES):
        return None
    rows = [
        [arm.name, *(formatting.interval(arm.interval(metric), metric) for metric in shown)] for arm in analysis.arms
    ]
    head = ["arm", *map(formatting.head_of, shown)]
    return table_of("All scores on the test set, mean ± half-width of the 95 % t interval (exploratory)", head, rows)


def baselines(analysis: Analysis) -> Table | None:
    """A row per baseline: what scores without a network; None without any."""
    known = [metric for metric in metrics.in_tables() if metric.startswith("test/")]
    shown = [metric for metric in known if any(metric in each.metrics for each in analysis.record.baselines)]
    rows = [
        (each.name, each.origin, "all" if each.n_examples is None else str(each.n_examples))
        + tuple(formatting.score(each.metrics.get(metric), metric) for metric in shown)
        for each in analysis.record.baselines
    ]
    head = ("baseline", "data", "fit on", *map(formatting.head_of, shown))
    return table_of("Without a network, on the same test set (exploratory)", head, rows, texts=(0, 1)) if rows else None


def verdicts(compared: Sequence[Verdict], *, title: str) -> Table:
    """A row per comparison with its interval, margin and p-values."""
    head = ["comparison", "metric", "n", "difference", "interval", "level", "margin", "p, difference", "p, TOST"]
    rows = []
    for each in compared:
        interval = "–"
        if each.ci95 is not None:
            interval = f"[{', '.join(signed(each.scale * bound, decimals=3) for bound in each.ci95)}]"
        center = each.mean_difference
        rows.append(
            [
                f"{each.names[0]} − {each.names[1]}",
                each.metric,
                str(each.n),
                "–" if center is None else f"{signed(each.scale * center, decimals=3)} {each.unit}".strip(),
                interval,
                f"{100 * each.difference_level:.4g} %",
                "–" if each.margin is None else f"±{each.scale * each.margin:g}",
                _p(each.p_difference, each.p_difference_holm),
                _p(each.p_equivalence, each.p_equivalence_holm),
            ]
        )
    return table_of(title, head, rows, texts=(0, 1))


def _p(p: float | None, adjusted: float | None) -> str:
    if p is None:
        return "–"
    return p_text(p) if adjusted is None else f"{p_text(p)} (Holm {p_text(adjusted)})"


def differences(compared: Sequence[Verdict]) -> Table:
    """A row per seed and comparison: what the dots of the figure are."""
    rows = [
        (f"{each.names[0]} − {each.names[1]}", str(seed), signed(each.scale * value, decimals=4))
        for each in compared
        for seed, value in zip(each.seeds, each.differences, strict=True)
    ]
    return table_of("Differences by seed", ("comparison", "seed", f"difference, {compared[0].unit or 'units'}"), rows)


def exploratory(title: str, compared: Sequence[Verdict]) -> Table:
    """Differences beside the claims, each with its own 95 % interval, no verdict words."""
    rows = [
        (
            f"{each.names[0]} − {each.names[1]}",
            str(each.n),
            "–" if each.mean_difference is None else signed(each.scale * each.mean_difference, decimals=3),
            "–" if each.ci95 is None else f"[{', '.join(signed(each.scale * b, decimals=3) for b in each.ci95)}]",
            "–" if each.sd is None else format_number(each.scale * each.sd, decimals=3),
        )
        for each in compared
    ]
    unit = compared[0].unit or "units"
    what = "" if compared[0].metric in title.lower() else f": {compared[0].metric}"
    title = f"{title}{what} (exploratory)"
    return table_of(title, ("difference", "n", f"mean, {unit}", "95 % interval", "sd"), rows)


def curves(analysis: Analysis, metric: str) -> Table:
    """Mean over seeds at each evaluation."""
    epochs = sorted({epoch for arm in analysis.arms for run in arm.runs for epoch, _ in run.curves.get(metric, [])})
    shown = epochs if len(epochs) <= 20 else epochs[:: -(-len(epochs) // 20)]
    rows = []
    for arm in analysis.arms:
        by_epoch = [dict(run.curves[metric]) for run in arm.runs if run.curves.get(metric)]
        cells = []
        for epoch in shown:
            values = [curve[epoch] for curve in by_epoch if epoch in curve]
            cells.append(f"{fixed(sum(values) / len(values), decimals=4)} (n = {len(values)})" if values else "–")
        rows.append((arm.name, *cells))
    return table_of(f"{metric}: mean over the seeds that reached the epoch", ("arm", *map(str, shown)), rows)


def speed(analysis: Analysis) -> Table:
    """Where the seconds of a run go, never merged; and its memory."""
    timed = [name for name in TIMES if any(arm.scores(name) for arm in analysis.arms)]
    rows = [
        [
            arm.name,
            *(_time(arm.interval(name), name) for name in timed),
            formatting.interval(arm.interval(metrics.MEMORY), metrics.MEMORY),
        ]
        for arm in analysis.arms
    ]
    head = ("arm", *(metrics.COSTS[name].title for name in timed), "memory, MiB")
    return table_of("Seconds (mean ± 95 % half-width)", head, rows)


def loops(analysis: Analysis) -> Table:
    """A step of each framework's bare loop beside ours, and the memory of both."""
    rows = []
    for each in analysis.loops:
        memory = [formatting.interval(arm.interval(metrics.MEMORY), metrics.MEMORY) for arm in (each.bare, each.ours)]
        share, times = each.share, ("–",) * 6
        if share is not None:
            ratio = share.comparison.ratio
            times = (
                _seconds(share.bare),
                _seconds(share.ours),
                formatting.bounds(share.share, factor=1e3, decimals=3),
                "–" if ratio is None else fixed(ratio, decimals=3),
                str(share.comparison.n),
                f"{share.warm_up} of {share.n_epochs}",
            )
        rows.append((each.ours.name, *times, *memory))
    head = ["arm", "bare loop, step", "ours, step", "harness' share, ms", "ours / bare", "pairs", "epochs left out"]
    head += ["memory of bare loop, MiB", "ours, MiB"]
    return table_of("Steps beside those of a bare loop (mean; 95 % t interval over process pairs)", head, rows)


def _time(estimate: statistics.Estimate | None, metric: str) -> str:
    return formatting.IMPORTED_BEFORE if formatting.is_imported_before(estimate, metric) else _seconds(estimate)


def _seconds(estimate: statistics.Estimate | None) -> str:
    if estimate is None:
        return "–"
    in_ms = estimate.value < 1
    factor, unit = (1000.0, "ms") if in_ms else (1.0, "s")
    if estimate.low is None or estimate.high is None:
        return f"{factor * estimate.value:.3g} {unit}"
    return f"{factor * estimate.value:.3g} ± {factor * (estimate.high - estimate.low) / 2:.2g} {unit}"


def gaps(analysis: Analysis) -> Table:
    """A row per arm: loss on training examples and on the test set in evaluation mode, and their difference."""
    gained = metrics.metric_of(metrics.ACCURACY)
    rows = [
        (
            each.arm.name,
            formatting.interval(each.train, metrics.TRAINING_LOSS),
            formatting.interval(each.test, metrics.LOSS),
            formatting.interval(each.gap, metrics.LOSS),
            formatting.bounds(each.change) if each.change else "–",
            formatting.bounds(each.gain, factor=gained.factor, decimals=gained.decimals[0]) if each.gain else "–",
            each.against or "–",
        )
        for each in analysis.gaps
    ]
    gain = f"change of {gained.title}, {gained.difference_unit}"
    head = ("arm", "training loss", "test loss", "gap", "change of the gap", gain, "against")
    return table_of("Generalization gap, evaluation mode, same weights; 95 % t intervals", head, rows, texts=(0, 6))


def shares(analysis: Analysis) -> Table:
    """Shares of the variance of all runs."""
    terms = analysis.effects.shares if analysis.effects else ()
    rows = [
        (" × ".join(term.factors) or "seeds and rest", str(term.degrees_of_freedom), f"{100 * term.share:.1f}")
        for term in terms
    ]
    return table_of("Shares of the variance (type II sums of squares)", ("source", "df", "share, %"), rows)


def main_effects(analysis: Analysis) -> Table:
    """Effect of each level of each factor."""
    main = (analysis.effects.main if analysis.effects else None) or {}
    known = metrics.metric_of(analysis.metric)
    rows = [
        (choice(key, level), key, signed(known.factor * effect, decimals=3))
        for key, levels in main.items()
        for level, effect in levels.items()
    ]
    head = ("level", "factor", f"effect, {known.difference_unit or 'units'}")
    return table_of("Main effects; those of a factor add up to 0", head, rows, texts=(0, 1))


def confusion(predictions: Predictions) -> Table:
    """Mean counts of both arms, as "first / second"."""
    rows = [
        (name, *(f"{left:.4g} / {right:.4g}" for left, right in zip(*pair, strict=True)))
        for name, *pair in zip(predictions.class_names, *predictions.confusion, strict=True)
    ]
    title = f"Rows: true class; columns: answer; mean count over seeds, {predictions.names[0]} / {predictions.names[1]}"
    return table_of(title, ("true class", *predictions.class_names), rows)


def mistakes(predictions: Predictions) -> Table:
    """The worst mistakes."""
    rows = [
        (
            str(each.index),
            each.kind,
            each.label,
            *(f"{answer} ({chance:.2f})" for answer, chance in zip(each.answers, each.probabilities, strict=True)),
            fixed(each.loss, decimals=2),
        )
        for each in predictions.mistakes
    ]
    head = ("test example", "kind", "label", *predictions.names, "mean loss")
    return table_of("Worst mistakes: answer (its probability)", head, rows, texts=(1, 2, 3, 4))


def certificate(each: CertificateRecord) -> Table:
    """The levels of a certificate."""
    head = ("level", "precision", "what is compared", "measured", "bound", "result")
    return table_of(f"{' and '.join(each.frameworks)}, {each.arm}", head, map(cells, each.rows), texts=(0, 1, 2, 5))


def ledger(analysis: Analysis) -> Table:
    """Every run, with the command that trains it alone."""
    rows, known = [], metrics.metric_of(analysis.metric)
    for run in analysis.record.runs:
        score = run.metrics.get(analysis.metric)
        rows.append(
            (
                run.name,
                run.outcome + (f": {run.reason}" if run.reason else ""),
                "–" if score is None else fixed(known.factor * score, decimals=known.decimals[0]),
                f"{run.metrics['time/total']:.1f}" if "time/total" in run.metrics else "–",
                run.fingerprint,
                run.run_id,
                command(run.overrides),
            )
        )
    head = ("run", "outcome", known.head, "total, s", "fingerprint", "MLflow run", "command that trains it alone")
    table = table_of("Every run", head, rows, texts=(0, 1, 4, 5, 6))
    return replace(table, code=(4, 5, 6))


def command(overrides: Sequence[str]) -> str:
    """What a person types to train one run, … for the folders of this machine; "–" where it is not known."""
    return without_paths(words.command(overrides)) or "–"


def environment(analysis: Analysis) -> Table:
    """Facts on which all runs agree, or all values."""
    return Table(title="Environment", head=("what", "value"), rows=tuple(analysis.facts.items()))
