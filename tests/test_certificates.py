"""`action=parity` from the command to the report."""

import dataclasses
import json
from pathlib import Path

import mlflow
import pytest
from commands import command
from test_report import BOTH, sweep

from experiments.parity.certificate import Certificate, Row, as_markdown, fingerprint, of_sweep, verdict


def certificate(*, passed=True):
    row = Row(
        level="C3",
        precision="float64",
        what="optimizer on given gradients",
        measured=1e-15 if passed else 1e-3,
        bound=1e-12,
        gates=True,
        where="" if passed else "update of dense1/kernel",
    )
    return Certificate(
        task_name="e",
        frameworks=("lightning", "keras"),
        fingerprint="f",
        versions={"keras": "3"},
        floor=None,
        rows=(row,),
    )


def test_a_failed_certificate_says_where():
    assert verdict(certificate(passed=False)) == (
        "NOT certified: lightning and keras differ at C3, optimizer on given gradients (update of dense1/kernel)."
    )
    assert verdict(certificate()) == "Certified: lightning and keras train e identically."
    assert "| C3 | float64 |" in as_markdown(certificate())
    assert "FAIL: update of dense1/kernel" in as_markdown(certificate(passed=False))


def sentence(store, content, *, of=BOTH[0].config) -> str:
    """What a report says where `content` is kept as the certificate of the task `of`."""
    experiment_id = store.experiment("e", description="")
    if content is not None:
        name = fingerprint(of, data_fingerprint="", frameworks=("lightning", "keras"))
        passed = content["passed"]
        store.log_certificate(experiment_id, name="c", fingerprint=name, passed=passed, content=content, text="")
    (record,) = of_sweep(sweep(*BOTH), reader=store.reader, experiment_id=experiment_id)
    return record.sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Not certified: nobody has run `action=parity` on this task"),
        (certificate().as_dict(), "Certified: keras and lightning train this task (adam) identically in float64 (C3)."),
        (certificate(passed=False).as_dict(), "NOT certified: keras and lightning differ at C3"),
        (
            certificate().as_dict() | {"versions": {"keras": "another"}},
            "Not certified: the certificate was made with another keras",
        ),
    ],
)
def test_a_report_says_whether_its_task_is_certified_and_why_not(memory_store, content, said):
    assert sentence(memory_store, content).startswith(said)


def test_a_certificate_of_another_task_says_nothing(memory_store):
    other = BOTH[0].config | {"optimizer": {"kind": "sgd"}}
    assert sentence(memory_store, certificate().as_dict(), of=other).startswith("Not certified: nobody has run")


def test_one_framework_has_nothing_to_certify(memory_store):
    record = sweep(*[run for run in BOTH if run.framework == "keras"])
    assert of_sweep(record, reader=memory_store, experiment_id="0") == ()


def test_each_pair_of_a_sweep_is_certified_or_said_not_to_be(memory_store):
    runs = [*BOTH, *(dataclasses.replace(one, framework="numpy") for one in BOTH if one.framework == "keras")]
    experiment_id = memory_store.experiment("e", description="")
    for pair, passed in ((("lightning", "keras"), True), (("lightning", "numpy"), False)):
        name = fingerprint(BOTH[0].config, data_fingerprint="", frameworks=pair)
        content = certificate(passed=passed).as_dict() | {"frameworks": list(pair)}
        memory_store.log_certificate(experiment_id, name="c", fingerprint=name, passed=passed, content=content, text="")
    records = of_sweep(sweep(*runs), reader=memory_store.reader, experiment_id=experiment_id)
    assert [(record.frameworks, record.sentence.partition(":")[0], bool(record.rows)) for record in records] == [
        (("keras", "lightning"), "Certified", True),
        (("keras", "numpy"), "Not certified", False),
        (("lightning", "numpy"), "NOT certified", True),
    ]
    assert "keras and numpy" in records[1].sentence


def test_a_certificate_under_other_variables_says_nothing(memory_store):
    pair = {"data_fingerprint": "", "frameworks": ("lightning", "keras")}
    plainly = fingerprint(BOTH[0].config, **pair)
    assert fingerprint(BOTH[0].config, **pair, environment={}) == plainly
    assert fingerprint(BOTH[0].config, **pair, environment={"XLA_FLAGS": "--x"}) != plainly
    experiment_id = memory_store.experiment("e", description="")
    memory_store.log_certificate(
        experiment_id, name="c", fingerprint=plainly, passed=True, content=certificate().as_dict(), text=""
    )
    runs = [dataclasses.replace(run, facts=run.facts | {"environment.XLA_FLAGS": "--x"}) for run in BOTH]
    (record,) = of_sweep(sweep(*runs), reader=memory_store, experiment_id=experiment_id)
    assert record.sentence.startswith("Not certified: nobody has run")


def test_parity_then_a_sweep_whose_report_shows_the_certificate(local, tmp_path, cache, empty_database, monkeypatch):
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    task = ("experiment=digits_mlp", "regularization.dropout=0.2")
    certified = command(*task, "action=parity", cwd=tmp_path, cache=cache)
    assert certified.returncode == 0, certified.stderr
    assert "Certified: lightning and keras train digits_mlp identically." in certified.stdout
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("digits_mlp")
    (kept,) = client.search_runs([experiment.experiment_id], "tags.`tandem.kind` = 'certificate'")
    assert kept.data.tags["tandem.verdict"] == "passed"
    assert {artifact.path for artifact in client.list_artifacts(kept.info.run_id)} == {
        "certificate.json",
        "certificate.md",
    }

    content = json.loads(Path(client.download_artifacts(kept.info.run_id, "certificate.json")).read_text())
    assert content["passed"] is True
    assert "KERAS_MAX_EPOCHS" in content["environment"]["environment_left_out"].split()
    found = {(row["level"], row["precision"]) for row in content["rows"]}
    assert {("C0", "float64"), ("C1", "float32"), ("C2", "float64"), ("C3", "float32"), ("C4", "float64")} <= found
    assert {("C5", "float32"), ("C6", "float64"), ("C6", "float32")} <= found

    swept = command(*task, "training.epochs=1", "seed=0", cwd=tmp_path, cache=cache)
    assert swept.returncode == 0, swept.stderr
    assert (
        "Certified: keras and lightning train this task (adam) identically in float64 (C0, C1, C2, C3, C4, C6)."
        in swept.stdout
    )
    (html,) = tmp_path.glob("outputs/digits-mlp/*/report/report.html")
    assert "keras and lightning, adam</span></caption>" in html.read_text()

    other = command(*task, "training.epochs=1", "seed=0", "optimizer.epsilon=1e-7", cwd=tmp_path, cache=cache)
    assert "Not certified: nobody has run `action=parity` on this task (digits_mlp, adam) yet." in other.stdout


def test_parity_of_one_framework_is_refused(tmp_path, cache, empty_database):
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    done = command("experiment=digits_mlp", "action=parity", "framework=keras", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "`action=parity` compares two frameworks, but got keras; name two" in done.stderr
