"""A store that keeps everything in memory: for tests of what uses a store, not of MLflow.

The second implementation of `experiments.tracking.protocol`; test_store.py holds it to the same clauses as the first.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np

from experiments.errors import Locked, NotKept, SettingsError
from experiments.execution.locks import Owner
from experiments.records import RunRecord, is_per_epoch
from experiments.tracking.manifest import sweep_from


@dataclass(kw_only=True)
class Kept:
    """What MLflow calls a run: a run, trial, study, sweep, certificate or report."""

    experiment_id: str
    name: str
    facts: dict[str, str]
    parent_id: str = ""
    is_open: bool = True
    content: Any = None  # a run's configuration, a sweep's manifest, a certificate
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    logits: tuple[Any, Any] | None = None
    pictures: dict[int, Any] = field(default_factory=dict)
    report: dict[str, bytes] = field(default_factory=dict)
    note: str = ""
    lost: str = ""  # for a test to say what is missing


class InMemoryStore:
    """Its own reader; `kept` and `experiments` are there to be looked into."""

    uri = "memory:"

    def __init__(self):
        self.owner = Owner.this_process()
        self.experiments = {}  # name -> description
        self.kept = {}  # identifier -> Kept, the oldest first

    @property
    def reader(self):
        return self

    def experiment(self, name, *, description):
        self.experiments.setdefault(name, description)
        return name

    def open_sweep(self, experiment_id, *, name, fingerprint, command, description, reuse, params=None):
        earlier = self._search(experiment_id, kind="sweep", sweep_fingerprint=fingerprint) if reuse else []
        facts = {"kind": "sweep", "sweep_fingerprint": fingerprint, "owner": self.owner.tag, "command": command}
        if not earlier:
            return self._keep(experiment_id, name, facts)
        sweep = self.kept[earlier[0]]
        if sweep.is_open and Owner.from_tag(sweep.facts["owner"]).state(self.uri) != "dead":
            raise Locked(f"process {Owner.from_tag(sweep.facts['owner']).pid} on this host is at work on this sweep")
        sweep.is_open = True
        sweep.facts |= facts
        return earlier[0]

    def write_sweep(self, sweep_id, content):
        self.kept[sweep_id].content = _as_json(content)

    def end_sweep(self, sweep_id, *, status):
        self.kept[sweep_id].is_open = False

    def open_study(self, experiment_id, *, sweep_id, name):
        facts = {"kind": "study", "study": name}
        earlier = [each for each in self._search(experiment_id, **facts) if self.kept[each].parent_id == sweep_id]
        study_id = earlier[0] if earlier else self._keep(experiment_id, name, facts, parent_id=sweep_id)
        self.kept[study_id].is_open = True
        self.kept[study_id].facts["owner"] = self.owner.tag
        return study_id

    def end_study(self, run_id, *, metrics, values, note=""):
        self.kept[run_id].note = note
        self._log(run_id, metrics, step=0)
        self.kept[run_id].facts |= {f"best.{key}": str(value) for key, value in values.items()}
        self.kept[run_id].is_open = False

    def start_run(self, experiment_id, *, parent_id, kind, name, fingerprint, config, facts, dataset):
        own = {"kind": kind, "fingerprint": fingerprint, "outcome": "running", "owner": self.owner.tag}
        return self._keep(experiment_id, name, own | facts, parent_id=parent_id, content=_as_json(config))

    def log_epoch(self, run_id, metrics, *, epoch, step):
        self._log(run_id, {**metrics, "step": float(step)}, step=epoch)

    def log_facts(self, run_id, facts):
        self.kept[run_id].facts |= facts

    def end_run(self, run_id, *, outcome, reason, metrics, step, folder, note=""):
        self._log(run_id, metrics, step=step)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "test_logits.npz").exists():
            with np.load(folder / "test_logits.npz") as stored:
                self.kept[run_id].logits = stored["logits"], stored["targets"]
        self.kept[run_id].facts |= {"outcome": outcome, "reason": reason}
        self.kept[run_id].note = note
        self.kept[run_id].is_open = False

    def mark_as_attempt(self, run_id):
        self.kept[run_id].facts["kind"] = "attempt"

    def close_orphans(self, experiment_id):
        owners = {each: self.kept[each].facts.get("owner") for each in self._open(experiment_id)}
        orphans = [each for each, owner in owners.items() if owner and Owner.from_tag(owner).state(self.uri) == "dead"]
        for each in orphans:
            self._kill(each, reason="its process died")
        return len(orphans)

    def kill_open_runs(self, experiment_id, sweep_id, reason):
        studies = [each for each in self._search(experiment_id, kind="study") if self.kept[each].parent_id == sweep_id]
        for each in self._open(experiment_id):
            is_own = self.kept[each].facts["owner"] == self.owner.tag
            if is_own and self.kept[each].parent_id in (sweep_id, *studies):
                self._kill(each, outcome="failed", reason=reason)

    def open_report(self, experiment_id, sweep_ids):
        facts = {"kind": "report", "report_of": ",".join(sorted(sweep_ids))}
        earlier = self._search(experiment_id, **facts)
        return earlier[0] if earlier else self._keep(experiment_id, "report", facts, is_open=False)

    def log_report(self, sweep_id, folder, *, note, tags, metrics):
        self.kept[sweep_id].report = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.kept[sweep_id].facts |= tags | {"note": note}

    def log_pictures(self, sweep_id, pictures):
        self.kept[sweep_id].pictures = copy.deepcopy(dict(pictures))

    def log_certificate(self, experiment_id, *, name, fingerprint, passed, content, text):
        facts = {"certificate": fingerprint, "note": text}
        return self._keep(experiment_id, name, facts, is_open=False, content=_as_json(content))

    def find_sweep(self, experiment_id, which):
        ids = self._search(experiment_id, kind="sweep")
        if which == "latest" and ids:
            return ids[0]
        if which in ids:
            return which
        raise SettingsError(f"sweep: no sweep {which!r} of this experiment is kept in {self.uri}; kept are {ids}")

    def has_sweep(self, sweep_id):
        return self.kept[sweep_id].content is not None

    def read_sweep(self, sweep_id):
        sweep = self.kept[sweep_id]
        if sweep.content is None:
            raise NotKept(f"sweep {sweep_id}: it was never written down, or is lost")
        ids = list(self.kept)
        results = [self.kept[each].facts.get("control", "") for each in ids[: ids.index(sweep_id)]]
        return sweep_from(
            _as_json(sweep.content),
            read_run=self._read_run,
            sweep_id=sweep_id,
            experiment=sweep.experiment_id,
            description=self.experiments[sweep.experiment_id],
            command=sweep.facts["command"],
            pictures=copy.deepcopy(sweep.pictures),
            control=next((result for result in results[::-1] if result not in ("", "not assessed")), ""),
        )

    def has_run(self, run_id):
        return run_id in self.kept

    def finished_run(self, run_id):
        run = self.kept.get(run_id)
        is_finished = run and not run.is_open and run.facts.get("outcome") in ("finished", "diverged", "pruned")
        return self._read_run(run_id) if is_finished else None

    def find_finished(self, experiment_id, fingerprints, *, sweep_id):
        found, lost = {}, []
        own = [entry["id"] for entry in (self.kept[sweep_id].content or {"runs": []})["runs"]]
        for fingerprint in fingerprints:
            results = self._results(experiment_id, fingerprint)
            results.sort(key=lambda each: each not in own or self.kept[each].facts["outcome"] != "finished")
            whole = [each for each in results if not self.kept[each].lost]
            if whole:
                found[fingerprint] = whole[0]
            elif results:
                lost.append(f"{self.kept[results[0]].name}: {self.kept[results[0]].lost}")
        return found, lost

    def _results(self, experiment_id, fingerprint):
        by_outcome = (self._search(experiment_id, fingerprint=fingerprint, outcome=o) for o in ("finished", "diverged"))
        return [run_id for run_ids in by_outcome for run_id in run_ids]

    def logits(self, run_id):
        return copy.deepcopy(self.kept[run_id].logits)

    def certificate(self, experiment_id, fingerprint):
        for each in self._search(experiment_id, certificate=fingerprint):
            return _as_json(self.kept[each].content)
        return None

    def _read_run(self, run_id):
        if run_id not in self.kept or self.kept[run_id].content is None:
            raise NotKept("it is not kept here any more")
        run = self.kept[run_id]
        return RunRecord(
            run_id=run_id,
            name=run.name,
            fingerprint=run.facts["fingerprint"],
            framework=run.content["framework"],
            seed=run.content["seed"],
            outcome=run.facts["outcome"],
            reason=run.facts.get("reason", ""),
            config=_as_json(run.content),
            metrics={name: sorted(values, key=itemgetter(0))[-1][1] for name, values in run.history.items()},
            curves={name: sorted(values) for name, values in run.history.items() if is_per_epoch(name)},
            facts=dict(run.facts),
            lost=run.lost,
        )

    def _keep(self, experiment_id, name, facts, **others):
        run_id = f"{len(self.kept):032x}"
        self.kept[run_id] = Kept(experiment_id=experiment_id, name=name, facts=dict(facts), **others)
        return run_id

    def _search(self, experiment_id, **facts):
        """Identifiers, the newest first."""
        of_it = [each for each, kept in self.kept.items() if kept.experiment_id == experiment_id]
        return [each for each in of_it[::-1] if facts.items() <= self.kept[each].facts.items()]

    def _open(self, experiment_id):
        return [each for each in self._search(experiment_id) if self.kept[each].is_open]

    def _kill(self, run_id, **facts):
        run = self.kept[run_id]
        run.facts |= facts | ({"kind": "attempt"} if run.facts["kind"] == "trial" else {})
        run.is_open = False

    def _log(self, run_id, metrics, *, step):
        for name, value in metrics.items():
            self.kept[run_id].history.setdefault(name, []).append((step, value))


def _as_json(content):
    """As a file would keep it: nothing shared, tuples as lists."""
    return json.loads(json.dumps(content))
