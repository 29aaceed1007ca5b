"""A certificate: what was compared, how it came out, how that is said; nothing here makes one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from experiments.fingerprint import RESULTS_VERSION, fingerprint_of, plain
from experiments.records import CertificateRecord, RunRecord, SweepRecord
from experiments.task.alignment import ALIGNED
from experiments.task.keys import describe_choice, flatten, format_value
from experiments.tracking.protocol import CertificateReader

PRECISIONS: Final = ("float64", "float32")  # every certificate is about both; a third one is part of its name

# Of a configuration: the parts that a certificate is about, and of its training the keys.
CERTIFIED_PARTS = ("network", "optimizer", "schedule", "regularization", "training")
CERTIFIED = ("batch_size", "gradient_accumulation_steps", "loss", "class_weights", "jit")
MOST_NAMED = 4  # keys that tell tasks of one kind apart


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a certificate.

    `gates` says whether a failure is a failure of the certificate; other rows inform. `where` names the first layer,
    weight or step that differs, where the bound is exceeded.
    """

    level: Literal["C0", "C1", "C2", "C3", "C4", "C5", "C6"]
    precision: str
    what: str
    measured: float
    bound: float
    gates: bool
    where: str

    @property
    def passed(self) -> bool:
        """Whether the measured difference keeps within the bound; NaN does not."""
        return bool(self.measured <= self.bound)

    def as_dict(self) -> dict[str, Any]:
        """What the store keeps."""
        return {**plain(self), "passed": self.passed}


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was compared and how it came out.

    `floor` is the float64 noise floor, where it was measured; `environment` what a run is recorded with of its own.
    """

    task_name: str
    frameworks: tuple[str, str]
    fingerprint: str
    versions: dict[str, str]
    floor: float | None
    rows: tuple[Row, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every gating row passed."""
        return all(row.passed for row in self.rows if row.gates)

    def as_dict(self) -> dict[str, Any]:
        """What the store keeps."""
        return {
            "task": self.task_name,
            "frameworks": list(self.frameworks),
            "fingerprint": self.fingerprint,
            "versions": self.versions,
            "environment": dict(self.environment),
            "floor": self.floor,
            "passed": self.passed,
            "rows": [row.as_dict() for row in self.rows],
        }


