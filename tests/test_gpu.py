"""`benchmarks.gpu`, as far as no GPU is needed: parts end in time, failures are recorded."""

import json
import re
import sys
from types import SimpleNamespace

import cases
import pytest
from cases import PROJECT

import frameworks
from benchmarks import gpu, gpu_pack, gpu_page, gpu_workers
from experiments import job
from experiments.doctor import probes
from experiments.execution import worker
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.execution.run import Finished, Run

NUMPY = {"numpy": frameworks.FRAMEWORKS["numpy"]}


class Counted:
    """The numpy framework, on what it takes for a GPU."""

    def build(self, *arguments, device, **named):
        return frameworks.load("numpy").build(*arguments, device="cpu", **named)

    def versions(self):
        return {}

    def device_peak_bytes(self):
        return 3 * 2**20


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_ledger_has_the_peak_of_the_device_where_there_is_one(device, digits, digits_path, tmp_path):
    task = cases.change(cases.task("experiment=digits_mlp", precision="float64"), training={"epochs": 1})
    run = Run(
        task=task,
        framework="numpy",
        seed=0,
        device=device,
        data_fingerprint=digits.fingerprint,
        data_path=digits_path,
        folder=tmp_path,
    )
    events = []
    worker.train(run, lambda _: Counted(), events.append)
    (finished,) = [each for each in events if isinstance(each, Finished)]
    assert finished.metrics.get("memory/device_peak_mib") == (3.0 if device == "gpu" else None)


def test_a_warm_process_does_one_item_after_the_other(tmp_path):
    settings = job.ExecutorSettings(
        workers=1, threads=1, device="cpu", start_method="spawn", time_limit_seconds=60, environment={"A": "1"}
    )
    local = LocalExecutor(settings=settings, device="cpu", frameworks=NUMPY, folder=tmp_path)
    warm = gpu_workers.WarmExecutor(local)
    try:
        good, bad = (probes.fetch, (64,)), (probes.fetch, (0,))
        items = [WorkItem(target=t, arguments=a, log=tmp_path, framework="numpy") for t, a in (good, bad, good)]
        events = list(warm.run(items))
    finally:
        warm.close()
    assert [index for index, _ in events] == [0, 0, 1, 1, 2, 2]
    assert [type(event) for _, event in events] == [float, Completed, Failed, Completed, float, Completed]
    assert not any(process.is_alive() for process in warm._processes)


def test_tf32_is_put_back_on_after_a_network_is_built(monkeypatch):
    updates = []
    matmul, cudnn = SimpleNamespace(allow_tf32=False), SimpleNamespace(allow_tf32=False)
    backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(backends=backends))
    config = SimpleNamespace(update=lambda *pair: updates.append(pair))
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=config))
    framework = SimpleNamespace(build=lambda task: (task, cudnn.allow_tf32))
    assert gpu_workers.WithTf32(framework).build("a model") == ("a model", False)
    assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, True)
    assert updates == [("jax_default_matmul_precision", "tensorfloat32")]


def test_what_fails_and_what_hangs_is_recorded_and_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LIMITS", {"no_part": 30.0, "steps": 1.0})
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.5)
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\n[ "$3" = steps ] && sleep 60\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(gpu.sys, "executable", str(slow))
    results = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")
    assert results["parts"]["no_part"]["status"] == "failed with 1"
    assert "KeyError: 'no_part'" in results["parts"]["no_part"]["said"][-1]
    assert results["parts"]["steps"]["status"] == "stopped after 1 s"
    assert "Stopped after 1 s, 1 s." in (tmp_path / "page.md").read_text()
    kept = json.loads((tmp_path / "gpu.json").read_text())
    kept["parts"]["steps"] |= {"status": "done", "found": {"by hand": {"seconds": 1e-4, "peak_mib": None}}}
    (tmp_path / "gpu.json").write_text(json.dumps(kept))
    monkeypatch.setattr(gpu, "_part", lambda name, **_: {"status": f"again {name}", "seconds": 0.0, "found": None})
    again = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")
    assert {name: part["status"] for name, part in again["parts"].items()} == {
        "steps": "done",
        "no_part": "again no_part",
    }
    assert "| by hand | 100 |  |" in (tmp_path / "page.md").read_text()


