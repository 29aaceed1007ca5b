"""From records to pages: arms, sentences, and names that want to do harm."""

import base64
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from cases import PROJECT
from rich.console import Console

from experiments import report
from experiments.records import RunRecord, SweepRecord, merged
from experiments.report import addresses, files, formatting, page, settings
from experiments.report.analysis import analyse, arms_of
from experiments.report.figures import style
from experiments.report.sanitize import clean, without_paths
from experiments.statistics import Estimate
from experiments.tracking.manifest import sweep_from

ACCURACY = {"lightning": [0.95, 0.96, 0.97], "keras": [0.951, 0.961, 0.969]}


def run(framework, seed, *, outcome="finished", name="", accuracy=None, **settings):
    value = ACCURACY[framework][seed] if accuracy is None else accuracy
    metrics = {"test/accuracy": value, "test/loss": 1 - value, "time/steady_epoch": 1.0, "memory/peak_mib": 100.0}
    return RunRecord(
        run_id=f"{framework}{seed}",
        name=name or f"{framework} · seed {seed}",
        fingerprint="f",
        framework=framework,
        seed=seed,
        outcome=outcome,
        reason="" if outcome == "finished" else "why",
        config={
            "framework": framework,
            "seed": seed,
            "optimizer": {"kind": "adam", **settings},
            "margins": {"accuracy": 0.01, "loss": 0.02},
            "network": {"kind": "mlp"},
            "schedule": {"kind": "constant"},
            "regularization": {"dropout": 0.0},
            "training": {"batch_size": 32, "loss": "cross_entropy", "class_weights": None},
        },
        metrics=metrics if outcome == "finished" else {},
        curves={name: [(1, value), (2, value)] for name in ("val/loss", "val/accuracy", "train/loss")},
        facts={"data": "d", "workers": "1", "version.keras": "3"},
    )


def sweep(*runs, n_planned=None):
    return SweepRecord(
        sweep_id="s",
        experiment="e",
        description="d",
        command="c",
        n_planned=n_planned or len(runs),
        seeds=tuple(sorted({run.seed for run in runs})),
        margins={"accuracy": 0.01, "loss": 0.02, "time_ratio": 0.05},
        runs=runs,
    )


BOTH = [run(framework, seed) for seed in range(3) for framework in ("lightning", "keras")]


def test_arms_are_runs_that_differ_only_in_the_seed():
    runs = [*BOTH, run("keras", 0, learning_rate=0.1)]
    assert [(arm.name, len(arm.runs)) for arm in arms_of(runs)] == [
        ("keras", 3),
        ("lightning", 3),
        ("keras · learning_rate 0.1", 1),
    ]


def test_frameworks_are_compared_by_seed_where_all_else_is_equal():
    verdicts = analyse(sweep(*BOTH)).verdicts
    assert [(verdict.names, verdict.metric) for verdict in verdicts] == [
        (("keras", "lightning"), "test accuracy"),
        (("keras", "lightning"), "test loss"),
    ]
    assert verdicts[0].differences == pytest.approx((0.001, 0.001, -0.001))
    assert verdicts[0].n == 3


def test_arms_on_different_data_are_not_compared():
    other = replace(run("keras", 0, depth=2), facts={"data": "e", "workers": "1", "data_fingerprint": "other"})
    assert analyse(sweep(run("keras", 0), other)).verdicts == ()


def test_margins_are_those_of_the_command_and_set_no_arms_apart():
    old = replace(BOTH[0], config=BOTH[0].config | {"margins": {"accuracy": 0.2, "loss": 0.02}})
    analysis = analyse(sweep(old, *BOTH[1:]))
    assert len(analysis.arms) == 2
    assert analysis.verdicts[0].margin == 0.01


def test_a_lost_run_costs_its_pair_and_is_said():
    runs = [*BOTH[:-1], run("keras", 2, outcome="failed")]
    analysis = analyse(sweep(*runs))
    assert analysis.record.is_partial
    assert analysis.verdicts[0].id == "not_assessed"
    assert "partial: 5 of 6 runs" in analysis.warnings
    assert "keras · seed 2 failed: why" in analysis.warnings


