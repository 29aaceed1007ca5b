"""The page, one file that needs no network, and the note that MLflow shows beside the sweep."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from experiments.report import formatting, methods, tables
from experiments.report.analysis import VERDICT_WORDS, Analysis
from experiments.report.loops import LOOP, LoopPair
from experiments.report.pairs import MOST_WITH_LOSSES, Pair
from experiments.report.sanitize import clean, markdown
from experiments.report.section import Section
from experiments.report.studies.facts import total_seconds
from experiments.statistics import details_of

TEMPLATES = Path(__file__).parent
ICONS = {
    "difference": "▲",
    "equivalent": "≡",
    "identical": "=",
    "inconclusive": "?",
    "not assessed": "–",
    "check determinism": "!",
}
QUESTIONS = {
    "framework": "does the framework change the result?",
    LOOP: "what does the harness cost?",
    "seed": "does a framework differ from itself?",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the verdict box, with its word and the sign of that word."""

    word: str
    text: str

    @property
    def icon(self) -> str:
        """A sign beside the word, for who skims."""
        return ICONS[self.word]


def claims_of(analysis: Analysis) -> list[Claim]:
    """What page one says: what the harness costs where bare loops were timed, then all claims.

    With few pairs also losses and times, and what beats a reference forecast.
    """
    claims = [_of_loops(each) for each in analysis.loops]
    for pair in analysis.pairs:
        claims.append(Claim(word=VERDICT_WORDS[pair.score.id], text=f"{pair.title}: {pair.score.sentence}"))
        if len(analysis.pairs) <= MOST_WITH_LOSSES:
            claims += _secondary(pair, is_only=len(analysis.pairs) == 1)
    if analysis.skills and not claims:  # a skill is no comparison of arms
        claims.append(Claim(word="not assessed", text=_nothing(analysis)))
    return claims + [Claim(word=word, text=text) for word, text in analysis.skills]


def _of_loops(pair: LoopPair) -> Claim:
    outcome = "not_assessed" if pair.share is None else pair.share.comparison.id
    return Claim(word=VERDICT_WORDS[outcome], text=pair.sentence)


def _secondary(pair: Pair, *, is_only: bool) -> list[Claim]:
    claims = []
    if pair.loss is not None:
        claims.append(Claim(word=VERDICT_WORDS[pair.loss.id], text=f"{pair.title}: {pair.loss.sentence}"))
    if pair.speed is not None and (is_only or not pair.speed.disturbance):  # of several, a disturbed one says nothing
        claims.append(Claim(word=VERDICT_WORDS[pair.speed.id], text=f"{pair.title}: {pair.speed.sentence}"))
    return claims


def stamps_of(analysis: Analysis) -> list[str]:
    """What must be read before the verdicts."""
    stamps = []
    if analysis.control == "invalid":
        stamps.append("INVALID: a framework was found to differ from itself, twice; no verdict of this pipeline holds")
    if analysis.control == "repeat":
        stamps.append("the control found a framework to differ from itself, once: repeat it on new seeds")
    stamps += analysis.warnings
    certificates = analysis.record.certificates
    missing = [each for each in certificates if not each.rows]
    if len(missing) > 1:
        stamps.append(
            f"Not certified: nobody has run `action=parity` on {len(missing)} of the {len(certificates)} tasks of this "
            "sweep yet."
        )
    stamps += [each.sentence for each in certificates if not each.passed and (each.rows or len(missing) == 1)]
    return list(dict.fromkeys(stamps))


def html(analysis: Analysis, sections: Sequence[Section], *, model: Mapping[str, Any]) -> str:
    """The page, figures and all; `model` is the report as data."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        analysis=analysis,
        record=analysis.record,
        question=question(analysis),
        claims=claims_of(analysis),
        nothing=_nothing(analysis),
        stamps=stamps_of(analysis),
        details=[f"{pair.title}: {details_of(pair.score)}" for pair in analysis.pairs],
        facts=_facts(analysis),
        sections=sections,
        data=htmlsafe_json_dumps(model, dumps=json.dumps, sort_keys=True),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def question(analysis: Analysis) -> str:
    """What the report answers."""
    if analysis.record.comparison["factor"] == LOOP:
        return QUESTIONS[LOOP]
    leaf = analysis.factor.rpartition(".")[2].replace("_", " ")
    return QUESTIONS.get(analysis.factor, f"does the {leaf} change the result?")


def _nothing(analysis: Analysis) -> str:
    count = len(analysis.arms)
    if not any(arm.finished for arm in analysis.arms):
        return f"Nothing to compare: {count} arm{'' if count == 1 else 's'}, and no run has come to its end."
    return f"Nothing to compare: {count} arm{'' if count == 1 else 's'}."


def _facts(analysis: Analysis) -> dict[str, str]:
    """n, seeds, budget and hardware in a few lines."""
    record, facts = analysis.record, analysis.facts
    seeds = sorted({run.seed for run in record.runs})
    shown = ", ".join(map(str, seeds)) if len(seeds) <= 12 else f"{seeds[0]} to {seeds[-1]}"
    seconds = sum(run.metrics.get("time/total", 0.0) for run in record.runs)
    seconds += total_seconds(trial for study in record.studies for trial in study.trials)
    trials = f" after {len(record.trials)} trials of a search" if record.trials else ""
    return {
        "runs": f"{len(record.runs)} of {record.n_planned}{trials}; {len(seeds)} seeds ({shown or 'none'})",
        "time": f"{seconds:.0f} s of training in all",
        "data": facts.get("data", "–"),
        "machine": f"{facts.get('cpu', '–')}, {facts.get('device', '–')}, {facts.get('threads', '–')} thread(s) a run",
        "control": f"a framework against itself: {analysis.control or 'not run (comparison=control)'}",
    }


def note(analysis: Analysis) -> str:
    """The report's first page in Markdown."""
    record = analysis.record
    columns = analysis.columns
    head = ["arm", "n", *(formatting.head_of(metric) for metric in columns)]
    rows = [
        [markdown(arm.name), str(len(arm.runs)), *(formatting.interval(arm.interval(each), each) for each in columns)]
        for arm in analysis.arms
    ]
    claims = claims_of(analysis)
    lines = [f"**{markdown(analysis.headline)}**\n"] if analysis.headline else []
    lines += [f"**{claim.icon} {claim.word}** · {markdown(claim.text)}\n" for claim in claims]
    lines += [] if claims else [f"{_nothing(analysis)}\n"]
    lines += [f"{markdown(each.sentence)}\n" for each in record.certificates if each.passed]
    lines += [f"⚠ {markdown(stamp)}\n" for stamp in stamps_of(analysis)]
    scores = tables.scores(analysis)
    further = []
    if scores is not None:
        cells = [[markdown(name), *values] for name, *values in scores.rows]
        further = ["", scores.title, "", *_table(scores.head, cells)]
    return "\n".join(
        [markdown(record.description), "", *lines, *_table(head, rows), "",
         formatting.footnote(columns).replace("*", "\\*"), "",
         f"Made by `{markdown(record.command)}`; the whole report is the artifact `report/report.html`.", "",
         markdown(methods.paragraph(analysis), 6000), *further]
    )  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table's lines in Markdown; cells are texts of ours, or were made harmless."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
