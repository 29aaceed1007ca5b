"""The sections of a report in their order: which figures, tables and texts it holds, made once for page and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from matplotlib.figure import Figure

from experiments import metrics
from experiments.report import answers, formatting, ladder_section, methods, settings, tables
from experiments.report.analysis import Analysis
from experiments.report.figures import confusion, curves, effects, paired, speed
from experiments.report.figures.style import NO_COLOURS, Colours, colours_of
from experiments.report.predictions import RULE, Predictions
from experiments.report.section import Drawn, Section
from experiments.report.studies import sensitivity
from experiments.report.studies import tables as study_tables
from experiments.report.studies.sections import sections_of_studies
from experiments.report.tables import Table

MANY_STUDIES = 4  # with more, the figures of each would bury the rest: a table holds them
CURVES = ("val/loss", "val/accuracy", "train/loss")


@dataclass(kw_only=True)
class _Builder:
    colours: Colours
    links: Mapping[str, str]
    sections: list[Section] = field(default_factory=list)

    def add(self, name: str, title: str, **content: Sequence[object]) -> None:
        """A section, unless it is empty."""
        if any(content.get(part) for part in ("texts", "figures", "tables", "commands")):
            self.sections.append(Section(name=name, title=title, **content))  # type: ignore[arg-type]


def sections_of(
    analysis: Analysis, *, colours: Colours = NO_COLOURS, links: Mapping[str, str] = MappingProxyType({})
) -> list[Section]:
    """Every section that has something to say; see `files.write`."""
    record = analysis.record
    drawn = [*(run.framework for run in (*record.runs, *record.trials)), *(study.framework for study in record.studies)]
    builder = _Builder(colours=colours_of(drawn, colours), links=links)
    steps: list[Callable[[_Builder, Analysis], None]] = [
        _settings, _defaults, _differences, _results, _search, _curves, _effects, _gaps, _speed, _predictions, _parity,
        _runs,
    ]  # fmt: skip
    for step in steps:
        step(builder, analysis)
    return builder.sections


def _drawn(
    name: str,
    figure: Figure | None,
    *,
    title: str,
    caption: str,
    how: str = "",
    table: Table | None = None,
    description: str = "",
    folded: bool = False,
    marks: Sequence[Sequence[str]] = (),
) -> list[Drawn]:
    if figure is None:
        return []
    return [
        Drawn(
            name=name,
            title=title,
            caption=caption,
            figure=figure,
            how_to_read=how,
            table=table,
            description=description,
            folded=folded,
            marks=marks,
        )
    ]


def _settings(builder: _Builder, analysis: Analysis) -> None:
    if not analysis.arms:
        return
    commands = settings.commands(analysis)
    elided = any("…/" in command for _, command in commands)
    builder.add(
        "settings",
        "Settings",
        tables=[settings.of_arms(analysis), settings.every(analysis)],
        commands=commands,
        notes=["…/ stands for a folder of the machine that the command was typed on."] if elided else [],
    )


def _defaults(builder: _Builder, analysis: Analysis) -> None:
    if made := ladder_section.section(analysis.ladders):
        builder.sections.append(made)


def _differences(builder: _Builder, analysis: Analysis) -> None:
    shown = [pair.score for pair in analysis.pairs if pair.score.n]
    if not shown:
        return
    what = shown[0].metric
    said = [analysis.headline, *(claim.headline for claim in answers.claims_of(analysis))]
    title = shown[0].sentence if len(shown) == 1 else next(filter(None, said), f"Paired differences in {what}")
    builder.add(
        "paired",
        "Paired differences",
        figures=_drawn(
            "paired-differences",
            paired.paired_differences(shown, title=f"Paired differences in {what}"),
            title=title,
            caption=f"Differences in {what}. A dot per seed; diamond: mean; thick bar: interval that decides on "
            "equivalence, thin bar: on a difference; shaded: the margin within which a difference does not matter. "
            "Right of zero: the first arm is better.",
            how="The dots are differences between two runs that began with the same weights and saw the same batches. "
            "Thin bar away from zero: a difference. Thick bar inside the shaded band: equivalent. Neither: not "
            "settled.",
            table=tables.differences(shown),
            marks=paired.marks_of(shown),
            description=" ".join(f"{each.names[0]} minus {each.names[1]}: {each.sentence}" for each in shown[:10]),
        ),
        tables=[tables.verdicts(shown, title="The claims in numbers")],
    )


def _results(builder: _Builder, analysis: Analysis) -> None:
    secondary = [tables.exploratory(title, verdicts) for title, verdicts in analysis.exploratory.items()]
    note = f"Bold: a verdict supports it. {formatting.MEMORY_NOTE}. Means are over finished runs."
    content = [tables.results(analysis)] if analysis.arms else []
    everything = tables.scores(analysis)
    content += [each for each in (everything, tables.baselines(analysis)) if each is not None]
    builder.add("results", "Results", tables=[*content, *secondary], notes=[note])


def _search(builder: _Builder, analysis: Analysis) -> None:
    record = analysis.record
    if not record.tuned_values:
        return
    key = record.tuned_values[0].key
    drawn = []
    is_minimized = all(study.objectives[0][1] == "minimize" for study in record.studies)
    if is_minimized and len({choice.key for choice in record.tuned_values}) == 1:
        margin = record.margins.get("loss") if record.tuned_values[0].metric == "val/loss" else None
        edges = sum(choice.at_edge for choice in record.tuned_values)
        drawn = _drawn(
            "search-sensitivity",
            sensitivity.search_sensitivity(record.trials, record.tuned_values, margin=margin, colours=builder.colours),
            title=f"{len(record.tuned_values)} searches over {key}; "
            + (f"{edges} end at the edge of the space" if edges else "no choice lies at the edge of the space"),
            caption="A dot per trial; cross at the upper edge: diverged or failed; triangle: beyond the axis; line: "
            "the best trial at each value; shaded: values whose mean lies within the margin of the best; vertical: "
            "chosen.",
            how="A wide shaded range: the value hardly matters. A choice at the edge may not be the best there is.",
            table=study_tables.search_trials(analysis),
        )
    if len(record.studies) <= MANY_STUDIES:
        drawn = [*drawn, *sections_of_studies(record.studies, builder.colours)]
    builder.add(
        "search",
        "Search",
        figures=drawn,
        tables=[
            study_tables.tuned_values(analysis),
            *([study_tables.studies_table(record.studies)] if record.studies else []),
        ],
        notes=[
            "The scores of trials chose the settings; they are not results, and the best of many looks better than it "
            "is: the optimism is by how much, against the mean on the report's seeds."
        ],
    )


def _curves(builder: _Builder, analysis: Analysis) -> None:
    drawn: list[Drawn] = []
    for metric in CURVES:
        if not any(run.curves.get(metric) for arm in analysis.arms for run in arm.runs):
            continue
        title = metrics.metric_of(metric).title.capitalize()
        drawn += _drawn(
            metric.replace("/", "-"),
            curves.learning_curves(analysis.arms, metric, title=title, unit=title.lower(), colours=builder.colours),
            title=title,
            caption="Left: against optimizer steps; right: against seconds of training, evaluation left out. Thin "
            "lines: seeds; thick line: mean over all seeds, evaluations marked; band: pointwise 95 % t interval "
            "(from 3 seeds on); filled square: a run that stopped early. No smoothing."
            + (" Logged while training: dropout active, weights moving." if metric == "train/loss" else ""),
            how="Curves that lie on each other to the left but not to the right learn the same in different time.",
            table=tables.curves(analysis, metric),
            folded=bool(drawn) and len(analysis.arms) > curves.SERIES,
        )
    builder.add("curves", "Learning curves", figures=drawn)


def _effects(builder: _Builder, analysis: Analysis) -> None:
    analysed = analysis.effects
    if analysed is None:
        return
    largest = max(analysed.shares[:-1], key=lambda term: term.share)
    title = f"{' × '.join(largest.factors)} explains {100 * largest.share:.0f} % of the variance, more than any other"
    confused = [] if analysed.main else ["Main effects are not shown: two factors cannot be told apart in this grid."]
    shown = [tables.main_effects(analysis)] if analysed.main else []
    builder.add(
        "effects",
        "What matters",
        figures=_drawn(
            "effects",
            effects.effects(analysed, colours=builder.colours),
            title=title,
            caption=f"Upright bars: effect of each level on {formatting.in_words(analysed.metric)}, others held equal; "
            "horizontal bars: shares of the variance of all runs, by factor and by pair of factors (interaction). "
            "Exploratory.",
            how="An interaction says that the effect of one factor depends on the other.",
            table=tables.shares(analysis),
        ),
        tables=shown,
        notes=confused,
    )


def _gaps(builder: _Builder, analysis: Analysis) -> None:
    if not analysis.gaps:
        return
    sentences = [each.sentence for each in analysis.gaps if each.sentence] if analysis.factor != "framework" else []
    drawn = []
    if analysis.dose is not None:
        leaf = analysis.dose.factor.rpartition(".")[2]
        drawn += _drawn(
            "dose-response",
            effects.dose_response(analysis.dose, analysis.gaps, metric=analysis.metric, colours=builder.colours),
            title=analysis.dose.sentences[0] if analysis.dose.sentences else f"Response to {leaf}",
            caption=f"Test score, training loss, test loss and gap against {leaf}, at a fixed learning rate; bands: "
            "95 % t intervals. Losses in evaluation mode on the weights of the end.",
            how="A gap that narrows because training got worse is no gain: look at all panels.",
            table=tables.gaps(analysis),
        )
    else:
        drawn += _drawn(
            "gaps",
            effects.gaps(analysis.gaps, factor=analysis.factor, colours=builder.colours),
            title="Loss on training examples, on the test set, and the gap between them",
            caption="Evaluation mode, the weights of the end; bars: 95 % t intervals.",
            how="A gap that narrows because training got worse is no gain: look at all three.",
            table=tables.gaps(analysis),
        )
    extra = list(analysis.dose.sentences) if analysis.dose else []
    builder.add("gap", "Generalization gap", texts=[*extra, *sentences], figures=drawn)


def _speed(builder: _Builder, analysis: Analysis) -> None:
    compared = [pair for pair in analysis.pairs if pair.speed is not None]
    texts = [each.sentence for each in analysis.loops]
    disturbed = [pair.speed.sentence for pair in compared if pair.speed is not None and pair.speed.disturbance]
    texts += list(dict.fromkeys(disturbed))
    texts += [
        f"{pair.title}: {pair.speed.sentence}"
        for pair in compared
        if pair.speed is not None and not pair.speed.disturbance
    ]
    texts += [
        formatting.memory(pair.memory, (pair.first.name, pair.second.name))
        for pair in compared
        if pair.memory is not None
    ]
    texts += [f"Bare loops alone (exploratory): {each.sentence}" for each in analysis.bare_speeds]
    if not analysis.loops and not any(arm.scores("time/total") for arm in analysis.arms):
        return
    builder.add(
        "speed",
        "Time and memory",
        texts=texts,
        tables=[tables.loops(analysis)] if analysis.loops else [],
        notes=_notes_on_loops(analysis),
        figures=_drawn(
            "speed",
            speed.speed(analysis.pairs, analysis.arms, colours=builder.colours),
            title="Where the seconds go",
            caption="Each part on its own, from zero; bars: mean, whiskers: 95 % t interval over seeds (processes). "
            "The first step holds compilation; the steady step is the median of the others.",
            table=tables.speed(analysis),
        ),
    )


def _notes_on_loops(analysis: Analysis) -> list[str]:
    words = {f"{each.ours.framework}: {each.bare_loop}" for each in analysis.loops if each.bare_loop}
    if not words:
        return []
    return [
        "A bare loop has the same network, initial weights, loss, optimizer, batch size and threads, and nothing of "
        f"the harness between its steps ({'; '.join(sorted(words))}). It keeps no losses of batches and its examples "
        "are not audited, so that its scores are in no comparison. A step is an epoch's time over its steps, "
        "evaluation left out; the first epochs, which warm up, are left out of both loops alike (MSER, White 1997)."
    ]


def _predictions(builder: _Builder, analysis: Analysis) -> None:
    predicted = analysis.predictions
    if predicted is None:
        return
    agreed = predicted.agreement
    texts = [
        f"On {predicted.n_examples:,} test examples, models of seed {predicted.seed}: the same answer on "
        f"{100 * agreed.same_answer.value:.2f} % (95 % Wilson interval {100 * (agreed.same_answer.low or 0):.2f} to "
        f"{100 * (agreed.same_answer.high or 0):.2f}); only {predicted.names[0]} right on {agreed.n_only_first_right}, "
        f"only {predicted.names[1]} on {agreed.n_only_second_right} (McNemar, exact: p = {agreed.p_mcnemar:.2g})."
    ]
    if predicted.new_data is not None:
        texts.append(f"On new data from the same source: {predicted.new_data.sentence}")
    drawn = _drawn(
        "confusion",
        confusion.confusion(predicted),
        title=f"Confusion of {predicted.names[0]} and {predicted.names[1]}",
        caption=f"Mean counts over {predicted.n_seeds} seeds; rows: true class; one colour scale for both; below: "
        "first minus second, symmetric about 0.",
        table=tables.confusion(predicted),
    )
    drawn += _drawn(
        "mistakes",
        confusion.pictures(predicted),
        title="Worst mistakes" + _counts(predicted),
        caption=f"{RULE} Below each: its label, then each arm's answer and the probability it gave it.",
        table=tables.mistakes(predicted),
    )
    has_pictures = any(each.name == "mistakes" for each in drawn)
    content = [] if has_pictures or not predicted.mistakes else [tables.mistakes(predicted)]
    builder.add("answers", "Answers", texts=texts, figures=drawn, tables=content)


def _counts(predicted: Predictions) -> str:
    kinds = list(dict.fromkeys(each.kind for each in predicted.mistakes))
    return f" ({', '.join(kinds)})" if kinds else ": none"


def _parity(builder: _Builder, analysis: Analysis) -> None:
    shown = [tables.certificate(each) for each in analysis.record.certificates if each.rows]
    note = "float64 rows and C6 are the gate; float32 rows inform: a network with ReLU or max-pooling is chaotic there."
    builder.add("parity", "Certificate", tables=shown, notes=[note])


def _runs(builder: _Builder, analysis: Analysis) -> None:
    builder.add("methods", "Methods", texts=[methods.paragraph(analysis)], tables=[tables.environment(analysis)])
    if analysis.record.runs:
        ledger = replace(tables.ledger(analysis), links=builder.links)
        note = "A run's identifier leads to its page in MLflow, there while `mlflow ui` or the server runs."
        builder.add("runs", "Runs", tables=[ledger], notes=[note] if builder.links else [])