def test_one_arm_is_a_page_that_says_so(tmp_path):
    text = files.write(analyse(sweep(*[run("keras", seed) for seed in range(3)])), tmp_path).read_text()
    assert "Nothing to compare: 1 arm." in text


def test_no_run_at_all_is_a_page(tmp_path):
    assert (
        "Nothing to compare: 0 arms, and no run has come to its end."
        in files.write(analyse(sweep(n_planned=2)), tmp_path).read_text()
    )


HOSTILE = ["</script><script>alert(1)</script>", "a$\\frac{$", "\x00\x1b[31m\u202eevil", "y" * 3000]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_harm_nothing(tmp_path, name):
    runs = [run(framework, seed, name=name, note=name) for seed in range(3) for framework in ("lightning", "keras")]
    runs.append(run("keras", 0, note="plain"))
    analysis = analyse(sweep(*runs))
    text = files.write(analysis, tmp_path).read_text()
    assert text.count("<script") == 2  # the data and our own
    assert text.count("</script") == 2
    assert not any(control in text for control in "\x00\x1b\u202e")
    assert "y" * 400 not in text[: text.index('<script type="application/json"')].replace("…", "")
    assert "<script" not in page.note(analysis)


def test_the_page_needs_no_network(tmp_path):
    text = files.write(analyse(sweep(*BOTH)), tmp_path).read_text()
    assert "default-src 'none'" in text
    assert "src=" not in text
    assert 'href="http' not in text.replace('xmlns:xlink="http', "")
    assert text.count("<svg") == 4


def test_the_same_records_give_the_same_bytes(tmp_path):
    first = files.write(analyse(sweep(*BOTH)), tmp_path / "a").read_bytes()
    second = files.write(analyse(sweep(*BOTH)), tmp_path / "b").read_bytes()
    assert first == second


def estimate(value, half_width):
    return Estimate(value=value, low=value - half_width, high=value + half_width, level=0.95, n=3, method="t")


@pytest.mark.parametrize(
    ("metric", "given", "written"),
    [
        ("test/accuracy", estimate(0.95633, 0.0042), "95.63 ± 0.42"),
        ("test/accuracy", estimate(0.95633, 0.19), "96 ± 19"),
        ("test/loss", estimate(0.1234, 0.00123), "0.1234 ± 0.0012"),
        ("memory/peak_mib", Estimate(value=99.6, low=None, high=None, level=0.95, n=1, method="t"), "100"),
        ("test/loss", None, "–"),
    ],
)
def test_decimals_follow_the_interval(metric, given, written):
    assert formatting.interval(given, metric) == written


def test_long_names_are_cut_in_the_middle():
    assert clean("a" * 50 + "b" * 50, 20) == "aaaaaaaaa…bbbbbbbbb"


def test_the_package_offers_one_function():
    assert callable(report.publish)


def test_every_file_is_written_and_json_has_a_schema(tmp_path):
    lost = run("keras", 2, outcome="diverged")
    files.write(analyse(sweep(*BOTH[:-1], lost)), tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"report.html", "report.md", "report.json", "tables/results.csv", "tables/runs.csv"} <= names
    assert {"figures/paired-differences.svg", "figures/val-loss.svg"} <= names
    assert not [name for name in names if name.endswith(".png")]
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["schema_version"] == 2
    assert [arm["lost"] for arm in content["arms"]] == [1, 0]
    assert content["claims"][0]["n"] == 2
    rows = (tmp_path / "tables" / "results.csv").read_text().splitlines()
    assert rows[1].startswith("keras,test/accuracy,3,1,0.956,")


