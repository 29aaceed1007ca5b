"""The page, one file that needs no network, and the note that MLflow shows beside the sweep."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from experiments.records import CertificateRecord
from experiments.report import formatting, methods, tables
from experiments.report.analysis import Analysis
from experiments.report.answers import best_of, claims_of, nothing, question
from experiments.report.sanitize import clean, markdown
from experiments.report.section import Section
from experiments.report.studies.facts import total_seconds
from experiments.statistics import details_of
from experiments.words import count, of_all

TEMPLATES = Path(__file__).parent


def stamps_of(analysis: Analysis) -> list[str]:
    """What must be read before the verdicts."""
    stamps = []
    if analysis.control == "invalid":
        stamps.append("INVALID: a framework was found to differ from itself, twice; no verdict of this pipeline holds")
    if analysis.control == "repeat":
        stamps.append("the control found a framework to differ from itself, once: repeat it on new seeds")
    stamps += analysis.warnings
    certificates = [each for each in analysis.record.certificates if not each.is_as_shipped]
    shipped = [each for each in analysis.record.certificates if each.is_as_shipped]
    missing = [each for each in certificates if not each.rows]
    if len(missing) > 1:
        of = "tasks of this sweep"
        if len({each.frameworks for each in certificates}) > 1:
            named = "; ".join(dict.fromkeys(" and ".join(each.frameworks) for each in missing))
            of = f"pairs of frameworks and tasks of this sweep: {named}"
        how_many = of_all(len(missing), len(certificates))
        stamps.append(f"Not certified yet: {how_many} {of}; the same command with `action=parity` does it.")
    stamps += [each.sentence for each in certificates if not each.passed and (each.rows or len(missing) == 1)]
    n_shipped = len({each.arm for each in shipped})
    told = f"As shipped, never certified: {n_shipped} tasks of this sweep keep defaults of the frameworks' own."
    stamps += [told] if n_shipped > 1 else [each.sentence for each in shipped]
    return list(dict.fromkeys(stamps))


def certified_of(analysis: Analysis) -> list[str]:
    """What is certified: a sentence for each pair, however many tasks it is about."""
    by_pair: dict[tuple[str, str], list[CertificateRecord]] = {}
    for each in analysis.record.certificates:
        by_pair.setdefault(each.frameworks, []).append(each)
    return [sentence for certificates in by_pair.values() for sentence in _certified_pair(certificates)]


def _certified_pair(certificates: Sequence[CertificateRecord]) -> list[str]:
    passed = [each for each in certificates if each.passed]
    if len(passed) < 2:
        return [each.sentence for each in passed]
    how_many = of_all(len(passed), len(certificates))
    return [
        f"Certified: {' and '.join(passed[0].frameworks)} train {how_many} tasks of this sweep identically in float64: "
        f"{'; '.join(each.arm for each in passed)}."
    ]


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
        best=best_of(analysis),
        certified=certified_of(analysis),
        nothing=nothing(analysis),
        stamps=stamps_of(analysis),
        details=[f"{pair.title}: {details_of(pair.score)}" for pair in analysis.pairs],
        facts=_facts(analysis),
        sections=sections,
        data=htmlsafe_json_dumps(model, dumps=json.dumps, sort_keys=True),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _facts(analysis: Analysis) -> dict[str, str]:
    """n, seeds, budget and hardware in a few lines."""
    record, facts = analysis.record, analysis.facts
    seeds = sorted({run.seed for run in record.runs})
    shown = ", ".join(map(str, seeds)) if len(seeds) <= 12 else f"{seeds[0]} to {seeds[-1]}"
    seconds = sum(run.metrics.get("time/total", 0.0) for run in record.runs)
    seconds += total_seconds(trial for study in record.studies for trial in study.trials)
    trials = f" after {count(len(record.trials), 'trial')} of a search" if record.trials else ""
    return {
        "runs": f"{len(record.runs)} of {record.n_planned}{trials}; {count(len(seeds), 'seed')} ({shown or 'none'})",
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
    for claim in claims:
        said = f"**{markdown(claim.headline)}** " if claim.headline else ""
        lines.append(f"**{claim.icon} {claim.word}** · {said}{markdown(claim.text)}\n")
    lines += [f"{markdown(best)}\n"] if (best := best_of(analysis)) else []
    lines += [] if claims else [f"{nothing(analysis)}\n"]
    lines += [f"{markdown(sentence)}\n" for sentence in certified_of(analysis)]
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