ROW = {"level": "C1", "precision": "float64", "what": "logits", "measured": 2e-9, "bound": 1e-9, "passed": False}


@pytest.mark.parametrize(
    ("part", "found", "said"),
    [
        (
            "certificates",
            {"mnist_cnn of all exact": {"failed": "a worker died"}},
            "mnist_cnn of all exact: a worker died",
        ),
        ("certificates", {"a x b exact": {"passed": False, "rows": [ROW]}}, "a x b exact: not certified"),
        ("certificates", {"a x b TF32": {"passed": None, "rows": [ROW]}}, None),
        ("certificates", {"a x b exact": {"passed": True, "rows": [ROW]}}, None),
        ("steps", {"by hand": {"seconds": 1e-4}, "JAX": {"failed": "no GPU"}}, "JAX: no GPU"),
        ("doctor", {"code": 1, "checks": [], "found": {"frameworks": {"a": {"trained": ["abc", "abc"]}}}}, None),
        (
            "doctor",
            {"code": 1, "checks": [], "found": {"frameworks": {"a": {"trained": [{"failed": "killed"}]}}}},
            "found frameworks a trained: killed",
        ),
        ("mnist", {"code": 1, "said": "no", "command": "x", "runs": []}, "the sweep left with 1"),
    ],
)
def test_a_part_of_which_something_failed_is_not_done(part, found, said, tmp_path, monkeypatch):
    does = "import json, sys; from benchmarks import gpu_parts as it; "
    does += f"it.PARTS = {{{part!r}: lambda *_: json.loads({json.dumps(found)!r})}}; it.main()"
    monkeypatch.setattr(gpu, "PART", does)
    monkeypatch.setattr(gpu, "LIMITS", {part: 60.0})
    results = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")["parts"][part]
    assert results["status"] == ("failed with 1" if said else "done")
    assert results["found"] == found
    page = (tmp_path / "page.md").read_text()
    assert ("\nFailed with 1, " in page, said is None or said in page) == (said is not None, True)
    monkeypatch.setattr(gpu, "_part", lambda *_, **__: {"status": "again", "seconds": 0.0, "found": None})
    again = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")["parts"][part]
    assert again["status"] == ("again" if said else "done")


def test_no_part_starts_without_time(tmp_path):
    part = gpu._part("steps", folder=tmp_path, device="cpu", seconds=0.0)
    assert part["status"] == "not run: no time was left"


def test_the_page_tells_what_is_over_its_bound_and_what_has_no_certificate():
    row = {"level": "C1", "precision": "float64", "what": "logits", "measured": 2e-9, "bound": 1e-9, "passed": False}
    found = {
        "mnist_cnn keras_jax exact": {"passed": False, "rows": [row, row | {"measured": 1e-12, "passed": True}]},
        "mnist_cnn keras_jax TF32": {"passed": None, "rows": [row | {"precision": "float32", "passed": True}]},
        "resnet keras_torch exact": {"failed": "a worker died"},
    }
    lines = gpu_page.TABLES["certificates"](found)
    assert "| mnist_cnn keras_jax exact | **not certified** | float64 |  | 2e-09 * |  |  |  |  |  |" in lines
    assert "| mnist_cnn keras_jax TF32 |  | float32 |  | 2e-09 |  |  |  |  |  |" in lines
    assert any("no certificate | a worker died" in line for line in lines)


def test_what_brings_cuda_is_not_packed():
    whole, alone = gpu_pack.wanted()
    names = {re.split(r"[~<>=]", each)[0] for each in (*whole, *alone)}
    assert {"keras", "hydra-core", "omegaconf", "optuna", "mlflow", "mlflow-skinny", "mlxtend"} <= names
    assert names & {"torch", "tensorflow", "jax", "numpy", "pytorch-lightning"} == set()


def test_docs_say_what_was_not_run_until_it_was():
    text = (PROJECT / "docs" / "gpu.md").read_text()
    assert text == gpu_page.page(None) or text.startswith(f"{gpu_page.HEAD}On a GPU: ")