def test_pictures_are_drawn_where_they_are_asked_for_and_none_is_left_of_an_earlier_report(tmp_path):
    analysis = analyse(sweep(*BOTH))
    files.write(analysis, tmp_path, as_png=True)
    drawings = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == drawings != set()
    files.write(analysis, tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_a_figure_is_drawn_once(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "to_svg", lambda figure, **words: drawn.append(words["name"]) or "<svg></svg>")
    files.write(analyse(sweep(*BOTH)), tmp_path)
    assert len(drawn) == len(set(drawn)) > 1


def test_a_name_that_a_spreadsheet_would_run_is_quoted():
    assert files.as_csv([["=1+1", "-x", "fine", -1.5]]) == "'=1+1,'-x,fine,-1.5\n"


def test_a_regression_has_no_accuracy_to_compare():
    runs = [replace(one, metrics={"test/loss": 0.1 + one.seed}) for one in BOTH]
    assert [verdict.metric for verdict in analyse(sweep(*runs)).verdicts] == ["test loss"]


def everything(folder):
    """Path below `folder` -> bytes, of all that a report consists of but pictures in PNG."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".png"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_order_of_the_runs_changes_no_byte(tmp_path):
    runs = [run(framework, seed) for seed in range(3) for framework in ("lightning", "keras")]
    files.write(analyse(sweep(*runs)), tmp_path / "a")
    files.write(analyse(sweep(*(runs[index] for index in (3, 0, 5, 1, 4, 2)))), tmp_path / "b")
    first = everything(tmp_path / "a")
    assert len(first) > 12
    assert first == everything(tmp_path / "b")


def test_swapping_the_sides_flips_the_signs():
    swapped = {"lightning": "keras", "keras": "lightning"}
    runs = [run(swapped[one.framework], one.seed, accuracy=one.metrics["test/accuracy"]) for one in BOTH]
    first, second = analyse(sweep(*BOTH)).verdicts[0], analyse(sweep(*runs)).verdicts[0]
    assert second.differences == pytest.approx([-value for value in first.differences])
    assert second.ci95 == pytest.approx((-first.ci95[1], -first.ci95[0]))
    assert second.p_difference == pytest.approx(first.p_difference)


def text_of(path):
    return path.read_text().partition("<main")[2].partition("</main>")[0]


EDGES = {
    "a single seed": (lambda: sweep(run("keras", 0), run("lightning", 0)), "Not assessed: 1 paired run"),
    "a partial sweep": (lambda: sweep(*BOTH[:5], n_planned=60), "partial: 5 of 60 runs"),
    "all diverged": (
        lambda: sweep(*(replace(one, outcome="diverged", reason="NaN", metrics={}) for one in BOTH)),
        "Not assessed: every run failed",
    ),
    "all NaN": (
        lambda: sweep(*(replace(one, metrics=dict.fromkeys(one.metrics, float("nan"))) for one in BOTH)),
        "Not assessed: every run failed",
    ),
    "all identical": (
        lambda: sweep(*(run(one.framework, one.seed, accuracy=0.9) for one in BOTH)),
        "Identical on all 3",
    ),
    "no run": (lambda: sweep(n_planned=6), "no run has come to its end"),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_edge_is_a_page_that_says_so_plainly(tmp_path, edge):
    make, said = EDGES[edge]
    record = replace(make(), chance={"accuracy": 0.1, "loss": 2.3})
    path = files.write(analyse(record), tmp_path)
    assert said in text_of(path)
    json.loads((tmp_path / "report.json").read_text())


def test_two_hundred_runs_are_a_page(tmp_path):
    """How long it takes is measured by benchmarks/report_time.py."""
    runs = [
        run(framework, seed, accuracy=0.9 + 0.001 * ((seed * 7 + dose) % 11), dropout=str(dose / 10))
        for framework in ("keras", "lightning")
        for seed in range(20)
        for dose in range(5)
    ]
    path = files.write(analyse(sweep(*runs)), tmp_path)
    assert path.stat().st_size < 3_000_000
    assert "200 of 200" in text_of(path)


def test_bold_stands_only_where_a_verdict_supports_it(tmp_path):
    higher = [run("keras", seed, accuracy=0.95 + 0.001 * seed) for seed in range(3)]
    lower = [run("lightning", seed, accuracy=0.90 + 0.0011 * seed) for seed in range(3)]
    text = text_of(files.write(analyse(sweep(*higher, *lower)), tmp_path / "better"))
    assert text.count("<strong>") == 1
    assert "<strong>" not in text_of(files.write(analyse(sweep(*BOTH)), tmp_path / "same"))


def test_the_ledger_holds_the_command_that_trains_each_run_alone(tmp_path):
    runs = [replace(one, overrides=(f"seed={one.seed}", "experiment=e", "x='a b'")) for one in BOTH]
    assert "python run.py experiment=e seed=0 &#39;x=" in text_of(files.write(analyse(sweep(*runs)), tmp_path))


def test_our_script_is_short_and_the_only_one_that_may_run(tmp_path):
    script = (PROJECT / "experiments" / "report" / "page.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert len(script) < 20_000
    assert f"script-src 'sha256-{digest}'" in files.write(analyse(sweep(*BOTH)), tmp_path).read_text()


def test_sweeps_of_one_experiment_merge_and_others_are_refused():
    other = replace(run("keras", 0, learning_rate=0.1), run_id="other")
    again = replace(sweep(*BOTH, other), sweep_id="t", command="d")
    both = merged([sweep(*BOTH, n_planned=8), again], sweep_id="together")
    assert (len(both.runs), both.n_planned, both.command) == (7, 9, "c; d")
    with pytest.raises(ValueError, match="must have the same experiment"):
        merged([again, replace(again, experiment="other")], sweep_id="x")


@pytest.mark.parametrize(("plan", "seeds"), [({"seeds": list(range(10))}, tuple(range(10))), ({}, (0, 1, 2))])
def test_the_plan_of_seeds_is_read_and_older_sweeps_have_those_of_their_runs(plan, seeds):
    kept = {each.run_id: each for each in BOTH}
    entries = [{"id": each.run_id, "name": each.name, "labels": {}, "overrides": []} for each in BOTH]
    manifest = {"n_planned": 20, "margins": {}, "chance": {}, "comparison": {}, "class_names": [], "choices": [],
                "studies": [], "runs": entries, "trials": []}  # fmt: skip
    record = sweep_from(manifest | plan, read_run=kept.get, sweep_id="s", experiment="e", description="", command="c",
                        pictures={}, control="")  # fmt: skip
    assert record.seeds == seeds


def kept_in(store, folder, runs, *, targets):
    """A sweep in a store; a run of seed s errs on the first s test examples, so that most of three err on 0 alone."""
    experiment_id = store.experiment("e", description="d")
    sweep_id = store.open_sweep(experiment_id, name="s", fingerprint="f", command="c", description="", reuse=True)
    entries = []
    for each in runs:
        run_id = store.start_run(
            experiment_id,
            parent_id=sweep_id,
            kind="run",
            name=each.name,
            fingerprint=each.fingerprint,
            config=each.config,
            facts=each.facts | {"data_fingerprint": "digits"},
            dataset={"name": "n", "digest": "d", "origin": "o"},
        )
        for epoch, loss in each.curves["val/loss"]:
            store.log_epoch(run_id, {"val/loss": loss}, epoch=epoch, step=epoch)
        answers = np.where(np.arange(len(targets)) < each.seed, 1 - targets, targets)
        np.savez(folder / "test_logits.npz", logits=2.0 * np.eye(2)[answers], targets=targets)
        store.end_run(run_id, outcome="finished", reason="", metrics=each.metrics, step=2, folder=folder)
        entries.append({"id": run_id, "name": each.name, "labels": {"framework": each.framework}, "overrides": []})
    known = {"n_planned": len(runs), "margins": {"accuracy": 0.01, "loss": 0.02, "time_ratio": 0.05}, "chance": {},
             "comparison": {"name": "frameworks", "factor": "framework"}, "class_names": ["a", "b"]}  # fmt: skip
    store.write_sweep(sweep_id, known | {"choices": [], "studies": [], "runs": entries, "trials": []})
    store.end_sweep(sweep_id, status="FINISHED")
    return sweep_id


def set_to(one, **changes):
    """A run with these settings and 4,810 weights."""
    training = one.config["training"] | {"epochs": 3}
    optimizer = one.config["optimizer"] | {"learning_rate": 0.1} | changes
    config = one.config | {"training": training, "optimizer": optimizer}
    return replace(one, config=config, facts=one.facts | {"n_parameters": "4810"})


def test_what_differs_between_arms_and_four_settings_stand_in_a_table():
    runs = [*map(set_to, BOTH), *(set_to(run("keras", seed), momentum=0.9, nesterov=True) for seed in range(3))]
    table = settings.of_arms(analyse(sweep(*runs)))
    assert table.head == ("arm", "momentum", "nesterov", "learning rate", "batch size", "epochs", "parameters")
    assert sorted(row[1:] for row in table.rows) == [
        ("0.9", "true", "0.1", "32", "3", "4810"),
        ("–", "–", "0.1", "32", "3", "4810"),
        ("–", "–", "0.1", "32", "3", "4810"),
    ]
    assert table.numeric == (1, 3, 4, 5, 6)


def test_every_setting_stands_once_where_all_arms_agree_and_by_arm_where_not():
    runs = [*map(set_to, BOTH), *(set_to(run("keras", seed), learning_rate=0.2) for seed in range(3))]
    analysis = analyse(sweep(*runs))
    table = settings.every(analysis)
    values, slow = dict(table.rows), next(arm.name for arm in analysis.arms if "0.2" in arm.name)
    assert values["network.kind"] == "mlp"
    assert values["training.class_weights"] == "null"
    assert values["optimizer.learning_rate"].endswith(f"; 0.2 ({slow})")
    assert set(values) == {key for arm in analysis.arms for key in arm.settings}
    assert table.folded


def test_settings_and_commands_are_read_before_the_results(tmp_path):
    runs = [set_to(replace(one, overrides=(f"seed={one.seed}", "experiment=e"))) for one in BOTH]
    text = text_of(files.write(analyse(sweep(*runs)), tmp_path))
    shown, _, rest = text.partition('id="settings"')[2].partition("</section>")
    assert 'id="results"' in rest
    visible = shown.partition("<details>")[0] + shown.partition("</details>")[2]
    assert '<td class="number">4810</td>' in visible
    assert visible.count('<code class="command">python run.py experiment=e seed=0</code>') == 2
    assert [arm["n_parameters"] for arm in json.loads((tmp_path / "report.json").read_text())["arms"]] == [[4810]] * 2


PATHS = {
    "IDX files from /srv/mnist/raw: 5 examples": "IDX files from …/raw: 5 examples",
    "python /home/me/tandem/run.py data.path=/mnt/x/y.npz": "python run.py data.path=…/y.npz",
    "python '/home/my own/run.py' 'data.path=/mnt/my x/y.npz'": "python run.py 'data.path=…/my x/y.npz'",
    "it is not in sqlite:////home/me/mlflow.db any more": "it is not in sqlite:///…/mlflow.db any more",
    r"tracking.uri=sqlite\:////home/me/mlflow.db": r"tracking.uri=sqlite\:///…/mlflow.db",
    "at file:///home/me/mlruns/1": "at file://…/1",
    "missing: '/a/b', \"/c/d\", (/e/f)": "missing: '…/b', \"…/d\", (…/f)",
    "train/val/test 1/2/3 ./a/b ../c/d ~/e/f http://127.0.0.1:5000/#/a/b </g></a>": None,
}


@pytest.mark.parametrize("text", PATHS)
def test_folders_of_a_machine_are_left_out_and_nothing_else(text):
    assert without_paths(text) == (PATHS[text] or text)
    assert without_paths(without_paths(text)) == without_paths(text)


def test_no_file_of_a_report_says_where_something_lay_on_a_machine(memory_store, tmp_path):
    sweep_id = kept_in(memory_store, tmp_path, BOTH, targets=np.array([0, 1, 1, 0, 1]))
    record = memory_store.read_sweep(sweep_id)
    facts = {"data": "IDX files from /srv/mine/raw: 5"}
    failed = replace(run("keras", 3, outcome="failed", accuracy=0.9), reason="FileNotFoundError: '/srv/mine/x.npz'")
    runs = [replace(one, facts=one.facts | facts, overrides=("data.path=/srv/mine/raw",)) for one in record.runs]
    record = replace(
        record,
        runs=(*runs, failed),
        command="python /srv/mine/run.py experiment=e data.path=/srv/mine/raw",
        lost=("config.yaml is missing from /srv/mine/1",),
        trials=(replace(failed, run_id="trial"),),
    )
    console = Console(file=(tmp_path / "screen.txt").open("w"), width=120)
    report.publish(record, store=memory_store, folder=tmp_path / "out", console=console, colours={})
    told = everything(tmp_path / "out")
    assert {"report.html", "report.md", "report.json", "tables/runs.csv"} <= set(told)
    assert [name for name, content in told.items() if b"/srv" in content] == []
    assert "/srv" not in memory_store.kept[sweep_id].facts["note"]
    assert "…/raw" in told["report.html"].decode()
    assert "missing from /srv/mine/1" in (tmp_path / "screen.txt").read_text()  # here it helps


ADDRESSES = {
    "sqlite:////home/me/mlflow.db": "http://127.0.0.1:5000",
    "postgresql://me:secret@host/db": "http://127.0.0.1:5000",
    "https://me:secret@host:8080/mlflow/": "https://host:8080/mlflow",
    "http://host/?token=secret": "http://host/?token=***",
}


@pytest.mark.parametrize("uri", ADDRESSES)
def test_a_link_leads_to_the_page_of_a_run_and_holds_no_password(uri):
    page_of_run = addresses.in_mlflow("experiments/7/runs/1a", store_uri=uri)
    assert page_of_run == f"{ADDRESSES[uri]}/#/experiments/7/runs/1a?workflowType=machine_learning"


@pytest.mark.parametrize(
    ("value", "half_width", "said"),
    [
        (45.04, 3, "keras takes 45.0 MiB more than lightning at its peak (95 % t interval: 42.0 to 48.0 MiB more)."),
        (-45.04, 3, "lightning takes 45.0 MiB more than keras at its peak (95 % t interval: 42.0 to 48.0 MiB more)."),
        (-1, 3, "lightning takes 1.0 MiB more than keras at its peak (95 % t interval: 2.0 MiB less to 4.0 MiB more)."),
    ],
)
def test_a_difference_in_memory_is_said_without_signs(value, half_width, said):
    assert formatting.memory(estimate(value, half_width), ("keras", "lightning")) == said


def test_a_report_made_again_needs_the_store_alone_and_has_the_same_bytes(memory_store, tmp_path):
    inputs = np.random.default_rng(0).random((5, 4, 4, 1))
    sweep_id = kept_in(memory_store, tmp_path, BOTH, targets=np.array([0, 1, 1, 0, 1]))
    pages = []
    for name, at_hand in (("first", {"digits": inputs}), ("again", {})):
        record = memory_store.read_sweep(sweep_id)
        console = Console(file=(tmp_path / f"{name}.txt").open("w"), width=120)
        path = report.publish(
            record, store=memory_store, folder=tmp_path / name, console=console, colours={}, inputs=at_hand
        )
        pages.append({each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file()})
        assert memory_store.kept[sweep_id].report == pages[-1]
    assert pages[0] == pages[1]
    assert b"data:image/png" in pages[0]["report.html"]
    told = pages[0]["report.html"].decode()
    for run_id in (each.run_id for each in memory_store.read_sweep(sweep_id).runs):
        address = f"http://127.0.0.1:5000/#/experiments/e/runs/{run_id}?workflowType=machine_learning"
        assert f'<a href="{address}" target="_blank" rel="noopener noreferrer"><code>{run_id}</code></a>' in told
    assert "`mlflow ui`" in text_of(tmp_path / "first" / "report.html")
    assert sorted(memory_store.read_sweep(sweep_id).pictures) == [0]
    note = memory_store.kept[sweep_id].facts["note"]
    assert "keras" in note
    assert json.loads(pages[0]["report.json"])["certificates"][0]["sentence"].startswith("Not certified: nobody")
    said = (tmp_path / "first.txt").read_text()
    assert "accuracy on this test set" in said
    assert "mlflow ui --backend-store-uri memory:" in said