def fingerprint(
    config: Mapping[str, Any],
    *,
    data_fingerprint: str,
    frameworks: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> str:
    """Name of a certificate: everything it says something about; not the seed, the epochs or the precision.

    Args:
        config: The task as `fingerprint.plain` writes it, or the configuration of a run that has been kept.
        data_fingerprint: The data's name.
        frameworks: The two.
        environment: The variables that a user has workers have.
    """
    training = {key: value for key, value in config["training"].items() if key in CERTIFIED}
    precision = config["training"].get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        training["precision"] = precision
    return fingerprint_of(
        {
            "task": {key: config[key] for key in CERTIFIED_PARTS if key != "training"},
            "training": training,
            "data": data_fingerprint,
            "frameworks": sorted(frameworks),
            "results_version": RESULTS_VERSION,
        }
        | ({"environment": dict(environment)} if environment else {})
        | ({"alignment": config["alignment"]} if "alignment" in config else {})
    )


def cells(row: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    """A row as every table of a certificate shows it; `row` is what `Row.as_dict` gives and the store keeps."""
    return (row["level"], row["precision"], row["what"], f"{row['measured']:.1e}", f"{row['bound']:.0e}", mark(row))


def mark(row: Mapping[str, Any]) -> str:
    """How a row came out, in a word."""
    if row["passed"]:
        return "pass" if row["gates"] else "as expected"
    return ("FAIL" if row["gates"] else "beyond") + (f": {row['where']}" if row["where"] else "")


def verdict(certificate: Certificate) -> str:
    """One sentence."""
    pair = " and ".join(certificate.frameworks)
    if certificate.passed:
        return f"Certified: {pair} train {certificate.task_name} identically."
    failed = [row for row in certificate.rows if row.gates and not row.passed]
    where = f" ({failed[0].where})" if failed[0].where else ""
    return f"NOT certified: {pair} differ at {failed[0].level}, {failed[0].what}{where}."


def as_markdown(certificate: Certificate) -> str:
    """The same table for MLflow and for docs/."""
    head = "| level | precision | what | measured | bound | |\n|---|---|---|---|---|---|\n"
    lines = [f"| {' | '.join(cells(row.as_dict()))} |" for row in certificate.rows]
    return f"{verdict(certificate)}\n\n{head}" + "\n".join(lines) + "\n"


def of_sweep(record: SweepRecord, *, reader: CertificateReader, experiment_id: str) -> tuple[CertificateRecord, ...]:
    """For each task of a sweep and each two of its frameworks: their certificate, or why there is none."""
    frameworks = sorted({run.framework for run in record.runs})
    tasks: dict[str, RunRecord] = {}
    for run in record.runs:
        tasks.setdefault(_name_of(run, frameworks), run)
    arms = _names_of([_certified(run) for run in tasks.values()])
    return tuple(
        _as_shipped(pair=pair, arm=arm)
        if run.is_as_shipped
        else _record(reader.certificate(experiment_id, _name_of(run, pair)), pair=pair, record=record, arm=arm)
        for pair in itertools.combinations(frameworks, 2)
        for run, arm in zip(tasks.values(), arms, strict=True)
    )


def _name_of(run: RunRecord, frameworks: Sequence[str]) -> str:
    data_fingerprint = run.facts.get("data_fingerprint", "")
    return fingerprint(
        run.config, data_fingerprint=data_fingerprint, frameworks=frameworks, environment=run.environment
    )


def _as_shipped(*, pair: tuple[str, str], arm: str) -> CertificateRecord:
    names = " and ".join(pair)
    sentence = f"As shipped, never certified: {names} train this task ({arm}) with defaults of their own."
    return CertificateRecord(arm=arm, frameworks=pair, passed=False, sentence=sentence, rows=(), is_as_shipped=True)


def _certified(run: RunRecord) -> dict[str, Any]:
    """What a certificate of this run's task is about, flat, with the data's name last."""
    stated = {key: run.config.get(key) or {} for key in CERTIFIED_PARTS}
    stated["training"] = {key: value for key, value in stated["training"].items() if key in (*CERTIFIED, "precision")}
    facts = {"data": run.facts.get("data", ""), "alignment": run.config.get("alignment", ALIGNED), **run.environment}
    return flatten(stated) | facts


def _names_of(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each task by what tells it from the others: its optimizer, and what differs among tasks of the same kinds."""
    kinds = [key for key in _differing(tasks) if key.endswith(".kind")]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks:
        groups.setdefault(repr([task.get(key) for key in kinds]), []).append(task)
    names = []
    for task in tasks:
        alike = groups[repr([task.get(key) for key in kinds])]
        keys = [*(kinds or ["optimizer.kind"]), *_differing(alike)[:MOST_NAMED]]
        shown = [describe_choice(key.removesuffix(".kind"), format_value(task.get(key))) for key in keys]
        names.append(", ".join(shown))
    return names


def _differing(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for task in tasks for key in task)
    return [key for key in keys if len({repr(task.get(key)) for task in tasks}) > 1]


def _record(
    kept: Mapping[str, Any] | None, *, pair: tuple[str, str], record: SweepRecord, arm: str
) -> CertificateRecord:
    if kept is None:
        which = f"{record.experiment}, {arm}"
        if len({run.framework for run in record.runs}) > 2:
            which += f", {' and '.join(pair)}"
        sentence = f"Not certified: nobody has run `action=parity` on this task ({which}) yet."
        return CertificateRecord(arm=arm, frameworks=pair, passed=False, sentence=sentence, rows=())
    versions = {
        key.removeprefix("version."): value
        for run in record.runs
        if run.framework in pair
        for key, value in run.facts.items()
        if key.startswith("version.")
    }
    changed = [name for name, version in kept["versions"].items() if versions.get(name, version) != version]
    levels = sorted({row["level"] for row in kept["rows"] if row["gates"]})
    passed = bool(kept["passed"]) and not changed
    if changed:
        sentence = (
            f"Not certified: the certificate was made with another {', '.join(changed)}; run action=parity again."
        )
    elif passed:
        sentence = (
            f"Certified: {' and '.join(pair)} train this task ({arm}) identically in float64 ({', '.join(levels)})."
        )
    else:
        failed = next(row for row in kept["rows"] if row["gates"] and not row["passed"])
        sentence = f"NOT certified: {' and '.join(pair)} differ at {failed['level']} ({failed['what']}); see below."
    return CertificateRecord(arm=arm, frameworks=pair, passed=passed, sentence=sentence, rows=tuple(kept["rows"]))
